// SPDX-License-Identifier: Apache-2.0
/*
 * A store holds the assignment of accounts to destinations. One operations table per kind; each
 * operation is asynchronous: done is called once, from any thread, possibly before the call
 * returns. A store never logs and knows no cache. Identifiers arrive normalised and checked.
 */
#ifndef STORE_STORE_H
#define STORE_STORE_H

#include "base/buf.h"
#include "base/list.h"
#include "base/view.h"
#include "loop/post.h"

#define STORE_VALUE_BYTES 256
#define STORE_ERROR_BYTES 256

enum store_op {
	STORE_LOOKUP,
	STORE_UPSERT,
	STORE_DELETE,
	STORE_PING, /* can it answer? The lookup of STORE_NOBODY, its changes taken back (MAP-54) */
	STORE_LIST, /* identifiers of one destination, a page at a time */
	STORE_ANNOUNCE, /* a store's own: proof of its push channel */
	/* What routers with one store tell each other of bans (GRD-8); PostgreSQL and Redis only.
	 * identifier: the source, as text of at most STORE_BAN_SOURCE_BYTES. */
	STORE_BAN_SET,  /* to destination, a text; gone after ttl_ms */
	STORE_BAN_GET,  /* fills value (the text) and ttl_ms */
	STORE_BAN_LIST, /* the sources, a page at a time */
	STORE_OPS
};

/* What a ping looks up: no account is in .invalid (RFC 2606). */
#define STORE_NOBODY "store-check@homing.invalid"

enum store_result {
	STORE_FOUND, /* value holds the destination, trimmed, not empty */
	STORE_NONE,  /* no row, NULL, empty, blank; delete: nothing was there */
	STORE_DONE,  /* upsert done; delete removed a row; ping answered; list filled */
	STORE_ERROR, /* error holds why, in the server's words (no secret, no identifier) */
	STORE_TIMEOUT,
	STORE_READ_ONLY,
	STORE_RESULTS
};

#define STORE_TOKEN_BYTES 1024
#define STORE_BAN_SOURCE_BYTES 64

/*
 * One page of STORE_LIST. A page may be short, even empty, and not be the last: `next` alone tells.
 * Ordered by identifier and without repetition, but for Redis, whose SCAN gives no order and may
 * give a key twice. What is there from the first page to the last is on one of them.
 */
struct store_list {
	char after[STORE_TOKEN_BYTES + 1]; /* `next` of the page before; "" for the first */
	unsigned limit;                    /* identifiers wanted, > 0; Redis takes it as a hint */
	/* filled: */
	struct buf names; /* identifiers as the store spells them, each followed by NUL */
	unsigned count;
	char next[STORE_TOKEN_BYTES + 1]; /* "": this was the last page */
	/* the store's: */
	bool scanned; /* Redis: names are keys whose values are still to be read */
};

void store_list_fini(struct store_list *list);
/* For stores. What an interrupted attempt left is forgotten. */
void store_list_clear(struct store_list *list);
/* Returns 0, or -errno: the list is of no use. */
MUST_USE int store_list_add(struct store_list *list, struct view identifier);
/* Returns 0, or -ENAMETOOLONG for what no identifier can be. */
MUST_USE int store_list_set_next(struct store_list *list, struct view token);

struct store_request;
typedef void store_done_fn(struct store_request *request);

/* Owned by the caller, who keeps it until done was called. */
struct store_request {
	enum store_op op;
	struct view identifier;  /* must stay valid until done */
	struct view destination; /* STORE_UPSERT, STORE_LIST, STORE_BAN_SET; likewise */
	struct store_list *list; /* STORE_LIST, STORE_BAN_LIST; likewise */
	uint64_t ttl_ms;         /* of a ban: what is left */
	uint64_t deadline_ms;    /* monotonic; over: STORE_TIMEOUT, soon after */
	store_done_fn *done;
	/* filled before done: */
	enum store_result result;
	char value[STORE_VALUE_BYTES];
	char error[STORE_ERROR_BYTES];
	bool refused; /* STORE_ERROR: it answers, but not this: rights, or no such table */
	/* the store's: */
	struct store_request *next;
	struct store *store;
	struct post post;
	struct list_node link;
	bool repeated, named, half;
};

struct store;

/* What a store says unasked, from any thread. */
enum store_push_event {
	STORE_PUSH_UP,   /* the channel stands; before, messages may have been missed (MAP-104) */
	STORE_PUSH_DOWN, /* lookups go on without it */
	/* the answer for this identifier (as the store spells it) may have changed */
	STORE_PUSH_KEY,
	STORE_PUSH_ALL,
	/* the ban of this source may have changed */
	STORE_PUSH_BAN,
};
typedef void store_push_fn(void *arg, enum store_push_event event, struct view identifier);

/* bans.c. */
bool store_is_ban(enum store_op op);
/* Answers for a store that keeps none (without calling done). */
void store_no_bans(struct store_request *request);

struct store_ops {
	const char *name; /* "file" "sqlite" ... */
	void (*submit)(struct store *store, struct store_request *request);
	/* submit waits for nothing and nobody: a thread that serves sessions may call it. */
	bool any_thread;
	bool (*writable)(const struct store *store);
	bool (*can_list)(
		const struct store *store); /* STORE_LIST to one that cannot: STORE_ERROR */
	/* Reads its source again where it keeps a copy (file). Returns the number of entries,
	 * -ENOTSUP where every lookup reads the source, or -errno with error = "FILE:LINE:
	 * text". */
	MUST_USE int (*reload)(struct store *store, char error[STORE_ERROR_BYTES]);
	/* Requests still running are finished with STORE_ERROR before it returns. */
	void (*free)(struct store *store);
};

struct store {
	const struct store_ops *ops;
};

static inline void store_free(struct store *store)
{
	if (store)
		store->ops->free(store);
}

/* A finding while reading a mapping file (MAP-40..42, CFG-40.14). */
struct store_file_finding {
	bool error;
	unsigned line;
	const char *text;
	const char *identifier;  /* may be NULL */
	const char *destination; /* the destination named there, or NULL */
};
typedef void store_file_finding_fn(void *arg, const struct store_file_finding *finding);

struct store_file_params {
	const char *path; /* NULL: none, and nothing is in it */
	/* Normalises and checks a key in place of identity/ (which store/ may not include):
	 * returns the length written to ret (at most 320) or -EINVAL. */
	int (*account)(void *arg, struct view text, char ret[321]);
	/* True if the destination is declared. */
	bool (*declared)(void *arg, struct view destination);
	/* A protocol that is listened for and that the destination does not serve, or NULL: a
	 * warning (MAP-41). May be NULL. */
	const char *(*unserved)(void *arg, struct view destination);
	void *arg;
	/* Called for each finding of the load (may be NULL). */
	store_file_finding_fn *report;
	void *report_arg;
};

/* Reads the whole file; any error finding or an unreadable file: -EINVAL/-errno and error text. */
MUST_USE int store_file_new(const struct store_file_params *params, struct store **ret_store,
	char error[STORE_ERROR_BYTES]);
/* Checks only, for --check-config: reports every finding. Returns 0, -EINVAL, or -errno. */
MUST_USE int store_file_check(const struct store_file_params *params);

struct store_sqlite_params {
	const char *path; /* absolute */
	bool read_only;   /* ?mode=ro */
	const char *query;
	const char *upsert_query, *delete_query; /* both or neither, else the store is read-only */
	const char *list_query; /* $1 node, $2 last identifier, $3 page size; NULL: cannot list */
	uint64_t busy_ms;       /* = lookup_timeout */
	store_push_fn *push;    /* STORE_PUSH_ALL: data_version moved (MAP-63); may be NULL */
	void *push_arg;
};

/* Starts the store's thread. A database that cannot be opened now is opened again at each request
 * (MAP-34); only bad parameters or no memory fail here. */
MUST_USE int store_sqlite_new(const struct store_sqlite_params *params, struct store **ret_store,
	char error[STORE_ERROR_BYTES]);

/* What the stores on a network share. */
struct store_net_params {
	unsigned pool_size;
	uint64_t timeout_ms; /* = lookup_timeout */
	store_push_fn *push; /* NULL: no push channel is opened */
	void *push_arg;
	/* Push that cannot work (MAP-102), for the log, with push_arg; may be NULL. */
	void (*warn)(void *arg, const char *text);
};

struct store_pg_params {
	const char *url; /* NULL: libpq's environment and defaults (MAP-50) */
	const char *query;
	const char *upsert_query, *delete_query; /* both or neither, else the store is read-only */
	const char *list_query;                  /* as for SQLite */
	struct store_net_params net;
};

/* Starts the store's thread. A server that cannot be reached now is tried again when it is
 * needed. */
MUST_USE int store_pg_new(const struct store_pg_params *params, struct store **ret_store,
	char error[STORE_ERROR_BYTES]);
/* For the configuration check: 0, or -EINVAL with what is wrong with a url (no password in it). */
MUST_USE int store_pg_check_url(const char *url, char error[STORE_ERROR_BYTES]);
/* The documented schema with its triggers (mapping.md section 6), as one SQL text. */
const char *store_pg_schema(void);
enum { STORE_PG_CREATED = 0, STORE_PG_EXISTS = 1 };
/* What GRD-8 needs beside it; where it is there already nothing changes. */
const char *store_pg_bans_schema(void);
/* Applies both in one transaction; url NULL: libpq's environment. Then gives role (NULL: none) the
 * rights that the documented statements need, and tries them. Blocks. Returns STORE_PG_CREATED,
 * STORE_PG_EXISTS (table and triggers were there), or -errno with error. */
MUST_USE int store_pg_create(const char *url, const char *role, char error[STORE_ERROR_BYTES]);

struct store_redis_params {
	const char *url; /* redis:// rediss:// redis+unix:// (MAP-70) */
	const char *key_prefix;
	struct store_net_params net;
};

/* As store_pg_new(). -EINVAL: the url. */
MUST_USE int store_redis_new(const struct store_redis_params *params, struct store **ret_store,
	char error[STORE_ERROR_BYTES]);
/* For the configuration check: 0, or -EINVAL with what is wrong with a url. */
MUST_USE int store_redis_check_url(const char *url, char error[STORE_ERROR_BYTES]);

/* Creates the database file with the documented schema (mapping.md section 7) if it is missing;
 * an existing table is left alone. For homingctl init-db. Returns 0 or -errno. */
MUST_USE int store_sqlite_create(const char *path, char error[STORE_ERROR_BYTES]);

#endif

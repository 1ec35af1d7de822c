// SPDX-License-Identifier: Apache-2.0
/*
 * Private to store/: what stores on a network share. A thread with a loop of its own (names may
 * take their time to resolve there), a pool of connections opened on demand, requests pipelined on
 * them, deadlines, one repetition on a fresh connection, back-off while the server cannot be
 * reached; and a watched push channel. Everything but store_thread_submit() belongs to the store's
 * thread, which holds the loop's guard whenever it does not wait; a thread that asks may send its
 * lookup itself when it finds the guard free and a connection ready.
 */
#ifndef STORE_POOL_H
#define STORE_POOL_H

#include "loop/loop.h"
#include "store/store.h"

#include <pthread.h>

/* Where PostgreSQL announces changes (MAP-100). */
#define STORE_PG_CHANNEL "homing_invalidate"

enum store_conn_state {
	STORE_CONN_CLOSED,
	STORE_CONN_OPENING,
	STORE_CONN_READY,
	STORE_CONN_BROKEN, /* it took no request; its timer ends it */
};

struct store_pool;

/* First member of a driver's connection. */
struct store_conn {
	struct store_pool *pool;
	enum store_conn_state state;
	struct list_node items; /* requests sent, in order */
	unsigned count;
	unsigned lists;     /* of those, lists: slow ones, behind which no others are sent */
	struct timer timer; /* opening, or the oldest request's deadline */
};

struct store_driver {
	const char *name;
	size_t conn_size;
	/* Starts to open; store_conn_ready() or store_conn_lost() follow, maybe inside. */
	void (*open)(struct store_conn *conn);
	/* Sends a request; its answers come in order: store_conn_answered(). Returns 0, or
	 * -errno: the connection is lost (the caller sees to that). Waits for nothing: of a lookup
	 * it may run on the thread of who asks. */
	MUST_USE int (*send)(struct store_conn *conn, struct store_request *request);
	void (*close)(struct store_conn *conn);
};

struct store_pool {
	const struct store_driver *driver;
	void *owner; /* the store */
	struct loop *loop;
	unsigned size;
	uint64_t timeout_ms;       /* for opening a connection */
	struct store_conn **conns; /* owned; `size` of them, made on first use */
	struct list_node waiting;
	size_t waiting_count;
	struct timer timer; /* the oldest waiting request's deadline */
	unsigned failures;  /* to open, in a row */
	uint64_t retry_at_ms;
	char error[STORE_ERROR_BYTES]; /* of the last failure */
	bool stopping;
};

MUST_USE int store_pool_init(struct store_pool *pool, const struct store_driver *driver,
	void *owner, struct loop *loop, unsigned size, uint64_t timeout_ms);
/* Requests that are out end with STORE_ERROR. */
void store_pool_fini(struct store_pool *pool);
void store_pool_add(struct store_pool *pool, struct store_request *request);

/* From a driver: */
void store_conn_ready(struct store_conn *conn);
/* error: for the operator, without identifiers and secrets. */
void store_conn_lost(struct store_conn *conn, const char *error);
/* The request whose answer is due; NULL if none is. */
struct store_request *store_conn_head(struct store_conn *conn);
/* The head's result has been filled in. */
void store_conn_answered(struct store_conn *conn);
/* The head's answer was one step of several: it waits again, for any connection. */
void store_conn_again(struct store_conn *conn);
/* bans.c: a ban's name as a key and as a message. */
#define STORE_BAN_NAME_BYTES 96
/* Returns the length. */
size_t store_ban_name(struct view source, char ret_name[STORE_BAN_NAME_BYTES]);
/* Whether it is one; *ret_source is a part of it. */
bool store_ban_source(struct view name, struct view *ret_source);
/* Of identifiers or bans; what is asked for is in request->list. */
static inline bool store_is_list(enum store_op op)
{
	return op == STORE_LIST || op == STORE_BAN_LIST;
}
/* Answers a STORE_LIST (without calling done) that the store is not set up for. */
void store_cannot_list(struct store_request *request);
/* Without ASCII blanks at both ends (MAP-33). */
struct view store_trim(struct view v);
/* Takes a value as a store may hold it: trimmed (MAP-33). */
void store_take_value(struct store_request *request, struct view value);

/* ---- the thread ---- */

struct store_thread {
	struct loop loop;
	pthread_mutex_t guard; /* the loop's */
	pthread_t thread;
	struct post stop;
	const char *name;
	void (*finish)(void *arg); /* on the thread, before it ends */
	void *arg;
};

/* The loop is ready for use by the caller before `run`: init, set up, run, stop. */
MUST_USE int store_thread_init(struct store_thread *thread);
MUST_USE int store_thread_run(
	struct store_thread *thread, const char *name, void (*finish)(void *arg), void *arg);
void store_thread_stop(struct store_thread *thread);
/* store_ops.submit: fn runs with request->post, on the thread, or here if that does not wait and
 * all there is to do is to send; a store that stops answers here. */
void store_thread_submit(struct store_thread *thread, struct store *store, struct store_pool *pool,
	struct store_request *request, post_fn *fn);
/* store_ops.reload of a store that is read on every lookup. */
MUST_USE int store_no_reload(struct store *store, char error[STORE_ERROR_BYTES]);
/* A copy, or NULL for NULL; *ok becomes false without memory. */
char *store_copy_text(const char *text, bool *ok);

/* ---- push (MAP-103) ---- */

enum store_push_state { STORE_PUSH_CLOSED, STORE_PUSH_OPENING, STORE_PUSH_OPEN };

struct store_push;
struct store_push_driver {
	void (*open)(struct store_push *push); /* store_push_up() or store_push_lost() follow */
	void (*ping)(struct store_push *push); /* store_push_heard() follows */
	void (*close)(struct store_push *push);
};

struct store_push {
	const struct store_push_driver *driver;
	struct loop *loop;
	store_push_fn *fn; /* NULL: no channel is wanted */
	void *arg;
	struct timer timer;
	enum store_push_state state;
	bool pinging;
	unsigned failures;
	uint64_t heard_ms;
	uint64_t open_ms; /* limit for opening */
	/* The proof that messages arrive: */
	struct store_pool *pool; /* says something, for us to hear */
	struct store_request announce;
	bool announcing; /* that is out */
	bool proving;    /* it has not come back yet */
	bool warned;
	char mark[64];
	void (*warn)(void *arg, const char *text); /* with arg; may be NULL */
	const char *unproved;                      /* its text */
};

/* Closed yet; nothing is told if params->push is NULL. loop and pool are borrowed; unproved, a
 * literal, is what params->warn gets when messages do not arrive. */
void store_push_init(struct store_push *push, const struct store_push_driver *driver,
	struct loop *loop, struct store_pool *pool, const struct store_net_params *params,
	const char *unproved);
/* Opens from the loop, which need not run yet. */
void store_push_start(struct store_push *push);
void store_push_stop(struct store_push *push);
/*
 * The server has confirmed the subscription, which proves nothing where something stands between: a
 * pooler may have given the connection to somebody else, a balancer the two halves of a
 * subscription to two servers. A STORE_ANNOUNCE with a mark is sent by the pool; the channel is up
 * when the mark comes back. A server that refuses it (no right to write) is believed.
 */
void store_push_prove(struct store_push *push);
/* Whether a message is a mark, ours or another router's, and nobody's account. */
bool store_push_take_mark(struct store_push *push, struct view payload);
/* Whether a message is about a ban; then it has been told. */
bool store_push_take_ban(struct store_push *push, struct view payload);
/* Subscribed and proved: what was cached before may have missed a message (MAP-104). */
void store_push_up(struct store_push *push);
void store_push_lost(struct store_push *push);
/* Anything came in. */
void store_push_heard(struct store_push *push);

#endif

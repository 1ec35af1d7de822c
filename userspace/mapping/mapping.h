// SPDX-License-Identifier: Apache-2.0
/*
 * Account -> destination, by way of a cache shared by all workers in front of one store
 * (mapping.md sections 1, 8, 9, 12). A hit is answered on the caller's thread under a shard lock.
 * Misses of one account become one store query, which leaves from the caller's thread too where the
 * store allows that (MAP-36).
 */
#ifndef MAPPING_MAPPING_H
#define MAPPING_MAPPING_H

#include "base/histogram.h"
#include "base/view.h"
#include "loop/loop.h"
#include "store/store.h"

#define MAPPING_NAME_BYTES 64

enum mapping_choice {
	MAPPING_MAPPED,
	MAPPING_DEFAULT,
	MAPPING_STALE,
	MAPPING_UNAVAILABLE,
	MAPPING_CHOICES
};
/* "mapped" "default" "stale" "unavailable" */
const char *mapping_choice_name(enum mapping_choice choice);

struct mapping_answer {
	char destination[MAPPING_NAME_BYTES +
		1]; /* declared; the default one when nothing is mapped; "" MAPPING_UNAVAILABLE */
	enum mapping_choice choice;
	bool hit; /* came from the cache without waiting */
};

struct mapping_params {
	struct loop *control; /* runs flights; must outlive the mapping */
	struct store *store;  /* owned from here on */
	uint64_t positive_ttl_ms, negative_ttl_ms, stale_grace_ms, lookup_timeout_ms;
	uint64_t max_entries;
	/* store away, nothing remembered: MAPPING_UNAVAILABLE, not the default one */
	bool no_guess;
	const char *default_destination;
	const char *const *destinations; /* declared names, NULL-terminated; copied */
	/* Called when the store has been freed, on the control thread; may be NULL. */
	void (*store_gone)(void *arg);
	void *store_gone_arg;
};

struct mapping;

MUST_USE int mapping_new(const struct mapping_params *params, struct mapping **ret_mapping);
/* On the control thread, after the workers stopped. Pending flights are answered first. */
void mapping_free(struct mapping *mapping);

/*
 * A reload, on the control thread: takes over params as mapping_new() does. store NULL: the store
 * stays. Queries under way finish on the store they were sent to, which is freed after the last of
 * them. drop_cache: nothing cached may stay; else only entries naming a destination that is no more
 * declared go. Lifetimes apply to what is stored from now on. Returns 0, or -ENOMEM with nothing
 * changed and the store still the caller's.
 */
MUST_USE int mapping_reconfigure(
	struct mapping *mapping, const struct mapping_params *params, bool drop_cache);

/* Frees a store that never served, on a thread of its own, as that may take a while; then
 * gone(arg) on the control thread, maybe inside. Control thread. */
void mapping_reap_store(
	struct mapping *mapping, struct store *store, void (*gone)(void *arg), void *arg);

/*
 * A reply message for a miss: allocated by the mapping, sent to the asker's mailbox, freed there
 * by mapping_reply_free(). cookie is what the asker passed: a handle, not a pointer.
 */
struct mapping_reply {
	struct post post;
	uint64_t cookie;
	struct mapping_answer answer;
};
void mapping_reply_free(struct mapping_reply *reply);

enum { MAPPING_HIT = 0, MAPPING_PENDING = 1 };

/*
 * Any thread. MAPPING_HIT: *ret_answer is filled. MAPPING_PENDING: exactly one mapping_reply will
 * be sent to mailbox with on_reply. -ENOMEM. The lookup itself never fails (MAP-1).
 */
MUST_USE int mapping_lookup(struct mapping *mapping, struct view account, struct mailbox *mailbox,
	post_fn *on_reply, uint64_t cookie, struct mapping_answer *ret_answer);

/* Drops one entry (stale copy too) or all; returns how many. Any thread. A flight under way is
 * delivered but not stored (MAP-85). */
uint64_t mapping_invalidate(struct mapping *mapping, struct view account);
uint64_t mapping_invalidate_all(struct mapping *mapping);
/* Makes every entry expired but usable as stale (MAP-104). */
void mapping_expire_all(struct mapping *mapping);

/* ---- administration; control thread only ---- */

enum mapping_source {
	MAPPING_SOURCE_CACHE,
	MAPPING_SOURCE_STALE,
	MAPPING_SOURCE_STORE,
	MAPPING_SOURCE_DEFAULT,
	MAPPING_SOURCE_UNDECLARED,
	MAPPING_SOURCE_ERROR,
	MAPPING_SOURCES
};
const char *mapping_source_name(enum mapping_source source); /* admin.md section 5.5 */

enum mapping_admin_result {
	MAPPING_ADMIN_OK,
	MAPPING_ADMIN_REMOVED,
	MAPPING_ADMIN_NOT_REMOVED, /* delete */
	MAPPING_ADMIN_READ_ONLY,
	MAPPING_ADMIN_FAILED,
	MAPPING_ADMIN_TIMEOUT,
	MAPPING_ADMIN_CANNOT_LIST,
};

struct mapping_admin_answer {
	enum mapping_admin_result result;
	/* get: */
	enum mapping_source source;
	char destination[MAPPING_NAME_BYTES + 1];
	char stored[STORE_VALUE_BYTES]; /* for undeclared */
	bool routed_to_default, cached;
	int64_t expires_in_s; /* -1 = null */
	/* list, MAPPING_ADMIN_OK: valid during the call */
	const struct store_list *list;
	bool writable;
	const char *error; /* of list, set, del with MAPPING_ADMIN_FAILED; valid during the call */
};
/* Called on the control thread, exactly once, maybe before the call returns. */
typedef void mapping_admin_fn(void *arg, const struct mapping_admin_answer *answer);

/* These move no counter and store nothing in the cache (get), and drop the entry (set, del).
 * A store that does not answer within lookup_timeout: MAPPING_ADMIN_TIMEOUT (set, del), source
 * error (get). Return 0 or -ENOMEM. */
MUST_USE int mapping_admin_get(
	struct mapping *mapping, struct view account, mapping_admin_fn *done, void *arg);
MUST_USE int mapping_admin_set(struct mapping *mapping, struct view account,
	struct view destination, mapping_admin_fn *done, void *arg);
MUST_USE int mapping_admin_del(
	struct mapping *mapping, struct view account, mapping_admin_fn *done, void *arg);
/* One page of the accounts that the store assigns to a destination: after is "" or what the page
 * before gave as next. */
MUST_USE int mapping_admin_list(struct mapping *mapping, struct view destination, struct view after,
	unsigned limit, mapping_admin_fn *done, void *arg);
bool mapping_declared(const struct mapping *mapping, struct view destination);

/* Store failures and changes that should be logged (mapping/ itself stays silent). Set before the
 * first lookup; called on the control thread. */
enum mapping_event { MAPPING_STORE_LOST, MAPPING_STORE_BACK, MAPPING_UNKNOWN_DESTINATION };
typedef void mapping_event_fn(
	void *arg, enum mapping_event event, const char *text, uint64_t outage_ms);
void mapping_on_event(struct mapping *mapping, mapping_event_fn *fn, void *arg);

enum mapping_store_state {
	MAPPING_STORE_UNKNOWN,
	MAPPING_STORE_UP,
	MAPPING_STORE_DOWN,
	MAPPING_STORE_STATES
};

/* The store's push channel, as the owner of the store was told (MAP-106). Any thread. */
enum mapping_push_state {
	MAPPING_PUSH_NONE,
	MAPPING_PUSH_UP,
	MAPPING_PUSH_DOWN,
	MAPPING_PUSH_STATES
};
void mapping_set_push(struct mapping *mapping, enum mapping_push_state state);

/* mapping.md section 12. */
struct mapping_stats {
	uint64_t hits, misses, coalesced, entries /* unexpired */, stale_entries, stale_served;
	uint64_t store_queries, store_errors, unknown_destination, invalidated, flushes;
	enum mapping_store_state store_state;
	uint64_t store_down_ms;
	bool store_seen;    /* answered at least once */
	bool store_refused; /* it answers, but not our query: rights, or no such table */
	enum mapping_push_state push_state;
};
/* How long the store's answers took, errors and time-outs included. Any thread. */
const struct histogram *mapping_store_latency(const struct mapping *mapping);
void mapping_stats(struct mapping *mapping, struct mapping_stats *ret_stats); /* any thread */

/* What the store said when it failed last; "" while it answers. Control thread. */
const char *mapping_store_error(const struct mapping *mapping);

/* Asks the store for a sign of life, so that /readyz can become true before the first login
 * (MAP-34). Control thread; counts no store_queries. */
void mapping_probe_store(struct mapping *mapping);

#endif

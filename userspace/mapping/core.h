// SPDX-License-Identifier: Apache-2.0
/* Private to mapping/: the mapping itself, the store in use and what is asked of it, as lookups
 * (mapping.c), administration (admin.c) and reloads (reload.c) see them. */
#ifndef MAPPING_CORE_H
#define MAPPING_CORE_H

#include "base/list.h"
#include "mapping/cache.h"
#include "mapping/mapping.h"

#include <pthread.h>
#include <stdatomic.h>

#define FLIGHT_BUCKETS 4096
#define ACCOUNT_BYTES 320

/* Destinations that were declared at any time; the cache holds indices into it. Immutable: a reload
 * that brings new names publishes a longer table, and readers may still look at the old one. */
struct mapping_names {
	struct mapping_names *older; /* kept until the mapping goes */
	size_t count;
	char names[][MAPPING_NAME_BYTES + 1];
};

/* A store with what is asked of it. One that a reload replaced finishes its queries, then goes. */
struct store_use {
	struct list_node link; /* mapping->retired */
	struct mapping *mapping;
	struct store *store; /* owned */
	size_t out;          /* requests whose done has not been run; under mapping->lock */
	bool retired, reaping, joined;
	void (*gone)(void *arg); /* the store has been freed; may be NULL */
	void *gone_arg;
	pthread_t reaper; /* frees it: that may take a while */
	struct post reaped;
};

struct mapping {
	struct loop *control;
	/*
	 * What workers and the store's threads see of lookups: flights with their askers, what is
	 * out of a store, direct, watching, closing. And what the control thread alone changes,
	 * with the lock held, and may look at without it: use, store, params, declared.
	 */
	pthread_mutex_t lock;
	struct store *store;   /* that of use */
	struct store_use *use; /* owned */
	struct cache *cache;   /* owned */
	struct mapping_params params;
	bool *declared; /* by index in names: in the configuration now */
	struct list_node flights[FLIGHT_BUCKETS];
	struct list_node direct; /* queries that workers began, in the order of their deadlines */
	bool watching;           /* the control thread looks after those */
	bool closing;
	struct post watch_post;
	_Atomic(struct mapping_names *) names; /* owned */
	atomic_uint default_index;
	atomic_bool no_guess; /* of params */
	mapping_event_fn *on_event;
	void *event_arg;

	/* Control thread only: */
	struct timer watch_timer; /* the first deadline in direct */
	struct list_node retired; /* stores on their way out */
	bool probing;
	char store_error[STORE_ERROR_BYTES]; /* of the last failure; "": none since */

	atomic_uint_fast64_t hits, misses, coalesced, stale_served, store_queries, store_errors;
	atomic_uint_fast64_t unknown_destination, invalidated, flushes;
	atomic_uint_fast64_t down_since_ms; /* 0: not down */
	atomic_bool store_seen, store_refused;
	struct histogram latency; /* of the store */
	atomic_int push_state;    /* enum mapping_push_state */
};

struct query;
typedef void query_fn(struct query *query);

/* One store request and who wants its result. */
struct query {
	struct store_request request;
	struct post post;
	struct timer timer;
	uint64_t started_ms;
	struct mapping *mapping;
	struct store_use *use; /* whom it asks */
	query_fn *done;        /* told once; NULL when abandoned */
	/* NULL; or answers on the store's thread, if there is nothing more to it than that: true,
	 * and the query has been freed. */
	bool (*at_once)(struct query *query);
	struct flight *flight; /* of a lookup; under mapping->lock */
	struct list_node link; /* mapping->direct, until it is answered; else unlinked */
	mapping_admin_fn *admin_done;
	void *admin_arg;
	struct store_list *list; /* owned; NULL unless STORE_LIST */
	char account[ACCOUNT_BYTES + 1];
	char destination[MAPPING_NAME_BYTES + 1];
};

/* query.c. NULL without memory. */
struct query *mapping_query_new(struct mapping *mapping, enum store_op op, struct view account);
void mapping_query_free(struct query *query);
/* Hands it to the store; whoever waits is told within lookup_timeout. Control thread. */
void mapping_query_start(struct query *query);
/* The same on any thread, in two steps, for the lookup of a flight: with the lock held, and then,
 * without it, with what that returned. */
bool mapping_query_enter(struct query *query);
void mapping_query_submit(struct query *query, bool watch);
/* Tells the owner of the mapping. */
void mapping_event(
	struct mapping *mapping, enum mapping_event what, const char *text, uint64_t outage_ms);

/* names.c. Index of a declared destination, or -1. Control thread. */
int mapping_find_name(const struct mapping *mapping, struct view name);
/* Any thread; the name stays until the mapping goes. */
const char *mapping_name(const struct mapping *mapping, unsigned index);
/* How many of the destinations (NULL-terminated) names has not; NULL: none is there. */
size_t mapping_names_missing(const struct mapping_names *names, const char *const *destinations);
/* Declares what params declare, publishing a longer table for new names. 0, -EINVAL or -ENOMEM. */
MUST_USE int mapping_set_names(struct mapping *mapping, const struct mapping_params *params);
void mapping_names_free(struct mapping *mapping);

/* uses.c. Control thread. */
MUST_USE int mapping_use_new(struct mapping *mapping, const struct mapping_params *params);
/* One request less is out; a retired store goes with its last one. */
void mapping_use_done(struct store_use *use);
/* It serves no more, and goes when nothing of it is out. */
void mapping_use_retire(struct store_use *use);
/* Waits for everything that is out; the mapping is closing. */
void mapping_use_fini(struct mapping *mapping);

/* mapping.c. */
void mapping_answer_from_cache(const struct mapping *mapping, const struct cache_answer *cached,
	bool hit, struct mapping_answer *ret_answer);

#endif

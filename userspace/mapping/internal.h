// SPDX-License-Identifier: Apache-2.0
/* Private to mapping/: lookups (mapping.c) and administration (admin.c) share the store requests. */
#ifndef MAPPING_INTERNAL_H
#define MAPPING_INTERNAL_H

#include "base/list.h"
#include "mapping/cache.h"
#include "mapping/mapping.h"

#include <stdatomic.h>

#define FLIGHT_BUCKETS 4096
#define ACCOUNT_BYTES 320

struct mapping {
	struct loop *control;
	struct store *store; /* owned */
	struct cache *cache; /* owned */
	struct mapping_params params;
	char (*names)[MAPPING_NAME_BYTES + 1]; /* declared destinations */
	size_t name_count;
	uint16_t default_index;
	mapping_event_fn *on_event;
	void *event_arg;

	/* Control thread only: */
	struct list_node flights[FLIGHT_BUCKETS];
	size_t queries_out; /* store requests whose done has not been run */
	bool closing, probing;

	atomic_uint_fast64_t hits, misses, coalesced, stale_served, store_queries, store_errors;
	atomic_uint_fast64_t unknown_destination, invalidated, flushes;
	atomic_uint_fast64_t down_since_ms; /* 0: not down */
	atomic_bool store_seen;
	struct histogram latency; /* of the store */
	atomic_int push_state;    /* enum mapping_push_state */
};

struct query;
typedef void query_fn(struct query *query);

/* One store request and who wants its result; both NULL when abandoned. */
struct query {
	struct store_request request;
	struct post post;
	struct timer timer;
	uint64_t started_ms;
	struct mapping *mapping;
	struct flight *flight;
	query_fn *done; /* administration; NULL when abandoned */
	mapping_admin_fn *admin_done;
	void *admin_arg;
	struct store_list *list; /* owned; NULL unless STORE_LIST */
	char account[ACCOUNT_BYTES + 1];
	char destination[MAPPING_NAME_BYTES + 1];
};

/* NULL without memory. */
struct query *mapping_query_new(struct mapping *mapping, enum store_op op, struct view account);
void mapping_query_free(struct query *query);
/* Hands it to the store; whoever waits is told within lookup_timeout. */
void mapping_query_start(struct query *query);
/* Index of a declared destination, or -1. */
int mapping_find_name(const struct mapping *mapping, struct view name);
void mapping_answer_from_cache(const struct mapping *mapping, const struct cache_answer *cached,
	bool hit, struct mapping_answer *ret_answer);

#endif

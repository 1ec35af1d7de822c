// SPDX-License-Identifier: Apache-2.0
/* What the admin API asks of the mapping: reading an assignment without touching cache or counters,
 * changing it, listing. Control thread only. */
#include "base/clock.h"
#include "mapping/core.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

const char *mapping_source_name(enum mapping_source source)
{
	static const char *const names[] = { "cache", "stale", "store", "default", "undeclared",
		"error" };

	static_assert(ARRAY_SIZE(names) == MAPPING_SOURCES, "a name for each");
	return names[source];
}

static void admin_answer(struct query *query, struct mapping_admin_answer *answer)
{
	query->admin_done(query->admin_arg, answer);
}

static void on_admin_get(struct query *query)
{
	struct mapping *mapping = query->mapping;
	const struct store_request *request = &query->request;
	const char *fallback = mapping_name(mapping, atomic_load(&mapping->default_index));
	struct mapping_admin_answer answer = {
		.source = MAPPING_SOURCE_DEFAULT, .routed_to_default = true, .expires_in_s = -1
	};

	snprintf(answer.destination, sizeof(answer.destination), "%s", fallback);
	if (request->result == STORE_ERROR || request->result == STORE_TIMEOUT) {
		answer.source = MAPPING_SOURCE_ERROR;
		if (atomic_load(&mapping->no_guess)) { /* a login would get no node */
			answer.routed_to_default = false;
			answer.destination[0] = '\0';
		}
	} else if (request->result == STORE_FOUND &&
		mapping_find_name(mapping, view_str(request->value)) >= 0) {
		answer.source = MAPPING_SOURCE_STORE;
		answer.routed_to_default = false;
		snprintf(answer.destination, sizeof(answer.destination), "%.64s", request->value);
	} else if (request->result == STORE_FOUND) {
		answer.source = MAPPING_SOURCE_UNDECLARED;
		snprintf(answer.stored, sizeof(answer.stored), "%s", request->value);
	}
	admin_answer(query, &answer);
}

static void on_admin_write(struct query *query)
{
	static const enum mapping_admin_result results[] = {
		[STORE_FOUND] = MAPPING_ADMIN_FAILED,
		[STORE_NONE] = MAPPING_ADMIN_NOT_REMOVED,
		[STORE_DONE] = MAPPING_ADMIN_REMOVED,
		[STORE_ERROR] = MAPPING_ADMIN_FAILED,
		[STORE_TIMEOUT] = MAPPING_ADMIN_TIMEOUT,
		[STORE_READ_ONLY] = MAPPING_ADMIN_READ_ONLY,
	};
	static_assert(ARRAY_SIZE(results) == STORE_RESULTS, "a result for each");
	struct mapping_admin_answer answer = { .result = results[query->request.result],
		.expires_in_s = -1,
		.error = query->request.error };

	if (query->request.op == STORE_UPSERT && query->request.result == STORE_DONE)
		answer.result = MAPPING_ADMIN_OK;
	/* After a failure it is not known what the store holds (MAP-35); while it is away, where
	 * the account was is better than a guess. */
	if (answer.result == MAPPING_ADMIN_FAILED || answer.result == MAPPING_ADMIN_TIMEOUT)
		cache_expire(query->mapping->cache, view_str(query->account), clock_mono_ms());
	else
		mapping_invalidate(query->mapping, view_str(query->account));
	admin_answer(query, &answer);
}

static int start_admin(struct mapping *mapping, enum store_op op, struct view account,
	struct view destination, mapping_admin_fn *done, void *arg)
{
	struct query *query = mapping_query_new(mapping, op, account);

	if (!query)
		return -ENOMEM;
	query->admin_done = done;
	query->admin_arg = arg;
	query->done = op == STORE_LOOKUP ? on_admin_get : on_admin_write;
	memcpy(query->destination, destination.data ? destination.data : "",
		MIN(destination.len, (size_t)MAPPING_NAME_BYTES));
	query->request.destination = view_str(query->destination);
	mapping_query_start(query);
	return 0;
}

static bool answer_get_from_cache(
	struct mapping *mapping, struct view account, struct mapping_admin_answer *ret_answer)
{
	uint64_t now = clock_mono_ms();
	struct cache_answer cached;
	struct mapping_answer answer;

	if (!cache_get(mapping->cache, account, now, &cached) || cached.kind == CACHE_TRANSIENT)
		return false;
	mapping_answer_from_cache(mapping, &cached, true, &answer);
	*ret_answer = (struct mapping_admin_answer){
		.source = cached.kind == CACHE_HELD     ? MAPPING_SOURCE_STALE
			: cached.kind == CACHE_NEGATIVE ? MAPPING_SOURCE_DEFAULT
							: MAPPING_SOURCE_CACHE,
		.routed_to_default = cached.kind == CACHE_NEGATIVE,
		.cached = true,
		.expires_in_s = (int64_t)((cached.expires_ms - now) / 1000),
	};
	memcpy(ret_answer->destination, answer.destination, sizeof(answer.destination));
	return true;
}

int mapping_admin_get(
	struct mapping *mapping, struct view account, mapping_admin_fn *done, void *arg)
{
	struct mapping_admin_answer answer;

	if (answer_get_from_cache(mapping, account, &answer)) {
		done(arg, &answer);
		return 0;
	}
	return start_admin(mapping, STORE_LOOKUP, account, view_make("", 0), done, arg);
}

static int admin_write(struct mapping *mapping, enum store_op op, struct view account,
	struct view destination, mapping_admin_fn *done, void *arg)
{
	struct mapping_admin_answer answer = { .result = MAPPING_ADMIN_READ_ONLY,
		.expires_in_s = -1 };

	if (mapping->store->ops->writable(mapping->store))
		return start_admin(mapping, op, account, destination, done, arg);
	done(arg, &answer);
	return 0;
}

int mapping_admin_set(struct mapping *mapping, struct view account, struct view destination,
	mapping_admin_fn *done, void *arg)
{
	return admin_write(mapping, STORE_UPSERT, account, destination, done, arg);
}

int mapping_admin_del(
	struct mapping *mapping, struct view account, mapping_admin_fn *done, void *arg)
{
	return admin_write(mapping, STORE_DELETE, account, view_make("", 0), done, arg);
}

static void on_admin_list(struct query *query)
{
	const struct mapping *mapping = query->mapping;
	struct mapping_admin_answer answer = { .result = MAPPING_ADMIN_FAILED,
		.expires_in_s = -1,
		.list = query->list,
		.error = query->request.error };

	if (query->request.result == STORE_TIMEOUT)
		answer.result = MAPPING_ADMIN_TIMEOUT;
	else if (query->request.result == STORE_DONE)
		answer.result = MAPPING_ADMIN_OK;
	/* The last answers come when the store is gone. */
	answer.writable = mapping->store && mapping->store->ops->writable(mapping->store);
	admin_answer(query, &answer);
}

int mapping_admin_list(struct mapping *mapping, struct view destination, struct view after,
	unsigned limit, mapping_admin_fn *done, void *arg)
{
	struct mapping_admin_answer answer = { .result = MAPPING_ADMIN_CANNOT_LIST };
	struct query *query;

	if (!mapping->store->ops->can_list(mapping->store)) {
		done(arg, &answer);
		return 0;
	}
	query = mapping_query_new(mapping, STORE_LIST, view_make("", 0));
	if (query)
		query->list = calloc(1, sizeof(*query->list));
	if (!query || !query->list) {
		free(query);
		return -ENOMEM;
	}
	memcpy(query->list->after, after.data, MIN(after.len, (size_t)STORE_TOKEN_BYTES));
	query->list->limit = limit;
	query->request.list = query->list;
	memcpy(query->destination, destination.data,
		MIN(destination.len, (size_t)MAPPING_NAME_BYTES));
	query->request.destination = view_str(query->destination);
	query->admin_done = done;
	query->admin_arg = arg;
	query->done = on_admin_list;
	mapping_query_start(query);
	return 0;
}

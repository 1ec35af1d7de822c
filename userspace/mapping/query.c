// SPDX-License-Identifier: Apache-2.0
/*
 * One request to the store: it is answered within lookup_timeout, by the store or without it, and
 * what became of it says whether the store is there. A request outlives its answer when the store
 * is late; it is then an orphan that only waits to be freed. The store's thread talks to us by
 * posts alone. All on the control thread.
 */
#include "base/clock.h"
#include "mapping/core.h"

#include <stdio.h>
#include <stdlib.h>

void mapping_on_event(struct mapping *mapping, mapping_event_fn *fn, void *arg)
{
	mapping->on_event = fn;
	mapping->event_arg = arg;
}

void mapping_event(
	struct mapping *mapping, enum mapping_event what, const char *text, uint64_t outage_ms)
{
	if (mapping->on_event)
		mapping->on_event(mapping->event_arg, what, text, outage_ms);
}

static void note_outcome(struct mapping *mapping, const struct store_request *request)
{
	uint64_t since = atomic_load(&mapping->down_since_ms);

	if (request->result == STORE_ERROR || request->result == STORE_TIMEOUT) {
		snprintf(mapping->store_error, sizeof(mapping->store_error), "%s", request->error);
		atomic_store(&mapping->store_refused, request->refused);
		if (!since) {
			atomic_store(&mapping->down_since_ms, clock_mono_ms());
			mapping_event(mapping, MAPPING_STORE_LOST, request->error, 0);
		}
		return;
	}
	mapping->store_error[0] = '\0';
	atomic_store(&mapping->store_refused, false);
	atomic_store(&mapping->store_seen, true);
	if (since) {
		atomic_store(&mapping->down_since_ms, 0);
		mapping_event(mapping, MAPPING_STORE_BACK, "", clock_mono_ms() - since);
	}
}

/* What failed alone says nothing about lookups: a page of a list, a write (a constraint, a table
 * that is locked or may only be read). Nor does what an earlier store had to say. */
static bool is_sign(const struct query *query)
{
	bool failed =
		query->request.result == STORE_ERROR || query->request.result == STORE_TIMEOUT;
	bool is_write = query->request.op == STORE_UPSERT || query->request.op == STORE_DELETE;

	return query->use == query->mapping->use && query->request.op != STORE_LIST &&
		!(is_write && (failed || query->request.result == STORE_READ_ONLY));
}

/* Tells whoever still waits; the query may stay out as an orphan afterwards. */
static void settle(struct query *query)
{
	query_fn *done = query->done;

	loop_timer_del(query->mapping->control, &query->timer);
	query->done = NULL;
	if (!done)
		return;
	if (query->request.op == STORE_LOOKUP)
		histogram_observe(&query->mapping->latency, clock_mono_ms() - query->started_ms);
	if (is_sign(query))
		note_outcome(query->mapping, &query->request);
	done(query);
}

static void on_query_done(struct post *post)
{
	struct query *query = container_of(post, struct query, post);

	settle(query);
	mapping_use_done(query->use);
	mapping_query_free(query);
}

/* Any thread. The control loop lives longer than the store. */
static void on_store_done(struct store_request *request)
{
	struct query *query = container_of(request, struct query, request);

	mailbox_send(&query->mapping->control->mailbox, &query->post, on_query_done);
}

/* The store is late: answer without it. Its own answer finds nobody and is dropped. The request
 * still belongs to the store's thread: nothing of it but op, which nobody writes, may be read. */
static void on_query_late(struct timer *timer)
{
	struct query *query = container_of(timer, struct query, timer);
	struct query late = { .mapping = query->mapping,
		.use = query->use,
		.started_ms = query->started_ms,
		.flight = query->flight,
		.done = query->done,
		.admin_done = query->admin_done,
		.admin_arg = query->admin_arg,
		.request = { .op = query->request.op, .result = STORE_TIMEOUT } };

	memcpy(late.account, query->account, sizeof(late.account));
	memcpy(late.destination, query->destination, sizeof(late.destination));
	snprintf(late.request.error, sizeof(late.request.error), "no answer within lookup_timeout");
	query->flight = NULL;
	query->done = NULL;
	settle(&late);
}

struct query *mapping_query_new(struct mapping *mapping, enum store_op op, struct view account)
{
	struct query *query = calloc(1, sizeof(*query));

	if (!query)
		return NULL;
	query->mapping = mapping;
	query->request.op = op;
	memcpy(query->account, account.data, MIN(account.len, (size_t)ACCOUNT_BYTES));
	query->request.identifier =
		view_make(query->account, MIN(account.len, (size_t)ACCOUNT_BYTES));
	query->request.done = on_store_done;
	return query;
}

void mapping_query_free(struct query *query)
{
	if (query->list)
		store_list_fini(query->list);
	free(query->list);
	free(query);
}

void mapping_query_start(struct query *query)
{
	struct mapping *mapping = query->mapping;

	query->started_ms = clock_mono_ms();
	query->request.deadline_ms = query->started_ms + mapping->params.lookup_timeout_ms;
	loop_timer_set(
		mapping->control, &query->timer, mapping->params.lookup_timeout_ms, on_query_late);
	query->use = mapping->use;
	query->use->out++;
	mapping->store->ops->submit(mapping->store, &query->request);
}

/* ---- the sign of life ---- */

static void on_probed(struct query *query)
{
	query->mapping->probing = false;
}

void mapping_probe_store(struct mapping *mapping)
{
	struct query *query;

	if (mapping->probing)
		return;
	query = mapping_query_new(
		mapping, STORE_PING, view_make(STORE_NOBODY, strlen(STORE_NOBODY)));
	if (!query)
		return;
	mapping->probing = true;
	query->done = on_probed;
	mapping_query_start(query);
}

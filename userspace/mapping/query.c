// SPDX-License-Identifier: Apache-2.0
/*
 * One request to the store: it is answered within lookup_timeout, by the store or without it, and
 * what became of it says whether the store is there. A request outlives its answer when the store
 * is late; it is then an orphan that only waits to be freed.
 *
 * A lookup that a worker began ("direct") goes to the store from there, and its answer from the
 * store's thread to who waits: each thread in between would be two changes of threads more. The
 * control thread only looks at the oldest deadline. An answer with more to it than a node (an
 * error, the first after one) is posted to the control thread, as are those of all other requests.
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

	pthread_mutex_lock(&query->mapping->lock);
	if (list_linked(&query->link))
		list_del(&query->link);
	pthread_mutex_unlock(&query->mapping->lock);
	settle(query);
	mapping_use_done(query->use);
	mapping_query_free(query);
}

/* Any thread. The control loop lives longer than the store. */
static void on_store_done(struct store_request *request)
{
	struct query *query = container_of(request, struct query, request);

	if (!query->at_once || !query->at_once(query))
		mailbox_send(&query->mapping->control->mailbox, &query->post, on_query_done);
}

/* The store is late: answer without it. Its own answer finds nobody and is dropped. The request
 * still belongs to the store's thread: nothing of it but op, which nobody writes, may be read. */
static void give_up(struct query *query)
{
	struct query late = { .mapping = query->mapping,
		.use = query->use,
		.started_ms = query->started_ms,
		.done = query->done,
		.admin_done = query->admin_done,
		.admin_arg = query->admin_arg,
		.request = { .op = query->request.op, .result = STORE_TIMEOUT } };

	memcpy(late.account, query->account, sizeof(late.account));
	memcpy(late.destination, query->destination, sizeof(late.destination));
	snprintf(late.request.error, sizeof(late.request.error), "no answer within lookup_timeout");
	pthread_mutex_lock(&query->mapping->lock);
	late.flight = query->flight;
	query->flight = NULL;
	pthread_mutex_unlock(&query->mapping->lock);
	query->done = NULL;
	settle(&late);
}

static void on_query_late(struct timer *timer)
{
	give_up(container_of(timer, struct query, timer));
}

/* ---- direct ones ---- */

static void on_watch(struct timer *timer);

/* Arms the timer for the first deadline, if there is one. With the lock held. */
static void watch_next(struct mapping *mapping, uint64_t now)
{
	struct query *first;

	mapping->watching = !list_empty(&mapping->direct) && !mapping->closing;
	if (!mapping->watching)
		return;
	first = list_entry(mapping->direct.next, struct query, link);
	loop_timer_set(mapping->control, &mapping->watch_timer,
		first->request.deadline_ms > now ? first->request.deadline_ms - now : 0, on_watch);
}

/* One that is over is taken off the list before the lock is let go: nobody answers it but us. */
static struct query *take_late(struct mapping *mapping, uint64_t now)
{
	struct query *query = NULL;

	pthread_mutex_lock(&mapping->lock);
	if (!list_empty(&mapping->direct))
		query = list_entry(mapping->direct.next, struct query, link);
	if (query && query->request.deadline_ms <= now)
		list_del(&query->link);
	else
		query = NULL;
	pthread_mutex_unlock(&mapping->lock);
	return query;
}

static void on_watch(struct timer *timer)
{
	struct mapping *mapping = container_of(timer, struct mapping, watch_timer);
	uint64_t now = clock_mono_ms();
	struct query *query;

	while ((query = take_late(mapping, now)))
		give_up(query);
	pthread_mutex_lock(&mapping->lock);
	watch_next(mapping, now);
	pthread_mutex_unlock(&mapping->lock);
}

static void on_watch_post(struct post *post)
{
	struct mapping *mapping = container_of(post, struct mapping, watch_post);

	pthread_mutex_lock(&mapping->lock);
	watch_next(mapping, clock_mono_ms());
	pthread_mutex_unlock(&mapping->lock);
}

bool mapping_query_enter(struct query *query)
{
	struct mapping *mapping = query->mapping;
	struct list_node *after = mapping->direct.prev;
	bool watch = !mapping->watching;

	query->started_ms = clock_mono_ms();
	query->request.deadline_ms = query->started_ms + mapping->params.lookup_timeout_ms;
	while (after != &mapping->direct && /* a reload has made the time shorter */
		list_entry(after, struct query, link)->request.deadline_ms >
			query->request.deadline_ms)
		after = after->prev;
	list_add_head(after, &query->link);
	query->use = mapping->use;
	query->use->out++;
	mapping->watching = true;
	return watch;
}

void mapping_query_submit(struct query *query, bool watch)
{
	struct mapping *mapping = query->mapping;
	struct store *store = query->use->store; /* which stays as long as this is out */

	if (watch)
		mailbox_send(&mapping->control->mailbox, &mapping->watch_post, on_watch_post);
	store->ops->submit(store, &query->request);
}

/* ---- life ---- */

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
	pthread_mutex_lock(&mapping->lock);
	query->use->out++;
	pthread_mutex_unlock(&mapping->lock);
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

// SPDX-License-Identifier: Apache-2.0
/*
 * Lookups. A hit never leaves the caller's thread. A miss joins or begins a flight: one per account
 * under way, with the askers that wait for it (MAP-82). A store with a thread of its own is asked
 * from the caller's thread, and its own answers who waits (query.c); another is asked by the
 * control thread, to which the asker is posted.
 *
 * Files need each other in one direction: admin.c, reload.c -> mapping.c -> query.c -> uses.c,
 * names.c, cache.c.
 */
#include "base/clock.h"
#include "base/hash.h"
#include "mapping/core.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define TRANSIENT_MS 5000
#define MAPPING_POST 2 /* beside MAPPING_HIT and MAPPING_PENDING */

/* One asker in a flight, maybe on its way to the control loop before; then its own reply. */
struct asker {
	struct mapping_reply reply; /* first: what is freed */
	struct list_node link;
	struct mapping *mapping;
	struct mailbox *mailbox;
	post_fn *on_reply;
	size_t len;
	char account[ACCOUNT_BYTES + 1];
};

struct flight {
	struct list_node link; /* in its bucket */
	struct list_node askers;
	struct mapping *mapping;
	struct query *query;
	uint64_t epoch; /* of the cache, when the query began */
	size_t len;
	char account[ACCOUNT_BYTES + 1];
};

const char *mapping_choice_name(enum mapping_choice choice)
{
	static const char *const names[] = { "mapped", "default", "stale", "unavailable" };

	static_assert(ARRAY_SIZE(names) == MAPPING_CHOICES, "a name for each");
	return names[choice];
}

/* ---- answers ---- */

/* The table of names is looked at after the index was: it is long enough. */
static void set_answer(const struct mapping *mapping, unsigned destination,
	enum mapping_choice choice, bool hit, struct mapping_answer *ret_answer)
{
	memcpy(ret_answer->destination, mapping_name(mapping, destination), MAPPING_NAME_BYTES + 1);
	ret_answer->choice = choice;
	ret_answer->hit = hit;
}

/* The store cannot say and nothing is remembered: a guess may make a mailbox on the wrong node. */
static void set_unknown(const struct mapping *mapping, bool hit, struct mapping_answer *ret_answer)
{
	set_answer(mapping, atomic_load(&mapping->default_index), MAPPING_DEFAULT, hit, ret_answer);
	if (!atomic_load(&mapping->no_guess))
		return;
	ret_answer->choice = MAPPING_UNAVAILABLE;
	ret_answer->destination[0] = '\0';
}

void mapping_answer_from_cache(const struct mapping *mapping, const struct cache_answer *cached,
	bool hit, struct mapping_answer *ret_answer)
{
	if (cached->kind == CACHE_POSITIVE || cached->kind == CACHE_HELD)
		set_answer(mapping, cached->destination,
			cached->kind == CACHE_HELD ? MAPPING_STALE : MAPPING_MAPPED, hit,
			ret_answer);
	else if (cached->kind == CACHE_TRANSIENT)
		set_unknown(mapping, hit, ret_answer);
	else
		set_answer(mapping, atomic_load(&mapping->default_index), MAPPING_DEFAULT, hit,
			ret_answer);
}

/* ---- flights ---- */

static struct list_node *bucket_of(struct mapping *mapping, struct view account)
{
	return &mapping->flights[hash_view(account) % FLIGHT_BUCKETS];
}

/* A flight that began before an invalidation takes no new askers (MAP-85). */
static struct flight *find_flight(struct mapping *mapping, struct view account)
{
	uint64_t epoch = cache_epoch(mapping->cache, account);

	list_for_each (node, bucket_of(mapping, account)) {
		struct flight *flight = list_entry(node, struct flight, link);

		if (flight->epoch == epoch &&
			view_eq(view_make(flight->account, flight->len), account))
			return flight;
	}
	return NULL;
}

void mapping_reply_free(struct mapping_reply *reply)
{
	free(reply);
}

static void reply_to(struct asker *asker, const struct mapping_answer *answer)
{
	asker->reply.answer = *answer;
	if (!mailbox_send(asker->mailbox, &asker->reply.post, asker->on_reply))
		free(asker);
}

/* Nobody finds it any more. */
static void reply_all(struct flight *flight, const struct mapping_answer *answer)
{
	list_for_each_safe (node, next, &flight->askers) {
		list_del(node);
		reply_to(list_entry(node, struct asker, link), answer);
	}
	free(flight);
}

static void land(struct flight *flight, const struct mapping_answer *answer)
{
	struct mapping *mapping = flight->mapping;

	pthread_mutex_lock(&mapping->lock);
	list_del(&flight->link);
	pthread_mutex_unlock(&mapping->lock);
	reply_all(flight, answer);
}

static uint64_t transient_ms(const struct mapping *mapping)
{
	return MIN((uint64_t)TRANSIENT_MS, mapping->params.negative_ttl_ms);
}

/* mapping.md section 1 and 9: what a result means, what is cached, which node is used. */
static void resolve_failure(struct flight *flight, struct mapping_answer *ret_answer)
{
	struct mapping *mapping = flight->mapping;
	struct view account = view_make(flight->account, flight->len);
	uint64_t now = clock_mono_ms();
	uint16_t destination;

	if (cache_get_stale(mapping->cache, account, now, &destination)) {
		atomic_fetch_add(&mapping->stale_served, 1);
		atomic_fetch_add(&mapping->store_errors, 1);
		cache_put(mapping->cache, account, flight->epoch, CACHE_HELD, destination,
			transient_ms(mapping), now);
		set_answer(mapping, destination, MAPPING_STALE, false, ret_answer);
		return;
	}
	atomic_fetch_add(&mapping->store_errors, 1);
	cache_put(mapping->cache, account, flight->epoch, CACHE_TRANSIENT, 0, transient_ms(mapping),
		now);
	set_unknown(mapping, false, ret_answer);
}

/* destination: where the store says that the account is; -1 nowhere that is declared. */
static void resolve_result(
	struct flight *flight, int destination, struct mapping_answer *ret_answer)
{
	struct mapping *mapping = flight->mapping;
	struct view account = view_make(flight->account, flight->len);

	if (destination >= 0) {
		cache_put(mapping->cache, account, flight->epoch, CACHE_POSITIVE,
			(uint16_t)destination, mapping->params.positive_ttl_ms, clock_mono_ms());
		set_answer(mapping, (uint16_t)destination, MAPPING_MAPPED, false, ret_answer);
	} else {
		cache_put(mapping->cache, account, flight->epoch, CACHE_NEGATIVE, 0,
			mapping->params.negative_ttl_ms, clock_mono_ms());
		set_answer(mapping, atomic_load(&mapping->default_index), MAPPING_DEFAULT, false,
			ret_answer);
	}
}

static void on_flight_done(struct query *query)
{
	const struct store_request *request = &query->request;
	struct flight *flight = query->flight;
	struct mapping *mapping = flight->mapping;
	struct mapping_answer answer;
	int destination = -1;

	query->flight = NULL;
	if (request->result == STORE_FOUND) {
		destination = mapping_find_name(mapping, view_str(request->value));
		if (destination < 0) {
			atomic_fetch_add(&mapping->unknown_destination, 1);
			mapping_event(mapping, MAPPING_UNKNOWN_DESTINATION, request->value, 0);
		}
	}
	if (request->result == STORE_ERROR || request->result == STORE_TIMEOUT)
		resolve_failure(flight, &answer);
	else
		resolve_result(flight, destination, &answer);
	land(flight, &answer);
}

/* Whether nobody but who waits has to be told of an answer: no store comes or goes, nothing is to
 * be logged. With the lock held. */
static bool is_plain(const struct mapping *mapping, const struct query *query, int *ret_destination)
{
	*ret_destination = -1;
	if (!list_linked(&query->link) || query->use != mapping->use || mapping->closing ||
		!atomic_load(&mapping->store_seen) || atomic_load(&mapping->down_since_ms) ||
		atomic_load(&mapping->store_refused))
		return false;
	if (query->request.result == STORE_FOUND)
		*ret_destination = mapping_find_name(mapping, view_str(query->request.value));
	return query->request.result == STORE_NONE || *ret_destination >= 0;
}

static bool answer_at_once(struct query *query)
{
	struct mapping *mapping = query->mapping;
	struct flight *flight = NULL;
	struct mapping_answer answer;
	int destination;

	pthread_mutex_lock(&mapping->lock);
	if (is_plain(mapping, query, &destination)) {
		flight = query->flight;
		resolve_result(flight, destination, &answer);
		list_del(&flight->link);
		list_del(&query->link);
		query->use->out--;
	}
	pthread_mutex_unlock(&mapping->lock);
	if (!flight)
		return false;
	histogram_observe(&mapping->latency, clock_mono_ms() - query->started_ms);
	mapping_query_free(query);
	reply_all(flight, &answer);
	return true;
}

/* With the lock held. Returns its query, which is to be sent to the store without it; NULL without
 * memory. */
static struct query *start_flight(struct mapping *mapping, struct asker *asker)
{
	struct view account = view_make(asker->account, asker->len);
	struct flight *flight = calloc(1, sizeof(*flight));
	struct query *query = flight ? mapping_query_new(mapping, STORE_LOOKUP, account) : NULL;

	if (!query) {
		free(flight);
		return NULL;
	}
	flight->mapping = mapping;
	flight->query = query;
	flight->len = asker->len;
	memcpy(flight->account, asker->account, asker->len);
	flight->epoch = cache_epoch(mapping->cache, account);
	list_init(&flight->askers);
	list_add_tail(&flight->askers, &asker->link);
	list_add_tail(bucket_of(mapping, account), &flight->link);
	query->flight = flight;
	query->done = on_flight_done;
	query->at_once = answer_at_once;
	atomic_fetch_add(&mapping->misses, 1);
	atomic_fetch_add(&mapping->store_queries, 1);
	return query;
}

/* With the lock held. True: *ret_answer is the answer, and the asker the caller's; else it waits in
 * a flight, whose query is in *ret_query if it begins. */
static bool join(struct mapping *mapping, struct asker *asker, struct query **ret_query,
	struct mapping_answer *ret_answer)
{
	struct view account = view_make(asker->account, asker->len);
	struct flight *flight = find_flight(mapping, account);
	struct cache_answer cached;

	*ret_query = NULL;
	if (flight && !mapping->closing) {
		atomic_fetch_add(&mapping->coalesced, 1);
		list_add_tail(&flight->askers, &asker->link);
		return false;
	}
	if (!mapping->closing && cache_get(mapping->cache, account, clock_mono_ms(), &cached)) {
		/* Its flight landed while it was on its way here. */
		atomic_fetch_add(&mapping->coalesced, 1);
		mapping_answer_from_cache(mapping, &cached, false, ret_answer);
		return true;
	}
	if (!mapping->closing)
		*ret_query = start_flight(mapping, asker);
	if (!*ret_query)
		set_unknown(mapping, false, ret_answer);
	return !*ret_query;
}

static void on_asker(struct post *post)
{
	struct asker *asker = container_of(post, struct asker, reply.post);
	struct mapping *mapping = asker->mapping;
	struct mapping_answer answer;
	struct query *query;
	bool known;

	pthread_mutex_lock(&mapping->lock);
	known = join(mapping, asker, &query, &answer);
	pthread_mutex_unlock(&mapping->lock);
	if (known)
		reply_to(asker, &answer);
	else if (query)
		mapping_query_start(query);
}

/* Returns MAPPING_HIT or MAPPING_PENDING; or MAPPING_POST: the control thread is to do it. */
static int ask_directly(
	struct mapping *mapping, struct asker *asker, struct mapping_answer *ret_answer)
{
	struct query *query = NULL;
	bool known = false, watch = false;

	pthread_mutex_lock(&mapping->lock);
	if (mapping->closing || !mapping->store->ops->any_thread) {
		pthread_mutex_unlock(&mapping->lock);
		return MAPPING_POST;
	}
	known = join(mapping, asker, &query, ret_answer);
	if (query)
		watch = mapping_query_enter(query);
	pthread_mutex_unlock(&mapping->lock);
	if (query)
		mapping_query_submit(query, watch);
	return known ? MAPPING_HIT : MAPPING_PENDING;
}

int mapping_lookup(struct mapping *mapping, struct view account, struct mailbox *mailbox,
	post_fn *on_reply, uint64_t cookie, struct mapping_answer *ret_answer)
{
	struct cache_answer cached;
	struct asker *asker;
	int r;

	if (cache_get(mapping->cache, account, clock_mono_ms(), &cached)) {
		atomic_fetch_add(&mapping->hits, 1);
		mapping_answer_from_cache(mapping, &cached, true, ret_answer);
		return MAPPING_HIT;
	}
	asker = calloc(1, sizeof(*asker));
	if (!asker)
		return -ENOMEM;
	asker->mapping = mapping;
	asker->mailbox = mailbox;
	asker->on_reply = on_reply;
	asker->reply.cookie = cookie;
	asker->len = MIN(account.len, (size_t)ACCOUNT_BYTES);
	memcpy(asker->account, account.data, asker->len);
	r = ask_directly(mapping, asker, ret_answer);
	if (r == MAPPING_POST) {
		if (mailbox_send(&mapping->control->mailbox, &asker->reply.post, on_asker))
			return MAPPING_PENDING;
		set_unknown(mapping, false, ret_answer);
		r = MAPPING_HIT;
	}
	if (r == MAPPING_HIT)
		free(asker);
	return r;
}

/* ---- invalidation, counters ---- */

uint64_t mapping_invalidate(struct mapping *mapping, struct view account)
{
	uint64_t count = cache_drop(mapping->cache, account);

	atomic_fetch_add(&mapping->invalidated, count);
	return count;
}

uint64_t mapping_invalidate_all(struct mapping *mapping)
{
	uint64_t count = cache_drop_all(mapping->cache);

	atomic_fetch_add(&mapping->invalidated, count);
	atomic_fetch_add(&mapping->flushes, 1);
	return count;
}

void mapping_expire_all(struct mapping *mapping)
{
	cache_expire_all(mapping->cache, clock_mono_ms());
}

const struct histogram *mapping_store_latency(const struct mapping *mapping)
{
	return &mapping->latency;
}

void mapping_stats(struct mapping *mapping, struct mapping_stats *ret_stats)
{
	uint64_t since = atomic_load(&mapping->down_since_ms), now = clock_mono_ms();

	*ret_stats = (struct mapping_stats){
		.hits = atomic_load(&mapping->hits),
		.misses = atomic_load(&mapping->misses),
		.coalesced = atomic_load(&mapping->coalesced),
		.stale_served = atomic_load(&mapping->stale_served),
		.store_queries = atomic_load(&mapping->store_queries),
		.store_errors = atomic_load(&mapping->store_errors),
		.unknown_destination = atomic_load(&mapping->unknown_destination),
		.invalidated = atomic_load(&mapping->invalidated),
		.flushes = atomic_load(&mapping->flushes),
		.store_seen = atomic_load(&mapping->store_seen),
		.store_refused = atomic_load(&mapping->store_refused),
		.push_state = (enum mapping_push_state)atomic_load(&mapping->push_state),
		.store_down_ms = since && now > since ? now - since : 0,
	};
	ret_stats->store_state = since  ? MAPPING_STORE_DOWN
		: ret_stats->store_seen ? MAPPING_STORE_UP
					: MAPPING_STORE_UNKNOWN;
	cache_count(mapping->cache, now, &ret_stats->entries, &ret_stats->stale_entries);
}

const char *mapping_store_error(const struct mapping *mapping)
{
	return mapping->store_error;
}

void mapping_set_push(struct mapping *mapping, enum mapping_push_state state)
{
	atomic_store(&mapping->push_state, (int)state);
}

/* ---- life ---- */

int mapping_new(const struct mapping_params *params, struct mapping **ret_mapping)
{
	struct mapping *mapping = calloc(1, sizeof(*mapping));
	int r;

	if (!mapping)
		return -ENOMEM;
	mapping->control = params->control;
	mapping->params = *params;
	atomic_store(&mapping->no_guess, params->no_guess);
	for (int i = 0; i < FLIGHT_BUCKETS; i++)
		list_init(&mapping->flights[i]);
	list_init(&mapping->direct);
	list_init(&mapping->retired);
	pthread_mutex_init(&mapping->lock, NULL);
	r = mapping_set_names(mapping, params);
	if (r == 0)
		r = cache_new(params->max_entries, params->stale_grace_ms, &mapping->cache);
	if (r == 0)
		r = mapping_use_new(mapping, params);
	if (r < 0) {
		cache_free(mapping->cache);
		mapping_names_free(mapping);
		pthread_mutex_destroy(&mapping->lock);
		free(mapping);
		return r;
	}
	*ret_mapping = mapping;
	return 0;
}

static void answer_pending(struct mapping *mapping)
{
	struct mapping_answer answer;

	set_unknown(mapping, false, &answer);
	pthread_mutex_lock(&mapping->lock);
	mapping->closing = true;
	for (int i = 0; i < FLIGHT_BUCKETS; i++) {
		while (!list_empty(&mapping->flights[i])) {
			struct flight *flight =
				list_entry(mapping->flights[i].next, struct flight, link);

			if (flight->query) {
				flight->query->flight = NULL;
				flight->query->done = NULL;
				loop_timer_del(mapping->control, &flight->query->timer);
			}
			list_del(&flight->link);
			reply_all(flight, &answer);
		}
	}
	pthread_mutex_unlock(&mapping->lock);
	loop_timer_del(mapping->control, &mapping->watch_timer);
}

void mapping_free(struct mapping *mapping)
{
	if (!mapping)
		return;
	answer_pending(mapping);
	mapping_use_fini(mapping); /* finishes every request that is out */
	cache_free(mapping->cache);
	mapping_names_free(mapping);
	pthread_mutex_destroy(&mapping->lock);
	free(mapping);
}

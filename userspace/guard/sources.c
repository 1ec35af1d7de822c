// SPDX-License-Identifier: Apache-2.0
/*
 * What is known of sources: points that vanish evenly, strikes, the last secrets, sessions. Those
 * without sessions are in a list by when something happened with them, and the oldest of all shards
 * goes where there are too many (GRD-9); those with sessions are as many as there are sessions.
 */
#include "guard/state.h"

#include <stdlib.h>

/* An old password is remembered for so long after its last use. */
#define KEPT_MS (24 * 3600 * 1000ULL)
#define SWEPT_AT_ONCE 1000

static struct source **bucket(struct guard *guard, struct shard *shard, const struct key *key)
{
	/* The low bits chose the shard. */
	return &shard->sources[key_hash(key) / SHARDS & (guard->source_buckets - 1)];
}

struct source *source_find(struct guard *guard, struct shard *shard, const struct key *key)
{
	struct source *source = *bucket(guard, shard, key);

	while (source && !key_eq(&source->key, key))
		source = source->next;
	return source;
}

static void set_listed(struct guard *guard, struct shard *shard, struct source *source)
{
	bool listed = list_linked(&source->lru);

	list_del(&source->lru);
	if (!source->sessions)
		list_add_tail(&shard->lru, &source->lru);
	if (listed && source->sessions)
		atomic_fetch_sub(&guard->limited, 1);
	else if (!listed && !source->sessions)
		atomic_fetch_add(&guard->limited, 1);
}

void source_touch(struct guard *guard, struct shard *shard, struct source *source, uint64_t now_ms)
{
	source->touched = atomic_fetch_add_explicit(&guard->touches, 1, memory_order_relaxed);
	source->touched_ms = now_ms;
	set_listed(guard, shard, source);
}

struct source *source_get(
	struct guard *guard, struct shard *shard, const struct key *key, uint64_t now_ms)
{
	struct source *source = source_find(guard, shard, key), **first = bucket(guard, shard, key);

	if (source)
		return source;
	source = calloc(1, sizeof(*source));
	if (!source)
		return NULL;
	source->key = *key;
	source->decayed_ms = now_ms;
	source->next = *first;
	*first = source;
	atomic_fetch_add(&guard->sources, 1);
	source_touch(guard, shard, source, now_ms);
	return source;
}

double source_fifths(const struct policy *policy, struct source *source, uint64_t now_ms)
{
	double most = (double)policy->settings.ban_after * FIFTHS;
	double gone = (double)(now_ms - source->decayed_ms) * most /
		(double)policy->settings.ban_window_ms;

	/* Time that another thread has read before does not go back. */
	if (now_ms > source->decayed_ms) {
		source->fifths = source->fifths > gone + NEARLY ? source->fifths - gone : 0;
		source->decayed_ms = now_ms;
	}
	source->fifths = MIN(source->fifths, most); /* that may be less than it was */
	if (source->fifths < most / 2)
		source->withheld = false;
	if (source->fifths <= 0)
		source->told = false;
	return source->fifths;
}

unsigned source_strikes(struct source *source, uint64_t now_ms)
{
	if (source->strikes_until_ms <= now_ms)
		source->strikes = 0;
	return source->strikes;
}

bool source_knows_secret(struct source *source, uint64_t secret)
{
	for (unsigned i = 0; i < SECRETS; i++) {
		if (source->secrets[i] == secret)
			return true;
	}
	source->secrets[source->next_secret] = secret;
	source->next_secret = (source->next_secret + 1) % SECRETS;
	return false;
}

void source_remove(struct guard *guard, struct shard *shard, struct source *source)
{
	struct source **at = bucket(guard, shard, &source->key);

	while (*at != source)
		at = &(*at)->next;
	*at = source->next;
	if (list_linked(&source->lru))
		atomic_fetch_sub(&guard->limited, 1);
	list_del(&source->lru);
	atomic_fetch_sub(&guard->sources, 1);
	free(source);
}

static bool is_idle(const struct shard *shard, struct source *source, uint64_t now_ms)
{
	bool has_secrets = source->secrets[0] && now_ms < source->touched_ms + KEPT_MS;

	return !source->sessions && !has_secrets && !source_strikes(source, now_ms) &&
		source_fifths(shard->policy, source, now_ms) <= 0;
}

void source_release(
	struct guard *guard, struct shard *shard, struct source *source, uint64_t now_ms)
{
	if (is_idle(shard, source, now_ms))
		source_remove(guard, shard, source);
}

/* ---- limits ---- */

static struct source *oldest(struct shard *shard)
{
	return list_empty(&shard->lru) ? NULL : list_entry(shard->lru.next, struct source, lru);
}

static struct shard *shard_of_oldest(struct guard *guard)
{
	struct shard *found = NULL;
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; i < SHARDS; i++) {
		struct shard *shard = &guard->shards[i];
		const struct source *source;

		pthread_mutex_lock(&shard->lock);
		source = oldest(shard);
		if (source && source->touched < least) {
			least = source->touched;
			found = shard;
		}
		pthread_mutex_unlock(&shard->lock);
	}
	return found;
}

bool sources_full(struct guard *guard)
{
	return atomic_load(&guard->limited) >= guard->fixed.max_sources;
}

void sources_make_room(struct guard *guard)
{
	while (sources_full(guard)) {
		struct shard *shard = shard_of_oldest(guard);

		if (!shard)
			return;
		pthread_mutex_lock(&shard->lock);
		if (oldest(shard)) { /* another thread may have been faster */
			source_remove(guard, shard, oldest(shard));
			shard->forgotten++;
		}
		pthread_mutex_unlock(&shard->lock);
	}
}

void sources_sweep(struct guard *guard, struct shard *shard, uint64_t now_ms)
{
	for (int i = 0; i < SWEPT_AT_ONCE; i++) {
		struct source *source = oldest(shard);

		if (!source || !is_idle(shard, source, now_ms))
			return;
		source_remove(guard, shard, source);
	}
}

void sources_free(struct guard *guard, struct shard *shard)
{
	for (size_t i = 0; shard->sources && i < guard->source_buckets; i++) {
		for (struct source *source = shard->sources[i], *next; source; source = next) {
			next = source->next;
			free(source);
		}
	}
	free(shard->sources);
}

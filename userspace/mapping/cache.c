// SPDX-License-Identifier: Apache-2.0
/*
 * Shards, each with a lock, a hash table, one list per kind and a list by last use. Entries of one
 * kind get the same lifetime, so each kind's list is in order of expiry and what has expired is at
 * its head: expiring is amortised O(1), and eviction finds what is worth least without a scan
 * (MAP-84). What says that nothing is known of a name (negative, transient) goes first and holds a
 * quarter at most, because anybody can make names up: the stale entries are what serves during an
 * outage. A hit only marks its entry: the order by last use is made up for when something is
 * evicted, so that a hit touches its bucket and its entry and no neighbours. With a million entries
 * each is a miss of the processor's caches, and they are all that a hit costs. Entries from before
 * a change of lifetimes stand in lists of their own, in order of their own.
 */
#include "mapping/cache.h"
#include "base/hash.h"
#include "base/list.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define SHARDS 64
#define SMALL_CACHE 4096 /* below it one shard, so that the bound is exact and useful */
#define FIRST_BUCKETS 64

/* Which lists an entry stands in: those of the lifetimes that hold now, or of earlier ones. */
enum { NOW, EARLIER, AGES };

#define SECOND_CHANCES 64 /* at most, per eviction */

/* What a hit reads stands together. */
struct entry {
	struct list_node by_kind, by_use;
	uint64_t stale_until_ms; /* 0: nothing to fall back to */
	struct entry *next;      /* in its bucket */
	uint64_t expires_ms;
	uint32_t hash; /* its lower half */
	uint16_t destination, len;
	uint8_t kind;
	bool used; /* since it came to the end of by_use */
	char account[];
};

struct shard {
	pthread_mutex_t lock;
	struct entry **buckets;
	size_t bucket_count, count, max;
	size_t kind_count[CACHE_KINDS];
	struct list_node kinds[AGES][CACHE_KINDS], by_use;
	uint64_t epoch, stale_grace_ms;
} __attribute__((aligned(64)));

struct cache {
	size_t shard_count;
	struct shard *shards;
};

/* ---- a shard ---- */

static struct entry **find(struct shard *shard, struct view account, uint32_t hash)
{
	struct entry **at = &shard->buckets[hash & (shard->bucket_count - 1)];

	while (*at &&
		((*at)->hash != hash || !view_eq(view_make((*at)->account, (*at)->len), account)))
		at = &(*at)->next;
	return at;
}

static void set_kind(struct shard *shard, struct entry *entry, enum cache_kind kind)
{
	if (list_linked(&entry->by_kind)) {
		list_del(&entry->by_kind);
		shard->kind_count[entry->kind]--;
	}
	entry->kind = (uint8_t)kind;
	list_add_tail(&shard->kinds[NOW][kind], &entry->by_kind);
	shard->kind_count[kind]++;
}

static void drop(struct shard *shard, struct entry *entry)
{
	struct entry **at = find(shard, view_make(entry->account, entry->len), entry->hash);

	*at = entry->next;
	list_del(&entry->by_kind);
	list_del(&entry->by_use);
	shard->kind_count[entry->kind]--;
	shard->count--;
	free(entry);
}

/* Expired: stale if it may stand in later, else gone. */
static void expire(struct shard *shard, struct entry *entry, uint64_t now_ms)
{
	if (entry->stale_until_ms > now_ms)
		set_kind(shard, entry, CACHE_STALE);
	else
		drop(shard, entry);
}

static struct entry *head(struct shard *shard, int age, enum cache_kind kind)
{
	struct list_node *list = &shard->kinds[age][kind];

	return list_empty(list) ? NULL : list_entry(list->next, struct entry, by_kind);
}

static void expire_due_of(struct shard *shard, int age, uint64_t now_ms)
{
	struct entry *entry;

	for (int kind = 0; kind < CACHE_STALE; kind++) {
		while ((entry = head(shard, age, (enum cache_kind)kind)) &&
			entry->expires_ms <= now_ms)
			expire(shard, entry, now_ms);
	}
	while ((entry = head(shard, age, CACHE_STALE)) && entry->stale_until_ms <= now_ms)
		drop(shard, entry);
}

static void expire_due(struct shard *shard, uint64_t now_ms)
{
	expire_due_of(shard, EARLIER, now_ms); /* first: what expires becomes stale now */
	expire_due_of(shard, NOW, now_ms);
}

static bool is_minor(enum cache_kind kind)
{
	return kind == CACHE_NEGATIVE || kind == CACHE_TRANSIENT;
}

/* Entries that say that nothing is known. */
static size_t minors(const struct shard *shard)
{
	return shard->kind_count[CACHE_NEGATIVE] + shard->kind_count[CACHE_TRANSIENT];
}

/* How many of them there may be. */
static size_t minors_max(const struct shard *shard)
{
	return MAX(shard->max / 4, (size_t)1);
}

/* The oldest entry of a kind; NULL if there is none. */
static struct entry *oldest(struct shard *shard, enum cache_kind kind)
{
	struct entry *entry = head(shard, EARLIER, kind);

	return entry ? entry : head(shard, NOW, kind);
}

static struct entry *oldest_minor(struct shard *shard)
{
	struct entry *entry = oldest(shard, CACHE_TRANSIENT);

	return entry ? entry : oldest(shard, CACHE_NEGATIVE);
}

/* The least recently used, more or less. */
static struct entry *least_used(struct shard *shard)
{
	struct entry *entry = list_entry(shard->by_use.next, struct entry, by_use);

	for (int i = 0; entry->used && i < SECOND_CHANCES; i++) {
		entry->used = false;
		list_del(&entry->by_use);
		list_add_tail(&shard->by_use, &entry->by_use);
		entry = list_entry(shard->by_use.next, struct entry, by_use);
	}
	return entry;
}

static void evict_one(struct shard *shard)
{
	struct entry *entry = oldest_minor(shard);

	if (!entry)
		entry = oldest(shard, CACHE_STALE);
	drop(shard, entry ? entry : least_used(shard));
}

/* Keeps chains short; without memory they get longer, that is all. */
static void grow(struct shard *shard)
{
	size_t count = shard->bucket_count * 2;
	struct entry **buckets;

	if (shard->count < shard->bucket_count / 2)
		return;
	buckets = calloc(count, sizeof(struct entry *));
	if (!buckets)
		return;
	for (size_t i = 0; i < shard->bucket_count; i++) {
		struct entry *entry = shard->buckets[i], *next;

		for (; entry; entry = next) {
			next = entry->next;
			entry->next = buckets[entry->hash & (count - 1)];
			buckets[entry->hash & (count - 1)] = entry;
		}
	}
	free(shard->buckets);
	shard->buckets = buckets;
	shard->bucket_count = count;
}

/* Whether an entry of the kind may be made, after which there is a place for it. During an outage
 * nothing known makes room for a name of which nothing is known. */
static bool make_room(struct shard *shard, enum cache_kind kind)
{
	if (!shard->max) /* fewer entries than shards, since a reload */
		return false;
	if (kind == CACHE_TRANSIENT && shard->count >= shard->max && !minors(shard))
		return false;
	while (shard->count >= shard->max)
		evict_one(shard);
	return true;
}

static struct entry *add(
	struct shard *shard, struct view account, uint32_t hash, enum cache_kind kind)
{
	struct entry *entry, **at;

	if (!make_room(shard, kind))
		return NULL;
	entry = malloc(MAX(sizeof(*entry), offsetof(struct entry, account) + account.len));
	if (!entry)
		return NULL;
	grow(shard);
	*entry = (struct entry){ .hash = hash, .len = (uint16_t)account.len };
	memcpy(entry->account, account.data, account.len);
	at = &shard->buckets[hash & (shard->bucket_count - 1)];
	entry->next = *at;
	*at = entry;
	list_add_tail(&shard->by_use, &entry->by_use);
	shard->count++;
	return entry;
}

static int shard_init(struct shard *shard, size_t max, uint64_t stale_grace_ms)
{
	pthread_mutex_init(&shard->lock, NULL);
	shard->max = max;
	shard->bucket_count = FIRST_BUCKETS;
	shard->buckets = calloc(FIRST_BUCKETS, sizeof(struct entry *));
	for (int i = 0; i < CACHE_KINDS; i++) {
		list_init(&shard->kinds[NOW][i]);
		list_init(&shard->kinds[EARLIER][i]);
	}
	shard->stale_grace_ms = stale_grace_ms;
	list_init(&shard->by_use);
	return shard->buckets ? 0 : -ENOMEM;
}

/* ---- the cache ---- */

/* Of a bound for all shards: exact, whatever the number of shards. */
static size_t share(const struct cache *cache, size_t shard, uint64_t max_entries)
{
	return max_entries / cache->shard_count + (shard < max_entries % cache->shard_count);
}

int cache_new(uint64_t max_entries, uint64_t stale_grace_ms, struct cache **ret_cache)
{
	struct cache *cache = calloc(1, sizeof(*cache));
	int r = 0;

	if (!cache)
		return -ENOMEM;
	cache->shard_count = max_entries < SMALL_CACHE ? 1 : SHARDS;
	cache->shards = aligned_alloc(64, cache->shard_count * sizeof(*cache->shards));
	if (!cache->shards) {
		free(cache);
		return -ENOMEM;
	}
	memset(cache->shards, 0, cache->shard_count * sizeof(*cache->shards));
	for (size_t i = 0; i < cache->shard_count; i++) {
		if (shard_init(&cache->shards[i], share(cache, i, max_entries), stale_grace_ms) < 0)
			r = -ENOMEM;
	}
	if (r < 0)
		cache_free(cache);
	else
		*ret_cache = cache;
	return r;
}

void cache_free(struct cache *cache)
{
	if (!cache)
		return;
	for (size_t i = 0; i < cache->shard_count; i++) {
		struct shard *shard = &cache->shards[i];

		while (shard->buckets && !list_empty(&shard->by_use))
			drop(shard, list_entry(shard->by_use.next, struct entry, by_use));
		free(shard->buckets);
		pthread_mutex_destroy(&shard->lock);
	}
	free(cache->shards);
	free(cache);
}

static struct shard *lock_shard(struct cache *cache, uint64_t hash)
{
	struct shard *shard = &cache->shards[(hash >> 48) % cache->shard_count];

	pthread_mutex_lock(&shard->lock);
	return shard;
}

bool cache_get(
	struct cache *cache, struct view account, uint64_t now_ms, struct cache_answer *ret_answer)
{
	uint64_t hash = hash_view(account);
	struct shard *shard = lock_shard(cache, hash);
	struct entry *entry = *find(shard, account, (uint32_t)hash);
	bool hit = entry && entry->kind != CACHE_STALE && entry->expires_ms > now_ms;

	if (hit) {
		*ret_answer = (struct cache_answer){ (enum cache_kind)entry->kind,
			entry->destination, entry->expires_ms };
		if (!entry->used)
			entry->used = true;
	}
	pthread_mutex_unlock(&shard->lock);
	return hit;
}

bool cache_get_stale(
	struct cache *cache, struct view account, uint64_t now_ms, uint16_t *ret_destination)
{
	uint64_t hash = hash_view(account);
	struct shard *shard = lock_shard(cache, hash);
	struct entry *entry = *find(shard, account, (uint32_t)hash);
	bool usable = entry && entry->stale_until_ms > now_ms;

	if (usable)
		*ret_destination = entry->destination;
	pthread_mutex_unlock(&shard->lock);
	return usable;
}

uint64_t cache_epoch(struct cache *cache, struct view account)
{
	struct shard *shard = lock_shard(cache, hash_view(account));
	uint64_t epoch = shard->epoch;

	pthread_mutex_unlock(&shard->lock);
	return epoch;
}

static void store_entry(struct shard *shard, struct entry *entry, enum cache_kind kind,
	uint16_t destination, uint64_t ttl_ms, uint64_t now_ms)
{
	entry->expires_ms = now_ms + ttl_ms;
	if (kind == CACHE_POSITIVE) {
		entry->destination = destination;
		entry->stale_until_ms =
			shard->stale_grace_ms ? entry->expires_ms + shard->stale_grace_ms : 0;
	} else if (kind != CACHE_HELD) {
		entry->stale_until_ms = 0;
	}
}

/* Before the entry becomes one of those: no more than their share. */
static void bound_minors(struct shard *shard, const struct entry *entry)
{
	if (entry && is_minor((enum cache_kind)entry->kind))
		return; /* it is counted already */
	while (minors(shard) >= minors_max(shard))
		drop(shard, oldest_minor(shard));
}

void cache_put(struct cache *cache, struct view account, uint64_t epoch, enum cache_kind kind,
	uint16_t destination, uint64_t ttl_ms, uint64_t now_ms)
{
	uint64_t hash = hash_view(account);
	struct shard *shard = lock_shard(cache, hash);
	struct entry *entry;

	if (shard->epoch == epoch) {
		expire_due(shard, now_ms);
		entry = *find(shard, account, (uint32_t)hash);
		if (!ttl_ms && entry && kind != CACHE_HELD)
			drop(shard, entry);
		if (ttl_ms && is_minor(kind))
			bound_minors(shard, entry);
		if (ttl_ms && !entry && kind != CACHE_HELD)
			entry = add(shard, account, (uint32_t)hash, kind);
		if (ttl_ms && entry) {
			store_entry(shard, entry, kind, destination, ttl_ms, now_ms);
			set_kind(shard, entry, kind);
		}
	}
	pthread_mutex_unlock(&shard->lock);
}

uint64_t cache_drop(struct cache *cache, struct view account)
{
	uint64_t hash = hash_view(account);
	struct shard *shard = lock_shard(cache, hash);
	struct entry *entry = *find(shard, account, (uint32_t)hash);

	shard->epoch++;
	if (entry)
		drop(shard, entry);
	pthread_mutex_unlock(&shard->lock);
	return entry != NULL;
}

void cache_expire(struct cache *cache, struct view account, uint64_t now_ms)
{
	uint64_t hash = hash_view(account);
	struct shard *shard = lock_shard(cache, hash);
	struct entry *entry = *find(shard, account, (uint32_t)hash);

	shard->epoch++;
	if (entry && entry->kind == CACHE_POSITIVE && shard->stale_grace_ms)
		entry->stale_until_ms = now_ms + shard->stale_grace_ms;
	if (entry && entry->kind != CACHE_STALE)
		expire(shard, entry, now_ms);
	pthread_mutex_unlock(&shard->lock);
}

uint64_t cache_drop_all(struct cache *cache)
{
	uint64_t count = 0;

	for (size_t i = 0; i < cache->shard_count; i++) {
		struct shard *shard = &cache->shards[i];

		pthread_mutex_lock(&shard->lock);
		shard->epoch++;
		count += shard->count;
		while (!list_empty(&shard->by_use))
			drop(shard, list_entry(shard->by_use.next, struct entry, by_use));
		pthread_mutex_unlock(&shard->lock);
	}
	return count;
}

static void expire_all_of(struct shard *shard, int age, uint64_t now_ms)
{
	for (int kind = 0; kind < CACHE_STALE; kind++) {
		struct entry *entry;

		while ((entry = head(shard, age, (enum cache_kind)kind))) {
			if (kind == CACHE_POSITIVE && shard->stale_grace_ms)
				entry->stale_until_ms = now_ms + shard->stale_grace_ms;
			expire(shard, entry, now_ms);
		}
	}
}

void cache_expire_all(struct cache *cache, uint64_t now_ms)
{
	for (size_t i = 0; i < cache->shard_count; i++) {
		struct shard *shard = &cache->shards[i];

		pthread_mutex_lock(&shard->lock);
		shard->epoch++;
		expire_all_of(shard, EARLIER, now_ms);
		expire_all_of(shard, NOW, now_ms);
		pthread_mutex_unlock(&shard->lock);
	}
}

/* ---- new settings ---- */

static uint64_t end_of(const struct entry *entry, enum cache_kind kind)
{
	return kind == CACHE_STALE ? entry->stale_until_ms : entry->expires_ms;
}

/* Both are in order; so is the result, in `to`. */
static void merge(struct list_node *to, struct list_node *from, enum cache_kind kind)
{
	struct list_node *at = to->next;

	while (!list_empty(from)) {
		struct entry *entry = list_entry(from->next, struct entry, by_kind);

		while (at != to &&
			end_of(list_entry(at, struct entry, by_kind), kind) <= end_of(entry, kind))
			at = at->next;
		list_del(&entry->by_kind);
		list_add_tail(at, &entry->by_kind); /* before it */
	}
}

void cache_configure(struct cache *cache, uint64_t max_entries, uint64_t stale_grace_ms)
{
	for (size_t i = 0; i < cache->shard_count; i++) {
		struct shard *shard = &cache->shards[i];

		pthread_mutex_lock(&shard->lock);
		for (int kind = 0; kind < CACHE_KINDS; kind++)
			merge(&shard->kinds[EARLIER][kind], &shard->kinds[NOW][kind],
				(enum cache_kind)kind);
		shard->stale_grace_ms = stale_grace_ms;
		shard->max = share(cache, i, max_entries);
		while (minors(shard) > minors_max(shard))
			drop(shard, oldest_minor(shard));
		while (shard->count > shard->max)
			evict_one(shard);
		pthread_mutex_unlock(&shard->lock);
	}
}

uint64_t cache_drop_destinations(struct cache *cache, const bool *gone)
{
	uint64_t count = 0;

	for (size_t i = 0; i < cache->shard_count; i++) {
		struct shard *shard = &cache->shards[i];

		pthread_mutex_lock(&shard->lock);
		list_for_each_safe (node, next, &shard->by_use) {
			struct entry *entry = list_entry(node, struct entry, by_use);
			bool names_one = entry->kind == CACHE_POSITIVE ||
				entry->kind == CACHE_HELD || entry->kind == CACHE_STALE;

			if (!names_one || !gone[entry->destination])
				continue;
			drop(shard, entry);
			count++;
		}
		pthread_mutex_unlock(&shard->lock);
	}
	return count;
}

void cache_count(struct cache *cache, uint64_t now_ms, uint64_t *ret_fresh, uint64_t *ret_stale)
{
	*ret_fresh = *ret_stale = 0;
	for (size_t i = 0; i < cache->shard_count; i++) {
		struct shard *shard = &cache->shards[i];

		pthread_mutex_lock(&shard->lock);
		expire_due(shard, now_ms);
		*ret_fresh += shard->count - shard->kind_count[CACHE_STALE];
		*ret_stale += shard->kind_count[CACHE_STALE];
		pthread_mutex_unlock(&shard->lock);
	}
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Bans: a table by network and a heap by end in each shard, so that what is over is found without a
 * search, and so is the one that ends first of all, which goes where there are too many (GRD-9).
 */
#include "base/clock.h"
#include "guard/state.h"

#include <errno.h>
#include <stdlib.h>

static struct ban **bucket(struct guard *guard, struct shard *shard, const struct key *key)
{
	/* The low bits chose the shard. */
	return &shard->bans[key_hash(key) / SHARDS & (guard->ban_buckets - 1)];
}

static struct ban *find(struct guard *guard, struct shard *shard, const struct key *key)
{
	struct ban *ban = *bucket(guard, shard, key);

	while (ban && !key_eq(&ban->key, key))
		ban = ban->next;
	return ban;
}

struct ban *ban_find(
	struct guard *guard, struct shard *shard, const struct key *key, uint64_t now_ms)
{
	struct ban *ban = find(guard, shard, key);

	return ban && ban->shown.until_ms > now_ms ? ban : NULL;
}

/* Networks other than sources have to be looked for. */
static void count_length(struct guard *guard, const struct key *key, unsigned change)
{
	if (guard_is_source(guard, key))
		return;
	atomic_fetch_add(&guard->lengths[key->bits], change);
	atomic_fetch_add(&guard->other_bans, change);
}

/* ---- the heap ---- */

static void place(struct shard *shard, size_t at, struct ban *ban)
{
	shard->heap[at] = ban;
	ban->place = at;
}

/* To where it belongs; its place is free for it. */
static void settle(struct shard *shard, struct ban *ban)
{
	size_t at = ban->place;

	while (at && shard->heap[(at - 1) / 2]->shown.until_ms > ban->shown.until_ms) {
		place(shard, at, shard->heap[(at - 1) / 2]);
		at = (at - 1) / 2;
	}
	for (;;) {
		size_t child = 2 * at + 1;

		if (child + 1 < shard->ban_count &&
			shard->heap[child + 1]->shown.until_ms < shard->heap[child]->shown.until_ms)
			child++;
		if (child >= shard->ban_count ||
			shard->heap[child]->shown.until_ms >= ban->shown.until_ms)
			break;
		place(shard, at, shard->heap[child]);
		at = child;
	}
	place(shard, at, ban);
}

static int reserve(struct shard *shard)
{
	size_t room = shard->heap_room ? shard->heap_room * 2 : 16;
	struct ban **more;

	if (shard->ban_count < shard->heap_room)
		return 0;
	more = reallocarray(shard->heap, room, sizeof(struct ban *));
	if (!more)
		return -ENOMEM;
	shard->heap = more;
	shard->heap_room = room;
	return 0;
}

/* ---- setting and ending; the shard's lock is held ---- */

static int insert(struct guard *guard, struct shard *shard, const struct key *key,
	const struct guard_ban *shown)
{
	struct ban **first = bucket(guard, shard, key), *ban;

	if (reserve(shard) < 0)
		return -ENOMEM;
	ban = calloc(1, sizeof(*ban));
	if (!ban)
		return -ENOMEM;
	ban->key = *key;
	ban->shown = *shown;
	ban->next = *first;
	*first = ban;
	ban->place = shard->ban_count++;
	settle(shard, ban);
	atomic_fetch_add(&guard->bans, 1);
	count_length(guard, key, 1);
	return 0;
}

/* Out of table and heap, onto the caller's chain of those that are gone. */
static void detach(struct guard *guard, struct shard *shard, struct ban *ban, enum guard_end end,
	struct ban **gone)
{
	struct ban **at = bucket(guard, shard, &ban->key), *last;

	while (*at != ban)
		at = &(*at)->next;
	*at = ban->next;
	ban->next = *gone;
	*gone = ban;
	last = shard->heap[--shard->ban_count];
	if (last != ban) {
		last->place = ban->place;
		settle(shard, last);
	}
	atomic_fetch_sub(&guard->bans, 1);
	count_length(guard, &ban->key, -1u);
	shard->ended[end]++;
}

/* ---- without a lock ---- */

/* Frees a chain. */
static void tell_gone(struct guard *guard, struct ban *gone, enum guard_end end)
{
	while (gone) {
		struct ban *ban = gone;

		gone = ban->next;
		guard_tell_removed(guard, &ban->shown, end);
		free(ban);
	}
}

static struct shard *shard_of_first(struct guard *guard)
{
	struct shard *found = NULL;
	uint64_t least = UINT64_MAX;

	for (size_t i = 0; i < SHARDS; i++) {
		struct shard *shard = &guard->shards[i];

		pthread_mutex_lock(&shard->lock);
		if (shard->ban_count && shard->heap[0]->shown.until_ms < least) {
			least = shard->heap[0]->shown.until_ms;
			found = shard;
		}
		pthread_mutex_unlock(&shard->lock);
	}
	return found;
}

static void make_room(struct guard *guard)
{
	while (atomic_load(&guard->bans) >= guard->fixed.max_bans) {
		struct shard *shard = shard_of_first(guard);
		struct ban *gone = NULL;

		if (!shard)
			return;
		pthread_mutex_lock(&shard->lock);
		if (shard->ban_count) /* another thread may have been faster */
			detach(guard, shard, shard->heap[0], GUARD_END_DISPLACED, &gone);
		pthread_mutex_unlock(&shard->lock);
		tell_gone(guard, gone, GUARD_END_DISPLACED);
	}
}

/* The lock is held. Returns as ban_put(), or BAN_STAYS: nothing has changed. */
enum { BAN_STAYS = GUARD_NO_BAN + 1 };
static int put(struct guard *guard, struct shard *shard, const struct key *key,
	const struct guard_ban *shown, enum guard_why *ret_why)
{
	struct ban *ban = find(guard, shard, key);
	uint64_t dropped, last_ms;

	if (policy_spares(shard->policy, key, ret_why))
		return GUARD_NEVER;
	if (!ban)
		return insert(guard, shard, key, shown);
	if (shown->origin != GUARD_OPERATOR && ban->shown.until_ms >= shown->until_ms)
		return BAN_STAYS;
	dropped = ban->shown.dropped;
	last_ms = ban->shown.last_ms;
	ban->shown = *shown;
	ban->shown.dropped += dropped;
	ban->shown.last_ms = MAX(last_ms, shown->last_ms);
	settle(shard, ban);
	return 0;
}

int ban_put(struct guard *guard, const struct key *key, const struct guard_ban *shown,
	enum guard_why *ret_why)
{
	struct shard *shard = guard_shard(guard, key);
	bool is_new;
	int r;

	pthread_mutex_lock(&shard->lock);
	is_new = !find(guard, shard, key);
	pthread_mutex_unlock(&shard->lock);
	if (is_new)
		make_room(guard);
	pthread_mutex_lock(&shard->lock);
	r = put(guard, shard, key, shown, ret_why);
	if (r == 0 && shown->origin != GUARD_RESTORED)
		shard->bans_total[shown->reason]++;
	pthread_mutex_unlock(&shard->lock);
	if (r == 0)
		guard_tell_set(guard, shown);
	return r == BAN_STAYS ? 0 : r;
}

void bans_expire(struct guard *guard, struct shard *shard, uint64_t now_ms)
{
	struct ban *gone = NULL;

	pthread_mutex_lock(&shard->lock);
	while (shard->ban_count && shard->heap[0]->shown.until_ms <= now_ms)
		detach(guard, shard, shard->heap[0], GUARD_END_EXPIRED, &gone);
	pthread_mutex_unlock(&shard->lock);
	tell_gone(guard, gone, GUARD_END_EXPIRED);
}

void bans_spare(struct guard *guard, struct shard *shard)
{
	struct ban *gone = NULL;
	enum guard_why why;

	pthread_mutex_lock(&shard->lock);
	for (size_t i = shard->ban_count; i-- > 0;) {
		if (!policy_spares(shard->policy, &shard->heap[i]->key, &why))
			continue;
		detach(guard, shard, shard->heap[i], GUARD_END_SPARED, &gone);
		i = MIN(shard->ban_count, i + 1); /* what is there now may be a new one */
	}
	pthread_mutex_unlock(&shard->lock);
	tell_gone(guard, gone, GUARD_END_SPARED);
}

void bans_free(struct shard *shard)
{
	for (size_t i = 0; i < shard->ban_count; i++)
		free(shard->heap[i]);
	free(shard->heap);
	free(shard->bans);
}

/* ---- what others ask ---- */

int guard_unban(struct guard *guard, const struct cidr *net)
{
	struct ban *gone = NULL, *ban;
	struct source *source;
	struct shard *shard;
	struct key key;
	bool was_there;

	key_of_cidr(net, &key);
	shard = guard_shard(guard, &key);
	pthread_mutex_lock(&shard->lock);
	ban = find(guard, shard, &key);
	was_there = ban != NULL;
	if (ban)
		detach(guard, shard, ban, GUARD_END_UNBANNED, &gone);
	source = source_find(guard, shard, &key);
	if (source) {
		source->fifths = 0;
		source->strikes = 0;
		source->told = source->withheld = false;
		source_release(guard, shard, source, clock_mono_ms());
	}
	pthread_mutex_unlock(&shard->lock);
	tell_gone(guard, gone, GUARD_END_UNBANNED);
	return was_there ? 0 : GUARD_NO_BAN;
}

static bool copy_ban(struct guard *guard, const struct key *key, struct guard_ban *ret_ban)
{
	struct shard *shard = guard_shard(guard, key);
	struct ban *ban;

	pthread_mutex_lock(&shard->lock);
	ban = ban_find(guard, shard, key, clock_mono_ms());
	if (ban)
		*ret_ban = ban->shown;
	pthread_mutex_unlock(&shard->lock);
	return ban != NULL;
}

bool guard_find_ban(struct guard *guard, const struct cidr *net, struct guard_ban *ret_ban)
{
	struct key key;

	key_of_cidr(net, &key);
	return copy_ban(guard, &key, ret_ban);
}

/* Of the networks that the address is in, those of at most so many bits, the longest first. */
static bool find_from(
	struct guard *guard, const struct addr *addr, unsigned most_bits, struct guard_ban *ret_ban)
{
	struct key all, source, key;

	key_of_addr(addr, &all);
	guard_source_key(guard, &all, &source);
	for (unsigned bits = most_bits; bits > 0; bits--) {
		if (bits != source.bits && !atomic_load(&guard->lengths[bits]))
			continue;
		if (key_is_v4(&all) && bits <= ADDR_MAPPED_BITS)
			break;
		key_cut(&all, bits, &key);
		if (copy_ban(guard, &key, ret_ban))
			return true;
	}
	return false;
}

bool guard_find_ban_of(struct guard *guard, const struct addr *addr, struct guard_ban *ret_ban)
{
	return find_from(guard, addr, KEY_BITS, ret_ban);
}

bool guard_find_ban_around(struct guard *guard, const struct cidr *net, struct guard_ban *ret_ban)
{
	struct key key;

	key_of_cidr(net, &key);
	return find_from(guard, &net->net, key.bits, ret_ban);
}

static size_t copy_all(struct shard *shard, struct guard_ban **ret_bans)
{
	uint64_t now_ms = clock_mono_ms();
	struct guard_ban *bans;
	size_t count = 0;

	pthread_mutex_lock(&shard->lock);
	bans = calloc(shard->ban_count + 1, sizeof(*bans));
	for (size_t i = 0; bans && i < shard->ban_count; i++) {
		if (shard->heap[i]->shown.until_ms > now_ms)
			bans[count++] = shard->heap[i]->shown;
	}
	pthread_mutex_unlock(&shard->lock);
	*ret_bans = bans;
	return count;
}

void guard_bans_each(
	struct guard *guard, bool (*fn)(void *arg, const struct guard_ban *ban), void *arg)
{
	bool wanted = true;

	for (size_t i = 0; wanted && i < SHARDS; i++) {
		struct guard_ban *bans;
		size_t count = copy_all(&guard->shards[i], &bans);

		for (size_t k = 0; wanted && k < count; k++)
			wanted = fn(arg, &bans[k]);
		free(bans);
	}
}

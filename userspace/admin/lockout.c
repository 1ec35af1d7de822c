// SPDX-License-Identifier: Apache-2.0
/* Failed tokens per address (ADM-14, ADM-15): IPv4, or IPv6 by /64; a bounded table. */
#include "admin/lockout.h"
#include "base/list.h"

#include <errno.h>
#include <stdlib.h>

#define SLOTS 16384
#define BUCKETS 4096

struct failure {
	struct list_node link;   /* in its bucket */
	struct list_node by_age; /* oldest failure first */
	struct addr key;
	unsigned count;
	uint64_t last_ms, locked_until_ms;
};

struct lockout {
	unsigned threshold, used;
	uint64_t duration_ms;
	struct list_node buckets[BUCKETS], by_age;
};

int lockout_new(unsigned threshold, uint64_t duration_ms, struct lockout **ret_lockout)
{
	struct lockout *lockout = calloc(1, sizeof(*lockout));

	if (!lockout)
		return -ENOMEM;
	lockout->threshold = threshold;
	lockout->duration_ms = duration_ms;
	list_init(&lockout->by_age);
	for (int i = 0; i < BUCKETS; i++)
		list_init(&lockout->buckets[i]);
	*ret_lockout = lockout;
	return 0;
}

void lockout_set(struct lockout *lockout, unsigned threshold, uint64_t duration_ms)
{
	lockout->threshold = threshold;
	lockout->duration_ms = duration_ms;
}

static void forget(struct lockout *lockout, struct failure *failure)
{
	list_del(&failure->link);
	list_del(&failure->by_age);
	lockout->used--;
	free(failure);
}

void lockout_free(struct lockout *lockout)
{
	if (!lockout)
		return;
	while (!list_empty(&lockout->by_age))
		forget(lockout, list_entry(lockout->by_age.next, struct failure, by_age));
	free(lockout);
}

static struct failure *find(struct lockout *lockout, const struct addr *key)
{
	list_for_each (node, &lockout->buckets[addr_hash_ip(key) % BUCKETS]) {
		struct failure *failure = list_entry(node, struct failure, link);

		if (addr_eq_ip(&failure->key, key))
			return failure;
	}
	return NULL;
}

uint64_t lockout_remaining_s(struct lockout *lockout, const struct addr *peer, uint64_t now_ms)
{
	struct failure *failure;
	struct addr key;

	addr_limit_key(peer, &key);
	failure = find(lockout, &key);
	if (!failure || failure->locked_until_ms <= now_ms)
		return 0;
	return (failure->locked_until_ms - now_ms + 999) / 1000;
}

void lockout_failure(struct lockout *lockout, const struct addr *peer, uint64_t now_ms)
{
	struct failure *failure;
	struct addr key;

	if (!lockout->threshold)
		return;
	addr_limit_key(peer, &key);
	failure = find(lockout, &key);
	if (!failure) {
		/* Expired ones are the oldest, so the head of the list serves both rules. */
		if (lockout->used >= SLOTS)
			forget(lockout, list_entry(lockout->by_age.next, struct failure, by_age));
		failure = calloc(1, sizeof(*failure));
		if (!failure)
			return;
		failure->key = key;
		list_add_tail(&lockout->buckets[addr_hash_ip(&key) % BUCKETS], &failure->link);
		lockout->used++;
	}
	if (failure->count && now_ms - failure->last_ms >= lockout->duration_ms)
		failure->count = 0;
	failure->count++;
	failure->last_ms = now_ms;
	list_del(&failure->by_age);
	list_add_tail(&lockout->by_age, &failure->by_age);
	if (failure->count >= lockout->threshold) {
		failure->locked_until_ms = now_ms + lockout->duration_ms;
		failure->count = 0;
	}
}

void lockout_success(struct lockout *lockout, const struct addr *peer)
{
	struct failure *failure;
	struct addr key;

	addr_limit_key(peer, &key);
	failure = find(lockout, &key);
	if (failure)
		forget(lockout, failure);
}

uint64_t lockout_count(const struct lockout *lockout, uint64_t now_ms)
{
	uint64_t count = 0;

	list_for_each (node, &lockout->by_age)
		count += list_entry(node, struct failure, by_age)->locked_until_ms > now_ms;
	return count;
}

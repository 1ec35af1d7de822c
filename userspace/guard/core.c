// SPDX-License-Identifier: Apache-2.0
/* What the other files of the guard stand on: which shard has what, and the observers. */
#include "guard/state.h"

#include <errno.h>

static unsigned source_bits(const struct guard *guard, const struct key *key)
{
	return key_is_v4(key) ? ADDR_MAPPED_BITS + guard->fixed.ipv4_prefix
			      : guard->fixed.ipv6_prefix;
}

bool guard_is_source(const struct guard *guard, const struct key *key)
{
	return key->bits == source_bits(guard, key);
}

void guard_source_key(const struct guard *guard, const struct key *key, struct key *ret_source)
{
	key_cut(key, source_bits(guard, key), ret_source);
}

struct shard *guard_shard(struct guard *guard, const struct key *key)
{
	return &guard->shards[key_hash(key) % SHARDS];
}

void guard_tell_set(struct guard *guard, const struct guard_ban *ban)
{
	for (size_t i = 0; i < guard->observer_count; i++) {
		if (guard->observers[i].ops->ban_set)
			guard->observers[i].ops->ban_set(guard->observers[i].arg, ban);
	}
}

void guard_tell_removed(struct guard *guard, const struct guard_ban *ban, enum guard_end end)
{
	for (size_t i = 0; i < guard->observer_count; i++) {
		if (guard->observers[i].ops->ban_removed)
			guard->observers[i].ops->ban_removed(guard->observers[i].arg, ban, end);
	}
}

void guard_tell_withheld(
	struct guard *guard, const struct addr *client, enum guard_why why, double points)
{
	for (size_t i = 0; i < guard->observer_count; i++) {
		if (guard->observers[i].ops->withheld)
			guard->observers[i].ops->withheld(
				guard->observers[i].arg, client, why, points);
	}
}

int guard_observe(struct guard *guard, const struct guard_observer_ops *ops, void *arg)
{
	if (guard->observer_count == GUARD_OBSERVERS)
		return -ENOSPC;
	guard->observers[guard->observer_count++] = (struct observer){ ops, arg };
	return 0;
}

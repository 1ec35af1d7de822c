// SPDX-License-Identifier: Apache-2.0
/* Private to guard/: the settings and networks of one moment, immutable: each shard of the guard
 * points to it, and a change is another policy. */
#ifndef GUARD_POLICY_H
#define GUARD_POLICY_H

#include "guard/guard.h"
#include "guard/key.h"

struct policy_net {
	struct key key;
	enum guard_why why;
};

/* A length that occurs. */
struct policy_length {
	uint8_t bits;
	uint64_t mask[2]; /* over the halves of an address, as they are in memory */
};

struct policy {
	struct guard_settings settings; /* deny: NULL, they are in given */
	struct policy_net *given;       /* as they were set; never-banned and denied ones */
	size_t given_count;
	struct policy_net *nets; /* each once, longest first */
	size_t net_count;
	struct policy_length lengths[KEY_BITS + 1]; /* longest first */
	size_t length_count;
	const struct policy_net **table; /* into nets, by their hash; NULL: free */
	size_t table_size;               /* a power of two, at least twice net_count */
};

/* Either may be NULL: taken over from before. Returns 0 or -ENOMEM. */
MUST_USE int policy_new(const struct policy *before, const struct guard_settings *settings,
	const struct guard_net *never, size_t never_count, struct policy **ret_policy);
void policy_free(struct policy *policy); /* NULL is fine */

/* The longest network that all of key is in; NULL: none. */
const struct policy_net *policy_find(const struct policy *policy, const struct key *key);
/* Whether it is never banned, and why. */
bool policy_spares(const struct policy *policy, const struct key *key, enum guard_why *ret_why);
/* How long the ban lasts that is a source's strikes-th, from 1. */
uint64_t policy_ban_ms(const struct policy *policy, unsigned strikes);
/* How long an answer waits at so many points. */
uint64_t policy_penalty_ms(const struct policy *policy, double points);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Networks sorted by length, the longest first, and then by address: a look-up is one binary search
 * for each length that occurs. Doubling of bans and penalties. */
#include "guard/policy.h"

#include <errno.h>
#include <stdlib.h>

/* ---- building ---- */

static int compare(const void *a, const void *b)
{
	const struct policy_net *x = a, *y = b;

	if (x->key.bits != y->key.bits)
		return x->key.bits > y->key.bits ? -1 : 1;
	return memcmp(x->key.addr, y->key.addr, sizeof(x->key.addr));
}

/* Of equal networks never-banned wins over denied, and the first why in the enum's order. */
static int compare_all(const void *a, const void *b)
{
	const struct policy_net *x = a, *y = b;
	int order = compare(a, b);

	return order ? order : (int)x->why - (int)y->why;
}

static void add(struct policy *policy, const struct cidr *net, enum guard_why why)
{
	struct policy_net *added = &policy->given[policy->given_count++];

	key_of_cidr(net, &added->key);
	added->why = why;
}

/* What of the networks before is not set anew. */
static void take_over(struct policy *policy, const struct policy *before, bool never, bool denied)
{
	for (size_t i = 0; i < before->given_count; i++) {
		if (before->given[i].why == GUARD_WHY_DENY ? denied : never)
			policy->given[policy->given_count++] = before->given[i];
	}
}

/* Each network once, and where each length begins. */
static void sort(struct policy *policy)
{
	size_t kept = 0;

	if (policy->given_count)
		memcpy(policy->nets, policy->given, policy->given_count * sizeof(*policy->nets));
	qsort(policy->nets, policy->given_count, sizeof(*policy->nets), compare_all);
	for (size_t i = 0; i < policy->given_count; i++) {
		struct policy_group *next = &policy->groups[policy->group_count];
		const struct policy_net net = policy->nets[i];

		if (kept && key_eq(&policy->nets[kept - 1].key, &net.key))
			continue;
		if (!policy->group_count || next[-1].bits != net.key.bits) {
			*next = (struct policy_group){ net.key.bits, kept, 0 };
			policy->group_count++;
		}
		policy->groups[policy->group_count - 1].count++;
		policy->nets[kept++] = net;
	}
	policy->net_count = kept;
}

static int allocate(size_t room, struct policy **ret_policy)
{
	struct policy *policy = calloc(1, sizeof(*policy));

	if (policy) {
		policy->given = calloc(room + 1, sizeof(*policy->given));
		policy->nets = calloc(room + 1, sizeof(*policy->nets));
	}
	if (!policy || !policy->given || !policy->nets) {
		policy_free(policy);
		return -ENOMEM;
	}
	*ret_policy = policy;
	return 0;
}

int policy_new(const struct policy *before, const struct guard_settings *settings,
	const struct guard_net *never, size_t never_count, struct policy **ret_policy)
{
	size_t room = never_count + (settings ? settings->deny_count : 0) +
		(before ? before->given_count : 0);
	struct policy *policy;
	int r = allocate(room, &policy);

	if (r < 0)
		return r;
	policy->settings = settings ? *settings : before->settings;
	policy->settings.deny = NULL;
	for (size_t i = 0; settings && i < settings->deny_count; i++)
		add(policy, &settings->deny[i], GUARD_WHY_DENY);
	for (size_t i = 0; never && i < never_count; i++)
		add(policy, &never[i].net, never[i].why);
	if (before)
		take_over(policy, before, !never, !settings);
	sort(policy);
	*ret_policy = policy;
	return 0;
}

void policy_free(struct policy *policy)
{
	if (!policy)
		return;
	free(policy->given);
	free(policy->nets);
	free(policy);
}

/* ---- asking ---- */

const struct policy_net *policy_find(const struct policy *policy, const struct key *key)
{
	bool v4 = key_is_v4(key);

	for (size_t i = 0; i < policy->group_count; i++) {
		const struct policy_group *group = &policy->groups[i];
		struct policy_net wanted;
		const struct policy_net *found;

		if (group->bits > key->bits)
			continue;
		if (v4 && group->bits < KEY_V4_BITS) /* IPv6 ranges have no IPv4 addresses */
			break;
		key_cut(key, group->bits, &wanted.key);
		found = bsearch(&wanted, policy->nets + group->first, group->count,
			sizeof(*policy->nets), compare);
		if (found)
			return found;
	}
	return NULL;
}

bool policy_spares(const struct policy *policy, const struct key *key, enum guard_why *ret_why)
{
	const struct policy_net *net = policy_find(policy, key);

	if (!net || net->why == GUARD_WHY_DENY)
		return false;
	*ret_why = net->why;
	return true;
}

static uint64_t doubled(uint64_t first, uint64_t most, unsigned times)
{
	uint64_t value = first;

	while (times-- && value && value < most)
		value = value > most / 2 ? most : value * 2;
	return MIN(value, most);
}

uint64_t policy_ban_ms(const struct policy *policy, unsigned strikes)
{
	return doubled(policy->settings.ban_time_ms, policy->settings.ban_time_max_ms, strikes - 1);
}

/* To the nearest number, because points begin to vanish at once: two quick failures are 1.99. */
uint64_t policy_penalty_ms(const struct policy *policy, double points)
{
	unsigned failures = points < UINT32_MAX ? (unsigned)(points + 0.5) : UINT32_MAX;

	if (!failures)
		return 0;
	return doubled(policy->settings.penalty_ms, policy->settings.penalty_max_ms, failures - 1);
}

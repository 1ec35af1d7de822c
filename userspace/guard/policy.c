// SPDX-License-Identifier: Apache-2.0
/* Networks in a table by address and length: a look-up is one for each length that occurs, the
 * longest first. What is in the table comes from who configures the router, so no client can make
 * it slow. Doubling of bans and penalties. */
#include "guard/policy.h"

#include <errno.h>
#include <stdlib.h>

/* ---- building ---- */

/* Longest first. Of equal networks never-banned wins over denied, and the first why in the enum's
 * order. */
static int compare(const void *a, const void *b)
{
	const struct policy_net *x = a, *y = b;
	int order = (int)y->key.bits - (int)x->key.bits;

	if (!order)
		order = memcmp(x->key.addr, y->key.addr, sizeof(x->key.addr));
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

static size_t slot_of(const struct policy *policy, const uint64_t half[2], uint8_t bits)
{
	uint64_t hash =
		(half[0] ^ (half[1] + bits) * 0x9e3779b97f4a7c15ull) * 0xff51afd7ed558ccdull;

	return (hash ^ hash >> 32) & (policy->table_size - 1);
}

static void halve(const struct key *key, uint64_t ret_half[2])
{
	memcpy(ret_half, key->addr, sizeof(key->addr));
}

static void add_length(struct policy *policy, uint8_t bits)
{
	struct policy_length *length = &policy->lengths[policy->length_count];
	struct key all = { .bits = KEY_BITS }, mask;

	if (policy->length_count && length[-1].bits == bits)
		return;
	memset(all.addr, 0xff, sizeof(all.addr));
	key_cut(&all, bits, &mask);
	length->bits = bits;
	halve(&mask, length->mask);
	policy->length_count++;
}

static void insert(struct policy *policy, const struct policy_net *net)
{
	uint64_t half[2];
	size_t slot;

	halve(&net->key, half);
	slot = slot_of(policy, half, net->key.bits);
	while (policy->table[slot])
		slot = (slot + 1) & (policy->table_size - 1);
	policy->table[slot] = net;
}

/* Each network once. */
static void sort(struct policy *policy)
{
	size_t kept = 0;

	if (policy->given_count)
		memcpy(policy->nets, policy->given, policy->given_count * sizeof(*policy->nets));
	qsort(policy->nets, policy->given_count, sizeof(*policy->nets), compare);
	for (size_t i = 0; i < policy->given_count; i++) {
		const struct policy_net net = policy->nets[i];

		if (kept && key_eq(&policy->nets[kept - 1].key, &net.key))
			continue;
		policy->nets[kept] = net;
		insert(policy, &policy->nets[kept++]);
		add_length(policy, net.key.bits);
	}
	policy->net_count = kept;
}

static int allocate(size_t room, struct policy **ret_policy)
{
	struct policy *policy = calloc(1, sizeof(*policy));

	if (!policy)
		return -ENOMEM;
	policy->table_size = 16;
	while (policy->table_size < 2 * room)
		policy->table_size *= 2;
	policy->given = calloc(room + 1, sizeof(*policy->given));
	policy->nets = calloc(room + 1, sizeof(*policy->nets));
	policy->table = calloc(policy->table_size, sizeof(*policy->table));
	if (!policy->given || !policy->nets || !policy->table) {
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
	if (settings)
		policy->settings = *settings;
	else if (before)
		policy->settings = before->settings;
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
	free(policy->table);
	free(policy);
}

/* ---- asking ---- */

/* NULL: it is not one of them. */
static const struct policy_net *look_up(
	const struct policy *policy, const uint64_t half[2], uint8_t bits)
{
	size_t slot = slot_of(policy, half, bits);

	for (; policy->table[slot]; slot = (slot + 1) & (policy->table_size - 1)) {
		const struct policy_net *net = policy->table[slot];

		if (net->key.bits == bits &&
			memcmp(net->key.addr, half, sizeof(net->key.addr)) == 0)
			return net;
	}
	return NULL;
}

const struct policy_net *policy_find(const struct policy *policy, const struct key *key)
{
	bool v4 = key_is_v4(key);
	uint64_t half[2];

	halve(key, half);
	for (size_t i = 0; i < policy->length_count; i++) {
		const struct policy_length *length = &policy->lengths[i];
		const uint64_t masked[2] = { half[0] & length->mask[0], half[1] & length->mask[1] };
		const struct policy_net *found;

		if (v4 && length->bits < ADDR_MAPPED_BITS) /* IPv6 ranges have no IPv4 addresses */
			break;
		found = length->bits <= key->bits ? look_up(policy, masked, length->bits) : NULL;
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

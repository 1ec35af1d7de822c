// SPDX-License-Identifier: Apache-2.0
/* Which network counts of those that an address is in; how bans and penalties double. */
#include "unit.h"

#include "guard/policy.h"

static struct cidr cidr_of(const char *text)
{
	struct cidr cidr;

	assert_int_equal(cidr_parse(view_str(text), &cidr), 0);
	return cidr;
}

static struct policy *make(const struct policy *before, const char *const *deny, size_t deny_count,
	const char *const *never, size_t never_count)
{
	struct cidr cidrs[16];
	struct guard_net nets[16];
	struct guard_settings settings = { .deny = cidrs,
		.deny_count = deny_count,
		.ban_time_ms = 10,
		.ban_time_max_ms = 75,
		.penalty_ms = 2000,
		.penalty_max_ms = 15000 };
	struct policy *policy;

	for (size_t i = 0; i < deny_count; i++)
		cidrs[i] = cidr_of(deny[i]);
	for (size_t i = 0; i < never_count; i++)
		nets[i] = (struct guard_net){ cidr_of(never[i]), GUARD_WHY_ALLOW };
	assert_int_equal(policy_new(before, deny || !before ? &settings : NULL, never ? nets : NULL,
				 never_count, &policy),
		0);
	return policy;
}

/* "" = in none. */
static const char *found(const struct policy *policy, const char *ip)
{
	struct cidr cidr = cidr_of(ip);
	const struct policy_net *net;
	struct key key;

	key_of_cidr(&cidr, &key);
	net = policy_find(policy, &key);
	return net ? guard_why_name(net->why) : "";
}

static void test_GRD_3_longest_prefix_wins(void **state)
{
	static const char *const deny[] = { "10.0.0.0/8", "10.1.2.3/32", "2001:db8::/32" };
	static const char *const never[] = { "10.1.0.0/16", "10.2.0.0/15", "2001:db8:1::/48" };
	struct policy *policy = make(NULL, deny, ARRAY_SIZE(deny), never, ARRAY_SIZE(never));

	(void)state;
	assert_string_equal(found(policy, "10.0.0.1"), "deny");
	assert_string_equal(found(policy, "10.1.0.1"), "allow");
	assert_string_equal(found(policy, "10.1.2.3"), "deny");
	assert_string_equal(found(policy, "10.1.2.4"), "allow");
	assert_string_equal(found(policy, "10.3.255.255"), "allow");
	assert_string_equal(found(policy, "10.4.0.0"), "deny");
	assert_string_equal(found(policy, "11.0.0.0"), "");
	assert_string_equal(found(policy, "9.255.255.255"), "");
	assert_string_equal(found(policy, "2001:db8::1"), "deny");
	assert_string_equal(found(policy, "2001:db8:1::1"), "allow");
	assert_string_equal(found(policy, "2001:db9::"), "");
	/* A network is in what all of it is in. */
	assert_string_equal(found(policy, "10.1.0.0/16"), "allow");
	assert_string_equal(found(policy, "10.0.0.0/15"), "deny");
	assert_string_equal(found(policy, "0.0.0.0/7"), "");
	policy_free(policy);
}

static void test_GRD_3_everything_of_a_family(void **state)
{
	static const char *const v6[] = { "::/0" }, *const v4[] = { "0.0.0.0/0" };
	struct policy *policy = make(NULL, v6, 1, NULL, 0);

	(void)state;
	assert_string_equal(found(policy, "2001:db8::1"), "deny");
	assert_string_equal(found(policy, "192.0.2.1"), "");
	policy_free(policy);
	policy = make(NULL, v4, 1, NULL, 0);
	assert_string_equal(found(policy, "2001:db8::1"), "");
	assert_string_equal(found(policy, "192.0.2.1"), "deny");
	policy_free(policy);
}

static void test_GRD_3_same_prefix_in_both(void **state)
{
	static const char *const both[] = { "192.0.2.0/24" };
	struct policy *policy = make(NULL, both, 1, both, 1), *next;

	(void)state;
	assert_string_equal(found(policy, "192.0.2.1"), "allow");
	assert_int_equal(policy->net_count, 1);
	/* What lost is still there when the other goes. */
	next = make(policy, NULL, 0, both, 0);
	assert_string_equal(found(next, "192.0.2.1"), "deny");
	policy_free(policy);
	policy_free(next);
}

static void test_what_is_not_set_stays(void **state)
{
	static const char *const deny[] = { "192.0.2.0/24" }, *const never[] = { "198.51.100.1" };
	static const char *const other[] = { "203.0.113.0/24" };
	struct policy *first = make(NULL, deny, 1, never, 1), *second, *third;

	(void)state;
	second = make(first, NULL, 0, other, 1);
	assert_string_equal(found(second, "192.0.2.1"), "deny");
	assert_string_equal(found(second, "198.51.100.1"), "");
	assert_string_equal(found(second, "203.0.113.1"), "allow");
	assert_int_equal(second->settings.ban_time_ms, 10);
	third = make(second, never, 1, NULL, 0);
	assert_string_equal(found(third, "192.0.2.1"), "");
	assert_string_equal(found(third, "198.51.100.1"), "deny");
	assert_string_equal(found(third, "203.0.113.1"), "allow");
	policy_free(first);
	policy_free(second);
	policy_free(third);
}

static void test_GRD_2_bans_double(void **state)
{
	static const uint64_t wanted[] = { 10, 20, 40, 75, 75 };
	struct policy *policy = make(NULL, NULL, 0, NULL, 0);

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(wanted); i++)
		assert_int_equal(policy_ban_ms(policy, i + 1), wanted[i]);
	assert_int_equal(policy_ban_ms(policy, UINT32_MAX), 75);
	policy->settings.ban_time_ms = policy->settings.ban_time_max_ms = UINT64_MAX / 2 + 2;
	assert_int_equal(policy_ban_ms(policy, 7), UINT64_MAX / 2 + 2);
	policy_free(policy);
}

static void test_GRD_9_penalties_double(void **state)
{
	static const struct {
		double points;
		uint64_t ms;
	} rows[] = { { 0, 0 }, { 0.2, 0 }, { 0.4, 0 }, { 0.5, 2000 }, { 1, 2000 }, { 1.4, 2000 },
		{ 1.9, 4000 }, { 3, 8000 }, { 4, 15000 }, { 1000000, 15000 } };
	struct policy *policy = make(NULL, NULL, 0, NULL, 0);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		assert_int_equal(policy_penalty_ms(policy, rows[i].points), rows[i].ms);
	policy->settings.penalty_ms = 0;
	assert_int_equal(policy_penalty_ms(policy, 5), 0);
	policy_free(policy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_GRD_3_longest_prefix_wins),
		cmocka_unit_test(test_GRD_3_everything_of_a_family),
		cmocka_unit_test(test_GRD_3_same_prefix_in_both),
		cmocka_unit_test(test_what_is_not_set_stays),
		cmocka_unit_test(test_GRD_2_bans_double),
		cmocka_unit_test(test_GRD_9_penalties_double),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* Bans by order, their ends, and how many there may be. */
#include "unit.h"

#include "unit/guarded.h"

#include <errno.h>

#define A "192.0.2.1"

static void test_GRD_8_operator_bans(void **state)
{
	struct cidr net = net_of(A);
	struct guard_order asked = { .net = net,
		.for_ms = MINUTE,
		.origin = GUARD_OPERATOR,
		.reason = GUARD_FOR_ORDER,
		.text = "guesses" };
	struct guard_ban ban;

	(void)state;
	guarded_begin();
	assert_int_equal(guard_ban(g.guard, &asked, NULL), 0);
	assert_int_equal(g.set, 1);
	assert_string_equal(g.last.text, "guesses");
	assert_int_equal(check(A), GUARD_BANNED);
	pass_time(SECOND);
	assert_int_equal(check(A), GUARD_BANNED);
	assert_true(guard_find_ban(g.guard, &net, &ban));
	assert_int_equal(ban.dropped, 2);
	assert_int_equal(ban.last_ms, clock_mono_ms());
	assert_int_equal(ban.until_ms - ban.since_ms, MINUTE);
	pass_time(MINUTE - SECOND - 1);
	assert_int_equal(check(A), GUARD_BANNED);
	pass_time(1);
	assert_int_equal(check(A), GUARD_PASS);
	assert_false(guard_find_ban(g.guard, &net, &ban));
	assert_int_equal(g.removed, 0);
	guard_sweep(g.guard);
	assert_int_equal(g.removed, 1);
	assert_int_equal(g.end, GUARD_END_EXPIRED);
	assert_int_equal(g.last.dropped, 3);
}

static void test_GRD_8_what_cannot_be_ordered(void **state)
{
	(void)state;
	guarded_begin();
	never("10.0.0.0/8", GUARD_WHY_ALLOW);
	assert_int_equal(order("0.0.0.0/0", MINUTE, GUARD_OPERATOR), -EINVAL);
	assert_int_equal(order("::/0", MINUTE, GUARD_OPERATOR), -EINVAL);
	assert_int_equal(order(A, 0, GUARD_OPERATOR), -EINVAL);
	assert_int_equal(order("10.1.2.3", MINUTE, GUARD_SHARED), GUARD_NEVER);
	assert_int_equal(g.why, GUARD_WHY_ALLOW);
	assert_int_equal(order("10.0.0.0/8", MINUTE, GUARD_OPERATOR), GUARD_NEVER);
	assert_int_equal(g.set, 0);
	/* A larger one is set, but does not hit who is never banned. */
	assert_int_equal(order("10.0.0.0/7", MINUTE, GUARD_OPERATOR), 0);
	assert_int_equal(check("10.1.2.3"), GUARD_PASS);
	assert_int_equal(check("11.1.2.3"), GUARD_BANNED);
	assert_int_equal(order(A, UINT64_MAX, GUARD_OPERATOR), 0);
	assert_int_equal(check(A), GUARD_BANNED);
}

static void test_bans_of_any_length(void **state)
{
	struct guard_ban ban;
	struct addr inner;

	(void)state;
	guarded_begin();
	assert_int_equal(order("198.51.100.128/25", MINUTE, GUARD_OPERATOR), 0);
	assert_int_equal(order("198.51.0.0/16", HOUR, GUARD_OPERATOR), 0);
	assert_int_equal(order("2001:db8::1", MINUTE, GUARD_OPERATOR), 0); /* less than a source */
	assert_int_equal(order("2001:db8:8000::/33", MINUTE, GUARD_OPERATOR), 0);
	assert_int_equal(check("198.51.100.127"), GUARD_BANNED);
	assert_int_equal(check("198.52.0.0"), GUARD_PASS);
	assert_int_equal(check("2001:db8::1"), GUARD_BANNED);
	assert_int_equal(check("2001:db8::2"), GUARD_PASS);
	assert_int_equal(check("2001:db8:ffff::"), GUARD_BANNED);
	assert_int_equal(check("2001:db8:7fff::"), GUARD_PASS);
	assert_int_equal(status_now().checks[GUARD_BANNED], 3);
	assert_int_equal(status_now().checks[GUARD_PASS], 3);
	inner = at("198.51.100.200");
	assert_true(guard_find_ban_of(g.guard, &inner, &ban));
	assert_int_equal(ban.net.bits, 25);
	pass_time(MINUTE);
	assert_true(guard_find_ban_of(g.guard, &inner, &ban));
	assert_int_equal(ban.net.bits, 16);
	assert_int_equal(check("198.51.100.200"), GUARD_BANNED);
	pass_time(HOUR);
	guard_sweep(g.guard);
	assert_int_equal(g.removed, 4);
	assert_false(guard_find_ban_of(g.guard, &inner, &ban));
}

/* Not a narrower one that only its first address is in. */
static void test_ban_around_a_network(void **state)
{
	struct cidr net = net_of("198.51.100.0/24"), other = net_of("198.51.101.0/24"),
		    v6 = net_of("2001:db8::/64");
	struct guard_ban ban;

	(void)state;
	guarded_begin();
	assert_int_equal(order("198.51.100.0", HOUR, GUARD_OPERATOR), 0);
	assert_int_equal(order("2001:db8::/96", HOUR, GUARD_OPERATOR), 0);
	assert_true(guard_find_ban_of(g.guard, &net.net, &ban));
	assert_false(guard_find_ban_around(g.guard, &net, &ban));
	assert_false(guard_find_ban_around(g.guard, &v6, &ban));
	assert_int_equal(order("198.51.0.0/16", HOUR, GUARD_OPERATOR), 0);
	assert_true(guard_find_ban_around(g.guard, &net, &ban));
	assert_int_equal(ban.net.bits, 16);
	assert_int_equal(order("198.51.100.0/24", HOUR, GUARD_OPERATOR), 0);
	assert_true(guard_find_ban_around(g.guard, &net, &ban));
	assert_int_equal(ban.net.bits, 24);
	assert_true(guard_find_ban_around(g.guard, &other, &ban));
	assert_int_equal(ban.net.bits, 16);
}

static void test_source_and_ban_of_it(void **state)
{
	struct addr client = at("2001:db8::77");
	struct guard_ban ban;
	struct cidr net;

	(void)state;
	guarded_begin();
	guard_source(g.guard, &client, &net);
	assert_int_equal(net.bits, 64);
	assert_int_equal(addr_port(&net.net), 0);
	note("2001:db8::77", GUARD_REFUSED, 10);
	assert_true(guard_find_ban(g.guard, &net, &ban));
	assert_true(addr_eq_ip(&ban.client, &client));
	assert_true(guard_find_ban_of(g.guard, &client, &ban));
}

static void test_GRD_8_which_order_wins(void **state)
{
	struct cidr net = net_of(A);
	struct guard_ban ban;

	(void)state;
	guarded_begin();
	assert_int_equal(order(A, HOUR, GUARD_SHARED), 0);
	assert_int_equal(check(A), GUARD_BANNED);
	assert_int_equal(order(A, MINUTE, GUARD_SHARED), 0); /* it lasts longer already */
	assert_int_equal(g.set, 1);
	assert_int_equal(order(A, 2 * HOUR, GUARD_RESTORED), 0);
	assert_int_equal(g.set, 2);
	assert_int_equal(order(A, MINUTE, GUARD_OPERATOR), 0);
	assert_int_equal(g.set, 3);
	assert_true(guard_find_ban(g.guard, &net, &ban));
	assert_int_equal(ban.until_ms, clock_mono_ms() + MINUTE);
	assert_int_equal(ban.origin, GUARD_OPERATOR);
	assert_int_equal(ban.dropped, 1);
	assert_int_equal(status_now().bans[GUARD_OPERATOR], 1);
	assert_int_equal(status_now().bans[GUARD_SHARED], 0);
	assert_int_equal(status_now().bans_total[GUARD_FOR_ORDER], 2); /* not what was restored */
}

static void test_GRD_8_restored_strikes(void **state)
{
	struct guard_order restored = { .net = net_of(A),
		.for_ms = MINUTE,
		.strikes = 3,
		.origin = GUARD_RESTORED,
		.reason = GUARD_FOR_REFUSED,
		.since_ms = 17 };

	(void)state;
	guarded_begin();
	assert_int_equal(guard_ban(g.guard, &restored, NULL), 0);
	assert_int_equal(g.last.since_ms, 17);
	assert_int_equal(g.last.strikes, 3);
	pass_time(MINUTE);
	note(A, GUARD_REFUSED, 10);
	assert_int_equal(g.last.strikes, 4);
	assert_int_equal(g.last.until_ms, clock_mono_ms() + 80 * MINUTE);
}

static void test_GRD_8_unban(void **state)
{
	struct cidr net = net_of(A);

	(void)state;
	guarded_begin();
	assert_int_equal(guard_unban(g.guard, &net), GUARD_NO_BAN);
	note(A, GUARD_REFUSED, 10);
	assert_int_equal(guard_unban(g.guard, &net), 0);
	assert_int_equal(g.removed, 1);
	assert_int_equal(g.end, GUARD_END_UNBANNED);
	assert_int_equal(check(A), GUARD_PASS);
	assert_int_equal(status_now().sources, 0);
	note(A, GUARD_REFUSED, 10);
	assert_int_equal(g.last.strikes, 1); /* forgiven */
	assert_int_equal(guard_unban(g.guard, &net), 0);
	/* Points go with it. */
	note(A, GUARD_REFUSED, 9);
	assert_int_equal(guard_unban(g.guard, &net), GUARD_NO_BAN);
	note(A, GUARD_REFUSED, 9);
	assert_int_equal(check(A), GUARD_PASS);
}

static void test_GRD_9_ban_that_ends_first_goes(void **state)
{
	(void)state;
	g.settings.max_bans = 100;
	guarded_begin();
	for (unsigned i = 0; i < 100; i++) /* 77 ends first */
		assert_int_equal(order(nth(i), MINUTE + (i * 37 + 51) % 100, GUARD_OPERATOR), 0);
	assert_int_equal((77 * 37 + 51) % 100, 0);
	assert_int_equal(status_now().bans[GUARD_OPERATOR], 100);
	assert_int_equal(order(nth(3), HOUR, GUARD_OPERATOR), 0); /* there already */
	assert_int_equal(g.removed, 0);
	assert_int_equal(order(nth(100), SECOND, GUARD_OPERATOR), 0);
	assert_int_equal(g.removed, 1);
	assert_int_equal(g.end, GUARD_END_DISPLACED);
	assert_int_equal(check(nth(77)), GUARD_PASS);
	assert_int_equal(check(nth(100)), GUARD_BANNED);
	assert_int_equal(order(nth(101), SECOND, GUARD_OPERATOR), 0);
	assert_int_equal(check(nth(100)), GUARD_PASS); /* now that was the one */
	assert_int_equal(status_now().bans[GUARD_OPERATOR], 100);
	assert_int_equal(status_now().ended[GUARD_END_DISPLACED], 2);
	for (unsigned i = 200; i < 5000; i++)
		assert_int_equal(order(nth(i), HOUR, GUARD_OPERATOR), 0);
	assert_int_equal(status_now().bans[GUARD_OPERATOR], 100);
}

static void test_GRD_9_one_ban_alone(void **state)
{
	(void)state;
	g.settings.max_bans = 1;
	guarded_begin();
	note(nth(0), GUARD_REFUSED, 10);
	note(nth(1), GUARD_REFUSED, 10);
	assert_int_equal(check(nth(0)), GUARD_PASS);
	assert_int_equal(check(nth(1)), GUARD_BANNED);
}

/* Whatever the order in which they come, they end in that of their ends. */
static void test_bans_end_in_order(void **state)
{
	uint64_t last = 0;

	(void)state;
	g.settings.max_bans = 5000;
	guarded_begin();
	for (unsigned i = 0; i < 5000; i++)
		assert_int_equal(order(nth(i), 1 + i * 2654435761u % 5000, GUARD_SHARED), 0);
	for (unsigned i = 0; i < 5000; i += 7) {
		struct cidr net = net_of(nth(i));

		assert_int_equal(guard_unban(g.guard, &net), 0);
	}
	memset(&g.last, 0, sizeof(g.last));
	for (unsigned i = 1; i <= 5000; i++) {
		uint64_t left;

		pass_time(1);
		guard_sweep(g.guard);
		left = status_now().bans[GUARD_SHARED];
		assert_int_equal(g.removed, 5000 - left);
		assert_true(g.last.until_ms <= clock_mono_ms() && g.last.until_ms >= last);
		last = g.last.until_ms;
	}
	assert_int_equal(status_now().bans[GUARD_SHARED], 0);
}

static bool count_some(void *arg, const struct guard_ban *ban)
{
	unsigned *left = arg;

	assert_int_equal(ban->origin, GUARD_SHARED);
	return --*left > 0;
}

static void test_each_ban(void **state)
{
	unsigned left = 1000;

	(void)state;
	guarded_begin();
	for (unsigned i = 0; i < 300; i++)
		assert_int_equal(order(nth(i), i < 100 ? SECOND : MINUTE, GUARD_SHARED), 0);
	guard_bans_each(g.guard, count_some, &left);
	assert_int_equal(left, 700);
	pass_time(SECOND);
	guard_bans_each(g.guard, count_some, &left); /* not those that are over */
	assert_int_equal(left, 500);
	left = 17;
	guard_bans_each(g.guard, count_some, &left);
	assert_int_equal(left, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		guarded_test(test_GRD_8_operator_bans),
		guarded_test(test_GRD_8_what_cannot_be_ordered),
		guarded_test(test_bans_of_any_length),
		guarded_test(test_ban_around_a_network),
		guarded_test(test_source_and_ban_of_it),
		guarded_test(test_GRD_8_which_order_wins),
		guarded_test(test_GRD_8_restored_strikes),
		guarded_test(test_GRD_8_unban),
		guarded_test(test_GRD_9_ban_that_ends_first_goes),
		guarded_test(test_GRD_9_one_ban_alone),
		guarded_test(test_bans_end_in_order),
		guarded_test(test_each_ban),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

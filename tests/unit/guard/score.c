// SPDX-License-Identifier: Apache-2.0
/* What clients do, and what follows from it. */
#include "unit.h"

#include "unit/guarded.h"

#define A "192.0.2.1"
#define B "192.0.2.2"

static void test_GRD_2_points_of_each_event(void **state)
{
	static const struct {
		enum guard_event event;
		unsigned until_ban;
		enum guard_reason reason;
	} rows[] = {
		{ GUARD_REFUSED, 10, GUARD_FOR_REFUSED },
		{ GUARD_MALFORMED, 10, GUARD_FOR_MALFORMED },
		{ GUARD_HANDSHAKE_FAILED, 50, GUARD_FOR_HANDSHAKE },
		{ GUARD_LEFT_SILENT, 50, GUARD_FOR_SILENT },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		guarded_setup(NULL);
		guarded_begin();
		note(A, rows[i].event, rows[i].until_ban - 1);
		assert_int_equal(check(A), GUARD_PASS);
		assert_int_equal(g.set, 0);
		note(A, rows[i].event, 1);
		assert_int_equal(check(A), GUARD_BANNED);
		assert_int_equal(check(B), GUARD_PASS);
		assert_int_equal(g.set, 1);
		assert_int_equal(g.last.reason, rows[i].reason);
		assert_int_equal(g.last.origin, GUARD_LOCAL);
		assert_true(g.last.points == 10);
		assert_int_equal(status_now().bans_total[rows[i].reason], 1);
		assert_int_equal(status_now().events[rows[i].event], rows[i].until_ban);
		guarded_teardown(NULL);
	}
}

static void test_GRD_2_other_limits(void **state)
{
	(void)state;
	g.settings.ban_after = 1;
	guarded_begin();
	note(A, GUARD_HANDSHAKE_FAILED, 4);
	assert_int_equal(check(A), GUARD_PASS);
	note(A, GUARD_HANDSHAKE_FAILED, 1);
	assert_int_equal(check(A), GUARD_BANNED);
	note(B, GUARD_REFUSED, 1);
	assert_int_equal(check(B), GUARD_BANNED);
}

static void test_GRD_2_points_decay_evenly(void **state)
{
	(void)state;
	guarded_begin();
	/* Ten in ten minutes: one a minute. */
	note(A, GUARD_REFUSED, 9);
	pass_time(MINUTE);
	note(A, GUARD_REFUSED, 1);
	assert_int_equal(check(A), GUARD_PASS);
	pass_time(MINUTE - 1);
	note(A, GUARD_REFUSED, 1);
	assert_int_equal(check(A), GUARD_PASS);
	note(A, GUARD_REFUSED, 1);
	assert_int_equal(check(A), GUARD_BANNED);
	/* However often it is looked at in between. */
	note(B, GUARD_REFUSED, 9);
	for (int i = 0; i < 60000; i++) {
		pass_time(1);
		penalty(B);
	}
	note(B, GUARD_REFUSED, 1);
	assert_int_equal(check(B), GUARD_PASS);
	note(B, GUARD_REFUSED, 1);
	assert_int_equal(check(B), GUARD_BANNED);
}

static void test_GRD_2_window(void **state)
{
	(void)state;
	guarded_begin();
	note(A, GUARD_REFUSED, 9);
	pass_time(10 * MINUTE);
	note(A, GUARD_REFUSED, 9);
	assert_int_equal(check(A), GUARD_PASS);
	note(A, GUARD_REFUSED, 1);
	assert_int_equal(check(A), GUARD_BANNED);
	/* One a minute for a day is no attack. */
	for (int i = 0; i < 24 * 60; i++) {
		note(B, GUARD_REFUSED, 1);
		pass_time(MINUTE);
	}
	assert_int_equal(check(B), GUARD_PASS);
}

static void test_GRD_2_good_login(void **state)
{
	(void)state;
	guarded_begin();
	note(A, GUARD_REFUSED, 9);
	note(A, GUARD_GOOD_LOGIN, 1);
	note(A, GUARD_REFUSED, 1);
	assert_int_equal(check(A), GUARD_PASS);
	note(A, GUARD_REFUSED, 1);
	assert_int_equal(check(A), GUARD_BANNED);
	/* None are saved up, and of one alone nothing is remembered. */
	note(B, GUARD_GOOD_LOGIN, 20);
	assert_int_equal(status_now().sources, 1);
	note(B, GUARD_REFUSED, 10);
	assert_int_equal(check(B), GUARD_BANNED);
	assert_int_equal(status_now().events[GUARD_GOOD_LOGIN], 21);
}

static void guess(const char *ip, unsigned number)
{
	struct addr client = at(ip);
	char password[32];

	snprintf(password, sizeof(password), "guess %u", number);
	guard_note(g.guard, &client, false, GUARD_REFUSED,
		guard_secret(g.guard, VIEW_LIT("alice"), view_str(password)));
}

static void test_GRD_2_old_password_again(void **state)
{
	(void)state;
	guarded_begin();
	for (unsigned i = 0; i < 1000; i++)
		guess(A, 1);
	assert_int_equal(check(A), GUARD_PASS);
	assert_int_equal(status_now().repeated, 999);
	/* Nine more, one after the other, are the tenth point. */
	for (unsigned i = 2; i <= 9; i++)
		guess(A, i);
	assert_int_equal(check(A), GUARD_PASS);
	guess(A, 10);
	assert_int_equal(check(A), GUARD_BANNED);
	/* Somebody else's are somebody else's. */
	guess(B, 1);
	assert_int_equal(status_now().repeated, 999);
}

static void test_GRD_2_last_ten_secrets(void **state)
{
	(void)state;
	g.settings.ban_after = 100;
	guarded_begin();
	for (unsigned i = 1; i <= 10; i++)
		guess(A, i);
	guess(A, 1);
	assert_int_equal(status_now().repeated, 1); /* the tenth last */
	guess(A, 11);
	guess(A, 1); /* the eleventh last */
	assert_int_equal(status_now().repeated, 1);
	guess(A, 3); /* 2 went for 1 */
	assert_int_equal(status_now().repeated, 2);
	guess(A, 2);
	assert_int_equal(status_now().repeated, 2);
}

static void test_GRD_2_secret_outlives_its_point(void **state)
{
	(void)state;
	guarded_begin();
	guess(A, 1);
	for (unsigned i = 1; i <= 10; i++) {
		pass_time(23 * HOUR);
		guard_sweep(g.guard);
		guess(A, 1);
		assert_int_equal(status_now().repeated, i);
	}
	pass_time(24 * HOUR);
	guard_sweep(g.guard);
	assert_int_equal(status_now().sources, 0);
}

static void test_GRD_2_secrets_are_of_account_and_password(void **state)
{
	uint64_t ab, ba, same;

	(void)state;
	guarded_begin();
	ab = guard_secret(g.guard, VIEW_LIT("a"), VIEW_LIT("bc"));
	ba = guard_secret(g.guard, VIEW_LIT("ab"), VIEW_LIT("c"));
	same = guard_secret(g.guard, VIEW_LIT("a"), VIEW_LIT("bc"));
	assert_true(ab == same && ab != ba && ab);
	/* Another process, another key. */
	guard_free(g.guard);
	guarded_begin();
	assert_true(guard_secret(g.guard, VIEW_LIT("a"), VIEW_LIT("bc")) != ab);
}

static void test_GRD_2_bans_double_and_are_forgiven(void **state)
{
	static const uint64_t minutes[] = { 10, 20, 40, 60, 60 };

	(void)state;
	g.settings.ban_time_max_ms = HOUR;
	guarded_begin();
	for (unsigned i = 0; i < ARRAY_SIZE(minutes); i++) {
		note(A, GUARD_REFUSED, 10);
		assert_int_equal(g.last.strikes, i + 1);
		assert_int_equal(g.last.until_ms - clock_mono_ms(), minutes[i] * MINUTE);
		pass_time(minutes[i] * MINUTE - 1);
		assert_int_equal(check(A), GUARD_BANNED);
		pass_time(1);
		assert_int_equal(check(A), GUARD_PASS);
	}
	pass_time(HOUR - 1);
	note(A, GUARD_REFUSED, 10);
	assert_int_equal(g.last.strikes, 6);
	/* As long as the longest ban without one: a stranger again. */
	pass_time(2 * HOUR);
	note(A, GUARD_REFUSED, 10);
	assert_int_equal(g.last.strikes, 1);
}

static void test_GRD_2_old_connections_of_the_banned(void **state)
{
	(void)state;
	guarded_begin();
	note(A, GUARD_REFUSED, 10);
	note(A, GUARD_REFUSED, 1000);
	assert_int_equal(g.set, 1);
	pass_time(10 * MINUTE);
	note(A, GUARD_REFUSED, 9); /* from nothing again */
	assert_int_equal(check(A), GUARD_PASS);
}

static void test_GRD_2_prefixes(void **state)
{
	(void)state;
	g.settings.ipv4_prefix = 24;
	guarded_begin();
	for (unsigned i = 0; i < 10; i++) {
		char ip[64];

		snprintf(ip, sizeof(ip), "198.51.100.%u", i);
		note(ip, GUARD_REFUSED, 1);
		snprintf(ip, sizeof(ip), "2001:db8:0:1:%x::1", i);
		note(ip, GUARD_REFUSED, 1);
	}
	assert_int_equal(check("198.51.100.255"), GUARD_BANNED);
	assert_int_equal(check("198.51.101.0"), GUARD_PASS);
	assert_int_equal(check("2001:db8:0:1:ffff::"), GUARD_BANNED);
	assert_int_equal(check("2001:db8:0:2::"), GUARD_PASS);
	assert_int_equal(g.set, 2);
	assert_int_equal(g.last.net.bits, 64);
	assert_int_equal(addr_port(&g.last.client), 0);
}

static void test_GRD_2_spare_active(void **state)
{
	(void)state;
	guarded_begin();
	sessions(A, 10);
	note(A, GUARD_REFUSED, 15);
	assert_int_equal(check(A), GUARD_PASS);
	assert_int_equal(g.withheld, 1); /* once, not for each */
	assert_int_equal(g.why, GUARD_WHY_ACTIVE);
	assert_true(g.points == 10);
	assert_int_equal(status_now().withheld[GUARD_WHY_ACTIVE], 1);
	/* Again once the points were down. */
	pass_time(6 * MINUTE);
	note(A, GUARD_REFUSED, 6);
	assert_int_equal(g.withheld, 2);
	/* With one less the next failure bans. */
	sessions(A, -1);
	assert_int_equal(check(A), GUARD_PASS);
	note(A, GUARD_REFUSED, 1);
	assert_int_equal(check(A), GUARD_BANNED);
}

static void test_GRD_2_spare_active_is_off(void **state)
{
	(void)state;
	g.settings.spare_active = 0;
	guarded_begin();
	sessions(A, 100);
	note(A, GUARD_REFUSED, 10);
	assert_int_equal(check(A), GUARD_BANNED);
}

static void test_GRD_3_never_banned(void **state)
{
	(void)state;
	guarded_begin();
	never("192.0.2.0/31", GUARD_WHY_PROXY);
	note(A, GUARD_REFUSED, 10);
	assert_int_equal(check(A), GUARD_PASS);
	assert_int_equal(penalty(A), 0);
	assert_int_equal(g.withheld, 1);
	assert_int_equal(g.why, GUARD_WHY_PROXY);
	note(B, GUARD_REFUSED, 10);
	assert_int_equal(check(B), GUARD_BANNED);
}

static void test_GRD_3_no_points_for_neighbours(void **state)
{
	(void)state;
	guarded_begin();
	never("2001:db8::1", GUARD_WHY_NODE);
	note("2001:db8::1", GUARD_REFUSED, 9);
	note("2001:db8::2", GUARD_REFUSED, 1);
	assert_int_equal(check("2001:db8::2"), GUARD_PASS);
	note("2001:db8::2", GUARD_REFUSED, 9);
	assert_int_equal(check("2001:db8::2"), GUARD_BANNED);
	assert_int_equal(check("2001:db8::1"), GUARD_PASS);
	assert_int_equal(check("2001:db8::3"), GUARD_BANNED);
}

static void test_GRD_3_told_addresses(void **state)
{
	struct addr a = at(A), b = at(B);

	(void)state;
	guarded_begin();
	for (int i = 0; i < 9; i++)
		guard_note(g.guard, &a, false, GUARD_REFUSED, 0);
	assert_int_equal(g.set, 0);
	guard_note(g.guard, &a, true, GUARD_REFUSED, 0);
	assert_true(g.last.told); /* one of them was */
	for (int i = 0; i < 10; i++)
		guard_note(g.guard, &b, false, GUARD_REFUSED, 0);
	assert_false(g.last.told);
	/* Points that are gone do not matter. */
	pass_time(HOUR);
	guard_note(g.guard, &b, true, GUARD_REFUSED, 0);
	pass_time(HOUR);
	for (int i = 0; i < 10; i++)
		guard_note(g.guard, &b, false, GUARD_REFUSED, 0);
	assert_int_equal(g.set, 3);
	assert_false(g.last.told);
}

static void test_GRD_9_penalty(void **state)
{
	static const uint32_t wanted[] = { 0, 2000, 4000, 8000, 15000, 15000 };

	(void)state;
	guarded_begin();
	for (size_t i = 0; i < ARRAY_SIZE(wanted); i++) {
		assert_int_equal(penalty(A), wanted[i]);
		note(A, GUARD_REFUSED, 1);
		pass_time(2 * SECOND); /* quick failures count in full */
	}
	assert_int_equal(penalty(B), 0);
	assert_int_equal(status_now().penalties, 5);
	note(A, GUARD_GOOD_LOGIN, 5);
	assert_int_equal(penalty(A), 2000);
	pass_time(MINUTE);
	assert_int_equal(penalty(A), 0);
}

static void test_GRD_9_penalty_is_off(void **state)
{
	(void)state;
	g.settings.penalty_ms = 0;
	guarded_begin();
	note(A, GUARD_REFUSED, 5);
	assert_int_equal(penalty(A), 0);
	assert_int_equal(status_now().penalties, 0);
}

static void test_observe_bans_and_passes(void **state)
{
	(void)state;
	g.settings.observe = true;
	guarded_begin();
	note(A, GUARD_REFUSED, 5);
	assert_int_equal(penalty(A), 0);
	note(A, GUARD_REFUSED, 5);
	assert_int_equal(g.set, 1);
	assert_int_equal(check(A), GUARD_PASS);
	assert_int_equal(status_now().checks[GUARD_BANNED], 1);
	assert_true(status_now().observe);
	g.settings.observe = false;
	assert_int_equal(guard_configure(g.guard, &g.settings), 0);
	assert_int_equal(check(A), GUARD_BANNED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		guarded_test(test_GRD_2_points_of_each_event),
		guarded_test(test_GRD_2_other_limits),
		guarded_test(test_GRD_2_points_decay_evenly),
		guarded_test(test_GRD_2_window),
		guarded_test(test_GRD_2_good_login),
		guarded_test(test_GRD_2_old_password_again),
		guarded_test(test_GRD_2_last_ten_secrets),
		guarded_test(test_GRD_2_secret_outlives_its_point),
		guarded_test(test_GRD_2_secrets_are_of_account_and_password),
		guarded_test(test_GRD_2_bans_double_and_are_forgiven),
		guarded_test(test_GRD_2_old_connections_of_the_banned),
		guarded_test(test_GRD_2_prefixes),
		guarded_test(test_GRD_2_spare_active),
		guarded_test(test_GRD_2_spare_active_is_off),
		guarded_test(test_GRD_3_never_banned),
		guarded_test(test_GRD_3_no_points_for_neighbours),
		guarded_test(test_GRD_3_told_addresses),
		guarded_test(test_GRD_9_penalty),
		guarded_test(test_GRD_9_penalty_is_off),
		guarded_test(test_observe_bans_and_passes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

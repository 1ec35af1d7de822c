// SPDX-License-Identifier: Apache-2.0
/* How many sources are remembered, and which. */
#include "unit.h"

#include "unit/guarded.h"

static bool is_known(unsigned i)
{
	return penalty(nth(i)) > 0;
}

static void test_GRD_9_oldest_source_goes(void **state)
{
	(void)state;
	g.settings.max_sources = 100;
	guarded_begin();
	for (unsigned i = 0; i < 100; i++)
		note(nth(i), GUARD_REFUSED, 1);
	assert_int_equal(status_now().sources, 100);
	assert_int_equal(status_now().forgotten, 0);
	note(nth(0), GUARD_REFUSED, 1); /* known: room is not needed, and it is the newest now */
	assert_int_equal(status_now().forgotten, 0);
	note(nth(100), GUARD_REFUSED, 1);
	assert_int_equal(status_now().sources, 100);
	assert_int_equal(status_now().forgotten, 1);
	assert_false(is_known(1));
	assert_true(is_known(0) && is_known(2) && is_known(100));
	for (unsigned i = 101; i < 10000; i++)
		note(nth(i), GUARD_REFUSED, 1);
	assert_int_equal(status_now().sources, 100);
	assert_true(is_known(9900) && is_known(9999));
	assert_false(is_known(9899));
}

static void test_GRD_9_one_source_alone(void **state)
{
	(void)state;
	g.settings.max_sources = 1;
	guarded_begin();
	note(nth(0), GUARD_REFUSED, 9);
	note(nth(0), GUARD_REFUSED, 1);
	assert_int_equal(check(nth(0)), GUARD_BANNED);
	note(nth(1), GUARD_REFUSED, 1);
	note(nth(2), GUARD_REFUSED, 1);
	assert_int_equal(status_now().sources, 1);
	assert_int_equal(check(nth(0)), GUARD_BANNED); /* bans are another matter */
}

static void test_GRD_9_sessions_take_no_room(void **state)
{
	(void)state;
	g.settings.max_sources = 10;
	guarded_begin();
	for (unsigned i = 0; i < 10; i++)
		note(nth(i), GUARD_REFUSED, 1);
	for (unsigned i = 1000; i < 1100; i++)
		sessions(nth(i), 1);
	for (unsigned i = 0; i < 10; i++)
		assert_true(is_known(i));
	assert_int_equal(status_now().sources, 110);
	for (unsigned i = 1000; i < 1100; i++)
		sessions(nth(i), -1);
	assert_int_equal(status_now().sources, 10);
	for (unsigned i = 0; i < 10; i++)
		assert_true(is_known(i));
}

static void test_GRD_9_limit_when_sessions_end(void **state)
{
	(void)state;
	g.settings.max_sources = 10;
	guarded_begin();
	for (unsigned i = 0; i < 30; i++) {
		sessions(nth(i), 2);
		note(nth(i), GUARD_REFUSED, 1);
	}
	assert_int_equal(status_now().sources, 30);
	for (unsigned i = 0; i < 30; i++)
		sessions(nth(i), -1);
	assert_int_equal(status_now().sources, 30);
	for (unsigned i = 0; i < 30; i++)
		sessions(nth(i), -1);
	assert_int_equal(status_now().sources, 10);
	assert_true(is_known(29) && is_known(20));
	assert_false(is_known(19));
}

static void test_sessions_never_fall_below_none(void **state)
{
	(void)state;
	g.settings.spare_active = 1;
	guarded_begin();
	sessions(nth(0), -1);
	sessions(nth(0), 1);
	sessions(nth(0), -1);
	sessions(nth(0), -1);
	assert_int_equal(status_now().sources, 0);
	sessions(nth(0), 1);
	note(nth(0), GUARD_REFUSED, 10);
	assert_int_equal(check(nth(0)), GUARD_PASS);
}

static void test_sweep_forgets_what_has_nothing_left(void **state)
{
	(void)state;
	guarded_begin();
	for (unsigned i = 0; i < 500; i++)
		note(nth(i), GUARD_REFUSED, 1);
	pass_time(MINUTE - 1);
	guard_sweep(g.guard);
	assert_int_equal(status_now().sources, 500);
	pass_time(1);
	guard_sweep(g.guard);
	assert_int_equal(status_now().sources, 0);
	assert_int_equal(status_now().forgotten, 0); /* they were not too many */
}

static void test_reload_keeps_points(void **state)
{
	(void)state;
	guarded_begin();
	note(nth(0), GUARD_REFUSED, 5);
	g.settings.ban_after = 6;
	assert_int_equal(guard_configure(g.guard, &g.settings), 0);
	assert_int_equal(check(nth(0)), GUARD_PASS);
	note(nth(0), GUARD_REFUSED, 1);
	assert_int_equal(check(nth(0)), GUARD_BANNED);
	/* More than are needed now: the next one bans, at what is the limit now. */
	note(nth(1), GUARD_REFUSED, 5);
	g.settings.ban_after = 2;
	assert_int_equal(guard_configure(g.guard, &g.settings), 0);
	note(nth(1), GUARD_HANDSHAKE_FAILED, 1);
	assert_int_equal(check(nth(1)), GUARD_BANNED);
	assert_true(g.last.points == 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		guarded_test(test_GRD_9_oldest_source_goes),
		guarded_test(test_GRD_9_one_source_alone),
		guarded_test(test_GRD_9_sessions_take_no_room),
		guarded_test(test_GRD_9_limit_when_sessions_end),
		guarded_test(test_sessions_never_fall_below_none),
		guarded_test(test_sweep_forgets_what_has_nothing_left),
		guarded_test(test_reload_keeps_points),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

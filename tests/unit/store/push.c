// SPDX-License-Identifier: Apache-2.0
/* The watch over a push channel (MAP-103), on a clock that the test moves: silence, the sign of life,
 * the pauses between attempts. */
#include "unit.h"

#include "unit/fake_clock.h"

#include "store/pool.h"

static struct {
	struct loop loop;
	struct store_push push;
	unsigned opened, pinged, closed, up, down;
	bool refuse;
} f;

static void driver_open(struct store_push *push)
{
	f.opened++;
	if (f.refuse)
		store_push_lost(push);
}

static void driver_ping(struct store_push *push)
{
	(void)push;
	f.pinged++;
}

static void driver_close(struct store_push *push)
{
	(void)push;
	f.closed++;
}

static const struct store_push_driver driver = { driver_open, driver_ping, driver_close };

static void on_push(void *arg, enum store_push_event event, struct view identifier)
{
	(void)arg;
	(void)identifier;
	f.up += event == STORE_PUSH_UP;
	f.down += event == STORE_PUSH_DOWN;
}

static void pass(uint64_t ms)
{
	atomic_fetch_add(&fake_now_ms, ms);
	for (int i = 0; i < 3; i++)
		assert_int_equal(loop_run_once(&f.loop, 0), 0);
}

static void setup(bool refuse)
{
	memset(&f, 0, sizeof(f));
	f.refuse = refuse;
	assert_int_equal(loop_init(&f.loop), 0);
	f.push = (struct store_push){
		.driver = &driver, .loop = &f.loop, .fn = on_push, .open_ms = 5000
	};
	store_push_start(&f.push);
	pass(1);
	assert_int_equal(f.opened, 1);
}

static void teardown(void)
{
	store_push_stop(&f.push);
	loop_fini(&f.loop);
}

static void test_MAP_103_sign_of_life_after_30_s_of_silence(void **state)
{
	(void)state;
	setup(false);
	store_push_up(&f.push);
	assert_int_equal(f.up, 1);
	pass(20000);
	store_push_heard(&f.push); /* a message: the silence begins anew */
	pass(29999);
	assert_int_equal(f.pinged, 0);
	pass(1);
	assert_int_equal(f.pinged, 1);
	pass(9999);
	store_push_heard(&f.push);
	pass(29999);
	assert_int_equal(f.pinged, 1);
	assert_int_equal(f.down, 0);
	pass(1);
	assert_int_equal(f.pinged, 2);
	pass(9999);
	assert_int_equal(f.closed, 0);
	pass(1); /* no answer within 10 s */
	assert_int_equal(f.closed, 1);
	assert_int_equal(f.down, 1);
	pass(999);
	assert_int_equal(f.opened, 1);
	pass(1);
	assert_int_equal(f.opened, 2);
	store_push_up(&f.push);
	assert_int_equal(f.up, 2);
	teardown();
}

static void test_MAP_103_pauses_double_up_to_30_s(void **state)
{
	static const unsigned pauses_s[] = { 1, 2, 4, 8, 16, 30, 30, 30 };

	(void)state;
	setup(true);
	for (unsigned i = 0; i < sizeof(pauses_s) / sizeof(pauses_s[0]); i++) {
		pass(pauses_s[i] * 1000ull - 1);
		assert_int_equal(f.opened, i + 1);
		f.refuse = i + 1 < sizeof(pauses_s) / sizeof(pauses_s[0]);
		pass(1);
		assert_int_equal(f.opened, i + 2);
	}
	assert_int_equal(f.down, 0); /* it never was up */
	store_push_up(&f.push);
	store_push_lost(&f.push); /* up once: the pauses begin at 1 s again */
	assert_int_equal(f.down, 1);
	pass(999);
	assert_int_equal(f.opened, 9);
	pass(1);
	assert_int_equal(f.opened, 10);
	teardown();
}

static void test_MAP_103_an_opening_that_hangs_is_given_up(void **state)
{
	(void)state;
	setup(false);
	pass(4999);
	assert_int_equal(f.closed, 0);
	pass(1);
	assert_int_equal(f.closed, 1);
	assert_int_equal(f.down, 0);
	pass(1000);
	assert_int_equal(f.opened, 2);
	teardown();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_MAP_103_sign_of_life_after_30_s_of_silence),
		cmocka_unit_test(test_MAP_103_pauses_double_up_to_30_s),
		cmocka_unit_test(test_MAP_103_an_opening_that_hangs_is_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

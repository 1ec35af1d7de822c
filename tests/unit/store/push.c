// SPDX-License-Identifier: Apache-2.0
/* The watch over a push channel (MAP-103), on a clock that the test moves: silence, the sign of
 * life, the pauses between attempts. */
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

static struct {
	struct store_pool pool;
	struct store_conn *conn; /* the one that the announcement went out on */
	unsigned warned;
} proof;

static void pool_open(struct store_conn *conn)
{
	store_conn_ready(conn);
}

static int pool_send(struct store_conn *conn, struct store_request *request)
{
	assert_int_equal(request->op, STORE_ANNOUNCE);
	proof.conn = conn;
	return 0;
}

static void pool_close(struct store_conn *conn)
{
	(void)conn;
}

static const struct store_driver pool_driver = { .name = "fake",
	.conn_size = sizeof(struct store_conn),
	.open = pool_open,
	.send = pool_send,
	.close = pool_close };

static void on_warn(void *arg, const char *text)
{
	(void)arg;
	assert_string_equal(text, "nothing comes");
	proof.warned++;
}

static void announced(enum store_result result, bool refused)
{
	store_conn_head(proof.conn)->result = result;
	store_conn_head(proof.conn)->refused = refused;
	store_conn_answered(proof.conn);
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

/* Up is what messages come through, not what was accepted; once told why not; and who may not
 * write is believed. */
static void test_MAP_103_up_is_proved(void **state)
{
	(void)state;
	setup(false);
	memset(&proof, 0, sizeof(proof));
	assert_int_equal(store_pool_init(&proof.pool, &pool_driver, NULL, &f.loop, 1, 5000), 0);
	f.push.pool = &proof.pool;
	f.push.warn = on_warn;
	f.push.unproved = "nothing comes";
	store_push_prove(&f.push);
	announced(STORE_DONE, false);
	assert_false(store_push_take_mark(&f.push, VIEW_LIT("alice@example.com")));
	assert_false(store_push_take_mark(&f.push, VIEW_LIT("push-check-alice@example.com")));
	assert_true(store_push_take_mark(&f.push, VIEW_LIT("push-check-0@homing.invalid")));
	assert_int_equal(f.up, 0); /* another router's */
	assert_true(store_push_take_mark(&f.push, view_str(f.push.mark)));
	assert_int_equal(f.up, 1);
	assert_true(store_push_take_mark(&f.push, view_str(f.push.mark)));
	assert_int_equal(f.up, 1);
	store_push_lost(&f.push);
	pass(1000);
	for (unsigned i = 0; i < 2; i++) { /* it never comes */
		store_push_prove(&f.push);
		announced(STORE_DONE, false);
		pass(5000);
		assert_int_equal(f.push.state, STORE_PUSH_CLOSED);
		assert_int_equal(proof.warned, 1);
		pass(2000 << i);
		assert_int_equal(f.push.state, STORE_PUSH_OPENING);
	}
	store_push_prove(&f.push);
	announced(STORE_ERROR, false); /* the store is away: no reason to warn */
	assert_int_equal(f.push.state, STORE_PUSH_CLOSED);
	pass(8000);
	store_push_prove(&f.push);
	assert_int_equal(f.up, 1);
	announced(STORE_ERROR, true);
	assert_int_equal(f.up, 2);
	assert_int_equal(proof.warned, 1);
	store_push_lost(&f.push);
	pass(1000);
	store_push_prove(&f.push); /* out while everything ends */
	teardown();
	store_pool_fini(&proof.pool);
	assert_int_equal(f.up, 2);
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
		cmocka_unit_test(test_MAP_103_up_is_proved),
		cmocka_unit_test(test_MAP_103_an_opening_that_hangs_is_given_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

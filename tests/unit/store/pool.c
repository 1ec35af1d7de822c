// SPDX-License-Identifier: Apache-2.0
/*
 * A pool on its thread, with connections that the test answers for: lookups that their askers send
 * themselves (MAP-36), and what has to wait for the thread because it may take its time.
 */
#include "unit.h"

#include "base/clock.h"
#include "store/pool.h"

#include <errno.h>
#include <unistd.h>

struct fake_conn {
	struct store_conn conn;
	bool refuse; /* the next request */
};

static struct {
	struct store store;
	struct store_thread thread;
	struct store_pool pool;
	/* Under the guard: */
	pthread_t opened_by, sent_by;
	unsigned opened, sent, closed;
	bool refuse;
} f;

struct ask {
	struct store_request request;
	atomic_bool done;
};

static void fake_open(struct store_conn *conn)
{
	f.opened++;
	f.opened_by = pthread_self();
	store_conn_ready(conn);
}

static int fake_send(struct store_conn *conn, struct store_request *request)
{
	(void)conn;
	(void)request;
	f.sent_by = pthread_self();
	f.sent++;
	if (!f.refuse)
		return 0;
	f.refuse = false;
	return -EIO;
}

static void fake_close(struct store_conn *conn)
{
	(void)conn;
	f.closed++;
}

static const struct store_driver driver = { .name = "fake",
	.conn_size = sizeof(struct fake_conn),
	.open = fake_open,
	.send = fake_send,
	.close = fake_close };

static const struct store_ops fake_ops = { .name = "fake" };

static void on_submit(struct post *post)
{
	store_pool_add(&f.pool, container_of(post, struct store_request, post));
}

static void on_done(struct store_request *request)
{
	atomic_store(&container_of(request, struct ask, request)->done, true);
}

static void ask(struct ask *ask_, enum store_op op, uint64_t timeout_ms)
{
	*ask_ = (struct ask){ .request = { .op = op,
				      .identifier = VIEW_LIT("alice"),
				      .deadline_ms = clock_mono_ms() + timeout_ms,
				      .done = on_done } };
	store_thread_submit(&f.thread, &f.store, &f.pool, &ask_->request, on_submit);
}

static void finish(void *arg)
{
	(void)arg;
	store_pool_fini(&f.pool);
}

static unsigned guarded(const unsigned *number)
{
	unsigned value;

	pthread_mutex_lock(&f.thread.guard);
	value = *number;
	pthread_mutex_unlock(&f.thread.guard);
	return value;
}

static void wait_for(const unsigned *number, unsigned value)
{
	for (int i = 0; i < 20000 && guarded(number) != value; i++)
		usleep(1000);
	assert_int_equal(guarded(number), value);
}

static void wait_done(struct ask *ask_)
{
	for (int i = 0; i < 20000 && !atomic_load(&ask_->done); i++)
		usleep(1000);
	assert_true(atomic_load(&ask_->done));
}

/* The server answers the oldest request of a connection. */
static void answer(unsigned conn)
{
	pthread_mutex_lock(&f.thread.guard);
	store_conn_head(f.pool.conns[conn])->result = STORE_NONE;
	store_conn_answered(f.pool.conns[conn]);
	pthread_mutex_unlock(&f.thread.guard);
}

/* One connection open, with nothing to do. */
static void setup(unsigned size)
{
	struct ask first;

	memset(&f, 0, sizeof(f));
	f.store.ops = &fake_ops;
	assert_int_equal(store_thread_init(&f.thread), 0);
	assert_int_equal(store_pool_init(&f.pool, &driver, NULL, &f.thread.loop, size, 10000), 0);
	assert_int_equal(store_thread_run(&f.thread, "fake", finish, NULL), 0);
	ask(&first, STORE_LOOKUP, 10000);
	wait_for(&f.sent, 1);
	assert_true(pthread_equal(f.opened_by, f.thread.thread)); /* it may wait */
	answer(0);
	wait_done(&first);
}

static void test_MAP_36_asker_sends(void **state)
{
	struct ask one, two;

	(void)state;
	setup(1);
	ask(&one, STORE_LOOKUP, 10000);
	assert_int_equal(guarded(&f.sent), 2); /* before submit returned */
	assert_true(pthread_equal(f.sent_by, pthread_self()));
	ask(&two, STORE_LOOKUP, 10000); /* pipelined: there is no other to be opened */
	assert_int_equal(guarded(&f.sent), 3);
	answer(0);
	wait_done(&one);
	assert_false(atomic_load(&two.done));
	answer(0);
	wait_done(&two);
	store_thread_stop(&f.thread);
	assert_int_equal(f.opened, 1);
}

/* A connection to be opened, a write, a guard that is taken: none of that is the asker's. */
static void test_MAP_36_asker_does_not_wait(void **state)
{
	struct ask one, two, write, held;

	(void)state;
	setup(2);
	ask(&one, STORE_LOOKUP, 10000);
	ask(&two, STORE_LOOKUP, 10000);
	wait_for(&f.sent, 3);
	assert_int_equal(guarded(&f.opened), 2);
	assert_true(pthread_equal(f.opened_by, f.thread.thread));
	assert_true(pthread_equal(f.sent_by, f.thread.thread));
	answer(0);
	answer(1);
	ask(&write, STORE_UPSERT, 10000);
	wait_for(&f.sent, 4);
	assert_true(pthread_equal(f.sent_by, f.thread.thread));
	answer(0);
	pthread_mutex_lock(&f.thread.guard);
	ask(&held, STORE_LOOKUP, 10000); /* returns */
	assert_int_equal(f.sent, 4);
	pthread_mutex_unlock(&f.thread.guard);
	wait_for(&f.sent, 5);
	answer(0);
	wait_done(&held);
	store_thread_stop(&f.thread);
}

/* What a dead connection did not take is asked once more on another, which the thread opens. */
static void test_MAP_32_sent_on_a_dead_connection(void **state)
{
	struct ask one;

	(void)state;
	setup(1);
	pthread_mutex_lock(&f.thread.guard);
	f.refuse = true;
	pthread_mutex_unlock(&f.thread.guard);
	ask(&one, STORE_LOOKUP, 10000);
	wait_for(&f.sent, 3);
	assert_int_equal(guarded(&f.closed), 1);
	assert_int_equal(guarded(&f.opened), 2);
	assert_true(pthread_equal(f.opened_by, f.thread.thread));
	answer(0);
	wait_done(&one);
	assert_int_equal(one.request.result, STORE_NONE);
	store_thread_stop(&f.thread);
}

/* The thread waits for nothing else when the asker sends: its deadline wakes it up. */
static void test_MAP_31_deadline_of_what_the_asker_sent(void **state)
{
	uint64_t start;
	struct ask one;

	(void)state;
	setup(1);
	start = clock_mono_ms();
	ask(&one, STORE_LOOKUP, 50);
	assert_int_equal(guarded(&f.sent), 2);
	wait_done(&one);
	assert_int_equal(one.request.result, STORE_TIMEOUT);
	assert_in_range(clock_mono_ms() - start, 49, 5000);
	ask(&one, STORE_LOOKUP, 10000);
	wait_for(&f.sent, 3);
	store_thread_stop(&f.thread); /* with one out */
	wait_done(&one);
	assert_int_equal(one.request.result, STORE_ERROR);
}

/* ---- many askers ---- */

#define ASKERS 4
#define EACH 300

static atomic_bool answering;

static void *asker_main(void *arg)
{
	struct ask *asks = arg;

	for (int i = 0; i < EACH; i++)
		ask(&asks[i], STORE_LOOKUP, 20000);
	return NULL;
}

static void *server_main(void *arg)
{
	(void)arg;
	while (atomic_load(&answering)) {
		pthread_mutex_lock(&f.thread.guard);
		for (unsigned i = 0; i < f.pool.size; i++) {
			struct store_conn *conn = f.pool.conns[i];

			if (conn->state != STORE_CONN_READY || !conn->count)
				continue;
			store_conn_head(conn)->result = STORE_NONE;
			store_conn_answered(conn);
			loop_guest_done(&f.thread.loop);
		}
		pthread_mutex_unlock(&f.thread.guard);
		sched_yield();
	}
	return NULL;
}

static void test_MAP_36_many_askers(void **state)
{
	static struct ask asks[ASKERS][EACH];
	pthread_t threads[ASKERS], server;

	(void)state;
	setup(3);
	pthread_mutex_lock(&f.thread.guard);
	for (unsigned i = 0; i < f.pool.size; i++)
		if (f.pool.conns[i]->state == STORE_CONN_CLOSED)
			f.pool.conns[i]->state = STORE_CONN_READY; /* nothing more to open */
	pthread_mutex_unlock(&f.thread.guard);
	atomic_store(&answering, true);
	pthread_create(&server, NULL, server_main, NULL);
	for (int i = 0; i < ASKERS; i++)
		pthread_create(&threads[i], NULL, asker_main, asks[i]);
	for (int i = 0; i < ASKERS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < ASKERS; i++) {
		for (int j = 0; j < EACH; j++) {
			wait_done(&asks[i][j]);
			assert_int_equal(asks[i][j].request.result, STORE_NONE);
		}
	}
	atomic_store(&answering, false);
	pthread_join(server, NULL);
	assert_int_equal(guarded(&f.sent), 1 + ASKERS * EACH);
	store_thread_stop(&f.thread);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_MAP_36_asker_sends),
		cmocka_unit_test(test_MAP_36_asker_does_not_wait),
		cmocka_unit_test(test_MAP_32_sent_on_a_dead_connection),
		cmocka_unit_test(test_MAP_31_deadline_of_what_the_asker_sent),
		cmocka_unit_test(test_MAP_36_many_askers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

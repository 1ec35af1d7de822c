// SPDX-License-Identifier: Apache-2.0
/* What a closed side is owed while user space moves the bytes: a reader that goes on reading gets
 * all of it, however long that takes, and one that stops is given up owed_ms later. Neither is
 * asked after often. */
#include "unit/relayed.h"

#include "base/clock.h"
#include "unit/tcp_pair.h"

#include <fcntl.h>
#include <sys/socket.h>

#define OWED_MS 700
#define TICK_MS 20
#define MOST 400000

static void set(int fd, int level, int name, int value)
{
	assert_int_equal(setsockopt(fd, level, name, &value, sizeof(value)), 0);
}

/* [0] has room for little: set before it connects, it keeps segments small, so what is read is
 * acknowledged soon. */
static void narrow_pair(int fds[2])
{
	struct addr addr;
	int listener = tcp_pair_listen("127.0.0.1:0", &addr);

	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	set(fds[0], SOL_SOCKET, SO_RCVBUF, 8192);
	assert_int_equal(connect(fds[0], &addr.sa, sizeof(addr.in)), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	fds[1] = tcp_pair_accept(listener);
}

/* `queue` bytes fit into the near end's socket. */
static void make_leg(struct fixture *f, bool tls, bool is_server, int queue)
{
	int fds[2];

	memset(f, 0, sizeof(*f));
	narrow_pair(fds);
	stream_init_plain(&f->far, fds[0]);
	stream_init_plain(&f->near, fds[1]);
	if (tls) {
		assert_int_equal(
			tls_stream_accept(is_server ? &f->near : &f->far, the_server, NULL), 0);
		assert_int_equal(tls_stream_connect(is_server ? &f->far : &f->near, clients[0]), 0);
		tls_pair_shake_hands(&f->near, &f->far);
	}
	set(f->near.fd, SOL_SOCKET, SO_SNDBUF, queue);
	set(f->near.fd, SOL_SOCKET, SO_RCVBUF, 200000);
}

struct how {
	bool tls, one_way;
	int queue;
	uint64_t idle_ms;
};

static void begin(struct session *s, const struct how *how)
{
	struct relay_params params = {
		.engine = &s->engine,
		.settings = { .mode = how->tls ? RELAY_MODE_RECORD : RELAY_MODE_COPY },
		.protocol = "test",
		.idle_ms = how->idle_ms ? how->idle_ms : 60000,
		.owed_ms = OWED_MS,
		.one_way = how->one_way,
		.done = on_done,
		.arg = s,
	};
	struct stream legs[2];
	struct buf early[2] = { { 0 }, { 0 } };

	prepare(s);
	for (int leg = 0; leg < 2; leg++)
		make_leg(&s->ends[leg], how->tls, leg == RELAY_CLIENT, how->queue);
	take_near(s, legs);
	assert_int_equal(relay_start(&params, legs, early, &s->relay), 0);
}

static char sent[MOST], got[MOST];

/* Turns of the loop for that long, or until the session has ended; how many there were. */
static int run_for(struct session *s, uint64_t ms)
{
	uint64_t until = clock_mono_ms() + ms, now;
	int turns = 0;

	while (!s->done && (now = clock_mono_ms()) < until) {
		assert_int_equal(loop_run_once(&s->loop, (int)(until - now)), 0);
		turns++;
	}
	return turns;
}

/* The far end of a leg says all of it; the relay takes it, nobody reads yet. */
static void say(struct session *s, int leg, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sent[i] = (char)(i * 31 + (i >> 8) * 7);
	for (size_t said = 0; said < len;) {
		ssize_t n =
			stream_write(&s->ends[leg].far, sent + said, MIN(len - said, (size_t)8192));

		assert_true(n > 0 || n == -EAGAIN);
		said += n > 0 ? (size_t)n : 0;
		assert_int_equal(loop_run_once(&s->loop, 0), 0);
	}
	run_for(s, 50);
}

/* `chunk` bytes of what comes every TICK_MS, after three times OWED_MS whatever is there, and the
 * end; how long it took. */
static uint64_t read_slowly(
	struct session *s, int leg, size_t len, size_t chunk, ssize_t how_it_ends)
{
	uint64_t start = clock_mono_ms();
	ssize_t n = 1;

	for (size_t at = 0; n > 0 || n == -EAGAIN;) {
		assert_in_range(clock_mono_ms(), start, start + 30000);
		run_for(s, TICK_MS);
		if (s->done)
			usleep(TICK_MS * 1000);
		if (clock_mono_ms() - start > 3 * OWED_MS)
			chunk = sizeof(got);
		n = stream_read(&s->ends[leg].far, got + at, MIN(chunk, sizeof(got) - at));
		at += n > 0 ? (size_t)n : 0;
		if (n != how_it_ends && n <= 0 && n != -EAGAIN)
			fail_msg("%zd after %zu of %zu bytes, %d ms", n, at, len,
				(int)(clock_mono_ms() - start));
		if (n == how_it_ends)
			assert_int_equal(at, len);
	}
	assert_memory_equal(got, sent, len);
	return clock_mono_ms() - start;
}

static void reset_client(struct session *s)
{
	sock_abort_on_close(s->ends[RELAY_CLIENT].far.fd);
	stream_close(&s->ends[RELAY_CLIENT].far);
	run_for(s, 20);
	assert_false(s->done);
}

static void spoil_client(struct session *s)
{
	static const char garbage[] = "\x17\x03\x03\x00\x20 0123456789 0123456789 01234567";

	send_raw(&s->ends[RELAY_CLIENT], garbage, sizeof(garbage));
	run_for(s, 20);
	assert_false(s->done);
}

/* ---- everything is queued in the kernel, the client is gone ---- */

static void test_who_reads_on_gets_all(void **state)
{
	struct session s;

	(void)state;
	for (int tls = 0; tls < 2; tls++) {
		struct how how = { .tls = tls, .queue = 400000 };

		begin(&s, &how);
		say(&s, RELAY_CLIENT, 200000);
		assert_int_equal(relay_bytes(s.relay, RELAY_UP), 200000);
		(tls ? spoil_client : reset_client)(&s);
		assert_true(read_slowly(&s, RELAY_NODE, 200000, 3200,
				    tls ? -ECONNABORTED : STREAM_EOF) > OWED_MS * 5 / 4);
		run_for(&s, 5000);
		assert_true(s.done);
		assert_int_equal(s.end, RELAY_END_CLIENT_ERROR);
		finish(&s);
	}
}

/* Bytes that are taken are bytes that move. */
static void test_who_reads_on_is_not_idle(void **state)
{
	struct how how = { .queue = 400000, .idle_ms = OWED_MS };
	struct session s;

	(void)state;
	begin(&s, &how);
	say(&s, RELAY_CLIENT, 200000);
	reset_client(&s);
	assert_true(read_slowly(&s, RELAY_NODE, 200000, 3200, STREAM_EOF) > OWED_MS * 5 / 4);
	run_for(&s, 5000);
	assert_int_equal(s.end, RELAY_END_CLIENT_ERROR);
	finish(&s);
}

static void test_who_stops_is_given_up(void **state)
{
	struct session s;

	(void)state;
	for (int tls = 0; tls < 2; tls++) {
		struct how how = { .tls = tls, .queue = 400000 };
		uint64_t start;
		int turns;

		begin(&s, &how);
		say(&s, RELAY_CLIENT, 200000);
		(tls ? spoil_client : reset_client)(&s);
		start = clock_mono_ms();
		turns = run_for(&s, 10000);
		assert_true(s.done);
		assert_in_range(clock_mono_ms() - start, OWED_MS - 100, OWED_MS + 500);
		if (turns > 25)
			fail_msg("%d turns", turns);
		finish(&s);
	}
}

/* Some is read, then no more: the time counts from there. */
static void test_the_time_counts_from_the_last_progress(void **state)
{
	struct how how = { .queue = 400000 };
	uint64_t start;
	struct session s;
	int turns;

	(void)state;
	begin(&s, &how);
	say(&s, RELAY_CLIENT, 200000);
	reset_client(&s);
	run_for(&s, OWED_MS / 2);
	for (size_t at = 0; at < 100000;) {
		ssize_t n = stream_read(&s.ends[RELAY_NODE].far, got, 4000);

		assert_true(n > 0 || n == -EAGAIN);
		at += n > 0 ? (size_t)n : 0;
		run_for(&s, 1);
	}
	start = clock_mono_ms();
	turns = run_for(&s, 10000);
	assert_true(s.done);
	assert_in_range(clock_mono_ms() - start, OWED_MS - 100, OWED_MS + 700);
	if (turns < 9) /* asking begins anew, too */
		fail_msg("%d turns", turns);
	finish(&s);
}

/* ---- not everything fits into the kernel's queue ---- */

/* The socket says that it has room again only when a third of its queue is free. */
static void test_who_reads_on_before_there_is_room(void **state)
{
	struct how how = { .queue = 32768 };
	struct session s;

	(void)state;
	begin(&s, &how);
	say(&s, RELAY_CLIENT, 110000);
	assert_int_equal(stream_shutdown(&s.ends[RELAY_CLIENT].far), 0);
	run_for(&s, 20);
	assert_true(s.relay->io[RELAY_UP].pending.len > 0);
	assert_int_equal(stream_shutdown(&s.ends[RELAY_NODE].far), 0);
	assert_true(read_slowly(&s, RELAY_NODE, 110000, 400, STREAM_EOF) > 3 * OWED_MS);
	run_for(&s, 5000);
	assert_true(s.done);
	assert_int_equal(s.end, RELAY_END_NODE_EOF);
	finish(&s);
}

static void test_who_stops_before_there_is_room(void **state)
{
	struct how how = { .queue = 32768 };
	struct session s;
	uint64_t start;

	(void)state;
	begin(&s, &how);
	say(&s, RELAY_CLIENT, 110000);
	assert_int_equal(stream_shutdown(&s.ends[RELAY_CLIENT].far), 0);
	start = clock_mono_ms();
	run_for(&s, 10000);
	assert_true(s.done);
	assert_in_range(clock_mono_ms() - start, OWED_MS - 200, OWED_MS + 500);
	finish(&s);
}

/* ---- one way ---- */

/* The node has said all, and the client, whose end is not waited for, is still taking it. */
static void test_who_reads_on_what_the_node_said_last(void **state)
{
	struct how how = { .one_way = true, .queue = 400000 };
	struct session s;

	(void)state;
	begin(&s, &how);
	say(&s, RELAY_NODE, 200000);
	stream_close(&s.ends[RELAY_NODE].far);
	assert_true(read_slowly(&s, RELAY_CLIENT, 200000, 3200, STREAM_EOF) > OWED_MS * 5 / 4);
	run_for(&s, 5000);
	assert_true(s.done);
	assert_int_equal(s.end, RELAY_END_NODE_EOF);
	finish(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_reads_on_gets_all),
		cmocka_unit_test(test_who_reads_on_is_not_idle),
		cmocka_unit_test(test_who_stops_is_given_up),
		cmocka_unit_test(test_the_time_counts_from_the_last_progress),
		cmocka_unit_test(test_who_reads_on_before_there_is_room),
		cmocka_unit_test(test_who_stops_before_there_is_room),
		cmocka_unit_test(test_who_reads_on_what_the_node_said_last),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

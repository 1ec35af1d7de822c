// SPDX-License-Identifier: Apache-2.0
/* Legs over socket pairs, and over a stream that says what the test wants it to. */
#include "unit.h"

#include "base/fd.h"
#include "net/leg.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define IN_LIMIT 8192

struct fixture {
	struct loop loop;
	struct leg leg;
	int peer;
	unsigned calls; /* of the watch's callback */
	uint32_t events;
};

static void on_leg(struct loop_watch *watch, uint32_t epoll_events)
{
	struct fixture *f = container_of(watch, struct fixture, leg.watch);

	f->calls++;
	f->events = epoll_events;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int pair[2];

	assert_non_null(f);
	assert_int_equal(loop_init(&f->loop), 0);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	f->peer = pair[1];
	leg_init(&f->leg, IN_LIMIT, 0);
	assert_int_equal(leg_open(&f->leg, &f->loop, pair[0], EPOLLIN, on_leg), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	leg_close(&f->leg);
	fd_closep(&f->peer);
	loop_fini(&f->loop);
	free(f);
	return 0;
}

static void say(struct fixture *f, const char *text)
{
	assert_int_equal(send(f->peer, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Everything the peer has been sent, counted; bytes must be those of a pattern that goes on at
 * `from`. */
static size_t peer_takes(struct fixture *f, size_t from)
{
	unsigned char data[4096];
	size_t taken = 0;
	ssize_t n;

	while ((n = recv(f->peer, data, sizeof(data), 0)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(data[i], (from + taken + (size_t)i) % 251);
		taken += (size_t)n;
	}
	return taken;
}

static void test_read(void **state)
{
	struct fixture *f = *state;
	struct leg *leg = &f->leg;
	size_t spent = 0;

	assert_int_equal(leg_read(leg, &leg->in, 100, &spent), -EAGAIN);
	assert_int_equal(leg->read_want, EPOLLIN);
	assert_true(leg->dry);
	assert_int_equal(spent, 0);
	say(f, "hello");
	assert_int_equal(loop_run_once(&f->loop, 1000), 0);
	assert_int_equal(f->calls, 1);
	assert_int_equal(f->events, EPOLLIN);
	assert_int_equal(leg_read(leg, &leg->in, 2, &spent), 2); /* no more than was asked for */
	assert_int_equal(leg->read_want, 0);
	assert_false(leg->dry);
	assert_int_equal(leg_read(leg, &leg->in, 100, &spent), 3);
	assert_true(leg->dry);
	assert_true(view_eq(buf_view(&leg->in), VIEW_LIT("hello")));
	assert_int_equal(leg_read(leg, &leg->in, 100, &spent), -EAGAIN);
}

static void test_read_end(void **state)
{
	struct fixture *f = *state;
	size_t spent = 0;

	say(f, "last");
	assert_int_equal(shutdown(f->peer, SHUT_WR), 0);
	assert_int_equal(leg_read(&f->leg, &f->leg.in, 100, &spent), 4);
	assert_int_equal(leg_read(&f->leg, &f->leg.in, 100, &spent), STREAM_EOF);
	assert_int_equal(f->leg.read_want, 0);
	assert_true(view_eq(buf_view(&f->leg.in), VIEW_LIT("last")));
}

static void test_read_no_room(void **state)
{
	struct fixture *f = *state;
	struct buf own = { 0 };
	size_t spent = 0;

	buf_init(&own, 3, false);
	say(f, "abcdef");
	assert_int_equal(leg_read(&f->leg, &own, 100, &spent), 3);
	assert_int_equal(leg_read(&f->leg, &own, 100, &spent), -ENOBUFS);
	assert_true(view_eq(buf_view(&own), VIEW_LIT("abc")));
	assert_int_equal(f->leg.in.len, 0);
	assert_int_equal(leg_read(&f->leg, &f->leg.in, 100, &spent), 3); /* the rest was not lost */
	buf_fini(&own);
}

/* However small the pieces, a turn ends: at 4 KiB after eight reads, not after 4096. */
static void test_turn_budget(void **state)
{
	struct fixture *f = *state;
	char text[1000] = { 0 };
	size_t spent = 0, reads = 0;

	memset(text, 'x', sizeof(text) - 1);
	say(f, text);
	for (; spent < 4096; reads++)
		assert_int_equal(leg_read(&f->leg, &f->leg.in, 1, &spent), 1);
	assert_int_equal(reads, 4096 / STREAM_READ_COST);
	assert_int_equal(spent, 4096);
	assert_int_equal(leg_pause_ms(spent, 4096), 0);
	assert_int_equal(leg_pause_ms(STREAM_HEAVY_TURNS * 4096 - 1, 4096), 0);
	assert_int_equal(leg_pause_ms(STREAM_HEAVY_TURNS * 4096, 4096), STREAM_HEAVY_PAUSE_MS);
}

static void test_drop(void **state)
{
	struct fixture *f = *state;
	size_t spent = 0;

	say(f, "a password that came too late");
	assert_int_equal(leg_drop(&f->leg, &spent), 29);
	assert_int_equal(spent, STREAM_READ_COST);
	assert_int_equal(f->leg.in.len, 0);
	assert_int_equal(leg_drop(&f->leg, &spent), -EAGAIN);
	assert_int_equal(f->leg.read_want, EPOLLIN);
	fd_closep(&f->peer);
	assert_int_equal(leg_drop(&f->leg, &spent), STREAM_EOF);
}

/* More than the socket takes: it goes in pieces, in order, whole, and the want says when to go
 * on. */
static void test_flush_in_pieces(void **state)
{
	enum { TOTAL = 1024 * 1024 };
	struct fixture *f = *state;
	struct leg *leg = &f->leg;
	unsigned char *data = malloc(TOTAL);
	size_t taken = 0;
	unsigned rounds = 0;

	assert_non_null(data);
	for (size_t i = 0; i < TOTAL; i++)
		data[i] = (unsigned char)(i % 251);
	assert_int_equal(buf_append(&leg->out, data, TOTAL), 0);
	free(data);
	assert_int_equal(leg_flush(leg), 0);
	assert_true(leg->out.len > 0 && leg->out.len < TOTAL);
	assert_int_equal(leg->write_want, EPOLLOUT);
	assert_int_equal(leg_events(leg, true, leg->out.len), EPOLLIN | EPOLLOUT);
	while (leg->out.len) {
		taken += peer_takes(f, taken);
		assert_int_equal(leg_flush(leg), 0);
		assert_true(++rounds < 10000);
	}
	taken += peer_takes(f, taken);
	assert_int_equal(taken, TOTAL);
	assert_true(rounds > 1);
	assert_int_equal(leg->write_want, 0);
	assert_null(leg->out.data);
	assert_int_equal(leg_events(leg, true, leg->out.len), EPOLLIN);
}

static void test_flush_keeps_memory_if_told(void **state)
{
	struct fixture *f = *state;

	f->leg.out_stays = true;
	assert_int_equal(buf_append_str(&f->leg.out, "PING"), 0);
	assert_int_equal(leg_flush(&f->leg), 0);
	assert_int_equal(f->leg.out.len, 0);
	assert_non_null(f->leg.out.data);
}

static void test_flush_to_nobody(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(leg_flush(&f->leg), 0); /* nothing to send */
	fd_closep(&f->peer);
	assert_int_equal(buf_append_str(&f->leg.out, "x"), 0);
	assert_int_equal(leg_flush(&f->leg), -EPIPE);
	assert_int_equal(f->leg.out.len, 1);
}

static void test_close_and_open_again(void **state)
{
	struct fixture *f = *state;
	struct leg *leg = &f->leg;
	size_t spent = 0;
	int pair[2];

	say(f, "old");
	assert_int_equal(leg_read(leg, &leg->in, 2, &spent), 2);
	assert_int_equal(buf_append_str(&leg->out, "unsent"), 0);
	leg->read_want = EPOLLOUT;
	leg_close(leg);
	assert_false(stream_is_open(&leg->stream));
	assert_null(leg->watch.loop);
	assert_int_equal(leg->in.len + leg->out.len, 0);
	leg_close(leg); /* once more does nothing */
	fd_closep(&f->peer);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
	f->peer = pair[1];
	assert_int_equal(leg_open(leg, &f->loop, pair[0], EPOLLIN, on_leg), 0);
	assert_int_equal(leg_events(leg, true, true), EPOLLIN | EPOLLOUT);
	say(f, "new");
	assert_int_equal(leg_read(leg, &leg->in, 100, &spent), 3);
	assert_true(view_eq(buf_view(&leg->in), VIEW_LIT("new")));
	assert_int_equal(buf_room(&leg->in), IN_LIMIT - 3); /* limits stay */
}

static unsigned moved_calls;

static void on_moved(struct loop_watch *watch, uint32_t epoll_events)
{
	(void)watch;
	moved_calls += epoll_events == EPOLLIN;
}

static void test_move(void **state)
{
	struct fixture *f = *state;
	struct leg to;
	size_t spent = 0;

	leg_init(&to, 10, 0);
	f->leg.write_want = EPOLLIN;
	leg_move(&f->leg, &to, on_moved);
	assert_false(stream_is_open(&f->leg.stream));
	assert_null(f->leg.watch.loop);
	assert_int_equal(f->leg.write_want, 0);
	assert_int_equal(leg_events(&to, false, true), EPOLLIN);
	moved_calls = 0;
	say(f, "for the new one");
	assert_int_equal(loop_run_once(&f->loop, 1000), 0);
	assert_int_equal(f->calls, 0);
	assert_int_equal(moved_calls, 1);
	assert_int_equal(leg_read(&to, &to.in, 100, &spent), 10); /* its own limit */
	leg_close(&to);
}

/* ---- a stream as TLS may be ---- */

static ssize_t cross_read(struct stream *stream, void *data, size_t len)
{
	(void)data;
	(void)len;
	stream->want = EPOLLOUT;
	return -EAGAIN;
}

static ssize_t cross_write(struct stream *stream, const void *data, size_t len)
{
	(void)data;
	(void)len;
	stream->want = EPOLLIN;
	return -EAGAIN;
}

static int cross_shutdown(struct stream *stream)
{
	stream->want = EPOLLIN;
	return -EAGAIN;
}

static bool cross_pending(const struct stream *stream)
{
	(void)stream;
	return true;
}

static void cross_close(struct stream *stream)
{
	(void)stream;
}

static const struct stream_ops cross_ops = {
	.read = cross_read,
	.write = cross_write,
	.shutdown = cross_shutdown,
	.cut = cross_shutdown,
	.pending = cross_pending,
	.close = cross_close,
};

/* Each direction waits for what its own last call wants, whatever the other did meanwhile. */
static void test_crossed_wants(void **state)
{
	struct fixture *f = *state;
	struct leg *leg = &f->leg;
	const struct stream_ops *plain = leg->stream.ops;
	size_t spent = 0;

	leg->stream.ops = &cross_ops;
	assert_int_equal(leg_read(leg, &leg->in, 100, &spent), -EAGAIN);
	assert_int_equal(buf_append_str(&leg->out, "x"), 0);
	assert_int_equal(leg_events(leg, false, true), EPOLLOUT); /* not tried yet */
	assert_int_equal(leg_flush(leg), 0);
	assert_int_equal(leg_events(leg, true, false), EPOLLOUT);
	assert_int_equal(leg_events(leg, false, true), EPOLLIN);
	assert_false(leg->dry); /* no event will tell of what the stream holds */
	leg->write_want = 0;
	assert_int_equal(leg_shutdown(leg), -EAGAIN);
	assert_int_equal(leg_events(leg, false, true), EPOLLIN);
	leg->stream.ops = plain;
	assert_int_equal(leg_flush(leg), 0);
	assert_int_equal(leg_shutdown(leg), 0);
	assert_int_equal(leg->write_want, 0);
	assert_int_equal(leg_read(leg, &leg->in, 100, &spent), -EAGAIN);
	assert_int_equal(leg_events(leg, true, false), EPOLLIN);
}

int main(void)
{
#define LEG_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		LEG_TEST(test_read),
		LEG_TEST(test_read_end),
		LEG_TEST(test_read_no_room),
		LEG_TEST(test_turn_budget),
		LEG_TEST(test_drop),
		LEG_TEST(test_flush_in_pieces),
		LEG_TEST(test_flush_keeps_memory_if_told),
		LEG_TEST(test_flush_to_nobody),
		LEG_TEST(test_close_and_open_again),
		LEG_TEST(test_move),
		LEG_TEST(test_crossed_wants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

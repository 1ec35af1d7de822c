// SPDX-License-Identifier: Apache-2.0
/* When a channel is asked whether it is there, and when it is given up. Time stands still until the
 * test moves it; the peer is the test. */
#include "unit.h"

#include "handoff/channel.h"
#include "unit/fake_clock.h"
#include "unit/handoff_open.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static struct fixture {
	struct loop loop;
	struct channel channel;
	struct leg leg;
	struct channel_stream *streams[4];
	unsigned refused, lost;
	int peer;
} f;

static void on_refused(struct channel_stream *stream, int refusal)
{
	(void)stream;
	assert_int_equal(refusal, 0);
	f.refused++;
}

static void on_event(struct channel_stream *stream)
{
	(void)stream;
}

static const struct channel_stream_ops stream_ops = { .refused = on_refused, .event = on_event };

static void on_lost(struct channel *channel, const char *why)
{
	(void)channel;
	assert_non_null(why);
	f.lost++;
}

static const struct channel_ops ops = { .lost = on_lost };

static void no_event(struct loop_watch *watch, uint32_t epoll_events)
{
	(void)watch;
	(void)epoll_events;
}

static void run(void)
{
	for (int i = 0; i < 4; i++)
		assert_int_equal(loop_run_once(&f.loop, 0), 0);
}

static void pass(uint64_t ms)
{
	atomic_fetch_add(&fake_now_ms, ms);
	run();
}

static int set_up(void **state)
{
	int fds[2];

	(void)state;
	memset(&f, 0, sizeof(f));
	assert_int_equal(loop_init(&f.loop), 0);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	f.peer = fds[1];
	f.channel = (struct channel){ .ops = &ops, .loop = &f.loop };
	leg_init(&f.leg, 0, 0);
	assert_int_equal(leg_open(&f.leg, &f.loop, fds[0], EPOLLIN, no_event), 0);
	channel_start(&f.channel, &f.leg);
	run();
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	channel_close(&f.channel);
	for (size_t i = 0; i < ARRAY_SIZE(f.streams); i++)
		channel_stream_free(f.streams[i], HANDOFF_CLOSE_DONE);
	run();
	close(f.peer);
	loop_fini(&f.loop);
	return 0;
}

static void ask(int i)
{
	struct handoff_open open = an_open(VIEW_LIT("alice"));

	assert_int_equal(channel_open(&f.channel, &open, &stream_ops, NULL, &f.streams[i]), 0);
	run();
}

/* How many PINGs have come, behind OPENs. */
static unsigned pings(void)
{
	static char all[65536];
	ssize_t len = read(f.peer, all, sizeof(all)), n;
	struct view in = view_make(all, len > 0 ? (size_t)len : 0);
	struct handoff_frame frame;
	unsigned count = 0;

	while ((n = handoff_frame_read(in, &frame)) > 0) {
		count += frame.type == HANDOFF_PING;
		in = view_skip(in, (size_t)n);
	}
	assert_int_equal(n, 0);
	return count;
}

static void answer(void)
{
	static const char pong[] = "\0\0\0\x08\x09\0\0\0\0\0\0\0";

	assert_int_equal(write(f.peer, pong, sizeof(pong) - 1), sizeof(pong) - 1);
	run();
}

static void test_idle(void **state)
{
	(void)state;
	pass(14999);
	assert_int_equal(pings(), 0);
	pass(1);
	assert_int_equal(pings(), 1);
	assert_false(channel_is_unsure(&f.channel));
	pass(4999);
	answer();
	pass(14999);
	assert_int_equal(pings(), 0);
	pass(1);
	assert_int_equal(pings(), 1);
	pass(5000);
	assert_int_equal(f.lost, 1);
}

/* Behind an OPEN it is asked soon, whoever comes after it; an agent that answers has its time. */
static void test_asked(void **state)
{
	(void)state;
	ask(0);
	pass(999);
	ask(1);
	assert_int_equal(pings(), 0);
	assert_false(channel_is_unsure(&f.channel));
	pass(1);
	assert_int_equal(pings(), 1);
	assert_true(channel_is_unsure(&f.channel));
	answer();
	assert_false(channel_is_unsure(&f.channel));
	pass(14999);
	assert_int_equal(pings(), 0); /* its node is slow, not the agent */
	ask(2);
	pass(1000);
	assert_int_equal(pings(), 1);
	ask(3);
	pass(4999);
	assert_int_equal(f.lost, 0);
	pass(1);
	assert_int_equal(f.lost, 1);
	assert_int_equal(f.refused, 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_idle, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_asked, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

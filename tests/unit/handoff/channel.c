// SPDX-License-Identifier: Apache-2.0
/* A channel's two ends over a pair of sockets, and one end whose peer is the test: streams, bounds,
 * ends, silence, and what may not come. TLS is no business of a channel's. */
#include "unit.h"

#include "handoff/channel.h"
#include "unit/handoff_open.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

static struct loop loop;

/* What a stream's owner was told. */
struct told {
	struct channel_stream *stream;
	struct stream as_stream;
	struct buf kept;
	bool opened;
	int refused; /* -1: not */
	unsigned events, keys;
	unsigned char token[HANDOFF_TOKEN_BYTES];
	uint32_t delivered;
	char text[64];
};

struct end {
	struct channel channel;
	struct leg leg;
	const char *lost;
	bool drained, freed;
	unsigned empty, opens;
	struct handoff_open open; /* the last */
	struct told told[8];      /* agent: by id */
	int answer;               /* agent: 0 accepts, else the refusal; -1: none yet */
};

static const unsigned char token[HANDOFF_TOKEN_BYTES] = "0123456789abcdef";

static void on_opened(struct channel_stream *stream, const unsigned char *got)
{
	struct told *told = stream->arg;

	told->opened = true;
	memcpy(told->token, got, sizeof(told->token));
}

static void on_refused(struct channel_stream *stream, int refusal)
{
	struct told *told = stream->arg;

	told->refused = refusal;
}

static void on_event(struct channel_stream *stream)
{
	((struct told *)stream->arg)->events++;
}

static int on_keys(struct channel_stream *stream, const struct handoff_keys *keys)
{
	struct told *told = stream->arg;

	told->keys++;
	told->delivered = keys->delivered;
	snprintf(told->text, sizeof(told->text), "%.*s", (int)keys->text.len, keys->text.data);
	return keys->connection[0] == 'x' ? -EPROTO : 0;
}

static const struct channel_stream_ops stream_ops = {
	.opened = on_opened, .refused = on_refused, .event = on_event, .keys = on_keys
};

static struct end *end_of(struct channel *channel)
{
	return container_of(channel, struct end, channel);
}

static void on_open(struct channel *channel, uint32_t id, const struct handoff_open *open)
{
	struct end *end = end_of(channel);
	struct told *told = &end->told[id % ARRAY_SIZE(end->told)];

	end->opens++;
	end->open = *open;
	if (end->answer > 0) {
		channel_refuse(channel, id, end->answer);
		return;
	}
	*told = (struct told){ .refused = -1 };
	assert_int_equal(channel_accept(channel, id, &stream_ops, told, &told->stream), 0);
	told->stream->kept = &told->kept;
	channel_stream_put(told->stream, &told->as_stream);
	if (end->answer == 0)
		channel_opened(told->stream, token);
}

static void on_drain(struct channel *channel)
{
	end_of(channel)->drained = true;
}

static void on_lost(struct channel *channel, const char *why)
{
	end_of(channel)->lost = why;
}

static void on_empty(struct channel *channel)
{
	end_of(channel)->empty++;
}

static const struct channel_ops ops = {
	.open = on_open, .drain = on_drain, .lost = on_lost, .empty = on_empty
};

static void no_event(struct loop_watch *watch, uint32_t epoll_events)
{
	(void)watch;
	(void)epoll_events;
}

/* Of both ends. */
static atomic_uint_fast64_t open_streams, refusals[HANDOFF_REFUSALS];

static void start(struct end *end, int fd, bool is_agent)
{
	*end = (struct end){ .channel = { .ops = &ops,
				     .loop = &loop,
				     .is_agent = is_agent,
				     .open_streams = &open_streams,
				     .refusals = is_agent ? refusals : NULL } };
	leg_init(&end->leg, 0, 0);
	assert_int_equal(leg_open(&end->leg, &loop, fd, EPOLLIN, no_event), 0);
	channel_start(&end->channel, &end->leg);
}

static void freed(struct channel *channel)
{
	end_of(channel)->freed = true;
}

static void run(unsigned batches)
{
	while (batches--)
		assert_int_equal(loop_run_once(&loop, 0), 0);
}

/* Streams that are left are let go, too. */
static void stop(struct end *end)
{
	channel_close(&end->channel);
	for (size_t i = 0; i < ARRAY_SIZE(end->told); i++) {
		if (stream_is_open(&end->told[i].as_stream))
			stream_close(&end->told[i].as_stream);
		buf_fini(&end->told[i].kept);
	}
	channel_let_go(&end->channel, freed);
	run(2);
	assert_true(end->freed);
}

static void pair(int fds[2])
{
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
}

/* Both ends, and a stream that is open if the agent takes it. */
struct both {
	struct end router, agent;
	struct told told;
};

static void open_one(struct both *both, struct told *told)
{
	struct handoff_open open = an_open(VIEW_LIT("alice"));

	*told = (struct told){ .refused = -1 };
	assert_int_equal(
		channel_open(&both->router.channel, &open, &stream_ops, told, &told->stream), 0);
	channel_stream_put(told->stream, &told->as_stream);
	run(4);
}

static struct both *begin(int answer)
{
	struct both *both = test_calloc(1, sizeof(*both));
	int fds[2];

	assert_int_equal(loop_init(&loop), 0);
	pair(fds);
	start(&both->router, fds[0], false);
	start(&both->agent, fds[1], true);
	both->agent.answer = answer;
	run(2);
	open_one(both, &both->told);
	return both;
}

static void end(struct both *both)
{
	if (stream_is_open(&both->told.as_stream))
		stream_close(&both->told.as_stream);
	stop(&both->router);
	stop(&both->agent);
	assert_int_equal(open_streams, 0); /* however it went */
	loop_fini(&loop);
	test_free(both);
}

static void expect(struct stream *stream, const char *text)
{
	char got[64];
	ssize_t n = stream_read(stream, got, sizeof(got));

	assert_int_equal(n, strlen(text));
	assert_memory_equal(got, text, (size_t)n);
}

static void say(struct stream *stream, const char *text)
{
	assert_int_equal(stream_write(stream, text, strlen(text)), strlen(text));
	run(4);
}

/* HND-20: both directions, and a descriptor for neither. */
static void test_dialogue(void **state)
{
	struct both *both = begin(0);
	struct told *other = &both->agent.told[1];
	char c;

	(void)state;
	assert_true(both->told.opened);
	assert_memory_equal(both->told.token, token, sizeof(token));
	assert_string_equal(both->agent.open.session, "H1-1");
	assert_int_equal(both->told.as_stream.fd, -1);
	assert_true(stream_is_tls(&both->told.as_stream));
	assert_int_equal(open_streams, 2);
	assert_int_equal(stream_read(&both->told.as_stream, &c, 1), -EAGAIN);
	say(&other->as_stream, "* OK hello\r\n");
	assert_int_equal(both->told.events, 1);
	expect(&both->told.as_stream, "* OK hello\r\n");
	say(&both->told.as_stream, "a LOGIN\r\n");
	expect(&other->as_stream, "a LOGIN\r\n");
	assert_int_equal(both->told.stream->received, 12);
	assert_int_equal(other->kept.len, 12);
	end(both);
}

static void test_refused(void **state)
{
	struct both *both = begin(HANDOFF_REFUSED_NO_PROTOCOL);
	char c;

	(void)state;
	assert_int_equal(both->told.refused, HANDOFF_REFUSED_NO_PROTOCOL);
	assert_int_equal(refusals[HANDOFF_REFUSED_NO_PROTOCOL], 1);
	assert_false(both->told.opened);
	assert_int_equal(stream_read(&both->told.as_stream, &c, 1), -ECONNREFUSED);
	assert_int_equal(both->router.empty, 1);
	end(both);
}

/* HND-22: whatever one stream does, the other goes on; more than its bound ends it alone. */
static void test_bound(void **state)
{
	struct both *both = begin(0);
	struct told second;
	char *data = test_calloc(1, 70000);
	ssize_t n;

	(void)state;
	open_one(both, &second);
	n = stream_write(&both->told.as_stream, data, 70000);
	assert_int_equal(n, HANDOFF_DATA_MAX);
	assert_int_equal(stream_write(&both->told.as_stream, data, 1), -EAGAIN);
	run(20);
	assert_int_equal(both->agent.told[1].stream->received, HANDOFF_DATA_MAX);
	/* one byte more, which no honest end sends */
	assert_int_equal(
		handoff_frame_write(&both->router.channel.leg.out, HANDOFF_DATA, 1, VIEW_LIT("x")),
		0);
	say(&second.as_stream, "hello");
	expect(&both->agent.told[2].as_stream, "hello");
	assert_int_equal(both->agent.told[1].stream->state, CHANNEL_STREAM_OVER);
	assert_null(both->agent.lost);
	run(4);
	assert_true(both->told.stream->ended);
	stream_close(&second.as_stream);
	end(both);
	test_free(data);
}

static void test_handoff(void **state)
{
	struct both *both = begin(0);
	struct handoff_keys keys = { .delivered = 3, .text = VIEW_LIT("a NOOP") };
	struct told *other = &both->agent.told[1];
	char c;

	(void)state;
	say(&other->as_stream, "abcdef");
	assert_int_equal(channel_stream_hand(both->told.stream, &keys), 0);
	assert_int_equal(channel_stream_hand(both->told.stream, &keys), -EPIPE);
	assert_int_equal(stream_write(&both->told.as_stream, "x", 1), -EPIPE);
	/* what crosses the keys is of no interest, for it was kept */
	assert_int_equal(stream_write(&other->as_stream, "ghi", 3), 3);
	run(4);
	assert_int_equal(other->keys, 1);
	assert_int_equal(other->delivered, 3);
	assert_string_equal(other->text, "a NOOP");
	expect(&both->told.as_stream, "abcdef");
	assert_int_equal(stream_read(&both->told.as_stream, &c, 1), -EAGAIN);
	assert_null(both->router.lost);
	stream_close(&both->told.as_stream);
	stream_close(&other->as_stream);
	run(4);
	assert_null(both->agent.lost);
	end(both);
}

/* Keys that promise more than was said, or are none. */
static void test_wrong_keys(void **state)
{
	for (int i = 0; i < 2; i++) {
		struct both *both = begin(0);
		struct handoff_keys keys = { .delivered = i ? 0 : 1, .connection = "x" };

		(void)state;
		assert_int_equal(channel_stream_hand(both->told.stream, &keys), 0);
		run(4);
		assert_non_null(both->agent.lost);
		assert_int_equal(both->agent.told[1].keys, i);
		end(both);
	}
}

/* The node has closed: what it said is read, and the stream may still be handed over. */
static void test_node_ends(void **state)
{
	struct both *both = begin(0);
	struct handoff_keys keys = { .delivered = 3 };
	struct told *other = &both->agent.told[1];
	char c;

	(void)state;
	assert_int_equal(stream_write(&other->as_stream, "bye", 3), 3);
	channel_stream_end(other->stream, STREAM_EOF);
	run(4);
	expect(&both->told.as_stream, "bye");
	assert_int_equal(stream_read(&both->told.as_stream, &c, 1), STREAM_EOF);
	assert_int_equal(channel_stream_hand(both->told.stream, &keys), 0);
	run(4);
	assert_int_equal(other->keys, 1);
	end(both);
}

/* The router lets go: the agent hears it; frames that were under way are no fault. */
static void test_router_ends(void **state)
{
	struct both *both = begin(0);
	struct told *other = &both->agent.told[1];
	char c;

	(void)state;
	stream_close(&both->told.as_stream);
	assert_int_equal(stream_write(&other->as_stream, "late", 4), 4);
	run(4);
	assert_null(both->router.lost);
	assert_null(both->agent.lost);
	assert_int_equal(stream_read(&other->as_stream, &c, 1), STREAM_EOF);
	assert_int_equal(stream_write(&other->as_stream, "x", 1), -EPIPE);
	assert_int_equal(both->router.empty, 1);
	end(both);
}

/* HND-23: every stream ends, in whatever state it is. */
static void test_lost(void **state)
{
	struct both *both = begin(0);
	struct told second;
	char c;

	(void)state;
	both->agent.answer = -1;
	open_one(both, &second);
	channel_close(&both->agent.channel);
	run(4);
	assert_non_null(both->router.lost);
	assert_int_equal(stream_read(&both->told.as_stream, &c, 1), -ECONNRESET);
	assert_int_equal(second.refused, 0);
	stream_close(&second.as_stream);
	end(both);
}

/* The last number: no more streams, and another channel once that one is done. */
static void test_last_id(void **state)
{
	struct both *both = begin(0);
	struct handoff_open open = an_open(VIEW_LIT("alice"));
	struct told last, none = { .refused = -1 };

	(void)state;
	both->router.channel.last_id = UINT32_MAX - 1;
	open_one(both, &last);
	assert_true(last.opened);
	assert_int_equal(
		channel_open(&both->router.channel, &open, &stream_ops, &none, &none.stream),
		-ENOBUFS);
	say(&last.as_stream, "still");
	stream_close(&last.as_stream);
	run(4);
	assert_null(both->router.lost);
	stream_close(&both->told.as_stream);
	run(4);
	assert_non_null(both->router.lost);
	assert_non_null(both->agent.lost);
	end(both);
}

static void test_drain(void **state)
{
	struct both *both = begin(0);

	(void)state;
	channel_drain(&both->agent.channel);
	run(4);
	assert_true(both->router.drained);
	end(both);
}

/* ---- the peer is the test ---- */

static const char *fate_of(bool is_agent, const char *bytes, size_t len)
{
	static struct end only;
	int fds[2];
	const char *lost;

	assert_int_equal(loop_init(&loop), 0);
	pair(fds);
	start(&only, fds[0], is_agent);
	assert_int_equal(write(fds[1], bytes, len), len);
	run(4);
	lost = only.lost;
	stop(&only);
	close(fds[1]);
	loop_fini(&loop);
	return lost;
}

static void test_what_may_not_come(void **state)
{
	static const struct {
		bool is_agent;
		const char *why, *bytes;
		size_t len;
	} faults[] = {
		{ true, "garbage", "GET / HTTP/1.1\r\n", 16 },
		{ true, "an agent's frame", "\0\0\0\x08\7\0\0\0\0\0\0\0", 12 },
		{ true, "data of nobody", "\0\0\0\x09\4\0\0\0\0\0\0\1x", 13 },
		{ true, "close of nobody", "\0\0\0\x09\5\0\0\0\0\0\0\1\1", 13 },
		{ false, "data of nobody", "\0\0\0\x09\4\0\0\0\0\0\0\1x", 13 },
		{ false, "opened of nobody", "\0\0\0\x18\2\0\0\0\0\0\0\1tokentokentoken!", 28 },
		{ false, "a failure of nobody", "\0\0\0\x09\3\0\0\0\0\0\0\1\1", 13 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		if (!fate_of(faults[i].is_agent, faults[i].bytes, faults[i].len))
			fail_msg("%s was taken", faults[i].why);
	}
	assert_null(fate_of(false, "\0\0\0\x08\7\0\0\0\0\0\0\0", 12));  /* DRAIN */
	assert_null(fate_of(true, "\0\0\0\x08\x08\0\0\0\0\0\0\0", 12)); /* PING */
	assert_null(fate_of(true, "\0\0\0", 3));
}

/* A PING is answered; ids go up. */
static void test_ids(void **state)
{
	static struct end agent;
	struct handoff_open open = an_open(VIEW_LIT("alice"));
	struct buf out = { 0 };
	int fds[2];

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	pair(fds);
	start(&agent, fds[0], true);
	assert_int_equal(handoff_open_write(&out, 5, &open), 0);
	assert_int_equal(write(fds[1], buf_view(&out).data, out.len), out.len);
	run(4);
	assert_int_equal(agent.opens, 1);
	assert_null(agent.lost);
	assert_int_equal(write(fds[1], buf_view(&out).data, out.len), out.len);
	run(4);
	assert_int_equal(agent.opens, 1);
	assert_non_null(agent.lost);
	stop(&agent);
	buf_fini(&out);
	close(fds[1]);
	loop_fini(&loop);
}

/* Room: a peer that does not read holds up what is written, and it goes on when it reads. */
static void test_room(void **state)
{
	static struct told told[40];
	struct handoff_open open = an_open(VIEW_LIT("alice"));
	static struct end router;
	struct buf out = { 0 };
	char *data = test_calloc(1, HANDOFF_DATA_MAX);
	int fds[2];
	unsigned waits = 0, events = 0;
	char sink[65536];

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	pair(fds);
	start(&router, fds[0], false);
	for (size_t i = 0; i < ARRAY_SIZE(told); i++) {
		told[i] = (struct told){ .refused = -1 };
		assert_int_equal(channel_open(&router.channel, &open, &stream_ops, &told[i],
					 &told[i].stream),
			0);
		channel_stream_put(told[i].stream, &told[i].as_stream);
		assert_int_equal(handoff_frame_write(&out, HANDOFF_OPENED, (uint32_t)i + 1,
					 view_make((const char *)token, sizeof(token))),
			0);
	}
	assert_int_equal(write(fds[1], buf_view(&out).data, out.len), out.len);
	run(4);
	for (size_t i = 0; i < ARRAY_SIZE(told); i++) {
		assert_true(told[i].opened);
		waits += stream_write(&told[i].as_stream, data, HANDOFF_DATA_MAX) == -EAGAIN;
		run(1);
	}
	assert_true(waits > 10);
	for (int i = 0; i < 1000; i++) {
		while (read(fds[1], sink, sizeof(sink)) > 0)
			;
		run(1);
	}
	for (size_t i = 0; i < ARRAY_SIZE(told); i++)
		events += told[i].events;
	assert_int_equal(events, waits);
	for (size_t i = 0; i < ARRAY_SIZE(told); i++)
		stream_close(&told[i].as_stream);
	stop(&router);
	buf_fini(&out);
	test_free(data);
	close(fds[1]);
	loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dialogue),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_bound),
		cmocka_unit_test(test_handoff),
		cmocka_unit_test(test_wrong_keys),
		cmocka_unit_test(test_node_ends),
		cmocka_unit_test(test_router_ends),
		cmocka_unit_test(test_lost),
		cmocka_unit_test(test_last_id),
		cmocka_unit_test(test_drain),
		cmocka_unit_test(test_what_may_not_come),
		cmocka_unit_test(test_ids),
		cmocka_unit_test(test_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

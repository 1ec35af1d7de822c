// SPDX-License-Identifier: Apache-2.0
/*
 * A channel whose peer is the test, which says all that an agent or a router can say: cut in two at
 * every byte, byte by byte, and over after every byte. What streams were told, and what the channel
 * answered, is the same whatever the pieces are; of what is over early it is the beginning, and
 * then every stream hears of the end.
 */
#include "unit.h"

#include "handoff/channel.h"
#include "unit/handoff_open.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define STREAMS 8

static const unsigned char token[HANDOFF_TOKEN_BYTES] = "0123456789abcdef";

/* What its owner was told. A talk is written down as text, a stream at a time: pieces change
 * neither what is in it nor its order. */
struct told {
	struct channel_stream *stream; /* NULL: let go */
	struct stream as_stream;
	struct buf kept;
	char talk[512];
	unsigned opened, refused, keys, ends;
};

struct run {
	struct loop loop;
	struct channel channel;
	struct leg leg;
	bool lets_go; /* a stream is freed as soon as it is over; else when the test ends */
	unsigned lost, drained, freed, opens;
	struct told told[STREAMS + 1]; /* by id */
	struct buf said;               /* of the channel's */
	int peer;
};

static void note(struct told *told, const char *what, struct view data)
{
	size_t len = strlen(told->talk);

	assert_true(len + strlen(what) + data.len + 3 < sizeof(told->talk));
	snprintf(told->talk + len, sizeof(told->talk) - len, "%s %.*s;", what, (int)data.len,
		data.data);
}

static void let_go(struct told *told)
{
	stream_close(&told->as_stream);
	told->stream = NULL;
}

static bool says(struct view data, const char *what)
{
	return data.len == strlen(what) && memcmp(data.data, what, data.len) == 0;
}

/* ---- the owners of streams ---- */

static void on_opened(struct channel_stream *stream, const unsigned char *got)
{
	struct told *told = stream->arg;

	assert_memory_equal(got, token, sizeof(token));
	assert_int_equal(told->opened++, 0);
	assert_int_equal(told->refused, 0);
	note(told, "opened", VIEW_LIT(""));
}

static void on_refused(struct channel_stream *stream, int refusal)
{
	struct told *told = stream->arg;
	char digit = (char)('0' + refusal);
	struct run *run = container_of(told - stream->id, struct run, told[0]);

	assert_int_equal(told->refused++, 0);
	assert_int_equal(told->opened, 0);
	note(told, "refused", view_make(&digit, 1));
	if (run->lets_go)
		let_go(told);
}

/* What the other end says makes this one act. */
static void act(struct told *told, struct view data)
{
	struct channel_stream *stream = told->stream;

	if (says(data, "echo"))
		assert_int_equal(stream_write(&told->as_stream, "heard", 5), 5);
	else if (says(data, "hand")) {
		struct handoff_keys keys = { .delivered = 4, .text = VIEW_LIT("rest") };

		assert_int_equal(channel_stream_hand(stream, &keys), 0);
	} else if (says(data, "node ends"))
		channel_stream_end(stream, STREAM_EOF);
	else if (says(data, "node breaks"))
		channel_stream_end(stream, -ECONNRESET);
	else if (says(data, "go"))
		let_go(told);
}

static void on_event(struct channel_stream *stream)
{
	struct told *told = stream->arg;
	struct run *run = container_of(told - stream->id, struct run, told[0]);
	char data[64];
	ssize_t n = 0;

	assert_ptr_equal(told->stream, stream);
	while (told->stream && (n = stream_read(&told->as_stream, data, sizeof(data))) > 0) {
		note(told, "data", view_make(data, (size_t)n));
		act(told, view_make(data, (size_t)n));
	}
	if (!told->stream || n == -EAGAIN)
		return;
	if (!told->ends++)
		note(told, n == STREAM_EOF ? "end" : "broken", VIEW_LIT(""));
	if (run->lets_go)
		let_go(told);
}

static int on_keys(struct channel_stream *stream, const struct handoff_keys *keys)
{
	struct told *told = stream->arg;

	assert_int_equal(told->keys++, 0);
	note(told, "keys", view_make((const char *)keys->connection, 3));
	note(told, "text", keys->text);
	let_go(told); /* as the agent's session does it */
	return 0;
}

static const struct channel_stream_ops stream_ops = {
	.opened = on_opened, .refused = on_refused, .event = on_event, .keys = on_keys
};

/* ---- the owner of the channel ---- */

static struct run *run_of(struct channel *channel)
{
	return container_of(channel, struct run, channel);
}

static void on_open(struct channel *channel, uint32_t id, const struct handoff_open *open)
{
	struct run *run = run_of(channel);
	struct told *told = &run->told[id];

	assert_true(id <= STREAMS && !told->stream);
	run->opens++;
	note(told, "open", open->account);
	if (says(open->account, "nobody")) {
		channel_refuse(channel, id, HANDOFF_REFUSED_LIMIT);
		return;
	}
	assert_int_equal(channel_accept(channel, id, &stream_ops, told, &told->stream), 0);
	told->stream->kept = &told->kept;
	channel_stream_put(told->stream, &told->as_stream);
	if (!says(open->account, "waits"))
		channel_opened(told->stream, token);
}

static void on_drain(struct channel *channel)
{
	run_of(channel)->drained++;
}

static void on_lost(struct channel *channel, const char *why)
{
	assert_non_null(why);
	assert_false(channel_is_up(channel));
	run_of(channel)->lost++;
}

static void on_empty(struct channel *channel)
{
	(void)channel;
}

static const struct channel_ops ops = {
	.open = on_open, .drain = on_drain, .lost = on_lost, .empty = on_empty
};

static void no_event(struct loop_watch *watch, uint32_t epoll_events)
{
	(void)watch;
	(void)epoll_events;
}

static void on_freed(struct channel *channel)
{
	run_of(channel)->freed++;
}

/* ---- what the peer says ---- */

static void frame(struct buf *out, enum handoff_type type, uint32_t id, struct view payload)
{
	assert_int_equal(handoff_frame_write(out, type, id, payload), 0);
}

static void byte(struct buf *out, enum handoff_type type, uint32_t id, unsigned value)
{
	assert_int_equal(handoff_frame_write_byte(out, type, id, value), 0);
}

static void data(struct buf *out, uint32_t id, const char *text)
{
	frame(out, HANDOFF_DATA, id, view_str(text));
}

/* An agent's, to a router that has asked for all streams. */
static void agent_says(struct buf *out)
{
	struct view got = view_make((const char *)token, sizeof(token));

	frame(out, HANDOFF_OPENED, 1, got);
	frame(out, HANDOFF_PING, 0, VIEW_LIT(""));
	data(out, 1, "* OK hello");
	byte(out, HANDOFF_FAILED, 2, HANDOFF_REFUSED_HOST);
	frame(out, HANDOFF_OPENED, 3, got);
	data(out, 1, "echo");
	frame(out, HANDOFF_PONG, 0, VIEW_LIT(""));
	data(out, 3, "* BYE");
	byte(out, HANDOFF_CLOSE, 3, HANDOFF_CLOSE_EOF);
	byte(out, HANDOFF_CLOSE, 4, HANDOFF_CLOSE_DONE); /* instead of OPENED */
	frame(out, HANDOFF_OPENED, 5, got);
	byte(out, HANDOFF_CLOSE, 5, HANDOFF_CLOSE_LIMIT);
	frame(out, HANDOFF_OPENED, 6, got);
	data(out, 6, "hand");
	data(out, 6, "which crosses the keys");
	frame(out, HANDOFF_DRAIN, 0, VIEW_LIT(""));
	data(out, 1, "go");
	data(out, 1, "too late");
	byte(out, HANDOFF_CLOSE, 1, HANDOFF_CLOSE_ERROR);
	frame(out, HANDOFF_OPENED, 7, got);
	data(out, 7, "left alone"); /* and nothing of 8 */
}

static void open_frame(struct buf *out, uint32_t id, const char *account)
{
	struct handoff_open open = an_open(view_str(account));

	assert_int_equal(handoff_open_write(out, id, &open), 0);
}

static void keys_frame(struct buf *out, uint32_t id, uint32_t delivered, const char *text)
{
	struct handoff_keys keys = {
		.delivered = delivered, .connection = "key", .text = view_str(text)
	};

	assert_int_equal(handoff_keys_write(out, id, &keys), 0);
}

/* A router's. */
static void router_says(struct buf *out)
{
	open_frame(out, 1, "alice");
	data(out, 1, "echo");
	frame(out, HANDOFF_PING, 0, VIEW_LIT(""));
	open_frame(out, 2, "nobody");
	open_frame(out, 3, "bob");
	data(out, 3, "a LOGIN");
	byte(out, HANDOFF_CLOSE, 3, HANDOFF_CLOSE_DONE);
	keys_frame(out, 1, 5, "b NOOP");
	open_frame(out, 4, "waits");
	byte(out, HANDOFF_CLOSE, 4, HANDOFF_CLOSE_DONE);
	open_frame(out, 5, "eve");
	data(out, 5, "node ends");
	data(out, 5, "said to a node that has gone");
	keys_frame(out, 5, 0, "");
	frame(out, HANDOFF_PONG, 0, VIEW_LIT(""));
	open_frame(out, 6, "dave");
	data(out, 6, "node breaks");
	byte(out, HANDOFF_CLOSE, 6, HANDOFF_CLOSE_LIMIT);
	open_frame(out, 7, "frank");
	data(out, 7, "go");
	data(out, 7, "too late");
	open_frame(out, 8, "waits");
}

/* ---- one run ---- */

static void batches(struct run *run, unsigned count)
{
	while (count--)
		assert_int_equal(loop_run_once(&run->loop, 0), 0);
}

static struct run *begin(bool is_agent, bool lets_go)
{
	struct run *run = test_calloc(1, sizeof(*run));
	int fds[2];

	assert_int_equal(loop_init(&run->loop), 0);
	assert_int_equal(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
	run->lets_go = lets_go;
	run->peer = fds[1];
	run->channel = (struct channel){ .ops = &ops, .loop = &run->loop, .is_agent = is_agent };
	leg_init(&run->leg, 0, 0);
	assert_int_equal(leg_open(&run->leg, &run->loop, fds[0], EPOLLIN, no_event), 0);
	channel_start(&run->channel, &run->leg);
	for (uint32_t id = 1; !is_agent && id <= STREAMS; id++) {
		struct handoff_open open = an_open(VIEW_LIT("alice"));
		struct told *told = &run->told[id];

		assert_int_equal(
			channel_open(&run->channel, &open, &stream_ops, told, &told->stream), 0);
		channel_stream_put(told->stream, &told->as_stream);
	}
	batches(run, 2);
	return run;
}

static void hear(struct run *run)
{
	char piece[4096];
	ssize_t n;

	while ((n = read(run->peer, piece, sizeof(piece))) > 0)
		assert_int_equal(buf_append(&run->said, piece, (size_t)n), 0);
}

static void say(struct run *run, struct view v)
{
	if (v.len)
		assert_int_equal(write(run->peer, v.data, v.len), v.len);
	batches(run, 3);
	hear(run);
}

static void finish(struct run *run)
{
	channel_close(&run->channel);
	for (uint32_t id = 1; id <= STREAMS; id++) {
		if (run->told[id].stream)
			let_go(&run->told[id]);
		buf_fini(&run->told[id].kept);
	}
	channel_let_go(&run->channel, on_freed);
	batches(run, 2);
	assert_int_equal(run->freed, 1);
	buf_fini(&run->said);
	if (run->peer >= 0)
		close(run->peer);
	loop_fini(&run->loop);
	test_free(run);
}

/* The peer goes, and every stream that there was has heard its end, once and in one way. */
static void go_away(struct run *run)
{
	hear(run);
	close(run->peer);
	run->peer = -1;
	batches(run, 3);
	assert_int_equal(run->lost, 1);
	assert_int_equal(run->channel.streams, 0);
	for (uint32_t id = 1; id <= STREAMS; id++) {
		struct told *told = &run->told[id];

		if (!told->stream)
			continue;
		assert_int_equal(told->stream->state, CHANNEL_STREAM_OVER);
		assert_int_equal(told->refused + !!told->ends, 1);
	}
}

static bool begins_with(struct view all, struct view begin)
{
	return begin.len <= all.len && memcmp(all.data, begin.data, begin.len) == 0;
}

/* Of a stream that was cut off: its talk until then, and an end that the whole one has perhaps
 * not. */
static void expect_begin(const struct told *whole, const struct told *got)
{
	static const char *const ends[] = { "broken ;", "refused 0;", "" };
	size_t len = strlen(got->talk);

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		size_t end = strlen(ends[i]);

		if (len >= end && strcmp(got->talk + len - end, ends[i]) == 0 &&
			strncmp(whole->talk, got->talk, len - end) == 0)
			return;
	}
	fail_msg("\"%s\" is no beginning of \"%s\"", got->talk, whole->talk);
}

static void expect_same(const struct run *whole, const struct run *got)
{
	for (uint32_t id = 1; id <= STREAMS; id++)
		assert_string_equal(whole->told[id].talk, got->told[id].talk);
	assert_int_equal(whole->drained, got->drained);
	assert_int_equal(whole->opens, got->opens);
	assert_int_equal(got->lost, 0);
	assert_int_equal(whole->channel.streams, got->channel.streams);
	assert_int_equal(whole->said.len, got->said.len);
	assert_memory_equal(buf_view(&whole->said).data, buf_view(&got->said).data, got->said.len);
}

/* ---- all of them ---- */

static void all_cuts(bool is_agent, bool lets_go, void (*script)(struct buf *))
{
	struct buf out = { 0 };
	struct run *whole, *got;
	struct view v;

	script(&out);
	v = buf_view(&out);
	whole = begin(is_agent, lets_go);
	say(whole, v);
	assert_int_equal(whole->lost, 0);
	for (size_t cut = 0; cut <= v.len; cut++) {
		got = begin(is_agent, lets_go);
		say(got, view_make(v.data, cut));
		say(got, view_skip(v, cut));
		expect_same(whole, got);
		finish(got);

		got = begin(is_agent, lets_go);
		say(got, view_make(v.data, cut));
		assert_true(begins_with(buf_view(&whole->said), buf_view(&got->said)));
		go_away(got);
		for (uint32_t id = 1; id <= STREAMS; id++)
			expect_begin(&whole->told[id], &got->told[id]);
		finish(got);
	}
	got = begin(is_agent, lets_go);
	for (size_t i = 0; i < v.len; i++)
		say(got, view_make(v.data + i, 1));
	expect_same(whole, got);
	finish(got);
	finish(whole);
	buf_fini(&out);
}

static void test_router_keeps(void **state)
{
	(void)state;
	all_cuts(false, false, agent_says);
}

static void test_router_lets_go(void **state)
{
	(void)state;
	all_cuts(false, true, agent_says);
}

static void test_agent_keeps(void **state)
{
	(void)state;
	all_cuts(true, false, router_says);
}

static void test_agent_lets_go(void **state)
{
	(void)state;
	all_cuts(true, true, router_says);
}

/* The talks as they stand: else all might be the same and wrong. */
static void test_what_is_told(void **state)
{
	static const char *const talks[2][STREAMS + 1] = {
		{ NULL, "opened ;data * OK hello;data echo;data go;", "refused 1;",
			"opened ;data * BYE;end ;", "refused 0;", "opened ;broken ;",
			"opened ;data hand;", "opened ;data left alone;", "" },
		{ NULL, "open alice;data echo;keys key;text b NOOP;", "open nobody;",
			"open bob;data a LOGIN;end ;", "open waits;end ;",
			"open eve;data node ends;data said to a node that has gone;keys key;text ;",
			"open dave;data node breaks;broken ;", "open frank;data go;",
			"open waits;" },
	};

	(void)state;
	for (int is_agent = 0; is_agent < 2; is_agent++) {
		struct run *run = begin(is_agent, true);
		struct buf out = { 0 };

		(is_agent ? router_says : agent_says)(&out);
		say(run, buf_view(&out));
		for (uint32_t id = 1; id <= STREAMS; id++)
			assert_string_equal(run->told[id].talk, talks[is_agent][id]);
		assert_int_equal(run->drained, !is_agent);
		assert_true(run->said.len > 0);
		finish(run);
		buf_fini(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_told),
		cmocka_unit_test(test_router_keeps),
		cmocka_unit_test(test_router_lets_go),
		cmocka_unit_test(test_agent_keeps),
		cmocka_unit_test(test_agent_lets_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

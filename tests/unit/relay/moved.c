// SPDX-License-Identifier: Apache-2.0
/* A session of two record legs, between OpenSSL's, whose live part is taken away again and again:
 * what is known of it is copied out as bytes, all else is freed, and another relay goes on from the
 * copy, on the same connections. */
#include "unit/records_flow.h"
#include "unit/relayed.h"

#include <unistd.h>

static struct flow flows[2]; /* RELAY_UP: from the client */
static int moves, pending;   /* of all sessions: and those with bytes between both legs */

static void begin(struct session *s, const struct kind *client, const struct kind *node)
{
	struct stream legs[2];
	struct buf early[2] = { { 0 }, { 0 } };
	int size = 4096; /* so that records are cut, and bytes wait */

	prepare(s);
	setup(&s->ends[RELAY_CLIENT], client, true);
	setup(&s->ends[RELAY_NODE], node, false);
	for (int leg = 0; leg < 2; leg++) {
		struct fixture *f = &s->ends[leg];

		setsockopt(f->near.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
		setsockopt(f->far.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	}
	take_near(s, legs);
	flows[RELAY_UP] = (struct flow){
		.from = &s->ends[RELAY_CLIENT].far, .to = &s->ends[RELAY_NODE].far, .total = 150000
	};
	flows[RELAY_DOWN] = (struct flow){
		.from = &s->ends[RELAY_NODE].far, .to = &s->ends[RELAY_CLIENT].far, .total = 150000
	};
	start(s, RELAY_MODE_RECORD, legs, early);
}

/* All of a session, without a pointer. */
struct written_down {
	struct relay_state state;
	struct {
		char leg[400000], pending[400000];
		size_t leg_len, pending_len;
		int fd;
	} legs[2]; /* pending: of what comes from there */
};

static void write_down(struct session *s, struct written_down *w)
{
	memcpy(&w->state, &s->relay->state, sizeof(w->state));
	for (int leg = 0; leg < 2; leg++) {
		struct stream *stream = &s->relay->legs[leg];
		struct view waits = buf_view(&s->relay->io[relay_from(leg)].pending);
		struct buf bytes = { .limit = sizeof(w->legs[leg].leg) };

		w->legs[leg].fd = dup(stream->fd);
		assert_int_equal(tls_records_give(stream, &bytes), 0);
		memcpy(w->legs[leg].leg, buf_view(&bytes).data, bytes.len);
		w->legs[leg].leg_len = bytes.len;
		buf_fini(&bytes);
		assert_in_range(waits.len, 0, sizeof(w->legs[leg].pending));
		memcpy(w->legs[leg].pending, waits.data, waits.len);
		w->legs[leg].pending_len = waits.len;
		pending += waits.len != 0;
		loop_watch_del(&s->relay->watches[leg]);
	}
	relay_free(s->relay);
	s->relay = NULL;
}

static void move(struct session *s)
{
	static struct written_down written_down;
	struct written_down *w = &written_down;
	struct buf early[2] = { { 0 }, { 0 } };
	struct stream legs[2];

	write_down(s, w);
	for (int leg = 0; leg < 2; leg++) {
		stream_init_plain(&legs[leg], w->legs[leg].fd);
		assert_int_equal(tls_records_resume(&legs[leg],
					 view_make(w->legs[leg].leg, w->legs[leg].leg_len)),
			0);
		assert_int_equal(
			buf_append(&early[leg], w->legs[leg].pending, w->legs[leg].pending_len), 0);
	}
	memset(&w->legs, 0, sizeof(w->legs));
	start(s, RELAY_MODE_RECORD, legs, early);
	memcpy(&s->relay->state, &w->state, sizeof(w->state));
	relay_arm_timer(s->relay);
	relay_later(s->relay, 0);
	moves++;
}

static void run(struct session *s)
{
	assert_int_equal(loop_run_once(&s->loop, 0), 0);
	assert_false(s->done);
}

static void exchange(struct session *s, uint32_t *seed)
{
	for (int i = 0; flows[0].read < flows[0].total || flows[1].read < flows[1].total; i++) {
		int d = (int)draw(seed, 2) - 1;

		assert_in_range(i, 0, 1000000);
		if (!flows[d].asked && flows[d].written < flows[d].total)
			maybe_change_keys(&s->ends[relay_source(d)], seed);
		write_some(&flows[d], seed);
		run(s);
		read_some(&flows[draw(seed, 2) - 1], seed);
		if (draw(seed, 6) == 1)
			move(s);
	}
}

/* The end of stream of a peer reaches the other one across a move. */
static void end(struct session *s, int d)
{
	ssize_t n = -EAGAIN;
	char byte;
	int r;

	for (int i = 0; n == -EAGAIN; i++) {
		assert_in_range(i, 0, 1000);
		r = stream_shutdown(flows[d].from);
		assert_true(r == 0 || r == -EAGAIN);
		assert_int_equal(loop_run_once(&s->loop, 0), 0);
		if (!relay_has_ended(s->relay) && i % 2 == 0)
			move(s);
		n = stream_read(flows[d].to, &byte, 1);
	}
	assert_int_equal(n, STREAM_EOF);
}

/* first: the leg that ends first; then the other one still says something. */
static void whole_session(const struct kind *client, const struct kind *node, int first)
{
	uint32_t seed = (uint32_t)((client - kinds) * 100 + (node - kinds) * 2 + first);
	struct session s;
	int last;

	begin(&s, client, node);
	exchange(&s, &seed);
	end(&s, relay_from(first));
	move(&s);
	last = !relay_from(first);
	flows[last].total += 3000;
	for (int i = 0; flows[last].read < flows[last].total; i++) {
		assert_in_range(i, 0, 10000);
		write_some(&flows[last], &seed);
		run(&s);
		read_some(&flows[last], &seed);
	}
	end(&s, last);
	for (int i = 0; !s.done; i++) {
		assert_in_range(i, 0, 1000);
		assert_int_equal(loop_run_once(&s.loop, 1), 0);
	}
	assert_int_equal(s.end, first == RELAY_CLIENT ? RELAY_END_CLIENT_EOF : RELAY_END_NODE_EOF);
	for (int d = 0; d < 2; d++) {
		assert_int_equal(relay_bytes(s.relay, (enum relay_direction)d), flows[d].total);
		assert_int_equal(
			relay_path_of(s.relay, (enum relay_direction)d), RELAY_PATH_RECORD);
	}
	finish(&s);
}

static void test_REC_13_a_session_goes_on_from_its_bytes(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		for (size_t j = 0; j < ARRAY_SIZE(kinds); j++)
			whole_session(&kinds[i], &kinds[j], (i + j) % 2);
	}
	assert_true(moves > 1000);
	assert_true(pending > 100);
}

/* A limit is counted from the last byte, whoever saw it. */
static void test_idle_time_goes_on(void **state)
{
	struct session s;
	uint64_t began;

	(void)state;
	begin(&s, &kinds[0], &kinds[0]);
	s.relay->state.idle_ms = 300;
	began = s.relay->state.last_ms;
	for (bool moved = false; !s.done; moved = true) {
		assert_in_range(clock_mono_ms(), began, began + 5000);
		assert_int_equal(loop_run_once(&s.loop, moved ? 10 : 200), 0);
		if (!moved && !s.done)
			move(&s);
		assert_true(s.done || s.relay->state.last_ms == began);
	}
	assert_int_equal(s.end, RELAY_END_IDLE);
	finish(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_REC_13_a_session_goes_on_from_its_bytes),
		cmocka_unit_test(test_idle_time_goes_on),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

// SPDX-License-Identifier: Apache-2.0
/* A relay between the near ends of two connections, one for each leg. */
#ifndef TESTS_UNIT_RELAYED_H
#define TESTS_UNIT_RELAYED_H

#include "unit/records_pair.h"

#include "relay/frame.h"

struct session {
	struct loop loop;
	struct relay_engine engine;
	struct relay *relay;
	struct fixture ends[2]; /* per leg; near is the relay's, but for its beginning */
	bool done;
	enum relay_end end;
};

static inline void on_done(struct relay *relay, void *arg, enum relay_end end)
{
	struct session *s = arg;

	assert_ptr_equal(relay, s->relay);
	s->done = true;
	s->end = end;
}

/* Without ends and a relay. */
static inline void prepare(struct session *s)
{
	static struct relay_kernel kernel;

	memset(s, 0, sizeof(*s));
	assert_int_equal(loop_init(&s->loop), 0);
	assert_int_equal(relay_engine_init(&s->engine, &s->loop, &kernel, 0), 0);
}

/* What the relay is given of its ends. */
static inline void take_near(struct session *s, struct stream ret_legs[2])
{
	for (int leg = 0; leg < 2; leg++) {
		ret_legs[leg] = s->ends[leg].near;
		s->ends[leg].near = (struct stream){ 0 };
	}
}

static inline void start(
	struct session *s, enum relay_mode mode, struct stream legs[2], struct buf early[2])
{
	struct relay_params params = {
		.engine = &s->engine,
		.settings = { .mode = mode },
		.protocol = "test",
		.session = 7,
		.idle_ms = 60000,
		.owed_ms = 5000,
		.done = on_done,
		.arg = s,
	};

	assert_int_equal(relay_start(&params, legs, early, &s->relay), 0);
}

/* Of ends that have said nothing yet. */
static inline void start_new(struct session *s, enum relay_mode mode)
{
	struct buf early[2] = { { 0 }, { 0 } };
	struct stream legs[2];

	take_near(s, legs);
	start(s, mode, legs, early);
}

/* The node's far end gets n bytes, at most 1 MiB, and these. */
static inline void expect_at_node(struct session *s, const char *want, size_t n)
{
	static char got[1 << 20];
	size_t have = 0;

	for (int i = 0; have < n; i++) {
		ssize_t r;

		assert_in_range(i, 0, 1000);
		assert_int_equal(loop_run_once(&s->loop, 5), 0);
		r = stream_read(&s->ends[RELAY_NODE].far, got + have, sizeof(got) - have);
		assert_true(r > 0 || r == -EAGAIN);
		have += r > 0 ? (size_t)r : 0;
	}
	assert_int_equal(have, n);
	assert_memory_equal(got, want, n);
}

static inline void finish(struct session *s)
{
	relay_free(s->relay);
	relay_engine_fini(&s->engine);
	teardown(&s->ends[RELAY_CLIENT]);
	teardown(&s->ends[RELAY_NODE]);
	loop_fini(&s->loop);
}

#endif

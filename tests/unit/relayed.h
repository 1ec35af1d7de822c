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

static inline void finish(struct session *s)
{
	relay_free(s->relay);
	relay_engine_fini(&s->engine);
	teardown(&s->ends[RELAY_CLIENT]);
	teardown(&s->ends[RELAY_NODE]);
	loop_fini(&s->loop);
}

#endif

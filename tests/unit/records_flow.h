// SPDX-License-Identifier: Apache-2.0
/* Bytes on their way between near and far, in pieces of any size, each compared. */
#ifndef TESTS_UNIT_RECORDS_FLOW_H
#define TESTS_UNIT_RECORDS_FLOW_H

#include "unit/records_pair.h"

/* Of place `at` in what an end sends. */
static inline unsigned char pattern(uint32_t at)
{
	return (unsigned char)((at * 2654435761u) >> 23);
}

static inline uint32_t draw(uint32_t *seed, uint32_t most)
{
	*seed = *seed * 1664525u + 1013904223u;
	return (*seed >> 8) % most + 1;
}

/* One direction under way. */
struct flow {
	struct stream *from, *to;
	uint32_t written, read, total;
	uint32_t asked; /* what the write that is to be repeated had; 0: none is */
};

static inline void write_some(struct flow *flow, uint32_t *seed)
{
	static unsigned char data[100000];
	uint32_t len = flow->asked ? flow->asked : draw(seed, draw(seed, 5) == 1 ? 100000 : 2000);
	ssize_t n;

	len = MIN(len, flow->total - flow->written);
	if (!len)
		return;
	for (uint32_t i = 0; i < len; i++)
		data[i] = pattern(flow->written + i);
	n = stream_write(flow->from, data, len);
	flow->asked = n == -EAGAIN ? len : 0;
	if (n == -EAGAIN)
		return;
	assert_in_range(n, 1, len);
	flow->written += (uint32_t)n;
	if ((uint32_t)n < len) /* the rest of it is sealed, maybe */
		flow->asked = len - (uint32_t)n;
}

static inline void read_some(struct flow *flow, uint32_t *seed)
{
	static unsigned char data[70000];
	ssize_t n = stream_read(flow->to, data, draw(seed, draw(seed, 3) == 1 ? 70000 : 500));

	if (n == -EAGAIN)
		return;
	assert_true(n > 0 && (uint32_t)n <= flow->written + flow->asked + 100000 - flow->read);
	for (uint32_t i = 0; i < (uint32_t)n; i++)
		assert_int_equal(data[i], pattern(flow->read + i));
	flow->read += (uint32_t)n;
}

/* Goes with far's next write. */
static inline void maybe_change_keys(struct fixture *f, uint32_t *seed)
{
	if (f->is_13 && draw(seed, 40) == 1)
		(void)!SSL_key_update(ssl_of(&f->far),
			draw(seed, 2) == 1 ? SSL_KEY_UPDATE_REQUESTED
					   : SSL_KEY_UPDATE_NOT_REQUESTED);
}

/* One step of one direction and a read of one, flows[1] being far's. */
static inline void flow_step(struct fixture *f, struct flow flows[2], uint32_t *seed)
{
	struct flow *flow = &flows[draw(seed, 2) - 1];

	if (flow == &flows[1] && !flow->asked)
		maybe_change_keys(f, seed);
	write_some(flow, seed);
	read_some(&flows[draw(seed, 2) - 1], seed);
}

#endif

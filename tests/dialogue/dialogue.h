// SPDX-License-Identifier: Apache-2.0
/*
 * Conversations with a protocol's front or back: a list of turns, played whole, byte by byte, and
 * cut in two at every offset. The input always ends at an unmapped page, so that reading one byte
 * too many is a crash.
 */
#ifndef TESTS_DIALOGUE_H
#define TESTS_DIALOGUE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "proto/proto.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* A copy of the bytes that ends at a page without access. Freed by guard_free(). */
struct guarded {
	char *map;
	size_t size;
	struct view view;
};

static inline struct guarded guard(struct view bytes)
{
	size_t pages = (bytes.len + 4095) / 4096 + 1;
	struct guarded g = { .size = pages * 4096 + 4096 };

	g.map = mmap(NULL, g.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(g.map != MAP_FAILED);
	assert_int_equal(mprotect(g.map + pages * 4096, 4096, PROT_NONE), 0);
	g.view = view_make(g.map + pages * 4096 - bytes.len, bytes.len);
	memcpy((char *)g.view.data, bytes.data, bytes.len);
	return g;
}

static inline void guard_free(struct guarded *g)
{
	munmap(g->map, g->size);
}

/* How input is handed over: everything at once, in steps of one byte, or in two parts. */
struct cut {
	size_t first; /* bytes of the first part; SIZE_MAX = all at once; 0 = one by one */
};

/* Feeds a front the input: all of it (SIZE_MAX), byte by byte (0), or first bytes, then the rest.
 * Returns the last result. */
static inline int play_front(const struct front_ops *ops, struct front *front, struct view input,
	size_t first, struct buf *out)
{
	size_t given = first == SIZE_MAX ? input.len : first ? MIN(first, input.len) : 1, used = 0;
	int r = PROTO_MORE;

	for (;;) {
		struct guarded g = guard(view_make(input.data + used, given - used));
		size_t consumed = 0;

		r = ops->input(front, g.view, &consumed, out);
		guard_free(&g);
		assert_true(consumed <= given - used);
		used += consumed;
		if (r != PROTO_MORE && r != PROTO_AGAIN)
			return r;
		if (r == PROTO_AGAIN && used < given)
			continue;
		if (given == input.len)
			return r == PROTO_AGAIN ? PROTO_MORE : r;
		given = first ? input.len : given + 1;
	}
}

/* As play_front(); *ret_left is what was not consumed when a result came. */
static inline int play_back(const struct back_ops *ops, struct back *back, struct view input,
	size_t first, struct buf *to_node, struct buf *to_client, struct view *ret_left)
{
	size_t given = first == SIZE_MAX ? input.len : first ? MIN(first, input.len) : 1, used = 0;
	int r = PROTO_MORE;

	while (input.len) {
		struct guarded g = guard(view_make(input.data + used, given - used));
		size_t consumed = 0;

		r = ops->input(back, g.view, &consumed, to_node, to_client);
		guard_free(&g);
		assert_true(consumed <= given - used);
		used += consumed;
		if (r != PROTO_MORE && r != PROTO_AGAIN)
			break;
		if (r == PROTO_AGAIN && used < given)
			continue;
		if (given == input.len) {
			r = PROTO_MORE;
			break;
		}
		given = first ? input.len : given + 1;
	}
	*ret_left = view_skip(input, used);
	return r;
}

#endif

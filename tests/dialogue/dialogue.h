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

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Deadlines: an intrusive pairing heap, so arming never allocates and never fails.
 * Arming is O(1), expiry and removal O(log n) amortised.
 */
#ifndef LOOP_TIMER_H
#define LOOP_TIMER_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct timer;
typedef void timer_fn(struct timer *timer);

/* Embedded in its owner; zeroed = not armed. */
struct timer {
	timer_fn *fn; /* NULL when not armed */
	uint64_t at;
	struct timer *child, *sibling, *prev; /* prev: left sibling or parent */
};

struct timer_heap {
	struct timer *root;
};

static inline bool timer_armed(const struct timer *timer)
{
	return timer->fn != NULL;
}

/* at: in the unit of the caller's choice, which is the unit of now below. */
void timer_heap_add(struct timer_heap *heap, struct timer *timer, uint64_t at, timer_fn *fn);
/* A timer that is not armed is left alone. */
void timer_heap_del(struct timer_heap *heap, struct timer *timer);
/* Takes the earliest timer whose time is <= now out of the heap; NULL if there is none.
 * The timer is not armed any more; *ret_fn is what it wanted to run. */
struct timer *timer_heap_take_due(struct timer_heap *heap, uint64_t now, timer_fn **ret_fn);
/* The time of the earliest one; UINT64_MAX if none is armed. */
uint64_t timer_heap_first(const struct timer_heap *heap);

#endif

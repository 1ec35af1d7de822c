// SPDX-License-Identifier: Apache-2.0
/*
 * Deadlines: an intrusive pairing heap, so arming never allocates and never fails.
 * Arming is O(1), expiry and removal O(log n) amortised.
 */
#ifndef LOOP_TIMER_H
#define LOOP_TIMER_H

#include "base/compiler.h"

#include <stdbool.h>

struct timer;
typedef void timer_fn(struct timer *timer);

/* Embedded in its owner; zeroed = not armed. */
struct timer {
	timer_fn *fn; /* NULL when not armed */
	uint64_t at_ms;
	struct timer *child, *sibling, *prev; /* prev: left sibling or parent */
};

struct timer_heap {
	struct timer *root;
};

static inline bool timer_armed(const struct timer *timer)
{
	return timer->fn != NULL;
}

void timer_heap_add(struct timer_heap *heap, struct timer *timer, uint64_t at_ms, timer_fn *fn);
/* A timer that is not armed is left alone. */
void timer_heap_del(struct timer_heap *heap, struct timer *timer);
/* Takes the earliest timer whose time is <= now_ms out of the heap; NULL if there is none.
 * The timer is not armed any more; *ret_fn is what it wanted to run. */
struct timer *timer_heap_take_due(struct timer_heap *heap, uint64_t now_ms, timer_fn **ret_fn);
/* Milliseconds until the earliest one, at most INT_MAX; -1 if none is armed. */
int timer_heap_wait_ms(const struct timer_heap *heap, uint64_t now_ms);

#endif

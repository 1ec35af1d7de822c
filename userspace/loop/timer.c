// SPDX-License-Identifier: Apache-2.0
/* Pairing heap of deadlines. */
#include "loop/timer.h"

#include <stddef.h>

static struct timer *meld(struct timer *a, struct timer *b)
{
	struct timer *tmp;

	if (!a)
		return b;
	if (!b)
		return a;
	if (b->at < a->at) {
		tmp = a;
		a = b;
		b = tmp;
	}
	b->prev = a;
	b->sibling = a->child;
	if (a->child)
		a->child->prev = b;
	a->child = b;
	return a;
}

/* Two passes over a list of siblings: pair from the left, then meld from the right. */
static struct timer *meld_siblings(struct timer *first)
{
	struct timer *pairs = NULL, *result = NULL;

	while (first) {
		struct timer *a = first, *b = a->sibling, *pair;

		first = b ? b->sibling : NULL;
		a->sibling = a->prev = NULL;
		if (b)
			b->sibling = b->prev = NULL;
		pair = meld(a, b);
		pair->sibling = pairs;
		pairs = pair;
	}
	while (pairs) {
		struct timer *next = pairs->sibling;

		pairs->sibling = NULL;
		result = meld(result, pairs);
		pairs = next;
	}
	return result;
}

void timer_heap_add(struct timer_heap *heap, struct timer *timer, uint64_t at, timer_fn *fn)
{
	timer_heap_del(heap, timer);
	*timer = (struct timer){ .fn = fn, .at = at };
	heap->root = meld(heap->root, timer);
}

void timer_heap_del(struct timer_heap *heap, struct timer *timer)
{
	struct timer *rest;

	if (!timer->fn)
		return;
	rest = meld_siblings(timer->child);
	if (heap->root == timer) {
		heap->root = rest;
	} else {
		if (timer->prev->child == timer)
			timer->prev->child = timer->sibling;
		else
			timer->prev->sibling = timer->sibling;
		if (timer->sibling)
			timer->sibling->prev = timer->prev;
		heap->root = meld(heap->root, rest);
	}
	if (heap->root)
		heap->root->prev = heap->root->sibling = NULL;
	timer->fn = NULL;
	timer->child = timer->sibling = timer->prev = NULL;
}

struct timer *timer_heap_take_due(struct timer_heap *heap, uint64_t now, timer_fn **ret_fn)
{
	struct timer *timer = heap->root;

	if (!timer || timer->at > now)
		return NULL;
	*ret_fn = timer->fn;
	timer_heap_del(heap, timer);
	return timer;
}

uint64_t timer_heap_first(const struct timer_heap *heap)
{
	return heap->root ? heap->root->at : UINT64_MAX;
}

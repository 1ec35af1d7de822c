// SPDX-License-Identifier: Apache-2.0
/*
 * Objects with handles: a number that names an object as long as it lives and nothing afterwards,
 * for whoever may outlive it (a message that is under way, another thread). Never 0. One thread's.
 */
#ifndef BASE_SLOTS_H
#define BASE_SLOTS_H

#include "base/compiler.h"

#include <stdint.h>

struct slot {
	void *object; /* NULL: free */
	uint32_t generation, next_free;
};

struct slots {
	struct slot *slots; /* owned */
	uint32_t count, first_free;
};

/* How many a table of `count` has when it has grown. By a quarter: of twice as many, half would lie
 * idle. */
static inline uint32_t slots_more(uint32_t count)
{
	return count + MAX(count / 4, 64u);
}

void slots_init(struct slots *slots);
/* The objects are the caller's; their handles find nothing any more. */
void slots_fini(struct slots *slots);
/* object: not NULL. Amortised: memory is allocated when more are in use than ever before.
 * Returns 0 or -ENOMEM. */
MUST_USE int slots_add(struct slots *slots, void *object, uint64_t *ret_handle);
/* NULL when it is gone. */
void *slots_find(const struct slots *slots, uint64_t handle);
/* A handle that finds nothing is no harm. */
void slots_remove(struct slots *slots, uint64_t handle);

#endif

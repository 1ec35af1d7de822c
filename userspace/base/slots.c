// SPDX-License-Identifier: Apache-2.0
#include "base/slots.h"

#include <errno.h>
#include <stdlib.h>

#define NO_SLOT UINT32_MAX

void slots_init(struct slots *slots)
{
	*slots = (struct slots){ .first_free = NO_SLOT };
}

void slots_fini(struct slots *slots)
{
	free(slots->slots);
	slots_init(slots);
}

static int grow(struct slots *slots)
{
	uint32_t count = slots_more(slots->count);
	struct slot *more = reallocarray(slots->slots, count, sizeof(*more));

	if (!more)
		return -ENOMEM;
	for (uint32_t i = slots->count; i < count; i++)
		more[i] = (struct slot){ .generation = 1,
			.next_free = i + 1 < count ? i + 1 : NO_SLOT };
	slots->first_free = slots->count;
	slots->slots = more;
	slots->count = count;
	return 0;
}

int slots_add(struct slots *slots, void *object, uint64_t *ret_handle)
{
	struct slot *slot;
	uint32_t index;
	int r;

	if (slots->first_free == NO_SLOT) {
		r = grow(slots);
		if (r < 0)
			return r;
	}
	index = slots->first_free;
	slot = &slots->slots[index];
	slots->first_free = slot->next_free;
	slot->object = object;
	*ret_handle = (uint64_t)slot->generation << 32 | index;
	return 0;
}

static struct slot *slot_of(const struct slots *slots, uint64_t handle)
{
	uint32_t index = (uint32_t)handle;
	struct slot *slot;

	if (index >= slots->count)
		return NULL;
	slot = &slots->slots[index];
	return slot->object && slot->generation == (uint32_t)(handle >> 32) ? slot : NULL;
}

void *slots_find(const struct slots *slots, uint64_t handle)
{
	const struct slot *slot = slot_of(slots, handle);

	return slot ? slot->object : NULL;
}

void slots_remove(struct slots *slots, uint64_t handle)
{
	struct slot *slot = slot_of(slots, handle);

	if (!slot)
		return;
	slot->object = NULL;
	if (++slot->generation == 0)
		slot->generation = 1;
	slot->next_free = slots->first_free;
	slots->first_free = (uint32_t)handle;
}

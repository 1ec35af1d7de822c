// SPDX-License-Identifier: Apache-2.0
/* The memory of a thread that all its relays share: what is being moved, and what one of them has
 * done with. Both hold mail, and are wiped. */
#include "relay/frame.h"
#include "base/secret.h"

#include <stdlib.h>

_Thread_local char relay_scratch[RELAY_SCRATCH_BYTES + RELAY_SLACK_BYTES];
_Thread_local size_t relay_scratch_used;

/* Memory that a direction has done with, for the next one whose target blocks: bulk towards a slow
 * reader blocks at nearly every write. It is wiped and freed with the scratch buffer. */
static _Thread_local struct {
	char *data;
	uint32_t cap;
} spare;

static void wipe_and_free(char *data, size_t cap)
{
	secret_wipe(data, cap);
	free(data);
}

void relay_scratch_wipe(void)
{
	secret_wipe(relay_scratch, relay_scratch_used);
	relay_scratch_used = 0;
	wipe_and_free(spare.data, spare.cap);
	spare.data = NULL;
	spare.cap = 0;
}

int relay_keep_pending(struct buf *pending, const char *data, size_t len)
{
	if (!pending->data && len <= spare.cap) {
		pending->data = spare.data;
		pending->cap = spare.cap;
		spare.data = NULL;
		spare.cap = 0;
	}
	return buf_append(pending, data, len);
}

void relay_drop_pending(struct buf *pending)
{
	char *data = pending->data;
	uint32_t cap = pending->cap;

	*pending = (struct buf){ .limit = pending->limit };
	if (cap > spare.cap && cap <= RELAY_SCRATCH_BYTES) {
		wipe_and_free(spare.data, spare.cap);
		spare.data = data;
		spare.cap = cap;
	} else {
		wipe_and_free(data, cap);
	}
}

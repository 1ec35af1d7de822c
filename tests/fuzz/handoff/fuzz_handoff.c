// SPDX-License-Identifier: Apache-2.0
/* What a router or an agent may be sent on a channel: frames, OPEN, HANDOFF. What is taken is
 * written again and is the same bytes. */
#include "base/secret.h"
#include "handoff/frame.h"

#include <stdlib.h>

static void same(const struct buf *buf, struct view bytes)
{
	if (!view_eq(buf_view(buf), bytes))
		abort();
}

static void open_again(const struct handoff_frame *frame, struct view bytes)
{
	struct handoff_open open;
	struct buf buf = { 0 };

	if (handoff_open_read(frame->payload, &open) < 0)
		return;
	if (handoff_open_write(&buf, frame->stream, &open) < 0)
		abort();
	same(&buf, bytes);
	buf_fini(&buf);
}

static void keys_again(const struct handoff_frame *frame, struct view bytes)
{
	struct record_connection connection, again;
	unsigned char packed[RECORD_PACKED_BYTES];
	struct handoff_keys keys;
	struct buf buf = { 0 };

	if (handoff_keys_read(frame->payload, &keys) < 0)
		return;
	if (handoff_keys_write(&buf, frame->stream, &keys) < 0)
		abort();
	same(&buf, bytes);
	buf_fini(&buf);
	if (record_connection_unpack(keys.connection, &connection) < 0)
		return;
	if (record_connection_pack(&connection, packed) < 0 ||
		record_connection_unpack(packed, &again) < 0 ||
		memcmp(&again, &connection, sizeof(again)) != 0)
		abort();
	record_connection_wipe(&again);
	record_connection_wipe(&connection);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct view rest = view_make((const char *)data, size);
	struct handoff_frame frame;
	ssize_t n;

	while ((n = handoff_frame_read(rest, &frame)) > 0) {
		struct view bytes = view_make(rest.data, (size_t)n);

		if (frame.type == HANDOFF_OPEN)
			open_again(&frame, bytes);
		else if (frame.type == HANDOFF_KEYS)
			keys_again(&frame, bytes);
		rest = view_skip(rest, (size_t)n);
	}
	return 0;
}

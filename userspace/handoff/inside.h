// SPDX-License-Identifier: Apache-2.0
/* Private to handoff/: what a channel (channel.c) has of its streams (channel_stream.c). */
#ifndef HANDOFF_INSIDE_H
#define HANDOFF_INSIDE_H

#include "handoff/channel.h"

/* Streams wait when so much of all of them is not sent yet; what is no DATA has room beside it. */
#define CHANNEL_FULL_BYTES 1048576

static inline struct list_node *channel_bucket(struct channel *channel, uint32_t id)
{
	return &channel->buckets[id % CHANNEL_BUCKETS];
}

/* What is in out leaves at the end of the batch. */
void channel_flush_later(struct channel *channel);
/* What cannot wait has no room: then the channel is of no use. */
void channel_doom(struct channel *channel);
/* A frame that nobody can wait with, of one byte, or of none (-1). */
void channel_say(struct channel *channel, enum handoff_type type, uint32_t stream, int byte);

/* A stream that the channel knows from now on. Returns 0 or -ENOMEM. */
MUST_USE int channel_stream_add(struct channel *channel, uint32_t id,
	const struct channel_stream_ops *ops, void *arg, struct channel_stream **ret_stream);
/* The channel does not know it any more; its owner may still read what is there. error: what reads
 * say then, unless it has ended before. */
void channel_stream_forget(struct channel_stream *stream, int error);

#endif

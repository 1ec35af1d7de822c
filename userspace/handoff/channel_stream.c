// SPDX-License-Identifier: Apache-2.0
/* See channel.h: a login on a channel, as its owner has it; and what both have sent. */
#include "handoff/inside.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

/* ---- which the channel knows ---- */

int channel_stream_add(struct channel *channel, uint32_t id, const struct channel_stream_ops *ops,
	void *arg, struct channel_stream **ret_stream)
{
	struct channel_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return -ENOMEM;
	stream->ops = ops;
	stream->arg = arg;
	stream->channel = channel;
	stream->id = id;
	buf_init(&stream->in, HANDOFF_DATA_MAX, true);
	list_add_tail(channel_bucket(channel, id), &stream->link);
	channel->streams++;
	if (channel->open_streams)
		atomic_fetch_add(channel->open_streams, 1);
	*ret_stream = stream;
	return 0;
}

void channel_stream_forget(struct channel_stream *stream, int error)
{
	struct channel *channel = stream->channel;

	list_del(&stream->link);
	channel->streams--;
	if (channel->open_streams)
		atomic_fetch_sub(channel->open_streams, 1);
	stream->channel = NULL;
	stream->state = CHANNEL_STREAM_OVER;
	if (!stream->ended)
		stream->error = error;
	stream->ended = true;
	channel_flush_later(channel); /* it may be the last one */
}

/* ---- what is sent ---- */

void channel_flush_later(struct channel *channel)
{
	if (channel->flush_due)
		return;
	channel->flush_due = true;
	loop_defer(channel->loop, &channel->flush, channel->on_flush);
}

void channel_doom(struct channel *channel)
{
	channel->doomed = "too much waits to be sent";
	channel_flush_later(channel);
}

void channel_say(struct channel *channel, enum handoff_type type, uint32_t stream, int byte)
{
	int r = byte < 0
		? handoff_frame_write(&channel->leg.out, type, stream, VIEW_LIT(""))
		: handoff_frame_write_byte(&channel->leg.out, type, stream, (unsigned)byte);

	if (r < 0)
		channel_doom(channel);
	else
		channel_flush_later(channel);
}

/* ---- an agent's answers ---- */

void channel_refuse(struct channel *channel, uint32_t id, int refusal)
{
	if (channel->refusals)
		atomic_fetch_add(&channel->refusals[refusal], 1);
	channel_say(channel, HANDOFF_FAILED, id, refusal);
}

void channel_stream_refuse(struct channel_stream *stream, int refusal)
{
	channel_refuse(stream->channel, stream->id, refusal);
	channel_stream_forget(stream, -ECONNREFUSED);
}

void channel_opened(struct channel_stream *stream, const unsigned char token[HANDOFF_TOKEN_BYTES])
{
	struct channel *channel = stream->channel;

	if (!channel)
		return;
	stream->state = CHANNEL_STREAM_OPEN;
	if (handoff_frame_write(&channel->leg.out, HANDOFF_OPENED, stream->id,
		    view_make((const char *)token, HANDOFF_TOKEN_BYTES)) < 0)
		channel_doom(channel);
	else
		channel_flush_later(channel);
}

void channel_stream_end(struct channel_stream *stream, int error)
{
	if (stream->state == CHANNEL_STREAM_OPEN)
		channel_say(stream->channel, HANDOFF_CLOSE, stream->id,
			error == STREAM_EOF ? HANDOFF_CLOSE_EOF : HANDOFF_CLOSE_ERROR);
}

/* ---- from OPEN to HANDOFF ---- */

int channel_accept(struct channel *channel, uint32_t id, const struct channel_stream_ops *ops,
	void *arg, struct channel_stream **ret_stream)
{
	return channel_stream_add(channel, id, ops, arg, ret_stream);
}

int channel_stream_hand(struct channel_stream *stream, const struct handoff_keys *keys)
{
	struct channel *channel = stream->channel;
	int r;

	if (stream->state != CHANNEL_STREAM_OPEN)
		return -EPIPE;
	r = handoff_keys_write(&channel->leg.out, stream->id, keys);
	if (r < 0)
		return r;
	stream->state = CHANNEL_STREAM_HANDED;
	channel_flush_later(channel);
	return 0;
}

bool channel_stream_may_hand(const struct channel_stream *stream)
{
	return stream->state == CHANNEL_STREAM_OPEN &&
		stream->channel->leg.out.len < CHANNEL_FULL_BYTES;
}

void channel_stream_free(struct channel_stream *stream, int close)
{
	struct channel *channel = stream ? stream->channel : NULL;

	if (!stream)
		return;
	if (channel) {
		bool says = stream->state != CHANNEL_STREAM_HANDED;
		uint32_t id = stream->id;

		channel_stream_forget(stream, -ECONNABORTED);
		if (says)
			channel_say(channel, HANDOFF_CLOSE, id, close);
	}
	buf_fini(&stream->in);
	free(stream);
}

/* ---- as a struct stream ---- */

static ssize_t stream_of_channel_read(struct stream *stream, void *data, size_t len)
{
	struct channel_stream *of = stream->layer;
	size_t n = MIN((size_t)of->in.len, len);

	if (n) {
		memcpy(data, buf_view(&of->in).data, n);
		buf_consume(&of->in, n);
		return (ssize_t)n;
	}
	stream->want = EPOLLIN;
	return of->ended ? of->error : -EAGAIN;
}

static ssize_t stream_of_channel_write(struct stream *stream, const void *data, size_t len)
{
	struct channel_stream *of = stream->layer;
	struct channel *channel = of->channel;
	size_t n = MIN(len, (size_t)HANDOFF_DATA_MAX - of->sent);
	struct view piece = view_make(data, n);

	stream->want = EPOLLOUT;
	if (of->state != CHANNEL_STREAM_OPEN)
		return -EPIPE;
	if (!n) /* that is all that a login may say, for good */
		return -EAGAIN;
	if (channel->leg.out.len >= CHANNEL_FULL_BYTES) {
		of->waits = channel->some_wait = true;
		return -EAGAIN;
	}
	if ((of->kept && buf_reserve(of->kept, n) < 0) ||
		handoff_frame_write(&channel->leg.out, HANDOFF_DATA, of->id, piece) < 0 ||
		(of->kept && buf_append_view(of->kept, piece) < 0))
		return -ENOMEM;
	of->sent += (uint32_t)n;
	channel_flush_later(channel);
	return (ssize_t)n;
}

/* Ends are the channel's. */
static int stream_of_channel_shutdown(struct stream *stream)
{
	(void)stream;
	return 0;
}

static bool stream_of_channel_pending(const struct stream *stream)
{
	const struct channel_stream *of = stream->layer;

	return of->in.len || of->ended;
}

static void stream_of_channel_close(struct stream *stream)
{
	channel_stream_free(stream->layer, HANDOFF_CLOSE_DONE);
}

static const struct stream_ops stream_of_channel_ops = {
	.read = stream_of_channel_read,
	.write = stream_of_channel_write,
	.shutdown = stream_of_channel_shutdown,
	.cut = stream_of_channel_shutdown,
	.pending = stream_of_channel_pending,
	.close = stream_of_channel_close,
};

void channel_stream_put(struct channel_stream *of, struct stream *stream)
{
	*stream = (struct stream){ .ops = &stream_of_channel_ops, .layer = of, .fd = -1 };
}

struct channel_stream *channel_stream_of(const struct stream *stream)
{
	return stream->ops == &stream_of_channel_ops ? stream->layer : NULL;
}

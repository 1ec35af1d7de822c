// SPDX-License-Identifier: Apache-2.0
/*
 * See channel.h. A turn reads TURN_BYTES at most and goes on in the next one; what is written
 * within a batch of the loop leaves together at its end.
 */
#include "base/secret.h"
#include "handoff/inside.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define READ_BYTES 16384
#define TURN_BYTES 262144 /* as stream_read_cost() counts */
#define IN_BYTES (4 + HANDOFF_FRAME_MAX + READ_BYTES)
/* Streams that have waited go on. */
#define OUT_AGAIN_BYTES (CHANNEL_FULL_BYTES / 2)
#define OUT_BYTES (4 * CHANNEL_FULL_BYTES)
#define SILENCE_MS 15000
#define ASKED_MS 1000 /* of silence behind an OPEN */
#define ANSWER_MS 5000

static void lose(struct channel *channel, const char *why);

/* ---- which streams there are ---- */

static struct channel_stream *find(struct channel *channel, uint32_t id)
{
	list_for_each (node, channel_bucket(channel, id)) {
		struct channel_stream *stream = list_entry(node, struct channel_stream, link);

		if (stream->id == id)
			return stream;
	}
	return NULL;
}

/* ---- writing ---- */

/* The first one that waits in a bucket; NULL. */
static struct channel_stream *waiting_in(struct list_node *bucket)
{
	list_for_each (node, bucket) {
		struct channel_stream *stream = list_entry(node, struct channel_stream, link);

		if (stream->waits)
			return stream;
	}
	return NULL;
}

/* Whoever is told may write, and let others go. */
static void tell_room(struct channel *channel)
{
	channel->some_wait = false;
	for (unsigned b = 0; b < CHANNEL_BUCKETS; b++) {
		struct channel_stream *stream;

		while (channel_is_up(channel) && (stream = waiting_in(&channel->buckets[b]))) {
			if (channel->leg.out.len >= CHANNEL_FULL_BYTES) {
				channel->some_wait = true;
				return;
			}
			stream->waits = false;
			stream->ops->event(stream);
		}
	}
}

static void flush(struct channel *channel)
{
	int r = leg_flush(&channel->leg);

	if (r == 0)
		r = leg_watch(&channel->leg,
			leg_events(
				&channel->leg, !timer_armed(&channel->turn), channel->leg.out.len));
	if (r < 0)
		lose(channel, "the connection broke");
	else if (channel->some_wait && channel->leg.out.len <= OUT_AGAIN_BYTES)
		tell_room(channel);
}

static void on_flush(struct loop_deferred *deferred)
{
	struct channel *channel = container_of(deferred, struct channel, flush);

	channel->flush_due = false;
	if (channel_is_up(channel) && channel->doomed)
		lose(channel, channel->doomed);
	if (channel_is_up(channel))
		flush(channel);
	if (channel_is_up(channel) && !channel->streams && channel->ops->empty)
		channel->ops->empty(channel);
	/* Whoever needs another stream makes another channel. */
	if (channel_is_up(channel) && !channel->streams && !channel->is_agent &&
		channel->last_id == UINT32_MAX)
		lose(channel, "it has had all its streams");
	if (channel->free && !channel->flush_due)
		channel->free(channel);
}

void channel_let_go(struct channel *channel, void (*free_it)(struct channel *channel))
{
	channel->free = free_it;
	channel_flush_later(channel);
}

void channel_drain(struct channel *channel)
{
	channel_say(channel, HANDOFF_DRAIN, 0, -1);
}

/* ---- the end ---- */

/* Every stream ends as if the node had closed. */
static void end_streams(struct channel *channel)
{
	for (unsigned b = 0; b < CHANNEL_BUCKETS; b++) {
		while (!list_empty(&channel->buckets[b])) {
			struct channel_stream *stream =
				list_entry(channel->buckets[b].next, struct channel_stream, link);
			bool opening = stream->state == CHANNEL_STREAM_OPENING;

			channel_stream_forget(stream, -ECONNRESET);
			if (opening && !channel->is_agent)
				stream->ops->refused(stream, 0);
			else
				stream->ops->event(stream);
		}
	}
}

void channel_close(struct channel *channel)
{
	if (!channel_is_up(channel))
		return;
	loop_timer_del(channel->loop, &channel->silence);
	loop_timer_del(channel->loop, &channel->turn);
	leg_close(&channel->leg);
	end_streams(channel);
}

static void lose(struct channel *channel, const char *why)
{
	if (!channel_is_up(channel))
		return;
	channel_close(channel);
	channel->ops->lost(channel, why);
}

/* ---- reading ---- */

static int on_data(struct channel *channel, struct channel_stream *stream, struct view data)
{
	if (stream->state == CHANNEL_STREAM_HANDED)
		/* Sent before HANDOFF had come: the agent seals it anew (HND-31). */
		return channel->is_agent ? -EPROTO : 0;
	if (stream->state != CHANNEL_STREAM_OPEN || stream->ended)
		return -EPROTO;
	if (data.len > HANDOFF_DATA_MAX - stream->received ||
		buf_append_view(&stream->in, data) < 0) {
		channel_say(channel, HANDOFF_CLOSE, stream->id, HANDOFF_CLOSE_LIMIT);
		channel_stream_forget(stream, -EPROTO);
	} else {
		stream->received += (uint32_t)data.len;
	}
	stream->ops->event(stream);
	return 0;
}

/* The agent's node has closed: what it said is still read, and what is left may still be handed
 * over. Everything else is the end. */
static int on_close(struct channel *channel, struct channel_stream *stream, int why)
{
	bool of_node = why == HANDOFF_CLOSE_EOF || why == HANDOFF_CLOSE_ERROR;
	bool opening = stream->state == CHANNEL_STREAM_OPENING;

	if (why < HANDOFF_CLOSE_DONE || why >= HANDOFF_CLOSES || (of_node && channel->is_agent) ||
		(of_node && stream->ended))
		return -EPROTO;
	if (opening && !channel->is_agent) { /* the agent ends before the node has answered */
		channel_stream_forget(stream, -ECONNRESET);
		stream->ops->refused(stream, 0);
		return 0;
	}
	if (of_node) {
		stream->ended = true;
		stream->error = why == HANDOFF_CLOSE_EOF ? STREAM_EOF : -ECONNRESET;
	} else {
		channel_stream_forget(stream, why == HANDOFF_CLOSE_DONE ? STREAM_EOF : -ECONNRESET);
	}
	stream->ops->event(stream);
	return 0;
}

static int on_keys(struct channel_stream *stream, struct view payload)
{
	struct handoff_keys keys;
	int r = stream->state == CHANNEL_STREAM_OPEN ? handoff_keys_read(payload, &keys) : -EPROTO;

	if (r == 0 && keys.delivered > stream->sent)
		r = -EPROTO;
	if (r == 0) {
		stream->state = CHANNEL_STREAM_HANDED;
		r = stream->ops->keys(stream, &keys);
	}
	secret_wipe(&keys, sizeof(keys));
	return r;
}

static int on_opened(struct channel_stream *stream, struct view token)
{
	if (stream->state != CHANNEL_STREAM_OPENING)
		return -EPROTO;
	stream->state = CHANNEL_STREAM_OPEN;
	stream->ops->opened(stream, (const unsigned char *)token.data);
	return 0;
}

static int on_failed(struct channel_stream *stream, int refusal)
{
	if (stream->state != CHANNEL_STREAM_OPENING || refusal < HANDOFF_REFUSED_HOST ||
		refusal >= HANDOFF_REFUSALS)
		return -EPROTO;
	channel_stream_forget(stream, -ECONNREFUSED);
	stream->ops->refused(stream, refusal);
	return 0;
}

/* Ids go up, and none comes twice. */
static int on_open(struct channel *channel, const struct handoff_frame *frame)
{
	struct handoff_open open;
	int r = frame->stream > channel->last_id ? handoff_open_read(frame->payload, &open)
						 : -EPROTO;

	if (r < 0)
		return r;
	channel->last_id = frame->stream;
	channel->ops->open(channel, frame->stream, &open);
	return 0;
}

/* Which end may send what. */
static bool may_come(const struct channel *channel, enum handoff_type type)
{
	switch (type) {
	case HANDOFF_OPEN:
	case HANDOFF_KEYS:
		return channel->is_agent;
	case HANDOFF_OPENED:
	case HANDOFF_FAILED:
	case HANDOFF_DRAIN:
		return !channel->is_agent;
	default:
		return true;
	}
}

static int on_stream_frame(struct channel *channel, const struct handoff_frame *frame)
{
	struct channel_stream *stream = find(channel, frame->stream);
	int byte = frame->payload.len ? (unsigned char)frame->payload.data[0] : 0;

	if (!stream) /* let go here, while it was on its way */
		return frame->stream <= channel->last_id ? 0 : -EPROTO;
	switch (frame->type) {
	case HANDOFF_DATA:
		return on_data(channel, stream, frame->payload);
	case HANDOFF_CLOSE:
		return on_close(channel, stream, byte);
	case HANDOFF_KEYS:
		return on_keys(stream, frame->payload);
	case HANDOFF_OPENED:
		return on_opened(stream, frame->payload);
	default:
		return on_failed(stream, byte);
	}
}

static int on_frame(struct channel *channel, const struct handoff_frame *frame)
{
	if (!may_come(channel, frame->type))
		return -EPROTO;
	switch (frame->type) {
	case HANDOFF_PING:
		channel_say(channel, HANDOFF_PONG, 0, -1);
		return 0;
	case HANDOFF_PONG:
		return 0;
	case HANDOFF_DRAIN:
		channel->ops->drain(channel);
		return 0;
	case HANDOFF_OPEN:
		return on_open(channel, frame);
	default:
		return on_stream_frame(channel, frame);
	}
}

static void on_silence(struct timer *timer)
{
	struct channel *channel = container_of(timer, struct channel, silence);

	if (channel->pinged) {
		lose(channel, "no answer to PING in 5 s");
		return;
	}
	channel->pinged = true;
	loop_timer_set(channel->loop, &channel->silence, ANSWER_MS, on_silence);
	channel_say(channel, HANDOFF_PING, 0, -1);
}

static void heard(struct channel *channel)
{
	channel->pinged = channel->asked = false;
	loop_timer_set(channel->loop, &channel->silence, SILENCE_MS, on_silence);
}

/* Streams that follow do not put it off. */
static void expect_answer(struct channel *channel)
{
	if (!channel->asked && !channel->pinged)
		loop_timer_set(channel->loop, &channel->silence, ASKED_MS, on_silence);
	channel->asked = true;
}

/* All whole frames; false when the channel is over. */
static bool run_frames(struct channel *channel)
{
	struct handoff_frame frame;
	ssize_t n;

	while ((n = handoff_frame_read(buf_view(&channel->leg.in), &frame)) > 0) {
		int r = on_frame(channel, &frame);

		if (!channel_is_up(channel))
			return false;
		if (r < 0) {
			n = r;
			break;
		}
		buf_consume(&channel->leg.in, (size_t)n);
	}
	if (n < 0)
		lose(channel, "what came is no frame, or none that may come here");
	return n == 0;
}

static void run(struct channel *channel);

static void on_turn(struct timer *timer)
{
	run(container_of(timer, struct channel, turn));
}

/* Reads until there is nothing, or a turn's worth. False: it is over. */
static bool read_some(struct channel *channel)
{
	size_t spent = 0;
	ssize_t n;

	do {
		n = leg_read(&channel->leg, &channel->leg.in, READ_BYTES, &spent);
		if (n <= 0 && n != -EAGAIN) {
			lose(channel,
				n == 0 || n == -ECONNABORTED ? "the peer has closed it"
							     : "the connection broke");
			return false;
		}
		if (n > 0) {
			heard(channel);
			if (!run_frames(channel))
				return false;
		}
	} while (n > 0 && !channel->leg.dry && spent < TURN_BYTES);
	if (n > 0 && !channel->leg.dry)
		loop_timer_set(
			channel->loop, &channel->turn, leg_pause_ms(spent, TURN_BYTES), on_turn);
	return true;
}

static void run(struct channel *channel)
{
	if (!timer_armed(&channel->turn) && read_some(channel))
		flush(channel);
}

static void on_event(struct loop_watch *watch, uint32_t epoll_events)
{
	(void)epoll_events;
	run(container_of(watch, struct channel, leg.watch));
}

void channel_start(struct channel *channel, struct leg *from)
{
	for (unsigned b = 0; b < CHANNEL_BUCKETS; b++)
		list_init(&channel->buckets[b]);
	channel->leg.in = from->in;
	channel->leg.out = from->out;
	buf_init(&from->in, 0, true);
	buf_init(&from->out, 0, true);
	channel->on_flush = on_flush;
	leg_move(from, &channel->leg, on_event);
	channel->leg.in.limit = IN_BYTES;
	channel->leg.out.limit = OUT_BYTES;
	channel->leg.out_stays = true;
	heard(channel);
	loop_timer_set(channel->loop, &channel->turn, 0, on_turn); /* what TLS has read already */
}

int channel_open(struct channel *channel, const struct handoff_open *open,
	const struct channel_stream_ops *ops, void *arg, struct channel_stream **ret_stream)
{
	uint32_t id = channel->last_id + 1;
	int r;

	if (!channel_is_up(channel))
		return -EPIPE;
	if (channel->leg.out.len >= CHANNEL_FULL_BYTES || !id)
		return -ENOBUFS;
	r = channel_stream_add(channel, id, ops, arg, ret_stream);
	if (r < 0)
		return r;
	r = handoff_open_write(&channel->leg.out, id, open);
	if (r < 0) {
		channel_stream_forget(*ret_stream, r);
		channel_stream_free(*ret_stream, 0);
		return r;
	}
	channel->last_id = id;
	expect_answer(channel);
	channel_flush_later(channel);
	return 0;
}

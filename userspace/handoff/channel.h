// SPDX-License-Identifier: Apache-2.0
/*
 * One TLS connection between a router's worker and an agent, with many logins on it (handoff.md
 * section 3). Both ends are this: frames are read and written here, streams are told what concerns
 * them, silence is noticed. A stream is used through net/stream.h, like a socket's; it has none.
 *
 * A frame that may not come at this place ends the channel, and with it all its streams.
 */
#ifndef HANDOFF_CHANNEL_H
#define HANDOFF_CHANNEL_H

#include "base/list.h"
#include "handoff/frame.h"
#include "net/leg.h"

#include <stdatomic.h>

#define CHANNEL_BUCKETS 64

struct channel;
struct channel_stream;

/* What is told of a stream, from the loop, never inside a call of its owner's (but for
 * channel_close()). Streams may be freed in any of them. */
struct channel_stream_ops {
	/* Router: the node's connection stands. */
	void (*opened)(
		struct channel_stream *stream, const unsigned char token[HANDOFF_TOKEN_BYTES]);
	/* Router: it does not; nothing follows. refusal: enum handoff_refusal, or 0: the channel
	 * was lost. */
	void (*refused)(struct channel_stream *stream, int refusal);
	/* There is something to read, the end too, or room to write again. */
	void (*event)(struct channel_stream *stream);
	/* Agent: HANDOFF. text is borrowed; 0, or -EPROTO when connection is none. */
	int (*keys)(struct channel_stream *stream, const struct handoff_keys *keys);
};

enum channel_stream_state {
	CHANNEL_STREAM_OPENING, /* OPEN is sent, or has come */
	CHANNEL_STREAM_OPEN,
	CHANNEL_STREAM_HANDED, /* HANDOFF is sent, or has come: no DATA any more */
	CHANNEL_STREAM_OVER,   /* the channel does not know it any more */
};

/* Owned by whoever opened or accepted it, or by the struct stream it was put into. */
struct channel_stream {
	const struct channel_stream_ops *ops;
	void *arg; /* the owner's */
	struct channel *channel;
	struct list_node link; /* channel->buckets[] */
	uint32_t id;
	uint8_t state; /* enum channel_stream_state */
	bool waits;    /* a write found no room */
	/* The other end sends nothing more; OPEN: the agent's, whose node has closed, and it may
	 * still be handed what is left of the session. */
	bool ended;
	int error;     /* ended: what reads say when nothing is left: STREAM_EOF or -errno */
	struct buf in; /* DATA that has not been read */
	uint32_t sent, received; /* bytes of DATA; received: those in `in` too */
	struct buf *kept;        /* agent: what was sent is kept here, if it is set; borrowed */
};

struct channel_ops {
	/* Agent: OPEN. Makes a stream of it with channel_accept(), or answers that it does not. */
	void (*open)(struct channel *channel, uint32_t id, const struct handoff_open *open);
	/* Router: the agent takes no new streams. */
	void (*drain)(struct channel *channel);
	/* It is over: every stream has been told, its leg is closed. why: static text, without a
	 * byte of the peer's. */
	void (*lost)(struct channel *channel, const char *why);
	/* A stream has gone, and none is left. May be closed inside. */
	void (*empty)(struct channel *channel);
};

/* Embedded in its owner. The first block is the owner's to set, then channel_start(). */
struct channel {
	const struct channel_ops *ops;
	struct loop *loop;
	bool is_agent;
	/* Of all its owner's channels: streams that are open, and what an agent has refused, by
	 * enum handoff_refusal. NULL: nobody counts. */
	atomic_uint_fast64_t *open_streams, *refusals;

	struct leg leg; /* its buffers and its stream: TLS that is up */
	struct list_node buckets[CHANNEL_BUCKETS];
	uint32_t streams;       /* known to it */
	uint32_t last_id;       /* of the newest stream */
	bool pinged, some_wait; /* PING is not answered; streams wait for room */
	bool asked;             /* since an OPEN nothing has been heard */
	const char *doomed;     /* why it is lost at the end of the batch; NULL: it is not */
	bool flush_due;
	struct loop_deferred flush;
	void (*on_flush)(struct loop_deferred *deferred);
	void (*free)(struct channel *channel); /* channel_let_go() */
	struct timer silence, turn;
};

/* leg: up and watched, moved to the channel with what it has read; from's buffers are the
 * channel's. */
void channel_start(struct channel *channel, struct leg *from);
/* Ends it without lost(): streams are told, the leg is closed. One that never started or is over is
 * left alone. */
void channel_close(struct channel *channel);
/* One that is over: free_it() is called at the end of the batch, when nothing here knows it any
 * more. */
void channel_let_go(struct channel *channel, void (*free_it)(struct channel *channel));
static inline bool channel_is_up(const struct channel *channel)
{
	return stream_is_open(&channel->leg.stream);
}

/* Router: it has been asked for a stream and said nothing since, to a PING neither. */
static inline bool channel_is_unsure(const struct channel *channel)
{
	return channel->asked && channel->pinged;
}

/* Router: asks for a stream. Returns 0, -ENOMEM, -EPIPE: it is over, or -ENOBUFS: it is full for
 * now, or has had all the streams that there are numbers for and is lost with the last of them. */
MUST_USE int channel_open(struct channel *channel, const struct handoff_open *open,
	const struct channel_stream_ops *ops, void *arg, struct channel_stream **ret_stream);
/* Agent: takes OPEN's stream. Returns 0 or -ENOMEM. */
MUST_USE int channel_accept(struct channel *channel, uint32_t id,
	const struct channel_stream_ops *ops, void *arg, struct channel_stream **ret_stream);
/* Agent: answers to OPEN; refusal: enum handoff_refusal. Of a stream: it is over. */
void channel_refuse(struct channel *channel, uint32_t id, int refusal);
void channel_stream_refuse(struct channel_stream *stream, int refusal);
void channel_opened(struct channel_stream *stream, const unsigned char token[HANDOFF_TOKEN_BYTES]);
/* Agent: the node has closed (error STREAM_EOF) or broken off. Nothing is written after it. */
void channel_stream_end(struct channel_stream *stream, int error);
/* Agent: to the router. */
void channel_drain(struct channel *channel);

/* Makes it the stream's, whatever that was, as one without a descriptor: closing that lets this
 * go. */
void channel_stream_put(struct channel_stream *of, struct stream *stream);
/* NULL if it is none of these. */
struct channel_stream *channel_stream_of(const struct stream *stream);
/* Router: HANDOFF. Nothing is sent on it any more. Returns 0, -ENOBUFS, -ENOMEM, or -EPIPE: it is
 * over. */
MUST_USE int channel_stream_hand(struct channel_stream *stream, const struct handoff_keys *keys);
/* Whether it is open and there is room for that, and for all the DATA that may go before it. */
bool channel_stream_may_hand(const struct channel_stream *stream);
/* Says CLOSE unless it is over or handed, wipes and frees. close: enum handoff_close. NULL:
 * nothing. */
void channel_stream_free(struct channel_stream *stream, int close);

#endif

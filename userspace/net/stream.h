// SPDX-License-Identifier: Apache-2.0
/*
 * A non-blocking byte stream over one socket, plain or encrypted. The protocol steps, the admin
 * server and the store clients read and write through it and do not know which it is.
 * tls/ puts its own operations in place with tls_stream_*(); net/ knows only the table.
 */
#ifndef NET_STREAM_H
#define NET_STREAM_H

#include "base/compiler.h"

#include <stdbool.h>
#include <sys/types.h>

/* Results of stream_read() beside byte counts and -errno. */
enum {
	STREAM_EOF = 0, /* clean end: FIN on a plain stream, close_notify on TLS */
			/* -EAGAIN: nothing now, or enough for one call; stream->want says which
			 * (level-triggered) epoll events to wait for */
			/* -ECONNABORTED: TLS only: FIN without close_notify (truncation) */
			/* -EPROTO: TLS protocol error or failed handshake */
};

struct stream;
struct stream_ops {
	ssize_t (*read)(struct stream *stream, void *data, size_t len);
	ssize_t (*write)(struct stream *stream, const void *data, size_t len);
	/* Ends our direction: close_notify (TLS) and then shutdown(SHUT_WR). 0, -EAGAIN, -errno. */
	int (*shutdown)(struct stream *stream);
	/* shutdown(SHUT_WR) behind all that was written, without close_notify. 0, -EAGAIN,
	 * -errno. */
	int (*cut)(struct stream *stream);
	/* True if a read may return bytes although the socket is not readable. */
	bool (*pending)(const struct stream *stream);
	/* Frees the layer's own state (not fd). */
	void (*close)(struct stream *stream);
};

struct stream {
	const struct stream_ops *ops;
	void *layer; /* the TLS connection; NULL on a plain stream; owned through ops->close */
	int fd;      /* owned */
	uint32_t want : 8; /* EPOLLIN and/or EPOLLOUT: what the last -EAGAIN waits for */
	/* The last read has left nothing in the socket, and whatever comes is a new
	 * (edge-triggered) event. Not every layer says so. */
	uint32_t drained : 1;
	uint32_t work : 23; /* see stream_add_work() */
};

/* The least that a read counts for in its caller's turn: peers choose how small their records
 * are. */
#define STREAM_READ_COST 512
/* A peer that makes one turn cost several times what it may (changes of keys) is not heard for a
 * while, so that it gets no more than a small share of the thread. */
#define STREAM_HEAVY_TURNS 4
#define STREAM_HEAVY_PAUSE_MS 10

/* Takes over fd. */
void stream_init_plain(struct stream *stream, int fd);
/* Frees the layer and closes the descriptor. Zeroed or closed streams are left alone
 * (a zeroed stream has ops NULL). */
void stream_close(struct stream *stream);

static inline bool stream_is_open(const struct stream *stream)
{
	return stream->ops != NULL;
}

static inline bool stream_is_tls(const struct stream *stream)
{
	return stream->layer != NULL;
}

/* > 0 bytes read, STREAM_EOF, or -errno as above. len > 0. */
MUST_USE ssize_t stream_read(struct stream *stream, void *data, size_t len);
/* For the layers: what a read took beside its bytes, as bytes that cost as much. More than 8 MiB
 * in one read is as good as that. */
static inline void stream_add_work(struct stream *stream, size_t bytes)
{
	stream->work = (uint32_t)MIN(stream->work + bytes, (size_t)0x7fffff) & 0x7fffff;
}
/* What the last read, which returned n, counts for in a turn: every loop over reads adds it up and
 * ends at a bound of its own. Where the bound was met with stream_pending(), no event will come. */
static inline size_t stream_read_cost(const struct stream *stream, ssize_t n)
{
	return MAX(n, (ssize_t)STREAM_READ_COST) + stream->work;
}
/* > 0 bytes taken (maybe fewer than len), or -errno as above. A write that returned -EAGAIN is
 * repeated with the same or more bytes at the same content, at any address. */
MUST_USE ssize_t stream_write(struct stream *stream, const void *data, size_t len);
/* May be called again after -EAGAIN; after success it returns 0. */
MUST_USE int stream_shutdown(struct stream *stream);
/* Ends our direction of what is not whole: everything written still arrives, then the peer of a TLS
 * stream sees a truncation (FIN without close_notify, RFC 8446 section 6.1). Results as above. */
MUST_USE int stream_cut(struct stream *stream);
bool stream_pending(const struct stream *stream);

#endif

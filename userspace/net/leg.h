// SPDX-License-Identifier: Apache-2.0
/*
 * One side of a conversation: a stream, its watch, what was read and is not used up, what is to be
 * sent. Whoever talks over a socket (a client before login, a node, an admin request, a store) has
 * one; what the bytes mean is its owner's. The owner's watch callback calls leg_read() and
 * leg_flush() and then watches for leg_events().
 *
 * With TLS a read may have to wait until the socket can be written, and a write until it can be
 * read: so each direction remembers what it waits for.
 *
 * A turn over a peer's input is bounded: reads add what they cost to a number of the caller's, who
 * ends the turn at a bound of its own (see stream_read_cost()).
 */
#ifndef NET_LEG_H
#define NET_LEG_H

#include "base/buf.h"
#include "loop/loop.h"
#include "net/stream.h"

/* Embedded in its owner; zeroed = closed, with buffers that have no limit and are no secret. */
struct leg {
	struct stream stream;
	union {
		struct loop_watch watch;
		struct loop_staged staged; /* its owner may give it a stage: a login's has one */
	};
	struct buf in, out;
	/* epoll events that a blocked read and a blocked write wait for; 0: the usual ones */
	uint32_t read_want, write_want;
	bool dry;       /* the last read took all there was: epoll tells when there is more */
	bool out_stays; /* out keeps its memory when all is sent: the owner writes all the time */
};

/* Limits of the buffers in bytes (0: none); both are secret. Once, before leg_open(). */
void leg_init(struct leg *leg, size_t in_limit, size_t out_limit);
/* Takes over fd as a plain stream and watches it. Returns 0, or -errno: fd stays the caller's. */
MUST_USE int leg_open(
	struct leg *leg, struct loop *loop, int fd, uint32_t epoll_events, loop_watch_fn *fn);
/* Closes the descriptor and frees what the buffers hold; may be opened again. A closed leg is left
 * alone. */
void leg_close(struct leg *leg);
/* The stream and its watch, which fn hears from now on, go to another leg, which is closed before;
 * buffers stay. `from` is closed after it. */
void leg_move(struct leg *from, struct leg *to, loop_watch_fn *fn);

/*
 * Reads once, at most max bytes (> 0), to the end of buf (in, or one of the caller's), and adds to
 * *spent what that cost, if it gave bytes. Returns bytes > 0, STREAM_EOF, -EAGAIN, -ENOBUFS (no
 * room), -ENOMEM, or -errno as stream_read().
 */
MUST_USE ssize_t leg_read(struct leg *leg, struct buf *buf, size_t max, size_t *spent);
/* The same to memory of the caller's. len > 0. */
MUST_USE ssize_t leg_read_bytes(struct leg *leg, void *data, size_t len, size_t *spent);
/* The same to nowhere: some kilobytes are read and wiped. */
MUST_USE ssize_t leg_drop(struct leg *leg, size_t *spent);
/* How long a peer is not heard after a turn that cost so much and should end at limit: mostly 0. */
static inline uint64_t leg_pause_ms(size_t spent, size_t limit)
{
	return spent >= STREAM_HEAVY_TURNS * limit ? STREAM_HEAVY_PAUSE_MS : 0;
}

/* Sends out as far as the socket takes it. Returns 0 (out.len: what is left), or -errno. */
MUST_USE int leg_flush(struct leg *leg);
/* Ends our direction; out is empty. As stream_shutdown(), and -EAGAIN waits as a write does. */
MUST_USE int leg_shutdown(struct leg *leg);

/* What to watch for to read on, to write on. */
uint32_t leg_events(const struct leg *leg, bool read, bool write);
/* Returns 0 or -errno. */
MUST_USE static inline int leg_watch(struct leg *leg, uint32_t epoll_events)
{
	return loop_watch_set(&leg->watch, epoll_events);
}

#endif

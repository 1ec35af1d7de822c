// SPDX-License-Identifier: Apache-2.0
/*
 * What TCP itself knows about the bytes of a socket. Two of these numbers, taken of the two sockets
 * of a direction, say whether everything that arrived on one has been written to the other, which
 * nothing else does while the kernel moves the bytes. And how a connection fares, for an operator.
 */
#ifndef NET_TCPINFO_H
#define NET_TCPINFO_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stdint.h>

struct tcpinfo_source {
	uint64_t received; /* bytes in order, the FIN not counted */
	bool fin;          /* the peer has ended its direction */
	bool closed;       /* no connection any more: reset, or both have ended */
};

/* Bytes that the socket has taken for its peer since it was connected (acknowledged or queued), up
 * to a constant. 0 or -errno. */
MUST_USE int tcpinfo_written(int fd, uint64_t *ret_bytes);
/* The same at one moment, although acknowledgements may be arriving, and with it the bytes that
 * arrived and have been read: what differences start from. ret_read: NULL if it is not asked for;
 * else -EOPNOTSUPP if the socket is not ESTABLISHED. 0 or -errno. */
MUST_USE int tcpinfo_so_far(int fd, uint64_t *ret_read, uint64_t *ret_written);
/* 0 or -errno. */
MUST_USE int tcpinfo_received(int fd, struct tcpinfo_source *ret_source);
/* Bytes queued for the peer and not acknowledged (SIOCOUTQ), or -errno. */
MUST_USE int tcpinfo_queued(int fd);
/* Bytes that the peer has acknowledged since the connection was made, their low 32 bits; 0 if TCP
 * does not say. */
uint32_t tcpinfo_acked(int fd);
/* True while a living connection has bytes that its peer has not acknowledged. */
bool tcpinfo_owes(int fd);

/* What slows a connection's sending down. */
enum tcpinfo_limit {
	TCPINFO_APPLICATION, /* there is little to send */
	TCPINFO_NETWORK,     /* round trips, congestion, loss */
	TCPINFO_PEER,        /* its window: it does not read */
	TCPINFO_BUFFER,      /* the socket's own send buffer */
	TCPINFO_LIMITS
};
const char *tcpinfo_limit_name(enum tcpinfo_limit limit); /* "application" ... */

/* How a connection fares, as the kernel counts since it was made. */
struct tcpinfo_figures {
	uint32_t rtt_us, rttvar_us; /* smoothed; 0: not measured yet */
	uint32_t retransmits;       /* segments, since the start */
	uint32_t cwnd;              /* segments */
	enum tcpinfo_limit limit;
	uint32_t received,
		receive_limit;       /* bytes of memory for what is not read yet, and the most */
	uint32_t queued, send_limit; /* the same for what is not acknowledged yet */
	uint32_t memory;             /* bytes: both, and what the kernel has put aside */
};
/* 0 or -errno. Two system calls. */
MUST_USE int tcpinfo_figures(int fd, struct tcpinfo_figures *ret_figures);

#endif

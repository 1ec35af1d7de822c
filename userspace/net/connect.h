// SPDX-License-Identifier: Apache-2.0
/*
 * From a host's name to a leg on which a conversation can begin:
 *
 *     resolve -> open (each address in turn, each with a limit) -> preamble -> TLS -> up
 *
 * What may differ is asked of the owner: where from and how long for one address, what goes first
 * (a PROXY header), how TLS is put on (this module knows no TLS), what a failure means. A failure
 * ends it; the owner goes on with connect_next() if it wants to try the other addresses.
 * The leg is the owner's, and so is its watch callback, which passes on what it hears
 * (connect_event()) until the leg is up. The time for all of it is the owner's to limit.
 */
#ifndef NET_CONNECT_H
#define NET_CONNECT_H

#include "net/leg.h"
#include "net/resolve.h"

enum connect_phase {
	CONNECT_IDLE,
	CONNECT_RESOLVE,  /* waits for addresses */
	CONNECT_OPEN,     /* for the connect to one of them */
	CONNECT_PREAMBLE, /* until what goes first is sent */
	CONNECT_TLS,      /* the handshake, at once or when the owner asks for it */
	CONNECT_UP,       /* the leg is the owner's */
};

/* How it failed, beside -errno. */
enum {
	CONNECT_SLOW = 1, /* one address had its time */
	CONNECT_OURS,     /* no memory or the like: nothing to do with the peer */
	CONNECT_REFUSED,  /* this and more: what ops->address() returned */
};

struct connect;
struct connect_ops {
	/* An address is about to be tried: where to connect from (left unset: the kernel chooses)
	 * and the time for it (left 0: none of its own). Returns 0, or an outcome for failed(), of
	 * its own from CONNECT_REFUSED on. NULL: any address. */
	int (*address)(struct connect *connect, const struct addr *addr, struct addr *ret_source,
		uint64_t *ret_limit_ms);
	/* Puts into leg->out what goes first. Returns 0 or -errno. NULL: nothing does. */
	int (*preamble)(struct connect *connect);
	/* Puts TLS on the stream, the first time, and drives the handshake. Returns 0 when it is
	 * done, -EAGAIN with stream.want, -errno, or CONNECT_OURS. NULL if there never is TLS. */
	int (*secure)(struct connect *connect);
	/* The leg is up, its watch as it happens to be. */
	void (*up)(struct connect *connect);
	/* phase tells where, the leg is as it was then, closed or not. outcome: -errno (of the
	 * resolver: see resolve_text()) or one of the above. */
	void (*failed)(struct connect *connect, int outcome);
};

/* Embedded in its owner, who may go in up() and failed(). The first block is the owner's to set. */
struct connect {
	const struct connect_ops *ops;
	struct loop *loop;
	struct resolver *resolver;
	struct leg *leg;
	loop_watch_fn *fn; /* of leg->watch */
	bool tls_first;    /* TLS before the first byte of the conversation */
	bool brief;        /* keepalive is the owner's to set, if it lasts */

	enum connect_phase phase;
	struct resolve_query *query;
	struct addr addrs[RESOLVE_MAX_ADDRS];
	size_t addr_count, addr_next;
	struct addr source;
	struct timer timer; /* the limit of one address; or the failure of the first is due */
	int failure;        /* that one; else 0 */
};

/* Each begins anew. What follows comes from the loop, but a failure may come inside. A host whose
 * addresses are known is connected to at once, without another turn of the loop. */
void connect_start(struct connect *connect, const char *host, uint16_t port);
/* addrs: count (1 to RESOLVE_MAX_ADDRS) of them, copied. */
void connect_start_addrs(struct connect *connect, const struct addr *addrs, size_t count);
void connect_start_unix(struct connect *connect, const char *path);
/* Somebody else makes the leg's stream, and says so: up() follows inside. Until then it is as in
 * CONNECT_OPEN, without a descriptor and without limits; failures are the owner's to tell. */
void connect_start_other(struct connect *connect);
void connect_made(struct connect *connect);

static inline bool connect_has_next(const struct connect *connect)
{
	return connect->addr_next < connect->addr_count;
}
/* There is one: closes the leg and tries it. */
void connect_next(struct connect *connect);
/* The address of the last try; NULL when none was tried. */
static inline const struct addr *connect_addr(const struct connect *connect)
{
	return connect->addr_next ? &connect->addrs[connect->addr_next - 1] : NULL;
}
/* TLS on a leg that is up; up() follows, maybe inside, or failed(). */
void connect_secure(struct connect *connect);
/* Something happened on the leg. Not when it is up. */
void connect_event(struct connect *connect, uint32_t epoll_events);
static inline bool connect_is_under_way(const struct connect *connect)
{
	return connect->phase != CONNECT_IDLE && connect->phase != CONNECT_UP;
}
/* Neither up() nor failed() after it. The leg is left alone; the addresses are still there. */
void connect_stop(struct connect *connect);

#endif

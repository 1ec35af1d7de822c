// SPDX-License-Identifier: Apache-2.0
/*
 * Asynchronous name resolution by c-ares on a loop. IP literals are answered without a query, names
 * from a small cache while their TTL lasts ("no such name" for five seconds); those who ask for a
 * name at the same time share a query. One resolver per loop.
 */
#ifndef NET_RESOLVE_H
#define NET_RESOLVE_H

#include "base/list.h"
#include "loop/loop.h"
#include "net/addr.h"

#define RESOLVE_MAX_ADDRS 16

struct resolver;
MUST_USE int resolver_new(struct loop *loop, struct resolver **ret_resolver);
/* Asks these servers ("IP:port,...") instead of the host's: for tests. Returns 0 or -EINVAL. */
MUST_USE int resolver_use_servers(struct resolver *resolver, const char *servers);
/* Running queries end without their callback. */
void resolver_free(struct resolver *resolver);

struct resolve_query;
/* status 0 with count >= 1 addresses in the resolver's order, or -ENOENT (no such name, or no
 * address of it), -EHOSTUNREACH (no server answers as it should), -ETIMEDOUT, -EMFILE, -ENFILE,
 * -ENOBUFS, -ENOMEM (ours). Called from the loop, never inside resolve_start(). The query is
 * gone afterwards. */
typedef void resolve_done_fn(void *arg, int status, const struct addr *addrs, size_t count);

/* A status in words. */
const char *resolve_text(int status);

MUST_USE int resolve_start(struct resolver *resolver, const char *host, uint16_t port,
	resolve_done_fn *done, void *arg, struct resolve_query **ret_query);
/* True if it is an address or a name whose addresses are known now: ret_count of them, in order. */
bool resolve_known(struct resolver *resolver, const char *host, uint16_t port,
	struct addr ret_addrs[RESOLVE_MAX_ADDRS], size_t *ret_count);
/* No callback after this. NULL is fine. */
void resolve_cancel(struct resolve_query *query);

/* SES-60 and CFG-40.25 ask which addresses are the host's own: kept up to date with libnl.
 * One per process, on the control loop; any thread may ask. */
struct netlink_addrs;
MUST_USE int netlink_addrs_new(struct loop *loop, struct netlink_addrs **ret_addrs);
void netlink_addrs_free(struct netlink_addrs *addrs);
/* True for any address of the host (loopback ranges included). */
bool netlink_is_local(struct netlink_addrs *addrs, const struct addr *addr);
/* Each address, port 0; fn may not ask for more of them. Any thread. */
void netlink_addrs_each(
	struct netlink_addrs *addrs, void (*fn)(void *arg, const struct addr *addr), void *arg);

/* Who is told, on the control loop, that the host's addresses are others than before (GRD-30). */
struct netlink_addrs_observer {
	struct list_node link;
	void (*changed)(struct netlink_addrs_observer *observer);
};
/* The observer is the caller's until netlink_addrs_unobserve() or netlink_addrs_free(). */
void netlink_addrs_observe(struct netlink_addrs *addrs, struct netlink_addrs_observer *observer);
void netlink_addrs_unobserve(struct netlink_addrs_observer *observer); /* any number of times */

#endif

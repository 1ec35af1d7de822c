// SPDX-License-Identifier: Apache-2.0
/*
 * The host's own addresses, by libnl (the only user of it): a dump at the start, then the
 * kernel's notifications. Where netlink is refused (a sandbox), one getifaddrs() at the start.
 * Readers on any thread take a read lock; the control loop alone writes.
 */
#include "net/resolve.h"

#include <errno.h>
#include <ifaddrs.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MESSAGES_PER_TURN 64

struct netlink_addrs {
	struct loop *loop;
	struct loop_watch watch;
	struct nl_sock *dump, *events; /* NULL without netlink */
	pthread_rwlock_t lock;
	struct addr *list;
	size_t count, cap;
};

static int add_addr(struct netlink_addrs *addrs, const struct addr *addr)
{
	struct addr *list;

	if (addrs->count == addrs->cap) {
		size_t cap = addrs->cap ? addrs->cap * 2 : 16;

		list = realloc(addrs->list, cap * sizeof(*list));
		if (!list)
			return -ENOMEM;
		addrs->list = list;
		addrs->cap = cap;
	}
	addrs->list[addrs->count++] = *addr;
	return 0;
}

static void on_cached(struct nl_object *object, void *arg)
{
	struct nl_addr *local = rtnl_addr_get_local((struct rtnl_addr *)object);
	struct sockaddr_storage storage = { 0 };
	socklen_t len = sizeof(storage);
	struct addr addr;

	if (local && nl_addr_fill_sockaddr(local, (struct sockaddr *)&storage, &len) == 0 &&
		addr_from_sockaddr(&storage, &addr) == 0 && add_addr(arg, &addr) < 0)
		return; /* out of memory: the list is short, the next event tries again */
}

/* Replaces the list by a fresh dump. */
static int read_netlink(struct netlink_addrs *addrs)
{
	struct nl_cache *cache;

	if (rtnl_addr_alloc_cache(addrs->dump, &cache) < 0)
		return -EIO;
	pthread_rwlock_wrlock(&addrs->lock);
	addrs->count = 0;
	nl_cache_foreach(cache, on_cached, addrs);
	pthread_rwlock_unlock(&addrs->lock);
	nl_cache_free(cache);
	return 0;
}

static void read_getifaddrs(struct netlink_addrs *addrs)
{
	struct ifaddrs *first, *entry;
	struct sockaddr_storage storage;
	struct addr addr;

	if (getifaddrs(&first) < 0)
		return;
	for (entry = first; entry; entry = entry->ifa_next) {
		if (!entry->ifa_addr ||
			(entry->ifa_addr->sa_family != AF_INET &&
				entry->ifa_addr->sa_family != AF_INET6))
			continue;
		memset(&storage, 0, sizeof(storage));
		memcpy(&storage, entry->ifa_addr,
			entry->ifa_addr->sa_family == AF_INET ? sizeof(struct sockaddr_in)
							      : sizeof(struct sockaddr_in6));
		if (addr_from_sockaddr(&storage, &addr) == 0 && add_addr(addrs, &addr) < 0)
			break;
	}
	freeifaddrs(first);
}

static int on_event(struct nl_msg *msg, void *arg)
{
	(void)msg;
	*(bool *)arg = true;
	return NL_OK;
}

static void on_readable(struct loop_watch *watch, uint32_t epoll_events)
{
	struct netlink_addrs *addrs = container_of(watch, struct netlink_addrs, watch);

	(void)epoll_events;
	/* What changed does not matter, also not that messages were lost: dump again. */
	for (int i = 0; i < MESSAGES_PER_TURN && nl_recvmsgs_default(addrs->events) == 0; i++)
		;
	(void)!read_netlink(addrs);
}

static struct nl_sock *open_events(bool *changed)
{
	struct nl_sock *sock = nl_socket_alloc();

	if (!sock)
		return NULL;
	nl_socket_disable_seq_check(sock);
	nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_CUSTOM, on_event, changed);
	if (nl_connect(sock, NETLINK_ROUTE) < 0 || nl_socket_set_nonblocking(sock) < 0 ||
		nl_socket_add_memberships(
			sock, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_NONE) < 0) {
		nl_socket_free(sock);
		return NULL;
	}
	return sock;
}

static int open_netlink(struct netlink_addrs *addrs)
{
	static bool changed; /* events only wake us; the dump tells what is there */

	addrs->events = open_events(&changed);
	addrs->dump = nl_socket_alloc();
	if (!addrs->events || !addrs->dump || nl_connect(addrs->dump, NETLINK_ROUTE) < 0 ||
		read_netlink(addrs) < 0)
		return -EIO;
	return loop_watch_add(
		addrs->loop, &addrs->watch, nl_socket_get_fd(addrs->events), EPOLLIN, on_readable);
}

static void close_netlink(struct netlink_addrs *addrs)
{
	loop_watch_del(&addrs->watch);
	if (addrs->events)
		nl_socket_free(addrs->events);
	if (addrs->dump)
		nl_socket_free(addrs->dump);
	addrs->events = addrs->dump = NULL;
}

int netlink_addrs_new(struct loop *loop, struct netlink_addrs **ret_addrs)
{
	struct netlink_addrs *addrs = calloc(1, sizeof(*addrs));

	if (!addrs)
		return -ENOMEM;
	addrs->loop = loop;
	pthread_rwlock_init(&addrs->lock, NULL);
	if (open_netlink(addrs) < 0) {
		close_netlink(addrs);
		read_getifaddrs(addrs);
	}
	*ret_addrs = addrs;
	return 0;
}

void netlink_addrs_free(struct netlink_addrs *addrs)
{
	if (!addrs)
		return;
	close_netlink(addrs);
	pthread_rwlock_destroy(&addrs->lock);
	free(addrs->list);
	free(addrs);
}

bool netlink_is_local(struct netlink_addrs *addrs, const struct addr *addr)
{
	bool found = addr_is_loopback(addr);

	pthread_rwlock_rdlock(&addrs->lock);
	for (size_t i = 0; i < addrs->count && !found; i++)
		found = addr_eq_ip(&addrs->list[i], addr);
	pthread_rwlock_unlock(&addrs->lock);
	return found;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The host's own addresses: a dump at the start, and again whenever the kernel tells of a change.
 * Where netlink is refused (a sandbox), one getifaddrs() at the start. Readers on any thread take a
 * read lock; the control loop alone writes.
 *
 * Events only say that there is something to read: routers' advertisements renew the lifetime of
 * IPv6 addresses every few seconds, so observers hear only of lists that differ.
 */
#include "net/resolve.h"
#include "net/rtevents.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct addr_list {
	struct addr *addrs; /* owned */
	size_t count, room;
	bool cut; /* out of memory */
};

struct netlink_addrs {
	struct rtevents rtevents;
	bool asking; /* a dump is being read into next; else messages are events */
	struct addr_list list, next;
	pthread_rwlock_t lock; /* of list */
	struct list_node observers;
};

static void add_addr(struct addr_list *list, const struct addr *addr)
{
	if (list->count == list->room) {
		size_t room = list->room ? list->room * 2 : 16;
		struct addr *addrs = reallocarray(list->addrs, room, sizeof(*addrs));

		if (!addrs) {
			list->cut = true;
			return;
		}
		list->addrs = addrs;
		list->room = room;
	}
	list->addrs[list->count++] = *addr;
}

/* In the kernel's order, which stays. */
static bool same(const struct addr_list *a, const struct addr_list *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++) {
		if (!addr_eq_ip(&a->addrs[i], &b->addrs[i]))
			return false;
	}
	return true;
}

/* ---- netlink ---- */

static int from_attr(int family, struct nlattr *attr, struct addr *ret_addr)
{
	struct sockaddr_storage storage = { .ss_family = (sa_family_t)family };

	if (family == AF_INET && nla_len(attr) == sizeof(struct in_addr))
		memcpy(&((struct sockaddr_in *)&storage)->sin_addr, nla_data(attr),
			sizeof(struct in_addr));
	else if (family == AF_INET6 && nla_len(attr) == sizeof(struct in6_addr))
		memcpy(&((struct sockaddr_in6 *)&storage)->sin6_addr, nla_data(attr),
			sizeof(struct in6_addr));
	else
		return -EAFNOSUPPORT;
	return addr_from_sockaddr(&storage, ret_addr);
}

static void on_message(struct rtevents *rtevents, struct nlmsghdr *header)
{
	struct netlink_addrs *addrs = container_of(rtevents, struct netlink_addrs, rtevents);
	struct nlattr *attrs[IFA_MAX + 1], *local;
	struct ifaddrmsg *msg = nlmsg_data(header);
	struct addr addr;

	if (!addrs->asking || header->nlmsg_type != RTM_NEWADDR ||
		nlmsg_parse(header, sizeof(*msg), attrs, IFA_MAX, NULL) < 0)
		return;
	/* of a point-to-point link IFA_ADDRESS is the other end's */
	local = attrs[IFA_LOCAL] ? attrs[IFA_LOCAL] : attrs[IFA_ADDRESS];
	if (local && from_attr(msg->ifa_family, local, &addr) == 0)
		add_addr(&addrs->next, &addr);
}

/* Returns 0 with next filled, or -errno. */
static int read_next(struct netlink_addrs *addrs)
{
	int r;

	addrs->next.count = 0;
	addrs->next.cut = false;
	addrs->asking = true;
	r = rtevents_dump(&addrs->rtevents, RTM_GETADDR);
	addrs->asking = false;
	return r == 0 && addrs->next.cut ? -ENOMEM : r;
}

static void take_next(struct netlink_addrs *addrs)
{
	struct addr_list before;

	pthread_rwlock_wrlock(&addrs->lock);
	before = addrs->list;
	addrs->list = addrs->next;
	pthread_rwlock_unlock(&addrs->lock);
	addrs->next = before;
}

static void on_done(struct rtevents *rtevents, bool lost)
{
	struct netlink_addrs *addrs = container_of(rtevents, struct netlink_addrs, rtevents);

	(void)lost; /* it is read anew in any case */
	if (read_next(addrs) < 0 || same(&addrs->list, &addrs->next))
		return;
	take_next(addrs);
	list_for_each_safe (node, next, &addrs->observers) {
		struct netlink_addrs_observer *observer =
			list_entry(node, struct netlink_addrs_observer, link);

		observer->changed(observer);
	}
}

static const struct rtevents_ops ops = { .message = on_message, .done = on_done };

static int open_netlink(struct netlink_addrs *addrs, struct loop *loop)
{
	int r = rtevents_open(
		&addrs->rtevents, loop, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, &ops);

	if (r == 0)
		r = read_next(addrs);
	if (r == 0)
		take_next(addrs);
	else
		rtevents_close(&addrs->rtevents);
	return r;
}

/* ---- without it ---- */

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
		if (addr_from_sockaddr(&storage, &addr) == 0)
			add_addr(&addrs->list, &addr);
	}
	freeifaddrs(first);
}

/* ---- the object ---- */

int netlink_addrs_new(struct loop *loop, struct netlink_addrs **ret_addrs)
{
	struct netlink_addrs *addrs = calloc(1, sizeof(*addrs));

	if (!addrs)
		return -ENOMEM;
	pthread_rwlock_init(&addrs->lock, NULL);
	list_init(&addrs->observers);
	if (open_netlink(addrs, loop) < 0)
		read_getifaddrs(addrs);
	*ret_addrs = addrs;
	return 0;
}

void netlink_addrs_free(struct netlink_addrs *addrs)
{
	if (!addrs)
		return;
	rtevents_close(&addrs->rtevents);
	while (!list_empty(&addrs->observers))
		list_del(addrs->observers.next);
	pthread_rwlock_destroy(&addrs->lock);
	free(addrs->list.addrs);
	free(addrs->next.addrs);
	free(addrs);
}

bool netlink_is_local(struct netlink_addrs *addrs, const struct addr *addr)
{
	bool found = addr_is_loopback(addr);

	pthread_rwlock_rdlock(&addrs->lock);
	for (size_t i = 0; i < addrs->list.count && !found; i++)
		found = addr_eq_ip(&addrs->list.addrs[i], addr);
	pthread_rwlock_unlock(&addrs->lock);
	return found;
}

void netlink_addrs_each(
	struct netlink_addrs *addrs, void (*fn)(void *arg, const struct addr *addr), void *arg)
{
	pthread_rwlock_rdlock(&addrs->lock);
	for (size_t i = 0; i < addrs->list.count; i++)
		fn(arg, &addrs->list.addrs[i]);
	pthread_rwlock_unlock(&addrs->lock);
}

void netlink_addrs_observe(struct netlink_addrs *addrs, struct netlink_addrs_observer *observer)
{
	list_add_tail(&addrs->observers, &observer->link);
}

void netlink_addrs_unobserve(struct netlink_addrs_observer *observer)
{
	list_del(&observer->link);
}

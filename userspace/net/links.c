// SPDX-License-Identifier: Apache-2.0
/*
 * A table of devices that follows the kernel's messages one by one. Where some were lost, a dump is
 * laid over the table: what it does not name is gone.
 *
 * Messages of other families than AF_UNSPEC are about a device's part in something: RTM_DELLINK of
 * AF_BRIDGE says that it has left its bridge, not that it is gone.
 */
#include "net/links.h"
#include "net/rtevents.h"

#include <errno.h>
#include <linux/if_arp.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <stdlib.h>
#include <string.h>

enum event { CAME, CHANGED, GONE };

struct entry {
	struct link_info info;
	bool seen; /* in the dump that is being read */
};

struct links {
	struct rtevents rtevents;
	struct list_node observers;
	struct entry *entries; /* owned, in no order */
	size_t count, room;
	bool stale; /* not all could be read or kept: the next message reads all anew */
};

bool link_is_physical(const struct link_info *link)
{
	return !link->kind[0] && link->ethernet && !link->loopback;
}

/* ---- the table ---- */

static struct entry *find(const struct links *links, int index)
{
	for (size_t i = 0; i < links->count; i++) {
		if (links->entries[i].info.index == index)
			return &links->entries[i];
	}
	return NULL;
}

static void tell(struct links *links, enum event event, const struct link_info *now,
	const struct link_info *before)
{
	list_for_each_safe (node, next, &links->observers) {
		struct link_observer *observer = list_entry(node, struct link_observer, link);
		link_observer_fn *const fns[] = { [CAME] = observer->came,
			[CHANGED] = observer->changed,
			[GONE] = observer->gone };

		if (fns[event])
			fns[event](observer, now, before);
	}
}

static void add(struct links *links, const struct link_info *info)
{
	if (links->count == links->room) {
		size_t room = links->room ? 2 * links->room : 16;
		struct entry *entries = reallocarray(links->entries, room, sizeof(*entries));

		if (!entries) {
			links->stale = true;
			return;
		}
		links->entries = entries;
		links->room = room;
	}
	links->entries[links->count++] = (struct entry){ .info = *info, .seen = true };
	tell(links, CAME, info, NULL);
}

static bool same(const struct link_info *a, const struct link_info *b)
{
	return a->master == b->master && a->mtu == b->mtu && a->up == b->up &&
		a->loopback == b->loopback && a->ethernet == b->ethernet &&
		strcmp(a->name, b->name) == 0 && strcmp(a->kind, b->kind) == 0;
}

static void set(struct links *links, const struct link_info *info)
{
	struct entry *entry = find(links, info->index);
	struct link_info before;

	if (!entry) {
		add(links, info);
		return;
	}
	entry->seen = true;
	before = entry->info;
	if (same(&before, info))
		return;
	entry->info = *info;
	tell(links, CHANGED, info, &before);
}

static void take_out(struct links *links, struct entry *entry)
{
	struct link_info info = entry->info;

	*entry = links->entries[--links->count];
	tell(links, GONE, &info, NULL);
}

/* ---- messages ---- */

static void read_kind(struct nlattr *attr, struct link_info *info)
{
	struct nlattr *parts[IFLA_INFO_MAX + 1];

	if (nla_parse_nested(parts, IFLA_INFO_MAX, attr, NULL) == 0 && parts[IFLA_INFO_KIND])
		nla_strlcpy(info->kind, parts[IFLA_INFO_KIND], sizeof(info->kind));
}

/* Returns whether it is about a device itself. */
static bool parse(struct nlmsghdr *header, struct link_info *info)
{
	struct ifinfomsg *msg = nlmsg_data(header);
	struct nlattr *attrs[IFLA_MAX + 1];

	memset(info, 0, sizeof(*info));
	if (nlmsg_parse(header, sizeof(*msg), attrs, IFLA_MAX, NULL) < 0 ||
		msg->ifi_family != AF_UNSPEC || msg->ifi_index <= 0)
		return false;
	info->index = msg->ifi_index;
	info->up = msg->ifi_flags & IFF_UP;
	info->loopback = msg->ifi_flags & IFF_LOOPBACK;
	info->ethernet = msg->ifi_type == ARPHRD_ETHER;
	if (attrs[IFLA_IFNAME])
		nla_strlcpy(info->name, attrs[IFLA_IFNAME], sizeof(info->name));
	if (attrs[IFLA_MASTER] && nla_len(attrs[IFLA_MASTER]) >= (int)sizeof(uint32_t))
		info->master = (int)nla_get_u32(attrs[IFLA_MASTER]);
	if (attrs[IFLA_MTU] && nla_len(attrs[IFLA_MTU]) >= (int)sizeof(uint32_t))
		info->mtu = nla_get_u32(attrs[IFLA_MTU]);
	if (attrs[IFLA_LINKINFO])
		read_kind(attrs[IFLA_LINKINFO], info);
	return true;
}

static void on_message(struct rtevents *rtevents, struct nlmsghdr *header)
{
	struct links *links = container_of(rtevents, struct links, rtevents);
	struct link_info info;
	struct entry *entry;

	if ((header->nlmsg_type != RTM_NEWLINK && header->nlmsg_type != RTM_DELLINK) ||
		!parse(header, &info))
		return;
	entry = find(links, info.index);
	if (header->nlmsg_type == RTM_NEWLINK)
		set(links, &info);
	else if (entry)
		take_out(links, entry);
}

static int read_all(struct links *links)
{
	for (size_t i = 0; i < links->count; i++)
		links->entries[i].seen = false;
	links->stale = false;
	if (rtevents_dump(&links->rtevents, RTM_GETLINK) < 0) {
		links->stale = true;
		return -EIO;
	}
	for (size_t i = links->count; i > 0; i--) {
		if (!links->entries[i - 1].seen)
			take_out(links, &links->entries[i - 1]);
	}
	return links->stale ? -ENOMEM : 0;
}

static void on_done(struct rtevents *rtevents, bool lost)
{
	struct links *links = container_of(rtevents, struct links, rtevents);

	if (lost || links->stale)
		(void)!read_all(links);
}

static const struct rtevents_ops ops = { .message = on_message, .done = on_done };

/* ---- the object ---- */

int links_new(struct loop *loop, struct links **ret_links)
{
	struct links *links = calloc(1, sizeof(*links));
	int r;

	if (!links)
		return -ENOMEM;
	list_init(&links->observers);
	r = rtevents_open(&links->rtevents, loop, RTNLGRP_LINK, 0, &ops);
	if (r == 0)
		r = read_all(links);
	if (r < 0)
		links_free(links);
	else
		*ret_links = links;
	return r;
}

void links_free(struct links *links)
{
	if (!links)
		return;
	rtevents_close(&links->rtevents);
	while (!list_empty(&links->observers))
		list_del(links->observers.next);
	free(links->entries);
	free(links);
}

void links_observe(struct links *links, struct link_observer *observer)
{
	list_add_tail(&links->observers, &observer->link);
	for (size_t i = 0; observer->came && i < links->count; i++)
		observer->came(observer, &links->entries[i].info, NULL);
}

void links_unobserve(struct link_observer *observer)
{
	list_del(&observer->link);
}

const struct link_info *links_find(const struct links *links, const char *name)
{
	for (size_t i = 0; i < links->count; i++) {
		if (strcmp(links->entries[i].info.name, name) == 0)
			return &links->entries[i].info;
	}
	return NULL;
}

const struct link_info *links_at(const struct links *links, int index)
{
	const struct entry *entry = find(links, index);

	return entry ? &entry->info : NULL;
}

size_t links_count(const struct links *links)
{
	return links->count;
}

uint64_t links_losses(const struct links *links)
{
	return links->rtevents.losses;
}

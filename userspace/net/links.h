// SPDX-License-Identifier: Apache-2.0
/*
 * The network devices of this namespace, kept up to date on a loop (GRD-30). Needs no rights, so it
 * goes on after they have been dropped. All of it belongs to the loop's thread.
 */
#ifndef NET_LINKS_H
#define NET_LINKS_H

#include "base/list.h"
#include "loop/loop.h"

#include <net/if.h>

#define LINK_KIND_SIZE 16

struct link_info {
	int index;                 /* > 0 */
	int master;                /* index of the bridge, bond ... that has it; 0: none */
	unsigned mtu;              /* bytes */
	char name[IF_NAMESIZE];    /* may change */
	char kind[LINK_KIND_SIZE]; /* "veth", "vlan", "bridge" ...; "": a device of a driver */
	bool up;                   /* as configured (IFF_UP), whatever the cable says */
	bool loopback;
	bool ethernet; /* what is in its packets begins with an Ethernet header */
};

struct links;

/* now: what it is; of one that is gone, what it was last. before: NULL unless it changed, which is
 * in any of the fields. Nothing of links may be called but links_find() and its like. */
struct link_observer;
typedef void link_observer_fn(struct link_observer *observer, const struct link_info *now,
	const struct link_info *before);
struct link_observer {
	struct list_node link;
	link_observer_fn *came, *changed, *gone;
};

/* Reads what is there. Returns 0, -ENOMEM, or -EIO where netlink is not to be had. */
MUST_USE int links_new(struct loop *loop, struct links **ret_links);
/* NULL is fine. Observers are not told. */
void links_free(struct links *links);
/* Tells of every device that is there, as come, and from then on of what happens. The observer is
 * the caller's until links_unobserve(), or until links_free(). */
void links_observe(struct links *links, struct link_observer *observer);
void links_unobserve(struct link_observer *observer); /* any number of times */
/* NULL if there is none. Valid until the loop goes on. */
const struct link_info *links_find(const struct links *links, const char *name);
const struct link_info *links_at(const struct links *links, int index);
size_t links_count(const struct links *links);
/* How often messages were lost and everything was read anew. */
uint64_t links_losses(const struct links *links);
/* A network card, or what a hypervisor passes for one; none that the kernel makes up itself. */
bool link_is_physical(const struct link_info *link);

#endif

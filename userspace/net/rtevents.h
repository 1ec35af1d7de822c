// SPDX-License-Identifier: Apache-2.0
/*
 * What the kernel tells of links and addresses (rtnetlink multicast), on a loop. Needs no rights.
 * A listener that is too slow loses messages (ENOBUFS): then whatever is left in the queue is
 * thrown away and the owner is told to read everything anew.
 */
#ifndef NET_RTEVENTS_H
#define NET_RTEVENTS_H

#include "loop/loop.h"

struct nl_sock;
struct nlmsghdr;

/* Embedded in its owner; zeroed = closed. */
struct rtevents {
	struct loop_watch watch;
	struct nl_sock *events, *questions;
	bool lost; /* messages were; cleared when the queue has been emptied */
	uint64_t losses;
	const struct rtevents_ops *ops;
};

struct rtevents_ops {
	/* One message, of the kernel's own accord or as part of an answer to rtevents_dump(). */
	void (*message)(struct rtevents *rtevents, struct nlmsghdr *header);
	/* A batch is over. lost: read everything anew. May not close. */
	void (*done)(struct rtevents *rtevents, bool lost);
};

/* Joins a group (RTNLGRP_...), and another unless it is 0. Returns 0, or -EIO where netlink is not
 * to be had (a sandbox). What has happened before is not told: dump afterwards. */
MUST_USE int rtevents_open(struct rtevents *rtevents, struct loop *loop, int group, int other_group,
	const struct rtevents_ops *ops);
void rtevents_close(struct rtevents *rtevents);
/* Asks for everything of a type (RTM_GETLINK, RTM_GETADDR) and waits for it, which is the kernel's
 * own time; each goes to message(). Returns 0 or -EIO; what came before the failure was told. */
MUST_USE int rtevents_dump(struct rtevents *rtevents, int type);

#endif

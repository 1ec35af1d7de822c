// SPDX-License-Identifier: Apache-2.0
/*
 * See rtevents.h. Events and answers have a socket each, so that an answer is never mixed with
 * events that are older: what was queued before a dump is read after it. That is harmless as long
 * as none is lost, since the last event of a link or address is at least as new as the dump.
 */
#include "net/rtevents.h"

#include <errno.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <netlink/route/rtnl.h>
#include <sys/socket.h>

#define MESSAGES_PER_TURN 256
#define DUMP_ATTEMPTS 5 /* the kernel's tables may change while it lists them */

static int on_event(struct nl_msg *msg, void *arg)
{
	struct rtevents *rtevents = arg;

	if (!rtevents->lost)
		rtevents->ops->message(rtevents, nlmsg_hdr(msg));
	return NL_OK;
}

static int on_answer(struct nl_msg *msg, void *arg)
{
	struct rtevents *rtevents = arg;

	rtevents->ops->message(rtevents, nlmsg_hdr(msg));
	return NL_OK;
}

static void on_readable(struct loop_watch *watch, uint32_t epoll_events)
{
	struct rtevents *rtevents = container_of(watch, struct rtevents, watch);
	bool lost = false;

	(void)epoll_events;
	for (int i = 0; i < MESSAGES_PER_TURN; i++) {
		int r = nl_recvmsgs_default(rtevents->events);

		if (r == -NLE_AGAIN) {
			lost = rtevents->lost;
			rtevents->lost = false;
			break;
		}
		if (r < 0) { /* most of all -NLE_NOMEM, which is ENOBUFS */
			rtevents->losses += !rtevents->lost;
			rtevents->lost = true;
		}
	}
	if (!rtevents->lost)
		rtevents->ops->done(rtevents, lost);
}

static struct nl_sock *open_socket(struct rtevents *rtevents, nl_recvmsg_msg_cb_t callback)
{
	struct nl_sock *sock = nl_socket_alloc();

	if (!sock)
		return NULL;
	nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_CUSTOM, callback, rtevents);
	if (nl_connect(sock, NETLINK_ROUTE) < 0) {
		nl_socket_free(sock);
		return NULL;
	}
	return sock;
}

static int join(struct nl_sock *sock, int group, int other_group)
{
	nl_socket_disable_seq_check(sock);
	if (nl_socket_set_nonblocking(sock) < 0 || nl_socket_add_membership(sock, group) < 0)
		return -EIO;
	return other_group && nl_socket_add_membership(sock, other_group) < 0 ? -EIO : 0;
}

int rtevents_open(struct rtevents *rtevents, struct loop *loop, int group, int other_group,
	const struct rtevents_ops *ops)
{
	int r = -EIO;

	*rtevents = (struct rtevents){ .ops = ops };
	rtevents->events = open_socket(rtevents, on_event);
	rtevents->questions = open_socket(rtevents, on_answer);
	if (rtevents->events && rtevents->questions)
		r = join(rtevents->events, group, other_group);
	if (r == 0)
		r = loop_watch_add(loop, &rtevents->watch, nl_socket_get_fd(rtevents->events),
			EPOLLIN, on_readable);
	if (r < 0)
		rtevents_close(rtevents);
	return r;
}

void rtevents_close(struct rtevents *rtevents)
{
	loop_watch_del(&rtevents->watch);
	if (rtevents->events)
		nl_socket_free(rtevents->events);
	if (rtevents->questions)
		nl_socket_free(rtevents->questions);
	rtevents->events = rtevents->questions = NULL;
}

int rtevents_dump(struct rtevents *rtevents, int type)
{
	int r = -NLE_DUMP_INTR;

	for (int i = 0; r == -NLE_DUMP_INTR && i < DUMP_ATTEMPTS; i++) {
		r = nl_rtgen_request(rtevents->questions, type, AF_UNSPEC, NLM_F_DUMP);
		if (r >= 0)
			r = nl_recvmsgs_default(rtevents->questions);
	}
	return r < 0 ? -EIO : 0;
}

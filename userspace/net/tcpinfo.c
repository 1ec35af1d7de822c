// SPDX-License-Identifier: Apache-2.0
/* See tcpinfo.h. Where the sum is asked for again until it fits, TCP_INFO is read before the
 * queue's length: what is acknowledged in between is then counted too little, never twice. What
 * later sums are measured from must be exact. */
#include "net/tcpinfo.h"
#include "net/sock.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <string.h>
#include <sys/ioctl.h>

/* linux/tcp.h and netinet/tcp.h exclude each other; the states are from the kernel's
 * tcp_states.h. */
enum {
	STATE_ESTABLISHED = 1,
	STATE_TIME_WAIT = 6,
	STATE_CLOSE,
	STATE_CLOSE_WAIT,
	STATE_LAST_ACK,
	STATE_CLOSING = 11
};

static int get_info(int fd, struct tcp_info *info)
{
	socklen_t len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) < 0 ? -errno : 0;
}

int tcpinfo_queued(int fd)
{
	int queued = 0;

	return ioctl(fd, SIOCOUTQ, &queued) < 0 ? -errno : queued;
}

int tcpinfo_written(int fd, uint64_t *ret_bytes)
{
	struct tcp_info info;
	int r = get_info(fd, &info), queued;

	if (r < 0)
		return r;
	queued = tcpinfo_queued(fd);
	if (queued < 0)
		return queued;
	*ret_bytes = info.tcpi_bytes_acked + (uint64_t)queued;
	return 0;
}

/* Acknowledgements move bytes from one of the two to the other: none may come in between. */
int tcpinfo_written_so_far(int fd, uint64_t *ret_bytes)
{
	for (int i = 0; i < 1000; i++) {
		struct tcp_info before = { 0 }, after = { 0 };
		int queued, r = get_info(fd, &before);

		queued = tcpinfo_queued(fd);
		if (r == 0)
			r = get_info(fd, &after);
		if (r < 0 || queued < 0)
			return r < 0 ? r : queued;
		if (before.tcpi_bytes_acked == after.tcpi_bytes_acked) {
			*ret_bytes = after.tcpi_bytes_acked + (uint64_t)queued;
			return 0;
		}
	}
	return -EOPNOTSUPP;
}

int tcpinfo_received(int fd, struct tcpinfo_source *ret_source)
{
	struct tcp_info info;
	int r = get_info(fd, &info);

	if (r < 0)
		return r;
	ret_source->closed = info.tcpi_state == STATE_CLOSE;
	ret_source->fin = info.tcpi_state == STATE_CLOSE_WAIT ||
		info.tcpi_state == STATE_LAST_ACK || info.tcpi_state == STATE_CLOSING ||
		info.tcpi_state == STATE_TIME_WAIT;
	ret_source->received = info.tcpi_bytes_received - ret_source->fin;
	return 0;
}

int tcpinfo_read_so_far(int fd, uint64_t *ret_bytes)
{
	for (int i = 0; i < 1000; i++) {
		struct tcp_info before = { 0 }, after = { 0 };
		int unread, r = get_info(fd, &before);

		unread = sock_unread(fd);
		if (r == 0)
			r = get_info(fd, &after);
		if (r < 0 || unread < 0)
			return r < 0 ? r : unread;
		if (after.tcpi_state != STATE_ESTABLISHED)
			return -EOPNOTSUPP;
		if (before.tcpi_bytes_received == after.tcpi_bytes_received) {
			*ret_bytes = after.tcpi_bytes_received - (uint64_t)unread;
			return 0;
		}
	}
	return -EOPNOTSUPP;
}

bool tcpinfo_owes(int fd)
{
	struct tcpinfo_source source;

	return tcpinfo_received(fd, &source) == 0 && !source.closed && tcpinfo_queued(fd) > 0;
}

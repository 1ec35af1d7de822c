// SPDX-License-Identifier: Apache-2.0
/* See tcpinfo.h. Where the sum is asked for again until it fits, TCP_INFO is read before the
 * queue's length: what is acknowledged in between is then counted too little, never twice. What
 * later sums are measured from must be exact. */
#include "net/tcpinfo.h"
#include "net/sock.h"

#include <assert.h>
#include <errno.h>
#include <linux/sock_diag.h>
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

/* What a socket has taken and given, as it is between two looks at TCP that say the same. */
static int look(int fd, bool reads, uint64_t *ret_read, uint64_t *ret_written)
{
	struct tcp_info before = { 0 }, after = { 0 };
	int r = get_info(fd, &before), unread = 0, queued;

	if (reads)
		unread = sock_unread(fd);
	queued = tcpinfo_queued(fd);
	if (r == 0)
		r = get_info(fd, &after);
	if (r < 0 || unread < 0 || queued < 0)
		return r < 0 ? r : unread < 0 ? unread : queued;
	if (reads && after.tcpi_state != STATE_ESTABLISHED)
		return -EOPNOTSUPP;
	*ret_read = after.tcpi_bytes_received - (uint64_t)unread;
	*ret_written = after.tcpi_bytes_acked + (uint64_t)queued;
	return before.tcpi_bytes_acked != after.tcpi_bytes_acked ||
		(reads && before.tcpi_bytes_received != after.tcpi_bytes_received);
}

/* Acknowledgements move bytes from one figure to another, as arrivals do: none may come in
 * between. */
int tcpinfo_so_far(int fd, uint64_t *ret_read, uint64_t *ret_written)
{
	uint64_t unasked;
	int r = 1;

	for (int i = 0; r > 0 && i < 1000; i++)
		r = look(fd, ret_read, ret_read ? ret_read : &unasked, ret_written);
	return r > 0 ? -EOPNOTSUPP : r;
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

uint32_t tcpinfo_acked(int fd)
{
	struct tcp_info info;

	return get_info(fd, &info) < 0 ? 0 : (uint32_t)info.tcpi_bytes_acked;
}

bool tcpinfo_owes(int fd)
{
	struct tcpinfo_source source;

	return tcpinfo_received(fd, &source) == 0 && !source.closed && tcpinfo_queued(fd) > 0;
}

/* ---- figures ---- */

static const char *const limit_names[] = {
	[TCPINFO_APPLICATION] = "application",
	[TCPINFO_NETWORK] = "network",
	[TCPINFO_PEER] = "peer",
	[TCPINFO_BUFFER] = "buffer",
};
static_assert(ARRAY_SIZE(limit_names) == TCPINFO_LIMITS, "a name each");

const char *tcpinfo_limit_name(enum tcpinfo_limit limit)
{
	return limit_names[limit];
}

/* Of the time in which something was on its way. */
static enum tcpinfo_limit limit_of(const struct tcp_info *info)
{
	uint64_t most = info->tcpi_busy_time / 2;

	if (!info->tcpi_busy_time)
		return TCPINFO_APPLICATION;
	if (info->tcpi_rwnd_limited > most)
		return TCPINFO_PEER;
	if (info->tcpi_sndbuf_limited > most)
		return TCPINFO_BUFFER;
	return info->tcpi_delivery_rate_app_limited ? TCPINFO_APPLICATION : TCPINFO_NETWORK;
}

int tcpinfo_figures(int fd, struct tcpinfo_figures *ret_figures)
{
	uint32_t memory[SK_MEMINFO_VARS] = { 0 };
	socklen_t len = sizeof(memory);
	struct tcp_info info;
	int r = get_info(fd, &info);

	if (r < 0)
		return r;
	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, memory, &len) < 0)
		return -errno;
	*ret_figures = (struct tcpinfo_figures){
		.rtt_us = info.tcpi_rtt,
		.rttvar_us = info.tcpi_rttvar,
		.retransmits = info.tcpi_total_retrans,
		.cwnd = info.tcpi_snd_cwnd,
		.limit = limit_of(&info),
		.received = memory[SK_MEMINFO_RMEM_ALLOC],
		.receive_limit = memory[SK_MEMINFO_RCVBUF],
		.queued = memory[SK_MEMINFO_WMEM_QUEUED],
		.send_limit = memory[SK_MEMINFO_SNDBUF],
		.memory = memory[SK_MEMINFO_RMEM_ALLOC] + memory[SK_MEMINFO_WMEM_QUEUED] +
			memory[SK_MEMINFO_FWD_ALLOC] + memory[SK_MEMINFO_OPTMEM] +
			memory[SK_MEMINFO_BACKLOG],
	};
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/* Two connected TCP sockets on loopback, which do not block. */
#ifndef TESTS_UNIT_TCP_PAIR_H
#define TESTS_UNIT_TCP_PAIR_H

#include "unit.h"

#include "net/sock.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* at: an address whose port the kernel chooses. *ret_addr: with that port. */
static inline int tcp_pair_listen(const char *at, struct addr *ret_addr)
{
	int listener;

	assert_int_equal(addr_parse(view_str(at), ret_addr), 0);
	listener = sock_listen(ret_addr, 0, 1);
	assert_true(listener >= 0);
	assert_int_equal(sock_local(listener, ret_addr), 0);
	return listener;
}

/* Who is connecting. Closes the listener. */
static inline int tcp_pair_accept(int listener)
{
	struct addr peer;
	int fd;

	do {
		fd = sock_accept(listener, &peer);
	} while (fd == -EAGAIN);
	assert_true(fd >= 0);
	close(listener);
	return fd;
}

/* [0] has connected, [1] was accepted. */
static inline void tcp_pair_at(const char *at, int fds[2])
{
	struct addr addr;
	int listener = tcp_pair_listen(at, &addr);

	fds[0] = sock_connect_start(&addr, NULL);
	assert_true(fds[0] >= 0);
	fds[1] = tcp_pair_accept(listener);
}

static inline void tcp_pair(int fds[2])
{
	tcp_pair_at("127.0.0.1:0", fds);
}

/* Of both. */
static inline void tcp_pair_buffers(const int fds[2], int bytes)
{
	for (int i = 0; i < 2; i++) {
		setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
		setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	}
}

#endif

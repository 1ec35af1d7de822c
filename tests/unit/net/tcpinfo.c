// SPDX-License-Identifier: Apache-2.0
/* How a connection fares, over the loopback. The counts of bytes are tested by the relay. */
#include "unit.h"

#include "base/fd.h"
#include "net/sock.h"
#include "net/tcpinfo.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static struct fixture {
	int client, server;
} f;

static int setup(void **state)
{
	struct addr at, peer;
	struct pollfd poll_fd = { .events = POLLOUT };
	int listener, small = 4096;

	(void)state;
	assert_int_equal(addr_parse(VIEW_LIT("127.0.0.1:0"), &at), 0);
	listener = sock_listen(&at, 0, 1);
	assert_true(listener >= 0);
	assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	assert_int_equal(sock_local(listener, &at), 0);
	f.client = sock_connect_start(&at, NULL);
	assert_true(f.client >= 0);
	poll_fd.fd = f.client;
	assert_int_equal(poll(&poll_fd, 1, 1000), 1);
	f.server = sock_accept(listener, &peer);
	assert_true(f.server >= 0);
	close(listener);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	fd_closep(&f.client);
	fd_closep(&f.server);
	return 0;
}

/* Until the socket takes no more. */
static void fill(int fd)
{
	char data[4096] = { 0 };

	for (int quiet = 0; quiet < 5;) {
		quiet = send(fd, data, sizeof(data), MSG_DONTWAIT) < 0 ? quiet + 1 : 0;
		if (quiet)
			usleep(10000);
	}
}

static void test_GRD_31_a_quiet_connection(void **state)
{
	struct tcpinfo_figures figures;

	(void)state;
	assert_int_equal(tcpinfo_figures(f.client, &figures), 0);
	assert_true(figures.rtt_us > 0); /* of the handshake */
	assert_int_equal(figures.retransmits, 0);
	assert_true(figures.cwnd > 0);
	assert_int_equal(figures.limit, TCPINFO_APPLICATION);
	assert_string_equal(tcpinfo_limit_name(figures.limit), "application");
	assert_int_equal(figures.received, 0);
	assert_int_equal(figures.queued, 0);
	assert_true(figures.receive_limit > 0);
	assert_true(figures.send_limit > 0);
}

static void test_GRD_31_a_peer_that_does_not_read(void **state)
{
	struct tcpinfo_figures sender, reader;

	(void)state;
	fill(f.client);
	assert_int_equal(tcpinfo_figures(f.client, &sender), 0);
	assert_int_equal(tcpinfo_figures(f.server, &reader), 0);
	assert_true(sender.queued > 0);
	assert_true(sender.memory >= sender.queued);
	assert_int_equal(sender.received, 0);
	assert_true(reader.received > 0);
	assert_true(reader.memory >= reader.received);
	assert_int_equal(reader.queued, 0);
	assert_int_equal(sender.limit, TCPINFO_PEER);
	assert_string_equal(tcpinfo_limit_name(sender.limit), "peer");
	assert_int_equal(reader.limit, TCPINFO_APPLICATION);
}

static void test_no_socket(void **state)
{
	struct tcpinfo_figures figures;

	(void)state;
	assert_int_equal(tcpinfo_figures(-1, &figures), -EBADF);
	assert_int_equal(tcpinfo_acked(-1), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_GRD_31_a_quiet_connection, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_GRD_31_a_peer_that_does_not_read, setup, teardown),
		cmocka_unit_test(test_no_socket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

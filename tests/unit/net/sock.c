// SPDX-License-Identifier: Apache-2.0
/* Listening sockets: what is tried only, and how one comes to its end. */
#include "unit.h"

#include "base/fd.h"
#include "net/sock.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#define WAITING 5
#define RETRY_MS 5000 /* the kernel sends the first packet again after a second */

static int start_connect(const struct addr *at)
{
	int fd = sock_connect_start(at, NULL);

	assert_true(fd >= 0);
	return fd;
}

static bool is_connected(int fd, int wait_ms)
{
	struct pollfd poll_fd = { .fd = fd, .events = POLLOUT };

	return poll(&poll_fd, 1, wait_ms) == 1 && sock_error(fd) == 0;
}

/* The client is told that it is connected a little before the listener is. */
static int accept_one(int listener)
{
	struct pollfd poll_fd = { .fd = listener, .events = POLLIN };
	struct addr peer;
	int fd;

	assert_int_equal(poll(&poll_fd, 1, 1000), 1);
	fd = sock_accept(listener, &peer);
	assert_true(fd >= 0);
	return fd;
}

static int listen_on(const char *text, unsigned flags, struct addr *ret_at)
{
	int fd;

	assert_int_equal(addr_parse(view_str(text), ret_at), 0);
	fd = sock_listen(ret_at, flags, 100);
	assert_true(fd >= 0);
	assert_int_equal(sock_local(fd, ret_at), 0);
	return fd;
}

static void test_GRD_32_stopped_listener_takes_nobody_more(void **state)
{
	struct addr at, peer;
	int listener = listen_on("127.0.0.1:0", SOCK_REUSE_PORT, &at), waiting[WAITING], late,
	    error = 0;
	struct pollfd poll_fd = { .events = POLLOUT };
	socklen_t len = sizeof(error);

	(void)state;
	for (int i = 0; i < WAITING; i++) {
		waiting[i] = start_connect(&at);
		assert_true(is_connected(waiting[i], 1000));
	}
	sock_stop_listening(listener);
	late = start_connect(&at);
	assert_false(is_connected(late, 100));
	for (int i = 0; i < WAITING; i++) {
		int fd = accept_one(listener);

		assert_int_equal(write(fd, "x", 1), 1);
		assert_true(is_connected(waiting[i], 0));
		close(fd);
		close(waiting[i]);
	}
	assert_int_equal(sock_accept(listener, &peer), -EAGAIN);
	close(listener);
	/* It was never connected: refused when it tries again, not reset. */
	poll_fd.fd = late;
	assert_int_equal(poll(&poll_fd, 1, RETRY_MS), 1);
	assert_int_equal(getsockopt(late, SOL_SOCKET, SO_ERROR, &error, &len), 0);
	assert_int_equal(error, ECONNREFUSED);
	close(late);
}

/* Whoever was dropped and tries again finds who listens there next. */
static void test_GRD_32_the_next_listener_is_found(void **state)
{
	struct addr at;
	int first = listen_on("127.0.0.1:0", SOCK_REUSE_PORT, &at), next, late, fd;

	(void)state;
	sock_stop_listening(first);
	late = start_connect(&at);
	assert_false(is_connected(late, 50));
	next = sock_listen(&at, SOCK_REUSE_PORT, 100);
	assert_true(next >= 0);
	close(first);
	assert_true(is_connected(late, RETRY_MS));
	fd = accept_one(next);
	close(fd);
	close(next);
	close(late);
}

static void test_GRD_32_what_is_tried_takes_nobody(void **state)
{
	struct addr wide, at;
	int listener = listen_on("0.0.0.0:0", SOCK_REUSE_PORT, &wide), tried, client, fd;

	(void)state;
	assert_int_equal(addr_parse(VIEW_LIT("127.0.0.1:0"), &at), 0);
	addr_set_port(&at, addr_port(&wide));
	tried = sock_listen(&at, SOCK_REUSE_PORT | SOCK_BIND_ONLY, 100);
	assert_true(tried >= 0);
	client = start_connect(&at);
	assert_true(is_connected(client, 1000));
	fd = accept_one(listener); /* not in the queue of the narrower one */
	close(fd);
	close(client);
	close(tried);
	/* what is taken is found all the same */
	assert_int_equal(sock_listen(&at, SOCK_BIND_ONLY, 100), -EADDRINUSE);
	close(listener);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_GRD_32_stopped_listener_takes_nobody_more),
		cmocka_unit_test(test_GRD_32_the_next_listener_is_found),
		cmocka_unit_test(test_GRD_32_what_is_tried_takes_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The watchdog: bytes that reached the source before the program saw it, and a kick that does
 * nothing, leave a direction that does not move (design: "bytes queued before insertion stay stuck
 * otherwise"). It must be noticed, taken over without loss, counted, and go on in user space. Two
 * calls are replaced at link time to bring it about.
 */
#include "unit.h"

#include "base/clock.h"
#include "relay/probe.h"
#include "relay/relay.h"
#include "unit/tcp_pair.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

static struct relay_kernel kernel;
static int far[2]; /* ends of client and node that are ours */
static bool break_arming;

int __real_bpfctl_source_add(struct bpfctl *bpfctl, __u64 cookie, int fd);
int __wrap_bpfctl_source_add(struct bpfctl *bpfctl, __u64 cookie, int fd);
ssize_t __real_recv(int fd, void *data, size_t len, int flags);
ssize_t __wrap_recv(int fd, void *data, size_t len, int flags);

/* The client's bytes arrive between the last look at the queue and the insertion. */
int __wrap_bpfctl_source_add(struct bpfctl *bpfctl, __u64 cookie, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct addr peer, ours;
	socklen_t len = sizeof(peer);

	if (!break_arming)
		return __real_bpfctl_source_add(bpfctl, cookie, fd);
	assert_int_equal(sock_local(far[0], &ours), 0);
	assert_int_equal(getpeername(fd, &peer.sa, &len), 0);
	if (addr_port(&peer) == addr_port(&ours)) {
		assert_int_equal(send(far[0], "stuck", 5, 0), 5);
		assert_int_equal(poll(&p, 1, 5000), 1);
	}
	return __real_bpfctl_source_add(bpfctl, cookie, fd);
}

ssize_t __wrap_recv(int fd, void *data, size_t len, int flags)
{
	if (break_arming && flags & MSG_PEEK) {
		errno = EAGAIN;
		return -1;
	}
	return __real_recv(fd, data, len, flags);
}

static void on_done(struct relay *relay, void *arg, enum relay_end end)
{
	(void)relay;
	(void)end;
	*(bool *)arg = true;
}

/* Runs the loop until the node has got n bytes, at most ms. Returns how many it got. */
static size_t node_gets(struct loop *loop, char *data, size_t n, uint64_t ms)
{
	uint64_t end = clock_mono_ms() + ms;
	size_t got = 0;

	while (got < n && clock_mono_ms() < end) {
		ssize_t r;

		assert_int_equal(loop_run_once(loop, 10), 0);
		r = __real_recv(far[1], data + got, n - got, MSG_DONTWAIT);
		got += r > 0 ? (size_t)r : 0;
	}
	return got;
}

static void test_stuck_bytes_are_taken_over(void **state)
{
	struct relay_engine engine;
	struct relay_params params = {
		.engine = &engine,
		.settings = { .mode = RELAY_MODE_SOCKMAP,
			.backlog_limit = 65536,
			.stall_ms = 2000 },
		.protocol = "test",
		.session = 1,
		.idle_ms = 60000,
		.owed_ms = 500,
		.done = on_done,
	};
	struct stream legs[2];
	struct buf early[2] = { { 0 }, { 0 } };
	struct relay *relay;
	struct loop loop;
	bool done = false;
	char data[16];
	int fds[2];

	(void)state;
	params.arg = &done;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(relay_engine_init(&engine, &loop, &kernel, 0), 0);
	for (int leg = 0; leg < 2; leg++) {
		tcp_pair(fds);
		far[leg] = fds[0];
		stream_init_plain(&legs[leg], fds[1]);
	}
	break_arming = true;
	assert_int_equal(relay_start(&params, legs, early, &relay), 0);
	assert_int_equal(relay_path_of(relay, RELAY_UP), RELAY_PATH_SOCKMAP);
	break_arming = false;
	/* It really is stuck: nothing moves for most of the limit. */
	assert_int_equal(node_gets(&loop, data, 5, 1000), 0);
	assert_int_equal(atomic_load(&kernel.stalls), 0);
	/* ... and then does, and the direction lives on in user space; the other one in the
	 * kernel. */
	assert_int_equal(node_gets(&loop, data, 5, 10000), 5);
	assert_memory_equal(data, "stuck", 5);
	assert_int_equal(atomic_load(&kernel.stalls), 1);
	assert_int_equal(relay_path_of(relay, RELAY_UP), RELAY_PATH_COPY);
	assert_int_equal(relay_path_of(relay, RELAY_DOWN), RELAY_PATH_SOCKMAP);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(send(far[0], "more", 4, 0), 4);
		assert_int_equal(node_gets(&loop, data, 4, 5000), 4);
		assert_memory_equal(data, "more", 4);
	}
	assert_int_equal(relay_bytes(relay, RELAY_UP), 5 + 20 * 4);
	close(far[0]);
	assert_int_equal(poll(&(struct pollfd){ .fd = far[1], .events = POLLIN }, 1, 0), 0);
	for (uint64_t end = clock_mono_ms() + 5000; !done && clock_mono_ms() < end;) {
		assert_int_equal(loop_run_once(&loop, 10), 0);
		if (__real_recv(far[1], data, 1, MSG_DONTWAIT) == 0)
			shutdown(far[1], SHUT_WR);
	}
	assert_true(done);
	relay_free(relay);
	relay_engine_fini(&engine);
	loop_fini(&loop);
	close(far[1]);
}

static int load(void **state)
{
	struct bpfctl_params params = { .workers = 1, .max_flows = 64 };
	static char error[BPFCTL_ERROR_SIZE];
	static struct relay_probe probe;

	(void)state;
	if (bpfctl_load(&params, &kernel.bpfctl, error) < 0) {
		print_message("no sockmap: %s\n", error);
		return -1;
	}
	relay_probe(&probe, &kernel, error);
	return kernel.sockmap ? 0 : -1;
}

static int unload(void **state)
{
	(void)state;
	bpfctl_free(kernel.bpfctl);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_stuck_bytes_are_taken_over) };

	return cmocka_run_group_tests(tests, load, unload);
}

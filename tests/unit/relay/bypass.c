// SPDX-License-Identifier: Apache-2.0
/*
 * A node on this host that writes to the client's socket itself, step by step: what arrives without
 * a turn of the loop, what waits for one, and in which order. The path is tried here also where the
 * start's probe refuses the kernel: it does for what the node's own program would notice.
 */
#include "unit.h"

#include "base/clock.h"
#include "net/sock.h"
#include "relay/probe.h"
#include "unit/tcp_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define BLOCK 20000

static struct relay_kernel kernel;
static struct relay_probe probe;
static bool refused; /* by the probe */

struct fixture {
	struct loop loop;
	struct relay_engine engine;
	struct relay *relay;
	int client, node; /* the far ends */
	int near_client;  /* the relay's */
	uint64_t cookie;
	size_t sent, got; /* down */
	bool done;
	enum relay_end end;
};

static void on_done(struct relay *relay, void *arg, enum relay_end end)
{
	struct fixture *f = arg;

	(void)relay;
	f->done = true;
	f->end = end;
}

static void make_pair(const char *at, int fds[2])
{
	tcp_pair_at(at, fds);
	tcp_pair_buffers(fds, 65536);
}

/* The node accepts, as nodes do. */
static void setup_at(struct fixture *f, const char *at, const char *early, bool occupied)
{
	struct relay_params params = {
		.engine = &f->engine,
		.settings = { .mode = RELAY_MODE_AUTO,
			.backlog_limit = 65536,
			.stall_ms = 2000,
			.same_host = true },
		.protocol = "test",
		.session = 1,
		.idle_ms = 60000,
		.owed_ms = 2000,
		.done = on_done,
		.arg = f,
	};
	struct buf buffers[2] = { { 0 }, { 0 } };
	struct stream legs[2];
	int fds[2];

	memset(f, 0, sizeof(*f));
	assert_int_equal(loop_init(&f->loop), 0);
	assert_int_equal(relay_engine_init(&f->engine, &f->loop, &kernel, 0), 0);
	make_pair(at, fds);
	f->client = fds[0];
	f->near_client = fds[1];
	stream_init_plain(&legs[RELAY_CLIENT], fds[1]);
	make_pair(at, fds);
	f->node = fds[1];
	f->cookie = bpfctl_cookie(fds[0]);
	stream_init_plain(&legs[RELAY_NODE], fds[0]);
	if (occupied)
		assert_int_equal(bpfctl_bypass_occupy(kernel.bypass, f->cookie, fds[0]), 0);
	assert_int_equal(buf_append_str(&buffers[RELAY_NODE], early), 0);
	assert_int_equal(relay_start(&params, legs, buffers, &f->relay), 0);
	assert_int_equal(relay_path_of(f->relay, RELAY_UP), RELAY_PATH_SOCKMAP);
}

static void setup(struct fixture *f)
{
	setup_at(f, "127.0.0.1:0", "", false);
	assert_int_equal(relay_path_of(f->relay, RELAY_DOWN), RELAY_PATH_BYPASS);
}

static void teardown(struct fixture *f)
{
	relay_free(f->relay);
	relay_engine_fini(&f->engine);
	if (f->client >= 0)
		close(f->client);
	if (f->node >= 0)
		close(f->node);
	loop_fini(&f->loop);
}

static char pattern(size_t at)
{
	return (char)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

/* What the node's socket takes of so much. */
static ssize_t node_sends(struct fixture *f, size_t len)
{
	static char data[BLOCK];
	ssize_t n;

	for (size_t i = 0; i < len; i++)
		data[i] = pattern(f->sent + i);
	n = send(f->node, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0)
		f->sent += (size_t)n;
	return n < 0 ? -errno : n;
}

/* Everything that is there for the client, compared; without a turn of the loop. Returns whether
 * the stream has ended. */
static bool client_reads(struct fixture *f)
{
	static char data[BLOCK];
	ssize_t n;

	while ((n = recv(f->client, data, sizeof(data), MSG_DONTWAIT)) > 0) {
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(data[i], pattern(f->got + (size_t)i));
		f->got += (size_t)n;
	}
	return n == 0;
}

static void turn(struct fixture *f, int count)
{
	for (int i = 0; i < count; i++)
		assert_int_equal(loop_run_once(&f->loop, 1), 0);
}

/* Turns until the client has everything, or its end. */
static void client_gets_all(struct fixture *f)
{
	uint64_t end = clock_mono_ms() + 10000;

	while (!client_reads(f) && f->got < f->sent && clock_mono_ms() < end)
		turn(f, 1);
	assert_int_equal(f->got, f->sent);
}

static void run_until_done(struct fixture *f)
{
	uint64_t end = clock_mono_ms() + 10000;

	while (!f->done && clock_mono_ms() < end)
		turn(f, 1);
	assert_true(f->done);
}

static struct hm_flow row_of(struct fixture *f)
{
	struct hm_flow row = { 0 };

	assert_int_equal(bpfctl_flow_get(kernel.bpfctl, f->cookie, &row), 0);
	return row;
}

/* ---- bytes ---- */

/* While the loop does not turn. */
static void small_messages_at(const char *at)
{
	struct fixture f;
	struct hm_flow row;

	setup_at(&f, at, "", false);
	assert_int_equal(relay_path_of(f.relay, RELAY_DOWN), RELAY_PATH_BYPASS);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(node_sends(&f, 300), 300);
		for (int wait = 0; f.got < f.sent && wait < 1000; wait++) {
			client_reads(&f);
			usleep(100);
		}
		assert_int_equal(f.got, f.sent);
	}
	row = row_of(&f);
	assert_int_equal(row.path, HM_BYPASS);
	assert_int_equal(row.state, HM_REDIRECTING);
	assert_int_equal(row.redirected, 30000);
	assert_int_equal(row.packets, 100);
	assert_int_equal(row.passed, 0);
	teardown(&f);
}

static void test_GRD_20_small_messages_need_no_turn(void **state)
{
	(void)state;
	small_messages_at("127.0.0.1:0");
}

static void test_GRD_21_the_node_is_found_on_ipv6(void **state)
{
	(void)state;
	if (!sock_has_family(AF_INET6))
		skip_because("no IPv6 here");
	small_messages_at("[::1]:0");
}

static void test_GRD_21_what_was_read_before_goes_first(void **state)
{
	struct fixture f;
	char data[16];

	(void)state;
	setup_at(&f, "127.0.0.1:0", "early", false);
	assert_int_equal(relay_path_of(f.relay, RELAY_DOWN), RELAY_PATH_BYPASS);
	assert_int_equal(send(f.node, " late", 5, 0), 5);
	for (int wait = 0; recv(f.client, data, 10, MSG_PEEK | MSG_DONTWAIT) < 10 && wait < 1000;
		wait++)
		usleep(1000);
	assert_int_equal(recv(f.client, data, sizeof(data), MSG_DONTWAIT), 10);
	assert_memory_equal(data, "early late", 10);
	relay_stop(f.relay, false);
	assert_int_equal(relay_bytes(f.relay, RELAY_DOWN), 10);
	teardown(&f);
}

static void test_GRD_22_nothing_overtakes_what_was_passed(void **state)
{
	struct fixture f;
	struct hm_flow row;
	ssize_t n;

	(void)state;
	setup(&f);
	do { /* no turn: what is passed stays where it is */
		n = node_sends(&f, BLOCK);
	} while (n > 0);
	assert_int_equal(n, -EAGAIN);
	row = row_of(&f);
	assert_true(row.redirected > 0 && row.passed > 0);
	assert_int_equal(row.demotions, 1);
	assert_int_equal(row.reason, HM_BACKLOG);
	/* The client has room again, but what the node writes now is behind what was passed. */
	client_reads(&f);
	assert_true(f.got < f.sent);
	for (int wait = 0; wait < 1000 && node_sends(&f, 1) != 1; wait++) {
		turn(&f, 1);
		client_reads(&f);
	}
	client_gets_all(&f);
	turn(&f, 3);
	/* ... and now that all of it has been relayed, it writes there itself. */
	row = row_of(&f);
	assert_int_equal(node_sends(&f, 100), 100);
	assert_int_equal(row_of(&f).redirected, row.redirected + 100);
	assert_int_equal(row_of(&f).passed, row.passed);
	client_gets_all(&f);
	relay_stop(f.relay, false);
	assert_int_equal(relay_bytes(f.relay, RELAY_DOWN), f.sent);
	teardown(&f);
}

/* A node that is told of room finds some, whatever it is that makes the client's socket full. */
static void test_GRD_22_a_limit_of_unsent_bytes_is_obeyed(void **state)
{
	struct fixture f;
	int lowat = 4096, large = 2 << 20, spins = 0;
	size_t all = 3u << 20;
	uint64_t end = clock_mono_ms() + 20000;

	(void)state;
	setup(&f);
	assert_int_equal(
		setsockopt(f.near_client, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &lowat, sizeof(lowat)),
		0);
	assert_int_equal(
		setsockopt(f.near_client, SOL_SOCKET, SO_SNDBUF, &large, sizeof(large)), 0);
	while ((f.sent < all || f.got < f.sent) && clock_mono_ms() < end) {
		struct pollfd p = { .fd = f.node, .events = POLLOUT };

		while (f.sent < all && poll(&p, 1, 0) == 1 && spins < 100)
			spins += node_sends(&f, BLOCK) == -EAGAIN;
		turn(&f, 1);
		client_reads(&f);
	}
	assert_int_equal(f.got, f.sent);
	assert_true(f.sent >= all && row_of(&f).redirected > 0 && row_of(&f).passed > 0);
	assert_in_range(spins, 0, 50);
	teardown(&f);
}

/* ---- ends ---- */

static void test_GRD_23_a_node_that_writes_and_goes(void **state)
{
	static const size_t amounts[] = { 0, 1, 3000, BLOCK, 40 * BLOCK };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(amounts); i++) {
		struct fixture f;
		uint64_t end = clock_mono_ms() + 10000;

		setup(&f);
		while (f.sent < amounts[i] && clock_mono_ms() < end) {
			if (node_sends(&f, MIN((size_t)BLOCK, amounts[i] - f.sent)) < 0)
				turn(&f, 1);
			if (f.sent > 20 * BLOCK)
				client_reads(&f);
		}
		close(f.node);
		f.node = -1;
		while (!client_reads(&f) && clock_mono_ms() < end)
			turn(&f, 1);
		assert_int_equal(f.got, amounts[i]);
		close(f.client);
		f.client = -1;
		run_until_done(&f);
		assert_int_equal(f.end, RELAY_END_NODE_EOF);
		assert_int_equal(relay_bytes(f.relay, RELAY_DOWN), amounts[i]);
		teardown(&f);
	}
}

/* The node's write takes the error of the client's socket with it. */
static void test_GRD_23_a_reset_is_told_by_the_state_of_tcp(void **state)
{
	struct fixture f;
	struct pollfd p;

	(void)state;
	setup(&f);
	assert_int_equal(node_sends(&f, 100), 100);
	sock_abort_on_close(f.client);
	close(f.client);
	f.client = -1;
	p = (struct pollfd){ .fd = f.near_client, .events = POLLIN };
	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_true(p.revents & POLLHUP);
	assert_true(node_sends(&f, 100) < 0);
	assert_int_equal(sock_error(f.near_client), 0);
	close(f.node); /* an end that looks as if both had agreed */
	f.node = -1;
	run_until_done(&f);
	assert_int_equal(f.end, RELAY_END_CLIENT_ERROR);
	teardown(&f);
}

static void test_GRD_23_a_node_that_resets(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	assert_int_equal(node_sends(&f, 100), 100);
	sock_abort_on_close(f.node);
	close(f.node);
	f.node = -1;
	run_until_done(&f);
	assert_int_equal(f.end, RELAY_END_NODE_ERROR);
	client_reads(&f);
	assert_int_equal(f.got, 100);
	teardown(&f);
}

static void test_GRD_23_the_client_ends_first(void **state)
{
	struct fixture f;
	uint64_t end = clock_mono_ms() + 5000;
	char data[16];

	(void)state;
	setup(&f);
	assert_int_equal(send(f.client, "bye", 3, 0), 3);
	assert_int_equal(shutdown(f.client, SHUT_WR), 0);
	while (recv(f.node, data, sizeof(data), MSG_DONTWAIT) != 0 && clock_mono_ms() < end)
		turn(&f, 1);
	assert_int_equal(node_sends(&f, 500), 500); /* still without us */
	close(f.node);
	f.node = -1;
	run_until_done(&f);
	client_reads(&f);
	assert_int_equal(f.got, 500);
	assert_int_equal(f.end, RELAY_END_CLIENT_EOF);
	assert_int_equal(relay_bytes(f.relay, RELAY_UP), 3);
	assert_int_equal(relay_bytes(f.relay, RELAY_DOWN), 500);
	teardown(&f);
}

/* ---- the probe ---- */

static void test_GRD_23_a_taken_socket_is_left_alone(void **state)
{
	struct fixture f;

	(void)state;
	setup_at(&f, "127.0.0.1:0", "", true);
	assert_int_equal(relay_path_of(f.relay, RELAY_DOWN), RELAY_PATH_SOCKMAP);
	assert_int_equal(node_sends(&f, 3000), 3000);
	client_gets_all(&f);
	assert_int_equal(row_of(&f).path, HM_SOCKMAP);
	assert_int_equal(row_of(&f).redirected, 3000);
	teardown(&f);
}

/* Whose far end is not there as an established socket stays with the splice program. */
static void test_GRD_20_only_an_established_peer_here_is_taken(void **state)
{
	int client[2], node[2];
	uint64_t cookie;

	(void)state;
	tcp_pair(client);
	tcp_pair(node);
	cookie = bpfctl_cookie(node[0]);
	/* without a target there is nowhere to write to */
	assert_int_equal(bpfctl_bypass_add(kernel.bypass, cookie, node[0]), -EINVAL);
	assert_int_equal(bpfctl_target_add(kernel.bpfctl, cookie, client[1]), 0);
	assert_int_equal(bpfctl_bypass_add(kernel.bypass, cookie, node[0]), 0);
	bpfctl_bypass_remove(kernel.bypass, cookie);
	assert_int_equal(shutdown(node[1], SHUT_WR), 0);
	assert_int_equal(
		bpfctl_bypass_add(kernel.bypass, cookie, node[0]), BPFCTL_BYPASS_ELSEWHERE);
	bpfctl_sockets_remove(kernel.bpfctl, cookie);
	for (int i = 0; i < 2; i++) {
		close(client[i]);
		close(node[i]);
	}
}

/* A process in another network namespace, joined by a veth pair, that accepts one connection.
 * *ret_addr: where. It ends with us. */
static void node_elsewhere(struct addr *ret_addr)
{
	int to_node[2], from_node[2], listener;
	char c, command[256];
	struct addr ignored;
	pid_t pid;

	assert_int_equal(addr_parse(VIEW_LIT("10.99.0.2:1143"), ret_addr), 0);
	assert_int_equal(pipe(to_node) | pipe(from_node), 0);
	pid = fork();
	if (pid == 0) {
		if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || unshare(CLONE_NEWNET) < 0 ||
			write(from_node[1], "x", 1) != 1 || read(to_node[0], &c, 1) != 1 ||
			system("ip addr add 10.99.0.2/24 dev hmb1 && ip link set hmb1 up") != 0)
			_exit(1);
		listener = sock_listen(ret_addr, 0, 1);
		if (listener < 0 || write(from_node[1], "x", 1) != 1)
			_exit(1);
		while (sock_accept(listener, &ignored) < 0)
			usleep(1000);
		pause();
		_exit(1);
	}
	close(from_node[1]);
	snprintf(command, sizeof(command),
		"ip link add hmb0 type veth peer name hmb1 netns %d && "
		"ip addr add 10.99.0.1/24 dev hmb0 && ip link set hmb0 up",
		(int)pid);
	if (read(from_node[0], &c, 1) != 1 || system(command) != 0 ||
		write(to_node[1], "x", 1) != 1 || read(from_node[0], &c, 1) != 1)
		_exit(77);
}

static void in_another_namespace(void)
{
	struct addr addr;
	int client[2], node;
	struct pollfd p;
	uint64_t cookie;

	node_elsewhere(&addr);
	tcp_pair(client);
	node = sock_connect_start(&addr, NULL);
	p = (struct pollfd){ .fd = node, .events = POLLOUT };
	cookie = bpfctl_cookie(node);
	if (poll(&p, 1, 5000) != 1 || sock_error(node) < 0 ||
		bpfctl_target_add(kernel.bpfctl, cookie, client[1]) < 0)
		_exit(1);
	_exit(bpfctl_bypass_add(kernel.bypass, cookie, node) != BPFCTL_BYPASS_ELSEWHERE);
}

static void test_GRD_20_another_network_namespace_is_elsewhere(void **state)
{
	int status = -1;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) { /* the router's is one of its own, too, so that nothing stays */
		if (unshare(CLONE_NEWNET) < 0 || system("ip link set lo up") != 0)
			_exit(77);
		in_another_namespace();
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip_because("no network namespace, or no ip(8) that works there");
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
}

/* The probe says of FIONREAD what is true here, and refuses for it. */
static void test_GRD_23_fionread_decides(void **state)
{
	int unread = -1, r;
	struct fixture f;
	struct pollfd p;

	(void)state;
	setup(&f);
	assert_int_equal(send(f.client, "12345", 5, 0), 5);
	p = (struct pollfd){ .fd = f.node, .events = POLLIN };
	for (int i = 0; poll(&p, 1, 1) != 1 && i < 1000; i++)
		turn(&f, 1);
	r = ioctl(f.node, FIONREAD, &unread);
	assert_int_equal(r, 0);
	assert_int_equal(refused, unread != 5);
	for (size_t i = 0; i < probe.row_count; i++) {
		const struct probe_row *row = &probe.rows[i];

		if (strncmp(row->name, "bypass", 6) == 0)
			assert_int_equal(row->ok,
				unread == 5 || strcmp(row->name, "bypass FIONREAD at a node") != 0);
	}
	teardown(&f);
}

static int load(void **state)
{
	struct bpfctl_params params = { .workers = 1, .max_flows = 64 };
	static char error[BPFCTL_ERROR_SIZE];

	(void)state;
	if (bpfctl_load(&params, &kernel.bpfctl, error) < 0 ||
		bpfctl_bypass_load(kernel.bpfctl, 32, &kernel.bypass, error) < 0) {
		print_message("no bypass: %s\n", error);
		return -1;
	}
	relay_probe(&probe, &kernel, error);
	relay_probe_bypass(&probe, &kernel, error);
	refused = !kernel.same_host;
	kernel.same_host = true;
	return kernel.sockmap ? 0 : -1;
}

static int unload(void **state)
{
	(void)state;
	bpfctl_bypass_free(kernel.bypass);
	bpfctl_free(kernel.bpfctl);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_GRD_20_small_messages_need_no_turn),
		cmocka_unit_test(test_GRD_21_the_node_is_found_on_ipv6),
		cmocka_unit_test(test_GRD_21_what_was_read_before_goes_first),
		cmocka_unit_test(test_GRD_22_nothing_overtakes_what_was_passed),
		cmocka_unit_test(test_GRD_22_a_limit_of_unsent_bytes_is_obeyed),
		cmocka_unit_test(test_GRD_23_a_node_that_writes_and_goes),
		cmocka_unit_test(test_GRD_23_a_reset_is_told_by_the_state_of_tcp),
		cmocka_unit_test(test_GRD_23_a_node_that_resets),
		cmocka_unit_test(test_GRD_23_the_client_ends_first),
		cmocka_unit_test(test_GRD_23_a_taken_socket_is_left_alone),
		cmocka_unit_test(test_GRD_20_only_an_established_peer_here_is_taken),
		cmocka_unit_test(test_GRD_20_another_network_namespace_is_elsewhere),
		cmocka_unit_test(test_GRD_23_fionread_decides),
	};

	return cmocka_run_group_tests(tests, load, unload);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The copy relay between two socket pairs, driven by one loop: order and completeness of bytes,
 * half closes in both orders, slow readers, peers that vanish, idle time.
 */
#include "unit.h"

#include "base/clock.h"
#include "relay/probe.h"
#include "relay/relay.h"
#include "unit/tcp_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static struct relay_kernel kernel;
static enum relay_mode mode;
static uint64_t bulk_rate, stall_ms;
static bool one_way;

struct fixture {
	struct loop loop;
	struct relay_engine engine;
	struct relay *relay;
	int client, node; /* the far ends */
	bool done;
	enum relay_end end;
};

static void on_done(struct relay *relay, void *arg, enum relay_end end)
{
	struct fixture *f = arg;

	assert_ptr_equal(relay, f->relay);
	f->done = true;
	f->end = end;
}

static void make_pair(int fds[2], bool small)
{
	tcp_pair(fds);
	if (small)
		tcp_pair_buffers(fds, 4096);
}

static void setup(struct fixture *f, const char *early_client, const char *early_node, bool small,
	uint64_t idle_ms)
{
	struct relay_params params = {
		.engine = &f->engine,
		.settings = { .mode = mode,
			.backlog_limit = 65536,
			.bulk_rate = bulk_rate,
			.stall_ms = stall_ms },
		.protocol = "test",
		.session = 1,
		.idle_ms = idle_ms,
		.owed_ms = 500,
		.one_way = one_way,
		.done = on_done,
		.arg = f,
	};
	struct stream legs[2];
	struct buf early[2] = { { 0 }, { 0 } };
	int fds[2];

	memset(f, 0, sizeof(*f));
	assert_int_equal(loop_init(&f->loop), 0);
	assert_int_equal(relay_engine_init(&f->engine, &f->loop, &kernel, 0), 0);
	make_pair(fds, small);
	f->client = fds[0];
	stream_init_plain(&legs[RELAY_CLIENT], fds[1]);
	make_pair(fds, small);
	f->node = fds[0];
	stream_init_plain(&legs[RELAY_NODE], fds[1]);
	assert_int_equal(buf_append_str(&early[RELAY_CLIENT], early_client), 0);
	assert_int_equal(buf_append_str(&early[RELAY_NODE], early_node), 0);
	assert_int_equal(relay_start(&params, legs, early, &f->relay), 0);
	assert_false(stream_is_open(&legs[0]));
}

static void run_until_done(struct fixture *f)
{
	uint64_t end = clock_mono_ms() + 10000;

	while (!f->done && clock_mono_ms() < end)
		assert_int_equal(loop_run_once(&f->loop, 10), 0);
	assert_true(f->done);
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

/* Reads what is there; returns bytes, 0 at the end, -1 for nothing now. */
static ssize_t take(int fd, char *data, size_t size)
{
	ssize_t n = recv(fd, data, size, MSG_DONTWAIT);

	return n < 0 && errno != EAGAIN ? 0 : n;
}

static unsigned char pattern(size_t at)
{
	return (unsigned char)(at * 31 + (at >> 8) * 7 + (at >> 16));
}

/* Both directions at once, random sizes, every byte compared; then half closes in either order. */
static void exchange(bool small, size_t size, bool client_first)
{
	static char block[65536];
	struct fixture f;
	int fds[2];
	size_t sent[2] = { 0, 0 }, got[2] = { 0, 0 }, wrong = 0;
	bool shut[2] = { false, false }, ended[2] = { false, false };
	uint64_t end = clock_mono_ms() + 20000;

	setup(&f, "", "", small, 60000);
	fds[0] = f.client;
	fds[1] = f.node;
	while ((!ended[0] || !ended[1]) && clock_mono_ms() < end) {
		for (int i = 0; i < 2; i++) {
			size_t chunk = (size_t)rand() % sizeof(block) + 1;
			size_t want = MIN(chunk, size - sent[i]);
			ssize_t n;

			for (size_t k = 0; k < want; k++)
				block[k] = (char)pattern(sent[i] + k);
			n = want ? send(fds[i], block, want, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
			sent[i] += n > 0 ? (size_t)n : 0;
			if (sent[i] == size && !shut[i] && (shut[!i] || i == !client_first)) {
				shutdown(fds[i], SHUT_WR);
				shut[i] = true;
			}
			n = take(fds[i], block, (size_t)rand() % sizeof(block) + 1);
			for (ssize_t k = 0; k < n; k++)
				wrong += (unsigned char)block[k] != pattern(got[i] + (size_t)k);
			got[i] += n > 0 ? (size_t)n : 0;
			ended[i] |= n == 0;
		}
		assert_int_equal(loop_run_once(&f.loop, 0), 0);
	}
	if (!ended[0] || !ended[1])
		fail_msg("stuck: sent %zu %zu, got %zu %zu of %zu", sent[0], sent[1], got[0],
			got[1], size);
	run_until_done(&f);
	assert_int_equal(wrong, 0);
	assert_int_equal(got[0], size);
	assert_int_equal(got[1], size);
	assert_int_equal(relay_bytes(f.relay, RELAY_UP), size);
	assert_int_equal(relay_bytes(f.relay, RELAY_DOWN), size);
	/* With data under way, whose end is read first depends on who was blocked. */
	if (size)
		assert_true(f.end == RELAY_END_CLIENT_EOF || f.end == RELAY_END_NODE_EOF);
	else
		assert_int_equal(f.end, client_first ? RELAY_END_CLIENT_EOF : RELAY_END_NODE_EOF);
	teardown(&f);
}

static void test_SES_84_both_ways(void **state)
{
	(void)state;
	srand(7);
	exchange(false, 8 * 1024 * 1024, true);
	exchange(false, 1000003, false);
	exchange(true, 20000, true);
	exchange(true, 20000, false);
	exchange(false, 0, true);
}

/* A segment that the dialogue has read in part: its rest comes once, and only its rest. */
static void test_47_segment_read_in_part(void **state)
{
	struct relay_params params = { .idle_ms = 60000, .owed_ms = 500, .done = on_done };
	struct buf early[2] = { { 0 }, { 0 } };
	char text[32] = "", start[8];
	struct stream legs[2];
	struct fixture f;
	int fds[2];

	(void)state;
	memset(&f, 0, sizeof(f));
	assert_int_equal(loop_init(&f.loop), 0);
	assert_int_equal(relay_engine_init(&f.engine, &f.loop, &kernel, 0), 0);
	params.engine = &f.engine;
	params.settings.mode = mode;
	params.settings.backlog_limit = 65536;
	params.arg = &f;
	tcp_pair(fds);
	f.client = fds[0];
	stream_init_plain(&legs[RELAY_CLIENT], fds[1]);
	tcp_pair(fds);
	f.node = fds[0];
	stream_init_plain(&legs[RELAY_NODE], fds[1]);
	assert_int_equal(send(f.client, "first second", 12, MSG_NOSIGNAL), 12);
	usleep(20000);
	assert_int_equal(stream_read(&legs[RELAY_CLIENT], start, 6), 6);
	assert_int_equal(buf_append(&early[RELAY_CLIENT], start, 6), 0);
	assert_int_equal(relay_start(&params, legs, early, &f.relay), 0);
	for (int i = 0; i < 10; i++)
		assert_int_equal(loop_run_once(&f.loop, 5), 0);
	assert_int_equal(recv(f.node, text, sizeof(text) - 1, MSG_DONTWAIT), 12);
	assert_string_equal(text, "first second");
	assert_int_equal(recv(f.node, text, sizeof(text) - 1, MSG_DONTWAIT), -1);
	assert_int_equal(relay_path_of(f.relay, RELAY_UP),
		mode == RELAY_MODE_SOCKMAP ? RELAY_PATH_SOCKMAP : RELAY_PATH_COPY);
	teardown(&f);
}

static void test_47_early_bytes_first(void **state)
{
	struct fixture f;
	char text[64] = "";
	size_t n = 0;

	(void)state;
	setup(&f, "from client ", "from node ", false, 60000);
	assert_int_equal(send(f.client, "more", 4, MSG_NOSIGNAL), 4);
	shutdown(f.client, SHUT_WR);
	shutdown(f.node, SHUT_WR);
	run_until_done(&f);
	for (ssize_t r; (r = recv(f.node, text + n, sizeof(text) - n, 0)) > 0;)
		n += (size_t)r;
	assert_string_equal(text, "from client more");
	assert_int_equal(relay_bytes(f.relay, RELAY_UP), 16);
	assert_int_equal(relay_bytes(f.relay, RELAY_DOWN), 10);
	teardown(&f);
}

/* A reader that stops: the sender is stopped, nothing piles up here. */
static void test_slow_reader_stops_the_sender(void **state)
{
	static char block[65536];
	struct fixture f;
	size_t sent = 0;
	int idle = 0;

	(void)state;
	setup(&f, "", "", true, 60000);
	while (idle < 50 && sent < 64 * 1024 * 1024) {
		ssize_t n = send(f.client, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL);

		sent += n > 0 ? (size_t)n : 0;
		idle = n > 0 ? 0 : idle + 1;
		assert_int_equal(loop_run_once(&f.loop, 1), 0);
	}
	assert_true(sent < 4 * 1024 * 1024);
	teardown(&f); /* relay_free() while it runs: no callback */
	assert_false(f.done);
}

/* What is owed to a reader that never reads is given up owed_ms after the sender has gone. */
static void test_section_3_drain_limit(void **state)
{
	static char owed[8 * 1024 * 1024];
	struct fixture f;

	(void)state;
	memset(owed, 'x', sizeof(owed) - 1);
	setup(&f, owed, "", true, 60000);
	shutdown(f.client, SHUT_WR);
	run_until_done(&f);
	assert_true(relay_bytes(f.relay, RELAY_UP) < sizeof(owed) - 1);
	teardown(&f);
}

static void test_idle(void **state)
{
	uint64_t start = clock_mono_ms();
	struct fixture f;

	(void)state;
	setup(&f, "", "", false, 1000); /* a busy machine may lose some hundred of them */
	for (int i = 0; i < 8; i++) {   /* a byte now and then keeps it */
		assert_int_equal(send(f.client, "x", 1, MSG_NOSIGNAL), 1);
		for (uint64_t until = clock_mono_ms() + 150; clock_mono_ms() < until;)
			assert_int_equal(loop_run_once(&f.loop, 5), 0);
	}
	assert_false(f.done);
	run_until_done(&f);
	assert_int_equal(f.end, RELAY_END_IDLE);
	assert_true(clock_mono_ms() - start >= 2000);
	teardown(&f);
}

static void test_peer_resets(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct fixture f;
		int *far;

		setup(&f, "", "", false, 60000);
		far = side ? &f.node : &f.client;
		sock_abort_on_close(*far);
		close(*far);
		*far = -1;
		run_until_done(&f);
		assert_int_equal(f.end, side ? RELAY_END_NODE_ERROR : RELAY_END_CLIENT_ERROR);
		teardown(&f);
	}
}

static void test_stop_gracefully_delivers_and_says_nothing(void **state)
{
	struct fixture f;
	char text[32] = "";

	(void)state;
	setup(&f, "last words", "", false, 60000);
	relay_stop(f.relay, true);
	assert_int_equal(
		recv(f.node, text, sizeof(text) - 1, MSG_WAITALL) <= 0 ? 0 : strlen(text), 10);
	for (int i = 0; i < 5; i++)
		assert_int_equal(loop_run_once(&f.loop, 1), 0);
	assert_false(f.done);
	teardown(&f);
}

/* One side has gone for good while nothing is asked of it: no spinning on its hang-up. */
/* What the client says goes nowhere, early bytes included; its end reaches the node. */
static void test_one_way(void **state)
{
	struct fixture f;
	char data[64];
	ssize_t n = -1;
	uint64_t end = clock_mono_ms() + 10000;

	(void)state;
	one_way = true;
	setup(&f, "early", "from ", false, 60000);
	one_way = false;
	assert_int_equal(send(f.client, "late", 4, 0), 4);
	assert_int_equal(send(f.node, "node", 4, 0), 4);
	for (size_t got = 0; got < 9 && clock_mono_ms() < end;) {
		assert_int_equal(loop_run_once(&f.loop, 10), 0);
		n = recv(f.client, data + got, sizeof(data) - got, MSG_DONTWAIT);
		got += n > 0 ? (size_t)n : 0;
	}
	assert_memory_equal(data, "from node", 9);
	assert_int_equal(shutdown(f.client, SHUT_WR), 0);
	do {
		assert_int_equal(loop_run_once(&f.loop, 10), 0);
		n = recv(f.node, data, sizeof(data), MSG_DONTWAIT);
	} while (n < 0 && clock_mono_ms() < end);
	assert_int_equal(n, 0);
	assert_int_equal(relay_bytes(f.relay, RELAY_UP), 0);
	assert_int_equal(relay_bytes(f.relay, RELAY_DOWN), 9);
	close(f.node);
	f.node = -1;
	run_until_done(&f);
	assert_int_equal(f.end, RELAY_END_CLIENT_EOF);
	teardown(&f);
}

/* The node's end is the end, even of a client that stays: it has owed_ms. */
static void test_one_way_ends_with_the_node(void **state)
{
	struct fixture f;
	char byte;

	(void)state;
	one_way = true;
	setup(&f, "", "", false, 60000);
	one_way = false;
	close(f.node);
	f.node = -1;
	run_until_done(&f);
	assert_int_equal(f.end, RELAY_END_NODE_EOF);
	assert_true(recv(f.client, &byte, 1, 0) <= 0);
	teardown(&f);
}

static void test_hangup_does_not_spin(void **state)
{
	static char block[65536];
	struct fixture f;
	unsigned rounds = 0;
	int idle = 0;
	uint64_t end;

	(void)state;
	setup(&f, "", "", true, 60000);
	while (idle < 20) { /* the client is blocked: the node's data waits */
		idle = send(f.node, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL) > 0
			? 0
			: idle + 1;
		assert_int_equal(loop_run_once(&f.loop, 1), 0);
	}
	shutdown(f.client, SHUT_WR); /* up ends; the node answers with its own end */
	shutdown(f.node, SHUT_RDWR);
	for (end = clock_mono_ms() + 300; clock_mono_ms() < end && !f.done; rounds++)
		assert_int_equal(loop_run_once(&f.loop, 50), 0);
	assert_true(rounds < 200);
	teardown(&f);
}

/* ---- sockmap alone ---- */

static struct hm_flow row_of(struct fixture *f, int far_is_client)
{
	struct hm_flow flow = { 0 };
	(void)f;
	(void)far_is_client;
	return flow;
}

static int sockmap_group(void **state)
{
	struct bpfctl_params params = { .workers = 1, .max_flows = 64 };
	static char error[BPFCTL_ERROR_SIZE];
	static struct relay_probe probe;

	(void)state;
	(void)row_of;
	if (bpfctl_load(&params, &kernel.bpfctl, error) < 0) {
		print_message("no sockmap: %s\n", error);
		kernel.bpfctl = NULL;
	}
	relay_probe(&probe, &kernel, error);
	mode = RELAY_MODE_SOCKMAP;
	return kernel.sockmap ? 0 : -1;
}

static int sockmap_end(void **state)
{
	(void)state;
	bpfctl_free(kernel.bpfctl);
	return 0;
}

#define ON(path, fn) { #fn " [" path "]", fn, NULL, NULL, NULL }

int main(void)
{
	const struct CMUnitTest copy[] = {
		ON("copy", test_SES_84_both_ways),
		ON("copy", test_47_early_bytes_first),
		ON("copy", test_47_segment_read_in_part),
		ON("copy", test_slow_reader_stops_the_sender),
		ON("copy", test_section_3_drain_limit),
		ON("copy", test_idle),
		ON("copy", test_peer_resets),
		ON("copy", test_stop_gracefully_delivers_and_says_nothing),
		ON("copy", test_hangup_does_not_spin),
		ON("copy", test_one_way),
		ON("copy", test_one_way_ends_with_the_node),
	};
	const struct CMUnitTest sockmap[] = {
		ON("sockmap", test_SES_84_both_ways),
		ON("sockmap", test_47_early_bytes_first),
		ON("sockmap", test_47_segment_read_in_part),
		ON("sockmap", test_slow_reader_stops_the_sender),
		ON("sockmap", test_section_3_drain_limit),
		ON("sockmap", test_idle),
		ON("sockmap", test_peer_resets),
		ON("sockmap", test_stop_gracefully_delivers_and_says_nothing),
		ON("sockmap", test_hangup_does_not_spin),
		ON("sockmap", test_one_way),
	};
	int failed;

	mode = RELAY_MODE_COPY;
	failed = cmocka_run_group_tests(copy, NULL, NULL);
	return failed + cmocka_run_group_tests(sockmap, sockmap_group, sockmap_end);
}

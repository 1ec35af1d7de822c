// SPDX-License-Identifier: Apache-2.0
/*
 * When the program takes two plain legs (REC-4): after an age, or when they are busy, and not at
 * all from who ends before; what is under way then arrives.
 */
#include "unit.h"

#include "base/clock.h"
#include "bpfctl/bpfctl.h"
#include "relay/program.h"
#include "relay/probe.h"
#include "unit/tcp_pair.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#define ARM_MS 150
#define NEVER_MS 3600000

static struct relay_kernel kernel;
static bool parts; /* of what is set up next */

struct fixture {
	struct loop loop;
	struct relay_engine engine;
	struct relay *relay;
	int client, node; /* the far ends */
	bool done;
};

static void on_done(struct relay *relay, void *arg, enum relay_end end)
{
	(void)relay;
	(void)end;
	((struct fixture *)arg)->done = true;
}

/* client_buffer: of its socket, bytes; 0: as it comes. */
static void setup_with(struct fixture *f, uint32_t arm_ms, int client_buffer)
{
	struct relay_params params = {
		.engine = &f->engine,
		.settings = { .backlog_limit = 65536, .stall_ms = 2000, .arm_ms = arm_ms },
		.protocol = "test",
		.session = 1,
		.idle_ms = 60000,
		.owed_ms = 500,
		.parts = parts,
		.done = on_done,
		.arg = f,
	};
	struct stream legs[2];
	struct buf early[2] = { { 0 }, { 0 } };
	int fds[2];

	*f = (struct fixture){ 0 };
	assert_int_equal(loop_init(&f->loop), 0);
	assert_int_equal(relay_engine_init(&f->engine, &f->loop, &kernel, 0), 0);
	tcp_pair(fds);
	if (client_buffer)
		tcp_pair_buffers(fds, client_buffer);
	f->client = fds[0];
	stream_init_plain(&legs[RELAY_CLIENT], fds[1]);
	tcp_pair(fds);
	f->node = fds[0];
	stream_init_plain(&legs[RELAY_NODE], fds[1]);
	assert_int_equal(relay_start(&params, legs, early, &f->relay), 0);
}

static void setup(struct fixture *f, uint32_t arm_ms)
{
	setup_with(f, arm_ms, 0);
}

static void teardown(struct fixture *f)
{
	relay_free(f->relay);
	relay_engine_fini(&f->engine);
	close(f->client);
	close(f->node);
	loop_fini(&f->loop);
}

static bool is_on(const struct fixture *f, enum relay_path path)
{
	return relay_path_of(f->relay, RELAY_UP) == path &&
		relay_path_of(f->relay, RELAY_DOWN) == path;
}

/* Reads exactly that much at a far end. */
static void gets(struct fixture *f, int fd, char *data, size_t len)
{
	uint64_t limit = clock_mono_ms() + 10000;
	size_t got = 0;

	while (got < len && clock_mono_ms() < limit) {
		ssize_t n = recv(fd, data + got, len - got, MSG_DONTWAIT);

		got += n > 0 ? (size_t)n : 0;
		assert_int_equal(loop_run_once(&f->loop, 1), 0);
	}
	assert_int_equal(got, len);
}

static void passes(struct fixture *f, int from, int to, const char *text)
{
	char got[64];
	size_t len = strlen(text);

	assert_int_equal(send(from, text, len, MSG_NOSIGNAL), len);
	gets(f, to, got, len);
	assert_memory_equal(got, text, len);
}

static void runs_for(struct fixture *f, uint64_t ms)
{
	for (uint64_t end = clock_mono_ms() + ms; clock_mono_ms() < end;)
		assert_int_equal(loop_run_once(&f->loop, 5), 0);
}

static void is_armed_soon(struct fixture *f)
{
	uint64_t limit = clock_mono_ms() + 10000;

	while (!is_on(f, RELAY_PATH_SOCKMAP) && clock_mono_ms() < limit)
		assert_int_equal(loop_run_once(&f->loop, -1), 0); /* its own timer wakes it */
	assert_true(is_on(f, RELAY_PATH_SOCKMAP));
}

static void test_REC_4_idle_goes_to_the_program(void **state)
{
	uint64_t start = clock_mono_ms();
	struct fixture f;

	(void)state;
	setup(&f, ARM_MS);
	passes(&f, f.client, f.node, "a NOOP\r\n");
	passes(&f, f.node, f.client, "a OK\r\n");
	assert_true(is_on(&f, RELAY_PATH_COPY));
	is_armed_soon(&f);
	assert_true(clock_mono_ms() - start >= ARM_MS);
	passes(&f, f.client, f.node, "b NOOP\r\n");
	passes(&f, f.node, f.client, "b OK\r\n");
	relay_stop(f.relay, true);
	assert_int_equal(relay_bytes(f.relay, RELAY_UP), 16);
	assert_int_equal(relay_bytes(f.relay, RELAY_DOWN), 12);
	teardown(&f);
}

/* Nothing is looked at or put into the kernel, not even a row of its own. */
static void test_REC_4_a_short_one_never_gets_there(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, ARM_MS);
	for (int i = 0; i < 15; i++) {
		passes(&f, f.client, f.node, "a NOOP\r\n");
		passes(&f, f.node, f.client, "a OK\r\n");
	}
	assert_true(is_on(&f, RELAY_PATH_COPY));
	shutdown(f.node, SHUT_WR);
	shutdown(f.client, SHUT_WR);
	while (!f.done)
		assert_int_equal(loop_run_once(&f.loop, 5), 0);
	assert_true(is_on(&f, RELAY_PATH_COPY));
	assert_int_equal(f.relay->state.halves[RELAY_UP].cookie, 0);
	teardown(&f);
}

static void test_REC_4_many_messages_are_busy(void **state)
{
	struct fixture f;
	int messages = 0;

	(void)state;
	setup(&f, NEVER_MS);
	for (; messages < 100 && is_on(&f, RELAY_PATH_COPY); messages += 2) {
		passes(&f, f.client, f.node, "a NOOP\r\n");
		passes(&f, f.node, f.client, "a OK\r\n");
	}
	assert_true(is_on(&f, RELAY_PATH_SOCKMAP));
	assert_in_range(messages, RELAY_BUSY_EVENTS - 2, RELAY_BUSY_EVENTS + 2);
	teardown(&f);
}

static void test_REC_4_many_bytes_are_busy(void **state)
{
	static char block[16384], got[16384];
	struct fixture f;
	size_t bytes = 0;

	(void)state;
	setup(&f, NEVER_MS);
	for (; bytes < 4 * RELAY_BUSY_BYTES && is_on(&f, RELAY_PATH_COPY); bytes += sizeof(block)) {
		memset(block, (int)(bytes / sizeof(block)), sizeof(block));
		assert_int_equal(send(f.node, block, sizeof(block), MSG_NOSIGNAL), sizeof(block));
		gets(&f, f.client, got, sizeof(got));
		assert_memory_equal(got, block, sizeof(got));
	}
	assert_true(is_on(&f, RELAY_PATH_SOCKMAP));
	assert_in_range(bytes, RELAY_BUSY_BYTES, RELAY_BUSY_BYTES + 4 * sizeof(block));
	teardown(&f);
}

/* What comes while its time does is delivered before what comes after. */
static void test_REC_4_bytes_under_way(void **state)
{
	char got[6] = "", word[16];
	struct fixture f;
	int sent = 0, seen = 0;

	(void)state;
	setup(&f, ARM_MS);
	for (uint64_t end = clock_mono_ms() + 2 * ARM_MS; clock_mono_ms() < end; sent++) {
		snprintf(word, sizeof(word), "%06d", sent);
		assert_int_equal(send(f.client, word, 6, MSG_NOSIGNAL), 6);
		if (sent % 8 == 0)
			assert_int_equal(loop_run_once(&f.loop, 0), 0);
		usleep(500);
	}
	is_armed_soon(&f);
	for (; seen < sent; seen++) {
		snprintf(word, sizeof(word), "%06d", seen);
		gets(&f, f.node, got, 6);
		assert_memory_equal(got, word, 6);
	}
	teardown(&f);
}

static void test_REC_4_one_that_ends_is_left_alone(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f, ARM_MS);
	shutdown(f.node, SHUT_WR);
	runs_for(&f, 2 * ARM_MS);
	assert_true(is_on(&f, RELAY_PATH_COPY));
	assert_int_equal(atomic_load(&kernel.refused), 0); /* by no kernel */
	passes(&f, f.client, f.node, "still here\r\n");
	teardown(&f);
	setup(&f, ARM_MS);
	relay_part(f.relay, RELAY_END_PARTED);
	runs_for(&f, 2 * ARM_MS);
	assert_true(is_on(&f, RELAY_PATH_COPY));
	teardown(&f);
}

/* A reader that is blocked when its time comes: as soon as it has read all. */
static void test_REC_4_a_blocked_reader_later(void **state)
{
	static char block[65536];
	struct fixture f;
	size_t sent = 0, got = 0;

	(void)state;
	setup_with(&f, ARM_MS, 65536);
	for (uint64_t end = clock_mono_ms() + 2 * ARM_MS; clock_mono_ms() < end;) {
		ssize_t n = send(f.node, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL);

		sent += n > 0 ? (size_t)n : 0;
		assert_int_equal(loop_run_once(&f.loop, 1), 0);
	}
	assert_true(is_on(&f, RELAY_PATH_COPY));
	while (got < sent) {
		ssize_t n = recv(f.client, block, sizeof(block), MSG_DONTWAIT);

		assert_true(n > 0 || (n < 0 && errno == EAGAIN));
		got += n > 0 ? (size_t)n : 0;
		assert_int_equal(loop_run_once(&f.loop, 1), 0);
	}
	assert_int_equal(got, sent);
	is_armed_soon(&f);
	teardown(&f);
}

/* The node says more than the client has room for, who begins to read after wait_ms. */
static void overflows(struct fixture *f, uint32_t wait_ms)
{
	const struct relay_half *half = &f->relay->state.halves[RELAY_DOWN];
	uint64_t limit = clock_mono_ms() + 10000;
	static char block[65536];
	size_t sent = 0;

	while (half->valve == VALVE_KERNEL && clock_mono_ms() < limit) {
		ssize_t n = send(f->node, block, sizeof(block), MSG_DONTWAIT | MSG_NOSIGNAL);

		sent += n > 0 ? (size_t)n : 0;
		assert_int_equal(loop_run_once(&f->loop, 0), 0);
	}
	assert_int_equal(half->valve, VALVE_PASSING);
	if (wait_ms)
		runs_for(f, wait_ms);
	for (size_t got = 0; got < sent && clock_mono_ms() < limit;) {
		ssize_t n = recv(f->client, block, sizeof(block), MSG_DONTWAIT);

		got += n > 0 ? (size_t)n : 0;
		assert_int_equal(loop_run_once(&f->loop, 0), 0);
	}
	while (half->valve != VALVE_KERNEL && clock_mono_ms() < limit)
		assert_int_equal(loop_run_once(&f->loop, 5), 0);
	assert_int_equal(half->valve, VALVE_KERNEL);
}

/* Who reads well gets more room in the kernel, up to four times the limit; who does not, the
 * least. */
static void test_REC_4a_room_for_who_keeps_up(void **state)
{
	struct relay_program *program;
	struct fixture f;

	(void)state;
	setup_with(&f, 0, 65536);
	is_armed_soon(&f);
	program = f.relay->program;
	assert_int_equal(relay_backlog_limit(program, RELAY_DOWN), 65536);
	/* on a busy machine it may be late now and then */
	for (int i = 0; relay_backlog_limit(program, RELAY_DOWN) < 4 * 65536; i++) {
		assert_in_range(i, 0, 30);
		overflows(&f, 0);
	}
	overflows(&f, 0);
	assert_true(relay_backlog_limit(program, RELAY_DOWN) <= 4 * 65536);
	overflows(&f, 400);
	assert_int_equal(relay_backlog_limit(program, RELAY_DOWN), 65536);
	assert_int_equal(relay_backlog_limit(program, RELAY_UP), 65536);
	teardown(&f);
}

/* Told to part while user space has it: what the client still says has nowhere to go, and is no
 * failure (HND-34). */
static void test_HND_34_parting_before_it_is_armed(void **state)
{
	uint64_t limit = clock_mono_ms() + 10000;
	struct fixture f;
	char byte;

	(void)state;
	parts = true;
	setup(&f, NEVER_MS);
	parts = false;
	passes(&f, f.client, f.node, "a NOOP\r\n");
	relay_part(f.relay, RELAY_END_IDLE);
	assert_int_equal(recv(f.node, &byte, 1, 0), 0);
	assert_int_equal(send(f.client, "b NOOP\r\n", 8, MSG_NOSIGNAL), 8);
	while (f.relay->state.halves[RELAY_UP].state == HALF_OPEN && clock_mono_ms() < limit)
		assert_int_equal(loop_run_once(&f.loop, 1), 0);
	assert_int_equal(f.relay->state.phase, RELAY_FLOWS);
	passes(&f, f.node, f.client, "goodbye"); /* what the agent has to say still arrives */
	shutdown(f.node, SHUT_RDWR);
	while (!f.done && clock_mono_ms() < limit)
		assert_int_equal(loop_run_once(&f.loop, 1), 0);
	assert_true(f.done);
	teardown(&f);
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
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_REC_4_idle_goes_to_the_program),
		cmocka_unit_test(test_REC_4_a_short_one_never_gets_there),
		cmocka_unit_test(test_REC_4_many_messages_are_busy),
		cmocka_unit_test(test_REC_4_many_bytes_are_busy),
		cmocka_unit_test(test_REC_4_bytes_under_way),
		cmocka_unit_test(test_REC_4_one_that_ends_is_left_alone),
		cmocka_unit_test(test_REC_4_a_blocked_reader_later),
		cmocka_unit_test(test_REC_4a_room_for_who_keeps_up),
		cmocka_unit_test(test_HND_34_parting_before_it_is_armed),
	};

	return cmocka_run_group_tests(tests, load, unload);
}

// SPDX-License-Identifier: Apache-2.0
/* The guard's maps as functions: sets, bans, events (GRD-5), and what the next process takes over
 * (GRD-8). */
#include "unit.h"

#include "guard_loaded.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>

/* ---- maps ---- */

static void on_event(void *arg, const struct hm_guard_event *event)
{
	__u64 *seen = arg;

	assert_int_equal(event->verdict, HM_GUARD_BANNED);
	assert_int_equal(ntohs(event->port), IMAPS);
	assert_memory_equal(event->addr, source_of(BANNED).addr, 16);
	seen[++seen[0]] = event->dropped;
}

static void test_GRD_5_events_at_powers_of_two(void **state)
{
	static const __u64 want[] = { 7, 1, 2, 4, 8, 16, 32, 64 };
	__u64 seen[32] = { 0 };
	struct pollfd p;

	(void)state;
	need_guard();
	p = (struct pollfd){ .fd = bpfctl_guard_events_fd(guard), .events = POLLIN };
	assert_int_equal(poll(&p, 1, 0), 0);
	assert_int_equal(passed_of(PACKET(.from = BANNED), 100), 0);
	assert_int_equal(poll(&p, 1, 1000), 1);
	bpfctl_guard_events_consume(guard, on_event, seen);
	assert_memory_equal(seen, want, sizeof(want));
	assert_int_equal(ban_of(BANNED).dropped, 100);
	assert_in_range(ban_of(BANNED).last_ns, 1, guard_now_ns());
}

static void test_GRD_5_a_ban_that_is_set_again_keeps_its_count(void **state)
{
	struct hm_guard_source source = source_of(BANNED);

	(void)state;
	need_guard();
	assert_int_equal(passed_of(PACKET(.from = BANNED), 3), 0);
	ban(BANNED, 2 * HOUR);
	assert_int_equal(ban_of(BANNED).dropped, 3);
	assert_true(ban_of(BANNED).until_ns > guard_now_ns() + HOUR);
	bpfctl_guard_ban_remove(guard, &source);
	bpfctl_guard_ban_remove(guard, &source);
	expect(PACKET(.from = BANNED), XDP_PASS, HM_GUARD_NEW);
}

static void count_ban(
	void *arg, const struct hm_guard_source *source, const struct hm_guard_ban *row)
{
	(void)source;
	assert_int_equal(row->reason, 1);
	++*(int *)arg;
}

static void test_GRD_9_more_bans_than_there_is_room_for(void **state)
{
	struct hm_guard_source source = source_of("198.51.100.99");
	struct hm_guard_ban row = { .until_ns = guard_now_ns() + HOUR, .reason = 1 };
	int bans = 0;

	(void)state;
	need_guard();
	assert_int_equal(bpfctl_guard_ban_set(guard, &source, &row), -E2BIG);
	assert_int_equal(bpfctl_guard_bans_scan(guard, count_ban, &bans), 0);
	assert_int_equal(bans, 4);
}

static void test_GRD_4_a_set_of_services_replaces_the_one_before(void **state)
{
	struct hm_guard_service many[9] = { { .port = 1 } }, other = { .port = htons(143) };

	(void)state;
	need_guard();
	guard_address(SERVER, other.addr);
	assert_int_equal(bpfctl_guard_services_set(guard, many, 9), -E2BIG);
	expect(PACKET(.from = BANNED), XDP_DROP, HM_GUARD_BANNED);
	assert_int_equal(bpfctl_guard_services_set(guard, &other, 1), 0);
	expect(PACKET(.from = BANNED), XDP_PASS, HM_GUARD_OTHER);
	expect(PACKET(.from = BANNED, .port = 143), XDP_DROP, HM_GUARD_BANNED);
	assert_int_equal(bpfctl_guard_services_set(guard, NULL, 0), 0);
	expect(PACKET(.from = BANNED, .port = 143), XDP_PASS, HM_GUARD_OTHER);
}

static void test_GRD_4_lists_replace_those_before(void **state)
{
	const struct bpfctl_guard_line lines[] = {
		line("203.0.113.0", 24, HM_GUARD_DENY, 0),
		line("203.0.113.0", 24, HM_GUARD_ALLOW, 0), /* the later one counts */
	};

	(void)state;
	need_guard();
	assert_int_equal(bpfctl_guard_lists_set(guard, lines, 2), 0);
	expect(PACKET(.from = "203.0.113.5"), XDP_PASS, HM_GUARD_ALLOWED);
	expect(PACKET(.from = "2001:db8:bad:1::1"), XDP_PASS, HM_GUARD_NEW);
	expect(PACKET(.from = "198.51.100.8"), XDP_DROP, HM_GUARD_BANNED);
	assert_int_equal(bpfctl_guard_lists_set(guard, NULL, 0), 0);
	expect(PACKET(.from = "203.0.113.5"), XDP_PASS, HM_GUARD_NEW);
}

/* ---- the next process ---- */

static void count_line(void *arg, const struct bpfctl_guard_line *row)
{
	assert_int_equal(row->rule.reason, 5);
	++*(int *)arg;
}

/* Bans are there with the rest of their time and what was counted; those that are over are not,
 * nor are the lines of another configuration. */
static void taken_over(const char *pins)
{
	const struct bpfctl_guard_line lines[] = {
		line("203.0.113.0", 24, HM_GUARD_DENY, 0),
		{ line("10.0.0.0", 8, HM_GUARD_DENY, 0).prefix,
			{ guard_now_ns() + HOUR, guard_now_ns(), HM_GUARD_DENY, 5 } },
	};
	struct bpfctl_guard *next;
	char error[BPFCTL_ERROR_SIZE];
	int bans = 0, prefixes = 0;
	struct hm_guard_ban before;

	assert_int_equal(load(pins, &guard, error), 0);
	assert_null(bpfctl_guard_pin_error(guard));
	configure(0, 0, 0, 0);
	set_services();
	assert_int_equal(bpfctl_guard_lists_set(guard, lines, 2), 0);
	ban(BANNED, HOUR);
	ban("198.51.100.9", -50000000);
	bpfctl_guard_beat(guard, guard_now_ns() + HOUR);
	assert_int_equal(passed_of(PACKET(.from = BANNED), 3), 0);
	before = ban_of(BANNED);
	assert_int_equal(load(pins, &next, error), 0);
	bpfctl_guard_free(guard);
	guard = next;
	assert_int_equal(bpfctl_guard_bans_scan(guard, count_ban, &bans), 0);
	assert_int_equal(bans, 1);
	assert_int_equal(ban_of(BANNED).until_ns, before.until_ns);
	assert_int_equal(ban_of(BANNED).dropped, 3);
	assert_int_equal(bpfctl_guard_lists_scan(guard, count_line, &prefixes), 0);
	assert_int_equal(prefixes, 1);
	assert_int_not_equal(guard->config_before, 0);
}

/* In a mount namespace of its own, with a BPF file system that goes with it. */
static void test_GRD_8_bans_outlive_the_process(void **state)
{
	pid_t child;
	int status;

	(void)state;
	need_guard();
	child = fork();
	if (child == 0) {
		if (unshare(CLONE_NEWNS) < 0 || mount("", "/", "", MS_REC | MS_PRIVATE, NULL) < 0 ||
			mount("bpf", "/tmp", "bpf", 0, NULL) < 0)
			_exit(77);
		taken_over("/tmp/pins");
		bpfctl_guard_free(guard);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == 77)
		skip_because("no BPF file system of its own here");
	assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_GRD_5_events_at_powers_of_two),
		TEST(test_GRD_5_a_ban_that_is_set_again_keeps_its_count),
		TEST(test_GRD_9_more_bans_than_there_is_room_for),
		TEST(test_GRD_4_a_set_of_services_replaces_the_one_before),
		TEST(test_GRD_4_lists_replace_those_before),
		TEST(test_GRD_8_bans_outlive_the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* A loaded guard with a service, lists and bans, and the kernel's test run of its XDP program.
 * Without the rights to load a program there is none, and nothing to test. */
#ifndef TESTS_GUARD_LOADED_H
#define TESTS_GUARD_LOADED_H

#include "unit.h"

#include "bpfctl/guard.h"
#include "bpfctl/guard_inside.h"
#include "guard.skel.h"
#include "guard_packets.h"

#include <bpf/bpf.h>
#include <unistd.h>

#define BANNED "198.51.100.7"
#define BANNED6 "2001:db8:1:2::9"
#define HOUR 3600000000000ull

static struct bpfctl_guard *guard;
static struct hm_guard_config config;

/* ---- what is set ---- */

static inline struct hm_guard_source source_of(const char *text)
{
	struct hm_guard_source source;

	guard_address(text, source.addr);
	return source;
}

static inline void ban(const char *text, long long for_ns)
{
	struct hm_guard_source source = source_of(text);
	struct hm_guard_ban row = { .until_ns = guard_now_ns() + (__u64)for_ns,
		.since_ns = guard_now_ns(),
		.reason = 1,
		.strikes = 1 };

	assert_int_equal(bpfctl_guard_ban_set(guard, &source, &row), 0);
}

static inline struct hm_guard_ban ban_of(const char *text)
{
	struct hm_guard_source source = source_of(text);
	struct hm_guard_ban row;

	assert_int_equal(bpfctl_guard_ban_get(guard, &source, &row), 0);
	return row;
}

static inline struct bpfctl_guard_line line(
	const char *text, unsigned bits, enum hm_guard_action action, __u64 until_ns)
{
	struct bpfctl_guard_line row = {
		.prefix.bits = strchr(text, ':') ? bits : 96 + bits,
		.rule = { .until_ns = until_ns, .action = action },
	};

	guard_address(text, row.prefix.addr);
	return row;
}

static inline void set_lists(void)
{
	const struct bpfctl_guard_line lines[] = {
		line("203.0.113.0", 24, HM_GUARD_DENY, 0),
		line("203.0.113.128", 25, HM_GUARD_ALLOW, 0),
		line("203.0.113.200", 32, HM_GUARD_DENY, 0),
		line("2001:db8:bad::", 48, HM_GUARD_DENY, 0),
		line("198.51.100.8", 32, HM_GUARD_ALLOW, 0),
		line("203.0.114.0", 24, HM_GUARD_DENY, guard_now_ns() - 50000000),
		line("203.0.115.0", 24, HM_GUARD_DENY, guard_now_ns() + HOUR),
	};

	assert_int_equal(bpfctl_guard_lists_set(guard, lines, ARRAY_SIZE(lines)), 0);
}

static inline void set_services(void)
{
	struct hm_guard_service services[2] = { { .port = htons(IMAPS) },
		{ .port = htons(IMAPS) } };

	guard_address(SERVER, services[0].addr);
	guard_address(SERVER6, services[1].addr);
	assert_int_equal(bpfctl_guard_services_set(guard, services, 2), 0);
}

static inline void configure(__u32 scope_all, __u32 observe, __u64 cost_ns, __u64 burst)
{
	config = (struct hm_guard_config){ .ipv4_bits = 32,
		.ipv6_bits = 64,
		.scope_all = scope_all,
		.observe = observe,
		.syn_cost_ns = cost_ns,
		.syn_burst_ns = burst * cost_ns };
	bpfctl_guard_configure(guard, &config);
}

static inline int load(
	const char *pins, struct bpfctl_guard **ret_guard, char error[BPFCTL_ERROR_SIZE])
{
	const struct bpfctl_guard_params params = { .pin_path = pins,
		.max_bans = 4,
		.max_sources = 5000,
		.max_rules = 16,
		.max_services = 8 };

	return bpfctl_guard_load(&params, ret_guard, error);
}

static inline int set_up(void **state)
{
	char error[BPFCTL_ERROR_SIZE];

	(void)state;
	if (load(NULL, &guard, error) < 0) {
		guard = NULL;
		return 0;
	}
	configure(0, 0, 0, 0);
	set_services();
	set_lists();
	ban(BANNED, HOUR);
	ban("2001:db8:1:2::", HOUR);
	ban("198.51.100.8", HOUR);
	ban("198.51.100.9", -50000000);
	bpfctl_guard_beat(guard, guard_now_ns() + HOUR);
	return 0;
}

static inline int tear_down(void **state)
{
	(void)state;
	bpfctl_guard_free(guard);
	guard = NULL;
	return 0;
}

/* ---- what is asked ---- */

static inline int run(const void *packet, unsigned len)
{
	unsigned char out[PACKET_SIZE + 64];
	LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = packet, .data_size_in = len,
		.data_out = out, .data_size_out = sizeof(out), .repeat = 1);

	assert_int_equal(
		bpf_prog_test_run_opts(bpf_program__fd(guard->skel->progs.hm_guard), &options), 0);
	return (int)options.retval;
}

/* verdict: the one counter that moves; HM_GUARD_VERDICTS: none does. */
static inline void expect_bytes(
	const void *packet, unsigned len, int want, enum hm_guard_verdict verdict)
{
	struct hm_guard_count before[HM_GUARD_VERDICTS], after[HM_GUARD_VERDICTS];

	assert_int_equal(bpfctl_guard_counts(guard, before), 0);
	assert_int_equal(run(packet, len), want);
	assert_int_equal(bpfctl_guard_counts(guard, after), 0);
	for (int i = 0; i < HM_GUARD_VERDICTS; i++) {
		assert_int_equal(after[i].packets - before[i].packets, i == (int)verdict);
		assert_int_equal(after[i].bytes - before[i].bytes, i == (int)verdict ? len : 0);
	}
}

static inline void expect(const struct shape *shape, int want, enum hm_guard_verdict verdict)
{
	unsigned char packet[PACKET_SIZE];
	unsigned len = make_packet(packet, shape);

	expect_bytes(packet, len < FRAME_MIN ? FRAME_MIN : len, want, verdict);
}

#define PACKET(...) (&(const struct shape){ __VA_ARGS__ })

static inline void need_guard(void)
{
	if (!guard)
		skip_because("the programs cannot be loaded here");
}

static inline unsigned passed_of(const struct shape *shape, unsigned packets)
{
	unsigned char packet[PACKET_SIZE];
	unsigned passed = 0, len = make_packet(packet, shape);

	for (unsigned i = 0; i < packets; i++)
		passed += run(packet, len < FRAME_MIN ? FRAME_MIN : len) == XDP_PASS;
	return passed;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif

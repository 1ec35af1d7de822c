// SPDX-License-Identifier: Apache-2.0
/* Networks that are never banned or always refused, observers, and many threads at once. */
#include "unit.h"

#include "unit/guarded.h"

#include <errno.h>
#include <pthread.h>

static void test_names(void **state)
{
	(void)state;
	for (int i = 0; i < GUARD_VERDICTS; i++)
		assert_string_not_equal(guard_verdict_name(i), "?");
	for (int i = 0; i < GUARD_REASONS; i++)
		assert_string_not_equal(guard_reason_name(i), "?");
	for (int i = 0; i < GUARD_ORIGINS; i++)
		assert_string_not_equal(guard_origin_name(i), "?");
	for (int i = 0; i < GUARD_WHYS; i++)
		assert_string_not_equal(guard_why_name(i), "?");
	for (int i = 0; i < GUARD_ENDS; i++)
		assert_string_not_equal(guard_end_name(i), "?");
	assert_string_equal(guard_why_name(GUARD_WHY_ADMIN), "admin");
	assert_string_equal(guard_end_name(GUARD_ENDS), "?");
}

static void test_deny(void **state)
{
	struct cidr deny[] = { net_of("192.0.2.0/24"), net_of("2001:db8::/32") };

	(void)state;
	g.settings.deny = deny;
	g.settings.deny_count = 2;
	guarded_begin();
	never("192.0.2.128/25", GUARD_WHY_ALLOW);
	assert_int_equal(check("192.0.2.1"), GUARD_DENIED);
	assert_int_equal(check("192.0.2.129"), GUARD_PASS);
	assert_int_equal(check("2001:db8::1"), GUARD_DENIED);
	assert_int_equal(check("198.51.100.1"), GUARD_PASS);
	assert_int_equal(status_now().checks[GUARD_DENIED], 2);
	g.settings.observe = true;
	assert_int_equal(guard_configure(g.guard, &g.settings), 0);
	assert_int_equal(check("192.0.2.1"), GUARD_PASS);
	assert_int_equal(status_now().checks[GUARD_DENIED], 3);
	/* Gone with its setting, and no sooner. */
	g.settings.observe = false;
	never("192.0.2.0/31", GUARD_WHY_NODE);
	assert_int_equal(guard_configure(g.guard, &g.settings), 0);
	assert_int_equal(check("192.0.2.129"), GUARD_DENIED);
	g.settings.deny_count = 0;
	assert_int_equal(guard_configure(g.guard, &g.settings), 0);
	assert_int_equal(check("192.0.2.129"), GUARD_PASS);
}

static void test_GRD_3_bans_of_the_spared_end(void **state)
{
	(void)state;
	guarded_begin();
	for (unsigned i = 0; i < 256; i++) {
		char ip[64];

		snprintf(ip, sizeof(ip), "192.0.%u.%u", i % 2, i);
		assert_int_equal(order(ip, MINUTE, GUARD_SHARED), 0);
	}
	assert_int_equal(order("192.0.0.0/16", MINUTE, GUARD_OPERATOR), 0);
	never("192.0.1.0/24", GUARD_WHY_ALLOW);
	assert_int_equal(g.removed, 128);
	assert_int_equal(g.end, GUARD_END_SPARED);
	assert_int_equal(status_now().bans[GUARD_SHARED], 128);
	assert_int_equal(check("192.0.1.1"), GUARD_PASS);
	assert_int_equal(check("192.0.0.2"), GUARD_BANNED);
	assert_int_equal(check("192.0.7.7"), GUARD_BANNED); /* the larger one stays */
	assert_int_equal(status_now().bans[GUARD_OPERATOR], 1);
}

static void test_GRD_3_whole_set(void **state)
{
	struct guard_net nets[] = { { net_of("192.0.2.1"), GUARD_WHY_NODE },
		{ net_of("192.0.2.2"), GUARD_WHY_ADMIN } };

	(void)state;
	guarded_begin();
	assert_int_equal(guard_set_never(g.guard, nets, 2), 0);
	assert_int_equal(order("192.0.2.1", MINUTE, GUARD_OPERATOR), GUARD_NEVER);
	assert_int_equal(g.why, GUARD_WHY_NODE);
	assert_int_equal(guard_set_never(g.guard, nets + 1, 1), 0);
	assert_int_equal(order("192.0.2.1", MINUTE, GUARD_OPERATOR), 0);
	assert_int_equal(order("192.0.2.2", MINUTE, GUARD_OPERATOR), GUARD_NEVER);
	assert_int_equal(g.why, GUARD_WHY_ADMIN);
	assert_int_equal(guard_set_never(g.guard, NULL, 0), 0);
	assert_int_equal(order("192.0.2.2", MINUTE, GUARD_OPERATOR), 0);
	assert_int_equal(g.nets_changed, 3);
}

struct seen {
	unsigned count[GUARD_WHYS];
};

static void on_net(void *arg, const struct guard_net *net)
{
	struct seen *seen = arg;

	seen->count[net->why]++;
}

static void test_each_net(void **state)
{
	struct cidr deny[] = { net_of("192.0.2.0/24"), net_of("198.51.100.0/24") };
	struct guard_net nets[] = { { net_of("192.0.2.0/24"), GUARD_WHY_ALLOW },
		{ net_of("192.0.2.0/24"), GUARD_WHY_PROXY },
		{ net_of("::1"), GUARD_WHY_LOOPBACK } };
	struct seen seen = { 0 };

	(void)state;
	g.settings.deny = deny;
	g.settings.deny_count = 2;
	guarded_begin();
	assert_int_equal(guard_set_never(g.guard, nets, 3), 0);
	guard_nets_each(g.guard, on_net, &seen);
	assert_int_equal(seen.count[GUARD_WHY_PROXY], 1);
	assert_int_equal(seen.count[GUARD_WHY_ALLOW], 0); /* each network once */
	assert_int_equal(seen.count[GUARD_WHY_LOOPBACK], 1);
	assert_int_equal(seen.count[GUARD_WHY_DENY], 1);
}

static void test_prefixes_and_limits_stay(void **state)
{
	(void)state;
	g.settings.max_sources = 2;
	guarded_begin();
	g.settings.ipv4_prefix = 24;
	g.settings.max_sources = 100;
	assert_int_equal(guard_configure(g.guard, &g.settings), 0);
	for (int i = 0; i < 10; i++) {
		char ip[64];

		snprintf(ip, sizeof(ip), "192.0.2.%d", i);
		note(ip, GUARD_REFUSED, 1);
	}
	assert_int_equal(status_now().sources, 2);
	assert_int_equal(status_now().bans[GUARD_LOCAL], 0);
}

static void test_observers(void **state)
{
	static const struct guard_observer_ops none = { NULL, NULL, NULL, NULL };

	(void)state;
	guarded_begin();
	for (int i = 1; i < GUARD_OBSERVERS; i++)
		assert_int_equal(guard_observe(g.guard, i % 2 ? &none : &guarded_ops, &g), 0);
	assert_int_equal(guard_observe(g.guard, &none, NULL), -ENOSPC);
	note("192.0.2.1", GUARD_REFUSED, 10);
	assert_int_equal(g.set, 1 + (GUARD_OBSERVERS - 1) / 2);
}

/* ---- threads ---- */

#define THREADS 4
#define ROUNDS 3000

static atomic_uint heard_set, heard_removed;

static void hear_set(void *arg, const struct guard_ban *ban)
{
	struct guard_ban found;

	(void)arg;
	atomic_fetch_add(&heard_set, 1);
	guard_find_ban(g.guard, &ban->net, &found); /* no lock is held */
}

static void hear_removed(void *arg, const struct guard_ban *ban, enum guard_end end)
{
	(void)arg;
	(void)ban;
	(void)end;
	atomic_fetch_add(&heard_removed, 1);
}

static bool any_ban(void *arg, const struct guard_ban *ban)
{
	(void)arg;
	assert_true(ban->net.bits > 0);
	return true;
}

static void use(unsigned thread, unsigned i)
{
	struct guard_status status;
	char ip[64];
	struct addr client;
	struct cidr net;

	snprintf(ip, sizeof(ip), "198.51.100.%u", (i * 7 + thread) % 61);
	client = at(ip);
	guard_check(g.guard, &client);
	guard_session(g.guard, &client, 1);
	guard_penalty_ms(g.guard, &client);
	guard_note(g.guard, &client, i % 2, (enum guard_event)(i % GUARD_EVENTS), i % 13);
	guard_session(g.guard, &client, -1);
	if (i % 16 == 0) {
		guard_source(g.guard, &client, &net);
		guard_unban(g.guard, &net);
		pass_time(100);
		guard_sweep(g.guard);
	}
	if (i % 64 == 1)
		guard_bans_each(g.guard, any_ban, NULL);
	if (i % 64 == 2)
		guard_status(g.guard, &status);
	if (i % 64 == 3) {
		struct guard_net spared = { net_of(ip), GUARD_WHY_ALLOW };

		assert_int_equal(guard_set_never(g.guard, &spared, i % 128 < 64), 0);
	}
	if (i % 64 == 4)
		assert_int_equal(guard_configure(g.guard, &guard_defaults), 0);
	if (i % 32 == 5) {
		struct guard_order o = { .net = net_of("198.51.100.0/26"),
			.for_ms = SECOND,
			.origin = GUARD_OPERATOR,
			.reason = GUARD_FOR_ORDER };

		assert_int_equal(guard_ban(g.guard, &o, NULL), 0);
	}
}

static void *run(void *arg)
{
	for (unsigned i = 0; i < ROUNDS; i++)
		use((unsigned)(uintptr_t)arg, i);
	return NULL;
}

/* What races is found by a build with TSAN=1; here the sums have to be right. */
static void test_threads(void **state)
{
	static const struct guard_observer_ops ops = { .ban_set = hear_set,
		.ban_removed = hear_removed };
	pthread_t threads[THREADS];
	struct guard_status status;
	uint64_t events = 0, bans = 0, ended = 0;

	(void)state;
	g.settings.max_sources = 20;
	g.settings.max_bans = 20;
	assert_int_equal(guard_new(&g.settings, &g.guard), 0);
	assert_int_equal(guard_observe(g.guard, &ops, NULL), 0);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, run, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	guard_status(g.guard, &status);
	for (int i = 0; i < GUARD_EVENTS; i++)
		events += status.events[i];
	for (int i = 0; i < GUARD_ENDS; i++)
		ended += status.ended[i];
	assert_int_equal(events, THREADS * ROUNDS);
	assert_int_equal(atomic_load(&heard_removed), ended);
	assert_true(atomic_load(&heard_set) >= ended);
	assert_true(status.sources <= 20 + THREADS);
	pass_time(HOUR);
	guard_sweep(g.guard);
	guard_status(g.guard, &status);
	for (int i = 0; i < GUARD_ORIGINS; i++)
		bans += status.bans[i];
	assert_int_equal(bans, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		guarded_test(test_names),
		guarded_test(test_deny),
		guarded_test(test_GRD_3_bans_of_the_spared_end),
		guarded_test(test_GRD_3_whole_set),
		guarded_test(test_each_net),
		guarded_test(test_prefixes_and_limits_stay),
		guarded_test(test_observers),
		guarded_test(test_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

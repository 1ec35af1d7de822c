// SPDX-License-Identifier: Apache-2.0
/* A guard on a clock that the test moves, with an observer that writes down what it hears. Included
 * by one file of a program, after unit.h. */
#ifndef TESTS_GUARDED_H
#define TESTS_GUARDED_H

#include "guard_defaults.h"
#include "unit/fake_clock.h"

static struct guarded {
	struct guard *guard;
	struct guard_settings settings; /* to be changed before guarded_begin() */
	unsigned set, removed, withheld, nets_changed;
	struct guard_ban last; /* set or removed */
	enum guard_end end;
	enum guard_why why;
	double points;
} g;

static void on_ban_set(void *arg, const struct guard_ban *ban)
{
	assert_ptr_equal(arg, &g);
	g.set++;
	g.last = *ban;
}

static void on_ban_removed(void *arg, const struct guard_ban *ban, enum guard_end end)
{
	assert_ptr_equal(arg, &g);
	g.removed++;
	g.last = *ban;
	g.end = end;
}

static void on_withheld(void *arg, const struct addr *client, enum guard_why why, double points)
{
	assert_ptr_equal(arg, &g);
	assert_true(addr_is_set(client));
	g.withheld++;
	g.why = why;
	g.points = points;
}

static void on_nets_changed(void *arg)
{
	assert_ptr_equal(arg, &g);
	g.nets_changed++;
}

static const struct guard_observer_ops guarded_ops = { on_ban_set, on_ban_removed, on_withheld,
	on_nets_changed };

static int guarded_setup(void **state)
{
	(void)state;
	memset(&g, 0, sizeof(g));
	g.settings = guard_defaults;
	return 0;
}

static int guarded_teardown(void **state)
{
	(void)state;
	guard_free(g.guard);
	g.guard = NULL;
	return 0;
}

UNUSED static void guarded_begin(void)
{
	assert_int_equal(guard_new(&g.settings, &g.guard), 0);
	assert_int_equal(guard_observe(g.guard, &guarded_ops, &g), 0);
}

#define guarded_test(name) cmocka_unit_test_setup_teardown(name, guarded_setup, guarded_teardown)

UNUSED static void pass_time(uint64_t ms)
{
	atomic_fetch_add(&fake_now_ms, ms);
}

/* Of 198.51.0.0/16. */
UNUSED static const char *nth(unsigned i)
{
	static char text[64];

	snprintf(text, sizeof(text), "198.51.%u.%u", i / 256, i % 256);
	return text;
}

UNUSED static struct addr at(const char *ip)
{
	struct addr addr;

	assert_int_equal(addr_parse_ip(view_str(ip), 1234, &addr), 0);
	return addr;
}

UNUSED static struct cidr net_of(const char *text)
{
	struct cidr net;

	assert_int_equal(cidr_parse(view_str(text), &net), 0);
	return net;
}

UNUSED static void note(const char *ip, enum guard_event event, unsigned times)
{
	struct addr client = at(ip);

	while (times--)
		guard_note(g.guard, &client, false, event, 0);
}

UNUSED static enum guard_verdict check(const char *ip)
{
	struct addr client = at(ip);

	return guard_check(g.guard, &client);
}

UNUSED static uint32_t penalty(const char *ip)
{
	struct addr client = at(ip);

	return guard_penalty_ms(g.guard, &client);
}

UNUSED static void sessions(const char *ip, int delta)
{
	struct addr client = at(ip);

	guard_session(g.guard, &client, delta);
}

UNUSED static int order(const char *net, uint64_t for_ms, enum guard_origin origin)
{
	struct guard_order o = {
		.net = net_of(net), .for_ms = for_ms, .origin = origin, .reason = GUARD_FOR_ORDER
	};

	return guard_ban(g.guard, &o, &g.why);
}

UNUSED static void never(const char *net, enum guard_why why)
{
	struct guard_net n = { net_of(net), why };

	assert_int_equal(guard_set_never(g.guard, &n, 1), 0);
}

UNUSED static struct guard_status status_now(void)
{
	struct guard_status status;

	guard_status(g.guard, &status);
	return status;
}

#endif

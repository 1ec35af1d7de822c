// SPDX-License-Identifier: Apache-2.0
/* Which addresses are the host's own, and that changes are followed: in a network namespace of this
 * program's own. */
#include "unit/own_network.h"

#include "net/addr.h"
#include "net/resolve.h"

static struct fixture {
	struct loop loop;
	struct netlink_addrs *addrs;
	struct netlink_addrs_observer observer;
	unsigned changes;
} f;

static void on_changed(struct netlink_addrs_observer *observer)
{
	assert_ptr_equal(observer, &f.observer);
	f.changes++;
}

static int setup(void **state)
{
	(void)state;
	memset(&f, 0, sizeof(f));
	f.observer.changed = on_changed;
	assert_int_equal(loop_init(&f.loop), 0);
	assert_int_equal(netlink_addrs_new(&f.loop, &f.addrs), 0);
	netlink_addrs_observe(f.addrs, &f.observer);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	netlink_addrs_unobserve(&f.observer);
	netlink_addrs_free(f.addrs);
	loop_fini(&f.loop);
	return 0;
}

static bool is_local(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse_ip(view_str(text), 0, &addr), 0);
	return netlink_is_local(f.addrs, &addr);
}

static void after(const char *arguments)
{
	f.changes = 0;
	ip(arguments);
	settle(&f.loop);
}

static void count_one(void *arg, const struct addr *addr)
{
	assert_true(addr_is_set(addr));
	assert_int_equal(addr_port(addr), 0);
	++*(unsigned *)arg;
}

static unsigned listed(void)
{
	unsigned count = 0;

	netlink_addrs_each(f.addrs, count_one, &count);
	return count;
}

static void test_own_addresses(void **state)
{
	(void)state;
	assert_true(is_local("127.9.9.9"));
	assert_false(is_local("192.0.2.1"));
}

static void test_GRD_30_addresses_come_and_go(void **state)
{
	unsigned before = listed();

	(void)state;
	after("link add name one type ifb");
	ip("link set one addrgenmode none");
	after("link set one up");
	assert_int_equal(f.changes, 0); /* no address yet */
	after("addr add 192.0.2.1/24 dev one");
	assert_int_equal(f.changes, 1);
	assert_true(is_local("192.0.2.1"));
	assert_false(is_local("192.0.2.2"));
	after("addr add 2001:db8::1/64 dev one nodad");
	assert_int_equal(f.changes, 1);
	assert_true(is_local("2001:db8::1"));
	assert_int_equal(listed(), before + 2);
	after("addr del 192.0.2.1/24 dev one");
	assert_int_equal(f.changes, 1);
	assert_false(is_local("192.0.2.1"));
	after("link del one"); /* its addresses with it */
	assert_int_equal(f.changes, 1);
	assert_false(is_local("2001:db8::1"));
	assert_int_equal(listed(), before);
}

/* What advertisements of a router do every few seconds. */
static void test_GRD_30_a_renewed_address_is_no_change(void **state)
{
	(void)state;
	after("link add name one type ifb");
	ip("link set one addrgenmode none");
	after("link set one up");
	after("addr add 2001:db8::1/64 dev one nodad valid_lft 900 preferred_lft 900");
	assert_int_equal(f.changes, 1);
	after("addr change 2001:db8::1/64 dev one valid_lft 1900 preferred_lft 1900");
	assert_int_equal(f.changes, 0);
	after("link del one");
}

/* The other end's address is not ours. */
static void test_GRD_30_point_to_point(void **state)
{
	(void)state;
	after("link add name one type ifb");
	after("link set one up");
	after("addr add 192.0.2.1 peer 192.0.2.9 dev one");
	assert_true(is_local("192.0.2.1"));
	assert_false(is_local("192.0.2.9"));
	after("link del one");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_own_addresses, setup, teardown),
		cmocka_unit_test_setup_teardown(test_GRD_30_addresses_come_and_go, setup, teardown),
		cmocka_unit_test_setup_teardown(
			test_GRD_30_a_renewed_address_is_no_change, setup, teardown),
		cmocka_unit_test_setup_teardown(test_GRD_30_point_to_point, setup, teardown),
	};

	return cmocka_run_group_tests(tests, enter_own_network, NULL);
}

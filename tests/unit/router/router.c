// SPDX-License-Identifier: Apache-2.0
/* Which addresses lead back to this router, while the host's change: in a network namespace of this
 * program's own. */
#include "unit/own_network.h"

#include "router/router.h"

static bool is_own(const struct router *router, const struct snapshot *snapshot, const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(view_str(text), &addr), 0);
	return router_is_own_listener(router, snapshot, &addr);
}

static void test_GRD_30_loop_check_follows_addresses(void **state)
{
	struct addr bound[2];
	struct snapshot snapshot = { .own_addrs = bound, .own_addr_count = 2 };
	struct router router = { 0 };
	struct loop loop;

	(void)state;
	assert_int_equal(addr_parse(VIEW_LIT("0.0.0.0:143"), &bound[0]), 0);
	assert_int_equal(addr_parse(VIEW_LIT("192.0.2.7:993"), &bound[1]), 0);
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(netlink_addrs_new(&loop, &router.local_addrs), 0);
	assert_false(is_own(&router, &snapshot, "192.0.2.1:143"));
	ip("link add name one type ifb");
	ip("link set one up");
	ip("addr add 192.0.2.1/24 dev one");
	settle(&loop);
	assert_true(is_own(&router, &snapshot, "192.0.2.1:143"));
	assert_false(is_own(&router, &snapshot, "192.0.2.1:993"));
	assert_false(is_own(&router, &snapshot, "192.0.2.2:143"));
	assert_true(is_own(&router, &snapshot, "192.0.2.7:993")); /* bound, whoever has it */
	ip("link del one");
	settle(&loop);
	assert_false(is_own(&router, &snapshot, "192.0.2.1:143"));
	netlink_addrs_free(router.local_addrs);
	loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_GRD_30_loop_check_follows_addresses),
	};

	return cmocka_run_group_tests(tests, enter_own_network, NULL);
}

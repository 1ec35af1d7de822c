// SPDX-License-Identifier: Apache-2.0
/* Which addresses are the host's own. */
#include "unit.h"

#include "net/addr.h"
#include "net/resolve.h"

static void test_own_addresses(void **state)
{
	struct netlink_addrs *addrs;
	struct loop loop;
	struct addr addr;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(netlink_addrs_new(&loop, &addrs), 0);
	assert_int_equal(addr_parse_ip(VIEW_LIT("127.9.9.9"), 0, &addr), 0);
	assert_true(netlink_is_local(addrs, &addr));
	assert_int_equal(addr_parse_ip(VIEW_LIT("192.0.2.1"), 0, &addr), 0);
	assert_false(netlink_is_local(addrs, &addr));
	netlink_addrs_free(addrs);
	loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_own_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

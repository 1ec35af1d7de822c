// SPDX-License-Identifier: Apache-2.0
/* How many logins may wait for the end of a delay. */
#include "unit.h"

#include "base/clock.h"
#include "router/holds.h"

#include <stdio.h>

static struct addr address(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse_ip(view_str(text), 1, &addr), 0);
	return addr;
}

static void test_SES_43_logins_of_an_account(void **state)
{
	struct view alice = VIEW_LIT("alice"), bob = VIEW_LIT("bob");
	struct addr clients[HOLDS_WAITING_PER_ACCOUNT], other = address("198.51.100.7");
	struct holds *holds;
	char text[32];

	(void)state;
	assert_int_equal(holds_new(&holds), 0);
	for (int i = 0; i < HOLDS_WAITING_PER_ACCOUNT; i++) {
		snprintf(text, sizeof(text), "192.0.2.%d", i);
		clients[i] = address(text);
		assert_int_equal(holds_enter(holds, alice, &clients[i]), 0);
	}
	assert_int_equal(holds_enter(holds, alice, &other), HOLDS_FULL);
	assert_int_equal(holds_enter(holds, bob, &other), 0);
	/* Whether it is held any more does not matter to those who wait. */
	assert_int_equal(holds_set(holds, alice, clock_mono_ms() + 60000), 0);
	assert_int_equal(holds_set(holds, alice, 0), 0);
	assert_int_equal(holds_enter(holds, alice, &other), HOLDS_FULL);
	holds_leave(holds, alice, &clients[3]);
	assert_int_equal(holds_enter(holds, alice, &other), 0);
	assert_int_equal(holds_enter(holds, alice, &other), HOLDS_FULL);
	holds_free(holds);
}

static void wait_all(struct holds *holds, const char *const *froms, size_t count)
{
	char name[32];

	for (int i = 0; i < HOLDS_WAITING_PER_ADDRESS; i++) {
		struct addr client = address(froms[(size_t)i % count]);

		snprintf(name, sizeof(name), "user%d", i);
		assert_int_equal(holds_enter(holds, view_str(name), &client), 0);
	}
}

static void test_SES_43_logins_of_an_address(void **state)
{
	static const char *const v4[] = { "192.0.2.1" };
	static const char *const v6[] = { "2001:db8::1", "2001:db8::2", "2001:db8:0:0:ffff::" };
	struct addr same = address("2001:db8::3"), near = address("2001:db8:0:1::1");
	struct addr first = address("192.0.2.1"), second = address("192.0.2.2");
	struct holds *holds;

	(void)state;
	assert_int_equal(holds_new(&holds), 0);
	wait_all(holds, v4, 1);
	assert_int_equal(holds_enter(holds, VIEW_LIT("x"), &first), HOLDS_FULL);
	assert_int_equal(holds_enter(holds, VIEW_LIT("x"), &second), 0);
	holds_leave(holds, VIEW_LIT("user5"), &first);
	assert_int_equal(holds_enter(holds, VIEW_LIT("x"), &first), 0);
	holds_free(holds);

	assert_int_equal(holds_new(&holds), 0);
	wait_all(holds, v6, 3);
	assert_int_equal(holds_enter(holds, VIEW_LIT("x"), &same), HOLDS_FULL);
	assert_int_equal(holds_enter(holds, VIEW_LIT("x"), &near), 0);
	holds_leave(holds, VIEW_LIT("nobody"), &near); /* does no harm */
	holds_free(holds);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_SES_43_logins_of_an_account),
		cmocka_unit_test(test_SES_43_logins_of_an_address),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* Comparison of secrets. */
#include "unit.h"

#include "base/secret.h"

static void test_secret_equal(void **state)
{
	(void)state;
	assert_int_equal(secret_equal("abc", "abc", 3), 1);
	assert_int_equal(secret_equal("abc", "abd", 3), 0);
	assert_int_equal(secret_equal("", "", 0), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_secret_equal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* Lists of names: own copies, each once when sorted, found only then. */
#include "unit.h"

#include "ctl/drain.h"

static void test_an_empty_list_is_sorted_searched_and_freed(void **state)
{
	struct drain_names names = { 0 };

	(void)state;
	drain_names_sort(&names);
	assert_false(drain_names_has(&names, ""));
	drain_names_free(&names);
	drain_names_free(&names); /* again */
}

static void test_names_are_copies(void **state)
{
	struct drain_names names = { 0 };
	char name[] = "alice";

	(void)state;
	assert_int_equal(drain_names_add(&names, name), 0);
	name[0] = 'A';
	assert_string_equal(names.names[0], "alice");
	drain_names_free(&names);
	assert_int_equal(names.count, 0);
}

static void test_a_sorted_list_has_each_name_once(void **state)
{
	static const char *const given[] = { "carol", "alice", "bob", "alice", "", "carol" };
	static const char *const sorted[] = { "", "alice", "bob", "carol" };
	struct drain_names names = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(given); i++)
		assert_int_equal(drain_names_add(&names, given[i]), 0);
	drain_names_sort(&names);
	assert_int_equal(names.count, ARRAY_SIZE(sorted));
	for (size_t i = 0; i < ARRAY_SIZE(sorted); i++) {
		assert_string_equal(names.names[i], sorted[i]);
		assert_true(drain_names_has(&names, sorted[i]));
	}
	assert_false(drain_names_has(&names, "ali"));
	assert_false(drain_names_has(&names, "dave"));
	drain_names_free(&names);
}

static void test_a_list_grows(void **state)
{
	struct drain_names names = { 0 };
	char name[16];

	(void)state;
	for (int i = 999; i >= 0; i--) {
		snprintf(name, sizeof(name), "%03d", i);
		assert_int_equal(drain_names_add(&names, name), 0);
	}
	drain_names_sort(&names);
	assert_int_equal(names.count, 1000);
	assert_string_equal(names.names[0], "000");
	assert_string_equal(names.names[999], "999");
	drain_names_free(&names);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_empty_list_is_sorted_searched_and_freed),
		cmocka_unit_test(test_names_are_copies),
		cmocka_unit_test(test_a_sorted_list_has_each_name_once),
		cmocka_unit_test(test_a_list_grows),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

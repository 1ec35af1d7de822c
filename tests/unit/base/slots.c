// SPDX-License-Identifier: Apache-2.0
/* Handles: they find an object as long as it is there, and nothing afterwards. */
#include "unit.h"

#include "base/slots.h"

static void test_a_handle_finds_its_object_until_it_is_gone(void **state)
{
	int one, two;
	uint64_t first, second, third;
	struct slots slots;

	(void)state;
	slots_init(&slots);
	assert_int_equal(slots_add(&slots, &one, &first), 0);
	assert_int_equal(slots_add(&slots, &two, &second), 0);
	assert_true(first && second); /* 0 is no handle */
	assert_ptr_equal(slots_find(&slots, first), &one);
	assert_ptr_equal(slots_find(&slots, second), &two);
	slots_remove(&slots, first);
	assert_null(slots_find(&slots, first));
	slots_remove(&slots, first); /* again */
	assert_int_equal(slots_add(&slots, &two, &third), 0);
	assert_int_equal((uint32_t)third, (uint32_t)first); /* the same place, */
	assert_int_not_equal(third, first);                 /* another handle */
	assert_null(slots_find(&slots, first));
	assert_ptr_equal(slots_find(&slots, third), &two);
	slots_fini(&slots);
	assert_null(slots_find(&slots, second));
}

static void test_handles_survive_growth(void **state)
{
	enum { MANY = 1000 };
	static int objects[MANY];
	static uint64_t handles[MANY];
	struct slots slots;

	(void)state;
	slots_init(&slots);
	for (int i = 0; i < MANY; i++)
		assert_int_equal(slots_add(&slots, &objects[i], &handles[i]), 0);
	for (int i = 0; i < MANY; i += 2)
		slots_remove(&slots, handles[i]);
	for (int i = 0; i < MANY; i++)
		assert_ptr_equal(slots_find(&slots, handles[i]), i % 2 ? &objects[i] : NULL);
	assert_null(slots_find(&slots, UINT64_MAX));
	slots_fini(&slots);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_handle_finds_its_object_until_it_is_gone),
		cmocka_unit_test(test_handles_survive_growth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

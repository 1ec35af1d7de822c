// SPDX-License-Identifier: Apache-2.0
/* The hash of tables whose keys an outsider chooses. */
#include "unit.h"

#include "base/hash.h"

/* Before a key is drawn it is 00 01 .. 0f; SipHash-1-3 of 00 01 02 .. under it, computed by another
 * implementation that gives the paper's value of SipHash-2-4. */
static void test_siphash_1_3(void **state)
{
	static const struct {
		size_t len;
		uint64_t hash;
	} cases[] = { { 0, 0xabac0158050fc4dc }, { 1, 0xc9f49bf37d57ca93 },
		{ 7, 0xd3927d989bb11140 }, { 8, 0x369095118d299a8e }, { 15, 0xd320d86d2a519956 },
		{ 63, 0x9d199062b7bbb3a8 } };
	char bytes[64];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)i;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_true(hash_view(view_make(bytes, cases[i].len)) == cases[i].hash);
}

static void test_a_key_of_the_process(void **state)
{
	uint64_t before = hash_view(VIEW_LIT("alice")), first;

	(void)state;
	assert_int_equal(hash_seed(), 0);
	first = hash_view(VIEW_LIT("alice"));
	assert_true(first != before);
	assert_true(hash_view(VIEW_LIT("alice")) == first);
	assert_true(hash_view(VIEW_LIT("alicf")) != first);
	assert_int_equal(hash_seed(), 0);
	assert_true(hash_view(VIEW_LIT("alice")) != first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_siphash_1_3),
		cmocka_unit_test(test_a_key_of_the_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

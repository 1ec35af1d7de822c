// SPDX-License-Identifier: Apache-2.0
/* Digests, and how an operator writes one. */
#include "unit.h"

#include "tls/tls.h"

#include <errno.h>

/* FIPS 180-4: of "abc". */
#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void test_sha256(void **state)
{
	unsigned char digest[TLS_SHA256_SIZE], parsed[TLS_SHA256_SIZE];

	(void)state;
	tls_sha256(VIEW_LIT("abc"), digest);
	assert_int_equal(tls_parse_sha256(VIEW_LIT(ABC), parsed), 0);
	assert_memory_equal(digest, parsed, sizeof(digest));
	tls_sha256(VIEW_LIT("abd"), digest);
	assert_memory_not_equal(digest, parsed, sizeof(digest));
}

static void test_upper_case_and_colons(void **state)
{
	unsigned char digest[TLS_SHA256_SIZE];

	(void)state;
	memset(digest, 7, sizeof(digest));
	assert_int_equal(
		tls_parse_sha256(VIEW_LIT("BA:78:16:BF:8F01CFEA414140DE5DAE2223B00361A396177A9"
					  "CB410FF61F20015:AD"),
			digest),
		0);
	assert_int_equal(digest[0], 0xba);
	assert_int_equal(digest[31], 0xad);
}

static void test_what_is_none_changes_nothing(void **state)
{
	static const char *const cases[] = { "", ABC "0", ABC "00", "g" ABC, " " ABC,
		"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a" };
	unsigned char digest[TLS_SHA256_SIZE] = { 1, 2, 3 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(tls_parse_sha256(view_str(cases[i]), digest), -EINVAL);
		assert_memory_equal(digest, "\1\2\3\0", 4);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sha256),
		cmocka_unit_test(test_upper_case_and_colons),
		cmocka_unit_test(test_what_is_none_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

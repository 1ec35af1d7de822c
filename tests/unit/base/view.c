// SPDX-License-Identifier: Apache-2.0
/* Views: UTF-8, numbers, percent escapes. */
#include "unit.h"

#include "base/view.h"

#include <errno.h>

static void test_utf8(void **state)
{
	static const struct {
		const char *bytes;
		bool ok;
	} cases[] = { { "", true }, { "abc", true }, { "\xc3\xa4", true }, { "\xe2\x82\xac", true },
		{ "\xf0\x9f\x98\x80", true }, { "\xc0\xaf", false }, { "\xe0\x80\x80", false },
		{ "\xed\xa0\x80", false }, { "\xf4\x90\x80\x80", false }, { "\xc3", false },
		{ "\x80", false }, { "\xff", false }, { "\xf0\x9f\x98", false } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(view_is_utf8(view_str(cases[i].bytes)), cases[i].ok);
}

static void test_plain_text(void **state)
{
	static const struct {
		const char *bytes;
		bool ok;
	} cases[] = { { "", true }, { "port scan", true }, { "\xc3\xa4 \xe2\x82\xac", true },
		{ "a\x1b[0m", false }, { "a\n", false }, { "\x7f", false }, { "\xc2\x9b", false },
		{ "a\xe2\x80\xae", false }, { "a\xff", false }, { "a\xc3", false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(view_is_plain_text(view_str(cases[i].bytes)), cases[i].ok);
	assert_false(view_is_plain_text(VIEW_LIT("a\0b")));
}

static void test_to_u64(void **state)
{
	uint64_t n = 7;

	(void)state;
	assert_int_equal(view_to_u64(VIEW_LIT("18446744073709551615"), &n), 0);
	assert_true(n == UINT64_MAX);
	assert_int_equal(view_to_u64(VIEW_LIT("18446744073709551616"), &n), -ERANGE);
	assert_int_equal(view_to_u64(VIEW_LIT(""), &n), -EINVAL);
	assert_int_equal(view_to_u64(VIEW_LIT("+1"), &n), -EINVAL);
	assert_true(n == UINT64_MAX);
}

static void test_percent(void **state)
{
	static const struct {
		const char *in, *out, *rest; /* rest: from the escape that is none */
	} cases[] = { { "", "", "" }, { "plain +", "plain +", "" }, { "%41%6a%6A", "Ajj", "" },
		{ "a%25b%2541", "a%b%41", "" }, { "%ff\xff", "\xff\xff", "" }, { "%", "", "%" },
		{ "x%4", "x", "%4" }, { "x%4g1", "x", "%4g1" }, { "%g4", "", "%g4" },
		{ "%%41", "", "%%41" }, { "%+1", "", "%+1" } };
	struct view nul = VIEW_LIT("%00z");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct view v = view_str(cases[i].in);
		char out[16];
		size_t n = 0;
		int c = 0;

		while (v.len && (c = view_take_percent(&v)) >= 0)
			out[n++] = (char)c;
		assert_true(view_eq(view_make(out, n), view_str(cases[i].out)));
		assert_true(view_eq(v, view_str(cases[i].rest)));
		assert_int_equal(c < 0 ? c : 0, *cases[i].rest ? -EINVAL : 0);
	}
	assert_int_equal(view_take_percent(&nul), 0);
	assert_true(view_eq(nul, VIEW_LIT("z")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_plain_text),
		cmocka_unit_test(test_to_u64),
		cmocka_unit_test(test_percent),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* What was probably meant (CFG-12, OPS-15). */
#include "unit.h"

#include "config/config.h"
#include "config/schema.h"

static const char *const modes[] = { "implicit", "starttls", "plain", NULL };

static void test_near_values_alone_are_offered(void **state)
{
	static const struct {
		const char *word, *meant;
	} cases[] = { { "implicit", "implicit" }, { "IMPLICIT", "implicit" },
		{ "implcit", "implicit" }, { "imlpicit", "implicit" }, { "startls", "starttls" },
		{ "plaintext", "plain" }, { "pain", "plain" }, { "banana", NULL }, { "", NULL },
		{ "x", NULL } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		const char *near = config_near(view_str(cases[i].word), modes);

		if (!cases[i].meant)
			assert_null(near);
		else
			assert_string_equal(near, cases[i].meant);
	}
}

/* A word of another program counts where the value that it stands for is one. */
static void test_words_of_other_programs(void **state)
{
	static const char *const headers[] = { "required", "optional", "off", NULL };

	(void)state;
	assert_string_equal(schema_meant(VIEW_LIT("ssl"), modes), "implicit");
	assert_string_equal(schema_meant(VIEW_LIT("Yes"), modes), "implicit");
	assert_string_equal(schema_meant(VIEW_LIT("yes"), headers), "required");
	assert_string_equal(schema_meant(VIEW_LIT("none"), modes), "plain");
	assert_string_equal(schema_meant(VIEW_LIT("none"), headers), "off");
	assert_null(schema_meant(VIEW_LIT("haproxy"), modes));
}

static void test_the_nearest_of_all(void **state)
{
	static const char *const names[] = { "bb", "ab", "abc", NULL };
	static char longest[300];

	(void)state;
	assert_string_equal(schema_nearest(VIEW_LIT("zz"), names), "ab"); /* the first in order */
	assert_string_equal(schema_nearest(VIEW_LIT("abcd"), names), "abc");
	assert_string_equal(schema_nearest(VIEW_LIT("ba"), names), "ab"); /* neighbours swapped */
	memset(longest, 'a', sizeof(longest));
	assert_non_null(schema_nearest(view_make(longest, sizeof(longest)), names));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_near_values_alone_are_offered),
		cmocka_unit_test(test_words_of_other_programs),
		cmocka_unit_test(test_the_nearest_of_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* Whom the credentials of HTTP Digest name (RFC 7616 section 3.4). */
#include "unit.h"

#include "route/digest.h"

static void test_whom_they_name(void **state)
{
	static const struct {
		const char *params;
		int result;
		const char *name;
	} cases[] = {
		{ "username=\"alice\", realm=\"x\"", DIGEST_FOUND, "alice" },
		{ "realm=\"a, username=\\\"eve\\\"\" ,\tUserName = alice", DIGEST_FOUND, "alice" },
		{ ", ,username=\"a\\\"b\\\\c\",", DIGEST_FOUND, "a\"b\\c" },
		{ "username*=utf-8'en'%c3%a4%27", DIGEST_FOUND, "\xc3\xa4'" },
		{ "username=\"alice\", userhash=false", DIGEST_FOUND, "alice" },
		{ "username=\"\"", DIGEST_FOUND, "" },
		{ "", DIGEST_NOTHING, "" },
		{ "realm=\"x\"", DIGEST_NOTHING, "" },
		{ "username=\"4881\", userhash=TRUE", DIGEST_NOTHING, "" },
		{ "username=\"alice", DIGEST_NOTHING, "" },
		{ "username=\"alice\\", DIGEST_NOTHING, "" },
		{ "username=\"alice\" realm=x", DIGEST_NOTHING, "" },
		{ "username=", DIGEST_NOTHING, "" },
		{ "username", DIGEST_NOTHING, "" },
		{ "=alice", DIGEST_NOTHING, "" },
		{ "username*=ISO-8859-1''alice", DIGEST_NOTHING, "" },
		{ "username*=UTF-8'alice", DIGEST_NOTHING, "" },
		{ "username*=UTF-8''%4", DIGEST_NOTHING, "" },
		{ "username=alice, username=bob", DIGEST_AMBIGUOUS, "" },
		{ "username=alice, username*=UTF-8''alice", DIGEST_AMBIGUOUS, "" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf name = { 0 };
		int r = digest_username(view_str(cases[i].params), &name);

		if (r != cases[i].result)
			fail_msg("%s: %d", cases[i].params, r);
		if (r == DIGEST_FOUND)
			assert_true(view_eq(buf_view(&name), view_str(cases[i].name)));
		buf_fini(&name);
	}
}

static void test_a_name_that_is_too_long(void **state)
{
	struct buf name;

	(void)state;
	buf_init(&name, 4, false);
	assert_true(digest_username(VIEW_LIT("username=alice"), &name) < 0);
	buf_fini(&name);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_whom_they_name),
		cmocka_unit_test(test_a_name_that_is_too_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

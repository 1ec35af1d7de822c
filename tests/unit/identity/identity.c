// SPDX-License-Identifier: Apache-2.0
/* mapping.md sections 2 and 3, and SES-33. */
#include "unit.h"

#include "identity/identity.h"

#include <errno.h>

static const char *const percent[] = { "%", NULL }, *const both[] = { "%", "*", NULL };

static void test_MAP_20_master_users(void **state)
{
	static const struct {
		const char *const *separators;
		const char *login, *account; /* NULL: rejected */
	} cases[] = { { percent, "user@example.com%admin", "user@example.com" },
		{ both, "alice*master", "alice" }, { both, "a%b*c", "a" },
		{ percent, "user@example.com", "user@example.com" }, { percent, "%admin", NULL },
		{ NULL, "a%b", "a%b" }, { percent, "alice%", "alice" } };
	struct identity identity;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct identity_rules rules = { .separators = cases[i].separators };
		int r = identity_login(&rules, view_str(cases[i].login), &identity);

		assert_int_equal(r == 0, cases[i].account != NULL);
		if (cases[i].account)
			assert_string_equal(identity.account, cases[i].account);
	}
}

static void test_MAP_12_every_byte(void **state)
{
	struct identity_rules rules = { .normalize = IDENTITY_NORMALIZE_LOWERCASE };
	struct identity identity;

	(void)state;
	for (int c = 0; c < 256; c++) {
		char text[3] = { 'a', (char)c, 'b' };
		bool ok = c > 0x20 && c != '"' && c < 0x7f;

		assert_int_equal(identity_account(&rules, view_make(text, 3), &identity) == 0, ok);
	}
}

/* Characters that a terminal obeys, or that turn the direction of what stands behind them. */
static void test_MAP_12_controls_of_unicode(void **state)
{
	static const struct {
		const char *account;
		bool ok;
	} cases[] = { { "zo\xc3\xab", true },
		{ "a\xc2\x9b"
		  "b",
			false },
		{ "a\xc2\x80", false }, { "a\xc2\x9f", false }, { "a\xc2\xa0", true },
		{ "\xd8\x9c", false }, { "\xd8\x9b", true }, { "\xe2\x80\x8d", true },
		{ "\xe2\x80\x8e", false }, { "\xe2\x80\x8f", false }, { "\xe2\x80\xa9", true },
		{ "\xe2\x80\xaa", false }, { "\xe2\x80\xae", false }, { "\xe2\x80\xaf", true },
		{ "\xe2\x81\xa5", true }, { "\xe2\x81\xa6", false }, { "\xe2\x81\xa9", false },
		{ "\xe2\x81\xaa", true }, { "\xf0\x9f\x98\x80", true }, { "a\xc2", false },
		{ "a\x9b", false } };
	struct identity_rules rules = { .separators = percent };
	struct identity identity;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(identity_login(&rules, view_str(cases[i].account), &identity) == 0,
			cases[i].ok);
	}
}

static void test_MAP_10_12_lengths_and_case(void **state)
{
	struct identity_rules lower = { .normalize = IDENTITY_NORMALIZE_LOWERCASE }, none = { 0 };
	static char text[2000];
	struct identity identity;

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_int_equal(identity_account(&none, view_make(text, 320), &identity), 0);
	assert_true(identity_account(&none, view_make(text, 321), &identity) < 0);
	assert_true(identity_account(&none, view_make(text, 0), &identity) < 0);
	text[3] = '%';
	assert_int_equal(identity_login(&(struct identity_rules){ .separators = percent },
				 view_make(text, 1024), &identity),
		0);
	assert_true(identity_login(&(struct identity_rules){ .separators = percent },
			    view_make(text, 1025), &identity) < 0);
	assert_int_equal(identity_account(&lower,
				 VIEW_LIT("\xc3\x84"
					  "B@X"),
				 &identity),
		0);
	assert_string_equal(identity.account,
		"\xc3\x84"
		"b@x");
	assert_int_equal(identity_account(&none, VIEW_LIT("AbC"), &identity), 0);
	assert_string_equal(identity.account, "AbC");
}

static void test_SES_33_authzid(void **state)
{
	struct identity_rules lower = { .normalize = IDENTITY_NORMALIZE_LOWERCASE,
		.separators = percent };

	static const struct {
		struct view authzid, authcid;
		const char *account; /* NULL: rejected */
	} cases[] = {
		{ VIEW_LIT(""), VIEW_LIT("alice"), "alice" },
		{ VIEW_LIT(""), VIEW_LIT("alice%admin"), "alice" },
		{ VIEW_LIT("ALICE@X"), VIEW_LIT("alice@x"), "alice@x" },
		{ VIEW_LIT("Alice"), VIEW_LIT("admin"), "alice" },
		{ VIEW_LIT("alice%x"), VIEW_LIT("admin"), "alice" },
		{ VIEW_LIT("alice"), VIEW_LIT("an admin \" with blanks"), "alice" },
		{ VIEW_LIT("alice"), VIEW_LIT("ALICE%admin"), "alice" },
		{ VIEW_LIT("alice%admin"), VIEW_LIT("alice%admin"), "alice" },
		{ VIEW_LIT("bob"), VIEW_LIT("alice%admin"), NULL },
		{ VIEW_LIT("admin"), VIEW_LIT("alice%admin"), NULL },
		{ VIEW_LIT("alice"), VIEW_LIT("%admin"), NULL },
		{ VIEW_LIT("al ice"), VIEW_LIT("admin"), NULL },
		{ VIEW_LIT("%x"), VIEW_LIT("admin"), NULL },
		{ VIEW_LIT("a\"b"), VIEW_LIT("admin"), NULL },
		{ VIEW_LIT("alice\n"), VIEW_LIT("admin"), NULL },
		{ VIEW_LIT("alice"), VIEW_LIT("ad\nmin"), NULL },
		{ VIEW_LIT("\xff"), VIEW_LIT("admin"), NULL },
	};
	struct identity identity;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int r = identity_plain(&lower, cases[i].authzid, cases[i].authcid, &identity);

		assert_int_equal(r, cases[i].account ? 0 : -EINVAL);
		if (r == 0)
			assert_string_equal(identity.account, cases[i].account);
	}
	/* Without normalising it is an account of its own. */
	assert_int_equal(identity_plain(&(struct identity_rules){ 0 }, VIEW_LIT("ALICE"),
				 VIEW_LIT("alice"), &identity),
		0);
	assert_string_equal(identity.account, "ALICE");
}

/* The whole login is bounded and clean, also where the account part alone would do (MAP-13); what
 * is left of the separator must be there, what is right of it need not (MAP-21). */
static void test_MAP_13_21_whole_logins(void **state)
{
	static const struct {
		struct view login;
		const char *account; /* NULL: rejected */
	} cases[] = { { VIEW_LIT("alice%adm\0n"), NULL }, { VIEW_LIT("alice%adm\rn"), NULL },
		{ VIEW_LIT("alice%adm\nn"), NULL }, { VIEW_LIT("alice%a b\"\x7f\xff"), "alice" },
		{ VIEW_LIT("%"), NULL }, { VIEW_LIT("%admin"), NULL }, { VIEW_LIT("%%"), NULL },
		{ VIEW_LIT("alice%"), "alice" }, { VIEW_LIT("al ice%admin"), NULL },
		{ VIEW_LIT("alice%%"), "alice" }, { VIEW_LIT(""), NULL } };
	struct identity_rules rules = { .separators = percent };
	struct identity identity;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int r = identity_login(&rules, cases[i].login, &identity);

		assert_int_equal(r == 0, cases[i].account != NULL);
		if (cases[i].account)
			assert_string_equal(identity.account, cases[i].account);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_MAP_20_master_users),
		cmocka_unit_test(test_MAP_12_every_byte),
		cmocka_unit_test(test_MAP_12_controls_of_unicode),
		cmocka_unit_test(test_MAP_10_12_lengths_and_case),
		cmocka_unit_test(test_SES_33_authzid),
		cmocka_unit_test(test_MAP_13_21_whole_logins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

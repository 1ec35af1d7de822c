// SPDX-License-Identifier: Apache-2.0
/* Globs, expressions, and whose a request is (http.md sections 4 and 5). */
#include "unit.h"

#include "base/base64.h"
#include "route/glob.h"
#include "route/regex.h"
#include "route/route.h"

#include <errno.h>

static const struct {
	const char *glob, *text;
	bool matches;
} globs[] = {
	{ "/**", "/", true },
	{ "/**", "/a/b", true },
	{ "/api/**", "/api/", true },
	{ "/api/**", "/api/x/y", true },
	{ "/api/**", "/api", false },
	{ "/api", "/api", true },
	{ "/api", "/apix", false },
	{ "/a/*", "/a/b", true },
	{ "/a/*", "/a/b/c", true },
	{ "/a/*", "/a/", true },
	{ "/a/*", "/ab", false },
	{ "/*/c", "/a/b/c", true },
	{ "/a?c", "/abc", true },
	{ "/a?c", "/a/c", true },
	{ "/a?c", "/ac", false },
	{ "/[abc]", "/b", true },
	{ "/[abc]", "/d", false },
	{ "/[a-c]x", "/bx", true },
	{ "/[!a-c]", "/d", true },
	{ "/[!a-c]", "/a", false },
	{ "/[]a]", "/]", true },
	{ "/[a-]", "/-", true },
	{ "/[\\]]", "/]", true },
	{ "/[^a-c]", "/d", true },
	{ "/[^a-c]", "/a", false },
	{ "/[\\^a]", "/^", true },
	{ "/[a^]", "/^", true },
	{ "/[^]]", "/x", true },
	{ "/[^]]", "/]", false },
	{ "/[!]]", "/x", true },
	{ "/[!]]", "/]", false },
	{ "/{a,bc}/x", "/bc/x", true },
	{ "/{a,bc}/x", "/a/x", true },
	{ "/{a,bc}/x", "/b/x", false },
	{ "/x{,y}", "/x", true },
	{ "/x{,y}", "/xy", true },
	{ "/{a*,b}z", "/aaz", true },
	{ "/{[,],b}", "/,", true },
	{ "/\\*", "/*", true },
	{ "/\\*", "/a", false },
	{ "/a\\{b", "/a{b", true },
	{ "/a}b,c", "/a}b,c", true },
	{ "/***", "/a", true },
	{ "/**/ws", "/ws", true },
	{ "/**/ws", "/a/ws", true },
	{ "/**/ws", "/a/b/ws", true },
	{ "/**/ws", "/xws", false },
	{ "/**/ws", "/ws/x", false },
	{ "/a/**/b", "/a/b", true },
	{ "/a/**/b", "/a/x/y/b", true },
	{ "/a/**/b", "/ab", false },
	{ "/a/**/b", "/a/xb", false },
	{ "/a/**/b/**/c", "/a/b/c", true },
	{ "/a/**/b/**/c", "/a/x/b/y/c", true },
	{ "/a/**/**/b", "/a/b", true },
	{ "/{x/**/y,z}", "/x/y", true },
	{ "/{x/**/y,z}", "/x/1/y", true },
	{ "**/ws", "/ws", true },
	{ "/**/", "/", true },
	{ "/**/**", "/", true },
	{ "", "", true },
	{ "", "/", false },
	{ "/a", "/A", false },
	{ "/a%2Fb", "/a%2Fb", true },
	{ "/[\x80-\xff]", "/\xc3", true },
	{ "/a**b", "/axxb", true },
	{ "/a**b", "/axxc", false },
	{ "*", "", true },
	{ "/{a}", "/a", true },
	{ "{}", "", true },
};

static void test_section_4_globs(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(globs); i++) {
		struct glob *glob = NULL;
		const char *fault;

		assert_int_equal(glob_new(globs[i].glob, &glob, &fault), 0);
		if (glob_match(glob, view_str(globs[i].text)) != globs[i].matches)
			fail_msg("%s %s", globs[i].glob, globs[i].text);
		glob_free(glob);
	}
}

static void test_section_4_bad_globs(void **state)
{
	static const char *const bad[][2] = { { "/a\\", "ends with a backslash" },
		{ "/[a", "has an open [" }, { "/[]", "has an open [" }, { "/[\\", "has an open [" },
		{ "/{a", "has an open {" }, { "/{a,{b}}", "nests { }" } };
	static char longest[5000];
	struct glob *glob = NULL;
	const char *fault;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		assert_int_equal(glob_new(bad[i][0], &glob, &fault), -EINVAL);
		assert_string_equal(fault, bad[i][1]);
	}
	memset(longest, 'a', sizeof(longest) - 1);
	assert_int_equal(glob_new(longest, &glob, &fault), -EINVAL);
	assert_string_equal(fault, "is too long");
	for (size_t i = 0; i < sizeof(longest) - 1; i++)
		longest[i] = "{a,"[i % 3];
	assert_int_equal(glob_new(longest, &glob, &fault), -EINVAL);
}

/* What a back-tracking matcher would never finish. */
static void test_security_27_globs_do_not_blow_up(void **state)
{
	static char text[65536];
	struct glob *glob = NULL;
	const char *fault;

	(void)state;
	memset(text, 'a', sizeof(text));
	assert_int_equal(glob_new("*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*a*b", &glob, &fault), 0);
	assert_false(glob_match(glob, view_make(text, sizeof(text))));
	text[sizeof(text) - 1] = 'b';
	assert_true(glob_match(glob, view_make(text, sizeof(text))));
	glob_free(glob);
}

static int match(const char *pattern, struct view text, struct view *ret_group)
{
	char error[REGEX_ERROR_SIZE];
	struct regex *regex = NULL;
	int r;

	assert_int_equal(regex_new(pattern, &regex, error), 0);
	r = regex_match(regex, text, ret_group);
	regex_free(regex);
	return r;
}

static void test_HTTP_51_regex(void **state)
{
	static char many[65536];
	char error[REGEX_ERROR_SIZE];
	struct regex *regex = NULL;
	struct view group;

	(void)state;
	assert_int_equal(regex_new("([", &regex, error), -EINVAL);
	assert_non_null(strstr(error, "does not compile at offset 2"));
	assert_int_equal(regex_new("a", &regex, error), -EINVAL);
	assert_string_equal(error, "has no capture group");
	assert_int_equal(match("(\\d+)", VIEW_LIT("ab 123 45"), &group), REGEX_MATCH);
	assert_true(view_eq(group, VIEW_LIT("123")));
	assert_int_equal(match("u=(\\w+)", VIEW_LIT("a\0b&u=x"), &group), REGEX_MATCH);
	assert_true(view_eq(group, VIEW_LIT("x")));
	assert_int_equal(match("U=(\\w+)", VIEW_LIT("u=x"), &group), REGEX_NO_MATCH);
	assert_int_equal(match("a|(b)", VIEW_LIT("a"), &group), REGEX_MATCH);
	assert_int_equal(group.len, 0);
	assert_int_equal(match("(\\xff)", VIEW_LIT("\xc3\xff"), &group), REGEX_MATCH);
	memset(many, 'a', sizeof(many));
	assert_int_equal(match("(a*)*[bc]", view_make(many, sizeof(many)), &group), REGEX_LIMITED);
	/* what is heavy but honest is found */
	many[sizeof(many) - 1] = 'b';
	assert_int_equal(match("^(?:a|c)*(b)", view_make(many, sizeof(many)), &group), REGEX_MATCH);
}

/* ---- the table ---- */

static struct route_table *table_of(const struct route_spec *specs, size_t count)
{
	char error[ROUTE_ERROR_SIZE];
	struct route_table *table = NULL;

	if (route_table_new(specs, count, &table, error) < 0)
		fail_msg("%s", error);
	return table;
}

static void test_HTTP_40_first_match(void **state)
{
	static const struct route_spec specs[] = { { "/.well-known/**" }, { "/api" },
		{ "/[b-z]/x" }, { "/" }, { "/**" } };
	static const struct {
		const char *target;
		int index;
	} cases[] = { { "/.well-known/jmap", 0 }, { "/api", 1 }, { "/api/", 1 }, { "/api//", 1 },
		{ "/api/x", 4 }, { "/", 3 }, { "//", 3 }, { "//api", 4 }, { "/c/x?y=/api", 2 },
		{ "/api?x", 1 }, { "*", 3 }, { "/Api", 4 }, { "/a%2Fpi", 4 }, { "/?/api", 3 } };
	struct route_table *table = table_of(specs, ARRAY_SIZE(specs)), *few;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (route_find(table, view_str(cases[i].target)) != cases[i].index)
			fail_msg("%s", cases[i].target);
	}
	few = table_of(specs, 2);
	assert_int_equal(route_find(few, VIEW_LIT("/none")), -1);
	route_table_free(few);
	route_table_free(table);
}

static void test_a_bad_table_says_why(void **state)
{
	static const struct route_spec specs[] = { { "/a" },
		{ "/b", ROUTE_BODY, NULL, "x", NULL } };
	char error[ROUTE_ERROR_SIZE];
	struct route_table *table = NULL;

	(void)state;
	assert_int_equal(route_table_new(specs, 2, &table, error), -EINVAL);
	assert_string_equal(error, "the regex has no capture group");
}

/* ---- extraction ---- */

static const char *const separators[] = { "%", NULL };
static const struct identity_rules lower = { IDENTITY_NORMALIZE_LOWERCASE, separators };
static const struct route_rules rules = { &lower, "email" };

static int extract(const struct route_spec *spec, const char *target, const char *fields,
	struct view body, char *ret_account)
{
	static const struct http_limits limits = { 8192, 100, false };
	static struct http_head head;
	static char text[8192];
	struct route_table *table = table_of(spec, 1);
	struct identity identity = { 0 };
	int r;

	snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n", target, fields);
	memset(&head, 0, sizeof(head));
	assert_int_equal(http_head_parse(&head, view_str(text), &limits), HTTP_HEAD_DONE);
	r = route_extract(table, 0, &rules, &head, body, &identity);
	route_table_free(table);
	strcpy(ret_account, identity.account);
	return r;
}

static void basic(const char *login, size_t len, char *ret_field)
{
	struct buf text = { 0 };

	assert_int_equal(buf_append_str(&text, "Authorization: Basic "), 0);
	assert_int_equal(base64_encode(view_make(login, len), &text), 0);
	assert_int_equal(buf_append(&text, "\r\n", 3), 0);
	strcpy(ret_field, buf_view(&text).data);
	buf_fini(&text);
}

static void test_section_5_basic(void **state)
{
	static const struct route_spec spec = { "/**", ROUTE_AUTHORIZATION };
	static const struct {
		const char *login, *account;
		int result;
	} cases[] = {
		{ "Alice@Example.COM:pw", "alice@example.com", ROUTE_FOUND },
		{ "alice%admin:pw", "alice", ROUTE_FOUND },
		{ "alice", "alice", ROUTE_FOUND },
		{ "alice:p:w", "alice", ROUTE_FOUND },
		{ "a b:pw", "", ROUTE_REJECTED },
		{ "a\x01:pw", "", ROUTE_REJECTED },
		{ ":pw", "", ROUTE_REJECTED },
		{ "%admin:pw", "", ROUTE_REJECTED },
		{ "\xff:pw", "", ROUTE_REJECTED },
	};
	static const struct {
		const char *fields;
		int result;
	} fields[] = {
		{ "", ROUTE_NOTHING },
		{ "Authorization: basic  YWxpY2U6cHc=\r\n", ROUTE_FOUND },
		{ "authorization: BASIC YWxpY2U6cHc\r\n", ROUTE_FOUND },
		{ "Authorization: Basic YWxpY2U6cHc==\r\n", ROUTE_NOTHING },
		{ "Authorization: Basic YWxp Y2U6cHc=\r\n", ROUTE_NOTHING },
		{ "Authorization: Basic\r\n", ROUTE_NOTHING },
		{ "Authorization:\r\n", ROUTE_NOTHING },
		{ "Authorization: Digest YWxpY2U6cHc=\r\n", ROUTE_NOTHING },
		{ "Authorization: Bearer opaque\r\n", ROUTE_NOTHING },
		{ "Authorization: Basic YWxpY2U6cHc=\r\nAuthorization: Basic YWxpY2U6cHc=\r\n",
			ROUTE_AMBIGUOUS },
	};
	char account[IDENTITY_ACCOUNT_BYTES + 1], field[2048], login[400];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		basic(cases[i].login, strlen(cases[i].login), field);
		if (extract(&spec, "/", field, VIEW_LIT(""), account) != cases[i].result)
			fail_msg("%s", cases[i].login);
		assert_string_equal(account, cases[i].account);
	}
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (extract(&spec, "/", fields[i].fields, VIEW_LIT(""), account) !=
			fields[i].result)
			fail_msg("%s", fields[i].fields);
	}
	memset(login, 'a', sizeof(login));
	basic(login, 320, field);
	assert_int_equal(extract(&spec, "/", field, VIEW_LIT(""), account), ROUTE_FOUND);
	basic(login, 321, field);
	assert_int_equal(extract(&spec, "/", field, VIEW_LIT(""), account), ROUTE_REJECTED);
	basic("a\0b:pw", 6, field);
	assert_int_equal(extract(&spec, "/", field, VIEW_LIT(""), account), ROUTE_REJECTED);
}

static void test_section_5_digest(void **state)
{
	static const struct route_spec spec = { "/**", ROUTE_AUTHORIZATION };
	static const struct {
		const char *params, *account;
		int result;
	} cases[] = {
		{ "username=\"Alice@Example.com\", realm=\"r, username=\\\"x\", nc=00000001, "
		  "qop=auth",
			"alice@example.com", ROUTE_FOUND },
		{ "realm=\"a=b\",USERNAME = \"bob%admin\"", "bob", ROUTE_FOUND },
		{ ",, username=carol ,", "carol", ROUTE_FOUND },
		{ "username=\"a\\lic\\e\"", "alice", ROUTE_FOUND },
		{ "username=\"a\\\"b\"", "", ROUTE_REJECTED },
		{ "username*=UTF-8''J%C3%BCrgen", "j\xc3\xbcrgen", ROUTE_FOUND },
		{ "username*=utf-8'de'alice%40x, userhash=false", "alice@x", ROUTE_FOUND },
		{ "username=\"488869477bf257147b804c45308cd62a\", userhash=true", "",
			ROUTE_NOTHING },
		{ "username*=ISO-8859-1''J%FCrgen", "", ROUTE_NOTHING },
		{ "username*=UTF-8''J%C", "", ROUTE_NOTHING },
		{ "username*=UTF-8'alice", "", ROUTE_NOTHING },
		{ "username*=UTF-8''%FF", "", ROUTE_REJECTED },
		{ "username*=UTF-8''a%00b", "", ROUTE_REJECTED },
		{ "username=\"\"", "", ROUTE_REJECTED },
		{ "username=\"a b\"", "", ROUTE_REJECTED },
		{ "username=\"alice\", username=\"bob\"", "", ROUTE_AMBIGUOUS },
		{ "username=\"alice\", username*=UTF-8''bob", "", ROUTE_AMBIGUOUS },
		{ "realm=\"x\"", "", ROUTE_NOTHING },
		{ "username", "", ROUTE_NOTHING },
		{ "username=", "", ROUTE_NOTHING },
		{ "username=\"alice", "", ROUTE_NOTHING },
		{ "username=\"alice\\", "", ROUTE_NOTHING },
		{ "username=\"alice\"x", "", ROUTE_NOTHING },
		{ "=\"alice\"", "", ROUTE_NOTHING },
		{ "username=alice realm=x", "", ROUTE_NOTHING },
	};
	char account[IDENTITY_ACCOUNT_BYTES + 1], field[2048], many[1100];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		snprintf(field, sizeof(field), "Authorization: Digest %s\r\n", cases[i].params);
		if (extract(&spec, "/", field, VIEW_LIT(""), account) != cases[i].result)
			fail_msg("%s", cases[i].params);
		assert_string_equal(account, cases[i].account);
	}
	memset(many, 'a', sizeof(many));
	snprintf(field, sizeof(field), "Authorization: digest username=\"%.1100s\"\r\n", many);
	assert_int_equal(extract(&spec, "/", field, VIEW_LIT(""), account), ROUTE_REJECTED);
}

static void test_section_5_query(void **state)
{
	static const struct route_spec spec = { "/**", ROUTE_QUERY, "login_hint", NULL, NULL };
	static const struct {
		const char *target, *account;
		int result;
	} cases[] = {
		{ "/?login_hint=user%40example.com", "user@example.com", ROUTE_FOUND },
		{ "/?a=b&login_hint=U%25x&login_hint=v", "u", ROUTE_FOUND },
		{ "/?lo%67in_hint=u", "u", ROUTE_FOUND },
		{ "/?login_hint=u%4", "u", ROUTE_FOUND }, /* literal, and % is the separator */
		{ "/?login_hint=a+b", "", ROUTE_REJECTED },
		{ "/?login_hint=a%00", "", ROUTE_REJECTED },
		{ "/?login_hint=", "", ROUTE_REJECTED },
		{ "/?login_hint", "", ROUTE_REJECTED },
		{ "/?LOGIN_HINT=u", "", ROUTE_NOTHING },
		{ "/?&&=&x", "", ROUTE_NOTHING },
		{ "/", "", ROUTE_NOTHING },
		{ "/login_hint=u", "", ROUTE_NOTHING },
	};
	char account[IDENTITY_ACCOUNT_BYTES + 1];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (extract(&spec, cases[i].target, "", VIEW_LIT(""), account) != cases[i].result)
			fail_msg("%s", cases[i].target);
		assert_string_equal(account, cases[i].account);
	}
}

static void test_section_5_header(void **state)
{
	static const struct route_spec spec = { "/**", ROUTE_HEADER, NULL, NULL, "X-User" };
	char account[IDENTITY_ACCOUNT_BYTES + 1];

	(void)state;
	assert_int_equal(extract(&spec, "/", "x-user:  Joe@x \r\n", VIEW_LIT(""), account), 0);
	assert_string_equal(account, "joe@x");
	assert_int_equal(extract(&spec, "/", "X-User:\r\n", VIEW_LIT(""), account), ROUTE_NOTHING);
	assert_int_equal(extract(&spec, "/", "", VIEW_LIT(""), account), ROUTE_NOTHING);
	assert_int_equal(extract(&spec, "/", "X-User: a\r\nx-USER: b\r\n", VIEW_LIT(""), account),
		ROUTE_AMBIGUOUS);
	assert_int_equal(
		extract(&spec, "/", "X-User: a b\r\n", VIEW_LIT(""), account), ROUTE_REJECTED);
}

static void test_section_5_body(void **state)
{
	static const struct route_spec spec = { "/**", ROUTE_BODY, NULL, "username=([^&]*)", NULL };
	static const struct route_spec slow = { "/**", ROUTE_BODY, NULL, "(a*)*[bc]", NULL };
	static char many[65536];
	char account[IDENTITY_ACCOUNT_BYTES + 1];

	(void)state;
	assert_int_equal(
		extract(&spec, "/", "", VIEW_LIT("a=b&username=joe%40corp.com&c"), account), 0);
	assert_string_equal(account, "joe@corp.com");
	assert_int_equal(extract(&spec, "/", "", VIEW_LIT("username=&c"), account), ROUTE_NOTHING);
	assert_int_equal(extract(&spec, "/", "", VIEW_LIT("nothing"), account), ROUTE_NOTHING);
	assert_int_equal(
		extract(&spec, "/", "", VIEW_LIT("username=a+b"), account), ROUTE_REJECTED);
	memset(many, 'a', sizeof(many));
	assert_int_equal(
		extract(&slow, "/", "", view_make(many, sizeof(many)), account), ROUTE_LIMITED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_section_4_globs),
		cmocka_unit_test(test_section_4_bad_globs),
		cmocka_unit_test(test_security_27_globs_do_not_blow_up),
		cmocka_unit_test(test_HTTP_51_regex),
		cmocka_unit_test(test_HTTP_40_first_match),
		cmocka_unit_test(test_a_bad_table_says_why),
		cmocka_unit_test(test_section_5_basic),
		cmocka_unit_test(test_section_5_digest),
		cmocka_unit_test(test_section_5_query),
		cmocka_unit_test(test_section_5_header),
		cmocka_unit_test(test_section_5_body),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

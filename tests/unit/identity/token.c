// SPDX-License-Identifier: Apache-2.0
/* Names out of bearer tokens: sessions.md section 6; security.md #28. */
#include "unit.h"

#include "base/base64.h"
#include "identity/token.h"

#include <errno.h>
#include <stdlib.h>

/* "HEAD.PAYLOAD.SIG" of a JSON text. */
static void make_token(const char *json, size_t len, const char *format, struct buf *ret)
{
	struct buf encoded = { 0 };
	char *text;

	assert_int_equal(base64_encode(view_make(json, len), &encoded), 0);
	while (encoded.len && encoded.data[encoded.start + encoded.len - 1] == '=')
		encoded.len--;
	for (size_t i = 0; i < encoded.len; i++) {
		char *c = &encoded.data[encoded.start + i];

		*c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
	}
	text = view_dup(buf_view(&encoded));
	assert_int_equal(buf_printf(ret, format, text), 0);
	free(text);
	buf_fini(&encoded);
}

static void expect(const char *json, size_t len, const char *format, const char *name)
{
	struct buf token = { 0 }, login = { 0 };
	int r;

	make_token(json, len, format, &token);
	r = identity_token("account", buf_view(&token), &login);
	if (r != (name ? 0 : IDENTITY_NO_LOGIN))
		fail_msg("%s: %d", json, r);
	if (name && !view_eq(buf_view(&login), view_str(name)))
		fail_msg("%s: %.*s", json, (int)login.len, buf_view(&login).data);
	buf_fini(&token);
	buf_fini(&login);
}

static void test_SES_35_claims(void **state)
{
	static const struct {
		const char *json, *name;
	} cases[] = {
		{ "{\"account\":\"a@x\",\"email\":\"b@x\"}", "a@x" },
		{ "{\"account\":\"plain\",\"email\":\"b@x\"}", "b@x" },
		{ "{\"email\":7,\"preferred_username\":\"c@x\"}", "c@x" },
		{ "{\"upn\":\"d@x\",\"unique_name\":\"e@x\"}", "d@x" },
		{ "{\"unique_name\":\"e@x\",\"sub\":\"f@x\"}", "e@x" },
		{ "{\"sub\":\"f@x\"}", "f@x" },
		{ "{\"sub\":\"nobody\"}", NULL },
		{ "{\"sub\":[\"f@x\"]}", NULL },
		{ "{\"sub\":null,\"name\":\"g@x\"}", NULL },
		{ "{}", NULL },
		{ "[\"email\",\"a@x\"]", NULL },
		{ "\"a@x\"", NULL },
		{ "{\"email\":\"a@x\",\"email\":\"b@x\"}", NULL },
		{ "{\"email\":\"a\\u0000@x\"}", NULL },
		{ "{\"email\":\"a@x\"", NULL },
		{ "{\"email\":\"a@x\"}}", NULL },
		{ "{\"email\":\"a b@x\"}", "a b@x" }, /* judged like any other login */
		{ "{\"email\":\"\\u00e4@x\"}", "\xc3\xa4@x" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		expect(cases[i].json, strlen(cases[i].json), "e30.%s.sig", cases[i].name);
		expect(cases[i].json, strlen(cases[i].json), "e30.%s", cases[i].name);
		expect(cases[i].json, strlen(cases[i].json), "e30.%s.a.b", NULL);
		expect(cases[i].json, strlen(cases[i].json), "%s", NULL);
	}
}

static void test_section_6_footer(void **state)
{
	(void)state;
	expect("bob@x", 5, "sw1.body.%s", "bob@x");
	expect("bob", 3, "sw1.body.%s", "bob");
	expect("", 0, "sw1.body.%s", NULL);
	expect("\xff\xfe", 2, "sw1.body.%s", NULL);
	expect("bob@x", 5, "sw1.body.%s=", NULL); /* padding */
	expect("bob@x", 5, "sw1.body.!%s", NULL);
	expect("bob@x", 5, "SW1.body.%s", NULL);
	expect("bob@x", 5, "sw1.%s", NULL);
	expect("bob@x", 5, "sw1.body.%s.more", NULL);
}

/* #28: size and depth are bounded before anything is parsed. */
static void test_28_limits(void **state)
{
	struct buf json = { 0 };

	(void)state;
	for (int depth = 15; depth <= 16; depth++) {
		buf_clear(&json);
		assert_int_equal(buf_append_str(&json, "{\"x\":"), 0);
		for (int i = 0; i < depth; i++)
			assert_int_equal(buf_append_str(&json, "["), 0);
		assert_int_equal(buf_append_str(&json, "\"[[[{{\\\"[\""), 0);
		for (int i = 0; i < depth; i++)
			assert_int_equal(buf_append_str(&json, "]"), 0);
		assert_int_equal(buf_append_str(&json, ",\"sub\":\"a@x\"}"), 0);
		expect(buf_view(&json).data, json.len, "e30.%s.s", depth == 15 ? "a@x" : NULL);
	}
	buf_clear(&json);
	for (int i = 0; i < 100000; i++)
		assert_int_equal(buf_append_str(&json, "["), 0);
	expect(buf_view(&json).data, json.len, "e30.%s.s", NULL);
	buf_clear(&json);
	assert_int_equal(buf_append_str(&json, "{\"sub\":\"a@x\"}"), 0);
	while (json.len < IDENTITY_TOKEN_JSON_BYTES)
		assert_int_equal(buf_append_str(&json, " "), 0);
	expect(buf_view(&json).data, json.len, "e30.%s.s", "a@x");
	assert_int_equal(buf_append_str(&json, " "), 0);
	expect(buf_view(&json).data, json.len, "e30.%s.s", NULL);
	buf_fini(&json);
}

static void test_a_name_that_does_not_fit(void **state)
{
	struct buf token = { 0 }, login;

	(void)state;
	make_token("{\"sub\":\"abcdefgh@x\"}", 20, "e30.%s.s", &token);
	buf_init(&login, 5, false);
	assert_int_equal(identity_token("sub", buf_view(&token), &login), -ENOBUFS);
	buf_fini(&token);
	buf_fini(&login);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_SES_35_claims),
		cmocka_unit_test(test_section_6_footer),
		cmocka_unit_test(test_28_limits),
		cmocka_unit_test(test_a_name_that_does_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

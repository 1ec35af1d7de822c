// SPDX-License-Identifier: Apache-2.0
/* sessions.md section 6, last table; security.md #28, #29. */
#include "unit.h"

#include "base/base64.h"
#include "identity/token.h"

#include <errno.h>

/* base64url without padding, appended to out. */
static void put_url(struct buf *out, struct view bytes)
{
	struct buf text = { 0 };

	assert_int_equal(base64_encode(bytes, &text), 0);
	for (size_t i = 0; i < text.len; i++) {
		char c = buf_view(&text).data[i];

		c = c == '+' ? '-' : c == '/' ? '_' : c;
		if (c != '=')
			assert_int_equal(buf_append(out, &c, 1), 0);
	}
	buf_fini(&text);
}

/* The token in memory of exactly its size, so that the sanitizer sees a byte too many. */
static int read_exact(const char *claim, struct view token, struct buf *login)
{
	char *copy = malloc(token.len ? token.len : 1);
	int r;

	memcpy(copy, token.data, token.len);
	r = identity_token(claim, view_make(copy, token.len), login);
	free(copy);
	return r;
}

/* login NULL: none, and the buffer is left alone. */
static void expect(const char *claim, struct view token, const char *login)
{
	struct buf out = { 0 };
	int r;

	assert_int_equal(buf_append_str(&out, "x"), 0);
	r = read_exact(claim, token, &out);
	if (r != (login ? 0 : IDENTITY_NO_LOGIN))
		fail_msg("%.*s: %d", (int)MIN(token.len, (size_t)200), token.data, r);
	assert_int_equal(out.len, 1 + (login ? strlen(login) : 0));
	if (login)
		assert_memory_equal(buf_view(&out).data + 1, login, strlen(login));
	buf_fini(&out);
}

/* A JWT with this second part, in each form. */
static void expect_claims(const char *claim, struct view json, const char *login)
{
	static const char *const ends[] = { "", ".", ".c2lnbmF0dXJl", ".!not looked at!" };

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++) {
		struct buf token = { 0 };

		assert_int_equal(buf_append_str(&token, "eyJhbGciOiJub25lIn0."), 0);
		put_url(&token, json);
		assert_int_equal(buf_append_str(&token, ends[i]), 0);
		expect(claim, buf_view(&token), login);
		buf_fini(&token);
	}
}

static void test_section_6_footer(void **state)
{
	static const struct {
		const char *token, *login;
	} cases[] = {
		{ "sw1.Ym9keQ.Y2Fyb2xAZXhhbXBsZS5jb20", "carol@example.com" },
		{ "sw1.!.Y2Fyb2w", "carol" }, /* the body is not looked at */
		{ "sw1.Ym9keQ.w6Q", "\xc3\xa4" },
		{ "sw1.Ym9keQ.", NULL },
		{ "sw1.Ym9keQ", NULL },
		{ "sw1..Y2Fyb2w", NULL },
		{ "sw1.", NULL },
		{ "sw1", NULL },
		{ "sw1.Ym9keQ.Y2Fyb2w.", NULL },
		{ "sw1.Ym9keQ.Y2Fyb2w.Y2Fyb2w", NULL },
		{ "sw1.Ym9keQ.Y2Fyb2w=", NULL }, /* padding */
		{ "sw1.Ym9keQ.Y2Fyb2x", NULL },  /* unused bits */
		{ "sw1.Ym9keQ.Y2Fyb", NULL },
		{ "sw1.Ym9keQ.Y2F+", NULL },
		{ "sw1.Ym9keQ.gA", NULL },   /* not UTF-8 */
		{ "sw1.Ym9keQ.YQBi", NULL }, /* NUL */
		{ "SW1.Ym9keQ.Y2Fyb2w", NULL },
		{ "sw2.Ym9keQ.Y2Fyb2w", NULL },
		{ " sw1.Ym9keQ.Y2Fyb2w", NULL },
		/* no JWT, whatever its second part says: {"sub":"a@b"} */
		{ "sw1.eyJzdWIiOiJhQGIifQ", NULL },
		{ "sw1.eyJzdWIiOiJhQGIifQ.", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		expect("email", view_str(cases[i].token), cases[i].login);
}

static void test_section_6_other(void **state)
{
	static const char *const none[] = { "", ".", "..", "...", "x", "opaque-token", "a.b",
		"a.b.c", "eyJzdWIiOiJhQGIifQ", "a.eyJzdWIiOiJhQGIifQ.c.d",
		"a.eyJzdWIiOiJhQGIifQ.c.", "a.eyJzdWIiOiJhQGIifQ==", "a. eyJzdWIiOiJhQGIifQ",
		"a.eyJzdWIiOiJhQGIif", "a.eyJzdWIiOiJhQGIif!" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(none); i++)
		expect("email", view_str(none[i]), NULL);
	expect("email", VIEW_LIT("a.eyJzdWIiOiJhQGIifQ"), "a@b");
}

static void test_section_6_claims(void **state)
{
	static const struct {
		const char *claim, *json, *login;
	} cases[] = {
		{ "email", "{\"upn\":\"u@x\"}", "u@x" },
		{ "mail", "{\"email\":\"e@x\",\"mail\":\"m@x\"}", "m@x" },
		{ "mail", "{\"email\":\"e@x\",\"mail\":\"m\"}", "e@x" },
		{ "mail", "{\"email\":\"e@x\"}", "e@x" },
		{ "mail", "{\"email\":\"e@x\",\"mail\":5}", "e@x" },
		{ "mail", "{\"email\":\"e@x\",\"mail\":[\"m@x\"]}", "e@x" },
		{ "mail", "{\"email\":\"e@x\",\"mail\":{\"a\":\"m@x\"}}", "e@x" },
		{ "mail", "{\"email\":\"e@x\",\"mail\":null}", "e@x" },
		{ NULL, "{\"email\":\"e@x\",\"mail\":\"m@x\"}", "e@x" },
		{ "", "{\"email\":\"e@x\",\"\":\"m@x\"}", "e@x" },
		{ "sub", "{\"email\":\"e@x\",\"sub\":\"s@x\"}", "s@x" },
		/* the order of the names, not of the claims */
		{ "email",
			"{\"sub\":\"s@x\",\"unique_name\":\"n@x\",\"upn\":\"u@x\","
			"\"preferred_username\":\"p@x\",\"email\":\"e@x\"}",
			"e@x" },
		{ "email",
			"{\"sub\":\"s@x\",\"unique_name\":\"n@x\",\"upn\":\"u@x\","
			"\"preferred_username\":\"p@x\"}",
			"p@x" },
		{ "email", "{\"sub\":\"s@x\",\"unique_name\":\"n@x\",\"upn\":\"u@x\"}", "u@x" },
		{ "email", "{\"sub\":\"s@x\",\"unique_name\":\"n@x\"}", "n@x" },
		{ "email", "{\"sub\":\"s@x\"}", "s@x" },
		{ "email", "{\"sub\":\"s\"}", NULL },
		{ "email", "{\"Email\":\"e@x\"}", NULL },
		{ "email", "{\"other\":\"e@x\"}", NULL },
		{ "email", "{\"a\":{\"email\":\"e@x\"}}", NULL },
		{ "email", "{}", NULL },
		{ "email", "[\"email\",\"e@x\"]", NULL },
		{ "email", "\"e@x\"", NULL },
		{ "email", "", NULL },
		{ "email", "{\"email\":\"e@x\"", NULL },
		{ "email", "{\"email\":\"e@x\"} x", NULL },
		{ "email", "{\"email\":\"e@x\"}{}", NULL },
		{ "email", "{\"email\":\"e@x\",}", NULL },
		{ "email", "{'email':'e@x'}", NULL },
		/* twice, even of a name not asked for: which one a reader takes is open */
		{ "email", "{\"email\":\"e@x\",\"email\":\"f@x\"}", NULL },
		{ "email", "{\"email\":\"e@x\",\"\\u0065mail\":\"f@x\"}", NULL },
		{ "email", "{\"email\":\"e@x\",\"a\":1,\"a\":1}", NULL },
		/* escapes */
		{ "email", "{\"email\":\"\\u0065\\u0040x\"}", "e@x" },
		{ "email", "{\"email\":\"\\u00e4@x\"}", "\xc3\xa4@x" },
		{ "email", "{\"email\":\"e@x\\u0000y\",\"upn\":\"u@x\"}", "u@x" },
		{ "email", "{\"email\":\"e@x\\u0000\"}", NULL },
		{ "email", "{\"email\":\"e@x\",\"a\":\"\\u0000\"}", "e@x" },
		{ "email", "{\"email\":\"e@x\",\"\\u0000\":1}", NULL },
		{ "email", "{\"email\":\"e@x\\ud800\"}", NULL },
		{ "email", "{\"email\":\"e@x\xff\"}", NULL },
		{ "email", "{\"email\":\"e@x\n\"}", NULL },
		/* the rules of identity.h come later: a blank is not looked at here */
		{ "email", "{\"email\":\"e @x\"}", "e @x" },
		{ "email", "{\"iat\":99999999999999999999999,\"email\":\"e@x\"}", "e@x" },
		{ "email", "{\"iat\":1e999,\"email\":\"e@x\"}", NULL },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		expect_claims(cases[i].claim, view_str(cases[i].json), cases[i].login);
	expect_claims("email", VIEW_LIT("{\"email\":\"e@x\"}\0"), NULL);
}

/* {"email":"e@x","a":[[...]]} with so many containers inside each other, the object counted. */
static void put_nested(struct buf *out, size_t depth, const char *open, const char *close)
{
	assert_int_equal(buf_append_str(out, "{\"email\":\"e@x\",\"b\":\"]}\\\"[[{{\",\"a\":"), 0);
	for (size_t i = 1; i < depth; i++)
		assert_int_equal(buf_append_str(out, open), 0);
	assert_int_equal(buf_append_str(out, "1"), 0);
	for (size_t i = 1; i < depth; i++)
		assert_int_equal(buf_append_str(out, close), 0);
	assert_int_equal(buf_append_str(out, "}"), 0);
}

static void test_section_6_depth(void **state)
{
	static const struct {
		const char *open, *close;
		size_t depth;
		bool ok;
	} cases[] = { { "[", "]", 1, true }, { "[", "]", 16, true }, { "[", "]", 17, false },
		{ "{\"x\":", "}", 16, true }, { "{\"x\":", "}", 17, false },
		{ "[", "]", 30000, false }, { "[", "", 60000, false },
		{ "{\"x\":", "", 12000, false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf json = { 0 };

		put_nested(&json, cases[i].depth, cases[i].open, cases[i].close);
		assert_true(json.len <= IDENTITY_TOKEN_JSON_BYTES);
		expect_claims("email", buf_view(&json), cases[i].ok ? "e@x" : NULL);
		buf_fini(&json);
	}
}

static void test_section_6_size(void **state)
{
	static const size_t sizes[] = { 100, IDENTITY_TOKEN_JSON_BYTES,
		IDENTITY_TOKEN_JSON_BYTES + 1, IDENTITY_TOKEN_JSON_BYTES + 3,
		IDENTITY_TOKEN_JSON_BYTES * 4 };
	char *json = malloc(IDENTITY_TOKEN_JSON_BYTES * 4);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		memset(json, ' ', sizes[i]);
		memcpy(json, "{\"email\":\"e@x\"", 14);
		json[sizes[i] - 1] = '}';
		expect_claims("email", view_make(json, sizes[i]),
			sizes[i] <= IDENTITY_TOKEN_JSON_BYTES ? "e@x" : NULL);
	}
	free(json);
}

/* Every prefix of a token: none or the login, never a part of it, never a byte read too far. */
static void test_28_cut_everywhere(void **state)
{
	static const char *const tokens[] = { "sw1.Ym9keQ.Y2Fyb2xAZXhhbXBsZS5jb20",
		"eyJhbGciOiJub25lIn0.eyJlbWFpbCI6ImVAeCJ9.c2ln" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tokens); i++) {
		for (size_t n = 0; n < strlen(tokens[i]); n++) {
			struct buf out = { 0 };
			int r = read_exact("email", view_make(tokens[i], n), &out);

			/* of a footer any part is a footer; of claims only the whole counts */
			assert_true(r == IDENTITY_NO_LOGIN || r == 0);
			if (r == 0)
				assert_memory_equal(buf_view(&out).data,
					i ? "e@x" : "carol@example.com", out.len);
			if (r == 0 && i)
				assert_int_equal(out.len, 3);
			buf_fini(&out);
		}
	}
}

static void test_limit_of_the_buffer(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 4, false);
	assert_int_equal(identity_token("email", VIEW_LIT("sw1.x.Y2Fyb2w"), &out), -ENOBUFS);
	assert_int_equal(out.len, 0);
	assert_int_equal(identity_token("email", VIEW_LIT("a.eyJzdWIiOiJhQGIifQ"), &out), 0);
	assert_int_equal(out.len, 3);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_section_6_footer),
		cmocka_unit_test(test_section_6_other),
		cmocka_unit_test(test_section_6_claims),
		cmocka_unit_test(test_section_6_depth),
		cmocka_unit_test(test_section_6_size),
		cmocka_unit_test(test_28_cut_everywhere),
		cmocka_unit_test(test_limit_of_the_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

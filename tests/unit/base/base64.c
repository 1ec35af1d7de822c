// SPDX-License-Identifier: Apache-2.0
/* SES-32 and RFC 4648 section 10. */
#include "unit.h"

#include "base/base64.h"

#include <errno.h>

typedef int (*decoder)(struct view text, struct buf *out);

/* The buffer holds "before" already: it must stay there, and be all there is after a failure. */
static void expect(decoder decode, const char *text, const char *bytes)
{
	char *copy = malloc(strlen(text) + 1); /* without the NUL, for the sanitizer */
	struct buf out = { 0 };
	int r;

	copy = realloc(copy, strlen(text) ? strlen(text) : 1);
	memcpy(copy, text, strlen(text));
	assert_int_equal(buf_append_str(&out, "before"), 0);
	r = decode(view_make(copy, strlen(text)), &out);
	if (r != (bytes ? 0 : -EINVAL))
		fail_msg("\"%s\": %d", text, r);
	assert_int_equal(out.len, 6 + (bytes ? strlen(bytes) : 0));
	assert_memory_equal(buf_view(&out).data, "before", 6);
	if (bytes)
		assert_memory_equal(buf_view(&out).data + 6, bytes, strlen(bytes));
	buf_fini(&out);
	free(copy);
}

static void test_SES_32_standard(void **state)
{
	static const char *const good[][2] = { { "", "" }, { "Zg==", "f" }, { "Zg", "f" },
		{ "Zm8=", "fo" }, { "Zm8", "fo" }, { "Zm9v", "foo" }, { "Zm9vYg==", "foob" },
		{ "Zm9vYmE=", "fooba" }, { "Zm9vYmFy", "foobar" }, { "+/+/", "\xfb\xff\xbf" } };
	static const char *const bad[] = { "=", "==", "Z",
		"Z===", "Zg=", "Zg===", "Zm8==", "Zm9v=", "Zm9v====", "Zh==", "Zh", "Zm9=", "Zm 9v",
		" Zm9v", "Zm9v\n", "Zg==Zg==", "-_-_", "Zm9\x80", "Zm=v", "!" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		expect(base64_decode, good[i][0], good[i][1]);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect(base64_decode, bad[i], NULL);
}

static void test_section_6_url(void **state)
{
	static const char *const good[][2] = { { "", "" }, { "Zg", "f" }, { "Zm8", "fo" },
		{ "Zm9v", "foo" }, { "-_-_", "\xfb\xff\xbf" } };
	static const char *const bad[] = { "Z", "Zg==", "Zm8=", "=", "+/+/", "Zh", "Zm9v.",
		"Zm9vY" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		expect(base64url_decode, good[i][0], good[i][1]);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		expect(base64url_decode, bad[i], NULL);
}

/* Every byte at every place of a group. */
static void test_SES_32_every_byte(void **state)
{
	static const char letters[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

	(void)state;
	for (int c = 0; c < 256; c++) {
		bool common = c && strchr(letters, c);

		for (int at = 0; at < 4; at++) {
			char text[5] = "AAAA";
			struct buf out = { 0 };
			bool standard = common || c == '+' || c == '/' || (c == '=' && at == 3);

			text[at] = (char)c;
			assert_int_equal(base64_decode(view_make(text, 4), &out) == 0, standard);
			assert_int_equal(base64url_decode(view_make(text, 4), &out) == 0,
				common || c == '-' || c == '_');
			buf_fini(&out);
		}
	}
}

static void test_round_trip_and_limit(void **state)
{
	char bytes[40];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i * 37);
	for (size_t len = 0; len <= sizeof(bytes); len++) {
		struct buf text = { 0 }, out = { 0 }, small;

		assert_int_equal(base64_encode(view_make(bytes, len), &text), 0);
		assert_int_equal(text.len, (len + 2) / 3 * 4);
		assert_int_equal(base64_decode(buf_view(&text), &out), 0);
		assert_int_equal(out.len, len);
		assert_memory_equal(buf_view(&out).data, bytes, len);
		buf_init(&small, 3, false);
		assert_int_equal(base64_encode(view_make(bytes, len), &small), len ? -ENOBUFS : 0);
		buf_fini(&small);
		buf_fini(&text);
		buf_fini(&out);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_SES_32_standard),
		cmocka_unit_test(test_section_6_url),
		cmocka_unit_test(test_SES_32_every_byte),
		cmocka_unit_test(test_round_trip_and_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

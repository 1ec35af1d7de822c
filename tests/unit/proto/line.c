// SPDX-License-Identifier: Apache-2.0
/* Lines and words of all mail protocols. */
#include "unit.h"

#include "proto/line.h"

static void expect(struct view got, const char *text)
{
	if (!view_eq(got, view_str(text)))
		fail_msg("\"%.*s\" is not \"%s\"", (int)got.len, got.data, text);
}

static void test_a_line_in_pieces(void **state)
{
	struct view text = VIEW_LIT("ab\r\ncd\n"), line;
	struct line_scan scan = { 0 };
	size_t consumed;

	(void)state;
	for (size_t len = 0; len < 4; len++)
		assert_int_equal(line_take(&scan, view_make(text.data, len), 10, &consumed, &line),
			LINE_MORE);
	assert_int_equal(line_take(&scan, text, 10, &consumed, &line), LINE_DONE);
	assert_int_equal(consumed, 4);
	expect(line, "ab\r");
	expect(line_chomp(line), "ab");
	text = view_skip(text, consumed);
	assert_int_equal(line_take(&scan, text, 10, &consumed, &line), LINE_DONE);
	expect(line_chomp(line), "cd");
}

/* The limit is of the line without its end; the rest of a longer one is no line of its own. */
static void test_a_line_that_is_too_long(void **state)
{
	struct line_scan scan = { 0 };
	struct view line;
	size_t consumed;

	(void)state;
	assert_int_equal(line_take(&scan, VIEW_LIT("1234\r\n"), 4, &consumed, &line), LINE_DONE);
	assert_int_equal(line_take(&scan, VIEW_LIT("12345\n"), 4, &consumed, &line), LINE_TOO_LONG);
	assert_int_equal(consumed, 6);
	assert_false(scan.discard);
	assert_int_equal(line_take(&scan, VIEW_LIT("1234\r"), 4, &consumed, &line), LINE_MORE);
	assert_int_equal(line_take(&scan, VIEW_LIT("123456"), 4, &consumed, &line), LINE_TOO_LONG);
	assert_int_equal(consumed, 6);
	assert_int_equal(line_take(&scan, VIEW_LIT("789"), 4, &consumed, &line), LINE_MORE);
	assert_int_equal(consumed, 3);
	assert_int_equal(
		line_take(&scan, VIEW_LIT("0\nNOOP\n"), 4, &consumed, &line), LINE_DROPPED);
	assert_int_equal(consumed, 2);
	assert_int_equal(line_take(&scan, VIEW_LIT("NOOP\n"), 4, &consumed, &line), LINE_DONE);
	expect(line, "NOOP");
}

static void test_words_and_blanks(void **state)
{
	struct view rest = VIEW_LIT("AUTH  PLAIN =");

	(void)state;
	expect(line_word(&rest), "AUTH");
	expect(line_word(&rest), "PLAIN");
	expect(line_word(&rest), "=");
	expect(line_word(&rest), "");
	expect(line_trim(VIEW_LIT(" \t a b\t ")), "a b");
	expect(line_trim(VIEW_LIT(" \t")), "");
	assert_true(line_starts_word(VIEW_LIT("starttls"), "STARTTLS"));
	assert_true(line_starts_word(VIEW_LIT("SASL PLAIN"), "sasl"));
	assert_false(line_starts_word(VIEW_LIT("SASLX"), "SASL"));
	assert_false(line_starts_word(VIEW_LIT("SAS"), "SASL"));
}

static void test_control_characters_and_quotes(void **state)
{
	(void)state;
	assert_false(line_has_control(VIEW_LIT("a\tb \xc3\xa4")));
	assert_true(line_has_control(VIEW_LIT("a\0b")));
	assert_true(line_has_control(VIEW_LIT("a\x7f")));
	assert_true(line_has_control(VIEW_LIT("\x1f")));
	assert_false(line_ends_quoted(VIEW_LIT("a \"b\" c")));
	assert_true(line_ends_quoted(VIEW_LIT("a \"b")));
	assert_true(line_ends_quoted(VIEW_LIT("a \"b\\\"")));
	assert_false(line_ends_quoted(VIEW_LIT("a \"b\\\\\"")));
	assert_false(line_ends_quoted(VIEW_LIT("\\\"a\"")));
}

/* A node's line ends with CRLF alone, wherever it was cut. */
static void test_a_line_of_a_node(void **state)
{
	struct view text = VIEW_LIT("+OK\nx\r\n-ERR"), line;
	size_t scanned = 0;

	(void)state;
	for (size_t len = 0; len < 7; len++)
		assert_false(line_of_node(view_make(text.data, len), &scanned, &line));
	assert_true(line_of_node(text, &scanned, &line));
	expect(line, "+OK\nx");
	assert_int_equal(scanned, 0);
	assert_false(line_of_node(view_skip(text, 7), &scanned, &line));
}

static void test_SES_71_what_answers_an_explanation(void **state)
{
	(void)state;
	assert_string_equal(oauth_error_answer(SASL_OAUTHBEARER), "AQ==");
	assert_string_equal(oauth_error_answer(SASL_XOAUTH2), "");
	assert_null(oauth_error_answer(SASL_PLAIN));
	assert_null(oauth_error_answer(SASL_LOGIN));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_line_in_pieces),
		cmocka_unit_test(test_a_line_that_is_too_long),
		cmocka_unit_test(test_words_and_blanks),
		cmocka_unit_test(test_control_characters_and_quotes),
		cmocka_unit_test(test_a_line_of_a_node),
		cmocka_unit_test(test_SES_71_what_answers_an_explanation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

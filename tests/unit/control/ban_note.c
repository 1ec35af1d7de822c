// SPDX-License-Identifier: Apache-2.0
/* What routers, and people, write to the store of a ban (GRD-8): both ways, what is left out, what
 * is none, and what must not reach a terminal. */
#include "unit.h"

#include "control/ban_note.h"

#include <errno.h>

static struct ban_note parse(const char *text)
{
	struct ban_note note;

	assert_int_equal(ban_note_parse(view_str(text), &note), 0);
	return note;
}

static void test_GRD_8_both_ways(void **state)
{
	static const char *const texts[] = { "ban 0123456789abcdef refused told",
		"ban - order net by hand, of a scanner", "ban 0123456789abcdef handshake net",
		"lift 0123456789abcdef" };
	char text[BAN_NOTE_BYTES];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		struct ban_note note = parse(texts[i]);

		assert_string_equal(ban_note_format(&note, text), texts[i]);
	}
}

static void test_GRD_8_every_reason(void **state)
{
	char text[BAN_NOTE_BYTES];

	(void)state;
	for (int i = 0; i < GUARD_REASONS; i++) {
		struct ban_note note = { .reason = (enum guard_reason)i };

		note = parse(ban_note_format(&note, text));
		assert_int_equal(note.reason, i);
	}
}

static void test_GRD_8_the_longest(void **state)
{
	struct ban_note note = { .router = "0123456789abcdef", .told = true };
	char text[BAN_NOTE_BYTES];

	(void)state;
	memset(note.text, 'x', sizeof(note.text) - 1);
	assert_string_equal(parse(ban_note_format(&note, text)).text, note.text);
}

static void test_GRD_8_what_people_leave_out(void **state)
{
	struct ban_note note = parse("ban");

	(void)state;
	assert_false(note.lifted || note.told);
	assert_int_equal(note.reason, GUARD_FOR_ORDER);
	assert_string_equal(note.router, "");
	assert_string_equal(note.text, "");
	assert_int_equal(parse("ban - a-later-reason net").reason, GUARD_FOR_ORDER);
	assert_true(parse("lift").lifted);
}

static void test_GRD_8_no_ban(void **state)
{
	static const char *const texts[] = { "", " ", "node1", "bans - order", "Ban -", "lifted",
		"ban 0123456789abcdef0 order" };
	struct ban_note note;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		assert_int_equal(ban_note_parse(view_str(texts[i]), &note), -EINVAL);
}

static void test_GRD_8_a_text_for_no_terminal(void **state)
{
	(void)state;
	assert_string_equal(parse("ban - order net \x1b[31m").text, "");
	assert_string_equal(parse("ban - order net \xff").text, "");
	assert_string_equal(parse("ban - order net a\xe2\x80\xae").text, "");
	assert_string_equal(parse("ban - order net xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
				  "xxxxxxxxxxxxxxxx")
				    .text,
		""); /* 64 of them */
	assert_string_equal(parse("ban - order net \xc3\xa4").text, "\xc3\xa4");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_GRD_8_both_ways),
		cmocka_unit_test(test_GRD_8_every_reason),
		cmocka_unit_test(test_GRD_8_the_longest),
		cmocka_unit_test(test_GRD_8_what_people_leave_out),
		cmocka_unit_test(test_GRD_8_no_ban),
		cmocka_unit_test(test_GRD_8_a_text_for_no_terminal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

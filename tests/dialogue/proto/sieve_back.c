// SPDX-License-Identifier: Apache-2.0
/* ManageSieve conversations with a node; sessions.md sections 9, 10 and 12. */
#define OPS sieve_back_ops
#define ANY_ANSWER "OK\r\n"
#include "dialogue/back_script.h"

#define CAPS "\"IMPLEMENTATION\" \"x\"\r\n\"SASL\" \"\"\r\n\"SIEVE\" {8}\r\nfileinto\r\n"
#define HELLO CAPS "OK \"Ready.\"\r\n"
#define CRED "AUTHENTICATE \"PLAIN\" \"AGJvYgBwdw==\"\r\n"
#define XCLIENT_LINE                                                           \
	"XCLIENT ADDR=192.0.2.1 PORT=4000 DESTADDR=2001:db8::9 DESTPORT=4190 " \
	"SESSION=H1234-1 TTL=6 CLIENT-TRANSPORT=TLS\r\n"

#define OFFERS(mechs, ...)                                                       \
	{ NODE, "\"SASL\" \"" mechs "\"\r\nOK \"hi\"\r\n", BACK_READY, "", "" }, \
		{ REPLAY, "", __VA_ARGS__, "" }
#define BY_LOGIN "AUTHENTICATE \"LOGIN\"\r\n"

static const struct script scripts[] = {
	{ "accepted", false, false, SASL_PLAIN,
		{ { NODE, HELLO, BACK_READY, "", "" }, { REPLAY, "", PROTO_MORE, CRED, "" },
			{ NODE, "OK \"Logged in.\"\r\n", BACK_ACCEPTED, "",
				"OK \"Logged in.\"\r\n" } } },
	{ "SES-70 LOGIN is replayed as PLAIN, bare words", false, false, SASL_LOGIN,
		{ { NODE, "ok\r\n", BACK_READY, "", "" }, { REPLAY, "", PROTO_MORE, CRED, "" },
			{ NODE, "OK\r\n", BACK_ACCEPTED, "", "OK\r\n" } } },
	{ "SES-74 refused", false, false, SASL_PLAIN,
		{ { NODE, HELLO, BACK_READY, "", "" }, { REPLAY, "", PROTO_MORE, CRED, "" },
			{ NODE, "NO \"Authentication failed (TRYLATER).\"\r\n", BACK_REFUSED, "",
				"NO \"Authentication failed (TRYLATER).\"\r\n" } } },
	{ "SES-74 refused temporarily", false, false, SASL_PLAIN,
		{ { NODE, HELLO, BACK_READY, "", "" }, { REPLAY, "", PROTO_MORE, CRED, "" },
			{ NODE, "no (trylater) \"x\"\r\n", BACK_REFUSED, "",
				"no (trylater) \"x\"\r\n" } },
		.temporarily = true },
	{ "SES-74 TRYLATER with a detail", false, false, SASL_PLAIN,
		{ { NODE, HELLO, BACK_READY, "", "" }, { REPLAY, "", PROTO_MORE, CRED, "" },
			{ NODE, "NO (TRYLATER/X) \"x\"\r\n", BACK_REFUSED, "",
				"NO (TRYLATER/X) \"x\"\r\n" } },
		.temporarily = true },
	{ "SES-74 no other code is temporary", false, false, SASL_PLAIN,
		{ { NODE, HELLO, BACK_READY, "", "" }, { REPLAY, "", PROTO_MORE, CRED, "" },
			{ NODE, "NO (TRYLATERX) \"x\"\r\n", BACK_REFUSED, "",
				"NO (TRYLATERX) \"x\"\r\n" } } },
	{ "SES-74 a code cut short", false, false, SASL_PLAIN,
		{ { NODE, HELLO, BACK_READY, "", "" }, { REPLAY, "", PROTO_MORE, CRED, "" },
			{ NODE, "NO (TRYLATER\r\n", BACK_REFUSED, "", "NO (TRYLATER\r\n" } } },
	{ "SES-75 BYE", false, false, SASL_PLAIN,
		{ { NODE, HELLO, BACK_READY, "", "" }, { REPLAY, "", PROTO_MORE, CRED, "" },
			{ NODE, "BYE (TRYLATER) \"Later.\"\r\n", BACK_REFUSED, "",
				"BYE (TRYLATER) \"Later.\"\r\n" } },
		.temporarily = true, .for_good = true },
	{ "SES-72 literals with a verdict inside", false, false, SASL_PLAIN,
		{ { NODE, HELLO, BACK_READY, "", "" }, { REPLAY, "", PROTO_MORE, CRED, "" },
			{ NODE, "NO (X {6}\r\nx\r\nOK ) {9}\r\nno\r\nOK \"a\r\n", BACK_REFUSED, "",
				"NO (X {6}\r\nx\r\nOK ) {9}\r\nno\r\nOK \"a\r\n" } } },
	{ "SES-72 a literal in quotes is none", false, false, SASL_PLAIN,
		{ { NODE, HELLO, BACK_READY, "", "" }, { REPLAY, "", PROTO_MORE, CRED, "" },
			{ NODE, "NO \"x {5}\r\n", BACK_REFUSED, "", "NO \"x {5}\r\n" } } },
	{ "SES-73 a response code with a literal", false, false, SASL_PLAIN,
		{ { NODE, HELLO, BACK_READY, "", "" }, { REPLAY, "", PROTO_MORE, CRED, "" },
			{ NODE, "OK (SASL {2}\r\nxx)\r\n", BACK_ACCEPTED, "",
				"OK (SASL {2}\r\nxx)\r\n" } } },
	{ "SES-71 PLAIN knows no challenge", false, false, SASL_PLAIN,
		{ { NODE, HELLO, BACK_READY, "", "" }, { REPLAY, "", PROTO_MORE, CRED, "" },
			{ NODE, "\"\"\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "SES-71 OAUTHBEARER", false, false, SASL_OAUTHBEARER,
		{ { NODE, HELLO, BACK_READY, "", "" },
			{ REPLAY, "", PROTO_MORE,
				"AUTHENTICATE \"OAUTHBEARER\" \"AGJvYgBwdw==\"\r\n", "" },
			{ NODE, "{12}\r\neyJzIjoiNDAx\r\n", PROTO_MORE, "\"AQ==\"\r\n", "" },
			{ NODE, "NO \"x\"\r\n", BACK_REFUSED, "", "NO \"x\"\r\n" } } },
	{ "SES-71 XOAUTH2", false, false, SASL_XOAUTH2,
		{ { NODE, HELLO, BACK_READY, "", "" },
			{ REPLAY, "", PROTO_MORE, "AUTHENTICATE \"XOAUTH2\" \"AGJvYgBwdw==\"\r\n",
				"" },
			{ NODE, "\"eyJzIjoiNDAx\"\r\n", PROTO_MORE, "\"\"\r\n", "" },
			{ NODE, "NO\r\n", BACK_REFUSED, "", "NO\r\n" } } },
	{ "SES-71 a second challenge", false, false, SASL_XOAUTH2,
		{ { NODE, HELLO, BACK_READY, "", "" },
			{ REPLAY, "", PROTO_MORE, "AUTHENTICATE \"XOAUTH2\" \"AGJvYgBwdw==\"\r\n",
				"" },
			{ NODE, "\"a\"\r\n", PROTO_MORE, "\"\"\r\n", "" },
			{ NODE, "\"a\"\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "SES-76 nonsense in the replay", false, false, SASL_XOAUTH2,
		{ { NODE, HELLO, BACK_READY, "", "" },
			{ REPLAY, "", PROTO_MORE, "AUTHENTICATE \"XOAUTH2\" \"AGJvYgBwdw==\"\r\n",
				"" },
			{ NODE, "\"SIEVE\" \"a\"\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "SES-76 OK must be a word", false, false, SASL_PLAIN,
		{ { NODE, HELLO, BACK_READY, "", "" }, { REPLAY, "", PROTO_MORE, CRED, "" },
			{ NODE, "OKAY\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "section 9 greeting NO", false, false, SASL_PLAIN,
		{ { NODE, CAPS "NO \"x\"\r\n", BACK_FAILED, "", "" } }, BACK_FAIL_REFUSED },
	{ "section 9 greeting BYE", false, false, SASL_PLAIN,
		{ { NODE, "BYE (TRYLATER) \"x\"\r\n", BACK_FAILED, "", "" } }, BACK_FAIL_REFUSED },
	{ "section 9 another protocol", false, false, SASL_PLAIN,
		{ { NODE, "* OK IMAP4rev1\r\n", BACK_FAILED, "", "" } }, BACK_FAIL_REFUSED },
	{ "OK in a literal is no greeting's end", false, false, SASL_PLAIN,
		{ { NODE, "\"X\" {10}\r\n\r\nOK \"x\"\r\n\r\n", PROTO_MORE, "", "" } } },
	{ "lone LF is no line end", false, false, SASL_PLAIN,
		{ { NODE, "OK \"x\"\n", PROTO_MORE, "", "" } } },
	{ "section 9 starttls", true, false, SASL_PLAIN,
		{ { NODE, "{8}\r\nstartTLS\r\n" HELLO, PROTO_MORE, "STARTTLS\r\n", "" },
			{ NODE, "OK \"go\"\r\n", BACK_STARTTLS, "", "" },
			{ STARTTLS_DONE, "", PROTO_MORE, "", "" },
			{ NODE, HELLO, BACK_READY, "", "" }, { REPLAY, "", PROTO_MORE, CRED, "" },
			{ NODE, "OK\r\n", BACK_ACCEPTED, "", "OK\r\n" } } },
	{ "SES-55 XSTARTTLS is not STARTTLS", true, false, SASL_PLAIN,
		{ { NODE, "\"XSTARTTLS\"\r\n\"STARTTLSX\"\r\n\"A\" \"STARTTLS\"\r\n" HELLO,
			BACK_FAILED, "", "" } },
		BACK_FAIL_REFUSED },
	{ "section 9 starttls refused", true, false, SASL_PLAIN,
		{ { NODE, "\"STARTTLS\"\r\n" HELLO, PROTO_MORE, "STARTTLS\r\n", "" },
			{ NODE, "NO \"x\"\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_REFUSED },
	{ "SES-54 earlier capabilities are forgotten", true, true, SASL_PLAIN,
		{ { NODE, "\"STARTTLS\"\r\n\"XCLIENT\"\r\n" HELLO, PROTO_MORE, "STARTTLS\r\n", "" },
			{ NODE, "OK\r\n", BACK_STARTTLS, "", "" },
			{ STARTTLS_DONE, "", PROTO_MORE, "", "" },
			{ NODE, HELLO, BACK_READY, "", "" } } },
	{ "section 10 xclient only after TLS", true, true, SASL_PLAIN,
		{ { NODE, "\"STARTTLS\"\r\n" HELLO, PROTO_MORE, "STARTTLS\r\n", "" },
			{ NODE, "OK\r\n", BACK_STARTTLS, "", "" },
			{ STARTTLS_DONE, "", PROTO_MORE, "", "" },
			{ NODE, "\"xclient\" \"ADDR\"\r\n" HELLO, PROTO_MORE, XCLIENT_LINE, "" },
			{ NODE, "OK \"Updated\"\r\n", BACK_READY, "", "" } } },
	{ "section 10 xclient", false, true, SASL_PLAIN,
		{ { NODE, CAPS "\"XCLIENT\"\r\nOK\r\n", PROTO_MORE, XCLIENT_LINE, "" },
			{ NODE, "OK \"Updated\"\r\n", BACK_READY, "", "" },
			{ REPLAY, "", PROTO_MORE, CRED, "" },
			{ NODE, "OK\r\n", BACK_ACCEPTED, "", "OK\r\n" } } },
	{ "section 10 xclient not listed", false, true, SASL_PLAIN,
		{ { NODE, HELLO, BACK_READY, "", "" } } },
	{ "section 10 xclient listed and not wanted", false, false, SASL_PLAIN,
		{ { NODE, "\"XCLIENT\"\r\n" HELLO, BACK_READY, "", "" } } },
	{ "SES-46 xclient refused", false, true, SASL_PLAIN,
		{ { NODE, CAPS "\"XCLIENT\"\r\nOK\r\n", PROTO_MORE, XCLIENT_LINE, "" },
			{ NODE, "NO \"You are not from trusted IP\"\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_REFUSED },
	/* what the node offers; CAPS names nothing: as if PLAIN were there */
	{ "SES-70 LOGIN only", false, false, SASL_PLAIN,
		{ OFFERS("login XOAUTH2", PROTO_MORE, BY_LOGIN),
			{ NODE, "\"VXNlcm5hbWU6\"\r\n", PROTO_MORE, "\"Ym9i\"\r\n", "" },
			{ NODE, "{12}\r\nUGFzc3dvcmQ6\r\n", PROTO_MORE, "\"cHc=\"\r\n", "" },
			{ NODE, "OK\r\n", BACK_ACCEPTED, "", "OK\r\n" } } },
	{ "SES-70 LOGIN of a client, to PLAIN", false, false, SASL_LOGIN,
		{ OFFERS("PLAIN LOGIN", PROTO_MORE, CRED) } },
	{ "SES-70 the name is refused", false, false, SASL_PLAIN,
		{ OFFERS("LOGIN", PROTO_MORE, BY_LOGIN),
			{ NODE, "\"\"\r\n", PROTO_MORE, "\"Ym9i\"\r\n", "" },
			{ NODE, "NO \"no\"\r\n", BACK_REFUSED, "", "NO \"no\"\r\n" } } },
	{ "SES-70 a third prompt", false, false, SASL_PLAIN,
		{ OFFERS("LOGIN", PROTO_MORE, BY_LOGIN),
			{ NODE, "\"\"\r\n", PROTO_MORE, "\"Ym9i\"\r\n", "" },
			{ NODE, "\"\"\r\n", PROTO_MORE, "\"cHc=\"\r\n", "" },
			{ NODE, "\"\"\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "SES-57 success before the password", false, false, SASL_PLAIN,
		{ OFFERS("LOGIN", PROTO_MORE, BY_LOGIN),
			{ NODE, "\"\"\r\n", PROTO_MORE, "\"Ym9i\"\r\n", "" },
			{ NODE, "OK\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_REFUSED },
	{ "SES-70 XOAUTH2 needs XOAUTH2", false, false, SASL_XOAUTH2,
		{ OFFERS("PLAIN LOGIN OAUTHBEARER", BACK_FAILED, "") }, BACK_FAIL_MECHANISM },
	{ "SES-70 nothing that is ours", false, false, SASL_PLAIN,
		{ OFFERS("SCRAM-SHA-256 PLAINX", BACK_FAILED, "") }, BACK_FAIL_MECHANISM },
};

SCRIPT_TESTS

static void test_section_9_injection(void **state)
{
	(void)state;
	check_failure(true, false, VIEW_LIT("\"STARTTLS\"\r\nOK\r\n"),
		VIEW_LIT("OK \"go\"\r\n\"XCLIENT\"\r\nOK\r\n"), BACK_FAIL_INJECTION);
	check_failure(true, false, VIEW_LIT("\"STARTTLS\"\r\nOK\r\n"), VIEW_LIT("OK\r\nx"),
		BACK_FAIL_INJECTION);
}

/* An answer that is there before its command was written is nobody's answer. */
static void test_section_9_answers_given_too_early(void **state)
{
	(void)state;
	check_failure(true, false, VIEW_LIT(""), VIEW_LIT("\"STARTTLS\"\r\nOK\r\nOK\r\n"),
		BACK_FAIL_REFUSED);
	check_failure(false, true, VIEW_LIT(""), VIEW_LIT("\"XCLIENT\"\r\nOK\r\nOK\r\n"),
		BACK_FAIL_REFUSED);
}

static void test_SES_57_left_over(void **state)
{
	static const char *const unread[] = { "OK \"in\"\r\n", "x", "\r\n", "\"X\"\r\n" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(unread); i++) {
		struct back *back = make(false, false);
		struct buf to_node = { 0 }, to_client = { 0 };
		struct view left;

		assert_int_equal(play_back(&sieve_back_ops, back, VIEW_LIT(HELLO), SIZE_MAX,
					 &to_node, &to_client, &left),
			BACK_READY);
		assert_int_equal(
			replay(back, SASL_PLAIN, view_str(unread[i]), &to_node), BACK_FAILED);
		assert_int_equal(sieve_back_ops.failure(back), BACK_FAIL_REFUSED);
		assert_int_equal(to_node.len, 0);
		buf_fini(&to_node);
		sieve_back_ops.free(back);
	}
}

/* The bytes behind a positive verdict are relay data; behind READY they are for SES-57. */
static void test_SES_73_left_over_bytes_are_not_consumed(void **state)
{
	struct back *back = make(false, false);
	struct buf to_node = { 0 }, to_client = { 0 };
	struct view left;

	(void)state;
	assert_int_equal(play_back(&sieve_back_ops, back, VIEW_LIT(HELLO "OK\r\n"), SIZE_MAX,
				 &to_node, &to_client, &left),
		BACK_READY);
	assert_int_equal(left.len, 4);
	assert_int_equal(replay(back, SASL_PLAIN, view_make("", 0), &to_node), PROTO_MORE);
	assert_int_equal(play_back(&sieve_back_ops, back, VIEW_LIT("OK {2}\r\nOK\r\n\"SIEVE\" \"x"),
				 SIZE_MAX, &to_node, &to_client, &left),
		BACK_ACCEPTED);
	expect("to the client", &to_client, "OK {2}\r\nOK\r\n");
	assert_int_equal(left.len, 10);
	buf_fini(&to_node);
	buf_fini(&to_client);
	sieve_back_ops.free(back);
}

/* Up to 1024 bytes of base64 are quoted, more are a literal. */
static void test_section_12_long_credentials(void **state)
{
	static const struct {
		size_t bytes;
		const char *head, *tail;
	} cases[] = { { 768, "AUTHENTICATE \"XOAUTH2\" \"", "\"\r\n" },
		{ 769, "AUTHENTICATE \"XOAUTH2\" {1028+}\r\n", "\r\n" },
		{ 12288, "AUTHENTICATE \"XOAUTH2\" {16384+}\r\n", "\r\n" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct proto_credential credential = { .mech = SASL_XOAUTH2 };
		size_t base64 = (cases[i].bytes + 2) / 3 * 4, head = strlen(cases[i].head);
		struct back *back = make(false, false);
		struct buf to_node = { 0 }, to_client = { 0 };
		struct view left, sent;
		size_t consumed;

		assert_int_equal(play_back(&sieve_back_ops, back, VIEW_LIT("OK\r\n"), SIZE_MAX,
					 &to_node, &to_client, &left),
			BACK_READY);
		for (size_t n = 0; n < cases[i].bytes; n++)
			assert_int_equal(buf_append(&credential.message, "", 1), 0);
		assert_int_equal(
			sieve_back_ops.replay(back, &credential, left, &consumed, &to_node),
			PROTO_MORE);
		sent = buf_view(&to_node);
		assert_int_equal(sent.len, head + base64 + strlen(cases[i].tail));
		assert_true(view_starts(sent, view_str(cases[i].head)));
		assert_int_equal(sent.data[head], 'A');
		assert_true(view_eq(view_skip(sent, head + base64), view_str(cases[i].tail)));
		proto_credential_wipe(&credential);
		buf_fini(&to_node);
		sieve_back_ops.free(back);
	}
}

/* Plays text as greeting or verdict, cut after its first bytes. */
static int play_cut(bool in_replay, struct view text, size_t first)
{
	struct buf to_node = { 0 }, to_client = { 0 };
	struct back *back = make(false, false);
	struct view left;
	int r;

	if (in_replay) {
		assert_int_equal(play_back(&sieve_back_ops, back, VIEW_LIT("OK\r\n"), SIZE_MAX,
					 &to_node, &to_client, &left),
			BACK_READY);
		assert_int_equal(replay(back, SASL_PLAIN, left, &to_node), PROTO_MORE);
	}
	r = play_back(&sieve_back_ops, back, text, first, &to_node, &to_client, &left);
	if (r == BACK_FAILED)
		assert_int_equal(sieve_back_ops.failure(back), BACK_FAIL_PROTOCOL);
	buf_fini(&to_node);
	buf_fini(&to_client);
	sieve_back_ops.free(back);
	return r;
}

/* head, len bytes of filler, tail; whole and with the line end cut in two. */
static int play_long(bool in_replay, const char *head, size_t len, const char *tail)
{
	struct buf text = { 0 };
	int r;

	assert_int_equal(buf_append_str(&text, head), 0);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(buf_append(&text, "x", 1), 0);
	assert_int_equal(buf_append_str(&text, tail), 0);
	r = play_cut(in_replay, buf_view(&text), SIZE_MAX);
	assert_int_equal(play_cut(in_replay, buf_view(&text), text.len - 1), r);
	buf_fini(&text);
	return r;
}

static void test_section_3_node_line_length(void **state)
{
	(void)state;
	assert_int_equal(play_long(false, "OK ", 8189, "\r\n"), BACK_READY);
	assert_int_equal(play_long(false, "OK ", 8190, "\r\n"), BACK_FAILED);
	assert_int_equal(play_long(false, "OK ", 8191, ""), BACK_FAILED);
	assert_int_equal(play_long(true, "NO ", 8189, "\r\n"), BACK_REFUSED);
	assert_int_equal(play_long(true, "NO ", 8190, "\r\n"), BACK_FAILED);
	/* a literal is no line */
	assert_int_equal(play_long(true, "NO {60000}\r\n", 60000, "\r\n"), BACK_REFUSED);
	assert_int_equal(play_long(true, "NO {70000}\r\n", 1, ""), BACK_FAILED);
	assert_int_equal(play_long(true, "NO {99999999999999999999}\r\n", 1, ""), BACK_FAILED);
}

static int play_lines(bool in_replay, const char *line, unsigned lines, const char *tail)
{
	struct buf text = { 0 };
	int r;

	for (unsigned i = 0; i < lines; i++)
		assert_int_equal(buf_append_str(&text, line), 0);
	assert_int_equal(buf_append(&text, "", 1), 0);
	r = play_long(in_replay, buf_view(&text).data, 0, tail);
	buf_fini(&text);
	return r;
}

static void test_section_3_lines_per_reply(void **state)
{
	(void)state;
	assert_int_equal(play_lines(false, "\"A\" \"b\"\r\n", 255, "OK\r\n"), BACK_READY);
	assert_int_equal(play_lines(false, "\"A\" \"b\"\r\n", 256, "OK\r\n"), BACK_FAILED);
	assert_int_equal(play_lines(true, "NO {1}\r\nx", 1, "\r\n"), BACK_REFUSED);
	assert_int_equal(play_lines(true, "NO {1}\r\n", 63, "x\r\n"), BACK_REFUSED);
	assert_int_equal(play_lines(true, "NO {1}\r\n", 64, "x\r\n"), BACK_FAILED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripts_whole),
		cmocka_unit_test(test_scripts_byte_by_byte),
		cmocka_unit_test(test_scripts_cut_everywhere),
		cmocka_unit_test(test_section_9_injection),
		cmocka_unit_test(test_section_9_answers_given_too_early),
		cmocka_unit_test(test_SES_57_left_over),
		cmocka_unit_test(test_SES_73_left_over_bytes_are_not_consumed),
		cmocka_unit_test(test_section_12_long_credentials),
		cmocka_unit_test(test_section_3_node_line_length),
		cmocka_unit_test(test_section_3_lines_per_reply),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* POP3 conversations with a node; sessions.md sections 9, 10 and 12. */
#define OPS pop3_back_ops
#define ANY_ANSWER "+OK\r\n"
#include "dialogue/back_script.h"

#define HELLO "+OK ready\r\n"
#define AUTH "AUTH PLAIN AGJvYgBwdw==\r\n"
#define XCLIENT_LINE                                                           \
	"XCLIENT ADDR=192.0.2.1 PORT=4000 DESTADDR=2001:db8::9 DESTPORT=4190 " \
	"SESSION=H1234-1 TTL=6 CLIENT-TRANSPORT=TLS\r\n"
#define CAPA "+OK\r\nTOP\r\nUSER\r\nSASL PLAIN LOGIN OAUTHBEARER XOAUTH2\r\n.\r\n"
#define LISTED(node, capa) \
	{ NODE, node, PROTO_MORE, "CAPA\r\n", "" }, { NODE, capa, BACK_READY, "", "" }
#define READY(node) LISTED(node, CAPA)
#define SENT { REPLAY, "", PROTO_MORE, AUTH, "" }

static const struct script scripts[] = {
	{ "accepted", false, false, SASL_PLAIN,
		{ READY(HELLO), SENT, { NODE, "+OK in\r\n", BACK_ACCEPTED, "", "+OK in\r\n" } } },
	{ "SES-70 LOGIN is replayed as PLAIN", false, false, SASL_LOGIN,
		{ READY("+ok\r\n"), SENT, { NODE, "+OK\r\n", BACK_ACCEPTED, "", "+OK\r\n" } } },
	{ "SES-74 refused", false, false, SASL_PLAIN,
		{ READY(HELLO), SENT,
			{ NODE, "-ERR [AUTH] no\r\n", BACK_REFUSED, "", "-ERR [AUTH] no\r\n" } } },
	{ "SES-74 system trouble", false, false, SASL_PLAIN,
		{ READY(HELLO), SENT,
			{ NODE, "-ERR [SYS/TEMP] x\r\n", BACK_REFUSED, "",
				"-ERR [SYS/TEMP] x\r\n" } },
		.temporarily = true },
	{ "SES-74 in use", false, false, SASL_PLAIN,
		{ READY(HELLO), SENT,
			{ NODE, "-err [in-use] x\r\n", BACK_REFUSED, "", "-err [in-use] x\r\n" } },
		.temporarily = true },
	{ "SES-74 login delay", false, false, SASL_PLAIN,
		{ READY(HELLO), SENT,
			{ NODE, "-ERR [LOGIN-DELAY] x\r\n", BACK_REFUSED, "",
				"-ERR [LOGIN-DELAY] x\r\n" } },
		.temporarily = true },
	{ "SES-74 a permanent code", false, false, SASL_PLAIN,
		{ READY(HELLO), SENT,
			{ NODE, "-ERR [SYS/PERM] x\r\n", BACK_REFUSED, "",
				"-ERR [SYS/PERM] x\r\n" } } },
	{ "SES-71 PLAIN knows no second step", false, false, SASL_PLAIN,
		{ READY(HELLO), SENT, { NODE, "+ \r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "SES-71 OAUTHBEARER", false, false, SASL_OAUTHBEARER,
		{ READY(HELLO), { REPLAY, "", PROTO_MORE, "AUTH OAUTHBEARER AGJvYgBwdw==\r\n", "" },
			{ NODE, "+ eyJzIjoiNDAx\r\n", PROTO_MORE, "AQ==\r\n", "" },
			{ NODE, "-ERR x\r\n", BACK_REFUSED, "", "-ERR x\r\n" } } },
	{ "SES-71 XOAUTH2", false, false, SASL_XOAUTH2,
		{ READY(HELLO), { REPLAY, "", PROTO_MORE, "AUTH XOAUTH2 AGJvYgBwdw==\r\n", "" },
			{ NODE, "+ eyJzIjoiNDAx\r\n", PROTO_MORE, "\r\n", "" },
			{ NODE, "-ERR x\r\n", BACK_REFUSED, "", "-ERR x\r\n" } } },
	{ "SES-71 a second challenge", false, false, SASL_XOAUTH2,
		{ READY(HELLO), { REPLAY, "", PROTO_MORE, "AUTH XOAUTH2 AGJvYgBwdw==\r\n", "" },
			{ NODE, "+\r\n", PROTO_MORE, "\r\n", "" },
			{ NODE, "+ x\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "SES-76 nonsense", false, false, SASL_PLAIN,
		{ READY(HELLO), SENT, { NODE, "hello\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "SES-76 +OK must be a word", false, false, SASL_PLAIN,
		{ READY(HELLO), SENT, { NODE, "+OKAY\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "section 9 greeting -ERR", false, false, SASL_PLAIN,
		{ { NODE, "-ERR go away\r\n", BACK_FAILED, "", "" } }, BACK_FAIL_REFUSED },
	{ "section 9 another protocol", false, false, SASL_PLAIN,
		{ { NODE, "* OK IMAP4rev1\r\n", BACK_FAILED, "", "" } }, BACK_FAIL_REFUSED },
	{ "lone LF is no line end", false, false, SASL_PLAIN,
		{ { NODE, "+OK x\n", PROTO_MORE, "", "" } } },
	{ "section 9 stls", true, false, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, "CAPA\r\n", "" },
			{ NODE, "+OK\r\nTOP\r\nstls\r\n.\r\n", PROTO_MORE, "STLS\r\n", "" },
			{ NODE, "+OK\r\n", BACK_STARTTLS, "", "" },
			{ STARTTLS_DONE, "", PROTO_MORE, "CAPA\r\n", "" },
			{ NODE, CAPA, BACK_READY, "", "" }, SENT,
			{ NODE, "+OK\r\n", BACK_ACCEPTED, "", "+OK\r\n" } } },
	{ "SES-55 XSTLS is not STLS", true, false, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, "CAPA\r\n", "" },
			{ NODE, "+OK\r\nXSTLS\r\nSTLSX\r\nX STLS\r\n.\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_REFUSED },
	{ "section 9 no CAPA, no STLS", true, false, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, "CAPA\r\n", "" },
			{ NODE, "-ERR what\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_REFUSED },
	{ "section 9 stls refused", true, false, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, "CAPA\r\n", "" },
			{ NODE, "+OK\r\nSTLS\r\n.\r\n", PROTO_MORE, "STLS\r\n", "" },
			{ NODE, "-ERR no\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_REFUSED },
	{ "SES-54 the list before TLS is forgotten", true, true, SASL_PLAIN,
		{ { NODE, "+OK [XCLIENT]\r\n", PROTO_MORE, "CAPA\r\n", "" },
			{ NODE, "+OK\r\nSTLS\r\nXCLIENT\r\n.\r\n", PROTO_MORE, "STLS\r\n", "" },
			{ NODE, "+OK\r\n", BACK_STARTTLS, "", "" },
			{ STARTTLS_DONE, "", PROTO_MORE, "CAPA\r\n", "" },
			{ NODE, "+OK\r\nTOP\r\n.\r\n", BACK_READY, "", "" } } },
	{ "SES-56 xclient of the greeting", false, true, SASL_PLAIN,
		{ { NODE, "+OK ready [xclient]\r\n", PROTO_MORE, "CAPA\r\n", "" },
			{ NODE, CAPA, PROTO_MORE, XCLIENT_LINE, "" },
			{ NODE, "+OK\r\n", BACK_READY, "", "" }, SENT } },
	{ "SES-56 xclient of CAPA", false, true, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, "CAPA\r\n", "" },
			{ NODE, "+OK\r\nXCLIENT\r\n.\r\n", PROTO_MORE, XCLIENT_LINE, "" },
			{ NODE, "+OK\r\n", BACK_READY, "", "" } } },
	{ "section 10 xclient not listed", false, true, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, "CAPA\r\n", "" },
			{ NODE, "+OK\r\nTOP\r\n.\r\n", BACK_READY, "", "" } } },
	{ "SES-46 xclient refused", false, true, SASL_PLAIN,
		{ { NODE, "+OK [XCLIENT]\r\n", PROTO_MORE, "CAPA\r\n", "" },
			{ NODE, CAPA, PROTO_MORE, XCLIENT_LINE, "" },
			{ NODE, "-ERR no\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_REFUSED },
	/* what the node offers */
	{ "SES-70 no CAPA: as if PLAIN were there", false, false, SASL_PLAIN,
		{ LISTED(HELLO, "-ERR what\r\n"), SENT,
			{ NODE, "+OK\r\n", BACK_ACCEPTED, "", "+OK\r\n" } } },
	{ "SES-70 a list without a word on it: as if PLAIN were there", false, false, SASL_PLAIN,
		{ LISTED(HELLO, "+OK\r\nTOP\r\n.\r\n"), SENT } },
	{ "SES-70 LOGIN only", false, false, SASL_PLAIN,
		{ LISTED(HELLO, "+OK\r\nsasl login XOAUTH2\r\n.\r\n"),
			{ REPLAY, "", PROTO_MORE, "AUTH LOGIN\r\n", "" },
			{ NODE, "+ VXNlcm5hbWU6\r\n", PROTO_MORE, "Ym9i\r\n", "" },
			{ NODE, "+ UGFzc3dvcmQ6\r\n", PROTO_MORE, "cHc=\r\n", "" },
			{ NODE, "+OK in\r\n", BACK_ACCEPTED, "", "+OK in\r\n" } } },
	{ "SES-70 LOGIN comes before USER", false, false, SASL_LOGIN,
		{ LISTED(HELLO, "+OK\r\nUSER\r\nSASL CRAM-MD5 LOGIN\r\n.\r\n"),
			{ REPLAY, "", PROTO_MORE, "AUTH LOGIN\r\n", "" },
			{ NODE, "-ERR not today\r\n", BACK_REFUSED, "", "-ERR not today\r\n" } } },
	{ "SES-70 the name is refused", false, false, SASL_PLAIN,
		{ LISTED(HELLO, "+OK\r\nSASL LOGIN\r\n.\r\n"),
			{ REPLAY, "", PROTO_MORE, "AUTH LOGIN\r\n", "" },
			{ NODE, "+\r\n", PROTO_MORE, "Ym9i\r\n", "" },
			{ NODE, "-ERR [AUTH] no\r\n", BACK_REFUSED, "", "-ERR [AUTH] no\r\n" } } },
	{ "SES-70 a third prompt", false, false, SASL_PLAIN,
		{ LISTED(HELLO, "+OK\r\nSASL LOGIN\r\n.\r\n"),
			{ REPLAY, "", PROTO_MORE, "AUTH LOGIN\r\n", "" },
			{ NODE, "+ \r\n", PROTO_MORE, "Ym9i\r\n", "" },
			{ NODE, "+ \r\n", PROTO_MORE, "cHc=\r\n", "" },
			{ NODE, "+ \r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "SES-57 success before the password", false, false, SASL_PLAIN,
		{ LISTED(HELLO, "+OK\r\nSASL LOGIN\r\n.\r\n"),
			{ REPLAY, "", PROTO_MORE, "AUTH LOGIN\r\n", "" },
			{ NODE, "+ \r\n", PROTO_MORE, "Ym9i\r\n", "" },
			{ NODE, "+OK in\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_REFUSED },
	{ "SES-70 USER and PASS only", false, false, SASL_PLAIN,
		{ LISTED(HELLO, "+OK\r\nuser\r\n.\r\n"),
			{ REPLAY, "", PROTO_MORE, "USER bob\r\n", "" },
			{ NODE, "+OK\r\n", PROTO_MORE, "PASS pw\r\n", "" },
			{ NODE, "+OK in\r\n", BACK_ACCEPTED, "", "+OK in\r\n" } } },
	{ "SES-70 USER refused", false, false, SASL_LOGIN,
		{ LISTED(HELLO, "+OK\r\nUSER\r\nSASL GSSAPI\r\n.\r\n"),
			{ REPLAY, "", PROTO_MORE, "USER bob\r\n", "" },
			{ NODE, "-ERR [SYS/TEMP] no\r\n", BACK_REFUSED, "",
				"-ERR [SYS/TEMP] no\r\n" } },
		.temporarily = true },
	{ "SES-70 PASS refused", false, false, SASL_PLAIN,
		{ LISTED(HELLO, "+OK\r\nUSER\r\n.\r\n"),
			{ REPLAY, "", PROTO_MORE, "USER bob\r\n", "" },
			{ NODE, "+OK\r\n", PROTO_MORE, "PASS pw\r\n", "" },
			{ NODE, "-ERR [AUTH] no\r\n", BACK_REFUSED, "", "-ERR [AUTH] no\r\n" } } },
	{ "SES-70 nonsense to USER", false, false, SASL_PLAIN,
		{ LISTED(HELLO, "+OK\r\nUSER\r\n.\r\n"),
			{ REPLAY, "", PROTO_MORE, "USER bob\r\n", "" },
			{ NODE, "+ \r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "SES-70 a prompt after PASS", false, false, SASL_PLAIN,
		{ LISTED(HELLO, "+OK\r\nUSER\r\n.\r\n"),
			{ REPLAY, "", PROTO_MORE, "USER bob\r\n", "" },
			{ NODE, "+OK\r\n", PROTO_MORE, "PASS pw\r\n", "" },
			{ NODE, "+ \r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "SES-70 XOAUTH2 needs XOAUTH2", false, false, SASL_XOAUTH2,
		{ LISTED(HELLO, "+OK\r\nUSER\r\nSASL PLAIN LOGIN OAUTHBEARER\r\n.\r\n"),
			{ REPLAY, "", BACK_FAILED, "", "" } },
		BACK_FAIL_MECHANISM },
	{ "SES-70 nothing that is ours", false, false, SASL_PLAIN,
		{ LISTED(HELLO, "+OK\r\nSASL CRAM-MD5 XPLAIN PLAINX\r\n.\r\n"),
			{ REPLAY, "", BACK_FAILED, "", "" } },
		BACK_FAIL_MECHANISM },
	{ "SES-54 what was offered before TLS is forgotten", true, false, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, "CAPA\r\n", "" },
			{ NODE, "+OK\r\nSTLS\r\nSASL PLAIN\r\n.\r\n", PROTO_MORE, "STLS\r\n", "" },
			{ NODE, "+OK\r\n", BACK_STARTTLS, "", "" },
			{ STARTTLS_DONE, "", PROTO_MORE, "CAPA\r\n", "" },
			{ NODE, "+OK\r\nUSER\r\n.\r\n", BACK_READY, "", "" },
			{ REPLAY, "", PROTO_MORE, "USER bob\r\n", "" } } },
};

SCRIPT_TESTS

static void get_ready(struct back *back)
{
	struct buf to_node = { 0 }, to_client = { 0 };
	struct view left;

	assert_int_equal(play_back(&pop3_back_ops, back, VIEW_LIT(HELLO), SIZE_MAX, &to_node,
				 &to_client, &left),
		PROTO_MORE);
	assert_int_equal(play_back(&pop3_back_ops, back, VIEW_LIT(CAPA), SIZE_MAX, &to_node,
				 &to_client, &left),
		BACK_READY);
	buf_fini(&to_node);
}

static void test_section_9_injection(void **state)
{
	(void)state;
	check_failure(true, false, VIEW_LIT(""), VIEW_LIT(HELLO "+OK\r\nSTLS\r\n.\r\n"),
		BACK_FAIL_REFUSED); /* the list before it was asked for */
	struct back *back = make(true, false);
	struct buf to_node = { 0 }, to_client = { 0 };
	struct view left;

	assert_int_equal(play_back(&pop3_back_ops, back, VIEW_LIT(HELLO), SIZE_MAX, &to_node,
				 &to_client, &left),
		PROTO_MORE);
	assert_int_equal(play_back(&pop3_back_ops, back, VIEW_LIT("+OK\r\nSTLS\r\n.\r\n"), SIZE_MAX,
				 &to_node, &to_client, &left),
		PROTO_MORE);
	assert_int_equal(
		play_back(&pop3_back_ops, back, VIEW_LIT("+OK go\r\n+OK\r\nXCLIENT\r\n.\r\n"),
			SIZE_MAX, &to_node, &to_client, &left),
		BACK_FAILED);
	assert_int_equal(pop3_back_ops.failure(back), BACK_FAIL_INJECTION);
	buf_fini(&to_node);
	pop3_back_ops.free(back);
}

static void test_SES_57_left_over(void **state)
{
	(void)state;
	struct back *back = make(false, false);
	struct buf to_node = { 0 };

	get_ready(back);
	assert_int_equal(replay(back, SASL_PLAIN, VIEW_LIT("+OK in\r\n"), &to_node), BACK_FAILED);
	assert_int_equal(to_node.len, 0);
	pop3_back_ops.free(back);
}

/* UTF8 goes out before the credential where it is listed; a refusal changes nothing. */
static void test_SES_49_utf8(void **state)
{
	static const char *const answers[] = { "+OK\r\n", "-ERR no\r\n" };

	(void)state;
	utf8 = true;
	for (size_t i = 0; i < ARRAY_SIZE(answers); i++) {
		struct back *back = make(false, false);
		struct buf to_node = { 0 }, to_client = { 0 };
		struct view left;

		assert_int_equal(play_back(&pop3_back_ops, back, VIEW_LIT(HELLO), 0, &to_node,
					 &to_client, &left),
			PROTO_MORE);
		assert_int_equal(
			play_back(&pop3_back_ops, back, VIEW_LIT("+OK\r\nUTF8 USER\r\n.\r\n"), 0,
				&to_node, &to_client, &left),
			PROTO_MORE);
		expect("utf8", &to_node, "CAPA\r\nUTF8\r\n");
		assert_int_equal(play_back(&pop3_back_ops, back, view_str(answers[i]), 0, &to_node,
					 &to_client, &left),
			BACK_READY);
		buf_fini(&to_node);
		pop3_back_ops.free(back);
	}
	struct back *back = make(false, false);
	struct buf to_node = { 0 }, to_client = { 0 };
	struct view left;

	assert_int_equal(
		play_back(&pop3_back_ops, back, VIEW_LIT(HELLO), 0, &to_node, &to_client, &left),
		PROTO_MORE);
	assert_int_equal(play_back(&pop3_back_ops, back, VIEW_LIT("+OK\r\nXUTF8\r\n.\r\n"), 0,
				 &to_node, &to_client, &left),
		BACK_READY);
	expect("not listed, not sent", &to_node, "CAPA\r\n");
	buf_fini(&to_node);
	pop3_back_ops.free(back);
	utf8 = false;
}

/* A line over 255 bytes waits for the prompt (RFC 2449 section 4). */
static void test_section_12_long_credential(void **state)
{
	struct back *back = make(false, false);
	struct proto_credential credential = { .mech = SASL_XOAUTH2 };
	struct buf to_node = { 0 }, to_client = { 0 };
	struct view left;
	size_t consumed;

	(void)state;
	get_ready(back);
	for (size_t n = 0; n < 9300; n++)
		assert_int_equal(buf_append(&credential.message, "", 1), 0);
	assert_int_equal(
		pop3_back_ops.replay(back, &credential, view_make("", 0), &consumed, &to_node),
		PROTO_MORE);
	expect("long", &to_node, "AUTH XOAUTH2\r\n");
	assert_false(pop3_back_ops.credential_sent(back));
	buf_clear(&to_node);
	/* success before the credential is none (#7) */
	assert_int_equal(play_back(&pop3_back_ops, back, VIEW_LIT("+ \r\n"), SIZE_MAX, &to_node,
				 &to_client, &left),
		PROTO_MORE);
	assert_true(pop3_back_ops.credential_sent(back));
	assert_int_equal(to_node.len, 12400 + 2);
	assert_int_equal(play_back(&pop3_back_ops, back, VIEW_LIT("+OK\r\n"), SIZE_MAX, &to_node,
				 &to_client, &left),
		BACK_ACCEPTED);
	expect("to the client", &to_client, "+OK\r\n");
	proto_credential_wipe(&credential);
	buf_fini(&to_node);
	buf_fini(&to_client);
	pop3_back_ops.free(back);
}

/* What USER and PASS cannot carry, because it would be another command. */
static void test_SES_70_a_line_end_in_the_password(void **state)
{
	static const char *const passwords[] = { "p\rQUIT", "p\nQUIT" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(passwords); i++) {
		struct proto_credential credential = { .mech = SASL_PLAIN };
		struct buf to_node = { 0 }, to_client = { 0 };
		struct back *back = make(false, false);
		struct view left;
		size_t consumed;

		assert_int_equal(play_back(&pop3_back_ops, back, VIEW_LIT(HELLO), SIZE_MAX,
					 &to_node, &to_client, &left),
			PROTO_MORE);
		assert_int_equal(play_back(&pop3_back_ops, back, VIEW_LIT("+OK\r\nUSER\r\n.\r\n"),
					 SIZE_MAX, &to_node, &to_client, &left),
			BACK_READY);
		buf_clear(&to_node);
		assert_int_equal(
			sasl_make_plain(&credential, VIEW_LIT("bob"), view_str(passwords[i])), 0);
		assert_int_equal(pop3_back_ops.replay(
					 back, &credential, view_make("", 0), &consumed, &to_node),
			BACK_FAILED);
		assert_int_equal(pop3_back_ops.failure(back), BACK_FAIL_MECHANISM);
		assert_int_equal(to_node.len, 0);
		proto_credential_wipe(&credential);
		buf_fini(&to_node);
		pop3_back_ops.free(back);
	}
}

static void test_7_success_before_the_credential(void **state)
{
	struct back *back = make(false, false);
	struct proto_credential credential = { .mech = SASL_XOAUTH2 };
	struct buf to_node = { 0 }, to_client = { 0 };
	struct view left;
	size_t consumed;

	(void)state;
	get_ready(back);
	for (size_t n = 0; n < 9300; n++)
		assert_int_equal(buf_append(&credential.message, "", 1), 0);
	assert_int_equal(
		pop3_back_ops.replay(back, &credential, view_make("", 0), &consumed, &to_node),
		PROTO_MORE);
	assert_int_equal(play_back(&pop3_back_ops, back, VIEW_LIT("+OK\r\n"), SIZE_MAX, &to_node,
				 &to_client, &left),
		BACK_FAILED);
	assert_int_equal(to_client.len, 0);
	proto_credential_wipe(&credential);
	buf_fini(&to_node);
	pop3_back_ops.free(back);
}

static void test_section_3_limits(void **state)
{
	struct buf text = { 0 };

	(void)state;
	for (int i = 0; i < 8200; i++)
		assert_int_equal(buf_append(&text, "+", 1), 0);
	check_failure(false, false, VIEW_LIT(""), buf_view(&text), BACK_FAIL_PROTOCOL);
	buf_clear(&text);
	assert_int_equal(buf_append_str(&text, "+OK\r\n"), 0);
	for (int i = 0; i < 257; i++)
		assert_int_equal(buf_append_str(&text, "X\r\n"), 0);
	check_failure(true, false, VIEW_LIT(HELLO), buf_view(&text), BACK_FAIL_PROTOCOL);
	buf_fini(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripts_whole),
		cmocka_unit_test(test_scripts_byte_by_byte),
		cmocka_unit_test(test_scripts_cut_everywhere),
		cmocka_unit_test(test_section_9_injection),
		cmocka_unit_test(test_SES_57_left_over),
		cmocka_unit_test(test_SES_49_utf8),
		cmocka_unit_test(test_section_12_long_credential),
		cmocka_unit_test(test_SES_70_a_line_end_in_the_password),
		cmocka_unit_test(test_7_success_before_the_credential),
		cmocka_unit_test(test_section_3_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

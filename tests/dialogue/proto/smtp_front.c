// SPDX-License-Identifier: Apache-2.0
/* Submission conversations before login; texts from sessions.md sections 5.1 and 5.4. */
#define OPS smtp_front_ops
#define CAPABILITIES "8BITMIME\nSIZE 1000"
#include "dialogue/front_script.h"

#define CRED "AGJvYgBwdw=="
#define HELLO(addr) "250-h Hello [" addr "]\r\n250-8BITMIME\r\n250-SIZE 1000\r\n"
#define AUTH "250 AUTH PLAIN LOGIN OAUTHBEARER\r\n"
#define XCLIENT_LIST \
	"XCLIENT ADDR PORT DESTADDR DESTPORT SESSION TTL CLIENT-TRANSPORT HELO PROTO\r\n"
#define EHLO "EHLO c.example\r\n"
#define GREETED HELLO("192.0.2.7") AUTH
#define PRIVACY "538 5.7.11 Encryption required for requested authentication mechanism\r\n"
#define FAILED "535 5.7.8 Authentication failed\r\n"
#define UNRECOGNISED "500 5.5.2 Command not recognised\r\n"
#define FIRST "503 5.5.1 Send EHLO first\r\n"
#define NEEDED "530 5.7.0 Authentication required\r\n"
#define BASE64 "501 5.5.2 Invalid base64\r\n"
#define OK "250 2.0.0 OK\r\n"
#define NAME "501 5.5.4 Name required\r\n"

static const struct script scripts[] = {
	{ "ehlo", EHLO, GREETED },
	{ "section 4 ehlo of a plain leg", EHLO, HELLO("192.0.2.7") "250 STARTTLS\r\n", PROTO_MORE,
		NULL, 0, true },
	{ "SES-61 ehlo of a trusted peer", EHLO, HELLO("192.0.2.7") "250-" XCLIENT_LIST AUTH,
		PROTO_MORE, NULL, 0, false, true },
	{ "helo", "HELO c.example\r\n", "250 h\r\n" },
	{ "SES-30 names", "EHLO\r\nEHLO \r\nHELO a b\r\nEHLO a\"b\r\nEHLO a\tb\r\n",
		NAME NAME NAME NAME NAME },
	{ "SES-18 any case", "noop\r\nRSET\r\nnOOP x\r\n", OK OK OK },
	{ "quit", "QUIT\r\nNOOP\r\n", "221 2.0.0 Closing\r\n", FRONT_CLOSE },
	{ "before login",
		"MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nBDAT 5\r\nVRFY a\r\n"
		"EXPN a\r\nETRN a\r\nHELP\r\n",
		NEEDED NEEDED NEEDED NEEDED NEEDED NEEDED NEEDED NEEDED },
	{ "SES-16 unknown commands are counted", "LHLO x\r\nFOO\r\n", UNRECOGNISED UNRECOGNISED,
		PROTO_MORE, NULL, 2 },
	{ "SES-31 lone LF", "NOOP\nNOOP\r\n", UNRECOGNISED OK, PROTO_MORE, NULL, 1 },
	{ "SES-31 bare CR inside", "NOOP\rNOOP\r\nNOOP\r\n", UNRECOGNISED OK, PROTO_MORE, NULL, 1 },
	{ "SES-31 two CRs", "NOOP\r\r\nNOOP\r\n", UNRECOGNISED OK, PROTO_MORE, NULL, 1 },
	{ "SES-31 in a response", EHLO "AUTH PLAIN\r\n" CRED "\nNOOP\r\n",
		GREETED "334 \r\n" UNRECOGNISED OK, PROTO_MORE, NULL, 1 },
	{ "auth before ehlo, after helo", "AUTH PLAIN " CRED "\r\nHELO x\r\nAUTH PLAIN\r\n",
		FIRST "250 h\r\n" FIRST },
	{ "auth plain", EHLO "AUTH PLAIN " CRED "\r\n", GREETED, FRONT_LOGIN, "|bob|pw" },
	{ "section 5.4 auth plain, prompted", EHLO "auth plain\r\n" CRED "\r\n", GREETED "334 \r\n",
		FRONT_LOGIN, "|bob|pw" },
	{ "SES-33 an empty message", EHLO "AUTH PLAIN =\r\nNOOP\r\n", GREETED FAILED OK, PROTO_MORE,
		NULL, 1 },
	{ "SES-19 mechanism login", EHLO "AUTH LOGIN\r\nYm9i\r\ncHc=\r\n",
		GREETED "334 VXNlcm5hbWU6\r\n334 UGFzc3dvcmQ6\r\n", FRONT_LOGIN, "|bob|pw" },
	{ "SES-19 mechanism login with the name", EHLO "AUTH LOGIN Ym9i\r\ncHc=\r\n",
		GREETED "334 UGFzc3dvcmQ6\r\n", FRONT_LOGIN, "|bob|pw" },
	{ "SES-35 oauthbearer", EHLO "AUTH OAUTHBEARER bixhPWJvYiwBYXV0aD1CZWFyZXIgdAEB\r\n",
		GREETED, FRONT_LOGIN, "n,a=bob,\1auth=Bearer t\1\1" },
	{ "cancel", EHLO "AUTH PLAIN\r\n*\r\nNOOP\r\n",
		GREETED "334 \r\n501 5.7.0 Authentication cancelled\r\n" OK, PROTO_MORE, NULL, 1 },
	{ "SES-32 bad base64", EHLO "AUTH PLAIN AG!b\r\nAUTH PLAIN AGJv YgBwdw==\r\n",
		GREETED BASE64 BASE64, PROTO_MORE, NULL, 2 },
	{ "SES-17 malformed, then noop", EHLO "AUTH PLAIN bm9udWxoZXJl\r\nNOOP\r\n",
		GREETED FAILED OK, PROTO_MORE, NULL, 1 },
	{ "unknown mechanisms", EHLO "AUTH XOAUTH2 x\r\nAUTH\r\n",
		GREETED "504 5.5.4 Mechanism not supported\r\n"
			"504 5.5.4 Mechanism not supported\r\n",
		PROTO_MORE, NULL, 2 },
	{ "SES-16 attempt limit", "FOO\r\nFOO\r\nFOO\r\nNOOP\r\n",
		UNRECOGNISED UNRECOGNISED UNRECOGNISED "421 4.7.0 h Too many failed attempts\r\n",
		FRONT_CLOSE, NULL, 3 },
	{ "section 4 privacy", EHLO "AUTH PLAIN " CRED "\r\nAUTH LOGIN\r\nAUTH FOO\r\n",
		HELLO("192.0.2.7") "250 STARTTLS\r\n" PRIVACY PRIVACY PRIVACY, PROTO_MORE, NULL, 0,
		true },
	{ "starttls", "starttls\r\n", "", FRONT_STARTTLS, NULL, 0, true },
	{ "starttls not offered", "STARTTLS\r\n", "503 5.5.1 STARTTLS not available\r\n" },
	{ "starttls with an argument", "STARTTLS now\r\n", "501 5.5.4 No argument allowed\r\n",
		PROTO_MORE, NULL, 0, true },
	{ "SES-62 xclient of a stranger", "XCLIENT TTL=5\r\n", UNRECOGNISED, PROTO_MORE, NULL, 1 },
	{ "SES-61 xclient greets again, ehlo is needed again",
		EHLO "XCLIENT ADDR=IPV6:2001:db8::7 PORT=7 TTL=5 LOGIN=eve\r\nAUTH PLAIN\r\n" EHLO,
		HELLO("192.0.2.7") "250-" XCLIENT_LIST AUTH "220 h ESMTP Hello.\r\n" FIRST HELLO(
			"IPv6:2001:db8::7") "250-" XCLIENT_LIST AUTH,
		PROTO_MORE, NULL, 0, false, true },
	{ "SES-61 bad values", "XCLIENT TTL=256\r\nXCLIENT ADDR=x\r\nXCLIENT SESSION=a+b\r\n",
		"501 5.5.4 Bad attribute value\r\n501 5.5.4 Bad attribute value\r\n"
		"501 5.5.4 Bad attribute value\r\n",
		PROTO_MORE, NULL, 0, false, true },
};

SCRIPT_TESTS

static void test_section_5_4_greeting(void **state)
{
	struct front *front = make(false, false);
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(smtp_front_ops.greet(front, &out), 0);
	expect("greeting", &out, "220 h ESMTP Hello.\r\n");
	buf_fini(&out);
	smtp_front_ops.free(front);
}

static void test_SES_31_nul(void **state)
{
	struct front *front = make(false, false);
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(
		play(front, VIEW_LIT("EHLO a\0b\r\nNOOP\r\n"), SIZE_MAX, &out), PROTO_MORE);
	expect("nul", &out, UNRECOGNISED OK);
	assert_string_equal(smtp_front_ops.helo(front), "");
	buf_fini(&out);
	smtp_front_ops.free(front);
}

static void test_SES_30_name_length(void **state)
{
	struct front *front = make(false, false);
	struct buf text = { 0 }, out = { 0 };

	(void)state;
	for (size_t len = 255; len <= 256; len++) {
		buf_clear(&text);
		buf_clear(&out);
		assert_int_equal(buf_append_str(&text, "HELO "), 0);
		for (size_t i = 0; i < len; i++)
			assert_int_equal(buf_append(&text, "a", 1), 0);
		assert_int_equal(buf_append_str(&text, "\r\n"), 0);
		assert_int_equal(play(front, buf_view(&text), SIZE_MAX, &out), PROTO_MORE);
		expect("name", &out, len == 255 ? "250 h\r\n" : NAME);
		assert_int_equal(strlen(smtp_front_ops.helo(front)), 255);
	}
	buf_fini(&text);
	buf_fini(&out);
	smtp_front_ops.free(front);
}

static void test_section_3_limits(void **state)
{
	(void)state;
	check_long("NOOP ", 65529, "\r\n", PROTO_MORE, OK, 0);
	check_long("NOOP ", 65530, "\r\n", FRONT_CLOSE, "500 5.5.2 Line too long\r\n", 0);
	check_long("NOOP ", 100000, "\r\n", FRONT_CLOSE, "500 5.5.2 Line too long\r\n", 0);
	check_long(EHLO "AUTH PLAIN\r\n", 16384, "\r\nNOOP\r\n", PROTO_MORE,
		GREETED "334 \r\n" FAILED OK, 1);
	check_long(EHLO "AUTH PLAIN\r\n", 16385, "\r\nNOOP\r\n", PROTO_MORE,
		GREETED "334 \r\n500 5.5.6 Authentication exchange line is too long\r\n" OK, 1);
	check_long(EHLO "AUTH PLAIN\r\n", 100000, "\r\nNOOP\r\n", PROTO_MORE,
		GREETED "334 \r\n500 5.5.6 Authentication exchange line is too long\r\n" OK, 1);
}

static void test_section_5_1_replies(void **state)
{
	static const struct reply_case replies[] = {
		{ FRONT_REPLY_AUTH_FAILED, PROTO_AGAIN, FAILED },
		{ FRONT_REPLY_HIDDEN_TEMP, PROTO_AGAIN,
			"454 4.7.0 Temporary authentication failure\r\n" },
		{ FRONT_REPLY_UNAVAILABLE, FRONT_CLOSE,
			"421 4.3.0 h Service temporarily unavailable\r\n" },
		{ FRONT_REPLY_SHUTDOWN, FRONT_CLOSE, "421 4.3.2 h Shutting down\r\n" },
		{ FRONT_REPLY_TIMEOUT, FRONT_CLOSE, "421 4.4.2 h Timed out\r\n" },
		{ FRONT_REPLY_VIOLATION, FRONT_CLOSE, "421 4.7.0 h Protocol violation\r\n" },
	};

	(void)state;
	run_replies(replies, ARRAY_SIZE(replies), EHLO "AUTH PLAIN " CRED "\r\n", "NOOP\r\n", OK);
}

/* SES-14: after TLS nothing of before is left. */
static void test_SES_14_starttls_restarts(void **state)
{
	struct front *front = make(true, true);
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(
		play(front, VIEW_LIT("XCLIENT TTL=5\r\n" EHLO "STARTTLS\r\n"), SIZE_MAX, &out),
		FRONT_STARTTLS);
	assert_string_equal(smtp_front_ops.helo(front), "c.example");
	buf_clear(&out);
	assert_int_equal(smtp_front_ops.starttls_ok(front, &out), 0);
	expect("starttls", &out, "220 2.0.0 Ready for TLS\r\n");
	buf_clear(&out);
	smtp_front_ops.starttls_done(front, true);
	assert_string_equal(smtp_front_ops.helo(front), "");
	assert_false(smtp_front_ops.peer(front)->has_ttl);
	assert_int_equal(play(front, VIEW_LIT("AUTH PLAIN\r\nSTARTTLS\r\n" EHLO), SIZE_MAX, &out),
		PROTO_MORE);
	expect("after it", &out,
		FIRST
		"503 5.5.1 STARTTLS not available\r\n" HELLO("192.0.2.7") "250-" XCLIENT_LIST AUTH);
	buf_fini(&out);
	smtp_front_ops.free(front);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripts_whole),
		cmocka_unit_test(test_scripts_byte_by_byte),
		cmocka_unit_test(test_scripts_cut_everywhere),
		cmocka_unit_test(test_section_5_4_greeting),
		cmocka_unit_test(test_SES_31_nul),
		cmocka_unit_test(test_SES_30_name_length),
		cmocka_unit_test(test_section_3_limits),
		cmocka_unit_test(test_section_5_1_replies),
		cmocka_unit_test(test_SES_14_starttls_restarts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

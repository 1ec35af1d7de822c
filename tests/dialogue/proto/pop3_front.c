// SPDX-License-Identifier: Apache-2.0
/* POP3 conversations before login; texts from sessions.md sections 5.1 and 5.3. */
#define OPS pop3_front_ops
#define CAPABILITIES NULL
#include "dialogue/front_script.h"

#define CRED "AGJvYgBwdw=="
#define CAPA(auth, more)                                                                        \
	"+OK Capabilities\r\n" auth more                                                        \
	"TOP\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\nUIDL\r\nUTF8\r\n" \
	"IMPLEMENTATION Homing\r\n.\r\n"
#define SASL "USER\r\nSASL PLAIN LOGIN OAUTHBEARER\r\n"
#define PRIVACY "-ERR TLS is required before authentication.\r\n"
#define FAILED "-ERR [AUTH] Authentication failed.\r\n"
#define UNKNOWN "-ERR Unknown command.\r\n"
#define BASE64 "-ERR Invalid base64.\r\n"
#define OK "+OK\r\n"

static const struct script scripts[] = {
	{ "capa", "CAPA\r\n", CAPA(SASL, "") },
	{ "section 4 capa of a plain leg", "CAPA\r\n", CAPA("", "STLS\r\n"), PROTO_MORE, NULL, 0,
		true },
	{ "SES-61 capa of a trusted peer", "CAPA\r\n", CAPA(SASL, "XCLIENT\r\n"), PROTO_MORE, NULL,
		0, false, true },
	{ "SES-18 any case, lone LF", "nOoP\nNOOP\r\n", OK OK },
	{ "SES-49 utf8", "UTF8\r\n", OK },
	{ "quit", "QUIT\r\nNOOP\r\n", "+OK Closing.\r\n", FRONT_CLOSE },
	{ "apop", "APOP bob c4c9334bac560ecc979e58001b3e22fb\r\n", "-ERR APOP not supported.\r\n" },
	{ "SES-16 unknown commands are not counted", "STAT\r\nLIST\r\nFOO bar\r\nRETR 1\r\n",
		UNKNOWN UNKNOWN UNKNOWN UNKNOWN },
	{ "SES-16 unparsable lines are counted", "\r\nAVERYLONGCOMMAND1 x\r\n", UNKNOWN UNKNOWN,
		PROTO_MORE, NULL, 2 },
	{ "SES-16 a control byte in the command", "NO\1OP\r\n", UNKNOWN, PROTO_MORE, NULL, 1 },
	{ "user and pass", "USER bob\r\nPASS pw\r\n", OK, FRONT_LOGIN, "|bob|pw" },
	{ "section 5.3 blanks of the secret are kept", "user bob\r\npass  p w \r\n", OK,
		FRONT_LOGIN, "|bob| p w " },
	{ "section 5.3 pass without user", "PASS pw\r\n", "-ERR USER first.\r\n" },
	{ "user without a name", "USER\r\nUSER \r\nPASS pw\r\n",
		"-ERR Name missing.\r\n-ERR Name missing.\r\n-ERR USER first.\r\n" },
	{ "user is forgotten after pass", "USER bob\r\nPASS\r\nPASS pw\r\n",
		OK FAILED "-ERR USER first.\r\n", PROTO_MORE, NULL, 1 },
	{ "the last user counts", "USER eve\r\nUSER bob\r\nPASS pw\r\n", OK OK, FRONT_LOGIN,
		"|bob|pw" },
	{ "auth lists mechanisms", "AUTH\r\n", "+OK\r\nPLAIN\r\nLOGIN\r\nOAUTHBEARER\r\n.\r\n" },
	{ "auth plain", "AUTH PLAIN " CRED "\r\n", "", FRONT_LOGIN, "|bob|pw" },
	{ "section 5.3 auth plain, prompted", "auth plain\r\n" CRED "\n", "+ \r\n", FRONT_LOGIN,
		"|bob|pw" },
	{ "SES-32 auth plain without padding", "AUTH PLAIN AGJvYgBwdw\r\n", "", FRONT_LOGIN,
		"|bob|pw" },
	{ "SES-33 an empty message", "AUTH PLAIN =\r\nNOOP\r\n", FAILED OK, PROTO_MORE, NULL, 1 },
	{ "SES-19 mechanism login", "AUTH LOGIN\r\nYm9i\r\ncHc=\r\n",
		"+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n", FRONT_LOGIN, "|bob|pw" },
	{ "SES-19 mechanism login with the name", "AUTH LOGIN Ym9i\r\ncHc=\r\n",
		"+ UGFzc3dvcmQ6\r\n", FRONT_LOGIN, "|bob|pw" },
	{ "SES-34 an empty name", "AUTH LOGIN\r\n\r\nNOOP\r\n", "+ VXNlcm5hbWU6\r\n" FAILED OK,
		PROTO_MORE, NULL, 1 },
	{ "SES-35 oauthbearer", "AUTH OAUTHBEARER bixhPWJvYiwBYXV0aD1CZWFyZXIgdAEB\r\n", "",
		FRONT_LOGIN, "n,a=bob,\1auth=Bearer t\1\1" },
	{ "cancel", "AUTH LOGIN\r\n*\r\nAUTH PLAIN\r\n*\r\nNOOP\r\n",
		"+ VXNlcm5hbWU6\r\n-ERR Authentication cancelled.\r\n+ \r\n"
		"-ERR Authentication cancelled.\r\n" OK,
		PROTO_MORE, NULL, 2 },
	{ "SES-32 bad base64", "AUTH PLAIN AG!b\r\nAUTH PLAIN AGJv YgBwdw==\r\nNOOP\r\n",
		BASE64 BASE64 OK, PROTO_MORE, NULL, 2 },
	{ "SES-17 malformed, then quit", "AUTH PLAIN bm9udWxoZXJl\r\nQUIT\r\n",
		FAILED "+OK Closing.\r\n", FRONT_CLOSE, NULL, 1 },
	{ "unknown mechanisms", "AUTH XOAUTH2\r\nAUTH FROBNICATE x\r\n",
		"-ERR Mechanism not supported.\r\n-ERR Mechanism not supported.\r\n" },
	{ "blanks around a name", "USER  bob \t\r\nPASS pw\r\n", "+OK\r\n", FRONT_LOGIN,
		"|bob|pw" },
	{ "blanks are no name", "USER   \r\n", "-ERR Name missing.\r\n" },
	{ "blanks in AUTH", "AUTH  PLAIN  AGJvYgBwdw== \r\n", "", FRONT_LOGIN, "|bob|pw" },
	{ "a blank behind a response", "AUTH PLAIN \r\nAGJvYgBwdw== \r\n", "+ \r\n", FRONT_LOGIN,
		"|bob|pw" },
	{ "a password that is not UTF-8", "USER bob\r\nPASS p\xe9\r\n", "+OK\r\n", FRONT_LOGIN,
		"|bob|p\xe9" },
	{ "SES-16 attempt limit says nothing more",
		"AUTH PLAIN =\r\nAUTH PLAIN =\r\nAUTH PLAIN =\r\nNOOP\r\n", FAILED FAILED FAILED,
		FRONT_CLOSE, NULL, 3 },
	{ "section 4 privacy", "USER bob\r\nPASS pw\r\nAUTH PLAIN\r\nAUTH FOO\r\nAUTH\r\n",
		PRIVACY PRIVACY PRIVACY PRIVACY PRIVACY, PROTO_MORE, NULL, 0, true },
	{ "stls", "stls\r\n", "", FRONT_STARTTLS, NULL, 0, true },
	{ "stls not offered", "STLS\r\n", "-ERR STLS not available.\r\n" },
	{ "SES-62 xclient of a stranger", "XCLIENT TTL=5 ADDR=192.0.2.1\r\n", UNKNOWN },
	{ "SES-61 xclient", "XCLIENT TTL=5 ADDR=192.0.2.1 PORT=7 SESSION=q+zz/A7yYN LOGIN=eve\r\n",
		OK, PROTO_MORE, NULL, 0, false, true },
	{ "SES-61 bad values",
		"XCLIENT TTL=256\r\nXCLIENT ADDR=mail\r\nXCLIENT PORT=0\r\nXCLIENT x\r\nXCLIENT "
		"=\r\n",
		"-ERR Bad attribute value.\r\n-ERR Bad attribute value.\r\n"
		"-ERR Bad attribute value.\r\n-ERR Bad attribute value.\r\n"
		"-ERR Bad attribute value.\r\n",
		PROTO_MORE, NULL, 0, false, true },
};

SCRIPT_TESTS

static void test_section_5_3_greeting(void **state)
{
	struct front *front;
	struct buf out = { 0 };

	(void)state;
	front = make(false, false);
	assert_int_equal(pop3_front_ops.greet(front, &out), 0);
	expect("greeting", &out, "+OK Hello.\r\n");
	buf_clear(&out);
	pop3_front_ops.free(front);
	front = make(false, true);
	assert_int_equal(pop3_front_ops.greet(front, &out), 0);
	expect("greeting of a trusted peer", &out, "+OK Hello. [XCLIENT]\r\n");
	buf_fini(&out);
	pop3_front_ops.free(front);
}

static void test_section_3_limits(void **state)
{
	(void)state;
	check_long("FOO ", 65530, "\r\n", PROTO_MORE, UNKNOWN, 0);
	check_long("FOO ", 65531, "\r\n", FRONT_CLOSE, "-ERR Command too long.\r\n", 0);
	check_long("FOO ", 100000, "\r\n", FRONT_CLOSE, "-ERR Command too long.\r\n", 0);
	check_long("AUTH PLAIN\r\n", 16384, "\r\nNOOP\r\n", PROTO_MORE, "+ \r\n" FAILED OK, 1);
	check_long("AUTH PLAIN\r\n", 16385, "\r\nNOOP\r\n", PROTO_MORE,
		"+ \r\n-ERR Response too long.\r\n" OK, 1);
	check_long("AUTH PLAIN\r\n", 100000, "\r\nNOOP\r\n", PROTO_MORE,
		"+ \r\n-ERR Response too long.\r\n" OK, 1);
	check_long("AUTH PLAIN ", 16385, "\r\nNOOP\r\n", PROTO_MORE,
		"-ERR Response too long.\r\n" OK, 1);
}

static void test_section_5_1_replies(void **state)
{
	static const struct reply_case replies[] = {
		{ FRONT_REPLY_AUTH_FAILED, PROTO_AGAIN, FAILED },
		{ FRONT_REPLY_HIDDEN_TEMP, PROTO_AGAIN,
			"-ERR [SYS/TEMP] Service temporarily unavailable.\r\n" },
		{ FRONT_REPLY_UNAVAILABLE, FRONT_CLOSE,
			"-ERR [SYS/TEMP] Service temporarily unavailable.\r\n" },
		{ FRONT_REPLY_SHUTDOWN, FRONT_CLOSE, "-ERR [SYS/TEMP] Shutting down.\r\n" },
		{ FRONT_REPLY_TIMEOUT, FRONT_CLOSE, "" },
		{ FRONT_REPLY_VIOLATION, FRONT_CLOSE, "-ERR Protocol violation.\r\n" },
	};

	(void)state;
	run_replies(replies, ARRAY_SIZE(replies), "AUTH PLAIN " CRED "\r\n", "NOOP\r\n", OK);
}

/* SES-14: after TLS nothing of before is left. */
static void test_SES_14_stls_restarts(void **state)
{
	struct front *front = make(true, true);
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(play_front(&pop3_front_ops, front,
				 VIEW_LIT("UTF8\r\nXCLIENT TTL=5\r\nSTLS\r\n"), SIZE_MAX, &out),
		FRONT_STARTTLS);
	assert_true(pop3_front_ops.utf8(front));
	assert_true(pop3_front_ops.peer(front)->has_ttl);
	buf_clear(&out);
	assert_int_equal(pop3_front_ops.starttls_ok(front, &out), 0);
	expect("stls", &out, "+OK Begin TLS.\r\n");
	buf_clear(&out);
	pop3_front_ops.starttls_done(front, true);
	assert_false(pop3_front_ops.utf8(front));
	assert_false(pop3_front_ops.peer(front)->has_ttl);
	assert_int_equal(play_front(&pop3_front_ops, front, VIEW_LIT("CAPA\r\nSTLS\r\nPASS x\r\n"),
				 SIZE_MAX, &out),
		PROTO_MORE);
	expect("after stls", &out,
		CAPA(SASL, "XCLIENT\r\n") "-ERR STLS not available.\r\n-ERR USER first.\r\n");
	buf_fini(&out);
	pop3_front_ops.free(front);
}

static void test_SES_61_peer(void **state)
{
	struct front *front = make(false, true);
	struct buf out = { 0 };
	const struct front_peer *peer;

	(void)state;
	assert_int_equal(
		play_front(&pop3_front_ops, front,
			VIEW_LIT("XCLIENT ADDR=2001:db8::7 PORT=70 DESTADDR=192.0.2.9 "
				 "DESTPORT=110 SESSION=a+b TTL=3 CLIENT-TRANSPORT=TLS\r\n"),
			SIZE_MAX, &out),
		PROTO_MORE);
	peer = pop3_front_ops.peer(front);
	assert_string_equal(peer->addr, "2001:db8::7");
	assert_int_equal(peer->port, 70);
	assert_string_equal(peer->dest_addr, "192.0.2.9");
	assert_int_equal(peer->dest_port, 110);
	assert_string_equal(peer->session, "a+b");
	assert_int_equal(peer->ttl, 3);
	buf_fini(&out);
	pop3_front_ops.free(front);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripts_whole),
		cmocka_unit_test(test_scripts_byte_by_byte),
		cmocka_unit_test(test_scripts_cut_everywhere),
		cmocka_unit_test(test_section_5_3_greeting),
		cmocka_unit_test(test_section_3_limits),
		cmocka_unit_test(test_section_5_1_replies),
		cmocka_unit_test(test_SES_14_stls_restarts),
		cmocka_unit_test(test_SES_61_peer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

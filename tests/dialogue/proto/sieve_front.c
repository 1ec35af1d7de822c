// SPDX-License-Identifier: Apache-2.0
/* ManageSieve conversations before login; texts from sessions.md sections 5.1 and 5.5. */
#define OPS sieve_front_ops
#define CAPABILITIES "fileinto vacation"
#include "dialogue/front_script.h"

#define CRED "AGJvYgBwdw=="
#define BLOCK(sasl, more)                                                                      \
	"\"IMPLEMENTATION\" \"Homing ManageSieve\"\r\n\"VERSION\" \"1.0\"\r\n\"SASL\" \"" sasl \
	"\"\r\n\"SIEVE\" \"fileinto vacation\"\r\n" more "OK \"Hello.\"\r\n"
#define XCLIENT_LINE "\"XCLIENT\" \"ADDR PORT DESTADDR DESTPORT SESSION TTL CLIENT-TRANSPORT\"\r\n"
#define PRIVACY "NO (ENCRYPT-NEEDED) \"TLS is required before authentication.\"\r\n"
#define FAILED "NO \"Authentication failed.\"\r\n"
#define NOT_NOW "NO \"Not allowed before authentication.\"\r\n"
#define BASE64 "NO \"Invalid base64.\"\r\n"
#define DONE "OK \"Done.\"\r\n"

static const struct script scripts[] = {
	{ "capability", "CAPABILITY\r\n", BLOCK("PLAIN LOGIN OAUTHBEARER", "") },
	{ "SES-18 any case, lone LF", "nOoP\nNOOP\r\n", DONE DONE },
	{ "noop with a string", "NOOP \"STARTTLS-RESYNC-CAPA\"\r\n",
		"OK (TAG {20}\r\nSTARTTLS-RESYNC-CAPA) \"Done.\"\r\n" },
	{ "noop with escapes", "NOOP \"a\\\"b\\\\c\"\r\n",
		"OK (TAG {5}\r\na\"b\\c) \"Done.\"\r\n" },
	{ "noop with a literal", "NOOP {6+}\r\na\\\"\r\nb\r\n",
		"OK (TAG {6}\r\na\\\"\r\nb) \"Done.\"\r\n" },
	{ "noop with an empty string", "NOOP \"\"\r\n", "OK (TAG {0}\r\n) \"Done.\"\r\n" },
	{ "noop with an atom, two strings, a blank", "NOOP x\r\nNOOP \"a\" \"b\"\r\n",
		NOT_NOW NOT_NOW, PROTO_MORE, NULL, 2 },
	{ "logout", "LOGOUT\r\nNOOP\r\n", "OK \"Closing.\"\r\n", FRONT_CLOSE },
	{ "SES-16 unknown commands are not counted",
		"HAVESPACE \"x\" 99\r\nPUTSCRIPT \"x\" "
		"{6+}\r\nkeep;\n\r\nLISTSCRIPTS\nUNAUTHENTICATE\r\n",
		NOT_NOW NOT_NOW NOT_NOW NOT_NOW },
	{ "SES-16 unparsable lines are counted", "\r\n\"NOOP\"\r\n", NOT_NOW NOT_NOW, PROTO_MORE,
		NULL, 2 },
	{ "unparsable arguments of an unknown command", "FOO \"x\r\nFOO \"x\"y\r\n",
		NOT_NOW NOT_NOW, PROTO_MORE, NULL, 2 },
	{ "blanks that are too many", "CAPABILITY \r\nFOO  x \r\nNOOP  \"t\"  \r\n",
		BLOCK("PLAIN LOGIN OAUTHBEARER", "") NOT_NOW "OK (TAG {1}\r\nt) \"Done.\"\r\n" },
	{ "doubled blanks in a login", "AUTHENTICATE  \"PLAIN\"   \"" CRED "\" \r\n", "",
		FRONT_LOGIN, "|bob|pw" },
	{ "a blank behind a response", "AUTHENTICATE \"PLAIN\"\r\n\"" CRED " \"\r\n", "\"\"\r\n",
		FRONT_LOGIN, "|bob|pw" },
	{ "a blank behind a bare response", "AUTHENTICATE \"PLAIN\"\r\n" CRED " \r\n", "\"\"\r\n",
		FRONT_LOGIN, "|bob|pw" },
	{ "literals of refused commands are no commands",
		"PUTSCRIPT \"x\" {8+}\r\nLOGOUT\r\n\r\nPUTSCRIPT \"x\"{8+}\r\nLOGOUT\r\n\r\n"
		"X ((a{8+}\r\nLOGOUT\r\n)\r\nNOOP\r\n",
		NOT_NOW NOT_NOW NOT_NOW "OK \"Done.\"\r\n", PROTO_MORE, NULL, 2 },
	{ "arguments that are not taken", "CAPABILITY x\r\nLOGOUT \"x\"\r\n", NOT_NOW NOT_NOW,
		PROTO_MORE, NULL, 2 },
	{ "bad literals", "NOOP {abc}\r\nNOOP {+30}\r\n", NOT_NOW NOT_NOW, PROTO_MORE, NULL, 2 },
	{ "more bad literals", "NOOP {30} junk\r\nNOOP{30}\r\n", NOT_NOW NOT_NOW, PROTO_MORE, NULL,
		2 },
	{ "bad escape", "NOOP \"\\x\"\r\nNOOP \"\\\"\r\n", NOT_NOW NOT_NOW, PROTO_MORE, NULL, 2 },
	{ "literal in the middle", "FOO {3+}\r\na\r\n {2}\r\n\r\n \"x\"\r\nNOOP\r\n",
		NOT_NOW DONE },
	{ "what looks like a literal in quotes", "NOOP \"x {5}\"\r\nNOOP\r\n",
		"OK (TAG {5}\r\nx {5}) \"Done.\"\r\n" DONE },
	{ "what looks like a literal in open quotes", "NOOP \"x {5}\r\nNOOP\r\n", NOT_NOW DONE,
		PROTO_MORE, NULL, 1 },
	{ "plain, quoted", "AUTHENTICATE \"PLAIN\" \"" CRED "\"\r\n", "", FRONT_LOGIN, "|bob|pw" },
	{ "SES-32 plain without padding", "authenticate \"plain\" \"AGJvYgBwdw\"\n", "",
		FRONT_LOGIN, "|bob|pw" },
	{ "plain, literals", "AUTHENTICATE {5+}\r\nPLAIN {12+}\r\n" CRED "\r\n", "", FRONT_LOGIN,
		"|bob|pw" },
	{ "a synchronising literal gets no prompt", "AUTHENTICATE \"PLAIN\" {12}\r\n" CRED "\r\n",
		"", FRONT_LOGIN, "|bob|pw" },
	{ "plain, prompted, quoted", "AUTHENTICATE \"PLAIN\"\r\n\"" CRED "\"\r\n", "\"\"\r\n",
		FRONT_LOGIN, "|bob|pw" },
	{ "plain, prompted, literal", "AUTHENTICATE \"PLAIN\"\r\n{12+}\r\n" CRED "\r\n", "\"\"\r\n",
		FRONT_LOGIN, "|bob|pw" },
	{ "plain, prompted, bare line", "AUTHENTICATE \"PLAIN\"\r\n" CRED "\n", "\"\"\r\n",
		FRONT_LOGIN, "|bob|pw" },
	{ "SES-33 authzid", "AUTHENTICATE \"PLAIN\" \"Ym9iAGJvYgBwdw==\"\r\n", "", FRONT_LOGIN,
		"bob|bob|pw" },
	{ "SES-33 three NULs, empty message",
		"AUTHENTICATE \"PLAIN\" \"AGEAYgBj\"\r\nAUTHENTICATE \"PLAIN\" \"\"\r\n",
		FAILED FAILED, PROTO_MORE, NULL, 2 },
	{ "SES-17 malformed, then pipelined", "AUTHENTICATE \"PLAIN\" \"bm9udWxoZXJl\"\r\nNOOP\r\n",
		FAILED DONE, PROTO_MORE, NULL, 1 },
	{ "SES-32 bad base64",
		"AUTHENTICATE \"PLAIN\" \"AG!b\"\r\nAUTHENTICATE \"PLAIN\" \"AGJvYgBwdx==\"\r\n",
		BASE64 BASE64, PROTO_MORE, NULL, 2 },
	{ "bad base64 in answers",
		"AUTHENTICATE \"PLAIN\"\r\n\"" CRED
		"\r\nAUTHENTICATE \"PLAIN\"\r\n{2+}\r\nAG x\r\nNOOP\r\n",
		"\"\"\r\n" BASE64 "\"\"\r\n" BASE64 DONE, PROTO_MORE, NULL, 2 },
	{ "an escape is no base64", "AUTHENTICATE \"PLAIN\" \"A\\\\\"\r\n", BASE64, PROTO_MORE,
		NULL, 1 },
	{ "cancel, quoted and bare",
		"AUTHENTICATE \"PLAIN\"\r\n\"*\"\r\nAUTHENTICATE \"LOGIN\"\r\n*\r\nNOOP\r\n",
		"\"\"\r\nNO \"Authentication cancelled.\"\r\n{12}\r\nVXNlcm5hbWU6\r\n"
		"NO \"Authentication cancelled.\"\r\n" DONE,
		PROTO_MORE, NULL, 2 },
	{ "SES-19 mechanism login", "AUTHENTICATE \"LOGIN\"\r\n\"Ym9i\"\r\n{4+}\r\ncHc=\r\n",
		"{12}\r\nVXNlcm5hbWU6\r\n{12}\r\nUGFzc3dvcmQ6\r\n", FRONT_LOGIN, "|bob|pw" },
	{ "SES-19 mechanism login with the name", "AUTHENTICATE \"LOGIN\" \"Ym9i\"\r\ncHc=\r\n",
		"{12}\r\nUGFzc3dvcmQ6\r\n", FRONT_LOGIN, "|bob|pw" },
	{ "SES-35 oauthbearer",
		"AUTHENTICATE \"OAUTHBEARER\" \"bixhPWJvYiwBYXV0aD1CZWFyZXIgdAEB\"\r\n", "",
		FRONT_LOGIN, "n,a=bob,\1auth=Bearer t\1\1" },
	{ "unknown mechanisms", "AUTHENTICATE \"XOAUTH2\"\r\nAUTHENTICATE \"FOO\" \"x\"\r\n",
		"NO \"Mechanism not supported.\"\r\nNO \"Mechanism not supported.\"\r\n" },
	{ "authenticate without its strings", "AUTHENTICATE\r\nAUTHENTICATE PLAIN\r\n",
		NOT_NOW NOT_NOW, PROTO_MORE, NULL, 2 },
	{ "authenticate with other arguments",
		"AUTHENTICATE \"PLAIN\" " CRED "\r\nAUTHENTICATE \"PLAIN\" \"" CRED "\" \"x\"\r\n",
		NOT_NOW NOT_NOW, PROTO_MORE, NULL, 2 },
	{ "SES-16 attempt limit", "\r\nNOOP x\r\nAUTHENTICATE \"PLAIN\" \"\"\r\nNOOP\r\n",
		NOT_NOW NOT_NOW FAILED "BYE \"Too many failed attempts.\"\r\n", FRONT_CLOSE, NULL,
		3 },
	{ "literal over the limit", "NOOP {65530+}\r\n", "BYE \"Command too long.\"\r\n",
		FRONT_CLOSE },
	{ "literal that leaves no room for the line end", "FOO {65522+}\r\n",
		"BYE \"Command too long.\"\r\n", FRONT_CLOSE },
	{ "literal that leaves it", "FOO {65521+}\r\n", "" },
	{ "literal beyond 64 bits", "NOOP {99999999999999999999999}\r\n",
		"BYE \"Command too long.\"\r\n", FRONT_CLOSE },
	{ "section 4 privacy",
		"AUTHENTICATE \"PLAIN\" \"" CRED "\"\r\nAUTHENTICATE \"XOAUTH2\"\r\n"
		"AUTHENTICATE \"FOO\"\r\n",
		PRIVACY PRIVACY PRIVACY, PROTO_MORE, NULL, 0, true },
	{ "section 4 capabilities of a plain leg", "CAPABILITY\r\n", BLOCK("", "\"STARTTLS\"\r\n"),
		PROTO_MORE, NULL, 0, true },
	{ "starttls", "starttls\r\n", "", FRONT_STARTTLS, NULL, 0, true },
	{ "starttls not offered", "STARTTLS\r\n", "NO \"STARTTLS not available.\"\r\n" },
	{ "starttls with an argument", "STARTTLS now\r\n", NOT_NOW, PROTO_MORE, NULL, 1, true },
	{ "SES-62 xclient of an untrusted peer", "XCLIENT TTL=5 ADDR=192.0.2.1\r\n", NOT_NOW },
	{ "SES-61 xclient is listed", "CAPABILITY\r\n",
		BLOCK("PLAIN LOGIN OAUTHBEARER", XCLIENT_LINE), PROTO_MORE, NULL, 0, false, true },
	{ "SES-61 bad values",
		"XCLIENT TTL=256\r\nXCLIENT TTL=\r\nXCLIENT ADDR=mail\r\nXCLIENT PORT=0\r\n"
		"XCLIENT DESTPORT=65536\r\nXCLIENT x\r\nXCLIENT =x\r\nXCLIENT\r\n",
		"NO\r\nNO\r\nNO\r\nNO\r\nNO\r\nNO\r\nNO\r\nOK\r\n", PROTO_MORE, NULL, 0, false,
		true },
	{ "unparsable xclient", "XCLIENT TTL=5 {x}\r\n", NOT_NOW, PROTO_MORE, NULL, 1, false,
		true },
};

SCRIPT_TESTS

static void test_section_3_command_limit(void **state)
{
	(void)state;
	/* 65536 bytes with the line end are the most */
	check_long("FOO ", 65530, "\r\n", PROTO_MORE, NOT_NOW, 0);
	check_long("FOO ", 65531, "\r\n", FRONT_CLOSE, "BYE \"Command too long.\"\r\n", 0);
	check_long("FOO {65521+}\r\n", 65521, "\n", PROTO_MORE, NOT_NOW, 0);
	check_long(
		"NOOP {65521+}\r\n", 65521, "\r", FRONT_CLOSE, "BYE \"Command too long.\"\r\n", 0);
}

#define TOO_LONG "NO \"Response too long.\"\r\n"

static void test_section_3_response_limit(void **state)
{
	(void)state;
	/* exactly 16384 bytes of base64 are taken (12288 NULs: not a PLAIN message) */
	check_long(
		"AUTHENTICATE \"PLAIN\" \"", 16384, "\"\r\nNOOP\r\n", PROTO_MORE, FAILED DONE, 1);
	check_long(
		"AUTHENTICATE \"PLAIN\" \"", 16385, "\"\r\nNOOP\r\n", PROTO_MORE, TOO_LONG DONE, 1);
	check_long("AUTHENTICATE \"PLAIN\" {16385+}\r\n", 16385, "\r\nNOOP\r\n", PROTO_MORE,
		TOO_LONG DONE, 1);
	check_long("AUTHENTICATE \"PLAIN\"\r\n", 16384, "\r\nNOOP\r\n", PROTO_MORE,
		"\"\"\r\n" FAILED DONE, 1);
	check_long("AUTHENTICATE \"PLAIN\"\r\n", 16385, "\r\nNOOP\r\n", PROTO_MORE,
		"\"\"\r\n" TOO_LONG DONE, 1);
	check_long("AUTHENTICATE \"PLAIN\"\r\n", 16387, "\nNOOP\r\n", PROTO_MORE,
		"\"\"\r\n" TOO_LONG DONE, 1);
	check_long("AUTHENTICATE \"PLAIN\"\r\n\"", 16384, "\"\r\nNOOP\r\n", PROTO_MORE,
		"\"\"\r\n" FAILED DONE, 1);
	check_long("AUTHENTICATE \"PLAIN\"\r\n\"", 16385, "\"\r\nNOOP\r\n", PROTO_MORE,
		"\"\"\r\n" TOO_LONG DONE, 1);
	check_long("AUTHENTICATE \"PLAIN\"\r\n{20000}\r\n", 20000, "\r\nNOOP\r\n", PROTO_MORE,
		"\"\"\r\n" TOO_LONG DONE, 1);
	check_long("AUTHENTICATE \"PLAIN\"\r\n", 100000, "\r\nNOOP\r\n", PROTO_MORE,
		"\"\"\r\n" TOO_LONG DONE, 1);
	check_long("AUTHENTICATE \"PLAIN\"\r\n{70000+}\r\n", 70000, "\r\nNOOP\r\n", FRONT_CLOSE,
		"\"\"\r\nBYE \"Command too long.\"\r\n", 0);
}

static void test_section_5_1_replies(void **state)
{
	static const struct reply_case replies[] = {
		{ FRONT_REPLY_AUTH_FAILED, PROTO_AGAIN, FAILED },
		{ FRONT_REPLY_HIDDEN_TEMP, PROTO_AGAIN,
			"NO (TRYLATER) \"Service temporarily unavailable.\"\r\n" },
		{ FRONT_REPLY_UNAVAILABLE, FRONT_CLOSE,
			"NO (TRYLATER) \"Service temporarily unavailable.\"\r\n"
			"BYE (TRYLATER) \"Try again later.\"\r\n" },
		{ FRONT_REPLY_SHUTDOWN, FRONT_CLOSE, "BYE \"Shutting down.\"\r\n" },
		{ FRONT_REPLY_TIMEOUT, FRONT_CLOSE, "BYE \"Timed out.\"\r\n" },
		{ FRONT_REPLY_VIOLATION, FRONT_CLOSE, "BYE \"Protocol violation.\"\r\n" },
	};

	(void)state;
	run_replies(replies, ARRAY_SIZE(replies), "AUTHENTICATE \"PLAIN\" \"" CRED "\"\r\n",
		"NOOP\r\n", DONE);
}

/* The node's refusals count as well; the last one closes. */
static void test_SES_16_refused_by_the_node(void **state)
{
	struct front *front = make(false, false);
	struct buf out = { 0 };

	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		struct proto_credential credential;

		assert_int_equal(play_front(&sieve_front_ops, front,
					 VIEW_LIT("AUTHENTICATE \"PLAIN\" \"" CRED "\"\r\n"),
					 SIZE_MAX, &out),
			FRONT_LOGIN);
		/* SES-2: what is pipelined waits for the answer */
		assert_int_equal(
			play_front(&sieve_front_ops, front, VIEW_LIT("NOOP\r\n"), SIZE_MAX, &out),
			PROTO_MORE);
		sieve_front_ops.take_credential(front, &credential);
		proto_credential_wipe(&credential);
		expect("silent", &out, "");
		assert_int_equal(
			sieve_front_ops.refused(front, &out), i < 3 ? PROTO_AGAIN : FRONT_CLOSE);
		assert_int_equal(sieve_front_ops.attempts(front), i);
	}
	expect("limit", &out, "BYE \"Too many failed attempts.\"\r\n");
	assert_int_equal(sieve_front_ops.end(front), FRONT_END_AUTH_LIMIT);
	buf_fini(&out);
	sieve_front_ops.free(front);
}

static void test_SES_14_starttls_restarts(void **state)
{
	struct front *front = make(true, true);
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(play_front(&sieve_front_ops, front,
				 VIEW_LIT("XCLIENT TTL=5 SESSION=x ADDR=192.0.2.1\r\nSTARTTLS\r\n"),
				 SIZE_MAX, &out),
		FRONT_STARTTLS);
	assert_true(sieve_front_ops.peer(front)->has_ttl);
	assert_int_equal(sieve_front_ops.starttls_ok(front, &out), 0);
	expect("before TLS", &out, "OK\r\nOK \"Begin TLS.\"\r\n");
	buf_clear(&out);
	sieve_front_ops.starttls_done(front, true);
	assert_int_equal(sieve_front_ops.greet(front, &out), 0);
	expect("after TLS", &out, BLOCK("PLAIN LOGIN OAUTHBEARER", XCLIENT_LINE));
	assert_false(sieve_front_ops.peer(front)->has_ttl);
	assert_string_equal(sieve_front_ops.peer(front)->session, "");
	assert_string_equal(sieve_front_ops.peer(front)->addr, "");
	buf_clear(&out);
	assert_int_equal(
		play_front(&sieve_front_ops, front, VIEW_LIT("STARTTLS\r\n"), SIZE_MAX, &out),
		PROTO_MORE);
	expect("once", &out, "NO \"STARTTLS not available.\"\r\n");
	buf_fini(&out);
	sieve_front_ops.free(front);
}

static void test_SES_15_violation_instead_of_ok(void **state)
{
	struct front *front = make(true, false);
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(play_front(&sieve_front_ops, front, VIEW_LIT("STARTTLS\r\nNOOP\r\n"),
				 SIZE_MAX, &out),
		FRONT_STARTTLS);
	expect("nothing said", &out, "");
	assert_int_equal(sieve_front_ops.reply(front, FRONT_REPLY_VIOLATION, &out), FRONT_CLOSE);
	expect("violation", &out, "BYE \"Protocol violation.\"\r\n");
	assert_int_equal(sieve_front_ops.end(front), FRONT_END_VIOLATION);
	buf_fini(&out);
	sieve_front_ops.free(front);
}

static void test_section_4_privacy_is_counted_apart(void **state)
{
	struct front *front = make(true, false);
	struct buf out = { 0 };

	(void)state;
	for (int i = 0; i < 5; i++)
		assert_int_equal(play_front(&sieve_front_ops, front,
					 VIEW_LIT("AUTHENTICATE \"PLAIN\"\r\n"), SIZE_MAX, &out),
			PROTO_MORE);
	assert_int_equal(sieve_front_ops.privacy(front), 5);
	assert_int_equal(sieve_front_ops.attempts(front), 0);
	buf_fini(&out);
	sieve_front_ops.free(front);
}

/* Dovecot's proxies send plain values, "+" included, and attributes we do not know. */
static void test_SES_61_xclient_of_a_trusted_peer(void **state)
{
	static const char line[] =
		"XCLIENT ADDR=192.0.2.1 PORT=4000 DESTADDR=2001:db8::1 DESTPORT=4190 "
		"SESSION=q+zz/A7yYN TTL=3 CLIENT-TRANSPORT=TLS LOGIN=eve DESTNAME=mail "
		"FORWARD=YT1i\r\n";

	(void)state;
	for (size_t first = 0; first < sizeof(line); first++) {
		struct front *front = make(true, true);
		const struct front_peer *peer = sieve_front_ops.peer(front);
		struct buf out = { 0 };

		assert_int_equal(play_front(&sieve_front_ops, front, view_str(line), first, &out),
			PROTO_MORE);
		expect("xclient", &out, "OK\r\n");
		assert_string_equal(peer->addr, "192.0.2.1");
		assert_string_equal(peer->dest_addr, "2001:db8::1");
		assert_int_equal(peer->port, 4000);
		assert_int_equal(peer->dest_port, 4190);
		assert_true(peer->has_ttl);
		assert_int_equal(peer->ttl, 3);
		assert_string_equal(peer->session, "q+zz/A7yYN");
		buf_clear(&out);
		/* CLIENT-TRANSPORT never makes a leg secure; a line with a fault changes nothing */
		play_front(&sieve_front_ops, front,
			VIEW_LIT("AUTHENTICATE \"PLAIN\"\r\nxclient \"ttl=9\" PORT=x\r\n"),
			SIZE_MAX, &out);
		expect("still insecure", &out, PRIVACY "NO\r\n");
		assert_int_equal(peer->ttl, 3);
		play_front(&sieve_front_ops, front,
			VIEW_LIT("xclient \"ttl=9\" {6+}\r\nPORT=1\r\n"), SIZE_MAX, &out);
		assert_int_equal(peer->ttl, 9);
		assert_int_equal(peer->port, 1);
		buf_fini(&out);
		sieve_front_ops.free(front);
	}
}

static void test_SES_62_untrusted_peer_tells_nothing(void **state)
{
	struct front *front = make(false, false);
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(play_front(&sieve_front_ops, front,
				 VIEW_LIT("XCLIENT TTL=1 ADDR=192.0.2.1\r\n"), SIZE_MAX, &out),
		PROTO_MORE);
	assert_false(sieve_front_ops.peer(front)->has_ttl);
	assert_string_equal(sieve_front_ops.peer(front)->addr, "");
	buf_fini(&out);
	sieve_front_ops.free(front);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripts_whole),
		cmocka_unit_test(test_scripts_byte_by_byte),
		cmocka_unit_test(test_scripts_cut_everywhere),
		cmocka_unit_test(test_section_3_command_limit),
		cmocka_unit_test(test_section_3_response_limit),
		cmocka_unit_test(test_section_5_1_replies),
		cmocka_unit_test(test_SES_16_refused_by_the_node),
		cmocka_unit_test(test_SES_14_starttls_restarts),
		cmocka_unit_test(test_SES_15_violation_instead_of_ok),
		cmocka_unit_test(test_section_4_privacy_is_counted_apart),
		cmocka_unit_test(test_SES_61_xclient_of_a_trusted_peer),
		cmocka_unit_test(test_SES_62_untrusted_peer_tells_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

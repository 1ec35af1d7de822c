// SPDX-License-Identifier: Apache-2.0
/*
 * Submission before login; texts from sessions.md sections 5.1 and 5.4. Each script names its rule
 * and is played whole, byte by byte, and cut in two at every offset.
 */
#include "dialogue/smtp_front.h"

struct script {
	const char *name; /* starts with the rule */
	struct view input;
	const char *output;
	int leg;
	/* of the last input() call: PROTO_MORE, FRONT_LOGIN, FRONT_CLOSE, FRONT_STARTTLS */
	int result;
	const char *message; /* of the credential, NULs written as |, 0x01 as ^ */
	unsigned attempts, privacy;
};

#define IN(text) { "" text, sizeof(text) - 1 }
static const struct script scripts[] = {
	{ "5.4 EHLO", IN("EHLO c.example\r\n"), HELLO("203.0.113.5") MECHS, RAW },
	{ "5.4 EHLO of an IPv6 client", IN("EHLO c\r\n"), HELLO("IPv6:2001:db8::1") MECHS,
		RAW | V6 },
	{ "5.4 EHLO on a plain leg", IN("EHLO c\r\n"), HELLO("203.0.113.5") "250 STARTTLS\r\n",
		RAW | PLAIN },
	{ "5.4 EHLO with nothing to list", IN("EHLO c\r\n"),
		"250 h.example Hello [203.0.113.5]\r\n", RAW | NONE },
	{ "5.4 HELO", IN("HELO c\r\n"), "250 h.example\r\n", RAW },
	{ "5.4 NOOP, RSET", IN("NOOP\r\nRSET\r\nNOOP now\r\n"), OK OK OK, RAW },
	{ "5.4 QUIT", IN("QUIT\r\nNOOP\r\n"), CLOSING, RAW, FRONT_CLOSE },
	{ "5.4 mail commands",
		IN("MAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nBDAT 0 LAST\r\nVRFY a\r\n"
		   "EXPN a\r\nETRN a\r\nHELP\r\n"),
		LOGIN_FIRST LOGIN_FIRST LOGIN_FIRST LOGIN_FIRST LOGIN_FIRST LOGIN_FIRST LOGIN_FIRST
			LOGIN_FIRST },
	{ "5.4 AUTH without a greeting", IN("AUTH PLAIN AGJvYgBwdw==\r\n"), "", RAW, FRONT_LOGIN,
		"|bob|pw" },
	{ "5.4 AUTH after HELO", IN("HELO c\r\nAUTH PLAIN AGJvYgBwdw==\r\n"), "250 h.example\r\n",
		RAW, FRONT_LOGIN, "|bob|pw" },
	{ "5.4 AUTH after a bad EHLO", IN("EHLO\r\nAUTH PLAIN AGJvYgBwdw==\r\n"), NO_NAME, RAW,
		FRONT_LOGIN, "|bob|pw" },
	{ "5.4 blanks that are too many", IN(" NOOP\r\nAUTH  PLAIN   AGJvYgBwdw==\r\n"), UNKNOWN, 0,
		FRONT_LOGIN, "|bob|pw", 1 },
	{ "5.4 a blank behind a response", IN("AUTH PLAIN \r\nAGJvYgBwdw== \r\n"), "334 \r\n", 0,
		FRONT_LOGIN, "|bob|pw" },
	{ "5.4 the octets of BDAT are no commands",
		IN("BDAT 12 LAST\r\nNOOP\r\nNOOP\r\nBDAT 29\r\nAUTH PLAIN AGJvYgBwdw==\r\nx\n"
		   "\0\rBDAT 6 last \r\nQUIT\r\nNOOP\r\n"),
		LOGIN_FIRST LOGIN_FIRST LOGIN_FIRST OK },
	{ "5.4 BDAT on a plain leg", IN("BDAT 10 LAST\r\nSTARTTLS\r\nNOOP\r\n"), LOGIN_FIRST OK,
		PLAIN },
	{ "5.4 the size of a chunk", IN("BDAT\r\nNOOP\r\n"), BAD_CHUNK, 0, FRONT_CLOSE },
	{ "5.4 the size of a chunk, no number", IN("BDAT -1\r\nNOOP\r\n"), BAD_CHUNK, 0,
		FRONT_CLOSE },
	{ "5.4 the size of a chunk, hexadecimal", IN("BDAT 0x10 LAST\r\nNOOP\r\n"), BAD_CHUNK, 0,
		FRONT_CLOSE },
	{ "5.4 the size of a chunk, another word", IN("BDAT 6 FIRST\r\nNOOP\r\n"), BAD_CHUNK, 0,
		FRONT_CLOSE },
	{ "5.4 the size of a chunk, more words", IN("BDAT 6 LAST x\r\nNOOP\r\n"), BAD_CHUNK, 0,
		FRONT_CLOSE },
	{ "5.4 the size of a chunk, 65 bits", IN("BDAT 18446744073709551622\r\nNOOP\r\n"),
		BAD_CHUNK, 0, FRONT_CLOSE },
	{ "5.4 the size of a chunk, 33 bits", IN("BDAT 4294967302\r\nNOOP\r\n"), BAD_CHUNK, 0,
		FRONT_CLOSE },
	{ "5.4 BDAT that cannot be read", IN("BDAT\t6\r\nNOOP\r\n"), BAD_CHUNK, 0, FRONT_CLOSE },
	{ "5.4 BDAT behind a blank", IN(" bdat 6\r\nNOOP\r\n"), BAD_CHUNK, 0, FRONT_CLOSE },
	{ "5.4 BDAT with a NUL", IN("BDAT 6\0\r\nNOOP\r\n"), BAD_CHUNK, 0, FRONT_CLOSE },
	{ "5.4 BDAT and a lone LF", IN("BDAT 6\nNOOP\r\nQUIT\r\n"), BAD_CHUNK, 0, FRONT_CLOSE },
	{ "5.4 LHLO, unknown, empty", IN("LHLO c\r\n\r\n"), UNKNOWN UNKNOWN, RAW, PROTO_MORE, NULL,
		2 },
	{ "5.4 AUTH without a mechanism, with too many words", IN("AUTH\r\nAUTH PLAIN a b\r\n"),
		UNKNOWN UNKNOWN, 0, PROTO_MORE, NULL, 2 },
	{ "5.4 blanks at the end", IN("NOOP \r\nAUTH PLAIN AGJvYgBwdw== \t\r\n"), OK, 0,
		FRONT_LOGIN, "|bob|pw" },
	{ "5.4 initial response", IN("AUTH PLAIN AGJvYgBwdw==\r\n"), "", 0, FRONT_LOGIN,
		"|bob|pw" },
	{ "5.4 prompt", IN("AUTH PLAIN\r\nAGJvYgBwdw==\r\n"), "334 \r\n", 0, FRONT_LOGIN,
		"|bob|pw" },
	{ "5.4 empty initial response", IN("AUTH PLAIN =\r\nNOOP\r\n"), FAILED OK, 0, PROTO_MORE,
		NULL, 1 },
	{ "5.4 empty response", IN("AUTH PLAIN\r\n\r\nNOOP\r\n"), "334 \r\n" FAILED OK, 0,
		PROTO_MORE, NULL, 1 },
	{ "5.1 cancel", IN("AUTH PLAIN\r\n*\r\nNOOP\r\n"), "334 \r\n" CANCELLED OK, 0, PROTO_MORE,
		NULL, 1 },
	{ "5.1 privacy",
		IN("AUTH PLAIN AGJvYgBwdw==\r\nAUTH LOGIN\r\nAUTH XOAUTH2\r\nAUTH OAUTHBEARER\r\n"
		   "AUTH FOO\r\n"),
		PRIVACY PRIVACY PRIVACY PRIVACY PRIVACY, PLAIN, PROTO_MORE, NULL, 0, 5 },
	{ "SES-14 STARTTLS", IN("STARTTLS\r\n"), "", PLAIN, FRONT_STARTTLS },
	{ "SES-14 STARTTLS without EHLO", IN("STARTTLS\r\nEHLO c\r\n"), "", RAW | PLAIN,
		FRONT_STARTTLS },
	{ "SES-14 STARTTLS with an argument", IN("STARTTLS now\r\n"),
		"501 5.5.4 No argument allowed\r\n", PLAIN },
	{ "SES-14 STARTTLS not offered", IN("STARTTLS\r\n"),
		"503 5.5.1 STARTTLS not available\r\n" },
	{ "SES-15 nothing is answered behind STARTTLS", IN("STARTTLS\r\nNOOP\r\n"), "", PLAIN,
		FRONT_STARTTLS },
	{ "SES-16 mechanisms that are not offered are no failures",
		IN("AUTH CRAM-MD5\r\nAUTH GSSAPI x\r\nAUTH NTLM\r\nAUTH PLAIN AGJvYgBwdw==\r\n"),
		NO_MECH NO_MECH NO_MECH, 0, FRONT_LOGIN, "|bob|pw" },
	{ "SES-16 every kind of failure counts", IN("AUTH PLAIN AG!\r\nFOO\r\nAUTH LOGIN\r\n*\r\n"),
		BASE64 UNKNOWN USER CANCELLED LIMIT, 0, FRONT_CLOSE, NULL, 3 },
	{ "SES-16 what does not count",
		IN("EHLO\r\nHELO\r\nMAIL FROM:<>\r\nSTARTTLS\r\nSTARTTLS x\r\nHELO c\r\n"
		   "BDAT 1\r\nxAUTH FOO\r\n"),
		NO_NAME NO_NAME LOGIN_FIRST "503 5.5.1 STARTTLS not available\r\n"
					    "501 5.5.4 No argument allowed\r\n"
					    "250 h.example\r\n" LOGIN_FIRST NO_MECH },
	{ "SES-17 pipelined behind a failure", IN("AUTH PLAIN bm9udWxoZXJl\r\nNOOP\r\n"), FAILED OK,
		0, PROTO_MORE, NULL, 1 },
	{ "SES-17 pipelined behind a prompt", IN("AUTH PLAIN\r\nbm9udWxoZXJl\r\nNOOP\r\n"),
		"334 \r\n" FAILED OK, 0, PROTO_MORE, NULL, 1 },
	{ "SES-2 nothing is answered behind a credential",
		IN("AUTH PLAIN AGJvYgBwdw==\r\nNOOP\r\n"), "", 0, FRONT_LOGIN, "|bob|pw" },
	{ "SES-18 any case", IN("eHlO c\r\nnoop\r\nauth plain AGJvYgBwdw==\r\n"),
		HELLO("203.0.113.5") MECHS OK, RAW, FRONT_LOGIN, "|bob|pw" },
	{ "SES-18 nothing is repeated", IN("<script>\r\nHELO \"evil\"\r\nEHLO c\r\n"),
		UNKNOWN "250 h.example\r\n" HELLO("203.0.113.5") MECHS, RAW, PROTO_MORE, NULL, 1 },
	{ "SES-19 mechanism LOGIN", IN("AUTH LOGIN\r\nYm9i\r\ncHc=\r\n"), USER PASSWORD, 0,
		FRONT_LOGIN, "|bob|pw" },
	{ "SES-19 LOGIN with the name", IN("AUTH LOGIN Ym9i\r\ncHc=\r\n"), PASSWORD, 0, FRONT_LOGIN,
		"|bob|pw" },
	{ "SES-19 LOGIN cancelled at the password", IN("AUTH LOGIN Ym9i\r\n*\r\nNOOP\r\n"),
		PASSWORD CANCELLED OK, 0, PROTO_MORE, NULL, 1 },
	{ "SES-19 LOGIN not in sasl", IN("EHLO c\r\nAUTH LOGIN\r\nAUTH LOGIN Ym9i\r\n"),
		HELLO("203.0.113.5") "250 AUTH PLAIN\r\n" NO_MECH NO_MECH, FEW },
	{ "SES-30 names", IN("EHLO [IPv6:::1]\r\nEHLO \xc3\xa4\r\n"),
		HELLO("203.0.113.5") MECHS HELLO("203.0.113.5") MECHS, RAW },
	{ "SES-30 names that are not passed on",
		IN("HELO My Computer\r\nHELO a\tb\r\nHELO a\x7f\r\nHELO \"a\r\nHELO a\x01\r\nHELO  "
		   "a\r\n"),
		"250 h.example\r\n250 h.example\r\n250 h.example\r\n250 h.example\r\n"
		"250 h.example\r\n250 h.example\r\n",
		RAW },
	{ "SES-30 no name", IN("EHLO\r\nEHLO \r\nHELO\r\n"), NO_NAME NO_NAME NO_NAME, RAW },
	{ "SES-31 a lone LF is no line end, and answered at once", IN("EHLO c\n"), UNKNOWN, RAW,
		PROTO_MORE, NULL, 1 },
	{ "SES-31 what is behind a lone LF is no command", IN("NOOP\nQUIT\r\nNOOP\r\n"), UNKNOWN OK,
		0, PROTO_MORE, NULL, 1 },
	{ "SES-31 many lone LFs are one line", IN("a\nb\n\n\rc\r\rd\r\nNOOP\r\n"), UNKNOWN OK, 0,
		PROTO_MORE, NULL, 1 },
	{ "SES-31 LF first", IN("\n\r\nNOOP\r\n"), UNKNOWN OK, 0, PROTO_MORE, NULL, 1 },
	{ "SES-31 a bare CR", IN("NO\rOP\r\nNOOP\r\r\nNOOP\r\n"), UNKNOWN UNKNOWN OK, 0, PROTO_MORE,
		NULL, 2 },
	{ "SES-31 a NUL", IN("NO\0OP\r\nNOOP\0\r\nNOOP\r\n"), UNKNOWN UNKNOWN OK, 0, PROTO_MORE,
		NULL, 2 },
	{ "SES-31 a NUL in a credential", IN("AUTH PLAIN AGJvYgBwdw==\0\r\n"), UNKNOWN, 0,
		PROTO_MORE, NULL, 1 },
	{ "SES-31 a response ended by LF", IN("AUTH PLAIN\r\nAGJvYgBwdw==\nx\r\nNOOP\r\n"),
		"334 \r\n" UNKNOWN OK, 0, PROTO_MORE, NULL, 1 },
	{ "SES-31 a response with a bare CR", IN("AUTH PLAIN\r\nAGJvYgBwdw==\r\r\nNOOP\r\n"),
		"334 \r\n" UNKNOWN OK, 0, PROTO_MORE, NULL, 1 },
	{ "SES-31 LF up to the limit", IN("a\nb\r\na\nb\r\na\nNOOP\r\n"),
		UNKNOWN UNKNOWN UNKNOWN LIMIT, 0, FRONT_CLOSE, NULL, 3 },
	{ "SES-32 no padding", IN("AUTH PLAIN AGJvYgBwdw\r\n"), "", 0, FRONT_LOGIN, "|bob|pw" },
	{ "SES-32 unused bits, alphabet", IN("AUTH PLAIN AGJvYgBwdx==\r\nAUTH PLAIN AG-_\r\n"),
		BASE64 BASE64, 0, PROTO_MORE, NULL, 2 },
	{ "SES-32 blanks in a response", IN("AUTH PLAIN\r\nAGJv YgBwdw==\r\n"), "334 \r\n" BASE64,
		0, PROTO_MORE, NULL, 1 },
	{ "SES-33 authzid", IN("AUTH PLAIN YWxpY2UAYWxpY2UAcHc=\r\n"), "", 0, FRONT_LOGIN,
		"alice|alice|pw" },
	{ "SES-33 four fields, empty password",
		IN("AUTH PLAIN AGEAYgBj\r\nAUTH PLAIN AGJvYgA=\r\n"), FAILED FAILED, 0, PROTO_MORE,
		NULL, 2 },
	{ "SES-33 a name that is not UTF-8", IN("AUTH PLAIN AP//AHB3\r\n"), FAILED, 0, PROTO_MORE,
		NULL, 1 },
	{ "SES-33 a password that is not UTF-8", IN("AUTH PLAIN AGJvYgBw6Q==\r\n"), "", 0,
		FRONT_LOGIN, "|bob|p\xe9" },
	{ "SES-34 empty name, NUL in the name",
		IN("AUTH LOGIN =\r\nAUTH LOGIN YgBi\r\ncHc=\r\nNOOP\r\n"),
		FAILED PASSWORD FAILED OK, 0, PROTO_MORE, NULL, 2 },
	{ "SES-35 OAUTHBEARER",
		IN("AUTH OAUTHBEARER bixhPWNhcm9sQGV4YW1wbGUuY29tLAFhdXRoPUJlYXJlciB0b2sBAQ==\r\n"),
		"", 0, FRONT_LOGIN, "n,a=carol@example.com,^auth=Bearer tok^^" },
	{ "SES-35 channel binding", IN("AUTH OAUTHBEARER cD14LCwBYXV0aD1CZWFyZXIgdG9rAQE=\r\n"),
		FAILED, 0, PROTO_MORE, NULL, 1 },
	{ "SES-36 XOAUTH2 with a prompt",
		IN("AUTH XOAUTH2\r\ndXNlcj11QHgBYXV0aD1CZWFyZXIgdG9rAQE=\r\n"), "334 \r\n", 0,
		FRONT_LOGIN, "user=u@x^auth=Bearer tok^^" },
	{ "SES-36 not a bearer token", IN("AUTH XOAUTH2 dXNlcj11QHgBYXV0aD1CYXNpYyB0b2sBAQ==\r\n"),
		FAILED, 0, PROTO_MORE, NULL, 1 },
	{ "SES-61 XCLIENT is listed", IN("EHLO c\r\n"),
		HELLO("203.0.113.5") "250-" XCLIENT_LINE MECHS, RAW | TRUSTED },
	{ "SES-61 XCLIENT is listed last without AUTH", IN("EHLO c\r\n"),
		HELLO("203.0.113.5") "250-STARTTLS\r\n250 " XCLIENT_LINE, RAW | TRUSTED | PLAIN },
	{ "SES-61 XCLIENT greets again",
		IN("XCLIENT ADDR=198.51.100.9 TTL=5\r\nEHLO d\r\nAUTH PLAIN AGJvYgBwdw==\r\n"),
		GREETING HELLO("198.51.100.9") "250-" XCLIENT_LINE MECHS, TRUSTED, FRONT_LOGIN,
		"|bob|pw" },
	{ "SES-61 IPv6", IN("xclient addr=IPV6:2001:db8::7 LOGIN=eve HELO=x\r\nEHLO d\r\n"),
		GREETING HELLO("IPv6:2001:db8::7") "250-" XCLIENT_LINE MECHS, TRUSTED },
	{ "SES-61 CLIENT-TRANSPORT never secures",
		IN("XCLIENT CLIENT-TRANSPORT=TLS\r\nEHLO d\r\nAUTH PLAIN AGJvYgBwdw==\r\n"),
		GREETING HELLO("203.0.113.5") "250-STARTTLS\r\n250 " XCLIENT_LINE PRIVACY,
		TRUSTED | PLAIN, PROTO_MORE, NULL, 0, 1 },
	{ "SES-61 bad values are not counted and change nothing",
		IN("XCLIENT ADDR=198.51.100.9 TTL=256\r\nXCLIENT\r\nXCLIENT ADDR\r\n"
		   "XCLIENT ADDR=nowhere\r\nEHLO d\r\n"),
		BAD_XCLIENT BAD_XCLIENT BAD_XCLIENT BAD_XCLIENT HELLO(
			"203.0.113.5") "250-" XCLIENT_LINE MECHS,
		TRUSTED },
	{ "SES-62 XCLIENT of anyone else", IN("XCLIENT ADDR=198.51.100.9\r\nEHLO d\r\n"),
		UNKNOWN HELLO("203.0.113.5") MECHS, 0, PROTO_MORE, NULL, 1 },
};

static void check(const struct script *script, size_t first)
{
	struct front *front = make(script->leg);
	struct buf out = { 0 };
	int r = play_front(&smtp_front_ops, front, script->input, first, &out);

	expect(script->name, first, &out, script->output);
	if (r != script->result)
		fail_msg("%s (cut %zd): result %d", script->name, first, r);
	if (smtp_front_ops.attempts(front) != script->attempts ||
		smtp_front_ops.privacy(front) != script->privacy)
		fail_msg("%s (cut %zd): %u attempts, %u refused", script->name, first,
			smtp_front_ops.attempts(front), smtp_front_ops.privacy(front));
	if (r == FRONT_LOGIN)
		check_credential(front, script->message);
	buf_fini(&out);
	smtp_front_ops.free(front);
}

/* All scripts of a rule, in every cut. */
static void run(const char *rule)
{
	unsigned played = 0;

	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		size_t length = strlen(rule);

		if (strncmp(scripts[i].name, rule, length) != 0 || scripts[i].name[length] != ' ')
			continue;
		played++;
		check(&scripts[i], SIZE_MAX);
		for (size_t first = 0; first < scripts[i].input.len; first++)
			check(&scripts[i], first);
	}
	assert_true(played > 0);
}

#define RULE(name, rule)                      \
	static void test_##name(void **state) \
	{                                     \
		(void)state;                  \
		run(rule);                    \
	}
RULE(section_5_1, "5.1")
RULE(section_5_4, "5.4")
RULE(SES_2, "SES-2")
RULE(SES_14, "SES-14")
RULE(SES_15, "SES-15")
RULE(SES_16, "SES-16")
RULE(SES_17, "SES-17")
RULE(SES_18, "SES-18")
RULE(SES_19, "SES-19")
RULE(SES_30, "SES-30")
RULE(SES_31, "SES-31")
RULE(SES_32, "SES-32")
RULE(SES_33, "SES-33")
RULE(SES_34, "SES-34")
RULE(SES_35, "SES-35")
RULE(SES_36, "SES-36")
RULE(SES_61, "SES-61")
RULE(SES_62, "SES-62")

/* Output that does not fit is an error, never half a conversation that goes on. */
static void test_output_limit(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		struct front *front;
		struct buf out;

		if (!*scripts[i].output)
			continue;
		front = make(scripts[i].leg);
		buf_init(&out, 2, false);
		assert_int_equal(
			play_front(&smtp_front_ops, front, scripts[i].input, SIZE_MAX, &out),
			-ENOBUFS);
		buf_fini(&out);
		smtp_front_ops.free(front);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_section_5_1),
		cmocka_unit_test(test_section_5_4),
		cmocka_unit_test(test_SES_2),
		cmocka_unit_test(test_SES_14),
		cmocka_unit_test(test_SES_15),
		cmocka_unit_test(test_SES_16),
		cmocka_unit_test(test_SES_17),
		cmocka_unit_test(test_SES_18),
		cmocka_unit_test(test_SES_19),
		cmocka_unit_test(test_SES_30),
		cmocka_unit_test(test_SES_31),
		cmocka_unit_test(test_SES_32),
		cmocka_unit_test(test_SES_33),
		cmocka_unit_test(test_SES_34),
		cmocka_unit_test(test_SES_35),
		cmocka_unit_test(test_SES_36),
		cmocka_unit_test(test_SES_61),
		cmocka_unit_test(test_SES_62),
		cmocka_unit_test(test_output_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Submission before login, beyond scripts: what a front remembers and forgets, its limits
 * (sessions.md section 3), and what it says when it is told what came of an attempt.
 */
#include "dialogue/smtp_front.h"

static void test_section_5_4_greeting(void **state)
{
	struct front *front = make_bare(0);
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(smtp_front_ops.greet(front, &out), 0);
	expect("greeting", 0, &out, GREETING);
	assert_string_equal(smtp_front_ops.helo(front), "");
	assert_int_equal(smtp_front_ops.last_mech(front), -1);
	buf_fini(&out);
	smtp_front_ops.free(front);
	smtp_front_ops.free(NULL);
}

/* An empty line among the configured ones must not take the final code. */
static void test_section_5_4_empty_capability_lines(void **state)
{
	struct front_params params = { .host = "h",
		.banner = "b",
		.capabilities = "\nA\n\nB\n\n",
		.client = "192.0.2.1",
		.max_attempts = 3 };
	struct buf out = { 0 };
	struct front *front;

	(void)state;
	assert_int_equal(smtp_front_ops.create(&params, &front), 0);
	assert_int_equal(play_front(&smtp_front_ops, front, VIEW_LIT("EHLO c\r\n"), SIZE_MAX, &out),
		PROTO_MORE);
	expect("lines", 0, &out, "250-h Hello [192.0.2.1]\r\n250-A\r\n250 B\r\n");
	buf_fini(&out);
	smtp_front_ops.free(front);
}

static void test_SES_30_every_byte_of_a_name(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		bool unparsable = c == 0 || c == '\r' || c == '\n';
		bool good = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
			(c >= 'A' && c <= 'Z') || c == '-' || c == '.';
		char line[] = "EHLO a?b\r\n";
		struct front *front = make_bare(0);
		struct buf out = { 0 };

		line[6] = (char)c;
		assert_int_equal(play_front(&smtp_front_ops, front,
					 view_make(line, sizeof(line) - 1), SIZE_MAX, &out),
			PROTO_MORE);
		if (unparsable)
			expect("name", (size_t)c, &out, UNKNOWN);
		else
			assert_true(view_starts(buf_view(&out), VIEW_LIT("250-")));
		assert_string_equal(
			smtp_front_ops.helo(front), good ? ((char[]){ 'a', (char)c, 'b', 0 }) : "");
		buf_fini(&out);
		smtp_front_ops.free(front);
	}
}

static void test_SES_30_length_of_a_name(void **state)
{
	(void)state;
	for (size_t length = 254; length <= 257; length++) {
		char line[300] = "HELO ";
		struct front *front = make_bare(0);
		struct buf out = { 0 };

		memset(line + 5, 'x', length);
		memcpy(line + 5 + length, "\r\n", 2);
		assert_int_equal(play_front(&smtp_front_ops, front, view_make(line, length + 7),
					 SIZE_MAX, &out),
			PROTO_MORE);
		expect("length", length, &out, "250 h.example\r\n");
		assert_int_equal(strlen(smtp_front_ops.helo(front)), length <= 255 ? length : 0);
		buf_fini(&out);
		smtp_front_ops.free(front);
	}
}

/* What is passed on to nodes, whatever a client calls itself. */
static void test_SES_53_what_is_passed_on(void **state)
{
	static const struct {
		const char *said;
		bool valid;
	} names[] = { { "mail.example.com", true }, { "XC-B8C463", true }, { "7kO2OrE", true },
		{ "[192.0.2.1]", true }, { "[IPv6:2001:db8::1]", true },
		{ "[IPV6:2a01:cb06:b841:bf5d:38ff:861a:1646:ab77]", true }, { "my_pc", false },
		{ "M\xc3\x9cLLER-PC", false }, { "JOHNS PC", false }, { "[2001:db8::1]", false },
		{ "[IPv6:192.0.2.1]", false }, { "[IPv6:]", false }, { "[]", false },
		{ "[", false }, { "[192.0.2.1", false }, { "[192.0.2.1] x", false },
		{ "...", false }, { "a..b", false }, { ".a", false }, { "a.", false },
		{ "-a", false }, { "a-.b", false }, { "192.0.2.1", false }, { "2130706433", false },
		{ "3com", true }, { "xn--mller-kva", true },
		{ "[Windows.Networking.Connectivity.IPInformation]", false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct front *front = make_bare(0);
		struct buf in = { 0 }, out = { 0 };

		assert_int_equal(buf_printf(&in, "EHLO %s\r\n", names[i].said), 0);
		assert_int_equal(play_front(&smtp_front_ops, front, buf_view(&in), SIZE_MAX, &out),
			PROTO_MORE);
		assert_true(view_starts(buf_view(&out), VIEW_LIT("250-")));
		assert_string_equal(
			smtp_front_ops.helo(front), names[i].valid ? names[i].said : "");
		buf_fini(&in);
		buf_fini(&out);
		smtp_front_ops.free(front);
	}
}

/* Octets of chunks are dropped up to a limit, of all of them together. */
static void test_section_5_4_chunks_have_a_limit(void **state)
{
	static char octets[65536];
	struct front *front = make(0);
	struct buf out = { 0 };

	(void)state;
	for (int i = 0; i < 16; i++) {
		assert_int_equal(play_front(&smtp_front_ops, front, VIEW_LIT("BDAT 65536\r\n"),
					 SIZE_MAX, &out),
			PROTO_MORE);
		assert_int_equal(out.len, 0);
		assert_int_equal(play_front(&smtp_front_ops, front,
					 view_make(octets, sizeof(octets)), SIZE_MAX, &out),
			PROTO_MORE);
		expect("chunk", 0, &out, LOGIN_FIRST);
		buf_clear(&out);
	}
	assert_int_equal(play_front(&smtp_front_ops, front, VIEW_LIT("BDAT 1 LAST\r\nxNOOP\r\n"),
				 SIZE_MAX, &out),
		FRONT_CLOSE);
	expect("one more", 0, &out, LOGIN_FIRST);
	assert_int_equal(smtp_front_ops.end(front), FRONT_END_TOO_LONG);
	buf_fini(&out);
	smtp_front_ops.free(front);
}

/* The last name counts, valid or not. */
static void test_SES_53_helo(void **state)
{
	struct front *front = make(TRUSTED);
	struct buf out = { 0 };

	(void)state;
	assert_string_equal(smtp_front_ops.helo(front), "first.example");
	assert_int_equal(
		play_front(&smtp_front_ops, front, VIEW_LIT("EHLO a b\r\n"), SIZE_MAX, &out),
		PROTO_MORE);
	assert_string_equal(smtp_front_ops.helo(front), "");
	assert_int_equal(
		play_front(&smtp_front_ops, front, VIEW_LIT("HELO second\r\n"), SIZE_MAX, &out),
		PROTO_MORE);
	assert_string_equal(smtp_front_ops.helo(front), "second");
	assert_int_equal(
		play_front(&smtp_front_ops, front, VIEW_LIT("XCLIENT TTL=3\r\n"), SIZE_MAX, &out),
		PROTO_MORE);
	assert_string_equal(smtp_front_ops.helo(front), "");
	buf_fini(&out);
	smtp_front_ops.free(front);
}

static void test_SES_14_starttls_forgets(void **state)
{
	struct front *front = make(PLAIN | TRUSTED);
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(play_front(&smtp_front_ops, front,
				 VIEW_LIT("FOO\r\nXCLIENT ADDR=198.51.100.9 TTL=4\r\nEHLO c\r\n"
					  "STARTTLS\r\n"),
				 SIZE_MAX, &out),
		FRONT_STARTTLS);
	assert_int_equal(smtp_front_ops.peer(front)->ttl, 4);
	buf_clear(&out);
	assert_int_equal(smtp_front_ops.starttls_ok(front, &out), 0);
	smtp_front_ops.starttls_done(front, true);
	assert_string_equal(smtp_front_ops.helo(front), "");
	assert_false(smtp_front_ops.peer(front)->has_ttl);
	assert_string_equal(smtp_front_ops.peer(front)->addr, "");
	assert_int_equal(smtp_front_ops.attempts(front), 1); /* SES-16: the counter survives */
	assert_int_equal(play_front(&smtp_front_ops, front,
				 VIEW_LIT("STARTTLS\r\nEHLO c\r\nSTARTTLS\r\n"
					  "AUTH PLAIN AGJvYgBwdw==\r\n"),
				 SIZE_MAX, &out),
		FRONT_LOGIN);
	expect("starttls", 0, &out,
		"220 2.0.0 Ready for TLS\r\n"
		"503 5.5.1 STARTTLS not available\r\n" HELLO(
			"203.0.113.5") "250-" XCLIENT_LINE MECHS
				       "503 5.5.1 STARTTLS not available\r\n");
	check_credential(front, "|bob|pw");
	buf_fini(&out);
	smtp_front_ops.free(front);
}

static void test_SES_61_attributes(void **state)
{
	struct front *front = make(TRUSTED);
	const struct front_peer *peer = smtp_front_ops.peer(front);
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(
		play_front(&smtp_front_ops, front,
			VIEW_LIT("XCLIENT ADDR=192.0.2.7 PORT=4000 DESTADDR=IPV6:2001:db8::2 "
				 "DESTPORT=587 SESSION=H12-3 TTL=0 LOGIN=eve NAME=[UNAVAILABLE]\r\n"
				 "XCLIENT PORT=4001\r\n"),
			SIZE_MAX, &out),
		PROTO_MORE);
	expect("attributes", 0, &out, GREETING GREETING);
	assert_string_equal(peer->addr, "192.0.2.7");
	assert_int_equal(peer->port, 4001);
	assert_string_equal(peer->dest_addr, "2001:db8::2");
	assert_int_equal(peer->dest_port, 587);
	assert_string_equal(peer->session, "H12-3");
	assert_true(peer->has_ttl);
	assert_int_equal(peer->ttl, 0);
	buf_fini(&out);
	smtp_front_ops.free(front);
}

static void test_SES_62_nothing_is_read(void **state)
{
	struct front *front = make(0);
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(play_front(&smtp_front_ops, front,
				 VIEW_LIT("XCLIENT TTL=1 ADDR=192.0.2.7\r\n"), SIZE_MAX, &out),
		PROTO_MORE);
	assert_false(smtp_front_ops.peer(front)->has_ttl);
	assert_string_equal(smtp_front_ops.peer(front)->addr, "");
	buf_fini(&out);
	smtp_front_ops.free(front);
}

/* ---- limits (section 3) ---- */

/* Plays length bytes of filler between head and tail, in several cuts. */
static void check_long(int leg, const char *head, size_t length, const char *tail, int result,
	const char *text, unsigned attempts)
{
	size_t size = strlen(head) + length + strlen(tail), at = strlen(head) + length;
	size_t cuts[] = { SIZE_MAX, 100, at - 2, at - 1, at, at + 1, 16384, 16385, 16386, 65535,
		65536, 65537 };
	char *bytes = malloc(size);

	memcpy(bytes, head, strlen(head));
	memset(bytes + strlen(head), 'A', length);
	memcpy(bytes + at, tail, strlen(tail));
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		struct front *front = make(leg);
		struct buf out = { 0 };

		assert_int_equal(
			play_front(&smtp_front_ops, front, view_make(bytes, size), cuts[i], &out),
			result);
		expect("long", cuts[i], &out, text);
		assert_int_equal(smtp_front_ops.attempts(front), attempts);
		if (result == FRONT_CLOSE)
			assert_int_equal(smtp_front_ops.end(front), FRONT_END_TOO_LONG);
		buf_fini(&out);
		smtp_front_ops.free(front);
	}
	free(bytes);
}

static void test_section_3_line_too_long(void **state)
{
	static const char too_long[] = "500 5.5.2 Line too long\r\n";

	(void)state;
	check_long(0, "NOOP ", 65536 - 7, "\r\nNOOP\r\n", PROTO_MORE, OK OK, 0);
	check_long(0, "NOOP ", 65536 - 6, "\r\nNOOP\r\n", FRONT_CLOSE, too_long, 0);
	check_long(0, "NOOP ", 70000, "", FRONT_CLOSE, too_long, 0);
	check_long(0, "NOOP ", 70000, "\nNOOP\r\n", FRONT_CLOSE, too_long, 0);
	/* a line does not become longer by a lone LF in it */
	check_long(0, "a\n", 65536 - 4, "\r\nNOOP\r\n", PROTO_MORE, UNKNOWN OK, 1);
	check_long(0, "a\n", 65536 - 3, "\r\nNOOP\r\n", FRONT_CLOSE,
		"500 5.5.2 Command not recognised\r\n500 5.5.2 Line too long\r\n", 1);
	check_long(0, "a\n", 70000, "", FRONT_CLOSE,
		"500 5.5.2 Command not recognised\r\n500 5.5.2 Line too long\r\n", 1);
}

/* A response over the limit is answered once and dropped up to its CRLF. */
static void test_section_3_response_too_long(void **state)
{
	(void)state;
	check_long(0, "AUTH PLAIN\r\n", 16384, "\r\nNOOP\r\n", PROTO_MORE, "334 \r\n" FAILED OK, 1);
	check_long(0, "AUTH PLAIN\r\n", 16385, "\r\nNOOP\r\n", PROTO_MORE,
		"334 \r\n" EXCHANGE_TOO_LONG OK, 1);
	check_long(0, "AUTH PLAIN\r\n", 16386, "\r\nNOOP\r\n", PROTO_MORE,
		"334 \r\n" EXCHANGE_TOO_LONG OK, 1);
	check_long(0, "AUTH PLAIN\r\n", 17000, "\nQUIT\r\nNOOP\r\n", PROTO_MORE,
		"334 \r\n" EXCHANGE_TOO_LONG OK, 1);
	check_long(0, "AUTH PLAIN\r\n", 90000, "\r\nNOOP\r\n", PROTO_MORE,
		"334 \r\n" EXCHANGE_TOO_LONG OK, 1);
	check_long(0, "AUTH PLAIN ", 16384, "\r\nNOOP\r\n", PROTO_MORE, FAILED OK, 1);
	check_long(0, "AUTH PLAIN ", 16385, "\r\nNOOP\r\n", PROTO_MORE, EXCHANGE_TOO_LONG OK, 1);
}

/* ---- replies ---- */

static void test_section_5_1_replies(void **state)
{
	static const struct {
		enum front_reply reply;
		int result;
		const char *text;
		unsigned attempts;
	} replies[] = {
		{ FRONT_REPLY_AUTH_FAILED, PROTO_AGAIN, FAILED, 1 },
		{ FRONT_REPLY_HIDDEN_TEMP, PROTO_AGAIN,
			"454 4.7.0 Temporary authentication failure\r\n", 1 },
		{ FRONT_REPLY_UNAVAILABLE, FRONT_CLOSE,
			"421 4.3.0 h.example Service temporarily unavailable\r\n", 0 },
		{ FRONT_REPLY_SHUTDOWN, FRONT_CLOSE, "421 4.3.2 h.example Shutting down\r\n", 0 },
		{ FRONT_REPLY_TIMEOUT, FRONT_CLOSE, "421 4.4.2 h.example Timed out\r\n", 0 },
		{ FRONT_REPLY_VIOLATION, FRONT_CLOSE, "421 4.7.0 h.example Protocol violation\r\n",
			0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(replies); i++) {
		struct front *front = make(0);
		struct buf out = { 0 };

		assert_int_equal(play_front(&smtp_front_ops, front,
					 VIEW_LIT("AUTH PLAIN AGJvYgBwdw==\r\n"), SIZE_MAX, &out),
			FRONT_LOGIN);
		assert_int_equal(smtp_front_ops.last_mech(front), SASL_PLAIN);
		check_credential(front, "|bob|pw");
		assert_int_equal(
			smtp_front_ops.reply(front, replies[i].reply, &out), replies[i].result);
		expect("reply", i, &out, replies[i].text);
		assert_int_equal(smtp_front_ops.attempts(front), replies[i].attempts);
		buf_fini(&out);
		smtp_front_ops.free(front);
	}
}

/* In the middle of an exchange, and of a line. */
static void test_section_5_1_timeout_anywhere(void **state)
{
	static const char *const inputs[] = { "", "NOO", "AUTH LOGIN\r\n", "AUTH PLAIN\r\nAGJv",
		"a\nb" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(inputs); i++) {
		struct front *front = make(0);
		struct buf out = { 0 };
		size_t consumed;

		if (*inputs[i])
			assert_int_equal(play_front(&smtp_front_ops, front, view_str(inputs[i]),
						 SIZE_MAX, &out),
				PROTO_MORE);
		buf_clear(&out);
		assert_int_equal(
			smtp_front_ops.reply(front, FRONT_REPLY_TIMEOUT, &out), FRONT_CLOSE);
		expect("timeout", i, &out, "421 4.4.2 h.example Timed out\r\n");
		assert_int_equal(smtp_front_ops.input(front, VIEW_LIT("NOOP\r\n"), &consumed, &out),
			PROTO_MORE);
		assert_int_equal(consumed, 0); /* it is over */
		buf_fini(&out);
		smtp_front_ops.free(front);
	}
}

/* The node's refusals count, and another attempt needs no second EHLO (SES-77). */
static void test_SES_74_refusals_count(void **state)
{
	struct front *front = make(0);
	struct buf out = { 0 };

	(void)state;
	for (unsigned i = 1; i <= 3; i++) {
		assert_int_equal(play_front(&smtp_front_ops, front,
					 VIEW_LIT("AUTH PLAIN AGJvYgBwdw==\r\n"), SIZE_MAX, &out),
			FRONT_LOGIN);
		check_credential(front, "|bob|pw");
		buf_clear(&out);
		assert_int_equal(buf_append_str(&out, "535 no\r\n"), 0);
		assert_int_equal(
			smtp_front_ops.refused(front, &out), i < 3 ? PROTO_AGAIN : FRONT_CLOSE);
		expect("refused", i, &out, i < 3 ? "535 no\r\n" : "535 no\r\n" LIMIT);
		assert_int_equal(smtp_front_ops.attempts(front), i);
	}
	assert_int_equal(smtp_front_ops.end(front), FRONT_END_AUTH_LIMIT);
	buf_fini(&out);
	smtp_front_ops.free(front);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_section_5_4_greeting),
		cmocka_unit_test(test_section_5_4_empty_capability_lines),
		cmocka_unit_test(test_SES_30_every_byte_of_a_name),
		cmocka_unit_test(test_SES_30_length_of_a_name),
		cmocka_unit_test(test_SES_53_helo),
		cmocka_unit_test(test_SES_53_what_is_passed_on),
		cmocka_unit_test(test_section_5_4_chunks_have_a_limit),
		cmocka_unit_test(test_SES_14_starttls_forgets),
		cmocka_unit_test(test_SES_61_attributes),
		cmocka_unit_test(test_SES_62_nothing_is_read),
		cmocka_unit_test(test_section_3_line_too_long),
		cmocka_unit_test(test_section_3_response_too_long),
		cmocka_unit_test(test_section_5_1_replies),
		cmocka_unit_test(test_section_5_1_timeout_anywhere),
		cmocka_unit_test(test_SES_74_refusals_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* What all fronts do alike: commands before a login have a limit, and a mechanism that is not
 * offered is no failed attempt (SES-16). */
#include "dialogue/dialogue.h"

static const struct protocol {
	const struct front_ops *ops;
	const char *idle[3];            /* commands that are answered and change nothing */
	const char *unsupported, *said; /* an attempt with another mechanism, and its answer */
	const char *failed;             /* an attempt that counts */
	const char *login, *limit;
} protocols[] = {
	{ &imap_front_ops, { "a NOOP\r\n", "b CAPABILITY\r\n", "c SELECT x\r\n" },
		"d AUTHENTICATE CRAM-MD5\r\n", "d NO Mechanism not supported.\r\n",
		"e LOGIN bob\r\n", "f LOGIN bob pw\r\n", "* BYE Too many failed attempts.\r\n" },
	{ &pop3_front_ops, { "NOOP\r\n", "CAPA\r\n", "LIST\r\n" }, "AUTH NTLM\r\n",
		"-ERR Mechanism not supported.\r\n", "AUTH PLAIN =\r\n",
		"AUTH PLAIN AGJvYgBwdw==\r\n", "" },
	{ &smtp_front_ops, { "NOOP\r\n", "EHLO c\r\n", "MAIL FROM:<>\r\n" }, "AUTH GSSAPI YQ==\r\n",
		"504 5.5.4 Mechanism not supported\r\n", "AUTH PLAIN =\r\n",
		"AUTH PLAIN AGJvYgBwdw==\r\n", "421 4.7.0 h Too many failed attempts\r\n" },
	{ &sieve_front_ops, { "NOOP\r\n", "CAPABILITY\r\n", "LISTSCRIPTS\r\n" },
		"AUTHENTICATE \"SCRAM-SHA-1\" \"YQ==\"\r\n", "NO \"Mechanism not supported.\"\r\n",
		"AUTHENTICATE \"PLAIN\" \"\"\r\n", "AUTHENTICATE \"PLAIN\" \"AGJvYgBwdw==\"\r\n",
		"BYE \"Too many failed attempts.\"\r\n" },
};

static struct front *make(const struct protocol *protocol, unsigned max_attempts)
{
	static const enum sasl_mech mechs[] = { SASL_PLAIN, SASL_LOGIN };
	struct front_params params = { .host = "h",
		.banner = "b",
		.capabilities = "x",
		.client = "192.0.2.7",
		.mechs = mechs,
		.mech_count = 2,
		.permit_auth = true,
		.max_attempts = max_attempts };
	struct front *front;

	assert_int_equal(protocol->ops->create(&params, &front), 0);
	return front;
}

static int say(
	const struct protocol *protocol, struct front *front, const char *text, struct buf *out)
{
	buf_clear(out);
	return play_front(protocol->ops, front, view_str(text), SIZE_MAX, out);
}

static bool ends_with(const struct buf *out, const char *text)
{
	size_t len = strlen(text);

	return out->len > len && view_eq(view_skip(buf_view(out), out->len - len), view_str(text));
}

static void test_SES_16_mechanisms_not_offered_are_no_failures(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		const struct protocol *protocol = &protocols[i];
		struct front *front = make(protocol, 2);
		struct buf out = { 0 };

		for (int n = 0; n < 5; n++) {
			assert_int_equal(
				say(protocol, front, protocol->unsupported, &out), PROTO_MORE);
			assert_true(view_eq(buf_view(&out), view_str(protocol->said)));
		}
		assert_int_equal(protocol->ops->attempts(front), 0);
		assert_int_equal(say(protocol, front, protocol->login, &out), FRONT_LOGIN);
		buf_fini(&out);
		protocol->ops->free(front);
	}
}

/* 100 commands, whichever: the last one is answered, and then it is as at the limit of attempts. */
static void test_SES_16_commands_have_a_limit(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(protocols) * 4; i++) {
		const struct protocol *protocol = &protocols[i / 4];
		const char *text = i % 4 < 3 ? protocol->idle[i % 4] : protocol->unsupported;
		struct front *front = make(protocol, 2);
		struct buf out = { 0 };

		for (int n = 1; n < 100; n++)
			assert_int_equal(say(protocol, front, text, &out), PROTO_MORE);
		assert_int_equal(say(protocol, front, text, &out), FRONT_CLOSE);
		assert_true(ends_with(&out, protocol->limit));
		assert_int_equal(protocol->ops->end(front), FRONT_END_AUTH_LIMIT);
		assert_int_equal(protocol->ops->attempts(front), 0);
		buf_fini(&out);
		protocol->ops->free(front);
	}
}

/* Failed attempts have a limit of their own, which may be the higher one. */
static void test_SES_16_attempts_do_not_use_it_up(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(protocols); i++) {
		const struct protocol *protocol = &protocols[i];
		struct front *front = make(protocol, 200);
		struct buf out = { 0 };

		for (int n = 0; n < 99; n++)
			assert_int_equal(say(protocol, front, protocol->idle[0], &out), PROTO_MORE);
		for (int n = 1; n < 200; n++)
			assert_int_equal(say(protocol, front, protocol->failed, &out), PROTO_MORE);
		assert_int_equal(say(protocol, front, protocol->failed, &out), FRONT_CLOSE);
		assert_int_equal(protocol->ops->attempts(front), 200);
		buf_fini(&out);
		protocol->ops->free(front);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_SES_16_mechanisms_not_offered_are_no_failures),
		cmocka_unit_test(test_SES_16_commands_have_a_limit),
		cmocka_unit_test(test_SES_16_attempts_do_not_use_it_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* The fields of ID that trusted peers give: sessions.md, SES-61 and SES-62. */
#include "dialogue/imap_front.h"

#define ID_LINE                                                                             \
	"a ID (\"name\" \"x\" \"X-Originating-IP\" \"2001:db8::1\" \"x-originating-port\" " \
	"\"4000\" \"x-connected-ip\" \"192.0.2.9\" \"x-connected-port\" {3+}\r\n993 "       \
	"\"x-proxy-ttl\" \"6\" \"x-session-id\" \"H1234-1f\" \"x-client-transport\" \"TLS\")\r\n"
#define ID_ANSWER "* ID NIL\r\na OK Done.\r\n"

static void expect_output(const struct buf *out, const char *text)
{
	if (!view_eq(buf_view(out), view_str(text)))
		fail_msg("\"%.*s\" is not \"%s\"", (int)out->len, buf_view(out).data, text);
}

static void expect_nothing_said(const struct front *front)
{
	const struct front_peer *peer = imap_front_ops.peer(front);

	assert_non_null(peer);
	assert_false(peer->has_ttl);
	assert_int_equal(peer->ttl, 0);
	assert_string_equal(peer->session, "");
	assert_string_equal(peer->addr, "");
	assert_string_equal(peer->dest_addr, "");
	assert_int_equal(peer->port, 0);
	assert_int_equal(peer->dest_port, 0);
}

static void test_SES_61_id_of_a_trusted_peer(void **state)
{
	size_t cuts = sizeof(ID_LINE) - 1;

	(void)state;
	for (size_t first = 0; first <= cuts; first++) {
		struct front *front = make(TRUSTED);
		const struct front_peer *peer = imap_front_ops.peer(front);
		struct buf out = { 0 };

		expect_nothing_said(front);
		assert_int_equal(play_front(&imap_front_ops, front, VIEW_LIT(ID_LINE),
					 first < cuts ? first : SIZE_MAX, &out),
			PROTO_MORE);
		expect_output(&out, ID_ANSWER);
		assert_string_equal(peer->addr, "2001:db8::1");
		assert_int_equal(peer->port, 4000);
		assert_string_equal(peer->dest_addr, "192.0.2.9");
		assert_int_equal(peer->dest_port, 993);
		assert_true(peer->has_ttl);
		assert_int_equal(peer->ttl, 6);
		assert_string_equal(peer->session, "H1234-1f");
		buf_fini(&out);
		imap_front_ops.free(front);
	}
}

static void test_SES_62_id_of_others(void **state)
{
	struct front *front = make(0);
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(
		play_front(&imap_front_ops, front, VIEW_LIT(ID_LINE), SIZE_MAX, &out), PROTO_MORE);
	expect_output(&out, ID_ANSWER);
	expect_nothing_said(front);
	buf_fini(&out);
	imap_front_ops.free(front);
}

/* What is no value of its field, or no list, is as if it had not been given; ID is answered
 * anyway. */
static void test_SES_61_bad_fields(void **state)
{
	static const char *const arguments[] = { "NIL", "()", "(", "x", "\"x-proxy-ttl\" \"5\"",
		"(\"x-proxy-ttl\")", "(\"x-proxy-ttl\" NIL)", "(\"x-proxy-ttl\" \"\")",
		"(\"x-proxy-ttl\" \"256\")", "(\"x-proxy-ttl\" \"-1\")", "(\"x-proxy-ttl\" \"5x\")",
		"(\"proxy-ttl\" \"5\")", "(\"TTL\" \"5\")", "(\"ADDR\" \"192.0.2.1\")",
		"(\"LOGIN\" \"eve\")", "(\"x-session-id\" NIL)", "(\"x-session-id\" nil)",
		"(\"x-session-id\" \"a b\")", "(\"x-session-id\" {3+}\r\na\r\n)",
		"(\"x-session-id\" "
		"\"12345678901234567890123456789012345678901234567890123456789012345\")",
		"(\"x-originating-ip\" \"localhost\")", "(\"x-originating-ip\" \"1.2.3\")",
		"(\"x-originating-ip\" \"[UNAVAILABLE]\")",
		"(\"x-originating-ip\" \"IPV6:192.0.2.1\")", "(\"x-originating-port\" \"0\")",
		"(\"x-originating-port\" \"65536\")", "(\"x-connected-port\" \"http\")",
		"(\"x-client-transport\" \"TLS\")" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(arguments); i++) {
		struct front *front = make(TRUSTED | PLAIN_LEG);
		struct buf in = { 0 }, out = { 0 };

		assert_int_equal(buf_printf(&in, "a ID %s\r\n", arguments[i]), 0);
		assert_int_equal(play_front(&imap_front_ops, front, buf_view(&in), SIZE_MAX, &out),
			PROTO_MORE);
		expect_output(&out, ID_ANSWER);
		expect_nothing_said(front);
		/* CLIENT-TRANSPORT never makes a leg secure */
		buf_clear(&out);
		assert_int_equal(play_front(&imap_front_ops, front, VIEW_LIT("a LOGIN bob pw\r\n"),
					 SIZE_MAX, &out),
			PROTO_MORE);
		expect_output(&out, "a" PRIVACY);
		buf_fini(&in);
		buf_fini(&out);
		imap_front_ops.free(front);
	}
}

/* A bad field does not keep the others from being taken; a later ID adds to an earlier one. */
static void test_SES_61_fields_one_by_one(void **state)
{
	struct front *front = make(TRUSTED);
	const struct front_peer *peer = imap_front_ops.peer(front);
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(
		play_front(&imap_front_ops, front,
			VIEW_LIT("a ID (\"x-originating-port\" \"x\" \"x-proxy-ttl\" \"0\" "
				 "\"x-session-id\" \"NIL\")\r\n"),
			SIZE_MAX, &out),
		PROTO_MORE);
	assert_int_equal(peer->port, 0);
	assert_true(peer->has_ttl);
	assert_int_equal(peer->ttl, 0);
	assert_string_equal(peer->session, "NIL");
	assert_int_equal(play_front(&imap_front_ops, front,
				 VIEW_LIT("a ID (\"x-proxy-ttl\" \"255\" \"x-originating-ip\" "
					  "\"::ffff:192.0.2.1\")\r\n"),
				 SIZE_MAX, &out),
		PROTO_MORE);
	assert_int_equal(peer->ttl, 255);
	assert_string_equal(peer->session, "NIL");
	assert_string_equal(peer->addr, "::ffff:192.0.2.1");
	expect_output(&out, ID_ANSWER ID_ANSWER);
	buf_fini(&out);
	imap_front_ops.free(front);
}

static void test_SES_14_starttls_forgets_the_fields(void **state)
{
	struct front *front = make(TRUSTED | PLAIN_LEG);
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(
		play_front(&imap_front_ops, front, VIEW_LIT(ID_LINE), SIZE_MAX, &out), PROTO_MORE);
	assert_int_equal(imap_front_ops.peer(front)->ttl, 6);
	assert_int_equal(
		play_front(&imap_front_ops, front, VIEW_LIT("b STARTTLS\r\n"), SIZE_MAX, &out),
		FRONT_STARTTLS);
	assert_int_equal(imap_front_ops.starttls_ok(front, &out), 0);
	imap_front_ops.starttls_done(front, true);
	expect_nothing_said(front);
	buf_clear(&out);
	assert_int_equal(
		play_front(&imap_front_ops, front, VIEW_LIT(ID_LINE), SIZE_MAX, &out), PROTO_MORE);
	expect_output(&out, ID_ANSWER);
	assert_int_equal(imap_front_ops.peer(front)->ttl, 6);
	buf_fini(&out);
	imap_front_ops.free(front);
}

int main(void)

{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_SES_61_id_of_a_trusted_peer),
		cmocka_unit_test(test_SES_62_id_of_others),
		cmocka_unit_test(test_SES_61_bad_fields),
		cmocka_unit_test(test_SES_61_fields_one_by_one),
		cmocka_unit_test(test_SES_14_starttls_forgets_the_fields),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

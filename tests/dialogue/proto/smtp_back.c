// SPDX-License-Identifier: Apache-2.0
/* Submission conversations with a node; sessions.md sections 9, 10 and 12. */
#define OPS smtp_back_ops
#define ANY_ANSWER "250 ok\r\n"
#include "dialogue/back_script.h"

#define HELLO "220 node ESMTP\r\n"
#define EHLO "EHLO h\r\n"
#define CAPS "250-node\r\n250-8BITMIME\r\n250 AUTH PLAIN OAUTHBEARER XOAUTH2\r\n"
#define AUTH "AUTH PLAIN AGJvYgBwdw==\r\n"
#define READY { NODE, HELLO, PROTO_MORE, EHLO, "" }, { NODE, CAPS, BACK_READY, "", "" }
#define OFFERS(line, ...)                                                 \
	{ NODE, HELLO, PROTO_MORE, EHLO, "" },                            \
		{ NODE, "250-node\r\n" line "\r\n", BACK_READY, "", "" }, \
		{ REPLAY, "", __VA_ARGS__, "" }
#define BY_LOGIN PROTO_MORE, "AUTH LOGIN\r\n"
#define SENT { REPLAY, "", PROTO_MORE, AUTH, "" }

static const struct script scripts[] = {
	{ "accepted", false, false, SASL_PLAIN,
		{ READY, SENT,
			{ NODE, "235 2.7.0 in\r\n", BACK_ACCEPTED, "", "235 2.7.0 in\r\n" } } },
	{ "SES-72 replies of many lines go to the client whole", false, false, SASL_PLAIN,
		{ READY, SENT,
			{ NODE, "235-2.7.0 in\r\n235 2.7.0 now\r\n", BACK_ACCEPTED, "",
				"235-2.7.0 in\r\n235 2.7.0 now\r\n" } } },
	{ "SES-70 LOGIN is replayed as PLAIN", false, false, SASL_LOGIN,
		{ { NODE, "220-a\r\n220-b\r\n220\r\n", PROTO_MORE, EHLO, "" },
			{ NODE, "250 node\r\n", BACK_READY, "", "" }, SENT } },
	{ "SES-74 refused", false, false, SASL_PLAIN,
		{ READY, SENT, { NODE, "535 no\r\n", BACK_REFUSED, "", "535 no\r\n" } } },
	{ "SES-74 refused temporarily", false, false, SASL_PLAIN,
		{ READY, SENT, { NODE, "454 later\r\n", BACK_REFUSED, "", "454 later\r\n" } },
		.temporarily = true },
	{ "SES-75 421", false, false, SASL_PLAIN,
		{ READY, SENT, { NODE, "421 bye\r\n", BACK_REFUSED, "", "421 bye\r\n" } },
		.temporarily = true, .for_good = true },
	{ "SES-71 PLAIN knows no second step", false, false, SASL_PLAIN,
		{ READY, SENT, { NODE, "334 x\r\n", BACK_FAILED, "", "" } }, BACK_FAIL_PROTOCOL },
	{ "SES-71 OAUTHBEARER", false, false, SASL_OAUTHBEARER,
		{ READY, { REPLAY, "", PROTO_MORE, "AUTH OAUTHBEARER AGJvYgBwdw==\r\n", "" },
			{ NODE, "334 eyJz\r\n", PROTO_MORE, "AQ==\r\n", "" },
			{ NODE, "535 x\r\n", BACK_REFUSED, "", "535 x\r\n" } } },
	{ "SES-71 XOAUTH2", false, false, SASL_XOAUTH2,
		{ READY, { REPLAY, "", PROTO_MORE, "AUTH XOAUTH2 AGJvYgBwdw==\r\n", "" },
			{ NODE, "334 eyJz\r\n", PROTO_MORE, "\r\n", "" },
			{ NODE, "535 x\r\n", BACK_REFUSED, "", "535 x\r\n" } } },
	{ "SES-71 a second challenge", false, false, SASL_XOAUTH2,
		{ READY, { REPLAY, "", PROTO_MORE, "AUTH XOAUTH2 AGJvYgBwdw==\r\n", "" },
			{ NODE, "334 eyJz\r\n", PROTO_MORE, "\r\n", "" },
			{ NODE, "334 eyJz\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "SES-76 nonsense", false, false, SASL_PLAIN,
		{ READY, SENT, { NODE, "hello\r\n", BACK_FAILED, "", "" } }, BACK_FAIL_PROTOCOL },
	{ "SES-76 a code of two digits", false, false, SASL_PLAIN,
		{ READY, SENT, { NODE, "23 in\r\n", BACK_FAILED, "", "" } }, BACK_FAIL_PROTOCOL },
	{ "SES-76 a code that runs on", false, false, SASL_PLAIN,
		{ READY, SENT, { NODE, "2350 in\r\n", BACK_FAILED, "", "" } }, BACK_FAIL_PROTOCOL },
	{ "SES-76 codes that differ", false, false, SASL_PLAIN,
		{ READY, SENT, { NODE, "235-in\r\n535 out\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "SES-76 354", false, false, SASL_PLAIN,
		{ READY, SENT, { NODE, "354 go on\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "section 9 greeting 554", false, false, SASL_PLAIN,
		{ { NODE, "554 no\r\n", BACK_FAILED, "", "" } }, BACK_FAIL_REFUSED },
	{ "section 9 another protocol", false, false, SASL_PLAIN,
		{ { NODE, "* OK IMAP4rev1\r\n", BACK_FAILED, "", "" } }, BACK_FAIL_PROTOCOL },
	{ "section 9 ehlo refused", false, false, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, EHLO, "" },
			{ NODE, "550 no\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_REFUSED },
	{ "section 9 starttls", true, false, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, EHLO, "" },
			{ NODE, "250-node\r\n250-starttls\r\n250 AUTH PLAIN\r\n", PROTO_MORE,
				"STARTTLS\r\n", "" },
			{ NODE, "220 go\r\n", BACK_STARTTLS, "", "" },
			{ STARTTLS_DONE, "", PROTO_MORE, EHLO, "" },
			{ NODE, CAPS, BACK_READY, "", "" } } },
	{ "SES-55 XSTARTTLS is not STARTTLS", true, false, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, EHLO, "" },
			{ NODE,
				"250-STARTTLS\r\n250-XSTARTTLS\r\n250-STARTTLSX\r\n250 A "
				"STARTTLS\r\n",
				BACK_FAILED, "", "" } },
		BACK_FAIL_REFUSED },
	{ "section 9 starttls refused", true, false, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, EHLO, "" },
			{ NODE, "250-node\r\n250 STARTTLS\r\n", PROTO_MORE, "STARTTLS\r\n", "" },
			{ NODE, "454 no\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_REFUSED },
	{ "SES-54 capabilities before TLS are forgotten", true, true, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, EHLO, "" },
			{ NODE, "250-node\r\n250-XCLIENT ADDR\r\n250 STARTTLS\r\n", PROTO_MORE,
				"STARTTLS\r\n", "" },
			{ NODE, "220 go\r\n", BACK_STARTTLS, "", "" },
			{ STARTTLS_DONE, "", PROTO_MORE, EHLO, "" },
			{ NODE, CAPS, BACK_READY, "", "" } } },
	{ "section 10 xclient, what Postfix lists", false, true, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, EHLO, "" },
			{ NODE,
				"250-node\r\n250 XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR "
				"DESTPORT\r\n",
				PROTO_MORE,
				"XCLIENT ADDR=192.0.2.1 PORT=4000 DESTADDR=IPV6:2001:db8::9 "
				"DESTPORT=4190 PROTO=ESMTP\r\n",
				"" },
			{ NODE, "220 node ESMTP\r\n", PROTO_MORE, EHLO, "" },
			{ NODE, CAPS, BACK_READY, "", "" }, SENT } },
	{ "section 10 xclient with none of ours", false, true, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, EHLO, "" },
			{ NODE, "250-node\r\n250 XCLIENT NAME LOGIN\r\n", BACK_READY, "", "" } } },
	{ "SES-46 xclient refused", false, true, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, EHLO, "" },
			{ NODE, "250-node\r\n250 XCLIENT TTL SESSION\r\n", PROTO_MORE,
				"XCLIENT SESSION=H1234-1 TTL=6\r\n", "" },
			{ NODE, "550 no\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_REFUSED },
	/* what the node offers */
	{ "SES-70 nothing is said of it: as if PLAIN were there", false, false, SASL_PLAIN,
		{ OFFERS("250 SIZE", PROTO_MORE, AUTH) } },
	{ "SES-70 PLAIN as old servers list it", false, false, SASL_PLAIN,
		{ OFFERS("250 auth=login plain", PROTO_MORE, AUTH) } },
	{ "SES-70 two lists, as of old servers", false, false, SASL_PLAIN,
		{ OFFERS("250-AUTH LOGIN\r\n250 AUTH=PLAIN", PROTO_MORE, AUTH) } },
	{ "SES-70 LOGIN only", false, false, SASL_PLAIN,
		{ OFFERS("250 AUTH LOGIN XOAUTH2", BY_LOGIN),
			{ NODE, "334 VXNlcm5hbWU6\r\n", PROTO_MORE, "Ym9i\r\n", "" },
			{ NODE, "334 UGFzc3dvcmQ6\r\n", PROTO_MORE, "cHc=\r\n", "" },
			{ NODE, "235 in\r\n", BACK_ACCEPTED, "", "235 in\r\n" } } },
	{ "SES-70 LOGIN of a client, to LOGIN", false, false, SASL_LOGIN,
		{ OFFERS("250 AUTH=LOGIN", BY_LOGIN),
			{ NODE, "334-a\r\n334\r\n", PROTO_MORE, "Ym9i\r\n", "" },
			{ NODE, "334 \r\n", PROTO_MORE, "cHc=\r\n", "" },
			{ NODE, "535 no\r\n", BACK_REFUSED, "", "535 no\r\n" } } },
	{ "SES-70 LOGIN refused at once", false, false, SASL_PLAIN,
		{ OFFERS("250 AUTH LOGIN", BY_LOGIN),
			{ NODE, "454 later\r\n", BACK_REFUSED, "", "454 later\r\n" } },
		.temporarily = true },
	{ "SES-70 the name is refused", false, false, SASL_PLAIN,
		{ OFFERS("250 AUTH LOGIN", BY_LOGIN),
			{ NODE, "334 a\r\n", PROTO_MORE, "Ym9i\r\n", "" },
			{ NODE, "535 no\r\n", BACK_REFUSED, "", "535 no\r\n" } } },
	{ "SES-70 a third prompt", false, false, SASL_PLAIN,
		{ OFFERS("250 AUTH LOGIN", BY_LOGIN),
			{ NODE, "334 a\r\n", PROTO_MORE, "Ym9i\r\n", "" },
			{ NODE, "334 b\r\n", PROTO_MORE, "cHc=\r\n", "" },
			{ NODE, "334 c\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_PROTOCOL },
	{ "SES-57 success before the name", false, false, SASL_PLAIN,
		{ OFFERS("250 AUTH LOGIN", BY_LOGIN), { NODE, "235 in\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_REFUSED },
	{ "SES-57 success before the password", false, false, SASL_PLAIN,
		{ OFFERS("250 AUTH LOGIN", BY_LOGIN),
			{ NODE, "334 a\r\n", PROTO_MORE, "Ym9i\r\n", "" },
			{ NODE, "235 in\r\n", BACK_FAILED, "", "" } },
		BACK_FAIL_REFUSED },
	{ "SES-70 OAUTHBEARER needs OAUTHBEARER", false, false, SASL_OAUTHBEARER,
		{ OFFERS("250 AUTH PLAIN LOGIN XOAUTH2", BACK_FAILED, "") }, BACK_FAIL_MECHANISM },
	{ "SES-70 XOAUTH2 where it is", false, false, SASL_XOAUTH2,
		{ OFFERS("250 AUTH LOGIN XOAUTH2", PROTO_MORE, "AUTH XOAUTH2 " MESSAGE "\r\n") } },
	{ "SES-70 nothing that is ours", false, false, SASL_PLAIN,
		{ OFFERS("250 AUTH CRAM-MD5 XLOGIN PLAINX", BACK_FAILED, "") },
		BACK_FAIL_MECHANISM },
	{ "SES-54 what was offered before TLS is forgotten", true, false, SASL_PLAIN,
		{ { NODE, HELLO, PROTO_MORE, EHLO, "" },
			{ NODE, "250-node\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n", PROTO_MORE,
				"STARTTLS\r\n", "" },
			{ NODE, "220 go\r\n", BACK_STARTTLS, "", "" },
			{ STARTTLS_DONE, "", PROTO_MORE, EHLO, "" },
			{ NODE, "250-node\r\n250 AUTH LOGIN\r\n", BACK_READY, "", "" },
			{ REPLAY, "", BY_LOGIN, "" } } },
};

SCRIPT_TESTS

/* SES-53: the client's name is passed on, in EHLO and in XCLIENT. */
static void test_SES_53_name_of_the_client(void **state)
{
	struct buf to_node = { 0 }, to_client = { 0 };
	struct back *back;
	struct view left;

	(void)state;
	helo = "c.example";
	back = make(false, true);
	assert_int_equal(
		play_back(&smtp_back_ops, back, VIEW_LIT(HELLO), 0, &to_node, &to_client, &left),
		PROTO_MORE);
	assert_int_equal(
		play_back(&smtp_back_ops, back, VIEW_LIT("250-node\r\n250 XCLIENT HELO\r\n"), 0,
			&to_node, &to_client, &left),
		PROTO_MORE);
	expect("name", &to_node, "EHLO c.example\r\nXCLIENT HELO=c.example\r\n");
	helo = "";
	buf_fini(&to_node);
	smtp_back_ops.free(back);
}

static void check_injection(const char *answer)
{
	struct back *back = make(true, false);
	struct buf to_node = { 0 }, to_client = { 0 };
	struct view left;

	assert_int_equal(play_back(&smtp_back_ops, back, VIEW_LIT(HELLO), SIZE_MAX, &to_node,
				 &to_client, &left),
		PROTO_MORE);
	assert_int_equal(play_back(&smtp_back_ops, back, VIEW_LIT("250-n\r\n250 STARTTLS\r\n"),
				 SIZE_MAX, &to_node, &to_client, &left),
		PROTO_MORE);
	assert_int_equal(play_back(&smtp_back_ops, back, view_str(answer), SIZE_MAX, &to_node,
				 &to_client, &left),
		BACK_FAILED);
	assert_int_equal(smtp_back_ops.failure(back), BACK_FAIL_INJECTION);
	buf_fini(&to_node);
	smtp_back_ops.free(back);
}

/* The longest of all, and what it is made of (RFC 5321 section 4.5.3.1.4). */
static void test_section_10_a_long_xclient_fits_its_line(void **state)
{
	static const char all[] = "250-node\r\n250 XCLIENT ADDR PORT DESTADDR DESTPORT SESSION TTL "
				  "CLIENT-TRANSPORT HELO PROTO\r\n";
	static const struct back_forward longest = {
		.client_ip = "2001:db80:ffff:ffff:ffff:ffff:ffff:ffff",
		.local_ip = "2001:db80:ffff:ffff:ffff:ffff:ffff:fffe",
		.client_port = 65535,
		.local_port = 65535,
		.ttl = 255,
		.session_id = "Hffff-ffffffffffffffff",
	};
	struct back_params params = { .host = "h", .forward = &longest };
	struct buf to_node = { 0 }, to_client = { 0 };
	char name[256] = "";
	struct back *back;
	struct view left;

	(void)state;
	for (int i = 0; i < 4; i++)
		snprintf(name + i * 64, sizeof(name) - (size_t)i * 64, "%063d%s", i,
			i < 3 ? "." : "");
	name[254] = 'a';
	params.helo = name;
	assert_int_equal(smtp_back_ops.create(&params, &back), 0);
	assert_int_equal(play_back(&smtp_back_ops, back, VIEW_LIT(HELLO), SIZE_MAX, &to_node,
				 &to_client, &left),
		PROTO_MORE);
	assert_int_equal(to_node.len, strlen("EHLO \r\n") + 255);
	buf_clear(&to_node);
	assert_int_equal(play_back(&smtp_back_ops, back, view_str(all), SIZE_MAX, &to_node,
				 &to_client, &left),
		PROTO_MORE);
	assert_true(view_starts(buf_view(&to_node), VIEW_LIT("XCLIENT ADDR=IPV6:2001:")));
	assert_true(to_node.len > 400 && to_node.len <= 512);
	buf_fini(&to_node);
	smtp_back_ops.free(back);
}

/* 512 bytes with the line end go at once; more wait for the prompt. */
static void test_section_12_long_credential(void **state)
{
	static const struct {
		size_t bytes;
		bool at_once;
	} cases[] = { { 372, true }, { 373, false }, { 9000, false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct proto_credential credential = { .mech = SASL_XOAUTH2 };
		size_t consumed, base64 = (cases[i].bytes + 2) / 3 * 4;
		struct buf to_node = { 0 }, to_client = { 0 };
		struct back *back = make(false, false);
		struct view left;

		assert_int_equal(play_back(&smtp_back_ops, back, VIEW_LIT(HELLO), SIZE_MAX,
					 &to_node, &to_client, &left),
			PROTO_MORE);
		assert_int_equal(play_back(&smtp_back_ops, back, VIEW_LIT(CAPS), SIZE_MAX, &to_node,
					 &to_client, &left),
			BACK_READY);
		buf_clear(&to_node);
		for (size_t n = 0; n < cases[i].bytes; n++)
			assert_int_equal(buf_append(&credential.message, "", 1), 0);
		assert_int_equal(smtp_back_ops.replay(
					 back, &credential, view_make("", 0), &consumed, &to_node),
			PROTO_MORE);
		assert_int_equal(smtp_back_ops.credential_sent(back), cases[i].at_once);
		assert_int_equal(to_node.len,
			cases[i].at_once ? strlen("AUTH XOAUTH2 \r\n") + base64
					 : strlen("AUTH XOAUTH2\r\n"));
		assert_true(to_node.len <= 512);
		buf_clear(&to_node);
		if (!cases[i].at_once) {
			assert_int_equal(play_back(&smtp_back_ops, back, VIEW_LIT("334 \r\n"),
						 SIZE_MAX, &to_node, &to_client, &left),
				PROTO_MORE);
			assert_int_equal(to_node.len, base64 + 2);
		}
		assert_int_equal(play_back(&smtp_back_ops, back, VIEW_LIT("235 in\r\n"), SIZE_MAX,
					 &to_node, &to_client, &left),
			BACK_ACCEPTED);
		proto_credential_wipe(&credential);
		buf_fini(&to_node);
		buf_fini(&to_client);
		smtp_back_ops.free(back);
	}
}

static void test_section_9_injection(void **state)
{
	(void)state;
	check_injection("220 go\r\n250 AUTH PLAIN\r\n");
	check_injection("220 go\r\nx");
}

/* Up to where the credential may go out. */
static void hear_capabilities(
	struct back *back, struct buf *to_node, struct buf *to_client, struct view *left)
{
	assert_int_equal(play_back(&smtp_back_ops, back, VIEW_LIT(HELLO), SIZE_MAX, to_node,
				 to_client, left),
		PROTO_MORE);
	assert_int_equal(
		play_back(&smtp_back_ops, back, VIEW_LIT(CAPS), SIZE_MAX, to_node, to_client, left),
		BACK_READY);
}

/* A reply that is there before its command was written is nobody's reply (#7). */
static void test_SES_57_replies_given_too_early(void **state)
{
	struct back *back = make(false, false);
	struct buf to_node = { 0 }, to_client = { 0 };
	struct view left;

	(void)state;
	check_failure(false, false, VIEW_LIT(""), VIEW_LIT(HELLO CAPS), BACK_FAIL_REFUSED);
	check_failure(
		false, false, VIEW_LIT(HELLO), VIEW_LIT(CAPS "235 in\r\n"), BACK_FAIL_REFUSED);
	hear_capabilities(back, &to_node, &to_client, &left);
	buf_clear(&to_node);
	assert_int_equal(replay(back, SASL_PLAIN, VIEW_LIT("235 in\r\n"), &to_node), BACK_FAILED);
	assert_int_equal(to_node.len, 0);
	buf_fini(&to_node);
	smtp_back_ops.free(back);
}

static void test_SES_73_left_over_bytes_are_not_consumed(void **state)
{
	struct back *back = make(false, false);
	struct buf to_node = { 0 }, to_client = { 0 };
	struct view left;

	(void)state;
	hear_capabilities(back, &to_node, &to_client, &left);
	assert_int_equal(replay(back, SASL_PLAIN, view_make("", 0), &to_node), PROTO_MORE);
	assert_int_equal(play_back(&smtp_back_ops, back, VIEW_LIT("235 in\r\n250 more"), SIZE_MAX,
				 &to_node, &to_client, &left),
		BACK_ACCEPTED);
	expect("to the client", &to_client, "235 in\r\n");
	assert_int_equal(left.len, 8);
	buf_fini(&to_node);
	buf_fini(&to_client);
	smtp_back_ops.free(back);
}

static void test_section_3_limits(void **state)
{
	struct buf text = { 0 };

	(void)state;
	for (int i = 0; i < 8200; i++)
		assert_int_equal(buf_append(&text, "2", 1), 0);
	check_failure(false, false, VIEW_LIT(""), buf_view(&text), BACK_FAIL_PROTOCOL);
	buf_clear(&text);
	for (int i = 0; i < 257; i++)
		assert_int_equal(buf_append_str(&text, "220-x\r\n"), 0);
	check_failure(false, false, VIEW_LIT(""), buf_view(&text), BACK_FAIL_PROTOCOL);
	buf_fini(&text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripts_whole),
		cmocka_unit_test(test_scripts_byte_by_byte),
		cmocka_unit_test(test_scripts_cut_everywhere),
		cmocka_unit_test(test_SES_53_name_of_the_client),
		cmocka_unit_test(test_section_10_a_long_xclient_fits_its_line),
		cmocka_unit_test(test_section_12_long_credential),
		cmocka_unit_test(test_section_9_injection),
		cmocka_unit_test(test_SES_57_replies_given_too_early),
		cmocka_unit_test(test_SES_73_left_over_bytes_are_not_consumed),
		cmocka_unit_test(test_section_3_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

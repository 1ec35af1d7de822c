// SPDX-License-Identifier: Apache-2.0
/* How a credential goes to a node, after what the node offers: sessions.md, SES-70. */
#include "dialogue/imap_back.h"

struct exchange {
	const char *name, *caps;
	enum sasl_mech mech;
	int result; /* of the replay */
	const char *sent;
	struct {
		const char *node;
		int result;
		const char *sent;
	} turns[5];
	int failure;
};

#define LOGIN_AT_ONCE "a LOGIN {3+}\r\nbob {2+}\r\npw\r\n"
#define BY_LOGIN_COMMAND PROTO_MORE, "a LOGIN {3}\r\n"
#define BY_SASL_LOGIN PROTO_MORE, "a AUTHENTICATE LOGIN\r\n"
#define OK_IN { "a OK in\r\n", BACK_ACCEPTED, "" }

static const struct exchange exchanges[] = {
	{ "PLAIN listed", "IMAP4rev1 SASL-IR AUTH=LOGIN AUTH=plain", SASL_PLAIN, PROTO_MORE, CRED,
		{ OK_IN } },
	{ "PLAIN listed, asked for", "IMAP4rev1 auth=plain", SASL_LOGIN, PROTO_MORE,
		"a AUTHENTICATE PLAIN\r\n",
		{ { "+ \r\n", PROTO_MORE, "AGJvYgBwdw==\r\n" }, OK_IN } },
	{ "SASL-IR, and nothing said", "IMAP4rev1 SASL-IR", SASL_PLAIN, PROTO_MORE, CRED,
		{ OK_IN } },
	{ "revision 2, and nothing said", "IMAP4rev2", SASL_XOAUTH2, PROTO_MORE, XOAUTH,
		{ OK_IN } },
	{ "SASL LOGIN", "IMAP4rev1 SASL-IR AUTH=LOGIN AUTH=XOAUTH2", SASL_PLAIN, BY_SASL_LOGIN,
		{ { "+ VXNlcm5hbWU6\r\n", PROTO_MORE, "Ym9i\r\n" },
			{ "* 1\r\n+ UGFzc3dvcmQ6\r\n", PROTO_MORE, "cHc=\r\n" }, OK_IN } },
	{ "SASL LOGIN though LOGIN is disabled", "IMAP4rev1 LOGINDISABLED AUTH=LOGIN", SASL_LOGIN,
		BY_SASL_LOGIN, { { "a NO not here\r\n", BACK_REFUSED, "" } } },
	{ "SASL LOGIN, a third prompt", "IMAP4rev1 AUTH=LOGIN", SASL_PLAIN, BY_SASL_LOGIN,
		{ { "+\r\n", PROTO_MORE, "Ym9i\r\n" }, { "+\r\n", PROTO_MORE, "cHc=\r\n" },
			{ "+\r\n", BACK_FAILED, "" } },
		BACK_FAIL_PROTOCOL },
	{ "SASL LOGIN, bytes behind the prompt", "IMAP4rev1 AUTH=LOGIN", SASL_PLAIN, BY_SASL_LOGIN,
		{ { "+\r\n", PROTO_MORE, "Ym9i\r\n" }, { "+\r\na OK\r\n", BACK_FAILED, "" } },
		BACK_FAIL_REFUSED },
	{ "SASL LOGIN, success too early", "IMAP4rev1 AUTH=LOGIN", SASL_PLAIN, BY_SASL_LOGIN,
		{ { "+\r\n", PROTO_MORE, "Ym9i\r\n" }, { "a OK in\r\n", BACK_FAILED, "" } },
		BACK_FAIL_REFUSED },
	{ "LOGIN, synchronising", "IMAP4rev1", SASL_PLAIN, BY_LOGIN_COMMAND,
		{ { "+ go\r\n", PROTO_MORE, "bob {2}\r\n" }, { "+ {9}\r\n", PROTO_MORE, "pw\r\n" },
			OK_IN } },
	{ "LOGIN, refused before the password", "IMAP4rev1", SASL_PLAIN, BY_LOGIN_COMMAND,
		{ { "+ go\r\n", PROTO_MORE, "bob {2}\r\n" }, { "a NO x\r\n", BACK_REFUSED, "" } } },
	{ "LOGIN, success before the password", "IMAP4rev1", SASL_PLAIN, BY_LOGIN_COMMAND,
		{ { "+ go\r\n", PROTO_MORE, "bob {2}\r\n" }, { "a OK in\r\n", BACK_FAILED, "" } },
		BACK_FAIL_REFUSED },
	{ "LOGIN, bytes behind the prompt", "IMAP4rev1", SASL_PLAIN, BY_LOGIN_COMMAND,
		{ { "+ go\r\n+ go\r\n", BACK_FAILED, "" } }, BACK_FAIL_REFUSED },
	{ "LOGIN, a third prompt", "IMAP4rev1 AUTH=GSSAPI LITERAL+", SASL_LOGIN, PROTO_MORE,
		LOGIN_AT_ONCE, { { "+\r\n", BACK_FAILED, "" } }, BACK_FAIL_PROTOCOL },
	{ "LOGIN, LITERAL+", "IMAP4rev1 LITERAL+", SASL_PLAIN, PROTO_MORE, LOGIN_AT_ONCE,
		{ OK_IN } },
	{ "LOGIN, LITERAL-", "IMAP4rev1 LITERAL-", SASL_PLAIN, PROTO_MORE, LOGIN_AT_ONCE,
		{ OK_IN } },
	{ "LOGIN, revision 2", "IMAP4rev2 AUTH=GSSAPI", SASL_PLAIN, PROTO_MORE, LOGIN_AT_ONCE,
		{ OK_IN } },
	{ "LOGINDISABLED", "IMAP4rev1 LOGINDISABLED", SASL_PLAIN, BACK_FAILED, "",
		.failure = BACK_FAIL_MECHANISM },
	{ "LOGINDISABLED, SASL-IR", "IMAP4rev1 SASL-IR LOGINDISABLED", SASL_PLAIN, BACK_FAILED, "",
		.failure = BACK_FAIL_MECHANISM },
	{ "LOGINDISABLED, others", "IMAP4rev1 LOGINDISABLED AUTH=GSSAPI", SASL_LOGIN, BACK_FAILED,
		"", .failure = BACK_FAIL_MECHANISM },
	{ "XOAUTH2 not listed", "IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=OAUTHBEARER", SASL_XOAUTH2,
		BACK_FAILED, "", .failure = BACK_FAIL_MECHANISM },
	{ "OAUTHBEARER not listed", "IMAP4rev1", SASL_OAUTHBEARER, BACK_FAILED, "",
		.failure = BACK_FAIL_MECHANISM },
	{ "XOAUTH2 listed", "IMAP4rev1 SASL-IR AUTH=LOGIN AUTH=XOAUTH2", SASL_XOAUTH2, PROTO_MORE,
		XOAUTH, { OK_IN } },
};

static void check_exchange(const struct exchange *e, size_t first)
{
	struct back *back = make(false, false, "a");
	struct buf to_node = { 0 }, to_client = { 0 }, greeting = { 0 };
	struct proto_credential credential;
	struct view left;
	size_t consumed;
	int r;

	assert_int_equal(buf_printf(&greeting, "* OK [CAPABILITY %s] hi\r\n", e->caps), 0);
	assert_int_equal(play_back(&imap_back_ops, back, buf_view(&greeting), first, &to_node,
				 &to_client, &left),
		BACK_READY);
	make_credential(&credential, "a", e->mech);
	r = imap_back_ops.replay(back, &credential, view_make("", 0), &consumed, &to_node);
	proto_credential_wipe(&credential);
	if (r != e->result)
		fail_msg("%s: replay %d", e->name, r);
	expect(e->name, &to_node, e->sent);
	for (size_t i = 0; e->turns[i].node; i++) {
		buf_clear(&to_node);
		r = play_back(&imap_back_ops, back, view_str(e->turns[i].node), first, &to_node,
			&to_client, &left);
		if (r != e->turns[i].result)
			fail_msg("%s: turn %zu: %d", e->name, i, r);
		expect(e->name, &to_node, e->turns[i].sent);
	}
	if (r == BACK_FAILED)
		assert_int_equal(imap_back_ops.failure(back), e->failure);
	else if (r == BACK_ACCEPTED)
		assert_true(imap_back_ops.credential_sent(back));
	buf_fini(&to_node);
	buf_fini(&to_client);
	buf_fini(&greeting);
	imap_back_ops.free(back);
}

static void test_SES_70_what_the_node_offers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(exchanges); i++)
		check_exchange(&exchanges[i], SIZE_MAX);
}

/* Up to 4096 bytes under LITERAL-; a message of 8000 bytes and less goes with the command. */
static void test_SES_70_long(void **state)
{
	static const struct {
		const char *caps;
		size_t bytes;
		const char *sent;
	} cases[] = { { "LITERAL-", 4096, "a LOGIN {3+}\r\nbob {4096+}\r\n" },
		{ "LITERAL-", 4097, "a LOGIN {3}\r\n" },
		{ "LITERAL+", 9000, "a LOGIN {3+}\r\nbob {9000+}\r\n" },
		{ "SASL-IR", 5977, "a AUTHENTICATE PLAIN AGJvYgBwcHBw" },
		{ "SASL-IR", 5978, "a AUTHENTICATE PLAIN\r\n" } };
	static char password[9001];

	(void)state;
	memset(password, 'p', sizeof(password));
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct proto_credential credential = { .mech = SASL_PLAIN, .tag = "a" };
		struct back *back = make(false, false, "a");
		struct buf to_node = { 0 }, to_client = { 0 }, greeting = { 0 };
		struct view left;
		size_t consumed, whole = strlen(cases[i].sent);

		assert_int_equal(
			buf_printf(&greeting, "* OK [CAPABILITY %s] hi\r\n", cases[i].caps), 0);
		assert_int_equal(play_back(&imap_back_ops, back, buf_view(&greeting), SIZE_MAX,
					 &to_node, &to_client, &left),
			BACK_READY);
		assert_int_equal(sasl_make_plain(&credential, VIEW_LIT("bob"),
					 view_make(password, cases[i].bytes)),
			0);
		assert_int_equal(imap_back_ops.replay(
					 back, &credential, view_make("", 0), &consumed, &to_node),
			PROTO_MORE);
		if (!view_starts(buf_view(&to_node), view_str(cases[i].sent)))
			fail_msg("%zu: %.60s", cases[i].bytes, buf_view(&to_node).data);
		assert_int_equal(imap_back_ops.credential_sent(back), to_node.len > whole);
		if (strstr(cases[i].sent, "PLAIN A"))
			assert_int_equal(to_node.len, 8000 - 1);
		proto_credential_wipe(&credential);
		buf_fini(&to_node);
		buf_fini(&greeting);
		imap_back_ops.free(back);
	}
}

/* Only PLAIN says for whom; a name that is the same needs no saying. */
static void test_SES_70_another_identity(void **state)
{
	static const struct {
		const char *message;
		size_t len;
		int result;
	} cases[] = { { "carl\0bob\0pw", 11, BACK_FAILED }, { "bob\0bob\0pw", 10, PROTO_MORE } };
	static const char *const lists[] = { "IMAP4rev1", "IMAP4rev1 AUTH=LOGIN",
		"IMAP4rev1 AUTH=PLAIN" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases) * ARRAY_SIZE(lists); i++) {
		struct proto_credential credential = { .mech = SASL_PLAIN, .tag = "a" };
		struct back *back = make(false, false, "a");
		struct buf to_node = { 0 }, to_client = { 0 }, greeting = { 0 };
		size_t c = i % ARRAY_SIZE(cases), l = i / ARRAY_SIZE(cases), consumed;
		struct view left;

		assert_int_equal(buf_printf(&greeting, "* OK [CAPABILITY %s] hi\r\n", lists[l]), 0);
		assert_int_equal(play_back(&imap_back_ops, back, buf_view(&greeting), SIZE_MAX,
					 &to_node, &to_client, &left),
			BACK_READY);
		assert_int_equal(
			buf_append(&credential.message, cases[c].message, cases[c].len), 0);
		assert_int_equal(sasl_parse(&credential), 0);
		assert_int_equal(imap_back_ops.replay(
					 back, &credential, view_make("", 0), &consumed, &to_node),
			l == 2 ? PROTO_MORE : cases[c].result);
		if (l < 2 && cases[c].result == BACK_FAILED) {
			assert_int_equal(imap_back_ops.failure(back), BACK_FAIL_MECHANISM);
			assert_int_equal(to_node.len, 0);
		}
		proto_credential_wipe(&credential);
		buf_fini(&to_node);
		buf_fini(&greeting);
		imap_back_ops.free(back);
	}
}

/* What a node allows once it knows whom it speaks with. */
static void test_SES_70_asked_again_behind_ID(void **state)
{
	struct back *back = make(false, true, "a");
	struct buf to_node = { 0 }, to_client = { 0 };
	struct view left;

	(void)state;
	assert_int_equal(play_back(&imap_back_ops, back,
				 VIEW_LIT("* OK [CAPABILITY IMAP4rev1 ID LOGINDISABLED] hi\r\n"
					  "* ID NIL\r\nH1 OK\r\n"
					  "* CAPABILITY IMAP4rev1 ID AUTH=PLAIN\r\nH2 OK\r\n"),
				 SIZE_MAX, &to_node, &to_client, &left),
		BACK_READY);
	expect("again", &to_node, ID_LINE "H2 CAPABILITY\r\n");
	buf_fini(&to_node);
	imap_back_ops.free(back);
}

int main(void)

{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_SES_70_what_the_node_offers),
		cmocka_unit_test(test_SES_70_long),
		cmocka_unit_test(test_SES_70_another_identity),
		cmocka_unit_test(test_SES_70_asked_again_behind_ID),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

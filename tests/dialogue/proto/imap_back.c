// SPDX-License-Identifier: Apache-2.0
/* Conversations with a node; sessions.md sections 9, 10 and 12. */
#include "dialogue/dialogue.h"
#include "proto/sasl.h"

/* The node's bytes, up to READY and after the credential. */
struct script {
	const char *name;
	bool starttls, forward;
	const char *before, *sent_before; /* until READY (or the result) */
	int result;                     /* of the first part: BACK_READY, BACK_FAILED, PROTO_MORE */
	const char *after, *sent_after; /* the replay */
	int verdict;
	const char *to_client;
	const char *left; /* what stays unread after BACK_ACCEPTED */
	enum sasl_mech mech;
};

#define CRED "a AUTHENTICATE PLAIN AGJvYgBwdw==\r\n"
#define BEARER_ALONE "bixhPWJvYkB4LAFhdXRoPUJlYXJlciB0b2sBAQ==\r\n"
#define BEARER "a AUTHENTICATE OAUTHBEARER " BEARER_ALONE
#define XOAUTH "a AUTHENTICATE XOAUTH2 dXNlcj1ib2JAeAFhdXRoPUJlYXJlciB0b2sBAQ==\r\n"
#define DETAIL "+ eyJzdGF0dXMiOiI0MDEifQ==\r\n"
#define DENIED "a NO [AUTHENTICATIONFAILED] no\r\n"
#define NO_IR "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n"
#define IR "* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n"
#define ID_LINE                                                                                \
	"H1 ID (\"x-originating-ip\" \"192.0.2.1\" \"x-originating-port\" \"4000\" "           \
	"\"x-connected-ip\" \"192.0.2.9\" \"x-connected-port\" \"993\" \"x-proxy-ttl\" \"6\" " \
	"\"x-session-id\" \"H1234-1\" \"x-client-transport\" \"TLS\")\r\n"

static const struct script scripts[] = {
	{ "capabilities in the greeting", false, false, IR, "", BACK_READY, "a OK done\r\n", CRED,
		BACK_ACCEPTED, "a OK done\r\n", "" },
	{ "capabilities asked for", false, false,
		"* OK hi\r\n* CAPABILITY IMAP4rev2\r\nH1 OK done\r\n", "H1 CAPABILITY\r\n",
		BACK_READY, "a NO [AUTHENTICATIONFAILED] no\r\n", CRED, BACK_REFUSED,
		"a NO [AUTHENTICATIONFAILED] no\r\n", "" },
	{ "refused before the credential was asked for", false, false, NO_IR, "", BACK_READY,
		"a NO not here\r\n", "a AUTHENTICATE PLAIN\r\n", BACK_REFUSED, "a NO not here\r\n",
		"" },
	{ "success before the credential was asked for", false, false, NO_IR, "", BACK_READY,
		"a OK in\r\n", "a AUTHENTICATE PLAIN\r\n", BACK_FAILED, "", "" },
	{ "untagged lines go along, later bytes stay", false, false, IR, "", BACK_READY,
		"* CAPABILITY X\r\na OK in\r\n* 3 EXISTS\r\n", CRED, BACK_ACCEPTED,
		"* CAPABILITY X\r\na OK in\r\n", "* 3 EXISTS\r\n" },
	{ "SES-72 literal with the verdict inside", false, false, IR, "", BACK_READY,
		"* OK {9}\r\na OK x\r\nz\r\na NO real\r\n", CRED, BACK_REFUSED,
		"* OK {9}\r\na OK x\r\nz\r\na NO real\r\n", "" },
	{ "SES-71 continuation after the credential", false, false, IR, "", BACK_READY,
		"+ more\r\n", CRED, BACK_FAILED, "", "" },
	{ "foreign tag", false, false, IR, "", BACK_READY, "b OK in\r\n", CRED, BACK_FAILED, "",
		"" },
	{ "tag prefix is not the tag", false, false, IR, "", BACK_READY, "aa OK in\r\n", CRED,
		BACK_FAILED, "", "" },
	{ "preauth", false, false, "* PREAUTH hi\r\n", "", BACK_FAILED },
	{ "bye", false, false, "* BYE no\r\n", "", BACK_FAILED },
	{ "nonsense", false, false, "220 mail ESMTP\r\n", "", BACK_FAILED },
	{ "OK must be a word", false, false, "* OKAY\r\n", "", BACK_FAILED },
	{ "lone LF is no line end", false, false, "* OK hi\n", "", PROTO_MORE },
	{ "capability refused", false, false, "* OK hi\r\nH1 NO\r\n", "H1 CAPABILITY\r\n",
		BACK_FAILED },
	{ "starttls not listed", true, false, "* OK [CAPABILITY IMAP4rev1 XSTARTTLS] hi\r\n", "",
		BACK_FAILED },
	{ "starttls refused", true, false, "* OK [CAPABILITY starttls] hi\r\nH1 NO\r\n",
		"H1 STARTTLS\r\n", BACK_FAILED },
	{ "xclient with ID", false, true,
		"* OK [CAPABILITY IMAP4rev1 SASL-IR ID] hi\r\n* ID NIL\r\nH1 BAD whatever\r\n",
		ID_LINE, BACK_READY, "a OK in\r\n", CRED, BACK_ACCEPTED, "a OK in\r\n", "" },
	{ "xclient without ID", false, true, IR, "", BACK_READY, "a OK in\r\n", CRED, BACK_ACCEPTED,
		"a OK in\r\n", "" },
	{ "SES-70 LOGIN is replayed as PLAIN", false, false, IR, "", BACK_READY, "a OK in\r\n",
		CRED, BACK_ACCEPTED, "a OK in\r\n", "", SASL_LOGIN },
	{ "SES-71 LOGIN knows no second step", false, false, IR, "", BACK_READY, DETAIL DENIED,
		CRED, BACK_FAILED, "", "", SASL_LOGIN },
	{ "SES-37 OAUTHBEARER accepted", false, false, IR, "", BACK_READY, "a OK in\r\n* X\r\n",
		BEARER, BACK_ACCEPTED, "a OK in\r\n", "* X\r\n", SASL_OAUTHBEARER },
	{ "SES-37 XOAUTH2 accepted", false, false, IR, "", BACK_READY, "a OK in\r\n", XOAUTH,
		BACK_ACCEPTED, "a OK in\r\n", "", SASL_XOAUTH2 },
	{ "SES-71 OAUTHBEARER error", false, false, IR, "", BACK_READY, DETAIL DENIED,
		BEARER "AQ==\r\n", BACK_REFUSED, DENIED, "", SASL_OAUTHBEARER },
	{ "SES-71 XOAUTH2 error", false, false, IR, "", BACK_READY, DETAIL DENIED, XOAUTH "\r\n",
		BACK_REFUSED, DENIED, "", SASL_XOAUTH2 },
	{ "SES-71 a bare plus", false, false, IR, "", BACK_READY, "+\r\n" DENIED, XOAUTH "\r\n",
		BACK_REFUSED, DENIED, "", SASL_XOAUTH2 },
	{ "SES-71 second detail, OAUTHBEARER", false, false, IR, "", BACK_READY,
		DETAIL DETAIL DENIED, BEARER "AQ==\r\n", BACK_FAILED, "", "", SASL_OAUTHBEARER },
	{ "SES-71 second detail, XOAUTH2", false, false, IR, "", BACK_READY, DETAIL DETAIL DENIED,
		XOAUTH "\r\n", BACK_FAILED, "", "", SASL_XOAUTH2 },
	{ "SES-72 untagged lines around the detail", false, false, IR, "", BACK_READY,
		"* 1\r\n* {4}\r\n+ x\n\r\n" DETAIL "* 2\r\n" DENIED, BEARER "AQ==\r\n",
		BACK_REFUSED, "* 1\r\n* {4}\r\n+ x\n\r\n* 2\r\n" DENIED, "", SASL_OAUTHBEARER },
	{ "SES-71 a detail that ends like a literal", false, false, IR, "", BACK_READY,
		"+ try {99}\r\n" DENIED, XOAUTH "\r\n", BACK_REFUSED, DENIED, "", SASL_XOAUTH2 },
	{ "a success after the detail is one", false, false, IR, "", BACK_READY,
		DETAIL "a OK in\r\n", XOAUTH "\r\n", BACK_ACCEPTED, "a OK in\r\n", "",
		SASL_XOAUTH2 },
};

static const struct back_forward forward = { .client_ip = "192.0.2.1",
	.local_ip = "192.0.2.9",
	.client_port = 4000,
	.local_port = 993,
	.ttl = 6,
	.session_id = "H1234-1",
	.client_tls = true };

static struct back *make(bool starttls, bool forwards, const char *tag)
{
	struct back_params params = { .starttls = starttls,
		.host = "h",
		.client_tag = tag,
		.forward = forwards ? &forward : NULL };
	struct back *back;

	assert_int_equal(imap_back_ops.create(&params, &back), 0);
	return back;
}

static void make_credential(
	struct proto_credential *credential, const char *tag, enum sasl_mech mech)
{
	static const char *const messages[SASL_MECHS] = {
		[SASL_OAUTHBEARER] = "n,a=bob@x,\1auth=Bearer tok\1\1",
		[SASL_XOAUTH2] = "user=bob@x\1auth=Bearer tok\1\1",
	};

	*credential = (struct proto_credential){ .mech = mech };
	buf_init(&credential->message, 0, true);
	if (messages[mech]) {
		assert_int_equal(buf_append_str(&credential->message, messages[mech]), 0);
		assert_int_equal(sasl_parse(credential), 0);
	} else {
		assert_int_equal(sasl_make_plain(credential, VIEW_LIT("bob"), VIEW_LIT("pw")), 0);
	}
	snprintf(credential->tag, sizeof(credential->tag), "%s", tag);
}

static void expect(const char *name, const struct buf *buf, const char *text)
{
	if (buf->len != strlen(text) || memcmp(buf_view(buf).data, text, buf->len) != 0)
		fail_msg("%s: \"%.*s\" is not \"%s\"", name, (int)buf->len, buf_view(buf).data,
			text);
}

static void check(const struct script *script, size_t first)
{
	struct back *back = make(script->starttls, script->forward, "a");
	struct buf to_node = { 0 }, to_client = { 0 };
	struct proto_credential credential;
	struct view left;
	size_t consumed;
	int r = play_back(
		&imap_back_ops, back, view_str(script->before), first, &to_node, &to_client, &left);

	if (r != script->result)
		fail_msg("%s: result %d", script->name, r);
	expect(script->name, &to_node, script->sent_before);
	if (r == BACK_READY) {
		buf_clear(&to_node);
		make_credential(&credential, "a", script->mech);
		assert_int_equal(imap_back_ops.replay(back, &credential, left, &consumed, &to_node),
			PROTO_MORE);
		r = play_back(&imap_back_ops, back, view_str(script->after), first, &to_node,
			&to_client, &left);
		if (r != script->verdict)
			fail_msg("%s: verdict %d", script->name, r);
		expect(script->name, &to_node, script->sent_after);
		expect(script->name, &to_client, script->to_client);
		if (r == BACK_ACCEPTED)
			assert_int_equal(left.len, strlen(script->left));
		if (r == BACK_FAILED && imap_back_ops.credential_sent(back))
			assert_int_equal(imap_back_ops.failure(back), BACK_FAIL_PROTOCOL);
		proto_credential_wipe(&credential);
	}
	buf_fini(&to_node);
	buf_fini(&to_client);
	imap_back_ops.free(back);
}

static void test_scripts(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(scripts); i++) {
		size_t longest = MAX(
			strlen(scripts[i].before), scripts[i].after ? strlen(scripts[i].after) : 0);

		check(&scripts[i], SIZE_MAX);
		for (size_t first = 0; first < longest; first++)
			check(&scripts[i], first);
	}
}

static void test_section_9_starttls(void **state)
{
	struct back *back = make(true, false, "a");
	struct buf to_node = { 0 }, to_client = { 0 };
	struct view left;

	(void)state;
	assert_int_equal(play_back(&imap_back_ops, back,
				 VIEW_LIT("* OK [CAPABILITY STARTTLS SASL-IR] hi\r\nH1 OK go\r\n"),
				 SIZE_MAX, &to_node, &to_client, &left),
		BACK_STARTTLS);
	assert_int_equal(imap_back_ops.starttls_done(back, &to_node), PROTO_MORE);
	assert_int_equal(
		play_back(&imap_back_ops, back, VIEW_LIT("* CAPABILITY IMAP4rev1\r\nH2 OK\r\n"),
			SIZE_MAX, &to_node, &to_client, &left),
		BACK_READY);
	expect("starttls", &to_node, "H1 STARTTLS\r\nH2 CAPABILITY\r\n");
	buf_fini(&to_node);
	buf_fini(&to_client);
	imap_back_ops.free(back);
}

static void test_section_9_injection(void **state)
{
	struct back *back = make(true, false, "a");
	struct buf to_node = { 0 }, to_client = { 0 };
	struct view left;

	(void)state;
	assert_int_equal(play_back(&imap_back_ops, back,
				 VIEW_LIT("* OK [CAPABILITY STARTTLS] hi\r\nH1 OK go\r\n* X"),
				 SIZE_MAX, &to_node, &to_client, &left),
		BACK_FAILED);
	assert_int_equal(imap_back_ops.failure(back), BACK_FAIL_INJECTION);
	buf_fini(&to_node);
	imap_back_ops.free(back);
}

static void test_SES_57_left_over(void **state)
{
	static const struct {
		const char *unread;
		int result;
	} cases[] = { { "", PROTO_MORE }, { "* 1 EXISTS\r\n", PROTO_MORE },
		{ "a OK in\r\n", BACK_FAILED }, { "* 1 EX", BACK_FAILED },
		{ "* X {5}\r\n", BACK_FAILED }, { "x", BACK_FAILED } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct back *back = make(false, false, "a");
		struct buf to_node = { 0 }, to_client = { 0 };
		struct proto_credential credential;
		struct view left;
		size_t consumed;

		make_credential(&credential, "a", SASL_PLAIN);
		assert_int_equal(play_back(&imap_back_ops, back, VIEW_LIT(IR), SIZE_MAX, &to_node,
					 &to_client, &left),
			BACK_READY);
		assert_int_equal(imap_back_ops.replay(back, &credential, view_str(cases[i].unread),
					 &consumed, &to_node),
			cases[i].result);
		if (cases[i].result == BACK_FAILED)
			assert_int_equal(to_node.len, 0);
		proto_credential_wipe(&credential);
		buf_fini(&to_node);
		imap_back_ops.free(back);
	}
}

/* Without SASL-IR the credential waits for the prompt; what is there behind the prompt was sent
 * before the node saw it. */
static void test_SES_57_prompt(void **state)
{
	static const struct {
		const char *first, *second;
		int result;
		const char *sent;
	} cases[] = { { "+ \r\n", "a OK in\r\n", BACK_ACCEPTED, "AGJvYgBwdw==\r\n" },
		{ "+ \r\na OK in\r\n", "", BACK_FAILED, "" },
		{ "+ \r\n* x", "", BACK_FAILED, "" } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct back *back = make(false, false, "a");
		struct buf to_node = { 0 }, to_client = { 0 };
		struct proto_credential credential;
		struct view left;
		size_t consumed;
		int r;

		assert_int_equal(play_back(&imap_back_ops, back, VIEW_LIT(NO_IR), SIZE_MAX,
					 &to_node, &to_client, &left),
			BACK_READY);
		make_credential(&credential, "a", SASL_PLAIN);
		assert_int_equal(imap_back_ops.replay(back, &credential, left, &consumed, &to_node),
			PROTO_MORE);
		proto_credential_wipe(&credential);
		expect("command", &to_node, "a AUTHENTICATE PLAIN\r\n");
		buf_clear(&to_node);
		r = play_back(&imap_back_ops, back, view_str(cases[i].first), SIZE_MAX, &to_node,
			&to_client, &left);
		if (r == PROTO_MORE)
			r = play_back(&imap_back_ops, back, view_str(cases[i].second), SIZE_MAX,
				&to_node, &to_client, &left);
		assert_int_equal(r, cases[i].result);
		expect("credential", &to_node, cases[i].sent);
		buf_fini(&to_node);
		buf_fini(&to_client);
		imap_back_ops.free(back);
	}
}

/* ---- what the node offers (SES-70) ---- */

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

static void test_own_tags_differ_from_the_clients(void **state)
{
	struct back *back = make(false, false, "H1");
	struct buf to_node = { 0 }, to_client = { 0 };
	struct view left;

	(void)state;
	assert_int_equal(
		play_back(&imap_back_ops, back, VIEW_LIT("* OK hi\r\n* CAPABILITY X\r\nH2 OK\r\n"),
			SIZE_MAX, &to_node, &to_client, &left),
		BACK_READY);
	expect("tags", &to_node, "H2 CAPABILITY\r\n");
	buf_fini(&to_node);
	imap_back_ops.free(back);
}

static void test_SES_74_classes(void **state)
{
	static const struct {
		const char *reply;
		bool temporary;
	} cases[] = { { "a NO [UNAVAILABLE] x\r\n", true }, { "a NO [INUSE] x\r\n", true },
		{ "a NO [LIMIT] x\r\n", true }, { "a NO [AUTHENTICATIONFAILED] x\r\n", false },
		{ "a NO x\r\n", false }, { "a BAD x\r\n", false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct back *back = make(false, false, "a");
		struct buf to_node = { 0 }, to_client = { 0 };
		struct proto_credential credential;
		struct view left;
		size_t consumed;

		make_credential(&credential, "a", SASL_PLAIN);
		assert_int_equal(play_back(&imap_back_ops, back, VIEW_LIT(IR), SIZE_MAX, &to_node,
					 &to_client, &left),
			BACK_READY);
		assert_int_equal(imap_back_ops.replay(back, &credential, left, &consumed, &to_node),
			PROTO_MORE);
		assert_true(imap_back_ops.credential_sent(back));
		assert_int_equal(play_back(&imap_back_ops, back, view_str(cases[i].reply), SIZE_MAX,
					 &to_node, &to_client, &left),
			BACK_REFUSED);
		assert_int_equal(imap_back_ops.refused_temporarily(back), cases[i].temporary);
		proto_credential_wipe(&credential);
		buf_fini(&to_node);
		buf_fini(&to_client);
		imap_back_ops.free(back);
	}
}

static void test_section_3_limits(void **state)
{
	static char line[PROTO_NODE_LINE_BYTES + 100];
	struct back *back = make(false, false, "a");
	struct buf to_node = { 0 }, to_client = { 0 };
	struct view left;
	int r = PROTO_MORE;

	(void)state;
	memset(line, 'x', sizeof(line));
	memcpy(line, "* OK ", 5);
	assert_int_equal(play_back(&imap_back_ops, back, view_make(line, sizeof(line)), SIZE_MAX,
				 &to_node, &to_client, &left),
		BACK_FAILED);
	imap_back_ops.free(back);
	back = make(false, false, "a");
	assert_int_equal(play_back(&imap_back_ops, back, VIEW_LIT("* OK hi\r\n"), SIZE_MAX,
				 &to_node, &to_client, &left),
		PROTO_MORE);
	for (int i = 0; i < 300 && r == PROTO_MORE; i++)
		r = play_back(&imap_back_ops, back, VIEW_LIT("* 1 EXISTS\r\n"), SIZE_MAX, &to_node,
			&to_client, &left);
	assert_int_equal(r, BACK_FAILED);
	buf_fini(&to_node);
	imap_back_ops.free(back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_scripts),
		cmocka_unit_test(test_section_9_starttls),
		cmocka_unit_test(test_section_9_injection),
		cmocka_unit_test(test_SES_57_left_over),
		cmocka_unit_test(test_SES_57_prompt),
		cmocka_unit_test(test_SES_70_what_the_node_offers),
		cmocka_unit_test(test_SES_70_long),
		cmocka_unit_test(test_SES_70_another_identity),
		cmocka_unit_test(test_SES_70_asked_again_behind_ID),
		cmocka_unit_test(test_own_tags_differ_from_the_clients),
		cmocka_unit_test(test_SES_74_classes),
		cmocka_unit_test(test_section_3_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

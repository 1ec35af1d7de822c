// SPDX-License-Identifier: Apache-2.0
/* Conversations with a node; sessions.md sections 9, 10 and 12. */
#include "dialogue/imap_back.h"

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

#define BEARER_ALONE "bixhPWJvYkB4LAFhdXRoPUJlYXJlciB0b2sBAQ==\r\n"
#define BEARER "a AUTHENTICATE OAUTHBEARER " BEARER_ALONE
#define DETAIL "+ eyJzdGF0dXMiOiI0MDEifQ==\r\n"
#define DENIED "a NO [AUTHENTICATIONFAILED] no\r\n"
#define NO_IR "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n"

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
		cmocka_unit_test(test_own_tags_differ_from_the_clients),
		cmocka_unit_test(test_SES_74_classes),
		cmocka_unit_test(test_section_3_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

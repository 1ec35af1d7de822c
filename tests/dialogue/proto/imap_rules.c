// SPDX-License-Identifier: Apache-2.0
/* IMAP, rule by rule where a conversation is too little: every spelling of a command (SES-18),
 * every way to hide a capability in a word (SES-55), every mechanism's replay (SES-70). */
#include "dialogue/dialogue.h"
#include "proto/sasl.h"

#define MARK "zQxmARk"

/* ---- front ---- */

static struct front *make_front(bool plain)
{
	static const enum sasl_mech mechs[] = { SASL_PLAIN, SASL_LOGIN };
	struct front_params params = { .host = "h",
		.banner = "b",
		.capabilities = "X Y",
		.mechs = mechs,
		.mech_count = 2,
		.offer_starttls = plain,
		.permit_auth = !plain,
		.max_attempts = 100 };
	struct front *front;

	assert_int_equal(imap_front_ops.create(&params, &front), 0);
	return front;
}

/* What it answers to a whole input; *ret_result is the last result. The caller frees the text. */
static char *answer(const char *input, bool plain, int *ret_result)
{
	struct front *front = make_front(plain);
	struct proto_credential credential;
	struct view left = view_str(input);
	struct buf out = { 0 };
	char *text;
	int r;

	do {
		struct guarded g = guard(left);
		size_t consumed = 0;

		r = imap_front_ops.input(front, g.view, &consumed, &out);
		guard_free(&g);
		left = view_skip(left, consumed);
	} while (r == PROTO_AGAIN && left.len);
	if (r == FRONT_LOGIN) {
		imap_front_ops.take_credential(front, &credential);
		proto_credential_wipe(&credential);
	}
	text = view_dup(buf_view(&out));
	assert_non_null(text);
	buf_fini(&out);
	imap_front_ops.free(front);
	*ret_result = r;
	return text;
}

static char turn_case(char c)
{
	if (c >= 'a' && c <= 'z')
		return (char)(c - 'a' + 'A');
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/* Commands in lower case; the words behind the tag are spelled in 2^n ways. */
static void test_SES_18_commands_in_any_case(void **state)
{
	static const struct {
		const char *command, *rest;
		bool plain;
	} commands[] = { { "capability", "", false }, { "noop", "", false },
		{ "logout", "", false }, { "id", " nil", false }, { "starttls", "", true },
		{ "login", " bob pw", false }, { "authenticate plain", " AGJvYgBwdw==", false },
		{ "authenticate login", "", false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		char input[64], *expected, *got;
		size_t len = strlen(commands[i].command);
		int result, again;

		snprintf(input, sizeof(input), "a %s%s\r\n", commands[i].command, commands[i].rest);
		expected = answer(input, commands[i].plain, &result);
		assert_null(strstr(expected, "BAD"));
		assert_null(strstr(expected, "NO "));
		for (unsigned mask = 1; mask < 1u << MIN(len, (size_t)10); mask++) {
			for (size_t k = 0; k < len; k++)
				input[2 + k] = mask >> (k % 10) & 1
					? turn_case(commands[i].command[k])
					: commands[i].command[k];
			got = answer(input, commands[i].plain, &again);
			assert_int_equal(again, result);
			assert_string_equal(got, expected);
			free(got);
		}
		free(expected);
	}
}

/* Whatever a client says is not said back to it, but for its tag. */
static void test_SES_18_nothing_is_echoed(void **state)
{
	static const char *const inputs[] = { "a " MARK "\r\n", "a " MARK " x\r\n",
		"a NOOP " MARK "\r\n", "a CAPABILITY " MARK "\r\n", "a STARTTLS " MARK "\r\n",
		"a SELECT " MARK "\r\n", "a ID (\"name\" \"" MARK "\")\r\n", "a LOGIN " MARK "\r\n",
		"a LOGIN \"" MARK " pw\r\n", "a LOGIN \"\" " MARK "\r\n",
		"a AUTHENTICATE " MARK "\r\n", "a AUTHENTICATE " MARK " " MARK "\r\n",
		"a AUTHENTICATE PLAIN " MARK "\r\n", "a AUTHENTICATE PLAIN !" MARK "\r\n",
		"a AUTHENTICATE LOGIN " MARK "=\r\n", "a AUTHENTICATE PLAIN\r\n" MARK "\r\n",
		"a LOGIN {" MARK "}\r\n", "(" MARK "\r\n", MARK "\r\n", MARK "* NOOP\r\n",
		"a LOGIN {7}\r\n" MARK "{99999999}\r\n", "\x80" MARK "\r\n" };
	char *text, *at;
	int r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(inputs); i++) {
		for (int plain = 0; plain < 2; plain++) {
			text = answer(inputs[i], plain, &r);
			assert_true(*text || r != PROTO_MORE);
			if (strstr(text, MARK))
				fail_msg("\"%s\" answered \"%s\"", inputs[i], text);
			free(text);
		}
	}
	text = answer(MARK " NOOP\r\n", false, &r);
	assert_string_equal(text, MARK " OK Done.\r\n");
	free(text);
	text = answer(MARK " LOGIN x\r\n", false, &r);
	at = strstr(text, MARK);
	assert_ptr_equal(at, text);
	assert_null(strstr(at + 1, MARK));
	free(text);
}

/* ---- back ---- */

struct node {
	struct back *back;
	struct buf to_node, to_client;
	int result;
};

static void open_node(struct node *node, bool starttls, const char *tag)
{
	static const struct back_forward forward = { .client_ip = "192.0.2.1",
		.local_ip = "192.0.2.9",
		.client_port = 4000,
		.local_port = 993,
		.ttl = 6,
		.session_id = "H1234-1" };
	struct back_params params = {
		.starttls = starttls, .host = "h", .client_tag = tag, .forward = &forward
	};

	*node = (struct node){ 0 };
	assert_int_equal(imap_back_ops.create(&params, &node->back), 0);
}

static void close_node(struct node *node)
{
	imap_back_ops.free(node->back);
	buf_fini(&node->to_node);
	buf_fini(&node->to_client);
}

static void hear(struct node *node, const char *bytes)
{
	struct view left = view_str(bytes);

	do {
		struct guarded g = guard(left);
		size_t consumed = 0;

		node->result = imap_back_ops.input(
			node->back, g.view, &consumed, &node->to_node, &node->to_client);
		guard_free(&g);
		left = view_skip(left, consumed);
	} while (node->result == PROTO_AGAIN && left.len);
}

static bool sent(const struct node *node, const char *text)
{
	char *said = view_dup(buf_view(&node->to_node));
	bool found = strstr(said, text) != NULL;

	free(said);
	return found;
}

static void replay(struct node *node, enum sasl_mech mech, const char *message, size_t len)
{
	struct proto_credential credential = { .mech = mech };
	size_t consumed = 0;

	buf_init(&credential.message, 0, true);
	assert_int_equal(buf_append(&credential.message, message, len), 0);
	snprintf(credential.tag, sizeof(credential.tag), "a");
	buf_clear(&node->to_node);
	assert_int_equal(imap_back_ops.replay(node->back, &credential, view_make("", 0), &consumed,
				 &node->to_node),
		PROTO_MORE);
	proto_credential_wipe(&credential);
}

/* A capability is a whole word in any case, wherever it stands. */
static void test_SES_55_whole_words_in_any_case(void **state)
{
	static const struct {
		const char *words;
		bool starttls, sasl_ir, id;
	} lists[] = { { "IMAP4rev1 STARTTLS SASL-IR ID", true, true, true },
		{ "STARTTLS", true, false, false }, { "starttls sasl-ir id", true, true, true },
		{ "StartTLS X Sasl-Ir Y iD", true, true, true },
		{ "XSTARTTLS XSASL-IR XID", false, false, false },
		{ "STARTTLSX SASL-IRX IDX", false, false, false },
		{ "STARTTL SASL-I I", false, false, false },
		{ "STARTTLS=1 SASL-IR=1 ID=1", false, false, false },
		{ "X-STARTTLS AUTH=STARTTLS AUTH=ID", false, false, false },
		{ "STARTTLS,SASL-IR,ID", false, false, false }, { "imap4REV2", false, true, false },
		{ "IMAP4rev20 XIMAP4rev2", false, false, false },
		{ "  ID  STARTTLS ", true, false, true }, { "IDLE", false, false, false } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++) {
		for (int asked = 0; asked < 2; asked++) { /* in the greeting, or in an answer */
			char text[256];
			struct node node;

			snprintf(text, sizeof(text),
				asked ? "* OK hi\r\n* CAPABILITY %s\r\nH1 OK done\r\n"
				      : "* OK [CAPABILITY %s] hi\r\n",
				lists[i].words);
			open_node(&node, true, "a");
			hear(&node, text);
			assert_int_equal(sent(&node, " STARTTLS\r\n"), lists[i].starttls);
			assert_int_equal(node.result == BACK_FAILED, !lists[i].starttls);
			close_node(&node);
			open_node(&node, false, "a");
			hear(&node, text);
			assert_int_equal(sent(&node, " ID ("), lists[i].id);
			if (lists[i].id)
				hear(&node, asked ? "H2 OK done\r\n" : "H1 OK done\r\n");
			assert_int_equal(node.result, BACK_READY);
			replay(&node, SASL_PLAIN, "\0bob\0pw", 7);
			assert_int_equal(sent(&node, "AGJvYgBwdw=="), lists[i].sasl_ir);
			close_node(&node);
		}
	}
}

static void test_SES_70_mechanism_and_tag_of_the_replay(void **state)
{
	static const char bearer[] = "n,a=bob,\001auth=Bearer t\001\001";
	static const char xoauth[] = "user=bob\001auth=Bearer t\001\001";
	static const struct {
		enum sasl_mech mech;
		const char *message;
		size_t len;
		const char *sent;
	} replays[] = {
		{ SASL_PLAIN, "\0bob%admin\0pw", 13,
			"a AUTHENTICATE PLAIN AGJvYiVhZG1pbgBwdw==\r\n" },
		{ SASL_OAUTHBEARER, bearer, sizeof(bearer) - 1,
			"a AUTHENTICATE OAUTHBEARER bixhPWJvYiwBYXV0aD1CZWFyZXIgdAEB\r\n" },
		{ SASL_XOAUTH2, xoauth, sizeof(xoauth) - 1,
			"a AUTHENTICATE XOAUTH2 dXNlcj1ib2IBYXV0aD1CZWFyZXIgdAEB\r\n" },
	};
	struct proto_credential made = { .mech = SASL_LOGIN };
	struct node node;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(replays); i++) {
		open_node(&node, false, "a");
		hear(&node, "* OK [CAPABILITY SASL-IR] hi\r\n");
		assert_int_equal(node.result, BACK_READY);
		replay(&node, replays[i].mech, replays[i].message, replays[i].len);
		assert_int_equal(node.to_node.len, strlen(replays[i].sent));
		assert_true(sent(&node, replays[i].sent));
		hear(&node, "a OK [CAPABILITY X] as it is\r\nrest");
		assert_int_equal(node.result, BACK_ACCEPTED);
		assert_int_equal(node.to_client.len, strlen("a OK [CAPABILITY X] as it is\r\n"));
		close_node(&node);
	}
	/* The mechanism LOGIN's name and password go out as PLAIN. */
	buf_init(&made.message, 0, true);
	assert_int_equal(sasl_make_plain(&made, VIEW_LIT("bob"), VIEW_LIT("pw")), 0);
	snprintf(made.tag, sizeof(made.tag), "a");
	open_node(&node, false, "a");
	hear(&node, "* OK [CAPABILITY SASL-IR] hi\r\n");
	buf_clear(&node.to_node);
	assert_int_equal(imap_back_ops.replay(
				 node.back, &made, view_make("", 0), &(size_t){ 0 }, &node.to_node),
		PROTO_MORE);
	assert_true(sent(&node, "a AUTHENTICATE PLAIN AGJvYgBwdw==\r\n"));
	assert_false(sent(&node, "LOGIN"));
	proto_credential_wipe(&made);
	close_node(&node);
}

/* The client's tag is never one of ours, so the final reply is told from theirs. */
static void test_SES_70_own_tags_differ_from_the_client_s(void **state)
{
	struct node node;

	(void)state;
	open_node(&node, true, "H1");
	hear(&node, "* OK hi\r\n");
	assert_true(sent(&node, "H2 CAPABILITY\r\n"));
	hear(&node, "* CAPABILITY STARTTLS\r\nH1 OK done\r\n"); /* nobody used this tag */
	assert_int_not_equal(node.result, BACK_READY);
	assert_int_not_equal(node.result, BACK_STARTTLS);
	assert_false(sent(&node, "STARTTLS"));
	close_node(&node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_SES_18_commands_in_any_case),
		cmocka_unit_test(test_SES_18_nothing_is_echoed),
		cmocka_unit_test(test_SES_55_whole_words_in_any_case),
		cmocka_unit_test(test_SES_70_mechanism_and_tag_of_the_replay),
		cmocka_unit_test(test_SES_70_own_tags_differ_from_the_client_s),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

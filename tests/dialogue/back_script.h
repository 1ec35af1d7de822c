// SPDX-License-Identifier: Apache-2.0
/*
 * Conversations of a back with a node as a table, turn by turn. A test defines OPS and ANY_ANSWER
 * (a good answer of the protocol), includes this, and has an array `scripts`; each turn's input is
 * played whole, byte by byte, and cut in two at every offset.
 */
#ifndef TESTS_BACK_SCRIPT_H
#define TESTS_BACK_SCRIPT_H

#include "dialogue/dialogue.h"
#include "proto/sasl.h"

enum turn_kind { END, NODE, STARTTLS_DONE, REPLAY };

/* One turn: what the node sends, what the router says then. Turn by turn, as answers have no
 * tag. */
struct turn {
	enum turn_kind kind;
	const char *node;
	int result;
	const char *to_node, *to_client;
};

struct script {
	const char *name;
	bool starttls, forward;
	enum sasl_mech mech;
	struct turn turns[9];
	enum back_failure failure;
	bool temporarily, for_good;
};

static const struct back_forward forward = { .client_ip = "192.0.2.1",
	.local_ip = "2001:db8::9",
	.client_port = 4000,
	.local_port = 4190,
	.ttl = 6,
	.session_id = "H1234-1",
	.client_tls = true };

/* Of the client, for the backs that pass them on. */
static const char *helo = "";
static bool utf8;

static struct back *make(bool starttls, bool forwards)
{
	struct back_params params = { .starttls = starttls,
		.host = "h",
		.client_tag = "",
		.helo = helo,
		.utf8 = utf8,
		.forward = forwards ? &forward : NULL };
	struct back *back;

	assert_int_equal(OPS.create(&params, &back), 0);
	return back;
}

#define MESSAGE "AGJvYgBwdw==" /* of PLAIN: bob, pw */

static int replay(struct back *back, enum sasl_mech mech, struct view unread, struct buf *to_node)
{
	struct proto_credential credential = { .mech = mech };
	size_t consumed = 12345;
	int r;

	buf_init(&credential.message, 0, true);
	assert_int_equal(sasl_make_plain(&credential, VIEW_LIT("bob"), VIEW_LIT("pw")), 0);
	assert_false(OPS.credential_sent(back));
	r = OPS.replay(back, &credential, unread, &consumed, to_node);
	/* by LOGIN or USER it waits for the node */
	assert_int_equal(OPS.credential_sent(back),
		r == PROTO_MORE && memmem(to_node->data, to_node->len, MESSAGE, strlen(MESSAGE)));
	assert_int_equal(consumed, unread.len);
	proto_credential_wipe(&credential);
	return r;
}

static void expect(const char *name, const struct buf *buf, const char *text)
{
	if (buf->len != strlen(text) || memcmp(buf_view(buf).data, text, buf->len) != 0)
		fail_msg("%s: \"%.*s\" is not \"%s\"", name, (int)buf->len, buf_view(buf).data,
			text);
}

static int take_turn(struct back *back, const struct script *script, const struct turn *turn,
	size_t first, struct buf *to_node, struct buf *to_client)
{
	struct view left = { "", 0 };

	if (turn->kind == STARTTLS_DONE)
		return OPS.starttls_done(back, to_node);
	if (turn->kind == REPLAY)
		return replay(back, script->mech, left, to_node);
	return play_back(&OPS, back, view_str(turn->node), first, to_node, to_client, &left);
}

/* Cuts the input of every turn after its first bytes. */
static void check(const struct script *script, size_t first)
{
	struct back *back = make(script->starttls, script->forward);
	struct buf to_node = { 0 }, to_client = { 0 };
	int r = PROTO_MORE;

	for (const struct turn *turn = script->turns; turn->kind != END; turn++) {
		r = take_turn(back, script, turn, first, &to_node, &to_client);
		if (r != turn->result)
			fail_msg("%s (cut %zd), turn %zd: result %d", script->name, first,
				turn - script->turns, r);
		expect(script->name, &to_node, turn->to_node);
		expect(script->name, &to_client, turn->to_client);
		buf_clear(&to_node);
		buf_clear(&to_client);
	}
	if (r == BACK_FAILED)
		assert_int_equal(OPS.failure(back), script->failure);
	assert_int_equal(OPS.refused_temporarily(back), script->temporarily);
	assert_int_equal(OPS.refused_for_good(back), script->for_good);
	buf_fini(&to_node);
	buf_fini(&to_client);
	OPS.free(back);
}

static size_t longest_turn(const struct script *script)
{
	size_t longest = 0;

	for (const struct turn *turn = script->turns; turn->kind != END; turn++)
		longest = MAX(longest, strlen(turn->node));
	return longest;
}

static void run_scripts_whole(const struct script *scripts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check(&scripts[i], SIZE_MAX);
}

static void run_scripts_byte_by_byte(const struct script *scripts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		check(&scripts[i], 0);
}

static void run_scripts_cut_everywhere(const struct script *scripts, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t first = 1; first < longest_turn(&scripts[i]); first++)
			check(&scripts[i], first);
	}
}

/* One input, one result. */
static void check_failure(bool starttls, bool forwards, struct view before, struct view node,
	enum back_failure failure)
{
	struct back *back = make(starttls, forwards);
	struct buf to_node = { 0 }, to_client = { 0 };
	struct view left;

	if (before.len)
		assert_int_equal(
			play_back(&OPS, back, before, SIZE_MAX, &to_node, &to_client, &left),
			PROTO_MORE);
	buf_clear(&to_node);
	assert_int_equal(
		play_back(&OPS, back, node, SIZE_MAX, &to_node, &to_client, &left), BACK_FAILED);
	assert_int_equal(OPS.failure(back), failure);
	assert_int_equal(to_node.len, 0);
	assert_int_equal(to_client.len, 0);
	/* nothing comes after a failure */
	assert_int_equal(
		play_back(&OPS, back, VIEW_LIT(ANY_ANSWER), SIZE_MAX, &to_node, &to_client, &left),
		PROTO_MORE);
	assert_int_equal(replay(back, SASL_PLAIN, view_make("", 0), &to_node), BACK_FAILED);
	assert_int_equal(to_node.len, 0);
	buf_fini(&to_node);
	OPS.free(back);
}

#define SCRIPT_TESTS                                                      \
	static void test_scripts_whole(void **state)                      \
	{                                                                 \
		(void)state;                                              \
		run_scripts_whole(scripts, ARRAY_SIZE(scripts));          \
	}                                                                 \
	static void test_scripts_byte_by_byte(void **state)               \
	{                                                                 \
		(void)state;                                              \
		run_scripts_byte_by_byte(scripts, ARRAY_SIZE(scripts));   \
	}                                                                 \
	static void test_scripts_cut_everywhere(void **state)             \
	{                                                                 \
		(void)state;                                              \
		run_scripts_cut_everywhere(scripts, ARRAY_SIZE(scripts)); \
	}

#endif

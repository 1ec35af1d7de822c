// SPDX-License-Identifier: Apache-2.0
/*
 * Conversations with a front as a table. A test defines OPS and CAPABILITIES, includes this, and
 * has an array `scripts`; run_scripts_*() play it whole, byte by byte, and cut in two at every
 * offset.
 */
#ifndef TESTS_FRONT_SCRIPT_H
#define TESTS_FRONT_SCRIPT_H

#include "dialogue/dialogue.h"

/* What the client sends, what the router answers, and what the conversation came to. */
struct script {
	const char *name;
	const char *input, *output;
	/* of the last input() call: PROTO_MORE, FRONT_LOGIN, FRONT_CLOSE, FRONT_STARTTLS */
	int result;
	const char *message; /* of the credential, NULs written as | */
	unsigned attempts;
	bool plain; /* a leg on which credentials are not permitted, STARTTLS offered */
	bool trusted;
};

static struct front *make(bool plain, bool trusted)
{
	static const enum sasl_mech mechs[] = { SASL_PLAIN, SASL_LOGIN, SASL_OAUTHBEARER };
	struct front_params params = { .host = "h",
		.banner = "Hello.",
		.implementation = "Homing ManageSieve",
		.capabilities = CAPABILITIES,
		.client = "192.0.2.7",
		.mechs = mechs,
		.mech_count = 3,
		.offer_starttls = plain,
		.permit_auth = !plain,
		.trusted = trusted,
		.max_attempts = 3 };
	struct front *front;

	assert_int_equal(OPS.create(&params, &front), 0);
	return front;
}

static void expect(const char *name, const struct buf *out, const char *text)
{
	if (out->len != strlen(text) || memcmp(buf_view(out).data, text, out->len) != 0)
		fail_msg("%s: \"%.*s\" is not \"%s\"", name, (int)out->len, buf_view(out).data,
			text);
}

static void check_credential(struct front *front, const struct script *script)
{
	struct proto_credential credential;

	OPS.take_credential(front, &credential);
	for (size_t i = 0; i < credential.message.len; i++) {
		char *byte = credential.message.data + credential.message.start + i;

		*byte = *byte ? *byte : '|';
	}
	expect(script->name, &credential.message, script->message);
	assert_string_equal(credential.tag, "");
	proto_credential_wipe(&credential);
}

static void check(const struct script *script, size_t first)
{
	struct front *front = make(script->plain, script->trusted);
	struct buf out = { 0 };
	int r = play_front(&OPS, front, view_str(script->input), first, &out);

	if (r != script->result)
		fail_msg("%s (cut %zd): result %d", script->name, first, r);
	expect(script->name, &out, script->output);
	if (OPS.attempts(front) != script->attempts)
		fail_msg("%s: %u attempts", script->name, OPS.attempts(front));
	if (r == FRONT_LOGIN)
		check_credential(front, script);
	buf_fini(&out);
	OPS.free(front);
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
		for (size_t first = 1; first < strlen(scripts[i].input); first++)
			check(&scripts[i], first);
	}
}

/* Fills text with head, len bytes of filler, tail, and plays it in several cuts. */
static void check_long(const char *head, size_t len, const char *tail, int result,
	const char *output, unsigned attempts)
{
	struct buf text = { 0 };
	size_t cuts[] = { SIZE_MAX, 1, strlen(head), strlen(head) + len, strlen(head) + len + 1,
		strlen(head) + len + 2, strlen(head) + 16384, strlen(head) + 16387, 65535 };

	assert_int_equal(buf_append_str(&text, head), 0);
	for (size_t i = 0; i < len; i++)
		assert_int_equal(buf_append(&text, "A", 1), 0);
	assert_int_equal(buf_append_str(&text, tail), 0);
	for (size_t i = 0; i < ARRAY_SIZE(cuts); i++) {
		struct front *front = make(false, false);
		struct buf out = { 0 };

		assert_int_equal(play_front(&OPS, front, buf_view(&text), cuts[i], &out), result);
		expect(head, &out, output);
		assert_int_equal(OPS.attempts(front), attempts);
		if (result == FRONT_CLOSE)
			assert_int_equal(OPS.end(front), FRONT_END_TOO_LONG);
		buf_fini(&out);
		OPS.free(front);
	}
	buf_fini(&text);
}

/* login: what makes a credential; noop: a command, answered by noop_answer, for what goes on
 * after. */
struct reply_case {
	enum front_reply reply;
	int result;
	const char *text;
};

static __attribute__((unused)) void run_replies(const struct reply_case *cases, size_t count,
	const char *login, const char *noop, const char *noop_answer)
{
	for (size_t i = 0; i < count; i++) {
		struct front *front = make(false, false);
		struct proto_credential credential;
		struct buf out = { 0 };

		assert_int_equal(
			play_front(&OPS, front, view_str(login), SIZE_MAX, &out), FRONT_LOGIN);
		assert_int_equal(OPS.last_mech(front), SASL_PLAIN);
		OPS.take_credential(front, &credential);
		proto_credential_wipe(&credential);
		buf_clear(&out);
		assert_int_equal(OPS.reply(front, cases[i].reply, &out), cases[i].result);
		expect("reply", &out, cases[i].text);
		buf_clear(&out);
		if (cases[i].result == PROTO_AGAIN)
			play_front(&OPS, front, view_str(noop), SIZE_MAX, &out);
		expect("after it", &out, cases[i].result == PROTO_AGAIN ? noop_answer : "");
		buf_fini(&out);
		OPS.free(front);
	}
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

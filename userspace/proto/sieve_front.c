// SPDX-License-Identifier: Apache-2.0
/*
 * The router's side of ManageSieve before login (RFC 5804 section 2; sessions.md section 5.5).
 * Commands are parsed when complete; what a command is waiting for is in the scan state, so input
 * may be cut anywhere. Literals are taken without a prompt. Every reply text is in this file. Only
 * a credential leaves the front.
 */
#include "proto/front.h"
#include "proto/sieve_parse.h"

#define UNAVAILABLE "NO (TRYLATER) \"Service temporarily unavailable.\""
#define NOT_NOW "NO \"Not allowed before authentication.\""

struct front {
	struct front_base base;
	struct sieve_scan scan;
};

/* ---- replies ---- */

static int say_limit(struct front *front, struct buf *out)
{
	(void)front;
	return proto_say(out, "BYE \"Too many failed attempts.\"");
}

static int say_goodbye(struct front *front, enum front_reply reply, struct buf *out)
{
	int r;

	(void)front;
	switch (reply) {
	case FRONT_REPLY_UNAVAILABLE:
		r = proto_say(out, UNAVAILABLE);
		return r < 0 ? r : proto_say(out, "BYE (TRYLATER) \"Try again later.\"");
	case FRONT_REPLY_SHUTDOWN:
		return proto_say(out, "BYE \"Shutting down.\"");
	case FRONT_REPLY_TIMEOUT:
		return proto_say(out, "BYE \"Timed out.\"");
	default:
		return proto_say(out, "BYE \"Protocol violation.\"");
	}
}

static void forget(struct front *front)
{
	front->scan = (struct sieve_scan){ 0 };
}

static front_input_fn input_command, input_response;

static const struct front_dialect dialect = {
	.prompt_user = "{12}\r\n" SASL_USER_PROMPT,
	.prompt_password = "{12}\r\n" SASL_PASSWORD_PROMPT,
	.prompt_empty = "\"\"",
	.auth_failed = "NO \"Authentication failed.\"",
	.unavailable = UNAVAILABLE,
	.bad_base64 = "NO \"Invalid base64.\"",
	.long_response = "NO \"Response too long.\"",
	.cancelled = "NO \"Authentication cancelled.\"",
	.privacy = "NO (ENCRYPT-NEEDED) \"TLS is required before authentication.\"",
	.limit = say_limit,
	.goodbye = say_goodbye,
	.forget = forget,
	.command = input_command,
	.response = input_response,
};

static int sieve_front_create(const struct front_params *params, struct front **ret_front)
{
	return front_base_create(sizeof(**ret_front), &dialect, params, ret_front);
}

static int put_mechs(const struct front *front, struct buf *out)
{
	int r = buf_append_str(out, "\"SASL\" \"");

	for (size_t i = 0; r == 0 && front->base.permit_auth && i < front->base.mech_count; i++)
		r = buf_printf(out, "%s%s", i ? " " : "", sasl_mech_name(front->base.mechs[i]));
	return r < 0 ? r : proto_say(out, "\"");
}

/* The capability block and its OK. The configuration keeps quotes and backslashes out of texts. */
static int sieve_front_greet(struct front *front, struct buf *out)
{
	const struct front_base *base = &front->base;
	int r = buf_printf(
		out, "\"IMPLEMENTATION\" \"%s\"\r\n\"VERSION\" \"1.0\"\r\n", base->implementation);

	if (r == 0)
		r = put_mechs(front, out);
	if (r >= 0)
		r = buf_printf(out, "\"SIEVE\" \"%s\"\r\n", base->capabilities);
	if (r == 0 && base->offer_starttls)
		r = buf_append_str(out, "\"STARTTLS\"\r\n");
	if (r == 0 && base->trusted)
		r = buf_append_str(out, "\"XCLIENT\" \"" XCLIENT_NAMES "\"\r\n");
	if (r == 0)
		r = buf_printf(out, "OK \"%s\"\r\n", base->banner);
	return r;
}

/* ---- commands ---- */

static int unparsable(struct front *front, struct buf *out)
{
	return front_base_count(front, out, proto_say(out, NOT_NOW));
}

static bool at_end(struct sieve_cursor *args)
{
	struct view text;

	return sieve_next(args, &text) == SIEVE_END;
}

static int command_authenticate(struct front *front, struct sieve_cursor *args, struct buf *out)
{
	struct view name, response;
	enum sieve_token initial;
	int mech, step;

	if (!sieve_is_string(sieve_next(args, &name)))
		return unparsable(front, out);
	initial = sieve_next(args, &response);
	if (initial != SIEVE_END && !(sieve_is_string(initial) && at_end(args)))
		return unparsable(front, out);
	if (!front->base.permit_auth)
		return front_base_want_privacy(front, out);
	mech = front_base_mech(front, name);
	if (mech < 0)
		return front_base_unsupported(front, out, "NO \"Mechanism not supported.\"");
	step = sasl_exchange_start(&front->base.sasl, (enum sasl_mech)mech);
	if (initial != SIEVE_END)
		step = sasl_exchange_response(&front->base.sasl, response);
	return front_base_step(front, step, out);
}

static int command_capability(struct front *front, struct sieve_cursor *args, struct buf *out)
{
	int r;

	if (!at_end(args))
		return unparsable(front, out);
	r = sieve_front_greet(front, out);
	return r < 0 ? r : PROTO_AGAIN;
}

static int put_tag(struct buf *out, struct view tag, bool quoted)
{
	struct view rest = tag;
	size_t len = 0;
	int r;

	for (; quoted && rest.len; len++)
		(void)sieve_unescape(&rest);
	r = buf_printf(out, "OK (TAG {%zu}\r\n", quoted ? len : tag.len);
	if (r == 0 && !quoted)
		r = buf_append_view(out, tag);
	while (r == 0 && quoted && tag.len) {
		char c = sieve_unescape(&tag);

		r = buf_append(out, &c, 1);
	}
	return r < 0 ? r : proto_say(out, ") \"Done.\"");
}

static int command_noop(struct front *front, struct sieve_cursor *args, struct buf *out)
{
	struct view tag;
	enum sieve_token token = sieve_next(args, &tag);

	if (token == SIEVE_END)
		return proto_say(out, "OK \"Done.\"");
	if (!sieve_is_string(token) || !at_end(args))
		return unparsable(front, out);
	return put_tag(out, tag, token == SIEVE_QUOTED);
}

static int command_logout(struct front *front, struct sieve_cursor *args, struct buf *out)
{
	if (!at_end(args))
		return unparsable(front, out);
	return front_base_close(front, FRONT_END_QUIT, proto_say(out, "OK \"Closing.\""));
}

static int command_starttls(struct front *front, struct sieve_cursor *args, struct buf *out)
{
	if (!at_end(args))
		return unparsable(front, out);
	if (!front->base.offer_starttls)
		return proto_say(out, "NO \"STARTTLS not available.\"");
	front->base.state = FRONT_WANTS_TLS;
	return FRONT_STARTTLS;
}

/* NAME=VALUE words as Dovecot's proxies write them: plain values, which are no xtext. All or
 * nothing. */
static int command_xclient(struct front *front, struct sieve_cursor *args, struct buf *out)
{
	struct front_peer peer = front->base.peer;
	struct view word;

	while (sieve_next(args, &word) != SIEVE_END) {
		const char *equals = word.len ? memchr(word.data, '=', word.len) : NULL;
		size_t len = equals ? (size_t)(equals - word.data) : 0;

		if (!len ||
			front_peer_set(&peer, view_make(word.data, len), view_skip(word, len + 1)) <
				0)
			return proto_say(out, "NO");
	}
	front->base.peer = peer;
	return proto_say(out, "OK");
}

static const struct command {
	const char *name;
	int (*run)(struct front *front, struct sieve_cursor *args, struct buf *out);
	bool trusted_only; /* unknown to others (SES-62) */
} commands[] = {
	{ "AUTHENTICATE", command_authenticate, false },
	{ "CAPABILITY", command_capability, false },
	{ "NOOP", command_noop, false },
	{ "LOGOUT", command_logout, false },
	{ "STARTTLS", command_starttls, false },
	{ "XCLIENT", command_xclient, true },
};

static int run_command(struct front *front, struct view text, struct buf *out)
{
	struct sieve_cursor cursor = { text, false };
	struct view name;

	if (sieve_next(&cursor, &name) != SIEVE_ATOM || !sieve_is_well_formed(cursor))
		return unparsable(front, out);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (view_eq_nocase(name, view_str(commands[i].name)) &&
			(front->base.trusted || !commands[i].trusted_only))
			return commands[i].run(front, &cursor, out);
	}
	return proto_say(out, NOT_NOW);
}

static int too_long(struct front *front, struct buf *out)
{
	return front_base_close(
		front, FRONT_END_TOO_LONG, proto_say(out, "BYE \"Command too long.\""));
}

static int input_command(struct front *front, struct view in, size_t *ret_consumed, struct buf *out)
{
	static const struct sieve_limits limits = { PROTO_INPUT_BYTES, PROTO_INPUT_BYTES, false };
	struct view text;

	switch (sieve_scan(&front->scan, in, &limits)) {
	case SIEVE_SCAN_MORE:
		return PROTO_MORE;
	case SIEVE_SCAN_DONE:
		*ret_consumed = front->scan.at;
		text = view_make(in.data, front->scan.content);
		front->scan = (struct sieve_scan){ 0 };
		return run_command(front, text, out);
	default:
		*ret_consumed = in.len;
		return too_long(front, out);
	}
}

/* A string, or a bare line. */
static int take_response(struct front *front, struct view line, struct buf *out)
{
	struct sieve_cursor cursor = { line, false };
	struct view text;

	if (!sieve_is_string(sieve_next(&cursor, &text)) || !at_end(&cursor))
		text = line;
	return front_base_step(front, sasl_exchange_response(&front->base.sasl, text), out);
}

static int input_response(
	struct front *front, struct view in, size_t *ret_consumed, struct buf *out)
{
	/* two bytes for the quotes */
	static const struct sieve_limits limits = { PROTO_INPUT_BYTES, PROTO_SASL_BASE64_BYTES + 2,
		false };
	struct view line;
	int r;

	switch (sieve_scan(&front->scan, in, &limits)) {
	case SIEVE_SCAN_MORE:
		return PROTO_MORE;
	case SIEVE_SCAN_DONE:
		*ret_consumed = front->scan.at;
		line = view_make(in.data, front->scan.content);
		front->scan = (struct sieve_scan){ 0 };
		return take_response(front, line, out);
	case SIEVE_SCAN_LINE_TOO_LONG:
		*ret_consumed = front->scan.at;
		r = front_base_step(front, SASL_FAIL_TOO_LONG, out);
		if (r == PROTO_AGAIN)
			front->base.state = FRONT_DISCARD;
		return r;
	default:
		*ret_consumed = in.len;
		return too_long(front, out);
	}
}

/* ---- what the caller tells ---- */

static int sieve_front_starttls_ok(struct front *front, struct buf *out)
{
	(void)front;
	return MIN(proto_say(out, "OK \"Begin TLS.\""), 0);
}

const struct front_ops sieve_front_ops = {
	.name = "managesieve",
	.create = sieve_front_create,
	.free = front_base_free,
	.greet = sieve_front_greet,
	.input = front_base_input,
	.starttls_ok = sieve_front_starttls_ok,
	.starttls_done = front_base_starttls_done,
	.take_credential = front_base_take_credential,
	FRONT_BASE_OPS,
};

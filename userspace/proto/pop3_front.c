// SPDX-License-Identifier: Apache-2.0
/*
 * The router's side of POP3 before login (RFC 1939, RFC 2449, RFC 5034; sessions.md section 5.3).
 * One command is one line; its end may be a lone LF. Every reply text is in this file. Only a
 * credential leaves the front.
 */
#include "proto/line.h"

#include <errno.h>

#define AUTH_FAILED "-ERR [AUTH] Authentication failed."
#define UNAVAILABLE "-ERR [SYS/TEMP] Service temporarily unavailable."
#define BAD_BASE64 "-ERR Invalid base64."
#define COMMAND_BYTES 16
#define NAME_BYTES 16384

struct front {
	struct front_base base;
	struct line_scan scan;
	struct buf user; /* of USER; len 0: none */
	bool has_user, utf8;
};

/* ---- replies ---- */

static void forget_user(struct front *front)
{
	buf_fini(&front->user);
	front->has_user = false;
}

static int say_goodbye(struct front *front, enum front_reply reply, struct buf *out)
{
	(void)front;
	switch (reply) {
	case FRONT_REPLY_UNAVAILABLE:
		return proto_say(out, UNAVAILABLE);
	case FRONT_REPLY_SHUTDOWN:
		return proto_say(out, "-ERR [SYS/TEMP] Shutting down.");
	case FRONT_REPLY_TIMEOUT: /* RFC 1939 section 3: closed without a word */
		return 0;
	default:
		return proto_say(out, "-ERR Protocol violation.");
	}
}

static const struct front_dialect dialect = {
	.prompt_user = "+ " SASL_USER_PROMPT,
	.prompt_password = "+ " SASL_PASSWORD_PROMPT,
	.prompt_empty = "+ ",
	.auth_failed = AUTH_FAILED,
	.unavailable = UNAVAILABLE,
	.bad_base64 = BAD_BASE64,
	.long_response = "-ERR Response too long.",
	.cancelled = "-ERR Authentication cancelled.",
	.privacy = "-ERR TLS is required before authentication.",
	/* At the limit POP3 says nothing more. */
	.goodbye = say_goodbye,
	.forget = forget_user,
};

static int pop3_front_create(const struct front_params *params, struct front **ret_front)
{
	int r = front_base_create(sizeof(**ret_front), &dialect, params, ret_front);

	if (r == 0)
		buf_init(&(*ret_front)->user, NAME_BYTES, true);
	return r;
}

static void pop3_front_free(struct front *front)
{
	if (front)
		forget_user(front);
	front_base_free(front);
}

static int pop3_front_greet(struct front *front, struct buf *out)
{
	return buf_printf(
		out, "+OK %s%s\r\n", front->base.banner, front->base.trusted ? " [XCLIENT]" : "");
}

/* ---- commands ---- */

static int command_capa(struct front *front, struct view args, struct buf *out)
{
	bool permitted = front->base.permit_auth;
	int r = buf_append_str(out, "+OK Capabilities\r\n");

	(void)args;
	if (r == 0 && permitted)
		r = buf_append_str(out, "USER\r\n");
	if (r == 0 && permitted && front->base.mech_count) {
		r = buf_append_str(out, "SASL");
		if (r == 0)
			r = front_base_put_mechs(&front->base, out, " ");
		if (r == 0)
			r = buf_append_str(out, "\r\n");
	}
	if (r == 0 && front->base.offer_starttls)
		r = buf_append_str(out, "STLS\r\n");
	if (r == 0 && front->base.trusted)
		r = buf_append_str(out, "XCLIENT\r\n");
	if (r == 0)
		r = buf_append_str(out,
			"TOP\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\n"
			"UIDL\r\nUTF8\r\nIMPLEMENTATION Homing\r\n");
	return r < 0 ? r : proto_say(out, ".");
}

static int command_noop(struct front *front, struct view args, struct buf *out)
{
	(void)front;
	(void)args;
	return proto_say(out, "+OK");
}

static int command_utf8(struct front *front, struct view args, struct buf *out)
{
	(void)args;
	front->utf8 = true;
	return proto_say(out, "+OK");
}

static int command_quit(struct front *front, struct view args, struct buf *out)
{
	(void)args;
	return front_base_close(front, FRONT_END_QUIT, proto_say(out, "+OK Closing."));
}

static int command_stls(struct front *front, struct view args, struct buf *out)
{
	(void)args;
	if (!front->base.offer_starttls)
		return proto_say(out, "-ERR STLS not available.");
	front->base.state = FRONT_WANTS_TLS;
	return FRONT_STARTTLS;
}

static int command_apop(struct front *front, struct view args, struct buf *out)
{
	(void)front;
	(void)args;
	return proto_say(out, "-ERR APOP not supported.");
}

static int command_user(struct front *front, struct view args, struct buf *out)
{
	if (!front->base.permit_auth)
		return front_base_want_privacy(front, out);
	forget_user(front);
	args = line_trim(args);
	if (!args.len)
		return proto_say(out, "-ERR Name missing.");
	if (args.len > NAME_BYTES)
		return front_base_fail(front, out, AUTH_FAILED);
	front->has_user = true;
	return buf_append_view(&front->user, args) < 0 ? -ENOMEM : proto_say(out, "+OK");
}

/* The secret is everything behind one blank. */
static int command_pass(struct front *front, struct view secret, struct buf *out)
{
	int r;

	if (!front->base.permit_auth)
		return front_base_want_privacy(front, out);
	if (!front->has_user)
		return proto_say(out, "-ERR USER first.");
	front_base_attempt(front, SASL_PLAIN);
	r = sasl_make_plain(&front->base.sasl.credential, buf_view(&front->user), secret);
	return front_base_step(front, r == -EINVAL ? SASL_FAIL_AUTH : r, out);
}

static int list_mechs(struct front *front, struct buf *out)
{
	int r = buf_append_str(out, "+OK\r\n");

	for (size_t i = 0; r == 0 && i < front->base.mech_count; i++)
		r = buf_printf(out, "%s\r\n", sasl_mech_name(front->base.mechs[i]));
	return r < 0 ? r : proto_say(out, ".");
}

static int command_auth(struct front *front, struct view args, struct buf *out)
{
	struct view name, response;
	int mech, step;

	args = line_trim(args);
	name = line_word(&args);
	response = line_word(&args);
	if (!front->base.permit_auth)
		return front_base_want_privacy(front, out);
	if (!name.len)
		return list_mechs(front, out);
	mech = front_base_mech(front, name);
	if (mech < 0)
		return front_base_unsupported(front, out, "-ERR Mechanism not supported.");
	step = sasl_exchange_start(&front->base.sasl, (enum sasl_mech)mech);
	if (response.len) {
		if (args.len) /* more words */
			return front_base_fail(front, out, BAD_BASE64);
		if (view_eq(response, VIEW_LIT("="))) /* RFC 5034 section 4 */
			response.len = 0;
		step = sasl_exchange_response(&front->base.sasl, response);
	}
	return front_base_step(front, step, out);
}

static int unknown(struct buf *out)
{
	return proto_say(out, "-ERR Unknown command.");
}

static int command_xclient(struct front *front, struct view args, struct buf *out)
{
	if (!front->base.trusted)
		return unknown(out);
	if (xclient_parse(args, false, &front->base.peer) < 0)
		return proto_say(out, "-ERR Bad attribute value.");
	return proto_say(out, "+OK");
}

static const struct command {
	const char *name;
	int (*run)(struct front *front, struct view args, struct buf *out);
} commands[] = {
	{ "CAPA", command_capa },
	{ "NOOP", command_noop },
	{ "UTF8", command_utf8 },
	{ "QUIT", command_quit },
	{ "STLS", command_stls },
	{ "APOP", command_apop },
	{ "USER", command_user },
	{ "PASS", command_pass },
	{ "AUTH", command_auth },
	{ "XCLIENT", command_xclient },
};

/* A line that no command can be: counted (SES-16). */
static bool is_unparsable(struct view line, struct view word)
{
	return !word.len || word.len > COMMAND_BYTES || memchr(line.data, 0, line.len) ||
		line_has_control(word);
}

static int run_command(struct front *front, struct view line, struct buf *out)
{
	struct view rest = line, word;

	while (rest.len && rest.data[0] != ' ')
		rest = view_skip(rest, 1);
	word = view_make(line.data, line.len - rest.len);
	rest = view_skip(rest, 1); /* exactly one blank: the rest of PASS is kept as it is */
	if (is_unparsable(line, word))
		return front_base_fail(front, out, "-ERR Unknown command.");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (view_eq_nocase(word, view_str(commands[i].name)))
			return commands[i].run(front, rest, out);
	}
	return unknown(out);
}

/* ---- input ---- */

static int input_command(struct front *front, struct view in, size_t *ret_consumed, struct buf *out)
{
	struct view line;
	int r = line_take(&front->scan, in, PROTO_INPUT_BYTES - 2, ret_consumed, &line);

	if (r == LINE_TOO_LONG)
		return front_base_close(
			front, FRONT_END_TOO_LONG, proto_say(out, "-ERR Command too long."));
	if (r != LINE_DONE)
		return r == LINE_DROPPED ? PROTO_AGAIN : PROTO_MORE;
	return front_base_command(front, out, run_command(front, line_chomp(line), out));
}

static int input_response(
	struct front *front, struct view in, size_t *ret_consumed, struct buf *out)
{
	struct view line;
	int r = line_take(&front->scan, in, PROTO_SASL_BASE64_BYTES, ret_consumed, &line);

	if (r == LINE_TOO_LONG)
		return front_base_step(front, SASL_FAIL_TOO_LONG, out);
	if (r != LINE_DONE)
		return r == LINE_DROPPED ? PROTO_AGAIN : PROTO_MORE;
	return front_base_step(
		front, sasl_exchange_response(&front->base.sasl, line_chomp(line)), out);
}

static int pop3_front_input(
	struct front *front, struct view in, size_t *ret_consumed, struct buf *out)
{
	*ret_consumed = 0;
	if (!in.len)
		return PROTO_MORE;
	switch (front->base.state) {
	case FRONT_COMMAND:
		return input_command(front, in, ret_consumed, out);
	case FRONT_RESPONSE:
		return input_response(front, in, ret_consumed, out);
	default: /* the caller answers what it was told first */
		return PROTO_MORE;
	}
}

/* ---- what the caller tells ---- */

static int pop3_front_starttls_ok(struct front *front, struct buf *out)
{
	(void)front;
	return MIN(proto_say(out, "+OK Begin TLS."), 0);
}

static void pop3_front_starttls_done(struct front *front, bool permit_auth)
{
	front->utf8 = false;
	front_base_starttls_done(front, permit_auth);
}

static bool pop3_front_utf8(const struct front *front)
{
	return front->utf8;
}

const struct front_ops pop3_front_ops = {
	.name = "pop3",
	.create = pop3_front_create,
	.free = pop3_front_free,
	.greet = pop3_front_greet,
	.input = pop3_front_input,
	.starttls_ok = pop3_front_starttls_ok,
	.starttls_done = pop3_front_starttls_done,
	.take_credential = front_base_take_credential,
	FRONT_BASE_OPS,
	.utf8 = pop3_front_utf8,
};

// SPDX-License-Identifier: Apache-2.0
/*
 * The router's side of IMAP before login (RFC 9051 section 6.1, 6.2; sessions.md section 5.2).
 * Commands are parsed when complete; what a command is waiting for is in the scan state, so input
 * may be cut anywhere. Every reply text is in this file. Only a credential leaves the front.
 */
#include "base/secret.h"
#include "proto/front.h"
#include "proto/imap_parse.h"

#include <errno.h>
#include <stdlib.h>

#define AUTH_FAILED "NO [AUTHENTICATIONFAILED] Authentication failed."
#define UNAVAILABLE "NO [UNAVAILABLE] Service temporarily unavailable."

struct front {
	struct front_base base;
	struct imap_scan scan;
	char tag[PROTO_TAG_BYTES + 1]; /* of the attempt, or of the STARTTLS */
};

/* ---- replies ---- */

/* To the command whose tag is noted. */
static int answer(struct front *front, struct buf *out, const char *text)
{
	int r = buf_printf(out, "%s ", *front->tag ? front->tag : "*");

	return r < 0 ? r : proto_say(out, text);
}

static int say_limit(struct front *front, struct buf *out)
{
	(void)front;
	return proto_say(out, "* BYE Too many failed attempts.");
}

static int say_goodbye(struct front *front, enum front_reply reply, struct buf *out)
{
	int r;

	switch (reply) {
	case FRONT_REPLY_UNAVAILABLE:
		r = answer(front, out, UNAVAILABLE);
		return r < 0 ? r : proto_say(out, "* BYE Try again later.");
	case FRONT_REPLY_SHUTDOWN:
		return proto_say(out, "* BYE Shutting down.");
	case FRONT_REPLY_TIMEOUT:
		return proto_say(out, "* BYE Timed out.");
	default:
		return proto_say(out, "* BYE Protocol violation.");
	}
}

static void forget(struct front *front)
{
	front->scan = (struct imap_scan){ 0 };
}

static front_input_fn input_command, input_response;

static const struct front_dialect dialect = {
	.prompt_user = "+ " SASL_USER_PROMPT,
	.prompt_password = "+ " SASL_PASSWORD_PROMPT,
	.prompt_empty = "+ ",
	.auth_failed = AUTH_FAILED,
	.unavailable = UNAVAILABLE,
	.bad_base64 = "BAD Invalid base64.",
	.long_response = "BAD Response too long.",
	.cancelled = "BAD Authentication cancelled.",
	.privacy = "NO [PRIVACYREQUIRED] TLS is required before authentication.",
	.answer = answer,
	.limit = say_limit,
	.goodbye = say_goodbye,
	.forget = forget,
	.command = input_command,
	.response = input_response,
};

static int imap_front_create(const struct front_params *params, struct front **ret_front)
{
	return front_base_create(sizeof(**ret_front), &dialect, params, ret_front);
}

static int put_capabilities(const struct front *front, struct buf *out)
{
	int r = buf_append_str(out, front->base.capabilities);

	if (r == 0 && front->base.permit_auth)
		r = front_base_put_mechs(&front->base, out, " AUTH=");
	if (r == 0 && !front->base.permit_auth)
		r = buf_append_str(out, " LOGINDISABLED");
	if (r == 0 && front->base.offer_starttls)
		r = buf_append_str(out, " STARTTLS");
	return r;
}

static int imap_front_greet(struct front *front, struct buf *out)
{
	int r = buf_append_str(out, "* OK [CAPABILITY ");

	if (r == 0)
		r = put_capabilities(front, out);
	if (r == 0)
		r = buf_append_str(out, "] ");
	if (r == 0)
		r = proto_say(out, front->base.banner);
	return MIN(r, 0);
}

/* ---- commands ---- */

/* A client waits for an answer with its tag, so untagged is only what came without one. */
static int syntax_error(struct front *front, struct buf *out)
{
	return front_base_fail(front, out, "BAD Syntax error.");
}

static int command_authenticate(struct front *front, struct imap_cursor *args, struct buf *out)
{
	struct view name, response = { NULL, 0 };
	bool initial = false;
	int mech, step;

	if (!imap_take_space(args) || !imap_take_atom(args, &name))
		return syntax_error(front, out);
	if (imap_take_space(args)) {
		initial = imap_take_response(args, &response);
		if (!initial && !imap_at_end(args))
			return syntax_error(front, out);
	}
	if (!imap_at_end(args))
		return syntax_error(front, out);
	if (!front->base.permit_auth)
		return front_base_want_privacy(front, out);
	mech = front_base_mech(front, name);
	if (mech < 0)
		return front_base_unsupported(front, out, "NO Mechanism not supported.");
	step = sasl_exchange_start(&front->base.sasl, (enum sasl_mech)mech);
	if (initial) {
		if (view_eq(response, VIEW_LIT("=")))
			response.len = 0;
		step = sasl_exchange_response(&front->base.sasl, response);
	}
	return front_base_step(front, step, out);
}

static int login_command(
	struct front *front, struct view user, struct view password, struct buf *out)
{
	int r = sasl_make_plain(&front->base.sasl.credential, user, password);

	return front_base_step(front, r == -EINVAL ? SASL_FAIL_AUTH : r, out);
}

static int command_login(struct front *front, struct imap_cursor *args, struct buf *out)
{
	struct view user, password;
	char *scratch;
	bool ok;
	int r;

	if (!front->base.permit_auth)
		return front_base_want_privacy(front, out);
	scratch = malloc(2 * IMAP_ARGUMENT_BYTES);
	if (!scratch)
		return -ENOMEM;
	front_base_attempt(front, SASL_PLAIN);
	if (imap_at_end(args)) {
		r = front_base_fail(front, out, AUTH_FAILED); /* missing argument */
	} else if (!imap_take_space(args) || !imap_take_astring(args, scratch, &user)) {
		r = syntax_error(front, out);
	} else if (imap_at_end(args)) {
		r = front_base_fail(front, out, AUTH_FAILED);
	} else {
		ok = imap_take_space(args) &&
			imap_take_astring(args, scratch + IMAP_ARGUMENT_BYTES, &password) &&
			imap_at_end(args);
		r = ok ? login_command(front, user, password, out) : syntax_error(front, out);
	}
	secret_wipe(scratch, 2 * IMAP_ARGUMENT_BYTES);
	free(scratch);
	return r;
}

static int command_capability(struct front *front, struct imap_cursor *args, struct buf *out)
{
	int r;

	(void)args;
	r = buf_append_str(out, "* CAPABILITY ");
	if (r == 0)
		r = put_capabilities(front, out);
	if (r == 0)
		r = buf_append(out, "\r\n", 2);
	return r < 0 ? r : answer(front, out, "OK Done.");
}

static int command_noop(struct front *front, struct imap_cursor *args, struct buf *out)
{
	(void)args;
	return answer(front, out, "OK Done.");
}

/* A trusted peer's field (SES-61); a bad value is as if it had not been given. */
static void take_id_field(struct front *front, struct view name, struct view value)
{
	static const char *const fields[][2] = { { "x-originating-ip", "ADDR" },
		{ "x-originating-port", "PORT" }, { "x-connected-ip", "DESTADDR" },
		{ "x-connected-port", "DESTPORT" }, { "x-proxy-ttl", "TTL" },
		{ "x-session-id", "SESSION" } };

	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		if (view_eq_nocase(name, view_str(fields[i][0])) &&
			front_peer_set(&front->base.peer, view_str(fields[i][1]), value) < 0)
			return;
	}
}

/* SP "(" string SP nstring ... ")": fields are taken as far as they are well formed. NIL as a value
 * is one that was not given. */
static void take_id(struct front *front, struct imap_cursor *args)
{
	char *scratch = malloc(2 * IMAP_ARGUMENT_BYTES);
	struct view name, value;

	if (scratch && imap_take_space(args) && args->rest.len && args->rest.data[0] == '(') {
		args->rest = view_skip(args->rest, 1);
		while (imap_take_astring(args, scratch, &name) && imap_take_space(args)) {
			bool quoted = args->rest.len && args->rest.data[0] == '"';

			if (!imap_take_astring(args, scratch + IMAP_ARGUMENT_BYTES, &value))
				break;
			if (quoted || !view_eq_nocase(value, VIEW_LIT("NIL")))
				take_id_field(front, name, value);
			if (!imap_take_space(args))
				break;
		}
	}
	free(scratch);
}

static int command_id(struct front *front, struct imap_cursor *args, struct buf *out)
{
	int r = proto_say(out, "* ID NIL");

	if (front->base.trusted)
		take_id(front, args);
	return r < 0 ? r : answer(front, out, "OK Done.");
}

static int command_logout(struct front *front, struct imap_cursor *args, struct buf *out)
{
	int r = proto_say(out, "* BYE Closing.");

	(void)args;
	if (r >= 0)
		r = answer(front, out, "OK Done.");
	return front_base_close(front, FRONT_END_QUIT, r);
}

static int command_starttls(struct front *front, struct imap_cursor *args, struct buf *out)
{
	(void)args;
	if (!front->base.offer_starttls)
		return answer(front, out, "BAD STARTTLS not available.");
	front->base.state = FRONT_WANTS_TLS;
	return FRONT_STARTTLS;
}

static const struct command {
	const char *name;
	int (*run)(struct front *front, struct imap_cursor *args, struct buf *out);
	bool takes_arguments;
} commands[] = {
	{ "CAPABILITY", command_capability, false },
	{ "NOOP", command_noop, false },
	{ "ID", command_id, true },
	{ "LOGOUT", command_logout, false },
	{ "STARTTLS", command_starttls, false },
	{ "LOGIN", command_login, true },
	{ "AUTHENTICATE", command_authenticate, true },
};

/* Tag and name of a command; false when it is unparsable. The tag is noted as soon as it is one, so
 * that whatever is wrong behind it is answered with it; a word alone may be a response that nobody
 * asked for, and is not repeated (SES-18). */
static bool take_head(struct front *front, struct imap_cursor *cursor, struct view *ret_name)
{
	struct view tag;

	front->tag[0] = '\0';
	if (!imap_take_tag(cursor, &tag) || !imap_take_space(cursor))
		return false;
	memcpy(front->tag, tag.data, tag.len);
	front->tag[tag.len] = '\0';
	return imap_take_atom(cursor, ret_name) && ret_name->len <= IMAP_COMMAND_BYTES;
}

static const struct command *find_command(struct view name)
{
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (view_eq_nocase(name, view_str(commands[i].name)))
			return &commands[i];
	}
	return NULL;
}

static int run_command(struct front *front, struct view text, struct buf *out)
{
	struct imap_cursor cursor = { text };
	const struct command *command;
	struct view name;

	if (!take_head(front, &cursor, &name))
		return syntax_error(front, out);
	command = find_command(name);
	if (!command)
		return answer(front, out, "BAD Not allowed before authentication.");
	if (!command->takes_arguments && !imap_at_end(&cursor))
		return syntax_error(front, out);
	return command->run(front, &cursor, out);
}

/* A client waits for permission to send a literal. Returns PROTO_AGAIN to go on scanning, or with
 * *ret_drop set when the command is answered now. */
static int permit_literal(
	struct front *front, struct view line, bool too_long, struct buf *out, bool *ret_drop)
{
	struct imap_cursor cursor = { line };
	const struct command *command;
	struct view name;

	*ret_drop = true;
	if (!take_head(front, &cursor, &name))
		return syntax_error(front, out);
	command = find_command(name);
	/* The gate comes before a secret is asked for. */
	if (command && !front->base.permit_auth &&
		(command->run == command_login || command->run == command_authenticate))
		return front_base_want_privacy(front, out);
	if (too_long)
		return front_base_count(front, out, answer(front, out, "BAD Literal too long."));
	*ret_drop = false;
	return proto_say(out, "+ Ready.");
}

static int too_long(struct front *front, struct buf *out)
{
	return front_base_close(
		front, FRONT_END_TOO_LONG, proto_say(out, "* BYE Command too long."));
}

static int input_command(struct front *front, struct view in, size_t *ret_consumed, struct buf *out)
{
	struct imap_scan *scan = &front->scan;
	enum imap_scan_result result = imap_scan(scan, in, PROTO_INPUT_BYTES);
	size_t length = scan->at;
	bool drop, refused = result == IMAP_SCAN_LITERAL_TOO_LONG;
	int r;

	switch (result) {
	case IMAP_SCAN_MORE:
		return PROTO_MORE;
	case IMAP_SCAN_TOO_LONG:
		*ret_consumed = in.len;
		return too_long(front, out);
	case IMAP_SCAN_LITERAL:
	case IMAP_SCAN_LITERAL_TOO_LONG:
		length = refused ? scan->at : scan->literal_at;
		r = permit_literal(front, view_make(in.data, length), refused, out, &drop);
		if (drop) {
			*ret_consumed = length;
			*scan = (struct imap_scan){ 0 };
		}
		return r;
	default:
		*scan = (struct imap_scan){ 0 };
		*ret_consumed = length;
		return run_command(front, view_make(in.data, length), out);
	}
}

static int input_response(
	struct front *front, struct view in, size_t *ret_consumed, struct buf *out)
{
	const char *newline = memchr(in.data + front->scan.at, '\n', in.len - front->scan.at);
	struct view line;

	if (!newline && in.len <= PROTO_SASL_BASE64_BYTES + 1) {
		front->scan.at = in.len;
		return PROTO_MORE;
	}
	front->scan.at = 0;
	line = newline ? view_make(in.data, (size_t)(newline - in.data)) : in;
	*ret_consumed = newline ? line.len + 1 : in.len;
	if (newline && line.len && line.data[line.len - 1] == '\r')
		line.len--;
	if (!newline || line.len > PROTO_SASL_BASE64_BYTES) {
		int r = front_base_step(front, SASL_FAIL_TOO_LONG, out);

		if (!newline && r == PROTO_AGAIN)
			front->base.state = FRONT_DISCARD;
		return r;
	}
	return front_base_step(front, sasl_exchange_response(&front->base.sasl, line), out);
}

/* ---- what the caller tells ---- */

static int imap_front_starttls_ok(struct front *front, struct buf *out)
{
	return MIN(answer(front, out, "OK Begin TLS."), 0);
}

static void imap_front_take_credential(struct front *front, struct proto_credential *ret_credential)
{
	sasl_exchange_take(&front->base.sasl, ret_credential);
	memcpy(ret_credential->tag, front->tag, sizeof(ret_credential->tag));
}

const struct front_ops imap_front_ops = {
	.name = "imap",
	.create = imap_front_create,
	.free = front_base_free,
	.greet = imap_front_greet,
	.input = front_base_input,
	.starttls_ok = imap_front_starttls_ok,
	.starttls_done = front_base_starttls_done,
	.take_credential = imap_front_take_credential,
	FRONT_BASE_OPS,
};

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

#define PRIVACY "NO [PRIVACYREQUIRED] TLS is required before authentication."
#define AUTH_FAILED "NO [AUTHENTICATIONFAILED] Authentication failed."
#define UNAVAILABLE "NO [UNAVAILABLE] Service temporarily unavailable."

enum front_state {
	FRONT_COMMAND,
	FRONT_RESPONSE,  /* a SASL response line is awaited */
	FRONT_DISCARD,   /* the rest of an over-long response line */
	FRONT_WANTS_TLS, /* STARTTLS was asked for */
	FRONT_HAS_CREDENTIAL,
	FRONT_ENDED,
};

struct front {
	struct front_base base;
	enum front_state state;
	struct imap_scan scan;
	char tag[PROTO_TAG_BYTES + 1]; /* of the attempt, or of the STARTTLS */
};

/* ---- life ---- */

static void imap_front_free(struct front *front)
{
	if (!front)
		return;
	front_base_fini(&front->base);
	free(front);
}

static int imap_front_create(const struct front_params *params, struct front **ret_front)
{
	struct front *front = calloc(1, sizeof(*front));

	if (!front || front_base_init(&front->base, params) < 0) {
		free(front);
		return -ENOMEM;
	}
	*ret_front = front;
	return 0;
}

/* ---- replies ---- */

static int say_tagged(struct buf *out, struct view tag, const char *text)
{
	int r = buf_append_view(out, tag);

	if (r == 0)
		r = buf_append(out, " ", 1);
	return r < 0 ? r : proto_say(out, text);
}

static int end(struct front *front, enum front_end why, int r)
{
	front->state = FRONT_ENDED;
	front->base.end = why;
	return r < 0 ? r : FRONT_CLOSE;
}

/* SES-16: after the reply of a failed attempt. */
static int count(struct front *front, struct buf *out, int r)
{
	if (!front_base_count(&front->base) || r < 0)
		return r;
	return end(front, FRONT_END_AUTH_LIMIT, proto_say(out, "* BYE Too many failed attempts."));
}

static int put_capabilities(const struct front *front, struct buf *out)
{
	int r = buf_append_str(out, front->base.capabilities);

	for (size_t i = 0; r == 0 && front->base.permit_auth && i < front->base.mech_count; i++)
		r = buf_printf(out, " AUTH=%s", sasl_mech_name(front->base.mechs[i]));
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

/* ---- attempts ---- */

static int want_privacy(struct front *front, struct buf *out)
{
	front_base_count_privacy(&front->base);
	return say_tagged(out, view_str(front->tag), PRIVACY);
}

static void forget_attempt(struct front *front)
{
	sasl_exchange_reset(&front->base.sasl);
	front->state = FRONT_COMMAND;
	front->scan = (struct imap_scan){ 0 };
}

static int fail(struct front *front, struct buf *out, const char *text)
{
	forget_attempt(front);
	return count(front, out, say_tagged(out, view_str(front->tag), text));
}

static int have_credential(struct front *front)
{
	front->state = FRONT_HAS_CREDENTIAL;
	front->scan = (struct imap_scan){ 0 };
	return FRONT_LOGIN;
}

static int prompt(struct front *front, struct buf *out, const char *text)
{
	front->state = FRONT_RESPONSE;
	front->scan = (struct imap_scan){ 0 };
	return proto_say(out, text);
}

/* What the exchange wants next. */
static int next_step(struct front *front, int step, struct buf *out)
{
	switch (step) {
	case SASL_DONE:
		return have_credential(front);
	case SASL_PROMPT_USER:
		return prompt(front, out, "+ " SASL_USER_PROMPT);
	case SASL_PROMPT_PASSWORD:
		return prompt(front, out, "+ " SASL_PASSWORD_PROMPT);
	case SASL_PROMPT_EMPTY:
		return prompt(front, out, "+ ");
	case SASL_FAIL_AUTH:
		return fail(front, out, AUTH_FAILED);
	case SASL_FAIL_BASE64:
		return fail(front, out, "BAD Invalid base64.");
	case SASL_FAIL_TOO_LONG:
		return fail(front, out, "BAD Response too long.");
	case SASL_FAIL_CANCELLED:
		return fail(front, out, "BAD Authentication cancelled.");
	default:
		return step;
	}
}

/* ---- commands ---- */

static int syntax_error(struct front *front, struct buf *out)
{
	return count(front, out, proto_say(out, "* BAD Syntax error."));
}

static int command_authenticate(struct front *front, struct imap_cursor *args, struct buf *out)
{
	struct view name, response = { NULL, 0 };
	bool initial = false;
	int mech, step;

	if (!imap_take_space(args) || !imap_take_atom(args, &name))
		return syntax_error(front, out);
	if (imap_take_space(args)) {
		initial = imap_take_atom(args, &response);
		if (!initial)
			return syntax_error(front, out);
	}
	if (!imap_at_end(args))
		return syntax_error(front, out);
	if (!front->base.permit_auth)
		return want_privacy(front, out);
	mech = front_base_mech(&front->base, name);
	if (mech < 0)
		return fail(front, out, "NO Mechanism not supported.");
	step = sasl_exchange_start(&front->base.sasl, (enum sasl_mech)mech);
	if (initial) {
		if (view_eq(response, VIEW_LIT("=")))
			response.len = 0;
		step = sasl_exchange_response(&front->base.sasl, response);
	}
	return next_step(front, step, out);
}

static int login_command(
	struct front *front, struct view user, struct view password, struct buf *out)
{
	int r = sasl_make_plain(&front->base.sasl.credential, user, password);

	return next_step(front, r == -EINVAL ? SASL_FAIL_AUTH : r, out);
}

static int command_login(struct front *front, struct imap_cursor *args, struct buf *out)
{
	struct view user, password;
	char *scratch;
	bool ok;
	int r;

	if (!front->base.permit_auth)
		return want_privacy(front, out);
	scratch = malloc(2 * IMAP_ARGUMENT_BYTES);
	if (!scratch)
		return -ENOMEM;
	front_base_attempt(&front->base, SASL_PLAIN);
	if (imap_at_end(args)) {
		r = fail(front, out, AUTH_FAILED); /* missing argument */
	} else if (!imap_take_space(args) || !imap_take_astring(args, scratch, &user)) {
		r = syntax_error(front, out);
	} else if (imap_at_end(args)) {
		r = fail(front, out, AUTH_FAILED);
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
	return r < 0 ? r : say_tagged(out, view_str(front->tag), "OK Done.");
}

static int command_noop(struct front *front, struct imap_cursor *args, struct buf *out)
{
	(void)args;
	return say_tagged(out, view_str(front->tag), "OK Done.");
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
 * is an atom like any other, which no field takes. */
static void take_id(struct front *front, struct imap_cursor *args)
{
	char *scratch = malloc(2 * IMAP_ARGUMENT_BYTES);
	struct view name, value;

	if (scratch && imap_take_space(args) && args->rest.len && args->rest.data[0] == '(') {
		args->rest = view_skip(args->rest, 1);
		while (imap_take_astring(args, scratch, &name) && imap_take_space(args) &&
			imap_take_astring(args, scratch + IMAP_ARGUMENT_BYTES, &value)) {
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
	return r < 0 ? r : say_tagged(out, view_str(front->tag), "OK Done.");
}

static int command_logout(struct front *front, struct imap_cursor *args, struct buf *out)
{
	int r = proto_say(out, "* BYE Closing.");

	(void)args;
	if (r >= 0)
		r = say_tagged(out, view_str(front->tag), "OK Done.");
	return end(front, FRONT_END_QUIT, r);
}

static int command_starttls(struct front *front, struct imap_cursor *args, struct buf *out)
{
	(void)args;
	if (!front->base.offer_starttls)
		return say_tagged(out, view_str(front->tag), "BAD STARTTLS not available.");
	front->state = FRONT_WANTS_TLS;
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

/* Tag and name of a command; false when it is unparsable. */
static bool take_head(struct front *front, struct imap_cursor *cursor, struct view *ret_name)
{
	struct view tag;

	if (!imap_take_tag(cursor, &tag) || !imap_take_space(cursor) ||
		!imap_take_atom(cursor, ret_name) || ret_name->len > IMAP_COMMAND_BYTES)
		return false;
	memcpy(front->tag, tag.data, tag.len);
	front->tag[tag.len] = '\0';
	return true;
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
		return say_tagged(
			out, view_str(front->tag), "BAD Not allowed before authentication.");
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
		return want_privacy(front, out);
	if (too_long)
		return count(
			front, out, say_tagged(out, view_str(front->tag), "BAD Literal too long."));
	*ret_drop = false;
	return proto_say(out, "+ Ready.");
}

static int too_long(struct front *front, struct buf *out)
{
	return end(front, FRONT_END_TOO_LONG, proto_say(out, "* BYE Command too long."));
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
		int r = fail(front, out, "BAD Response too long.");

		if (!newline && r == PROTO_AGAIN)
			front->state = FRONT_DISCARD;
		return r;
	}
	return next_step(front, sasl_exchange_response(&front->base.sasl, line), out);
}

static int input_discard(struct front *front, struct view in, size_t *ret_consumed)
{
	const char *newline = memchr(in.data, '\n', in.len);

	*ret_consumed = newline ? (size_t)(newline - in.data) + 1 : in.len;
	if (!newline)
		return PROTO_MORE;
	front->state = FRONT_COMMAND;
	return PROTO_AGAIN;
}

static int imap_front_input(
	struct front *front, struct view in, size_t *ret_consumed, struct buf *out)
{
	*ret_consumed = 0;
	if (!in.len)
		return PROTO_MORE;
	switch (front->state) {
	case FRONT_COMMAND:
		return input_command(front, in, ret_consumed, out);
	case FRONT_RESPONSE:
		return input_response(front, in, ret_consumed, out);
	case FRONT_DISCARD:
		return input_discard(front, in, ret_consumed);
	default: /* the caller answers what it was told first */
		return PROTO_MORE;
	}
}

/* ---- what the caller tells ---- */

static int imap_front_starttls_ok(struct front *front, struct buf *out)
{
	return MIN(say_tagged(out, view_str(front->tag), "OK Begin TLS."), 0);
}

static void imap_front_starttls_done(struct front *front, bool permit_auth)
{
	forget_attempt(front);
	front_base_starttls_done(&front->base, permit_auth);
}

static void imap_front_take_credential(struct front *front, struct proto_credential *ret_credential)
{
	sasl_exchange_take(&front->base.sasl, ret_credential);
	memcpy(ret_credential->tag, front->tag, sizeof(ret_credential->tag));
}

static int imap_front_reply(struct front *front, enum front_reply reply, struct buf *out)
{
	struct view tag = view_str(front->tag);
	int r;

	switch (reply) {
	case FRONT_REPLY_AUTH_FAILED:
		return fail(front, out, AUTH_FAILED);
	case FRONT_REPLY_HIDDEN_TEMP:
		return fail(front, out, UNAVAILABLE);
	case FRONT_REPLY_UNAVAILABLE:
		r = say_tagged(out, tag, UNAVAILABLE);
		if (r >= 0)
			r = proto_say(out, "* BYE Try again later.");
		break;
	case FRONT_REPLY_SHUTDOWN:
		r = proto_say(out, "* BYE Shutting down.");
		break;
	case FRONT_REPLY_TIMEOUT:
		r = proto_say(out, "* BYE Timed out.");
		break;
	default:
		r = proto_say(out, "* BYE Protocol violation.");
	}
	forget_attempt(front);
	return end(front, FRONT_END_VIOLATION, r);
}

static int imap_front_refused(struct front *front, struct buf *out)
{
	forget_attempt(front);
	return count(front, out, PROTO_AGAIN);
}

const struct front_ops imap_front_ops = {
	.name = "imap",
	.create = imap_front_create,
	.free = imap_front_free,
	.greet = imap_front_greet,
	.input = imap_front_input,
	.starttls_ok = imap_front_starttls_ok,
	.starttls_done = imap_front_starttls_done,
	.take_credential = imap_front_take_credential,
	.reply = imap_front_reply,
	.refused = imap_front_refused,
	FRONT_BASE_OPS,
};

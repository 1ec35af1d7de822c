// SPDX-License-Identifier: Apache-2.0
/*
 * The router's side of IMAP before login (RFC 9051 section 6.1, 6.2; sessions.md section 5.2).
 * Commands are parsed when complete; what a command is waiting for is in the scan state, so input
 * may be cut anywhere. Every reply text is in this file. Only a credential leaves the front.
 */
#include "base/secret.h"
#include "proto/base64.h"
#include "proto/imap_parse.h"
#include "proto/sasl.h"

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
	enum front_state state;
	enum front_end end;
	struct imap_scan scan;
	char *banner, *capabilities;
	enum sasl_mech mechs[SASL_MECHS];
	size_t mech_count;
	bool offer_starttls, permit_auth;
	unsigned max_attempts, attempts, privacy;
	int last_mech;
	char tag[PROTO_TAG_BYTES + 1]; /* of the attempt, or of the STARTTLS */
	struct proto_credential credential;
	struct buf user; /* of the mechanism LOGIN, between its two prompts */
};

/* ---- life ---- */

static void imap_front_free(struct front *front)
{
	if (!front)
		return;
	proto_credential_wipe(&front->credential);
	buf_fini(&front->user);
	free(front->banner);
	free(front->capabilities);
	free(front);
}

static int imap_front_create(const struct front_params *params, struct front **ret_front)
{
	struct front *front = calloc(1, sizeof(*front));

	if (!front)
		return -ENOMEM;
	front->banner = view_dup(view_str(params->banner));
	front->capabilities = view_dup(view_str(params->capabilities));
	if (!front->banner || !front->capabilities) {
		imap_front_free(front);
		return -ENOMEM;
	}
	front->mech_count = MIN(params->mech_count, (size_t)SASL_MECHS);
	memcpy(front->mechs, params->mechs, front->mech_count * sizeof(front->mechs[0]));
	front->offer_starttls = params->offer_starttls;
	front->permit_auth = params->permit_auth;
	front->max_attempts = params->max_attempts;
	front->last_mech = -1;
	buf_init(&front->credential.message, PROTO_SASL_BASE64_BYTES * 2 + 16, true);
	buf_init(&front->user, PROTO_SASL_BASE64_BYTES, true);
	*ret_front = front;
	return 0;
}

/* ---- replies ---- */

/* Returns PROTO_AGAIN or an error of the buffer. */
static int say(struct buf *out, const char *line)
{
	int r = buf_append_str(out, line);

	if (r == 0)
		r = buf_append(out, "\r\n", 2);
	return r < 0 ? r : PROTO_AGAIN;
}

static int say_tagged(struct buf *out, struct view tag, const char *text)
{
	int r = buf_append_view(out, tag);

	if (r == 0)
		r = buf_append(out, " ", 1);
	return r < 0 ? r : say(out, text);
}

static int end(struct front *front, enum front_end why, int r)
{
	front->state = FRONT_ENDED;
	front->end = why;
	return r < 0 ? r : FRONT_CLOSE;
}

/* SES-16: after the reply of a failed attempt. */
static int count(struct front *front, struct buf *out, int r)
{
	front->attempts++;
	if (r < 0 || front->attempts < front->max_attempts)
		return r;
	return end(front, FRONT_END_AUTH_LIMIT, say(out, "* BYE Too many failed attempts."));
}

static int put_capabilities(const struct front *front, struct buf *out)
{
	int r = buf_append_str(out, front->capabilities);

	for (size_t i = 0; r == 0 && front->permit_auth && i < front->mech_count; i++)
		r = buf_printf(out, " AUTH=%s", sasl_mech_name(front->mechs[i]));
	if (r == 0 && !front->permit_auth)
		r = buf_append_str(out, " LOGINDISABLED");
	if (r == 0 && front->offer_starttls)
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
		r = say(out, front->banner);
	return MIN(r, 0);
}

/* ---- attempts ---- */

static int want_privacy(struct front *front, struct buf *out)
{
	if (front->privacy < UINT16_MAX)
		front->privacy++;
	return say_tagged(out, view_str(front->tag), PRIVACY);
}

static void forget_attempt(struct front *front)
{
	buf_clear(&front->credential.message);
	buf_fini(&front->credential.message);
	buf_fini(&front->user);
	front->state = FRONT_COMMAND;
	front->scan = (struct imap_scan){ 0 };
}

static int fail(struct front *front, struct buf *out, const char *text)
{
	forget_attempt(front);
	return count(front, out, say_tagged(out, view_str(front->tag), text));
}

static int have_credential(struct front *front, struct buf *out, int r)
{
	if (r == -EINVAL)
		return fail(front, out, AUTH_FAILED);
	if (r < 0)
		return r;
	front->state = FRONT_HAS_CREDENTIAL;
	front->scan = (struct imap_scan){ 0 };
	return FRONT_LOGIN;
}

static int prompt(struct front *front, struct buf *out, const char *text)
{
	front->state = FRONT_RESPONSE;
	front->scan = (struct imap_scan){ 0 };
	return say(out, text);
}

/* One decoded response of the mechanism LOGIN: the name first, then the password (SES-19). */
static int login_response(struct front *front, struct buf *out)
{
	struct view response = buf_view(&front->credential.message);
	struct buf password = front->credential.message;
	int r;

	if (!front->user.len) {
		if (!response.len)
			return fail(front, out, AUTH_FAILED);
		r = buf_append_view(&front->user, response);
		buf_clear(&front->credential.message);
		return r < 0 ? r : prompt(front, out, "+ UGFzc3dvcmQ6");
	}
	buf_init(&front->credential.message, password.limit, true);
	r = sasl_make_plain(&front->credential, buf_view(&front->user), response);
	buf_fini(&password);
	buf_fini(&front->user);
	return have_credential(front, out, r);
}

/* A response, from the command line or a line of its own. */
static int take_response(struct front *front, struct view text, struct buf *out)
{
	int r;

	if (text.len > PROTO_SASL_BASE64_BYTES)
		return fail(front, out, "BAD Response too long.");
	r = base64_decode(text, &front->credential.message);
	if (r == -EINVAL)
		return fail(front, out, "BAD Invalid base64.");
	if (r < 0)
		return r;
	if (front->credential.mech == SASL_LOGIN)
		return login_response(front, out);
	return have_credential(front, out, sasl_parse_plain(&front->credential));
}

static bool offers(const struct front *front, int mech)
{
	for (size_t i = 0; i < front->mech_count; i++) {
		if ((int)front->mechs[i] == mech)
			return true;
	}
	return false;
}

static void start_attempt(struct front *front, enum sasl_mech mech)
{
	front->last_mech = (int)mech;
	front->credential.mech = mech;
	buf_clear(&front->credential.message);
}

/* ---- commands ---- */

static int syntax_error(struct front *front, struct buf *out)
{
	return count(front, out, say(out, "* BAD Syntax error."));
}

static int command_authenticate(struct front *front, struct imap_cursor *args, struct buf *out)
{
	struct view name, response = { NULL, 0 };
	bool initial = false;
	int mech;

	if (!imap_take_space(args) || !imap_take_atom(args, &name))
		return syntax_error(front, out);
	if (imap_take_space(args)) {
		initial = imap_take_atom(args, &response);
		if (!initial)
			return syntax_error(front, out);
	}
	if (!imap_at_end(args))
		return syntax_error(front, out);
	if (!front->permit_auth)
		return want_privacy(front, out);
	mech = sasl_mech_find(name);
	if (mech >= 0)
		front->last_mech = mech;
	if (mech < 0 || !offers(front, mech))
		return fail(front, out, "NO Mechanism not supported.");
	start_attempt(front, (enum sasl_mech)mech);
	if (!initial)
		return prompt(front, out, mech == SASL_LOGIN ? "+ VXNlcm5hbWU6" : "+ ");
	if (view_eq(response, VIEW_LIT("=")))
		response.len = 0;
	return take_response(front, response, out);
}

static int command_login(struct front *front, struct imap_cursor *args, struct buf *out)
{
	struct view user, password;
	char *scratch;
	bool ok;
	int r;

	if (!front->permit_auth)
		return want_privacy(front, out);
	scratch = malloc(2 * IMAP_ARGUMENT_BYTES);
	if (!scratch)
		return -ENOMEM;
	start_attempt(front, SASL_PLAIN);
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
		r = ok ? have_credential(
				 front, out, sasl_make_plain(&front->credential, user, password))
		       : syntax_error(front, out);
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

static int command_id(struct front *front, struct imap_cursor *args, struct buf *out)
{
	int r = say(out, "* ID NIL");

	(void)args;
	return r < 0 ? r : say_tagged(out, view_str(front->tag), "OK Done.");
}

static int command_logout(struct front *front, struct imap_cursor *args, struct buf *out)
{
	int r = say(out, "* BYE Closing.");

	(void)args;
	if (r >= 0)
		r = say_tagged(out, view_str(front->tag), "OK Done.");
	return end(front, FRONT_END_QUIT, r);
}

static int command_starttls(struct front *front, struct imap_cursor *args, struct buf *out)
{
	(void)args;
	if (!front->offer_starttls)
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
	if (command && !front->permit_auth &&
		(command->run == command_login || command->run == command_authenticate))
		return want_privacy(front, out);
	if (too_long)
		return count(
			front, out, say_tagged(out, view_str(front->tag), "BAD Literal too long."));
	*ret_drop = false;
	return say(out, "+ Ready.");
}

static int too_long(struct front *front, struct buf *out)
{
	return end(front, FRONT_END_TOO_LONG, say(out, "* BYE Command too long."));
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
	if (view_eq(line, VIEW_LIT("*")))
		return fail(front, out, "BAD Authentication cancelled.");
	return take_response(front, line, out);
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
	front->offer_starttls = false;
	front->permit_auth = permit_auth;
}

static void imap_front_take_credential(struct front *front, struct proto_credential *ret_credential)
{
	*ret_credential = front->credential;
	memcpy(ret_credential->tag, front->tag, sizeof(ret_credential->tag));
	buf_init(&front->credential.message, ret_credential->message.limit, true);
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
			r = say(out, "* BYE Try again later.");
		break;
	case FRONT_REPLY_SHUTDOWN:
		r = say(out, "* BYE Shutting down.");
		break;
	case FRONT_REPLY_TIMEOUT:
		r = say(out, "* BYE Timed out.");
		break;
	default:
		r = say(out, "* BYE Protocol violation.");
	}
	forget_attempt(front);
	return end(front, FRONT_END_VIOLATION, r);
}

static int imap_front_refused(struct front *front, struct buf *out)
{
	forget_attempt(front);
	return count(front, out, PROTO_AGAIN);
}

static enum front_end imap_front_end(const struct front *front)
{
	return front->end;
}

static unsigned imap_front_privacy(const struct front *front)
{
	return front->privacy;
}

static unsigned imap_front_attempts(const struct front *front)
{
	return front->attempts;
}

static int imap_front_last_mech(const struct front *front)
{
	return front->last_mech;
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
	.end = imap_front_end,
	.attempts = imap_front_attempts,
	.privacy = imap_front_privacy,
	.last_mech = imap_front_last_mech,
};

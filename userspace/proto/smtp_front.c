// SPDX-License-Identifier: Apache-2.0
/*
 * The router's side of message submission before login (RFC 6409, RFC 5321, RFC 4954; sessions.md
 * section 5.4). A line ends with CRLF and nothing else: what two servers could read in two ways is
 * refused (SES-31). Every reply text is in this file. Only a credential leaves the front.
 */
#include "proto/line.h"

#include <errno.h>
#include <stdlib.h>

#define PRIVACY "538 5.7.11 Encryption required for requested authentication mechanism"
#define AUTH_FAILED "535 5.7.8 Authentication failed"
#define UNRECOGNISED "500 5.5.2 Command not recognised"
#define EHLO_FIRST "503 5.5.1 Send EHLO first"
#define XCLIENT_LIST "XCLIENT " XCLIENT_NAMES " HELO PROTO"

enum front_state {
	FRONT_COMMAND,
	FRONT_RESPONSE,  /* a SASL response line is awaited */
	FRONT_WANTS_TLS, /* STARTTLS was asked for */
	FRONT_HAS_CREDENTIAL,
	FRONT_ENDED,
};

struct front {
	struct front_base base;
	enum front_state state;
	struct line_scan scan;
	bool extended; /* EHLO, not HELO */
	char helo[PROTO_HELO_BYTES + 1];
};

/* ---- life ---- */

static void smtp_front_free(struct front *front)
{
	if (!front)
		return;
	front_base_fini(&front->base);
	free(front);
}

static int smtp_front_create(const struct front_params *params, struct front **ret_front)
{
	struct front *front = calloc(1, sizeof(*front));

	if (!front || front_base_init(&front->base, params) < 0) {
		free(front);
		return -ENOMEM;
	}
	*ret_front = front;
	return 0;
}

static int smtp_front_greet(struct front *front, struct buf *out)
{
	return buf_printf(out, "220 %s ESMTP %s\r\n", front->base.host, front->base.banner);
}

/* ---- replies ---- */

static int end(struct front *front, enum front_end why, int r)
{
	front->state = FRONT_ENDED;
	front->base.end = why;
	return r < 0 ? r : FRONT_CLOSE;
}

/* "421 CODE HOST TEXT". */
static int say_last(struct front *front, struct buf *out, const char *code, const char *text)
{
	int r = buf_printf(out, "421 %s %s %s\r\n", code, front->base.host, text);

	return r < 0 ? r : PROTO_AGAIN;
}

/* SES-16: after the reply of a failed attempt. */
static int count(struct front *front, struct buf *out, int r)
{
	if (!front_base_count(&front->base) || r < 0)
		return r;
	return end(front, FRONT_END_AUTH_LIMIT,
		say_last(front, out, "4.7.0", "Too many failed attempts"));
}

static void forget_attempt(struct front *front)
{
	sasl_exchange_reset(&front->base.sasl);
	front->state = FRONT_COMMAND;
}

static int fail(struct front *front, struct buf *out, const char *text)
{
	forget_attempt(front);
	return count(front, out, proto_say(out, text));
}

/* ---- attempts ---- */

static int prompt(struct front *front, struct buf *out, const char *text)
{
	front->state = FRONT_RESPONSE;
	return proto_say(out, text);
}

/* What the exchange wants next. */
static int next_step(struct front *front, int step, struct buf *out)
{
	switch (step) {
	case SASL_DONE:
		front->state = FRONT_HAS_CREDENTIAL;
		return FRONT_LOGIN;
	case SASL_PROMPT_USER:
		return prompt(front, out, "334 " SASL_USER_PROMPT);
	case SASL_PROMPT_PASSWORD:
		return prompt(front, out, "334 " SASL_PASSWORD_PROMPT);
	case SASL_PROMPT_EMPTY:
		return prompt(front, out, "334 ");
	case SASL_FAIL_AUTH:
		return fail(front, out, AUTH_FAILED);
	case SASL_FAIL_BASE64:
		return fail(front, out, "501 5.5.2 Invalid base64");
	case SASL_FAIL_TOO_LONG:
		return fail(front, out, "500 5.5.6 Authentication exchange line is too long");
	case SASL_FAIL_CANCELLED:
		return fail(front, out, "501 5.7.0 Authentication cancelled");
	default:
		return step;
	}
}

/* ---- commands ---- */

/* SES-30: 1 to 255 bytes, no blank, control character or quote. */
static bool valid_name(struct view name)
{
	if (!name.len || name.len > PROTO_HELO_BYTES)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		unsigned char c = (unsigned char)name.data[i];

		if (c <= ' ' || c == '"' || c == 0x7f)
			return false;
	}
	return true;
}

static bool take_name(struct front *front, struct view args, bool extended)
{
	if (!valid_name(args))
		return false;
	memcpy(front->helo, args.data, args.len);
	front->helo[args.len] = '\0';
	front->extended = extended;
	return true;
}

/* What a trusted peer said of its client counts (SES-61). */
static int put_hello(const struct front *front, struct buf *out)
{
	const char *addr = front->base.peer.addr;

	if (!*addr)
		return buf_printf(
			out, "250-%s Hello [%s]\r\n", front->base.host, front->base.client);
	return buf_printf(out, "250-%s Hello [%s%s]\r\n", front->base.host,
		strchr(addr, ':') ? "IPv6:" : "", addr);
}

/* The lines of the answer behind the first, in "250-" form. */
static int put_extensions(const struct front *front, struct buf *out)
{
	struct view lines = view_str(front->base.capabilities);
	int r = 0;

	while (r == 0 && lines.len) {
		const char *newline = memchr(lines.data, '\n', lines.len);
		int len = newline ? (int)(newline - lines.data) : (int)lines.len;

		r = buf_printf(out, "250-%.*s\r\n", len, lines.data);
		lines = view_skip(lines, (size_t)len + 1);
	}
	if (r == 0 && front->base.offer_starttls)
		r = buf_append_str(out, "250-STARTTLS\r\n");
	if (r == 0 && front->base.trusted)
		r = buf_append_str(out, "250-" XCLIENT_LIST "\r\n");
	if (r < 0 || !front->base.permit_auth || !front->base.mech_count)
		return r;
	r = buf_append_str(out, "250-AUTH");
	for (size_t i = 0; r == 0 && i < front->base.mech_count; i++)
		r = buf_printf(out, " %s", sasl_mech_name(front->base.mechs[i]));
	return r < 0 ? r : buf_append(out, "\r\n", 2);
}

/* "250-" of the last line becomes "250 ". */
static void close_reply(struct buf *reply)
{
	struct view v = buf_view(reply);
	size_t at = v.len - 2;

	while (at > 0 && v.data[at - 1] != '\n')
		at--;
	((char *)v.data)[at + 3] = ' ';
}

static int command_ehlo(struct front *front, struct view args, struct buf *out)
{
	struct buf reply;
	int r;

	if (!take_name(front, args, true))
		return proto_say(out, "501 5.5.4 Name required");
	buf_init(&reply, 0, false);
	r = put_hello(front, &reply);
	if (r == 0)
		r = put_extensions(front, &reply);
	if (r == 0) {
		close_reply(&reply);
		r = buf_append_view(out, buf_view(&reply));
	}
	buf_fini(&reply);
	return r < 0 ? r : PROTO_AGAIN;
}

static int command_helo(struct front *front, struct view args, struct buf *out)
{
	int r;

	if (!take_name(front, args, false))
		return proto_say(out, "501 5.5.4 Name required");
	r = buf_printf(out, "250 %s\r\n", front->base.host);
	return r < 0 ? r : PROTO_AGAIN;
}

static int command_noop(struct front *front, struct view args, struct buf *out)
{
	(void)front;
	(void)args;
	return proto_say(out, "250 2.0.0 OK");
}

static int command_quit(struct front *front, struct view args, struct buf *out)
{
	(void)args;
	return end(front, FRONT_END_QUIT, proto_say(out, "221 2.0.0 Closing"));
}

static int command_starttls(struct front *front, struct view args, struct buf *out)
{
	if (args.len)
		return proto_say(out, "501 5.5.4 No argument allowed");
	if (!front->base.offer_starttls)
		return proto_say(out, "503 5.5.1 STARTTLS not available");
	front->state = FRONT_WANTS_TLS;
	return FRONT_STARTTLS;
}

static int command_auth(struct front *front, struct view args, struct buf *out)
{
	struct view name = line_word(&args), response = line_word(&args);
	int mech, step;

	if (!front->extended)
		return proto_say(out, EHLO_FIRST);
	if (!front->base.permit_auth) {
		front_base_count_privacy(&front->base);
		return proto_say(out, PRIVACY);
	}
	mech = front_base_mech(&front->base, name);
	if (mech < 0)
		return fail(front, out, "504 5.5.4 Mechanism not supported");
	step = sasl_exchange_start(&front->base.sasl, (enum sasl_mech)mech);
	if (response.len) {
		if (args.len) /* more words */
			return next_step(front, SASL_FAIL_BASE64, out);
		if (view_eq(response, VIEW_LIT("="))) /* RFC 4954 section 4 */
			response.len = 0;
		step = sasl_exchange_response(&front->base.sasl, response);
	}
	return next_step(front, step, out);
}

static int command_mail(struct front *front, struct view args, struct buf *out)
{
	(void)front;
	(void)args;
	return proto_say(out, "530 5.7.0 Authentication required");
}

static int command_xclient(struct front *front, struct view args, struct buf *out)
{
	if (!front->base.trusted)
		return fail(front, out, UNRECOGNISED);
	if (xclient_parse(args, &front->base.peer) < 0)
		return proto_say(out, "501 5.5.4 Bad attribute value");
	*front->helo = '\0'; /* the session starts again */
	front->extended = false;
	return smtp_front_greet(front, out) < 0 ? -ENOMEM : PROTO_AGAIN;
}

static const struct command {
	const char *name;
	int (*run)(struct front *front, struct view args, struct buf *out);
} commands[] = {
	{ "EHLO", command_ehlo },
	{ "HELO", command_helo },
	{ "NOOP", command_noop },
	{ "RSET", command_noop },
	{ "QUIT", command_quit },
	{ "STARTTLS", command_starttls },
	{ "AUTH", command_auth },
	{ "MAIL", command_mail },
	{ "RCPT", command_mail },
	{ "DATA", command_mail },
	{ "BDAT", command_mail },
	{ "VRFY", command_mail },
	{ "EXPN", command_mail },
	{ "ETRN", command_mail },
	{ "HELP", command_mail },
	{ "XCLIENT", command_xclient },
};

/* SES-31: no CR, LF or NUL inside; line still has its CR. */
static bool is_whole(struct view line)
{
	return line.len && line.data[line.len - 1] == '\r' && !memchr(line.data, 0, line.len) &&
		!memchr(line.data, '\r', line.len - 1);
}

static int run_command(struct front *front, struct view line, struct buf *out)
{
	struct view args = line, word = line_word(&args);

	while (args.len && args.data[args.len - 1] == ' ')
		args.len--;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (view_eq_nocase(word, view_str(commands[i].name)))
			return commands[i].run(front, args, out);
	}
	return fail(front, out, UNRECOGNISED);
}

/* ---- input ---- */

static int input_command(struct front *front, struct view in, size_t *ret_consumed, struct buf *out)
{
	struct view line;
	int r = line_take(&front->scan, in, PROTO_INPUT_BYTES - 2, ret_consumed, &line);

	if (r == LINE_TOO_LONG)
		return end(front, FRONT_END_TOO_LONG, proto_say(out, "500 5.5.2 Line too long"));
	if (r != LINE_DONE)
		return r == LINE_DROPPED ? PROTO_AGAIN : PROTO_MORE;
	if (!is_whole(line))
		return fail(front, out, UNRECOGNISED);
	return run_command(front, line_chomp(line), out);
}

static int input_response(
	struct front *front, struct view in, size_t *ret_consumed, struct buf *out)
{
	struct view line;
	int r = line_take(&front->scan, in, PROTO_SASL_BASE64_BYTES, ret_consumed, &line);

	if (r == LINE_TOO_LONG)
		return next_step(front, SASL_FAIL_TOO_LONG, out);
	if (r != LINE_DONE)
		return r == LINE_DROPPED ? PROTO_AGAIN : PROTO_MORE;
	if (!is_whole(line))
		return fail(front, out, UNRECOGNISED);
	return next_step(front, sasl_exchange_response(&front->base.sasl, line_chomp(line)), out);
}

static int smtp_front_input(
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
	default: /* the caller answers what it was told first */
		return PROTO_MORE;
	}
}

/* ---- what the caller tells ---- */

static int smtp_front_starttls_ok(struct front *front, struct buf *out)
{
	(void)front;
	return MIN(proto_say(out, "220 2.0.0 Ready for TLS"), 0);
}

static void smtp_front_starttls_done(struct front *front, bool permit_auth)
{
	forget_attempt(front);
	front->extended = false;
	*front->helo = '\0';
	front_base_starttls_done(&front->base, permit_auth);
}

static void smtp_front_take_credential(struct front *front, struct proto_credential *ret_credential)
{
	sasl_exchange_take(&front->base.sasl, ret_credential);
	ret_credential->tag[0] = '\0';
}

static int smtp_front_reply(struct front *front, enum front_reply reply, struct buf *out)
{
	int r;

	switch (reply) {
	case FRONT_REPLY_AUTH_FAILED:
		return fail(front, out, AUTH_FAILED);
	case FRONT_REPLY_HIDDEN_TEMP:
		return fail(front, out, "454 4.7.0 Temporary authentication failure");
	case FRONT_REPLY_UNAVAILABLE:
		r = say_last(front, out, "4.3.0", "Service temporarily unavailable");
		break;
	case FRONT_REPLY_SHUTDOWN:
		r = say_last(front, out, "4.3.2", "Shutting down");
		break;
	case FRONT_REPLY_TIMEOUT:
		r = say_last(front, out, "4.4.2", "Timed out");
		break;
	default:
		r = say_last(front, out, "4.7.0", "Protocol violation");
	}
	forget_attempt(front);
	return end(front, FRONT_END_VIOLATION, r);
}

static int smtp_front_refused(struct front *front, struct buf *out)
{
	forget_attempt(front);
	return count(front, out, PROTO_AGAIN);
}

static const char *smtp_front_helo(const struct front *front)
{
	return front->helo;
}

const struct front_ops smtp_front_ops = {
	.name = "submission",
	.create = smtp_front_create,
	.free = smtp_front_free,
	.greet = smtp_front_greet,
	.input = smtp_front_input,
	.starttls_ok = smtp_front_starttls_ok,
	.starttls_done = smtp_front_starttls_done,
	.take_credential = smtp_front_take_credential,
	.reply = smtp_front_reply,
	.refused = smtp_front_refused,
	.helo = smtp_front_helo,
	FRONT_BASE_OPS,
};

// SPDX-License-Identifier: Apache-2.0
/*
 * The router's side of message submission before login (RFC 6409, RFC 5321, RFC 4954; sessions.md
 * section 5.4). A line ends with CRLF and nothing else (SES-31): a lone LF spoils the line it
 * stands in, which is said at once, and what follows up to the CRLF is dropped, so that nobody's
 * bytes behind an LF are ever taken for a command. Every reply text is in this file. Only a
 * credential leaves the front; no mail is taken here.
 */
#include "proto/line.h"

#include <arpa/inet.h>

#define UNKNOWN "500 5.5.2 Command not recognised"
#define OK "250 2.0.0 OK"
#define LOGIN_FIRST "530 5.7.0 Authentication required"

/* Octets of refused chunks that one connection may make us read and drop; more ends it. */
#define CHUNKS_BYTES (1024 * 1024)

struct front {
	struct front_base base;
	size_t scanned;            /* bytes of the current line known to hold no LF */
	size_t drop_left;          /* FRONT_DISCARD: what the line may still take */
	size_t chunk_left, chunks; /* FRONT_CHUNK: octets to drop; of all chunks so far */
	char helo[PROTO_HELO_BYTES + 1];
};

/* ---- replies ---- */

/* "CODE HOST TEXT". */
static int say_from_host(
	const struct front *front, struct buf *out, const char *code, const char *text)
{
	int r = buf_printf(out, "%s %s %s\r\n", code, front->base.host, text);

	return r < 0 ? r : PROTO_AGAIN;
}

static int say_greeting(const struct front *front, struct buf *out)
{
	int r = buf_printf(out, "220 %s ESMTP %s\r\n", front->base.host, front->base.banner);

	return r < 0 ? r : PROTO_AGAIN;
}

static int smtp_front_greet(struct front *front, struct buf *out)
{
	return MIN(say_greeting(front, out), 0);
}

static int say_limit(struct front *front, struct buf *out)
{
	return say_from_host(front, out, "421 4.7.0", "Too many failed attempts");
}

static int say_goodbye(struct front *front, enum front_reply reply, struct buf *out)
{
	switch (reply) {
	case FRONT_REPLY_UNAVAILABLE:
		return say_from_host(front, out, "421 4.3.0", "Service temporarily unavailable");
	case FRONT_REPLY_SHUTDOWN:
		return say_from_host(front, out, "421 4.3.2", "Shutting down");
	case FRONT_REPLY_TIMEOUT:
		return say_from_host(front, out, "421 4.4.2", "Timed out");
	default:
		return say_from_host(front, out, "421 4.7.0", "Protocol violation");
	}
}

static void forget(struct front *front)
{
	front->scanned = 0;
}

static const struct front_dialect dialect = {
	.prompt_user = "334 " SASL_USER_PROMPT,
	.prompt_password = "334 " SASL_PASSWORD_PROMPT,
	.prompt_empty = "334 ",
	.auth_failed = "535 5.7.8 Authentication failed",
	.unavailable = "454 4.7.0 Temporary authentication failure",
	.bad_base64 = "501 5.5.2 Invalid base64",
	.long_response = "500 5.5.6 Authentication exchange line is too long",
	.cancelled = "501 5.7.0 Authentication cancelled",
	.privacy = "538 5.7.11 Encryption required for requested authentication mechanism",
	.limit = say_limit,
	.goodbye = say_goodbye,
	.forget = forget,
};

static int smtp_front_create(const struct front_params *params, struct front **ret_front)
{
	return front_base_create(sizeof(**ret_front), &dialect, params, ret_front);
}

static int too_long(struct front *front, struct buf *out)
{
	return front_base_close(
		front, FRONT_END_TOO_LONG, proto_say(out, "500 5.5.2 Line too long"));
}

static int bad_chunk(struct front *front, struct buf *out)
{
	return front_base_close(
		front, FRONT_END_VIOLATION, proto_say(out, "521 5.5.4 Bad chunk size"));
}

/* A line that is no command. If it was to be BDAT, octets follow that nobody can count: it is the
 * end, or they would be run as commands. */
static int unparsable(struct front *front, struct view line, struct buf *out)
{
	while (line.len && (line.data[0] == ' ' || line.data[0] == '\t'))
		line = view_skip(line, 1);
	if (view_starts_nocase(line, VIEW_LIT("BDAT")))
		return bad_chunk(front, out);
	return front_base_fail(front, out, UNKNOWN);
}

/* ---- commands ---- */

static int command_auth(struct front *front, struct view args, struct buf *out)
{
	struct view name = line_word(&args);
	int mech, step;

	if (!front->base.permit_auth)
		return front_base_want_privacy(front, out);
	if (!name.len || memchr(args.data, ' ', args.len))
		return front_base_fail(front, out, UNKNOWN);
	mech = front_base_mech(front, name);
	if (mech < 0)
		return front_base_unsupported(front, out, "504 5.5.4 Mechanism not supported");
	step = sasl_exchange_start(&front->base.sasl, (enum sasl_mech)mech);
	if (args.len) {
		if (view_eq(args, VIEW_LIT("="))) /* RFC 4954 section 4: an empty response */
			args.len = 0;
		step = sasl_exchange_response(&front->base.sasl, args);
	}
	return front_base_step(front, step, out);
}

/* RFC 5321 section 4.1.3: "[192.0.2.1]", "[IPv6:2001:db8::1]". */
static bool is_address_literal(struct view name)
{
	char text[INET6_ADDRSTRLEN];
	unsigned char binary[16];
	bool six;

	if (name.len < 2 || name.data[0] != '[' || name.data[name.len - 1] != ']')
		return false;
	name = view_make(name.data + 1, name.len - 2);
	six = view_starts_nocase(name, VIEW_LIT("IPv6:"));
	if (six)
		name = view_skip(name, 5);
	if (!name.len || name.len >= sizeof(text) || memchr(name.data, 0, name.len))
		return false;
	memcpy(text, name.data, name.len);
	text[name.len] = '\0';
	return inet_pton(six ? AF_INET6 : AF_INET, text, binary) == 1;
}

/* What a strict node takes (SES-30; RFC 5321 section 4.1.2): labels of letters, digits and hyphens,
 * not an address without brackets; or an address literal. */
static bool is_helo_name(struct view name)
{
	bool numeric = true;
	size_t start = 0;

	if (!name.len || name.len > PROTO_HELO_BYTES)
		return false;
	if (name.data[0] == '[')
		return is_address_literal(name);
	for (size_t i = 0; i <= name.len; i++) {
		char c = i < name.len ? ascii_lower(name.data[i]) : '.';
		bool digit = c >= '0' && c <= '9';

		if (c != '.' && c != '-' && !digit && (c < 'a' || c > 'z'))
			return false;
		numeric &= digit || c == '.';
		if (c != '.')
			continue;
		if (i == start || name.data[start] == '-' || name.data[i - 1] == '-')
			return false;
		start = i + 1;
	}
	return !numeric;
}

/* Notes the name if it may be passed on: clients say "My Computer", and every server lets them.
 * False: there is none, and has been answered with *ret_r. */
static bool take_helo(struct front *front, struct view name, struct buf *out, int *ret_r)
{
	if (!name.len) {
		*ret_r = proto_say(out, "501 5.5.4 Name required");
		return false;
	}
	if (!is_helo_name(name))
		name.len = 0;
	memcpy(front->helo, name.data, name.len);
	front->helo[name.len] = '\0';
	return true;
}

static void forget_helo(struct front *front)
{
	front->helo[0] = '\0';
}

/* The lines of the EHLO reply without their codes, each ended by LF. */
static int put_extensions(const struct front *front, struct buf *text)
{
	const struct front_base *base = &front->base;
	const char *addr = base->peer.addr;
	const char *prefix = strchr(addr, ':') ? "IPv6:" : "";
	int r = buf_printf(text, "%s Hello [%s%s]\n%s\n", base->host, prefix,
		*addr ? addr : base->client, base->capabilities);

	if (r == 0 && base->offer_starttls)
		r = buf_append_str(text, "STARTTLS\n");
	if (r == 0 && base->trusted)
		r = buf_append_str(text, "XCLIENT " XCLIENT_NAMES " HELO PROTO\n");
	if (r == 0 && base->permit_auth && base->mech_count) {
		r = buf_append_str(text, "AUTH");
		if (r == 0)
			r = front_base_put_mechs(base, text, " ");
		if (r == 0)
			r = buf_append(text, "\n", 1);
	}
	return r;
}

/* The next line that is not empty; empty at the end. Moves text behind it. */
static struct view next_line(struct view *text)
{
	struct view line = { "", 0 };

	while (!line.len && text->len) {
		const char *newline = memchr(text->data, '\n', text->len);

		line = view_make(text->data, newline ? (size_t)(newline - text->data) : text->len);
		*text = view_skip(*text, line.len + 1);
	}
	return line;
}

/* RFC 5321 section 4.2.1: "250-" before every line but the last. */
static int say_lines(struct buf *out, struct view text)
{
	struct view line = next_line(&text);
	int r = 0;

	while (r == 0 && line.len) {
		struct view next = next_line(&text);

		r = buf_append_str(out, next.len ? "250-" : "250 ");
		if (r == 0)
			r = buf_append_view(out, line);
		if (r == 0)
			r = buf_append(out, "\r\n", 2);
		line = next;
	}
	return r < 0 ? r : PROTO_AGAIN;
}

static int command_ehlo(struct front *front, struct view args, struct buf *out)
{
	struct buf text = { 0 };
	int r;

	if (!take_helo(front, args, out, &r))
		return r;
	r = put_extensions(front, &text);
	if (r == 0)
		r = say_lines(out, buf_view(&text));
	buf_fini(&text);
	return r;
}

static int command_helo(struct front *front, struct view args, struct buf *out)
{
	int r;

	if (!take_helo(front, args, out, &r))
		return r;
	r = buf_printf(out, "250 %s\r\n", front->base.host);
	return r < 0 ? r : PROTO_AGAIN;
}

static int command_starttls(struct front *front, struct view args, struct buf *out)
{
	if (args.len)
		return proto_say(out, "501 5.5.4 No argument allowed");
	if (!front->base.offer_starttls)
		return proto_say(out, "503 5.5.1 STARTTLS not available");
	front->base.state = FRONT_WANTS_TLS;
	return FRONT_STARTTLS;
}

/* SES-61: the dialogue starts again, as a node would do it. SES-62: unknown to everyone else. */
static int command_xclient(struct front *front, struct view args, struct buf *out)
{
	if (!front->base.trusted)
		return front_base_fail(front, out, UNKNOWN);
	if (!args.len || xclient_parse(args, true, &front->base.peer) < 0)
		return proto_say(out, "501 5.5.4 Bad XCLIENT value");
	forget_helo(front);
	return say_greeting(front, out);
}

/* "SIZE [LAST]". False: it is none, or no number of 32 bits. */
static bool take_chunk(struct view args, uint32_t *ret_size)
{
	struct view size = line_word(&args), last = line_word(&args);
	uint64_t number;

	if (args.len || (last.len && !view_eq_nocase(last, VIEW_LIT("LAST"))) ||
		view_to_u64(size, &number) < 0 || number > UINT32_MAX)
		return false;
	*ret_size = (uint32_t)number;
	return true;
}

/* RFC 3030 section 2: the octets come without being asked for, so they are read and dropped before
 * the refusal; never are they taken for commands. Where they end must be known and near, or it is
 * the end of the connection. */
static int command_bdat(struct front *front, struct view args, struct buf *out)
{
	uint32_t size;

	if (!take_chunk(args, &size))
		return bad_chunk(front, out);
	if (size > CHUNKS_BYTES - front->chunks)
		return front_base_close(front, FRONT_END_TOO_LONG, proto_say(out, LOGIN_FIRST));
	if (!size)
		return proto_say(out, LOGIN_FIRST);
	front->chunks += size;
	front->chunk_left = size;
	front->base.state = FRONT_CHUNK;
	return PROTO_AGAIN;
}

static int command_quit(struct front *front, struct view args, struct buf *out)
{
	(void)args;
	return front_base_close(front, FRONT_END_QUIT, proto_say(out, "221 2.0.0 Closing"));
}

static const struct command {
	const char *name;
	int (*run)(struct front *front, struct view args, struct buf *out);
	const char *answer; /* without run */
} commands[] = {
	{ "EHLO", command_ehlo, NULL },
	{ "HELO", command_helo, NULL },
	{ "AUTH", command_auth, NULL },
	{ "STARTTLS", command_starttls, NULL },
	{ "XCLIENT", command_xclient, NULL },
	{ "QUIT", command_quit, NULL },
	{ "NOOP", NULL, OK },
	{ "RSET", NULL, OK },
	{ "MAIL", NULL, LOGIN_FIRST },
	{ "RCPT", NULL, LOGIN_FIRST },
	{ "DATA", NULL, LOGIN_FIRST },
	{ "BDAT", command_bdat, NULL },
	{ "VRFY", NULL, LOGIN_FIRST },
	{ "EXPN", NULL, LOGIN_FIRST },
	{ "ETRN", NULL, LOGIN_FIRST },
	{ "HELP", NULL, LOGIN_FIRST },
};

static int run_command(struct front *front, struct view line, struct buf *out)
{
	struct view args, name;

	/* RFC 5321 section 4.1.1: blanks before the line end are tolerated. */
	while (line.len && (line.data[line.len - 1] == ' ' || line.data[line.len - 1] == '\t'))
		line.len--;
	args = line;
	name = line_word(&args);
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (!view_eq_nocase(name, view_str(commands[i].name)))
			continue;
		return commands[i].run ? commands[i].run(front, args, out)
				       : proto_say(out, commands[i].answer);
	}
	return unparsable(front, line, out);
}

/* ---- lines ---- */

enum input_result {
	INPUT_MORE,
	INPUT_WHOLE,
	INPUT_BAD,      /* a bare CR or a NUL inside */
	INPUT_SPOILT,   /* a lone LF so far; the rest is to be dropped */
	INPUT_TOO_LONG, /* the rest is to be dropped */
};

/* The first line of in, at most limit bytes with its CRLF. Which result it is does not depend on
 * how the input was cut. */
static enum input_result take_line(struct front *front, struct view in, size_t limit,
	struct view *ret_line, size_t *ret_consumed)
{
	size_t most = MIN(in.len, limit), from = MIN(front->scanned, most);
	const char *newline = memchr(in.data + from, '\n', most - from);

	if (!newline && in.len < limit) {
		front->scanned = in.len;
		return INPUT_MORE;
	}
	front->scanned = 0;
	if (!newline) { /* a CR may belong to the line end */
		*ret_consumed = limit - (in.data[limit - 1] == '\r');
		return INPUT_TOO_LONG;
	}
	*ret_consumed = (size_t)(newline - in.data) + 1;
	if (*ret_consumed < 2 || newline[-1] != '\r')
		return INPUT_SPOILT;
	*ret_line = view_make(in.data, *ret_consumed - 2);
	if (memchr(in.data, '\r', ret_line->len) || memchr(in.data, '\0', ret_line->len))
		return INPUT_BAD;
	return INPUT_WHOLE;
}

/* The line has been answered with r; what is left of it may have this many bytes. */
static int discard(struct front *front, size_t bytes, int r)
{
	if (r == PROTO_AGAIN) {
		front->base.state = FRONT_DISCARD;
		front->drop_left = bytes;
	}
	return r;
}

static int input_line(struct front *front, struct view in, size_t *ret_consumed, struct buf *out)
{
	bool response = front->base.state == FRONT_RESPONSE;
	size_t limit = response ? PROTO_SASL_BASE64_BYTES + 2 : PROTO_INPUT_BYTES;
	struct view line;

	switch (take_line(front, in, limit, &line, ret_consumed)) {
	case INPUT_MORE:
		return PROTO_MORE;
	case INPUT_BAD:
		return unparsable(front, view_make(in.data, *ret_consumed), out);
	case INPUT_SPOILT:
		return discard(front, PROTO_INPUT_BYTES - *ret_consumed,
			unparsable(front, view_make(in.data, *ret_consumed), out));
	case INPUT_TOO_LONG:
		if (response)
			return discard(
				front, SIZE_MAX, front_base_step(front, SASL_FAIL_TOO_LONG, out));
		*ret_consumed = in.len;
		return too_long(front, out);
	default:
		return response ? front_base_step(front,
					  sasl_exchange_response(&front->base.sasl, line), out)
				: run_command(front, line, out);
	}
}

static int input_discard(struct front *front, struct view in, size_t *ret_consumed, struct buf *out)
{
	const char *newline = memmem(in.data, in.len, "\r\n", 2);
	size_t n = in.len - (in.data[in.len - 1] == '\r'); /* it may belong to the line end */

	if (newline)
		n = (size_t)(newline - in.data) + 2;
	*ret_consumed = n;
	if (n > front->drop_left)
		return too_long(front, out);
	front->drop_left -= n;
	if (!newline)
		return PROTO_MORE;
	front->base.state = FRONT_COMMAND;
	return PROTO_AGAIN;
}

static int input_chunk(struct front *front, struct view in, size_t *ret_consumed, struct buf *out)
{
	*ret_consumed = MIN(in.len, front->chunk_left);
	front->chunk_left -= *ret_consumed;
	if (front->chunk_left)
		return PROTO_MORE;
	front->base.state = FRONT_COMMAND;
	return proto_say(out, LOGIN_FIRST);
}

static int smtp_front_input(
	struct front *front, struct view in, size_t *ret_consumed, struct buf *out)
{
	*ret_consumed = 0;
	if (!in.len)
		return PROTO_MORE;
	switch (front->base.state) {
	case FRONT_COMMAND:
	case FRONT_RESPONSE:
		return front_base_command(front, out, input_line(front, in, ret_consumed, out));
	case FRONT_CHUNK:
		return input_chunk(front, in, ret_consumed, out);
	case FRONT_DISCARD:
		return input_discard(front, in, ret_consumed, out);
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
	forget_helo(front);
	front_base_starttls_done(front, permit_auth);
}

static const char *smtp_front_helo(const struct front *front)
{
	return front->helo;
}

const struct front_ops smtp_front_ops = {
	.name = "submission",
	.create = smtp_front_create,
	.free = front_base_free,
	.greet = smtp_front_greet,
	.input = smtp_front_input,
	.starttls_ok = smtp_front_starttls_ok,
	.starttls_done = smtp_front_starttls_done,
	.take_credential = front_base_take_credential,
	FRONT_BASE_OPS,
	.helo = smtp_front_helo,
};

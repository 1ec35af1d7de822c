// SPDX-License-Identifier: Apache-2.0
/*
 * The router's side of IMAP towards a node: greeting, capabilities, STARTTLS, ID, the credential
 * and the node's verdict (sessions.md sections 9, 10, 12). Replies are read as logical lines:
 * a literal inside one is skipped by its length, so what it holds is never taken for a line
 * (SES-72). What the node says to the credential is held back until the final reply is known.
 */
#include "proto/back.h"

#include <errno.h>
#include <stdio.h>

#define LITERAL_BYTES 65536

#define CAP_STARTTLS BIT(0)
#define CAP_SASL_IR BIT(1)
#define CAP_ID BIT(2)
#define CAP_LOGINDISABLED BIT(3)
#define CAP_LITERAL_PLUS BIT(4)
#define CAP_LITERAL_MINUS BIT(5)
/* RFC 7888 section 5: the longest literal that is not synchronising under LITERAL-. */
#define LITERAL_MINUS_BYTES 4096

enum back_state {
	BACK_GREETING,
	BACK_CAPABILITY,
	BACK_STARTTLS_REPLY,
	BACK_HANDSHAKE,
	BACK_ID_REPLY,
	BACK_IS_READY,
	BACK_VERDICT, /* the credential is sent, or its parts wait for "+" */
	BACK_DONE,
};

struct back {
	struct back_base base;
	enum back_state state;
	unsigned caps;
	bool caps_known;
	unsigned tag_number;
	char tag[16]; /* of our command under way */
	char client_tag[PROTO_TAG_BYTES + 1];
	size_t literal_left; /* bytes of a literal to skip */
	bool continuing;     /* the current line goes on after a literal */
	struct buf first;    /* first piece of a line that goes on */
	size_t held_before;  /* bytes of base.held in front of the current line */
};

/* ---- life ---- */

static void imap_back_free(struct back *back)
{
	if (back)
		buf_fini(&back->first);
	back_base_free(back);
}

static int imap_back_create(const struct back_params *params, struct back **ret_back)
{
	int r = back_base_create(sizeof(**ret_back), params, ret_back);

	if (r < 0)
		return r;
	snprintf((*ret_back)->client_tag, sizeof((*ret_back)->client_tag), "%s",
		params->client_tag ? params->client_tag : "");
	buf_init(&(*ret_back)->first, PROTO_NODE_LINE_BYTES + 2, true);
	return 0;
}

/* ---- helpers ---- */

static int fail(struct back *back, enum back_failure failure)
{
	back->state = BACK_DONE;
	return back_base_fail(&back->base, failure);
}

/* A command with the next tag of ours, which is never the client's. */
static int command(struct back *back, enum back_state next, struct buf *to_node, const char *text)
{
	do {
		snprintf(back->tag, sizeof(back->tag), "H%u", ++back->tag_number);
	} while (strcmp(back->tag, back->client_tag) == 0);
	back->state = next;
	back->base.lines = 0;
	return buf_printf(to_node, "%s %s\r\n", back->tag, text);
}

static void add_capability(struct back *back, struct view word)
{
	if (view_eq_nocase(word, VIEW_LIT("STARTTLS")))
		back->caps |= CAP_STARTTLS;
	else if (view_eq_nocase(word, VIEW_LIT("SASL-IR")))
		back->caps |= CAP_SASL_IR;
	else if (view_eq_nocase(word, VIEW_LIT("IMAP4rev2")))
		back->caps |= CAP_SASL_IR | CAP_LITERAL_MINUS;
	else if (view_eq_nocase(word, VIEW_LIT("ID")))
		back->caps |= CAP_ID;
	else if (view_eq_nocase(word, VIEW_LIT("LOGINDISABLED")))
		back->caps |= CAP_LOGINDISABLED;
	else if (view_eq_nocase(word, VIEW_LIT("LITERAL+")))
		back->caps |= CAP_LITERAL_PLUS;
	else if (view_eq_nocase(word, VIEW_LIT("LITERAL-")))
		back->caps |= CAP_LITERAL_MINUS;
	else if (view_starts_nocase(word, VIEW_LIT("AUTH=")))
		back_base_offer(&back->base, view_skip(word, 5));
}

static void forget_capabilities(struct back *back)
{
	back->caps_known = false;
	back->caps = 0;
	back_base_forget_offer(&back->base);
}

/* Blank-separated words up to "]" or the end (SES-55: whole words). */
static void take_capabilities(struct back *back, struct view words)
{
	size_t start = 0;

	forget_capabilities(back);
	back->caps_known = true;
	for (size_t i = 0; i <= words.len; i++) {
		char c = i < words.len ? words.data[i] : ']';

		if (c != ' ' && c != ']')
			continue;
		if (i > start)
			add_capability(back, view_make(words.data + start, i - start));
		start = i + 1;
		if (c == ']')
			break;
	}
	/* Every IMAP server says what it takes, and LOGIN it takes without saying so; but one that
	 * knows initial responses and names no mechanism has not said all. */
	if (!(back->caps & CAP_SASL_IR) || back->caps & CAP_LOGINDISABLED)
		back->base.lists = true;
}

/* The part behind "TAG " of a line with this tag; false if it has another. */
static bool behind_tag(struct view line, const char *tag, struct view *ret_rest)
{
	struct view t = view_str(tag);

	if (!t.len || !view_starts(line, t) || line.len <= t.len || line.data[t.len] != ' ')
		return false;
	*ret_rest = view_skip(line, t.len + 1);
	return true;
}

static int no_mechanism(struct back *back)
{
	back->base.cause = back_no_mechanism;
	return fail(back, BACK_FAIL_MECHANISM);
}

/* ---- steps ---- */

static int send_id(struct back *back, struct buf *to_node)
{
	const struct back_forward *f = &back->base.forward;
	char text[512];

	snprintf(text, sizeof(text),
		"ID (\"x-originating-ip\" \"%s\" \"x-originating-port\" \"%u\" "
		"\"x-connected-ip\" \"%s\" \"x-connected-port\" \"%u\" \"x-proxy-ttl\" \"%u\" "
		"\"x-session-id\" \"%s\" \"x-client-transport\" \"%s\")",
		back->base.client_ip, f->client_port, back->base.local_ip, f->local_port, f->ttl,
		back->base.session_id, f->client_tls ? "TLS" : "insecure");
	return command(back, BACK_ID_REPLY, to_node, text);
}

/* Capabilities are known: what comes next. */
static int after_capabilities(struct back *back, struct buf *to_node)
{
	int r;

	if (back->base.want_starttls) {
		if (!(back->caps & CAP_STARTTLS)) {
			back->base.cause = back_no_starttls;
			return fail(back, BACK_FAIL_REFUSED);
		}
		r = command(back, BACK_STARTTLS_REPLY, to_node, "STARTTLS");
	} else if (back->base.forwards && back->caps & CAP_ID) {
		back->base.forwards = false;
		r = send_id(back, to_node);
	} else {
		back->state = BACK_IS_READY;
		return BACK_READY;
	}
	return r < 0 ? r : PROTO_AGAIN;
}

static int on_greeting(struct back *back, struct view line, struct buf *to_node)
{
	struct view text = view_skip(line, 2);
	int r;

	if (!view_starts(line, VIEW_LIT("* ")) || !line_starts_word(text, "OK"))
		return fail(back, BACK_FAIL_REFUSED); /* PREAUTH, BYE, anything else (#7) */
	back->base.greeted = true;
	text = view_skip(text, 3);
	if (view_starts_nocase(text, VIEW_LIT("[CAPABILITY ")))
		take_capabilities(back, view_skip(text, 12));
	if (back->caps_known)
		return after_capabilities(back, to_node);
	r = command(back, BACK_CAPABILITY, to_node, "CAPABILITY");
	return r < 0 ? r : PROTO_AGAIN;
}

static int on_capability(struct back *back, struct view line, struct buf *to_node)
{
	struct view rest;

	if (view_starts_nocase(line, VIEW_LIT("* CAPABILITY "))) {
		take_capabilities(back, view_skip(line, 13));
		return PROTO_AGAIN;
	}
	if (view_starts_nocase(line, VIEW_LIT("* BYE")))
		return fail(back, BACK_FAIL_REFUSED);
	if (view_starts(line, VIEW_LIT("* ")))
		return PROTO_AGAIN;
	if (!behind_tag(line, back->tag, &rest) || !line_starts_word(rest, "OK") ||
		!back->caps_known)
		return fail(back, BACK_FAIL_REFUSED);
	return after_capabilities(back, to_node);
}

static int on_starttls(struct back *back, struct view line, bool more)
{
	struct view rest;

	if (view_starts(line, VIEW_LIT("* ")) && !view_starts_nocase(line, VIEW_LIT("* BYE")))
		return PROTO_AGAIN;
	if (!behind_tag(line, back->tag, &rest) || !line_starts_word(rest, "OK"))
		return fail(back, BACK_FAIL_REFUSED);
	if (more)
		return fail(back, BACK_FAIL_INJECTION);
	back->state = BACK_HANDSHAKE;
	return BACK_STARTTLS;
}

static int imap_back_starttls_done(struct back *back, struct buf *to_node)
{
	int r;

	back->base.want_starttls = false;
	forget_capabilities(back); /* SES-54 */
	r = command(back, BACK_CAPABILITY, to_node, "CAPABILITY");
	return r < 0 ? r : PROTO_MORE;
}

static int on_id(struct back *back, struct view line, struct buf *to_node)
{
	struct view rest;

	if (view_starts_nocase(line, VIEW_LIT("* BYE")))
		return fail(back, BACK_FAIL_REFUSED);
	if (view_starts(line, VIEW_LIT("* ")))
		return PROTO_AGAIN;
	if (!behind_tag(line, back->tag, &rest))
		return fail(back, BACK_FAIL_REFUSED);
	/* Any status is fine. What was not allowed to us may be to this client. */
	if (back->caps & CAP_LOGINDISABLED) {
		int r;

		forget_capabilities(back);
		r = command(back, BACK_CAPABILITY, to_node, "CAPABILITY");
		return r < 0 ? r : PROTO_AGAIN;
	}
	return after_capabilities(back, to_node);
}

/* ---- replay ---- */

/* SES-57: complete untagged lines are dropped, anything else is refused. */
static bool only_untagged(struct view unread)
{
	while (unread.len) {
		const char *newline = memmem(unread.data, unread.len, "\r\n", 2);
		size_t len;

		if (!newline || !view_starts(unread, VIEW_LIT("* ")))
			return false;
		len = (size_t)(newline - unread.data);
		if (len && unread.data[len - 1] == '}') /* a literal would follow */
			return false;
		unread = view_skip(unread, len + 2);
	}
	return true;
}

/* LOGIN with literals, which take any byte (RFC 3501 section 6.2.3): at once, or each part when the
 * node asks for it (RFC 7888). */
static int send_login(
	struct back *back, const struct proto_credential *credential, struct buf *to_node)
{
	struct view user = back_user(credential), password = back_password(credential);
	size_t longest = MAX(user.len, password.len);
	bool at_once = back->caps & CAP_LITERAL_PLUS ||
		(back->caps & CAP_LITERAL_MINUS && longest <= LITERAL_MINUS_BYTES);
	const char *plus = at_once ? "+" : "";
	struct back_base *base = &back->base;
	int r = buf_printf(to_node, "%s LOGIN {%zu%s}\r\n", credential->tag, user.len, plus);

	base->prompts = 2;
	if (r == 0)
		r = buf_append_view(&base->credential, user);
	if (r == 0)
		r = buf_printf(&base->credential, " {%zu%s}", password.len, plus);
	if (r == 0)
		r = buf_append_view(&base->password, password);
	while (r == 0 && at_once && base->prompts) {
		r = back_base_prompted(base, false, to_node);
		r = r == PROTO_AGAIN ? 0 : r;
	}
	return r;
}

static int send_credential(struct back *back, const struct proto_credential *credential,
	enum back_way way, struct buf *to_node)
{
	char command[PROTO_TAG_BYTES + sizeof(" AUTHENTICATE")];

	back_base_start_replay(&back->base, credential);
	if (way == BACK_WAY_COMMAND)
		return send_login(back, credential, to_node);
	snprintf(command, sizeof(command), "%s AUTHENTICATE", credential->tag);
	return back_base_replay(&back->base, credential, way, command,
		back->caps & CAP_SASL_IR ? BACK_IMAP_COMMAND_BYTES : 0, to_node);
}

static int imap_back_replay(struct back *back, const struct proto_credential *credential,
	struct view unread, size_t *ret_consumed, struct buf *to_node)
{
	enum back_way way =
		back_base_way(&back->base, credential, !(back->caps & CAP_LOGINDISABLED));
	int r;

	*ret_consumed = unread.len;
	if (back->literal_left || back->continuing || !only_untagged(unread))
		return fail(back, BACK_FAIL_REFUSED);
	if (way == BACK_WAY_NONE)
		return no_mechanism(back);
	snprintf(back->client_tag, sizeof(back->client_tag), "%s", credential->tag);
	back->state = BACK_VERDICT;
	r = send_credential(back, credential, way, to_node);
	return r < 0 ? r : PROTO_MORE;
}

static int verdict(struct back *back, struct view rest, struct buf *to_client)
{
	int r;

	if (line_starts_word(rest, "OK")) {
		if (!back->base.sent) /* success before the credential went out (#7) */
			return fail(back, BACK_FAIL_REFUSED);
		r = BACK_ACCEPTED;
	} else if (line_starts_word(rest, "NO") || line_starts_word(rest, "BAD")) {
		struct view text = view_skip(rest, line_starts_word(rest, "NO") ? 3 : 4);

		back->base.temporarily = view_starts_nocase(text, VIEW_LIT("[UNAVAILABLE]")) ||
			view_starts_nocase(text, VIEW_LIT("[INUSE]")) ||
			view_starts_nocase(text, VIEW_LIT("[LIMIT]"));
		r = BACK_REFUSED;
	} else {
		return fail(back, BACK_FAIL_PROTOCOL);
	}
	back->state = BACK_DONE;
	return buf_move(to_client, &back->base.held) < 0 ? -ENOBUFS : r;
}

static int on_answer(
	struct back *back, struct view line, bool more, struct buf *to_node, struct buf *to_client)
{
	struct view rest;
	int r;

	if (line.len && line.data[0] == '+') {
		buf_truncate(&back->base.held, back->held_before); /* ours, not the client's */
		r = back_base_prompted(&back->base, more, to_node);
		if (r == BACK_FAILED)
			back->state = BACK_DONE;
		return r;
	}
	if (behind_tag(line, back->client_tag, &rest))
		return verdict(back, rest, to_client);
	if (!view_starts(line, VIEW_LIT("* ")))
		return fail(back, BACK_FAIL_PROTOCOL);
	back->base.for_good |= view_starts_nocase(line, VIEW_LIT("* BYE"));
	return PROTO_AGAIN;
}

/* ---- lines ---- */

static bool in_replay(const struct back *back)
{
	return back->state == BACK_VERDICT;
}

/* A logical line is complete; line is its first piece. more: input is left behind it. */
static int on_line(
	struct back *back, struct view line, bool more, struct buf *to_node, struct buf *to_client)
{
	switch (back->state) {
	case BACK_GREETING:
		return on_greeting(back, line, to_node);
	case BACK_CAPABILITY:
		return on_capability(back, line, to_node);
	case BACK_STARTTLS_REPLY:
		return on_starttls(back, line, more);
	case BACK_ID_REPLY:
		return on_id(back, line, to_node);
	default:
		return on_answer(back, line, more, to_node, to_client);
	}
}

/* "{n}" at the end of a piece. Returns false if there is none; saturates. */
static bool announces_literal(struct view piece, size_t *ret_size)
{
	size_t end, i, size = 0;

	if (piece.len < 3 || piece.data[piece.len - 1] != '}')
		return false;
	end = piece.len - 1;
	if (piece.data[end - 1] == '+')
		end--;
	for (i = end; i > 0 && piece.data[i - 1] >= '0' && piece.data[i - 1] <= '9'; i--)
		;
	if (i == end || i == 0 || piece.data[i - 1] != '{')
		return false;
	for (; i < end; i++) {
		if (size < UINT32_MAX)
			size = size * 10 + (size_t)(piece.data[i] - '0');
	}
	*ret_size = size;
	return true;
}

static int hold(struct back *back, struct view bytes)
{
	return in_replay(back) ? buf_append_view(&back->base.held, bytes) : 0;
}

static int skip_literal(struct back *back, struct view in, size_t *ret_consumed)
{
	size_t n = MIN(back->literal_left, in.len);
	int r = hold(back, view_make(in.data, n));

	if (r == -ENOBUFS)
		return fail(back, BACK_FAIL_PROTOCOL);
	back->literal_left -= n;
	*ret_consumed = n;
	return r < 0 ? r : PROTO_AGAIN;
}

/* One piece of a line, without its CRLF. */
static int on_piece(
	struct back *back, struct view piece, bool more, struct buf *to_node, struct buf *to_client)
{
	size_t size = 0;
	/* A continuation holds none, whatever its text looks like (RFC 9051 section 9). */
	bool literal = (back->continuing || !view_starts(piece, VIEW_LIT("+"))) &&
		announces_literal(piece, &size);
	int r = 0;

	if (literal) {
		if (size > LITERAL_BYTES)
			return fail(back, BACK_FAIL_PROTOCOL);
		if (!back->continuing)
			r = buf_append_view(&back->first, piece);
		back->continuing = true;
		back->literal_left = size;
		return r < 0 ? r : PROTO_AGAIN;
	}
	if (!back->continuing)
		return on_line(back, piece, more, to_node, to_client);
	back->continuing = false;
	r = on_line(back, buf_view(&back->first), more, to_node, to_client);
	buf_fini(&back->first);
	return r;
}

static int imap_back_input(struct back *back, struct view in, size_t *ret_consumed,
	struct buf *to_node, struct buf *to_client)
{
	struct view piece;
	int r;

	*ret_consumed = 0;
	if (back->state == BACK_IS_READY || back->state == BACK_DONE ||
		back->state == BACK_HANDSHAKE || !in.len)
		return PROTO_MORE;
	if (back->literal_left)
		return skip_literal(back, in, ret_consumed);
	if (!back->continuing)
		back->held_before = back->base.held.len;
	r = back_base_line(&back->base, in, in_replay(back), ret_consumed, &piece);
	if (r == BACK_FAILED)
		back->state = BACK_DONE;
	if (r != PROTO_AGAIN)
		return r;
	return on_piece(back, piece, in.len > *ret_consumed, to_node, to_client);
}

const struct back_ops imap_back_ops = {
	.name = "imap",
	.create = imap_back_create,
	.free = imap_back_free,
	.input = imap_back_input,
	.starttls_done = imap_back_starttls_done,
	.replay = imap_back_replay,
	BACK_BASE_OPS,
};

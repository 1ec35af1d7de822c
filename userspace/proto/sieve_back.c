// SPDX-License-Identifier: Apache-2.0
/*
 * The router's side of ManageSieve towards a node: greeting with capabilities, STARTTLS, XCLIENT,
 * the credential and the node's verdict (RFC 5804; sessions.md sections 9, 10, 12). Nothing is
 * consumed before a logical line is complete, literals included (SES-72). Answers carry no tag, so
 * a command is only written while nothing of the node is unread; otherwise an answer given too
 * early would pass for the answer to it.
 */
#include "base/base64.h"
#include "proto/back.h"
#include "proto/sasl.h"
#include "proto/sieve_parse.h"

#include <errno.h>

#define LOGICAL_LINE_BYTES 65536
#define QUOTED_BYTES 1024 /* longer ones are sent as a literal */

enum back_state {
	BACK_GREETING, /* capabilities, also after TLS */
	BACK_STARTTLS_REPLY,
	BACK_HANDSHAKE,
	BACK_XCLIENT_REPLY,
	BACK_IS_READY,
	BACK_VERDICT,
	BACK_DONE,
};

struct back {
	struct back_base base;
	enum back_state state;
	bool lists_starttls, lists_xclient;
	struct sieve_scan scan;
};

/* ---- life ---- */

static int sieve_back_create(const struct back_params *params, struct back **ret_back)
{
	return back_base_create(sizeof(**ret_back), params, ret_back);
}

/* ---- helpers ---- */

static int fail(struct back *back, enum back_failure failure)
{
	back->state = BACK_DONE;
	return back_base_fail(&back->base, failure);
}

static int no_mechanism(struct back *back)
{
	back->base.cause = back_no_mechanism;
	return fail(back, BACK_FAIL_MECHANISM);
}

/* ---- steps ---- */

static int send_xclient(struct back *back, struct buf *to_node)
{
	bool any;
	int r = buf_append_str(to_node, "XCLIENT");

	if (r == 0)
		r = xclient_write(
			to_node, &back->base.forward, "", XCLIENT_ALL_OF_POP3, false, &any);
	if (r == 0)
		r = buf_append(to_node, "\r\n", 2);
	return r;
}

/* Capabilities are known, or the node has heard of the client: what comes next. */
static int next_step(struct back *back, bool more, struct buf *to_node)
{
	int r;

	back->base.lines = 0;
	if (back->base.want_starttls) {
		if (!back->lists_starttls || more) {
			back->base.cause = more ? NULL : back_no_starttls;
			return fail(back, BACK_FAIL_REFUSED);
		}
		back->state = BACK_STARTTLS_REPLY;
		r = buf_append_str(to_node, "STARTTLS\r\n");
	} else if (back->base.forwards && back->lists_xclient) {
		if (more)
			return fail(back, BACK_FAIL_REFUSED);
		back->base.forwards = false;
		back->state = BACK_XCLIENT_REPLY;
		r = send_xclient(back, to_node);
	} else {
		back->state = BACK_IS_READY;
		return BACK_READY;
	}
	return r < 0 ? r : PROTO_AGAIN;
}

/* SES-55: whole names, in any case. */
static int on_greeting(struct back *back, struct view line, bool more, struct buf *to_node)
{
	struct sieve_cursor cursor = { line, false };
	struct view name;

	if (line_starts_word(line, "OK")) {
		back->base.greeted = true;
		return next_step(back, more, to_node);
	}
	if (!sieve_is_string(sieve_next(&cursor, &name))) /* NO, BYE, anything else */
		return fail(back, BACK_FAIL_REFUSED);
	back->lists_starttls |= view_eq_nocase(name, VIEW_LIT("STARTTLS"));
	back->lists_xclient |= view_eq_nocase(name, VIEW_LIT("XCLIENT"));
	if (view_eq_nocase(name, VIEW_LIT("SASL")) && sieve_is_string(sieve_next(&cursor, &name)))
		back_base_offer(&back->base, name);
	return PROTO_AGAIN;
}

static int on_starttls(struct back *back, struct view line, bool more)
{
	if (!line_starts_word(line, "OK"))
		return fail(back, BACK_FAIL_REFUSED);
	if (more)
		return fail(back, BACK_FAIL_INJECTION);
	back->state = BACK_HANDSHAKE;
	return BACK_STARTTLS;
}

/* The node sends its capabilities again by itself (RFC 5804 section 2.2). */
static int sieve_back_starttls_done(struct back *back, struct buf *to_node)
{
	(void)to_node;
	back->base.want_starttls = false;
	back->lists_starttls = back->lists_xclient = false; /* SES-54 */
	back_base_forget_offer(&back->base);
	back->base.lines = 0;
	back->state = BACK_GREETING;
	return PROTO_MORE;
}

static int on_xclient(struct back *back, struct view line, bool more, struct buf *to_node)
{
	if (!line_starts_word(line, "OK"))
		return fail(back, BACK_FAIL_REFUSED);
	return next_step(back, more, to_node);
}

/* ---- replay ---- */

/* A string, quoted or as a literal (RFC 5804 section 4: a quoted one has at most 1024 octets). */
static int put_string(struct buf *text, struct buf *to_node)
{
	bool literal = text->len > QUOTED_BYTES;
	int r = literal ? buf_printf(to_node, "{%u+}\r\n", (unsigned)text->len)
			: buf_append(to_node, "\"", 1);

	if (r == 0)
		r = buf_move(to_node, text);
	return r < 0 ? r : buf_append_str(to_node, literal ? "\r\n" : "\"\r\n");
}

static int put_credential(struct back *back, const struct proto_credential *credential,
	enum back_way way, struct buf *to_node)
{
	const char *name = sasl_mech_name(back_base_mech(credential));
	int r;

	if (way == BACK_WAY_LOGIN) {
		r = buf_append_str(to_node, "AUTHENTICATE \"LOGIN\"\r\n");
		return r < 0 ? r : back_base_login_parts(&back->base, credential);
	}
	back->base.sent = true;
	r = base64_encode(buf_view(&credential->message), &back->base.credential);
	if (r == 0)
		r = buf_printf(to_node, "AUTHENTICATE \"%s\" ", name);
	return r < 0 ? r : put_string(&back->base.credential, to_node);
}

/* SES-57: nothing may be left over. */
static int sieve_back_replay(struct back *back, const struct proto_credential *credential,
	struct view unread, size_t *ret_consumed, struct buf *to_node)
{
	enum back_way way = back_base_way(&back->base, credential, false);
	int r;

	*ret_consumed = unread.len;
	if (unread.len || back->state != BACK_IS_READY)
		return fail(back, BACK_FAIL_REFUSED);
	if (way == BACK_WAY_NONE)
		return no_mechanism(back);
	back_base_start_replay(&back->base, credential);
	back->state = BACK_VERDICT;
	r = put_credential(back, credential, way, to_node);
	return r < 0 ? r : PROTO_MORE;
}

static int send_part(struct back *back, bool more, struct buf *to_node)
{
	CLEANUP(buf_fini) struct buf part;
	int r;

	buf_init(&part, 0, true);
	r = back_base_take_part(&back->base, more, &part);
	if (r == BACK_FAILED)
		back->state = BACK_DONE;
	if (r == 0)
		r = put_string(&part, to_node);
	return r == 0 ? PROTO_AGAIN : r;
}

/* A prompt of LOGIN, or the detail of an OAuth error, which is answered once (SES-71); the answer
 * makes the node refuse. */
static int on_challenge(struct back *back, struct view line, bool more, struct buf *to_node)
{
	const char *answer = oauth_error_answer(back->base.mech);
	struct sieve_cursor cursor = { line, false };
	struct view text;
	int r;

	if (!sieve_is_string(sieve_next(&cursor, &text)) || sieve_next(&cursor, &text) != SIEVE_END)
		return fail(back, BACK_FAIL_PROTOCOL);
	if (back->base.prompts)
		return send_part(back, more, to_node);
	if (!answer || back->base.answered)
		return fail(back, BACK_FAIL_PROTOCOL);
	back->base.answered = true;
	r = buf_printf(to_node, "\"%s\"\r\n", answer);
	return r < 0 ? r : PROTO_AGAIN;
}

/* "NO (TRYLATER)", "BYE (TRYLATER)", also with a detail as in "(TRYLATER/X)" (RFC 5804 section
 * 1.3). */
static bool is_temporary(struct view line)
{
	struct view text = view_skip(line, line_starts_word(line, "NO") ? 3 : 4);
	struct view code = VIEW_LIT("(TRYLATER");

	return view_starts_nocase(text, code) && text.len > code.len &&
		memchr(")/ ", text.data[code.len], 3);
}

static int on_answer(struct back *back, struct view line, struct view raw, bool more,
	struct buf *to_node, struct buf *to_client)
{
	int r;

	if (line_starts_word(line, "OK")) {
		if (!back->base.sent) /* success before the credential went out (#7) */
			return fail(back, BACK_FAIL_REFUSED);
		r = BACK_ACCEPTED;
	} else if (line_starts_word(line, "NO") || line_starts_word(line, "BYE")) {
		back->base.for_good = line_starts_word(line, "BYE"); /* SES-75 */
		back->base.temporarily = is_temporary(line);
		r = BACK_REFUSED;
	} else {
		return on_challenge(back, line, more, to_node);
	}
	back->state = BACK_DONE;
	return buf_append_view(to_client, raw) < 0 ? -ENOBUFS : r;
}

/* ---- lines ---- */

/* A logical line is complete; raw: with its line end; more: input is left behind it. */
static int on_line(struct back *back, struct view line, struct view raw, bool more,
	struct buf *to_node, struct buf *to_client)
{
	switch (back->state) {
	case BACK_GREETING:
		return on_greeting(back, line, more, to_node);
	case BACK_STARTTLS_REPLY:
		return on_starttls(back, line, more);
	case BACK_XCLIENT_REPLY:
		return on_xclient(back, line, more, to_node);
	default:
		return on_answer(back, line, raw, more, to_node, to_client);
	}
}

static int sieve_back_input(struct back *back, struct view in, size_t *ret_consumed,
	struct buf *to_node, struct buf *to_client)
{
	static const struct sieve_limits limits = { LOGICAL_LINE_BYTES, PROTO_NODE_LINE_BYTES,
		true };
	unsigned most = back->state == BACK_VERDICT ? BACK_LINES_IN_REPLAY : BACK_LINES_PER_REPLY;
	enum sieve_scan_result result;
	struct sieve_scan scan;

	*ret_consumed = 0;
	if (back->state == BACK_IS_READY || back->state == BACK_DONE ||
		back->state == BACK_HANDSHAKE || !in.len)
		return PROTO_MORE;
	result = sieve_scan(&back->scan, in, &limits);
	if (result == SIEVE_SCAN_MORE)
		return PROTO_MORE;
	scan = back->scan;
	back->scan = (struct sieve_scan){ 0 };
	back->base.lines += scan.lines;
	if (result != SIEVE_SCAN_DONE || back->base.lines > most)
		return fail(back, BACK_FAIL_PROTOCOL);
	*ret_consumed = scan.at;
	return on_line(back, view_make(in.data, scan.content), view_make(in.data, scan.at),
		in.len > scan.at, to_node, to_client);
}

const struct back_ops sieve_back_ops = {
	.name = "managesieve",
	.create = sieve_back_create,
	.free = back_base_free,
	.input = sieve_back_input,
	.starttls_done = sieve_back_starttls_done,
	.replay = sieve_back_replay,
	BACK_BASE_OPS,
};

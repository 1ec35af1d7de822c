// SPDX-License-Identifier: Apache-2.0
/*
 * The router's side of submission towards a node: greeting, EHLO, STARTTLS, XCLIENT, the credential
 * and the node's verdict (sessions.md sections 9, 10, 12). A reply is taken whole: all its lines
 * carry one code, the last a blank behind it. A command is written only while nothing of the node
 * is unread.
 */
#include "proto/back.h"

#include <errno.h>

enum back_state {
	BACK_GREETING,
	BACK_EHLO_REPLY,
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
	unsigned code;   /* of the reply under way; 0: its first line is awaited */
	unsigned listed; /* bits of enum xclient_attribute */
	bool lists_starttls;
	bool more; /* bytes of the node are left behind the line in hand */
};

/* ---- life ---- */

static int smtp_back_create(const struct back_params *params, struct back **ret_back)
{
	return back_base_create(sizeof(**ret_back), params, ret_back);
}

/* ---- steps ---- */

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

static void await_reply(struct back *back, enum back_state state)
{
	back->state = state;
	back->code = 0;
	back->base.lines = 0;
}

/* The client's name if it is valid, else ours (SES-53). */
static int send_ehlo(struct back *back, struct buf *to_node)
{
	const char *name = *back->base.helo ? back->base.helo : back->base.host;
	int r = buf_printf(to_node, "EHLO %s\r\n", name);

	back->listed = 0; /* SES-54 */
	back_base_forget_offer(&back->base);
	back->lists_starttls = false;
	await_reply(back, BACK_EHLO_REPLY);
	return r < 0 ? r : PROTO_AGAIN;
}

/* Only what the node lists is sent; *ret_any: something was. */
static int send_xclient(struct back *back, struct buf *to_node, bool *ret_any)
{
	struct buf line;
	int r;

	buf_init(&line, 0, false);
	r = xclient_write(&line, &back->base.forward, back->base.helo, back->listed, true, ret_any);
	if (r == 0 && *ret_any) {
		r = buf_append_str(to_node, "XCLIENT");
		if (r == 0)
			r = buf_append_view(to_node, buf_view(&line));
		if (r == 0)
			r = buf_append(to_node, "\r\n", 2);
	}
	buf_fini(&line);
	return r;
}

/* EHLO has been answered. */
static int after_ehlo(struct back *back, struct buf *to_node)
{
	bool sent = false;
	int r = 0;

	if (back->base.want_starttls) {
		if (!back->lists_starttls) {
			back->base.cause = back_no_starttls;
			return fail(back, BACK_FAIL_REFUSED);
		}
		await_reply(back, BACK_STARTTLS_REPLY);
		r = buf_append_str(to_node, "STARTTLS\r\n");
		return r < 0 ? r : PROTO_AGAIN;
	}
	if (back->base.forwards) {
		back->base.forwards = false;
		r = send_xclient(back, to_node, &sent);
	}
	if (r < 0)
		return r;
	if (sent) {
		await_reply(back, BACK_XCLIENT_REPLY);
		return PROTO_AGAIN;
	}
	back->state = BACK_IS_READY;
	return BACK_READY;
}

/* A line of EHLO's answer behind the first: KEYWORD and parameters (SES-55: whole words). */
static void take_extension(struct back *back, struct view text)
{
	struct view word = line_word(&text);

	if (view_eq_nocase(word, VIEW_LIT("STARTTLS")))
		back->lists_starttls = true;
	else if (view_eq_nocase(word, VIEW_LIT("XCLIENT")))
		back->listed = xclient_listed(text);
	else if (view_eq_nocase(word, VIEW_LIT("AUTH")))
		back_base_offer(&back->base, text);
	else if (view_starts_nocase(word, VIEW_LIT("AUTH="))) { /* before RFC 2554 */
		back_base_offer(&back->base, view_skip(word, 5));
		back_base_offer(&back->base, text);
	}
}

/* ---- replies ---- */

/* Three digits, then "-", a blank or the end. Returns false if it is no such line. */
static bool take_code(struct view line, unsigned *ret_code, bool *ret_last)
{
	unsigned code = 0;

	if (line.len < 3)
		return false;
	for (int i = 0; i < 3; i++) {
		if (line.data[i] < '0' || line.data[i] > '9')
			return false;
		code = code * 10 + (unsigned)(line.data[i] - '0');
	}
	if (line.len > 3 && line.data[3] != '-' && line.data[3] != ' ')
		return false;
	*ret_code = code;
	*ret_last = line.len == 3 || line.data[3] == ' ';
	return code >= 200 && code < 600;
}

static int verdict(struct back *back, struct buf *to_node, struct buf *to_client)
{
	int r;

	if (back->code == 334) {
		buf_clear(&back->base.held); /* the prompt is ours, not the client's */
		await_reply(back, BACK_VERDICT);
		r = back_base_prompted(&back->base, back->more, to_node);
		if (r == BACK_FAILED)
			back->state = BACK_DONE;
		return r;
	}
	if (back->code < 300) {
		if (!back->base.sent) /* success before the credential went out (#7) */
			return fail(back, BACK_FAIL_REFUSED);
		r = BACK_ACCEPTED;
	} else if (back->code >= 400) {
		back->base.temporarily = back->code < 500;
		back->base.for_good = back->code == 421; /* SES-75 */
		r = BACK_REFUSED;
	} else {
		return fail(back, BACK_FAIL_PROTOCOL);
	}
	back->state = BACK_DONE;
	return buf_move(to_client, &back->base.held) < 0 ? -ENOBUFS : r;
}

/* A reply is complete; commands follow it only if it was the last thing the node said. */
static int on_reply(struct back *back, struct buf *to_node, struct buf *to_client)
{
	if (back->state == BACK_VERDICT)
		return verdict(back, to_node, to_client);
	if (back->state == BACK_STARTTLS_REPLY) {
		if (back->code != 220)
			return fail(back, BACK_FAIL_REFUSED);
		if (back->more)
			return fail(back, BACK_FAIL_INJECTION);
		back->state = BACK_HANDSHAKE;
		return BACK_STARTTLS;
	}
	if (back->state == BACK_GREETING)
		back->base.greeted = back->code == 220;
	if (back->more) /* a reply that was not asked for (#7) */
		return fail(back, BACK_FAIL_REFUSED);
	switch (back->state) {
	case BACK_GREETING:
		return back->code == 220 ? send_ehlo(back, to_node) : fail(back, BACK_FAIL_REFUSED);
	case BACK_EHLO_REPLY:
		return back->code == 250 ? after_ehlo(back, to_node)
					 : fail(back, BACK_FAIL_REFUSED);
	default: /* XCLIENT starts the session again */
		return back->code < 300 ? send_ehlo(back, to_node) : fail(back, BACK_FAIL_REFUSED);
	}
}

static int on_line(struct back *back, struct view line, struct buf *to_node, struct buf *to_client)
{
	bool first = back->code == 0, last;
	unsigned code;

	if (!take_code(line, &code, &last) || (!first && code != back->code))
		return fail(back, BACK_FAIL_PROTOCOL);
	back->code = code;
	if (back->state == BACK_EHLO_REPLY && !first)
		take_extension(back, view_skip(line, 4));
	return last ? on_reply(back, to_node, to_client) : PROTO_AGAIN;
}

/* ---- the interface ---- */

static int smtp_back_input(struct back *back, struct view in, size_t *ret_consumed,
	struct buf *to_node, struct buf *to_client)
{
	struct view line;
	int r;

	*ret_consumed = 0;
	if (back->state == BACK_IS_READY || back->state == BACK_DONE ||
		back->state == BACK_HANDSHAKE || !in.len)
		return PROTO_MORE;
	r = back_base_line(&back->base, in, back->state == BACK_VERDICT, ret_consumed, &line);
	if (r == BACK_FAILED)
		back->state = BACK_DONE;
	back->more = in.len > *ret_consumed;
	return r == PROTO_AGAIN ? on_line(back, line, to_node, to_client) : r;
}

static int smtp_back_starttls_done(struct back *back, struct buf *to_node)
{
	int r;

	back->base.want_starttls = false;
	r = send_ehlo(back, to_node);
	return r < 0 ? r : PROTO_MORE;
}

static int smtp_back_replay(struct back *back, const struct proto_credential *credential,
	struct view unread, size_t *ret_consumed, struct buf *to_node)
{
	enum back_way way = back_base_way(&back->base, credential, false);
	int r;

	*ret_consumed = unread.len;
	if (unread.len || back->state != BACK_IS_READY) /* SES-57 */
		return fail(back, BACK_FAIL_REFUSED);
	if (way == BACK_WAY_NONE)
		return no_mechanism(back);
	await_reply(back, BACK_VERDICT);
	r = back_base_replay(
		&back->base, credential, way, "AUTH", BACK_SMTP_COMMAND_BYTES, to_node);
	return r < 0 ? r : PROTO_MORE;
}

const struct back_ops smtp_back_ops = {
	.name = "submission",
	.create = smtp_back_create,
	.free = back_base_free,
	.input = smtp_back_input,
	.starttls_done = smtp_back_starttls_done,
	.replay = smtp_back_replay,
	BACK_BASE_OPS,
};

// SPDX-License-Identifier: Apache-2.0
/*
 * The router's side of POP3 towards a node: greeting, CAPA, STLS, XCLIENT, UTF8, the credential and
 * the node's verdict (sessions.md sections 9, 10, 12). CAPA is asked of every node, because its
 * answer tells how the credential may be given (SES-70). All steps
 * end before the credential is due, so that nothing unread can be taken for its answer (SES-57).
 */
#include "proto/back.h"

#include <errno.h>

#define CAP_STLS BIT(0)
#define CAP_UTF8 BIT(1)
#define CAP_XCLIENT BIT(2)
#define CAP_USER BIT(3)

enum back_state {
	BACK_GREETING,
	BACK_CAPA_STATUS,
	BACK_CAPA_LIST,
	BACK_STLS_REPLY,
	BACK_HANDSHAKE,
	BACK_XCLIENT_REPLY,
	BACK_UTF8_REPLY,
	BACK_IS_READY,
	BACK_USER_REPLY, /* to USER: PASS waits for it */
	BACK_VERDICT,
	BACK_DONE,
};

struct back {
	struct back_base base;
	enum back_state state;
	unsigned caps;
	bool greeting_xclient; /* SES-56 */
	bool caps_known;
	bool more; /* bytes of the node are left behind the line in hand */
};

/* ---- life ---- */

static int pop3_back_create(const struct back_params *params, struct back **ret_back)
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

static int command(struct back *back, enum back_state next, struct buf *to_node, const char *text)
{
	int r;

	/* Replies carry no tag: one that comes before its command would pass for the answer to it,
	 * and the real one for the answer to the credential (#7). */
	if (back->more)
		return fail(back, BACK_FAIL_REFUSED);
	r = buf_printf(to_node, "%s\r\n", text);
	back->state = next;
	back->base.lines = 0;
	return r < 0 ? r : PROTO_AGAIN;
}

static int send_xclient(struct back *back, struct buf *to_node)
{
	CLEANUP(buf_fini) struct buf line;
	bool any;
	int r;

	buf_init(&line, 0, false);
	r = buf_append_str(&line, "XCLIENT");
	if (r == 0)
		r = xclient_write(&line, &back->base.forward, "", XCLIENT_ALL_OF_POP3, false, &any);
	if (r == 0)
		r = buf_append(&line, "", 1);
	return r < 0 ? r : command(back, BACK_XCLIENT_REPLY, to_node, buf_view(&line).data);
}

/* What comes next, as far as it is known what the node can do. */
static int go_on(struct back *back, struct buf *to_node)
{
	struct back_base *base = &back->base;
	bool xclient = back->caps & CAP_XCLIENT || back->greeting_xclient;

	if (!back->caps_known)
		return command(back, BACK_CAPA_STATUS, to_node, "CAPA");
	if (base->want_starttls) {
		if (!(back->caps & CAP_STLS)) {
			base->cause = back_no_starttls;
			return fail(back, BACK_FAIL_REFUSED);
		}
		return command(back, BACK_STLS_REPLY, to_node, "STLS");
	}
	if (base->forwards && xclient) {
		base->forwards = false;
		return send_xclient(back, to_node);
	}
	if (base->utf8 && back->caps & CAP_UTF8) {
		base->utf8 = false;
		return command(back, BACK_UTF8_REPLY, to_node, "UTF8");
	}
	back->state = BACK_IS_READY;
	return BACK_READY;
}

static bool names_xclient(struct view line)
{
	struct view word;

	while ((word = line_word(&line)).len) {
		if (view_eq_nocase(word, VIEW_LIT("[XCLIENT]")))
			return true;
	}
	return false;
}

static void take_capability(struct back *back, struct view line)
{
	struct view word = line_word(&line);

	if (view_eq_nocase(word, VIEW_LIT("STLS")))
		back->caps |= CAP_STLS;
	else if (view_eq_nocase(word, VIEW_LIT("UTF8")))
		back->caps |= CAP_UTF8;
	else if (view_eq_nocase(word, VIEW_LIT("XCLIENT")))
		back->caps |= CAP_XCLIENT;
	else if (view_eq_nocase(word, VIEW_LIT("USER")))
		back->caps |= CAP_USER;
	else if (view_eq_nocase(word, VIEW_LIT("SASL")))
		back_base_offer(&back->base, line);
}

static int on_capa(struct back *back, struct view line, struct buf *to_node)
{
	if (back->state == BACK_CAPA_STATUS && line_starts_word(line, "+OK")) {
		back->state = BACK_CAPA_LIST;
		return PROTO_AGAIN;
	}
	if (back->state == BACK_CAPA_LIST && !view_eq(line, VIEW_LIT("."))) {
		take_capability(back, line);
		return PROTO_AGAIN;
	}
	/* The list is over, or the node knows no CAPA. */
	if (back->state == BACK_CAPA_STATUS && !line_starts_word(line, "-ERR"))
		return fail(back, BACK_FAIL_PROTOCOL);
	if (back->caps & CAP_USER) /* without SASL there is none */
		back->base.lists = true;
	back->caps_known = true;
	return go_on(back, to_node);
}

/* Temporary classes (SES-74). */
static bool is_temporary(struct view line)
{
	static const char *const codes[] = { "[SYS/TEMP]", "[IN-USE]", "[LOGIN-DELAY]" };
	struct view code = view_skip(line, 5);

	for (size_t i = 0; i < ARRAY_SIZE(codes); i++) {
		if (view_starts_nocase(code, view_str(codes[i])))
			return true;
	}
	return false;
}

static int verdict(struct back *back, struct view line, struct buf *to_client)
{
	int r = BACK_ACCEPTED;

	if (line_starts_word(line, "+OK")) {
		if (!back->base.sent) /* success before the credential went out (#7) */
			return fail(back, BACK_FAIL_REFUSED);
	} else if (line_starts_word(line, "-ERR")) {
		back->base.temporarily = is_temporary(line);
		r = BACK_REFUSED;
	} else {
		return fail(back, BACK_FAIL_PROTOCOL);
	}
	back->state = BACK_DONE;
	return buf_move(to_client, &back->base.held) < 0 ? -ENOBUFS : r;
}

static int prompted(struct back *back, struct buf *to_node)
{
	int r = back_base_prompted(&back->base, back->more, to_node);

	if (r == BACK_FAILED)
		back->state = BACK_DONE;
	return r;
}

/* To USER: the name is taken, or the attempt is over. */
static int on_user(struct back *back, struct view line, struct buf *to_node, struct buf *to_client)
{
	if (!line_starts_word(line, "+OK"))
		return verdict(back, line, to_client);
	buf_clear(&back->base.held);
	back->base.lines = 0;
	back->state = BACK_VERDICT;
	return prompted(back, to_node);
}

static int on_answer(
	struct back *back, struct view line, struct buf *to_node, struct buf *to_client)
{
	if (!view_eq(line, VIEW_LIT("+")) && !view_starts(line, VIEW_LIT("+ ")))
		return verdict(back, line, to_client);
	buf_clear(&back->base.held); /* the prompt is ours, not the client's */
	return prompted(back, to_node);
}

static int on_line(struct back *back, struct view line, struct buf *to_node, struct buf *to_client)
{
	switch (back->state) {
	case BACK_GREETING:
		if (!line_starts_word(line, "+OK"))
			return fail(back, BACK_FAIL_REFUSED);
		back->base.greeted = true;
		back->greeting_xclient = names_xclient(line);
		return go_on(back, to_node);
	case BACK_CAPA_STATUS:
	case BACK_CAPA_LIST:
		return on_capa(back, line, to_node);
	case BACK_STLS_REPLY:
		if (!line_starts_word(line, "+OK"))
			return fail(back, BACK_FAIL_REFUSED);
		if (back->more)
			return fail(back, BACK_FAIL_INJECTION);
		back->state = BACK_HANDSHAKE;
		return BACK_STARTTLS;
	case BACK_XCLIENT_REPLY:
		return line_starts_word(line, "+OK") ? go_on(back, to_node)
						     : fail(back, BACK_FAIL_REFUSED);
	case BACK_USER_REPLY:
		return on_user(back, line, to_node, to_client);
	case BACK_UTF8_REPLY: /* a refusal is ignored (SES-49) */
		return go_on(back, to_node);
	default:
		return on_answer(back, line, to_node, to_client);
	}
}

/* ---- the interface ---- */

static int pop3_back_input(struct back *back, struct view in, size_t *ret_consumed,
	struct buf *to_node, struct buf *to_client)
{
	struct view line;
	int r;

	*ret_consumed = 0;
	if (back->state == BACK_IS_READY || back->state == BACK_DONE ||
		back->state == BACK_HANDSHAKE || !in.len)
		return PROTO_MORE;
	r = back_base_line(&back->base, in,
		back->state == BACK_VERDICT || back->state == BACK_USER_REPLY, ret_consumed, &line);
	if (r == BACK_FAILED)
		back->state = BACK_DONE;
	back->more = in.len > *ret_consumed;
	return r == PROTO_AGAIN ? on_line(back, line, to_node, to_client) : r;
}

static int pop3_back_starttls_done(struct back *back, struct buf *to_node)
{
	int r;

	back->base.want_starttls = false;
	back->caps_known = false; /* SES-54; the greeting came before TLS as well */
	back->caps = 0;
	back_base_forget_offer(&back->base);
	back->greeting_xclient = back->more = false;
	r = go_on(back, to_node);
	return r == PROTO_AGAIN ? PROTO_MORE : r;
}

static bool fits_a_line(struct view text)
{
	return !memchr(text.data, '\r', text.len) && !memchr(text.data, '\n', text.len);
}

static int send_user(
	struct back *back, const struct proto_credential *credential, struct buf *to_node)
{
	struct view user = back_user(credential), password = back_password(credential);
	int r;

	if (!fits_a_line(user) || !fits_a_line(password))
		return no_mechanism(back);
	back->state = BACK_USER_REPLY;
	back->base.prompts = 1;
	r = buf_append_str(&back->base.credential, "PASS ");
	if (r == 0)
		r = buf_append_view(&back->base.credential, password);
	if (r == 0)
		r = buf_append_str(to_node, "USER ");
	if (r == 0)
		r = buf_append_view(to_node, user);
	if (r == 0)
		r = buf_append(to_node, "\r\n", 2);
	return r;
}

static int pop3_back_replay(struct back *back, const struct proto_credential *credential,
	struct view unread, size_t *ret_consumed, struct buf *to_node)
{
	enum back_way way = back_base_way(&back->base, credential, (back->caps & CAP_USER) != 0);
	int r;

	*ret_consumed = unread.len;
	if (unread.len || back->state != BACK_IS_READY) /* SES-57 */
		return fail(back, BACK_FAIL_REFUSED);
	if (way == BACK_WAY_NONE)
		return no_mechanism(back);
	back_base_start_replay(&back->base, credential);
	if (way == BACK_WAY_COMMAND) {
		r = send_user(back, credential, to_node);
	} else {
		back->state = BACK_VERDICT;
		r = back_base_replay(
			&back->base, credential, way, "AUTH", BACK_POP3_COMMAND_BYTES, to_node);
	}
	return r == 0 ? PROTO_MORE : r;
}

const struct back_ops pop3_back_ops = {
	.name = "pop3",
	.create = pop3_back_create,
	.free = back_base_free,
	.input = pop3_back_input,
	.starttls_done = pop3_back_starttls_done,
	.replay = pop3_back_replay,
	BACK_BASE_OPS,
};

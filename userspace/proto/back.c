// SPDX-License-Identifier: Apache-2.0
/* What the backs do alike. */
#include "proto/back.h"
#include "base/base64.h"
#include "proto/sasl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define HELD_BYTES (512 * 1024)

const char back_no_starttls[] = "the node does not offer STARTTLS";

static void copy_text(char *to, size_t size, const char *from)
{
	snprintf(to, size, "%s", from ? from : "");
}

int back_base_create(size_t size, const struct back_params *params, struct back **ret_back)
{
	struct back_base *base = calloc(1, size);

	if (!base)
		return -ENOMEM;
	*base = (struct back_base){ .want_starttls = params->starttls, .utf8 = params->utf8 };
	copy_text(base->host, sizeof(base->host), params->host);
	copy_text(base->helo, sizeof(base->helo), params->helo);
	if (params->forward) {
		base->forwards = true;
		base->forward = *params->forward;
		copy_text(base->client_ip, sizeof(base->client_ip), params->forward->client_ip);
		copy_text(base->local_ip, sizeof(base->local_ip), params->forward->local_ip);
		copy_text(base->session_id, sizeof(base->session_id), params->forward->session_id);
		base->forward.client_ip = base->client_ip;
		base->forward.local_ip = base->local_ip;
		base->forward.session_id = base->session_id;
	}
	buf_init(&base->held, HELD_BYTES, true); /* nodes may repeat what they were sent */
	buf_init(&base->credential, 0, true);
	buf_init(&base->password, 0, true);
	*ret_back = (struct back *)base;
	return 0;
}

void back_base_free(struct back *back)
{
	struct back_base *base = (struct back_base *)back;

	if (!base)
		return;
	buf_fini(&base->held);
	buf_fini(&base->credential);
	buf_fini(&base->password);
	free(base);
}

enum sasl_mech back_base_mech(const struct proto_credential *credential)
{
	return credential->mech == SASL_LOGIN ? SASL_PLAIN : credential->mech;
}

/* ---- what the node offers ---- */

void back_base_offer(struct back_base *base, struct view names)
{
	struct view name;

	while ((name = line_word(&names)).len) {
		int mech = sasl_mech_find(name);

		base->lists = true;
		if (mech >= 0)
			base->offered |= BIT(mech);
	}
}

void back_base_forget_offer(struct back_base *base)
{
	base->lists = false;
	base->offered = 0;
}

struct view back_user(const struct proto_credential *credential)
{
	return view_make(buf_view(&credential->message).data + credential->authcid_at,
		credential->authcid_len);
}

struct view back_password(const struct proto_credential *credential)
{
	return view_skip(buf_view(&credential->message),
		credential->authcid_at + credential->authcid_len + 1);
}

/* Only PLAIN tells who is to be acted for (RFC 4616). */
static bool acts_for_another(const struct proto_credential *credential)
{
	struct view authzid =
		view_make(buf_view(&credential->message).data + credential->authzid_at,
			credential->authzid_len);

	return authzid.len && !view_eq(authzid, back_user(credential));
}

const char back_no_mechanism[] = "the node offers no mechanism that takes this credential";

enum back_way back_base_way(
	const struct back_base *base, const struct proto_credential *credential, bool takes_command)
{
	enum sasl_mech mech = back_base_mech(credential);

	if (!base->lists || base->offered & BIT(mech))
		return BACK_WAY_MECH;
	if (mech != SASL_PLAIN || acts_for_another(credential))
		return BACK_WAY_NONE;
	if (base->offered & BIT(SASL_LOGIN))
		return BACK_WAY_LOGIN;
	return takes_command ? BACK_WAY_COMMAND : BACK_WAY_NONE;
}

int back_base_fail(struct back_base *base, enum back_failure failure)
{
	base->failure = failure;
	return BACK_FAILED;
}

/* ---- replay ---- */

void back_base_start_replay(struct back_base *base, const struct proto_credential *credential)
{
	base->mech = credential->mech;
	base->lines = 0;
	base->scanned = 0;
}

int back_base_login_parts(struct back_base *base, const struct proto_credential *credential)
{
	int r = base64_encode(back_user(credential), &base->credential);

	base->prompts = 2;
	return r < 0 ? r : base64_encode(back_password(credential), &base->password);
}

int back_base_replay(struct back_base *base, const struct proto_credential *credential,
	enum back_way way, const char *command, size_t limit_bytes, struct buf *to_node)
{
	const char *name = sasl_mech_name(back_base_mech(credential));
	int r;

	back_base_start_replay(base, credential);
	if (way == BACK_WAY_LOGIN) {
		r = buf_printf(to_node, "%s LOGIN\r\n", command);
		return r < 0 ? r : back_base_login_parts(base, credential);
	}
	r = base64_encode(buf_view(&credential->message), &base->credential);
	if (r == 0)
		r = buf_printf(to_node, "%s %s", command, name);
	base->prompts = 1;
	if (r == 0 &&
		strlen(command) + strlen(name) + base->credential.len + strlen("  \r\n") <=
			limit_bytes) {
		r = buf_append(to_node, " ", 1);
		if (r == 0)
			r = buf_move(to_node, &base->credential);
		base->prompts = 0;
		base->sent = true;
	}
	return r < 0 ? r : buf_append(to_node, "\r\n", 2);
}

int back_base_take_part(struct back_base *base, bool more, struct buf *ret_part)
{
	int r;

	if (more)
		return back_base_fail(base, BACK_FAIL_REFUSED);
	r = buf_move(ret_part, &base->credential);
	base->prompts--;
	base->sent = !base->prompts;
	return r < 0 || base->sent ? r : buf_move(&base->credential, &base->password);
}

int back_base_prompted(struct back_base *base, bool more, struct buf *to_node)
{
	const char *answer = oauth_error_answer(base->mech);
	int r;

	if (base->prompts) {
		r = back_base_take_part(base, more, to_node);
	} else if (base->sent && answer && !base->answered) {
		r = buf_append_str(to_node, answer);
		base->answered = true;
	} else {
		return back_base_fail(base, BACK_FAIL_PROTOCOL);
	}
	if (r == 0)
		r = buf_append(to_node, "\r\n", 2);
	return r == 0 ? PROTO_AGAIN : r;
}

int back_base_line(struct back_base *base, struct view in, bool in_replay, size_t *ret_consumed,
	struct view *ret_line)
{
	int r;

	if (!line_of_node(in, &base->scanned, ret_line))
		return in.len > PROTO_NODE_LINE_BYTES + 1 ? back_base_fail(base, BACK_FAIL_PROTOCOL)
							  : PROTO_MORE;
	if (ret_line->len > PROTO_NODE_LINE_BYTES ||
		++base->lines > (in_replay ? BACK_LINES_IN_REPLAY : BACK_LINES_PER_REPLY))
		return back_base_fail(base, BACK_FAIL_PROTOCOL);
	*ret_consumed = ret_line->len + 2;
	r = in_replay ? buf_append_view(&base->held, view_make(in.data, *ret_consumed)) : 0;
	if (r == -ENOBUFS)
		return back_base_fail(base, BACK_FAIL_PROTOCOL);
	return r < 0 ? r : PROTO_AGAIN;
}

static const struct back_base *base_of(const struct back *back)
{
	return (const struct back_base *)back;
}

bool back_base_credential_sent(const struct back *back)
{
	return base_of(back)->sent;
}

enum back_failure back_base_failure(const struct back *back)
{
	return base_of(back)->failure;
}

bool back_base_refused_temporarily(const struct back *back)
{
	return base_of(back)->temporarily;
}

bool back_base_refused_for_good(const struct back *back)
{
	return base_of(back)->for_good;
}

bool back_base_greeted(const struct back *back)
{
	return base_of(back)->greeted;
}

const char *back_base_cause(const struct back *back)
{
	return base_of(back)->cause;
}

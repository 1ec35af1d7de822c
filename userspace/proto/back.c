// SPDX-License-Identifier: Apache-2.0
/* What the backs do alike. */
#include "proto/back.h"
#include "base/base64.h"

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
	buf_init(&base->held, HELD_BYTES, false);
	buf_init(&base->credential, 0, true);
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
	free(base);
}

const char *back_base_mech_name(const struct proto_credential *credential)
{
	return sasl_mech_name(credential->mech == SASL_LOGIN ? SASL_PLAIN : credential->mech);
}

int back_base_fail(struct back_base *base, enum back_failure failure)
{
	base->failure = failure;
	return BACK_FAILED;
}

int back_base_replay(struct back_base *base, const struct proto_credential *credential,
	const char *command, struct buf *to_node)
{
	const char *name = back_base_mech_name(credential);
	size_t before = strlen(command) + strlen(name) + 2;
	int r = base64_encode(buf_view(&credential->message), &base->credential);

	base->mech = credential->mech;
	base->lines = 0;
	base->scanned = 0;
	if (r == 0)
		r = buf_printf(to_node, "%s %s", command, name);
	if (r == 0 && before + base->credential.len <= BACK_COMMAND_BYTES) {
		r = buf_append(to_node, " ", 1);
		if (r == 0)
			r = buf_move(to_node, &base->credential);
		base->sent = true;
	}
	return r < 0 ? r : buf_append(to_node, "\r\n", 2);
}

int back_base_prompted(struct back_base *base, bool more, struct buf *to_node)
{
	const char *answer = oauth_error_answer(base->mech);
	int r;

	if (!base->sent && more)
		return back_base_fail(base, BACK_FAIL_REFUSED);
	if (!base->sent) {
		r = buf_move(to_node, &base->credential);
		base->sent = true;
	} else if (answer && !base->answered) {
		r = buf_append_str(to_node, answer);
		base->answered = true;
	} else {
		return back_base_fail(base, BACK_FAIL_PROTOCOL);
	}
	if (r == 0)
		r = buf_append(to_node, "\r\n", 2);
	return r < 0 ? r : PROTO_AGAIN;
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

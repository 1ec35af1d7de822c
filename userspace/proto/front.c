// SPDX-License-Identifier: Apache-2.0
/* What every front does alike: what is offered, the attempts, the exchange, the end. */
#include "proto/front.h"

#include <errno.h>
#include <stdlib.h>

static char *copy(const char *text)
{
	return view_dup(view_str(text ? text : ""));
}

static struct front_base *base_of(struct front *front)
{
	return (struct front_base *)front;
}

static const struct front_base *const_base_of(const struct front *front)
{
	return (const struct front_base *)front;
}

/* ---- life ---- */

int front_base_create(size_t size, const struct front_dialect *dialect,
	const struct front_params *params, struct front **ret_front)
{
	struct front_base *base = calloc(1, size);

	if (!base)
		return -ENOMEM;
	*base = (struct front_base){
		.dialect = dialect,
		.host = copy(params->host),
		.banner = copy(params->banner),
		.capabilities = copy(params->capabilities),
		.implementation = copy(params->implementation),
		.client = copy(params->client),
		.mech_count = MIN(params->mech_count, (size_t)SASL_MECHS),
		.offer_starttls = params->offer_starttls,
		.permit_auth = params->permit_auth,
		.trusted = params->trusted,
		.max_attempts = params->max_attempts,
		.last_mech = -1,
	};
	if (base->mech_count)
		memcpy(base->mechs, params->mechs, base->mech_count * sizeof(base->mechs[0]));
	sasl_exchange_init(&base->sasl);
	if (!base->host || !base->banner || !base->capabilities || !base->implementation ||
		!base->client) {
		front_base_free((struct front *)base);
		return -ENOMEM;
	}
	*ret_front = (struct front *)base;
	return 0;
}

void front_base_free(struct front *front)
{
	struct front_base *base = base_of(front);

	if (!base)
		return;
	sasl_exchange_reset(&base->sasl);
	free(base->host);
	free(base->banner);
	free(base->capabilities);
	free(base->implementation);
	free(base->client);
	free(base);
}

/* ---- attempts ---- */

int front_base_mech(struct front *front, struct view name)
{
	struct front_base *base = base_of(front);
	int mech = sasl_mech_find(name);

	if (mech < 0)
		return -1;
	base->last_mech = mech;
	for (size_t i = 0; i < base->mech_count; i++) {
		if ((int)base->mechs[i] == mech)
			return mech;
	}
	return -1;
}

void front_base_attempt(struct front *front, enum sasl_mech mech)
{
	base_of(front)->last_mech = (int)mech;
	(void)sasl_exchange_start(&base_of(front)->sasl, mech);
}

static int answer(struct front *front, struct buf *out, const char *text)
{
	const struct front_dialect *dialect = base_of(front)->dialect;

	return dialect->answer ? dialect->answer(front, out, text) : proto_say(out, text);
}

int front_base_want_privacy(struct front *front, struct buf *out)
{
	struct front_base *base = base_of(front);

	if (base->privacy < UINT16_MAX)
		base->privacy++;
	return answer(front, out, base->dialect->privacy);
}

int front_base_close(struct front *front, enum front_end why, int r)
{
	base_of(front)->state = FRONT_ENDED;
	base_of(front)->end = why;
	return r < 0 ? r : FRONT_CLOSE;
}

static int end_at_limit(struct front *front, struct buf *out)
{
	const struct front_dialect *dialect = base_of(front)->dialect;
	int r = dialect->limit ? dialect->limit(front, out) : 0;

	return front_base_close(front, FRONT_END_AUTH_LIMIT, r);
}

int front_base_count(struct front *front, struct buf *out, int r)
{
	struct front_base *base = base_of(front);

	if (++base->attempts < base->max_attempts || r < 0)
		return r;
	return end_at_limit(front, out);
}

static void forget_attempt(struct front *front)
{
	sasl_exchange_reset(&base_of(front)->sasl);
	base_of(front)->state = FRONT_COMMAND;
	base_of(front)->dialect->forget(front);
}

int front_base_unsupported(struct front *front, struct buf *out, const char *text)
{
	forget_attempt(front);
	return answer(front, out, text);
}

int front_base_command(struct front *front, struct buf *out, int r)
{
	struct front_base *base = base_of(front);

	if (r != PROTO_AGAIN || ++base->commands < FRONT_COMMANDS + base->attempts)
		return r;
	return end_at_limit(front, out);
}

int front_base_fail(struct front *front, struct buf *out, const char *text)
{
	forget_attempt(front);
	return front_base_count(front, out, answer(front, out, text));
}

static int prompt(struct front *front, struct buf *out, const char *text)
{
	base_of(front)->state = FRONT_RESPONSE;
	return proto_say(out, text);
}

int front_base_step(struct front *front, int step, struct buf *out)
{
	const struct front_dialect *dialect = base_of(front)->dialect;

	switch (step) {
	case SASL_DONE:
		base_of(front)->state = FRONT_HAS_CREDENTIAL;
		dialect->forget(front);
		return FRONT_LOGIN;
	case SASL_PROMPT_USER:
		return prompt(front, out, dialect->prompt_user);
	case SASL_PROMPT_PASSWORD:
		return prompt(front, out, dialect->prompt_password);
	case SASL_PROMPT_EMPTY:
		return prompt(front, out, dialect->prompt_empty);
	case SASL_FAIL_AUTH:
		return front_base_fail(front, out, dialect->auth_failed);
	case SASL_FAIL_BASE64:
		return front_base_fail(front, out, dialect->bad_base64);
	case SASL_FAIL_TOO_LONG:
		return front_base_fail(front, out, dialect->long_response);
	case SASL_FAIL_CANCELLED:
		return front_base_fail(front, out, dialect->cancelled);
	default:
		return step;
	}
}

int front_base_discard(struct front *front, struct view in, size_t *ret_consumed)
{
	const char *newline = memchr(in.data, '\n', in.len);

	*ret_consumed = newline ? (size_t)(newline - in.data) + 1 : in.len;
	if (!newline)
		return PROTO_MORE;
	base_of(front)->state = FRONT_COMMAND;
	return PROTO_AGAIN;
}

int front_base_input(struct front *front, struct view in, size_t *ret_consumed, struct buf *out)
{
	const struct front_base *base = base_of(front);

	*ret_consumed = 0;
	if (!in.len)
		return PROTO_MORE;
	switch (base->state) {
	case FRONT_COMMAND:
		return front_base_command(
			front, out, base->dialect->command(front, in, ret_consumed, out));
	case FRONT_RESPONSE:
		return base->dialect->response(front, in, ret_consumed, out);
	case FRONT_DISCARD:
		return front_base_discard(front, in, ret_consumed);
	default: /* the caller answers what it was told first */
		return PROTO_MORE;
	}
}

/* ---- what the caller tells ---- */

void front_base_starttls_done(struct front *front, bool permit_auth)
{
	struct front_base *base = base_of(front);

	forget_attempt(front);
	base->peer = (struct front_peer){ 0 };
	base->offer_starttls = false;
	base->permit_auth = permit_auth;
}

void front_base_take_credential(struct front *front, struct proto_credential *ret_credential)
{
	sasl_exchange_take(&base_of(front)->sasl, ret_credential);
}

int front_base_reply(struct front *front, enum front_reply reply, struct buf *out)
{
	const struct front_dialect *dialect = base_of(front)->dialect;
	int r;

	if (reply == FRONT_REPLY_AUTH_FAILED)
		return front_base_fail(front, out, dialect->auth_failed);
	if (reply == FRONT_REPLY_HIDDEN_TEMP)
		return front_base_fail(front, out, dialect->unavailable);
	r = dialect->goodbye(front, reply, out);
	forget_attempt(front);
	return front_base_close(front, FRONT_END_VIOLATION, r);
}

int front_base_refused(struct front *front, struct buf *out)
{
	forget_attempt(front);
	return front_base_count(front, out, PROTO_AGAIN);
}

/* ---- questions ---- */

enum front_end front_base_end(const struct front *front)
{
	return const_base_of(front)->end;
}

unsigned front_base_attempts(const struct front *front)
{
	return const_base_of(front)->attempts;
}

unsigned front_base_privacy(const struct front *front)
{
	return const_base_of(front)->privacy;
}

int front_base_last_mech(const struct front *front)
{
	return const_base_of(front)->last_mech;
}

const struct front_peer *front_base_peer(const struct front *front)
{
	return &const_base_of(front)->peer;
}

int front_base_put_mechs(const struct front_base *base, struct buf *out, const char *before)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < base->mech_count; i++)
		r = buf_printf(out, "%s%s", before, sasl_mech_name(base->mechs[i]));
	return r;
}

int proto_say(struct buf *out, const char *line)
{
	int r = buf_append_str(out, line);

	if (r == 0)
		r = buf_append(out, "\r\n", 2);
	return r < 0 ? r : PROTO_AGAIN;
}

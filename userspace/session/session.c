// SPDX-License-Identifier: Apache-2.0
/*
 * The core of a session: its state, its time limits, the router's answers, its end. What happens in
 * between is in step_*.c. Invariants: only session_set_state() writes session->state; a closed session
 * holds no descriptor, timer, watch or secret, and its handle finds nothing.
 */
#include "session/session.h"
#include "base/clock.h"
#include "net/sock.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define DRAIN_MS 60000
#define LINGER_MS 3000
#define LOOKUP_NET_MS 5000 /* added to lookup_timeout: never expected to pass */

const struct session_state_row session_states[SESSION_STATE_COUNT] = {
#define X(name, ...) [S_##name] = { __VA_ARGS__ },
	SESSION_STATES(X)
#undef X
};

static const char *const reasons[] = {
#define X(name, text) [REASON_##name] = text,
	SESSION_REASONS(X)
#undef X
};

const char *session_route_name(enum session_route route)
{
	switch (route) {
	case ROUTE_PIN:
		return "pin";
	case ROUTE_PASSTHROUGH:
		return "passthrough";
	default:
		return mapping_route_name((enum mapping_route)route);
	}
}

const char *session_reason_name(enum session_reason reason)
{
	return reasons[reason];
}

void session_format_id(const struct session *session, char ret_id[SESSION_ID_SIZE])
{
	session_format_number(session->pool->server->instance, session->number, ret_id);
}

void session_format_number(
	const unsigned char *instance, uint64_t number, char ret_id[SESSION_ID_SIZE])
{
	snprintf(ret_id, SESSION_ID_SIZE, "H%02x%02x-%llx", instance[0], instance[1],
		(unsigned long long)number);
}

/* ---- states ---- */

static void on_deadline(struct timer *timer)
{
	struct session *session = container_of(timer, struct login, deadline)->session;

	switch (session->state) {
	case S_DIALOGUE:
		session_answer(session, FRONT_REPLY_TIMEOUT);
		session_finish(session, REASON_PREAUTH_TIMEOUT);
		break;
	case S_PROXY:
		session_close(session, REASON_PROXY_HEADER);
		break;
	case S_TLS:
	case S_STARTTLS:
		session_close(session, REASON_PREAUTH_TIMEOUT);
		break;
	case S_HOLD:
		session_hold_over(session);
		break;
	case S_LOOKUP:
		session_unavailable(session, REASON_INTERNAL);
		break;
	case S_DIAL:
		session_dial_window_over(session);
		break;
	case S_REPLAY:
		session_replay_timeout(session);
		break;
	case S_FIRST_HEAD:
	case S_IDLE:
	case S_HEAD:
	case S_EXTRACT:
	case S_EXCHANGE:
		session_http_deadline(session);
		break;
	default: /* FLUSH, LINGER, SPLICE: the peer had its time */
		if (session->state != S_LINGER)
			sock_abort_on_close(session->login->stream.fd);
		session_close(session, session->reason);
	}
}

static uint64_t state_limit_ms(const struct session *session, enum session_limit limit)
{
	uint64_t now = clock_mono_ms(), until;

	switch (limit) {
	case LIMIT_PREAUTH:
		return session->login->preauth_at_ms > now ? session->login->preauth_at_ms - now
							   : 0;
	case LIMIT_HOLD:
		until = holds_until(session->pool->server->holds, view_str(session->account));
		return until > now ? until - now : 0;
	case LIMIT_LOOKUP:
		return session->snapshot->config->mapping.lookup_timeout_ms + LOOKUP_NET_MS;
	case LIMIT_WINDOW:
		return session->snapshot->config->server.backend_timeout_ms;
	case LIMIT_DRAIN:
	case LIMIT_PROGRESS:
		return DRAIN_MS;
	case LIMIT_FIRST_HEAD:
		return MIN(state_limit_ms(session, LIMIT_PREAUTH),
			session->snapshot->config->http.head_timeout_ms);
	case LIMIT_HEAD:
		return MIN(session->snapshot->config->http.relay_idle_ms,
			session->snapshot->config->http.head_timeout_ms);
	case LIMIT_KEEPALIVE:
		return session->snapshot->config->http.keepalive_timeout_ms;
	case LIMIT_RELAY_IDLE:
		return session->snapshot->config->http.relay_idle_ms;
	default:
		return LINGER_MS;
	}
}

void session_restart_limit(struct session *session)
{
	enum session_limit limit = session_states[session->state].limit;

	if (limit == LIMIT_NONE)
		loop_timer_del(session->pool->loop, &session->login->deadline);
	else
		loop_timer_set(session->pool->loop, &session->login->deadline,
			state_limit_ms(session, limit), on_deadline);
}

void session_set_state(struct session *session, enum session_state state)
{
	assert(session_states[session->state].next & BIT(state));
	if (session->state == S_HOLD && state != S_HOLD)
		holds_leave(
			session->pool->server->holds, view_str(session->account), &session->client);
	session->state = state;
	if (session->login)
		session_restart_limit(session);
}

void session_restart_preauth(struct session *session)
{
	session->login->preauth_at_ms = clock_mono_ms() + session->settings->preauth_timeout_ms;
	if (session_states[session->state].limit == LIMIT_PREAUTH)
		session_restart_limit(session);
}

void session_phase_start(struct session *session)
{
	session->login->phase_started_ms = clock_mono_ms();
}

void session_phase_end(struct session *session, enum session_phase phase)
{
	uint64_t spent = clock_mono_ms() - session->login->phase_started_ms;

	if (session->phase_ms[phase] < 0)
		session->phase_ms[phase] = 0;
	session->phase_ms[phase] += (int32_t)MIN(spent, (uint64_t)INT32_MAX / 2);
	session->login->phase_started_ms += spent;
	histogram_observe(&session->pool->server->metrics.phases[phase], spent);
}

/* ---- answers and ends ---- */

void session_wipe_credential(struct session *session)
{
	if (!session->login || !session->login->credential)
		return;
	proto_credential_wipe(session->login->credential);
	free(session->login->credential);
	session->login->credential = NULL;
}

void session_after_reply(struct session *session, int outcome)
{
	static const enum session_reason ends[] = {
		[FRONT_END_QUIT] = REASON_CLIENT_QUIT,
		[FRONT_END_AUTH_LIMIT] = REASON_AUTH_LIMIT,
		[FRONT_END_TOO_LONG] = REASON_PROTOCOL_ERROR,
		[FRONT_END_VIOLATION] = REASON_PROTOCOL_ERROR,
	};

	session->attempts = (uint16_t)session->login->front_ops->attempts(session->login->front);
	if (outcome < 0)
		session_close(session, REASON_INTERNAL);
	else if (outcome == FRONT_CLOSE)
		session_finish(
			session, ends[session->login->front_ops->end(session->login->front)]);
}

void session_answer(struct session *session, enum front_reply reply)
{
	int r = 0;

	session_wipe_credential(session);
	session_drop_dial(session);
	if (session->login->front)
		r = session->login->front_ops->reply(
			session->login->front, reply, &session->login->out);
	else if (session_is_passthrough(session))
		r = session_passthrough_reply(session, reply);
	if (r < 0)
		buf_clear(&session->login->out); /* no memory: close without the line */
	if (session->login->front)
		session->attempts =
			(uint16_t)session->login->front_ops->attempts(session->login->front);
}

void session_count_auth(struct session *session, enum session_auth result)
{
	atomic_fetch_add(
		&session->pool->server->metrics.auth[session->settings->protocol][result], 1);
}

void session_unavailable(struct session *session, enum session_reason reason)
{
	if (session->node)
		atomic_fetch_add(&session->node->unavailable, 1);
	if (session->login->http) {
		session_http_failed(session, reason);
		return;
	}
	if (!session_is_passthrough(session))
		session_count_auth(session, AUTH_UNAVAILABLE);
	session_answer(session, FRONT_REPLY_UNAVAILABLE);
	session_finish(session, reason);
}

void session_finish(struct session *session, enum session_reason reason)
{
	if (session_is_ending(session))
		return;
	session_wipe_credential(session);
	session_drop_dial(session);
	session_http_end(session);
	session->reason = reason;
	if (!(session_states[session->state].next & BIT(S_FLUSH))) {
		session_close(session, reason);
		return;
	}
	session_set_state(session, S_FLUSH);
	buf_fini(&session->login->in);
	session_run(session);
}

static void count_out(struct session *session)
{
	struct server *server = session->pool->server;

	atomic_fetch_sub(&session->listener->active, 1);
	atomic_fetch_sub(&server->active, 1);
	atomic_fetch_add(&server->metrics.ended[session->reason], 1);
	if (session->counted_active) {
		atomic_fetch_sub(&session->node->active, 1);
		atomic_fetch_sub(&session->node->protocol_active[session->settings->protocol], 1);
	}
	for (int i = 0; i < 2; i++) {
		if (session->path[i] != RELAY_PATH_NONE)
			atomic_fetch_sub(&server->paths[session->path[i]][i].active, 1);
	}
}

static void login_end(struct session *session, struct login *login)
{
	if (login->front) {
		session->attempts = (uint16_t)login->front_ops->attempts(login->front);
		login->front_ops->free(login->front);
		login->front = NULL;
	}
	loop_watch_forget(&login->watch);
	loop_timer_del(session->pool->loop, &login->proxy_wait);
	loop_timer_del(session->pool->loop, &login->turn);
	stream_close(&login->stream);
	buf_fini(&login->in);
	buf_fini(&login->out);
}

void session_close(struct session *session, enum session_reason reason)
{
	if (session->state == S_CLOSED)
		return;
	session->reason = reason;
	session_wipe_credential(session);
	session_drop_dial(session);
	session_http_end(session);
	session_set_state(session, S_CLOSED);
	if (session->login)
		login_end(session, session->login);
	count_out(session);
	session_log(session);
	relay_free(session->relay);
	session->relay = NULL;
	session_forget(session);
}

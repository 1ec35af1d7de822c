// SPDX-License-Identifier: Apache-2.0
/*
 * The core of a session: its state, its time limits, the router's answers, its end. What happens
 * in between is in the steps (steps.h, and those of mail/, http/ and delivery/). Invariants: only
 * session_set_state() writes session->state; a closed session holds no descriptor, timer, watch or
 * secret.
 */
#include "session/guarded.h"
#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define LINGER_MS 3000
#define KNOCK_MS 5000
#define TUNNEL_MS (11 * 60 * 1000) /* server.backend_timeout is 10 min at most */
#define LOOKUP_NET_MS 5000         /* added to lookup_timeout: never expected to pass */

const struct session_state_row session_states[SESSION_STATE_COUNT] = {
#define X(name, ...) [S_##name] = { __VA_ARGS__ },
	SESSION_STATES(X)
#undef X
};

/* ---- states ---- */

static void set_timer(struct session *session, uint64_t now_ms);

static void on_deadline(struct timer *timer)
{
	struct session *session = container_of(timer, struct login, deadline)->session;
	uint64_t now = clock_mono_ms();

	if (session->login->limit_at_ms > now)
		set_timer(session, now);
	else
		session_cell(session)->deadline(session);
}

static void set_timer(struct session *session, uint64_t now_ms)
{
	struct login *login = session->login;

	login->deadline_at_ms = login->limit_at_ms;
	loop_timer_set(session->pool->loop, &login->deadline,
		login->limit_at_ms - MIN(now_ms, login->limit_at_ms), on_deadline);
}

static uint64_t state_limit_ms(const struct session *session, enum session_limit limit)
{
	uint64_t now;

	switch (limit) {
	case LIMIT_PREAUTH:
		now = clock_mono_ms();
		return session->login->preauth_at_ms > now ? session->login->preauth_at_ms - now
							   : 0;
	case LIMIT_LOOKUP:
		return session->snapshot->config->mapping.lookup_timeout_ms + LOOKUP_NET_MS;
	case LIMIT_WINDOW:
		return session->snapshot->config->server.backend_timeout_ms;
	case LIMIT_FAREWELL:
	case LIMIT_PROGRESS:
		return SESSION_FAREWELL_MS;
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
	case LIMIT_PENALTY:
		if (session->kind->by_request)
			return session->login->penalty_ms;
		return MIN((uint64_t)session->login->penalty_ms,
			state_limit_ms(session, LIMIT_PREAUTH));
	case LIMIT_KNOCK:
		return KNOCK_MS;
	case LIMIT_TUNNEL:
		return TUNNEL_MS;
	default:
		return LINGER_MS;
	}
}

/* Limits follow each other, mostly to a later time: then the timer stays, and sees when it goes
 * off. */
void session_set_limit(struct session *session, uint64_t in_ms)
{
	struct login *login = session->login;
	uint64_t now = clock_mono_ms();

	login->limit_at_ms = now + MIN(in_ms, UINT64_MAX / 2);
	if (!timer_armed(&login->deadline) || login->limit_at_ms < login->deadline_at_ms)
		set_timer(session, now);
}

void session_restart_limit(struct session *session)
{
	enum session_limit limit = session_states[session->state].limit;

	if (limit == LIMIT_NONE)
		loop_timer_del(session->pool->loop, &session->login->deadline);
	else
		session_set_limit(session, state_limit_ms(session, limit));
}

void session_set_state(struct session *session, enum session_state state)
{
	assert(session_states[session->state].next & BIT(state));
	session->state = state;
	if (session->login)
		loop_watch_set_stage(&session->login->leg.staged, session_states[state].order);
	if (session_cell(session)->enter)
		session_cell(session)->enter(session);
	/* Only where it stays there is something to wait for. */
	if (session->state == state && session->login)
		session_restart_limit(session);
}

void session_begin(struct session *session)
{
	if (session->kind->knocks && session->state == S_ACCEPT) {
		session_set_state(session, S_KNOCK);
		return;
	}
	if (session->settings->tls == CONFIG_TLS_IMPLICIT &&
		!stream_is_tls(&session->login->leg.stream)) {
		session_set_state(session, S_TLS);
		return;
	}
	if (session->kind->begin)
		session->kind->begin(session);
	session_set_state(session, session->kind->first);
}

void session_set_node_name(struct session *session, const char *name)
{
	size_t len = strnlen(name, sizeof(session->login->node_name) - 1);

	memmove(session->login->node_name, name, len); /* it may be that name already */
	session->login->node_name[len] = '\0';
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
	histogram_observe(&session->pool->router->metrics.phases[phase], spent);
}

/* ---- the node leg ---- */

void session_drop_dial(struct session *session)
{
	if (session->login)
		reach_stop(&session->login->reach);
}

void session_hand_over_dial(struct session *session)
{
	struct dial *dial = session->login->reach.dial;

	dial_end_talk(dial);
	session->login->node_leg = (struct node_leg){ .leg = &dial->leg };
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
	static_assert(ARRAY_SIZE(ends) == FRONT_ENDS, "a reason for each");

	session->attempts = (uint16_t)session->kind->front->attempts(session->login->front);
	if (outcome < 0)
		session_close(session, REASON_INTERNAL);
	else if (outcome == FRONT_CLOSE)
		session_finish(session, ends[session->kind->front->end(session->login->front)]);
}

void session_answer(struct session *session, enum front_reply reply)
{
	int r = 0;

	session_wipe_credential(session);
	session_drop_dial(session);
	if (session->login->front)
		r = session->kind->front->reply(
			session->login->front, reply, &session->login->leg.out);
	else if (session->kind->line)
		r = session->kind->line(session, reply);
	if (r < 0)
		buf_clear(&session->login->leg.out); /* no memory: close without the line */
	if (session->login->front)
		session->attempts = (uint16_t)session->kind->front->attempts(session->login->front);
}

void session_unavailable(struct session *session, enum session_reason reason)
{
	if (session->node)
		atomic_fetch_add(&session->node->unavailable, 1);
	session->kind->refuse(session, reason);
}

/* What it holds beside the client leg. */
static void release(struct session *session)
{
	session_wipe_credential(session);
	session_drop_dial(session);
	if (!session->login)
		return;
	if (session->kind->release)
		session->kind->release(session);
}

void session_finish(struct session *session, enum session_reason reason)
{
	if (session_is_ending(session))
		return;
	release(session);
	session->reason = reason;
	if (!(session_states[session->state].next & BIT(S_FLUSH))) {
		session_close(session, reason);
		return;
	}
	session->login->held = false;
	session_set_state(session, S_FLUSH);
}

static void count_out(struct session *session)
{
	struct router *router = session->pool->router;

	if (!session->uncounted)
		session_count_back(session->listener, router);
	atomic_fetch_add(&router->metrics.ended[session->reason], 1);
	if (session->counted_active) {
		atomic_fetch_sub(&session->node->active, 1);
		atomic_fetch_sub(&session->node->protocol_active[session->settings->protocol], 1);
	}
	for (int i = 0; i < 2; i++) {
		if (session->path[i] != RELAY_PATH_NONE)
			atomic_fetch_sub(&router->paths[session->path[i]][i].active, 1);
	}
}

static void login_end(struct session *session, struct login *login)
{
	if (login->front) {
		session->attempts = (uint16_t)session->kind->front->attempts(login->front);
		session->kind->front->free(login->front);
		login->front = NULL;
	}
	loop_timer_del(session->pool->loop, &login->proxy_wait);
	loop_timer_del(session->pool->loop, &login->turn);
	leg_close(&login->leg);
}

void session_close(struct session *session, enum session_reason reason)
{
	enum session_state at = session->state;

	if (at == S_CLOSED)
		return;
	session->reason = reason;
	if (session->relay)
		session_fold(session);
	release(session);
	if (at == S_KNOCK)
		session_knock_over(session);
	session_set_state(session, S_CLOSED);
	if (session->login)
		login_end(session, session->login);
	count_out(session);
	if (session->guard || session_guard(session))
		session_guard_ended(session, at); /* who reads the log line may ask for the ban */
	/* As one that is refused at accept; and what is part of another session by now. */
	if ((reason != REASON_BANNED || at != S_PROXY) && reason != REASON_JOINED)
		session_log(session);
	relay_free(session->relay);
	session->relay = NULL;
	session_forget(session);
}

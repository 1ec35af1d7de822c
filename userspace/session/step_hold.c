// SPDX-License-Identifier: Apache-2.0
/*
 * hold: while an operator delays the account, its logins wait here, before the lookup, so that they
 * find what was written meanwhile (SES-43, mapping.md section 11). And its opposite, the kick: all
 * sessions of an account that are past the hold end (SES-42, SES-85).
 */
#include "session/session.h"
#include "base/clock.h"

static void go_on(struct session *session)
{
	session_phase_end(session, PHASE_HOLD);
	session_step_map(session);
	session_run(session);
}

void session_hold_over(struct session *session)
{
	uint64_t until = holds_until(session->pool->server->holds, view_str(session->account));

	if (until)
		session_set_state(session, S_HOLD); /* longer than it was when it began to wait */
	else
		go_on(session);
}

void session_step_hold(struct session *session)
{
	struct server *server = session->pool->server;
	int r;

	if (!holds_until(server->holds, view_str(session->account))) {
		session_step_map(session);
		return;
	}
	r = holds_enter(server->holds, view_str(session->account), &session->client);
	if (r) { /* no node has to do with it, not even that of an earlier attempt */
		session->node = NULL;
		session_unavailable(session, r < 0 ? REASON_INTERNAL : REASON_HOLD_LIMIT);
		return;
	}
	atomic_fetch_add(&server->held, 1);
	session_phase_start(session);
	session_set_state(session, S_HOLD);
}

void session_pool_holds_changed(struct session_pool *pool)
{
	list_for_each_safe (node, next, &pool->sessions) {
		struct session *session = list_entry(node, struct session, link);

		if (session->state == S_HOLD)
			session_hold_over(session);
	}
}

static bool may_be_kicked(const struct session *session, const char *account)
{
	switch (session->state) {
	case S_IDLE: /* its last request was the account's */
	case S_HEAD:
	case S_EXCHANGE:
	case S_LOOKUP: /* it may have read what was there before */
	case S_DIAL:
	case S_REPLAY:
	case S_SPLICE:
	case S_ESTABLISHED:
		return session->account && strcmp(session->account, account) == 0;
	default:
		return false;
	}
}

unsigned session_pool_kick(struct session_pool *pool, const char *account)
{
	unsigned count = 0;

	list_for_each_safe (node, next, &pool->sessions) {
		struct session *session = list_entry(node, struct session, link);

		if (!may_be_kicked(session, account))
			continue;
		count++;
		if (session_http_drives(session)) {
			session_http_kick(session);
			continue;
		}
		if (session->state < S_SPLICE) {
			session_unavailable(session, REASON_KICKED);
			continue;
		}
		if (session->relay)
			relay_stop(session->relay, true);
		session_close(session, REASON_KICKED);
	}
	return count;
}

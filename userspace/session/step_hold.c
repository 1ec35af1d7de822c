// SPDX-License-Identifier: Apache-2.0
/*
 * hold: while an operator delays the account, its logins wait here, before the lookup, so that they
 * find what was written meanwhile (SES-43, mapping.md section 11).
 */
#include "session/steps.h"

void step_hold_deadline(struct session *session)
{
	if (holds_until(session->pool->server->holds, view_str(session->account))) {
		session_restart_limit(session); /* longer than it was when it began to wait */
		return;
	}
	session_phase_end(session, PHASE_HOLD);
	session_set_state(session, S_LOOKUP);
	session_run(session);
}

void step_hold_enter(struct session *session)
{
	struct server *server = session->pool->server;
	int r;

	if (!holds_until(server->holds, view_str(session->account))) {
		session_set_state(session, S_LOOKUP);
		return;
	}
	r = holds_enter(server->holds, view_str(session->account), &session->client);
	if (r) { /* no node has to do with it, not even that of an earlier attempt */
		session->node = NULL;
		session_unavailable(session, r < 0 ? REASON_INTERNAL : REASON_HOLD_LIMIT);
		return;
	}
	session->login->holding = true;
	atomic_fetch_add(&server->held, 1);
	session_phase_start(session);
}

void step_hold_leave(struct session *session)
{
	if (session->login->holding)
		holds_leave(
			session->pool->server->holds, view_str(session->account), &session->client);
	session->login->holding = false;
}

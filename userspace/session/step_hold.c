// SPDX-License-Identifier: Apache-2.0
/*
 * hold: while an operator delays the account, its logins wait here, before the lookup, so that they
 * find what was written meanwhile (SES-43, mapping.md section 11).
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
		session_restart_limit(session); /* longer than it was when it began to wait */
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

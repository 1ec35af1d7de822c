// SPDX-License-Identifier: Apache-2.0
/*
 * hold and map: the session's reach is under way from HOLD on (reach.h). While an operator delays
 * the account it waits there, before the lookup, so that it finds what was written meanwhile
 * (SES-43, mapping.md section 11). Without an answer it is the default destination (MAP-1), or
 * nowhere if the operator says so.
 */
#include "session/steps.h"

static struct session *session_of(struct reach *reach)
{
	return container_of(reach, struct login, reach)->session;
}

static void on_phase(struct reach *reach, enum reach_phase phase)
{
	struct session *session = session_of(reach);

	if (phase == REACH_HOLD) {
		session_phase_start(session);
		return;
	}
	if (reach->from_loop) /* it has waited */
		session_phase_end(session, PHASE_HOLD);
	session_set_state(session, S_LOOKUP);
}

static void found(struct session *session, const struct mapping_answer *answer)
{
	session_set_node_name(session, answer->destination);
	session_set_state(session, session->kind->found ? session->kind->found(session) : S_DIAL);
}

static void on_done(
	struct reach *reach, enum reach_outcome outcome, const struct mapping_answer *answer)
{
	struct session *session = session_of(reach);

	if (answer) {
		session->choice = (int8_t)answer->choice;
		session->cache_hit = answer->hit;
		session_phase_end(session, PHASE_LOOKUP);
	} else if (session->state == S_HOLD) {
		/* none has to do with it, not even that of an attempt before */
		session->node = NULL;
	}
	switch (outcome) {
	case REACH_FOUND:
		found(session, answer);
		break;
	case REACH_NO_STORE:
		session_unavailable(session, REASON_STORE_DOWN);
		break;
	case REACH_CROWDED:
		session_unavailable(session, REASON_HOLD_LIMIT);
		break;
	case REACH_FAILED:
		session_unavailable(session, REASON_INTERNAL);
	}
	if (reach->from_loop)
		session_run(session);
}

void step_hold_enter(struct session *session)
{
	static const struct reach_ops ops = { on_phase, on_done };

	reach_start(&session->login->reach, &session->pool->reaches, &ops, session->account,
		&session->client);
}

void step_lookup_enter(struct session *session)
{
	session_phase_start(session);
}

void step_lookup_deadline(struct session *session)
{
	session_unavailable(session, REASON_INTERNAL);
}

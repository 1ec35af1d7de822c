// SPDX-License-Identifier: Apache-2.0
/*
 * penalty: the answer to a failed login waits as long as the guard says (GRD-9). It lies in
 * login->leg.out, which is not sent meanwhile; the node's leg is gone already. The state's limit is
 * all that is kept of it, so nothing else waits. What the client pipelines is read ahead, and so is
 * its end seen: then nobody reads the answer, and the session is over. preauth_timeout goes on: if
 * it is over first, the answer and the last line go out together.
 */
#include "mail/penalty.h"
#include "mail/mail.h"
#include "base/clock.h"
#include "session/guarded.h"

static void go_on(struct session *session, int outcome, bool for_good)
{
	session_after_reply(session, outcome);
	if (for_good)
		session_finish(session, REASON_NODE_EOF);
	if (session->state == S_REPLAY || session->state == S_PENALTY)
		session_set_state(session, S_DIALOGUE);
}

/* Whether it waits. */
static bool penalise(struct session *session, int outcome, bool for_good)
{
	struct login *login = session->login;

	if (!login->penalty_ms || outcome < 0)
		return false;
	login->held = true;
	login->held_outcome = outcome;
	login->held_for_good = for_good;
	session_set_state(session, S_PENALTY);
	return true;
}

void mail_answered(struct session *session, int outcome, bool for_good)
{
	if (!penalise(session, outcome, for_good))
		go_on(session, outcome, for_good);
}

bool mail_penalise_malformed(struct session *session, int outcome)
{
	session_guard_failed(session, GUARD_MALFORMED);
	return penalise(session, outcome, false);
}

bool mail_penalty_is_last_word(const struct session *session)
{
	const struct login *login = session->login;

	return session->state == S_PENALTY &&
		(login->held_outcome == FRONT_CLOSE || login->held_for_good);
}

void step_penalty_enter(struct session *session)
{
	session_update_watch(session);
}

void step_penalty_deadline(struct session *session)
{
	struct login *login = session->login;
	bool in_time = login->preauth_at_ms > clock_mono_ms();

	if (!in_time && !mail_penalty_is_last_word(session)) {
		session_answer(session, FRONT_REPLY_TIMEOUT);
		session_finish(session, REASON_PREAUTH_TIMEOUT);
		return;
	}
	login->held = false;
	login->penalty_ms = 0;
	go_on(session, login->held_outcome, login->held_for_good);
}

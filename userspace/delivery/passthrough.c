// SPDX-License-Identifier: Apache-2.0
/*
 * Pass-through of smtp and lmtp (sessions.md section 13): after accept (and TLS) the one configured
 * node is reached, and both legs go to the relay. The router writes nothing of the protocol but the
 * line before a close (SES-82); the node's greeting is the client's (SES-80).
 */
#include "reach/dial.h"
#include "delivery/delivery.h"

void step_passthrough_begin(struct session *session)
{
	session->choice = CHOICE_PASSTHROUGH;
	session_set_node_name(
		session, session->snapshot->config->routing.smtp_passthrough_destination);
}

/* The node is connected, its TLS is up: that is its success (sessions.md section 8.1). */
void step_passthrough_connected(struct session *session)
{
	dial_report(session->login->reach.dial, HEALTH_SUCCESS);
	session_phase_end(session, PHASE_DIAL);
	session_hand_over_dial(session);
	session_set_state(session, S_SPLICE);
}

int step_passthrough_line(struct session *session, enum front_reply reply)
{
	char literal[ADDR_TEXT_SIZE];

	return buf_printf(&session->login->leg.out, "421 %s %s %s\r\n",
		reply == FRONT_REPLY_SHUTDOWN ? "4.3.2" : "4.3.0",
		session_own_name(session, literal),
		reply == FRONT_REPLY_SHUTDOWN ? "Shutting down"
					      : "Service temporarily unavailable");
}

void step_passthrough_refuse(struct session *session, enum session_reason reason)
{
	session_answer(session,
		reason == REASON_SHUTDOWN ? FRONT_REPLY_SHUTDOWN : FRONT_REPLY_UNAVAILABLE);
	session_finish(session, reason);
}

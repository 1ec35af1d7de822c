// SPDX-License-Identifier: Apache-2.0
/*
 * Pass-through of smtp and lmtp (sessions.md section 13): after accept (and TLS) the one configured
 * node is reached, and both legs go to the relay. The router writes nothing of the protocol but the
 * line before a close (SES-82); the node's greeting is the client's (SES-80).
 */
#include "session/dial.h"

bool session_is_passthrough(const struct session *session)
{
	return session->settings->protocol == PROTOCOL_SMTP ||
		session->settings->protocol == PROTOCOL_LMTP;
}

void session_step_passthrough(struct session *session)
{
	session->route = ROUTE_PASSTHROUGH;
	session_step_dial(session, session->snapshot->config->routing.smtp_passthrough_destination);
}

/* The node is connected, its TLS is up: that is its success (sessions.md section 8.1). */
void session_passthrough_ready(struct session *session)
{
	dial_report(session, HEALTH_SUCCESS);
	session_phase_end(session, PHASE_DIAL);
	session_set_state(session, S_SPLICE);
	session_run(session);
}

int session_passthrough_reply(struct session *session, enum front_reply reply)
{
	const char *hostname = session->snapshot->config->server.hostname;
	char literal[ADDR_TEXT_SIZE];

	if (!hostname)
		hostname = addr_format_literal(session_local(session), literal);
	return buf_printf(&session->login->out, "421 %s %s %s\r\n",
		reply == FRONT_REPLY_SHUTDOWN ? "4.3.2" : "4.3.0", hostname,
		reply == FRONT_REPLY_SHUTDOWN ? "Shutting down"
					      : "Service temporarily unavailable");
}

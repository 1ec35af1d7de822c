// SPDX-License-Identifier: Apache-2.0
/* A node that took a request and did not answer as it should. */
#include "http/http.h"
#include "reach/failure.h"
#include "reach/fault.h"

enum session_reason http_lost_reason(ssize_t error)
{
	return reach_failures[reach_lost(error)].reason;
}

void http_note_failure(
	struct session *session, enum session_reason reason, int error, const char *cause)
{
	const struct http_leg *leg = session->login->http->leg;
	const char *words = cause ? cause : fault_words(error, &leg->wire.stream);
	struct node_failure failure;
	struct fault_facts facts = {
		.step = NODE_STEP_RESPONSE,
		.leg = &leg->destination->legs[PROTOCOL_HTTP],
		.error = error,
		.closed = !cause && fault_is_closed(error, words) && leg->use == LEG_FIRST,
		.secured = leg->secured,
		.cause = words,
		.said = "",
		.protocol = PROTOCOL_HTTP,
	};

	addr_format(&leg->addr, failure.address);
	fault_note(session->node, reason, &facts, &failure);
}

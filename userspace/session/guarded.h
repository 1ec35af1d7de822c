// SPDX-License-Identifier: Apache-2.0
/*
 * What the guard is told of a session, and what it says of its client (GRD-2, GRD-3, GRD-9).
 * Whoever calls asks session_guard() first, so that without a guard all of it costs one test. A
 * reload may take it away right behind that: each function asks again, and then does nothing.
 */
#ifndef SESSION_GUARDED_H
#define SESSION_GUARDED_H

#include "guard/guard.h"
#include "session/kind.h"

/* NULL: there is none. */
static inline struct guard *session_guard(const struct session *session)
{
	return session->kind->no_guard ? NULL : router_guard(session->pool->router);
}

/* Whether the guard does not let the peer of a new connection in; says so in the log. */
bool guarded_refuses(
	struct guard *guard, const struct addr *client, const struct config_listener *settings);
/* The same of the client as it is known now; the caller closes the session (REASON_BANNED). */
bool session_guard_refuses(struct session *session);

/* The attempt under way, in login->secret: what its failure is known again by (GRD-2). */
void session_guard_secret(struct session *session, struct view account, struct view password);
/* A login failed. login->penalty_ms: how long its answer waits; it is the caller's that it does. */
void session_guard_failed(struct session *session, enum guard_event event);
/* A login was good: the session is one of the client's until it ends. */
void session_guard_passed(struct session *session);
/* The session is over, in this state; its reason is known and its bytes are counted. */
void session_guard_ended(struct session *session, enum session_state at);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * The router's side of a handoff (handoff.md section 4): the client's TLS goes to the agent beside
 * the node, and what the relay gets is two plain legs.
 */
#ifndef MAIL_HANDOVER_H
#define MAIL_HANDOVER_H

#include "session/session.h"

/* What an agent is told of the client, in login->handoff_open, borrowed; or why its session cannot
 * be handed over (HND-10). */
MUST_USE enum node_keep handover_offer(
	struct session *session, const struct handoff_open **ret_open);
/* The node has said yes on a stream of its agent's: the data connection is begun. Returns 0 or
 * -ENOMEM. */
MUST_USE int handover_begin(struct session *session);
/* Goes as far as it goes once the client has been sent what it is owed: starts the relay at last,
 * or closes the session. */
void handover_progress(struct session *session);
/* Nothing of it is left; there may be none. */
void handover_release(struct session *session);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Kinds of listeners on which nobody logs in: SMTP and LMTP. What their cells are made of
 * (worker/kinds.c). */
#ifndef DELIVERY_DELIVERY_H
#define DELIVERY_DELIVERY_H

#include "session/kind.h"

/* passthrough.c */
void step_passthrough_begin(struct session *session);
void step_passthrough_connected(struct session *session);
void step_passthrough_refuse(struct session *session, enum session_reason reason);
MUST_USE int step_passthrough_line(struct session *session, enum front_reply reply);

#endif

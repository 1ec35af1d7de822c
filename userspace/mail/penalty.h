// SPDX-License-Identifier: Apache-2.0
/* The answer to a failed login waits (GRD-9). */
#ifndef MAIL_PENALTY_H
#define MAIL_PENALTY_H

#include "session/kind.h"

/* The answer to a failed login is in login->leg.out. outcome: of the front's reply() or refused();
 * for_good: the client is closed behind it (SES-75). All goes on behind it, now or, where it waits,
 * after S_PENALTY. */
void mail_answered(struct session *session, int outcome, bool for_good);
/* The front itself has failed an attempt, as with bytes that are no base64: the guard is told.
 * outcome: of its input(). Returns whether the answer waits; else the caller goes on. */
bool mail_penalise_malformed(struct session *session, int outcome);
/* Nothing may follow what waits to be sent. */
bool mail_penalty_is_last_word(const struct session *session);

#endif

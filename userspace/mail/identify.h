// SPDX-License-Identifier: Apache-2.0
/* From a login to an account: what the dialogue does with a complete credential
 * (identify.c). */
#ifndef MAIL_IDENTIFY_H
#define MAIL_IDENTIFY_H

#include "session/kind.h"

/* With login->credential: the account, and the state that follows; or, if it cannot be read, the
 * front's answer, and the dialogue goes on. */
void session_identify(struct session *session);
/* What a trusted peer said (SES-61). Returns false when it makes a loop: the session was
 * answered. */
bool session_take_peer(struct session *session);

#endif

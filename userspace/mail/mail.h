// SPDX-License-Identifier: Apache-2.0
/*
 * Kinds of listeners on which the router talks to the client until it has logged in, and then to
 * the node in its place: IMAP, POP3, ManageSieve and submission. What their cells are made of
 * (worker/kinds.c); what a protocol says is in proto/.
 */
#ifndef MAIL_MAIL_H
#define MAIL_MAIL_H

#include "session/kind.h"

/* dialogue.c */
void step_dialogue_enter(struct session *session);
void step_dialogue_progress(struct session *session);
void step_dialogue_client(struct session *session, uint32_t epoll_events);
void step_dialogue_deadline(struct session *session);
void step_mail_refuse(struct session *session, enum session_reason reason);

/* replay.c */
void step_replay_enter(struct session *session);
void step_replay_connected(struct session *session);
void step_replay_event(struct session *session);
void step_replay_deadline(struct session *session);

#endif

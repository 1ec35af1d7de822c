// SPDX-License-Identifier: Apache-2.0
/*
 * Kinds of listeners on which the router talks to the client until it has logged in, and then to
 * the node in its place: IMAP, POP3, ManageSieve and submission. What their cells are made of
 * (worker/kinds.c); what a protocol says is in proto/.
 */
#ifndef MAIL_MAIL_H
#define MAIL_MAIL_H

#include "reach/fault.h"
#include "session/kind.h"

/* The talk with the node over one leg: the memory that its dial has for it (dial.talk). Zeroed: it
 * has not begun. */
struct replay {
	struct session *session;
	struct back *back;   /* owned */
	struct timer settle; /* what the node said has to rest */
	struct timer turn;   /* more of what it said is read in the next batch */
	struct back_forward forward;
	/* What forward and the back's parameters name. */
	char client_ip[ADDR_TEXT_SIZE], local_ip[ADDR_TEXT_SIZE], host[ADDR_TEXT_SIZE];
	char id[SESSION_ID_SIZE];
	/* The line that made it fail. Only from before the credential goes out, so that no echo
	 * of it can be in it. */
	char said[FAULT_SAID_BYTES + 1];
};

/* dialogue.c */
void step_dialogue_enter(struct session *session);
void step_dialogue_progress(struct session *session);
void step_dialogue_client(struct session *session, uint32_t epoll_events);
void step_dialogue_deadline(struct session *session);
void step_mail_refuse(struct session *session, enum session_reason reason);

/* penalty.c */
void step_penalty_enter(struct session *session);
void step_penalty_deadline(struct session *session);

/* replay.c */
void step_replay_enter(struct session *session);
void step_replay_connected(struct session *session);
void step_replay_event(struct session *session);
void step_replay_down(struct session *session);
enum node_step step_replay_step(const struct session *session);
void step_replay_deadline(struct session *session);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Steps that all kinds take, or most: what cells are made of (worker/kinds.c). A function here is
 * called by a cell or a kind's row, not by another step.
 */
#ifndef SESSION_STEPS_H
#define SESSION_STEPS_H

#include "session/kind.h"

/* proxy.c */
void step_proxy_enter(struct session *session);
void step_proxy_progress(struct session *session);
void step_proxy_deadline(struct session *session);

/* tls.c */
void step_tls_enter(struct session *session);
void step_tls_progress(struct session *session);
void step_starttls_progress(struct session *session);
void step_preauth_deadline(struct session *session);

/* reaching.c */
void step_hold_enter(struct session *session);
void step_lookup_enter(struct session *session);
void step_lookup_deadline(struct session *session);
void step_dial_enter(struct session *session);
void step_dial_deadline(struct session *session);

/* splice.c */
void step_splice_progress(struct session *session);
void step_established_enter(struct session *session);

/* farewell.c */
void step_flush_enter(struct session *session);
void step_flush_progress(struct session *session);
void step_linger_enter(struct session *session);
void step_linger_progress(struct session *session);
void step_linger_client(struct session *session, uint32_t epoll_events);
void step_peer_deadline(struct session *session); /* SPLICE and FLUSH: the peer had its time */
void step_linger_deadline(struct session *session);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * What the cells of kinds.c are made of: private to session/. A function here is called by a cell
 * or a kind's row, not by another step.
 */
#ifndef SESSION_STEPS_H
#define SESSION_STEPS_H

#include "session/kinds.h"

/* step_proxy.c */
void step_proxy_enter(struct session *session);
void step_proxy_progress(struct session *session);
void step_proxy_deadline(struct session *session);

/* step_tls.c */
void step_tls_enter(struct session *session);
void step_tls_progress(struct session *session);
void step_starttls_progress(struct session *session);
void step_preauth_deadline(struct session *session);

/* step_dialogue.c */
void step_dialogue_enter(struct session *session);
void step_dialogue_progress(struct session *session);
void step_dialogue_client(struct session *session, uint32_t epoll_events);
void step_dialogue_deadline(struct session *session);
void step_mail_refuse(struct session *session, enum session_reason reason);

/* step_reach.c */
void step_hold_enter(struct session *session);
void step_lookup_enter(struct session *session);
void step_lookup_deadline(struct session *session);

/* step_dial.c */
void step_dial_enter(struct session *session);
void step_dial_deadline(struct session *session);

/* step_replay.c */
void step_replay_enter(struct session *session);
void step_replay_connected(struct session *session);
void step_replay_event(struct session *session);
void step_replay_deadline(struct session *session);

/* step_passthrough.c */
void step_passthrough_begin(struct session *session);
void step_passthrough_connected(struct session *session);
void step_passthrough_refuse(struct session *session, enum session_reason reason);
MUST_USE int step_passthrough_line(struct session *session, enum front_reply reply);

/* step_splice.c */
void step_splice_progress(struct session *session);
void step_established_enter(struct session *session);

/* step_drain.c */
void step_flush_enter(struct session *session);
void step_flush_progress(struct session *session);
void step_linger_enter(struct session *session);
void step_linger_client(struct session *session, uint32_t epoll_events);
void step_peer_deadline(struct session *session); /* SPLICE and FLUSH: the peer had its time */
void step_linger_deadline(struct session *session);

/* ---- HTTP ---- */

/* http_session.c */
void http_begin(struct session *session); /* FIRST_HEAD */
void http_request_clear(struct session *session);
void http_head_begin(struct session *session);
bool http_idle_step(struct session *session);
bool http_head_step(struct session *session);
bool http_watch_step(struct session *session);
void http_run(struct session *session);
void http_client_event(struct session *session, uint32_t epoll_events);
void http_update_watch(struct session *session);
void http_first_head_deadline(struct session *session);
void http_idle_deadline(struct session *session);
void http_head_deadline(struct session *session); /* HEAD and EXTRACT */
void http_exchange_deadline(struct session *session);
void http_kicked(struct session *session);
void http_end_after(struct session *session, enum session_reason reason);
void http_release(struct session *session);

/* http_client.c */
void http_refuse(struct session *session, enum session_reason reason);
/* http_route.c */
void http_extract_enter(struct session *session);
bool http_extract_step(struct session *session);
enum session_state http_found(struct session *session);
/* http_start.c */
void http_exchange_enter(struct session *session);
void http_connected(struct session *session);
/* http_exchange.c */
bool http_exchange_step(struct session *session);
void http_exchange_watch(struct session *session);

#endif

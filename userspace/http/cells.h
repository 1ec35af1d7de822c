// SPDX-License-Identifier: Apache-2.0
/* What the cells of an HTTP connection are made of (worker/kinds.c). */
#ifndef HTTP_CELLS_H
#define HTTP_CELLS_H

#include "session/kind.h"

/* connection.c */
void http_begin(struct session *session); /* FIRST_HEAD */
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
/* The leg of the request under way, else the one used last. */
const struct stream *http_node_stream(const struct session *session);

/* request.c */
void http_request_clear(struct session *session);
/* client_leg.c */
void http_refuse(struct session *session, enum session_reason reason);
/* extract.c */
void http_extract_enter(struct session *session);
bool http_extract_step(struct session *session);
enum session_state http_found(struct session *session);
/* start.c */
void http_exchange_enter(struct session *session);
void http_connected(struct session *session);
/* exchange.c */
void http_penalty_deadline(struct session *session);
bool http_exchange_step(struct session *session);
void http_exchange_watch(struct session *session);

#endif

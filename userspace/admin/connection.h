// SPDX-License-Identifier: Apache-2.0
/* Private to admin/: a connection and its listener, from accept to the answer (listener.c,
 * dispatch.c, response.c). */
#ifndef ADMIN_CONNECTION_H
#define ADMIN_CONNECTION_H

#include "admin/listener.h"
#include "admin/lockout.h"
#include "base/list.h"
#include "net/leg.h"
#include "proto/http_head.h"

enum admin_state {
	ADMIN_TLS,
	ADMIN_HEAD,
	ADMIN_BODY,
	ADMIN_WAIT,
	ADMIN_SEND,
	ADMIN_LINGER,
	ADMIN_STATES
};

struct admin_pending;

struct admin_conn {
	struct list_node link;
	struct admin_listener *listener;
	struct leg leg;         /* in holds the token */
	struct tls_server *tls; /* reference: the handshake looks into it */
	struct timer timer;
	struct timer turn; /* goes on in the next batch, though no event tells */
	struct addr peer;
	uid_t uid; /* of the peer, on the host's own socket */
	enum admin_state state;
	enum admin_state limited; /* whose limit runs */
	struct http_head head;
	uint64_t body_left;
	size_t spent;                  /* in this turn, as stream_read_cost() counts */
	bool is_head;                  /* HEAD: no body in the answer */
	struct admin_pending *pending; /* an answer that the mapping owes; forgets us when we go */
};

struct admin_listener {
	struct admin_params params;
	unsigned char token_sha256[TLS_SHA256_SIZE];
	int listen_fd;
	struct loop_watch watch;
	struct timer resume_timer;
	struct list_node conns;
	unsigned conn_count;
	struct lockout *lockout;
	uint64_t denied; /* requests without the right token */
};

/* On the host's own socket: no TLS, no token (ADM-9a). */
static inline bool admin_is_local(const struct admin_listener *listener)
{
	return !listener->params.tls;
}

/* response.c. body NULL = none; extra: further header lines with CRLF, or "". */
void admin_respond_as(
	struct admin_conn *conn, int status, const char *type, const char *extra, const char *body);
/* As JSON. */
void admin_respond(struct admin_conn *conn, int status, const char *extra, const char *body);
void admin_error(struct admin_conn *conn, int status, const char *text);
/* Sends an object (taken over) as the answer. */
void admin_send_json(struct admin_conn *conn, int status, json_t *object);

/* dispatch.c: the head is complete, the body has been read. */
void admin_dispatch(struct admin_conn *conn);
/* pending.c. The connection goes: whatever it waits for must not find it any more. */
void admin_forget_pending(struct admin_conn *conn);

#endif

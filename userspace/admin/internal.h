// SPDX-License-Identifier: Apache-2.0
/* Private to admin/: a request on its way through server.c, lockout.c and routes.c. */
#ifndef ADMIN_INTERNAL_H
#define ADMIN_INTERNAL_H

#include "admin/server.h"
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
	struct admin_server *server;
	struct leg leg;         /* in holds the token */
	struct tls_server *tls; /* reference: the handshake looks into it */
	struct timer timer;
	struct timer turn; /* goes on in the next batch, though no event tells */
	struct addr peer;
	uid_t uid; /* of the peer, on the host's own socket */
	enum admin_state state;
	struct http_head head;
	uint64_t body_left;
	size_t spent;                  /* in this turn, as stream_read_cost() counts */
	bool is_head;                  /* HEAD: no body in the answer */
	struct admin_pending *pending; /* an answer that the mapping owes; forgets us when we go */
};

struct lockout;
MUST_USE int lockout_new(unsigned threshold, uint64_t duration_ms, struct lockout **ret_lockout);
void lockout_free(struct lockout *lockout);
/* For failures from now on; who is locked out stays so. */
void lockout_set(struct lockout *lockout, unsigned threshold, uint64_t duration_ms);
/* Seconds until the address may try again, rounded up; 0 = now. */
uint64_t lockout_remaining_s(struct lockout *lockout, const struct addr *peer, uint64_t now_ms);
void lockout_failure(struct lockout *lockout, const struct addr *peer, uint64_t now_ms);
/* Addresses that are locked out now. */
uint64_t lockout_count(const struct lockout *lockout, uint64_t now_ms);
void lockout_success(struct lockout *lockout, const struct addr *peer);

struct admin_server {
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
static inline bool admin_is_local(const struct admin_server *server)
{
	return !server->params.tls;
}

/* server.c: answers; body NULL = none. extra: further header lines with CRLF, or "". */
void admin_respond_as(
	struct admin_conn *conn, int status, const char *type, const char *extra, const char *body);
/* As JSON. */
void admin_respond(struct admin_conn *conn, int status, const char *extra, const char *body);
void admin_error(struct admin_conn *conn, int status, const char *text);

/* routes.c: the head is complete, the body has been read. */
void admin_route(struct admin_conn *conn);
/* answers.c. The connection goes: whatever it waits for must not find it any more. */
void admin_forget_pending(struct admin_conn *conn);

#endif

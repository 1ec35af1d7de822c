// SPDX-License-Identifier: Apache-2.0
/*
 * The admin listener (admin.md): HTTPS on the control loop, one request per connection, bearer
 * token, lockout, limits on time, connections and bytes. Nothing here blocks: an answer that needs
 * the store is sent when it comes, and only while its connection is still there.
 */
#ifndef ADMIN_SERVER_H
#define ADMIN_SERVER_H

#include "admin/backend.h"
#include "tls/tls.h"

struct admin_params {
	struct loop *loop;
	int listen_fd;          /* taken over, also on failure */
	struct tls_server *tls; /* a reference is taken; NULL: a unix socket (ADM-9a) */
	/* a unix socket whose mode says who may connect, beside root and this user */
	bool for_group;
	const unsigned char *token_sha256; /* TLS_SHA256_SIZE bytes, copied */
	unsigned lockout_threshold;        /* 0 = off */
	uint64_t lockout_ms;
	const struct admin_backend *backend; /* borrowed, outlives */
};

/* What a reload may change. */
struct admin_settings {
	struct tls_server *tls;            /* a reference is taken */
	const unsigned char *token_sha256; /* NULL: it stays, and so does the lockout's rule */
	unsigned lockout_threshold;
	uint64_t lockout_ms;
};

struct admin_server;
MUST_USE int admin_server_new(const struct admin_params *params, struct admin_server **ret_server);
/* An answer is owed or on its way. NULL is fine. */
bool admin_server_busy(const struct admin_server *server);

/* New connections have the new certificates, new requests the new token; addresses that are locked
 * out stay so (ADM-15). For a server with TLS. */
void admin_server_set(struct admin_server *server, const struct admin_settings *settings);
void admin_server_free(struct admin_server *server); /* NULL is fine */

#endif

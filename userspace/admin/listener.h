// SPDX-License-Identifier: Apache-2.0
/*
 * The admin listener (admin.md): HTTPS on the control loop, one request per connection, bearer
 * token, lockout, limits on time, connections and bytes. Nothing here blocks: an answer that needs
 * the store is sent when it comes, and only while its connection is still there.
 */
#ifndef ADMIN_LISTENER_H
#define ADMIN_LISTENER_H

#include "admin/ops.h"
#include "tls/tls.h"

struct admin_endpoint;

struct admin_params {
	struct loop *loop;
	int listen_fd;          /* taken over, also on failure */
	struct tls_server *tls; /* a reference is taken; NULL: a unix socket (ADM-9a) */
	/* a unix socket whose mode says who may connect, beside root and this user */
	bool for_group;
	const unsigned char *token_sha256; /* TLS_SHA256_SIZE bytes, copied */
	unsigned lockout_threshold;        /* 0 = off */
	uint64_t lockout_ms;
	const struct admin_ops *ops;            /* borrowed, outlives */
	const struct admin_endpoint *endpoints; /* up to a row without a path; borrowed, outlives */
};

/* What a reload may change. */
struct admin_settings {
	struct tls_server *tls;            /* a reference is taken */
	const unsigned char *token_sha256; /* NULL: it stays, and so does the lockout's rule */
	unsigned lockout_threshold;
	uint64_t lockout_ms;
};

struct admin_listener;
MUST_USE int admin_listener_new(
	const struct admin_params *params, struct admin_listener **ret_listener);
/* An answer is owed or on its way. NULL is fine. */
bool admin_listener_busy(const struct admin_listener *listener);

/* New connections have the new certificates, new requests the new token; addresses that are locked
 * out stay so (ADM-15). For a listener with TLS. */
void admin_listener_set(struct admin_listener *listener, const struct admin_settings *settings);
void admin_listener_free(struct admin_listener *listener); /* NULL is fine */

#endif

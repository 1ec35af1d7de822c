// SPDX-License-Identifier: Apache-2.0
/*
 * Private to tls/: what OpenSSL and AWS-LC each have a way of their own for, by the name of what is
 * wanted. One of library_openssl.c and library_awslc.c is built (TLS in the Makefile), and nothing
 * else in tls/ asks which.
 */
#ifndef TLS_LIBRARY_H
#define TLS_LIBRARY_H

#include "tls/openssl.h"

/* Called before any other thread is there, and more than once. 0 or -EIO. */
MUST_USE int tls_library_init(void);

/* Our words for a reason of libssl's that only this library has; NULL: there are none. */
const char *tls_library_reason(int reason);

/* ---- contexts ---- */

/* NULL: no memory. secrets: its connections' TLS 1.3 secrets are to be had (REC-30). */
SSL_CTX *tls_library_context(const SSL_METHOD *method, bool secrets);
/* Of both sides: no renegotiation, no compression, a FIN without close_notify fails nothing but the
 * reading, buffers are released when idle, secrets and numbers are followed. */
void tls_library_options(SSL_CTX *ctx, bool secrets);
/* Of a server: suites of TLS 1.3 (tls13, colons between them, may be empty) and whether ours go
 * by our order or by the client's. 0 or -EINVAL. */
MUST_USE int tls_library_suites13(SSL_CTX *ctx, const char *tls13, bool our_order);
/* What the library offers by itself, for a cipher list that begins otherwise. */
const char *tls_library_default_suites(void);
/* Where the system has the authorities that it trusts: SSL_CERT_FILE's file, else one of its own.
 * Borrowed. */
const char *tls_library_trust_file(void);
/* Of a client: they are trusted, and those of the directory with them. 0 or -EINVAL. */
MUST_USE int tls_library_trust_system(SSL_CTX *ctx);
/* Tickets are made and opened with the keys that `find` tells, the same of all contexts. */
void tls_library_tickets(SSL_CTX *ctx, tls_ticket_key_fn *find);

/* ---- connections ---- */

/* A client's new connection: HelloRequests of TLS 1.2 fail nothing. */
void tls_library_client(SSL *ssl);
/* What the callback for messages was told that the library needs for itself. data: the message or
 * the header of a record, type: as the callback has it. Returns the content type of a record of TLS
 * 1.3, or what it may be, when one has begun; else 0. */
unsigned char tls_library_heard(
	SSL *ssl, struct tls_layer *layer, bool is_write, int type, const unsigned char *data);
/* A read has returned data. */
void tls_library_read(struct tls_layer *layer);
/* Whether a read that returned r has found the peer's FIN without its close_notify. */
bool tls_library_is_cut(const struct tls_layer *layer, int r, int saved_errno);
/* What the library itself holds back is in layer->held. False: it cannot be now. */
bool tls_library_settle(struct tls_layer *layer);
/* Numbers of the next records, payload_max and, of TLS 1.3, both secrets. 0, or -EINVAL: there is a
 * secret missing. */
MUST_USE int tls_library_export(const struct tls_layer *layer, struct record_keys *keys);
/* What is read is wiped in the library's buffers as soon as it has been read. */
void tls_library_wipe_read(SSL *ssl, bool on);
/* The leaf that the peer has shown; borrowed, as long as the connection's session. NULL: none. */
X509 *tls_library_peer(const SSL *ssl);
/* A session that on_new_session was given: what the cache may keep of it, the caller's. NULL:
 * no memory. */
SSL_SESSION *tls_library_keep(SSL_SESSION *session);
/* For a check of a chain: no signature or key that the library would not take elsewhere. */
void tls_library_demand_strength(X509_STORE_CTX *check, const SSL *ssl);
/* After it has passed: whether that held, where the library does not look itself. */
bool tls_library_is_strong(X509_STORE_CTX *check);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Private to tls/: what its files share. libssl is included nowhere else. */
#ifndef TLS_INTERNAL_H
#define TLS_INTERNAL_H

#include "tls/keys.h"
#include "tls/tls.h"

#include <openssl/ssl.h>

/* Cleanup helpers for CLEANUP(). */
static inline void x509_freep(X509 **p)
{
	X509_free(*p);
	*p = NULL;
}
static inline void pkey_freep(EVP_PKEY **p)
{
	EVP_PKEY_free(*p);
	*p = NULL;
}

/* suites.c: policy to OpenSSL's two cipher strings. Reports findings; returns 0 or -EINVAL. */
MUST_USE int tls_suites_build(const struct tls_policy *policy, char tls12[512], char tls13[256],
	tls_finding_fn *report, void *arg);
/* Applies policy, options and modes that every server context has. Returns 0 or -EINVAL. */
MUST_USE int tls_policy_apply(SSL_CTX *ctx, const struct tls_policy *policy);
/* groups.c: the groups of a context, checked before by tls_groups_check(); NULL or empty: the
 * default of this side. Returns 0 or -EINVAL. */
MUST_USE int tls_groups_apply(SSL_CTX *ctx, const char *const *names, bool server);
/* What is offered to nodes: everything that OpenSSL has by default, the kernel's ciphers first. */
void tls_client_suites(SSL_CTX *ctx);
/* Options and modes of both sides: no renegotiation, no compression, partial
 * writes, buffers released when idle. */
void tls_context_common(SSL_CTX *ctx);

/* process.c */
void tls_tickets_install(SSL_CTX *ctx);
X509 *tls_self_signed_cert(void);    /* borrowed */
EVP_PKEY *tls_self_signed_key(void); /* borrowed */

/* check.c: reads one certificate with its key into ctx (may be NULL: only checks). */
MUST_USE int tls_cert_load(const struct tls_cert_params *params, SSL_CTX *ctx, X509 **ret_leaf,
	tls_finding_fn *report, void *arg);
/* Names the certificate serves, lower case, NULL-terminated, freed by tls_names_free(). */
char **tls_cert_names(const struct tls_cert_params *params, X509 *leaf);
void tls_names_free(char **names);
/* Certificates that share a name: those of RSA and of other keys are served side by side, the
 * client takes what it can verify; of two of one kind the one that lasts longer is served, the
 * first of two that last as long. One that is not valid yet comes last. */
bool tls_cert_is_rsa(X509 *leaf);
bool tls_cert_is_better(X509 *leaf, X509 *than);

/* What one call takes from the socket at most. What it leaves there, epoll tells again. */
#define TLS_READ_BUDGET 65536
/* Records and messages of the peer's after the handshake that bring no data, one behind the
 * other. */
#define TLS_QUIET_MAX 32
/* Above it nothing is read that might ask for an answer, and no answer is made. */
#define TLS_HELD_BYTES 65536

/* The layer of an OpenSSL stream. */
struct tls_layer {
	SSL *ssl;
	struct tls_client *client; /* reference; NULL on the server side */
	const struct tls_alpn *alpn;
	bool handshaken, failed, shut;
	bool protocol_error; /* as opposed to a peer that just went away */
	bool close_notify;   /* the peer's has arrived */
	bool write_blocked;  /* OpenSSL holds a record that the socket did not take */
	bool holding;        /* what OpenSSL writes goes to held */
	bool eof;            /* the peer's FIN has been read */
	bool flooded; /* too many records or messages without data: nothing is read any more */
	uint8_t quiet_records, quiet_messages; /* of the peer's, since the last byte of data */
	uint8_t messages, records;             /* of the peer's, in this call */
	uint32_t budget; /* bytes that this call may still take from the socket */
	int fd;          /* the stream's */
	struct buf held; /* records that are not sent yet: a flight; later TLS_HELD_BYTES */
	size_t owed;     /* bytes taken by a write whose records are in held; it is repeated */
	uint8_t secret_len;
	unsigned char secret[2]
			    [RECORD_SECRET_MAX]; /* TLS 1.3 traffic secrets: client's, server's */
	uint64_t seq[2];                         /* per enum record_direction */
	char error[TLS_ERROR_SIZE / 2];
};
/* NULL if OpenSSL is not on the stream. */
const struct tls_layer *tls_stream_layer(const struct stream *stream);

/* wire.c: our BIO below layer->ssl. Returns 0 or -ENOMEM. */
MUST_USE int tls_wire_attach(struct tls_layer *layer);
/* Sends what is held. Returns 0 when nothing is left, -EAGAIN or -errno. */
MUST_USE int tls_wire_flush(struct tls_layer *layer);

/* keys.c: the callbacks that follow record numbers and, if asked for, secrets. */
void tls_keys_install(SSL_CTX *ctx, bool secrets);

/* stream.c: puts SSL on a stream; takes over ssl, and the reference to client on success. */
struct tls_client;
MUST_USE int tls_stream_attach(
	struct stream *stream, SSL *ssl, struct tls_client *client, const struct tls_alpn *alpn);
const struct tls_alpn *tls_stream_alpn(SSL *ssl);
struct tls_client *tls_ssl_client(SSL *ssl);

/* client.c: called once a client handshake is complete; checks the pin. 0 or -EPROTO + text. */
MUST_USE int tls_client_verify(struct tls_client *client, SSL *ssl, char error[TLS_ERROR_SIZE]);

/* The reason of the newest queued error, without any byte of the peer's. */
void tls_error_text(char error[TLS_ERROR_SIZE], const char *what);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Private to tls/: what its files share. They need each other in one direction only:
 *
 *	records.c -> keys.c -> stream.c -> client.c -> auth.c
 *	                                -> server.c, client.c -> suites.c -> follow.c -> layer.c
 *	                                                                  -> library.h
 *
 * Contexts (client.c, server.c) make connections, stream.c puts them on sockets (wire.c). What
 * OpenSSL calls finds its struct tls_layer by tls_layer_of().
 */
#ifndef TLS_OPENSSL_H
#define TLS_OPENSSL_H

#include "tls/keys.h"
#include "tls/layer.h"

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

/* errors.c: what the library's newest error says, without any byte of the peer's; "" if there
 * is none. The queue is empty then. */
#define TLS_REASON_SIZE 64
const char *tls_take_error(char text[TLS_REASON_SIZE]);
/* What failed, with that behind it if there is something. Returns -EIO. */
int tls_fault(char error[TLS_ERROR_SIZE], const char *what);
/* Whether it says that the peer's certificate was refused, and why it was. Static. */
bool tls_is_refusal(void);
const char *tls_verdict(const SSL *ssl);

/* suites.c: policy to OpenSSL's two cipher strings. Reports findings; returns 0 or -EINVAL. */
MUST_USE int tls_suites_build(const struct tls_policy *policy, char tls12[512], char tls13[256],
	tls_finding_fn *report, void *arg);
/* As tls_prefer_ciphers() said. */
bool tls_is_preferred(enum record_cipher cipher);
/* Applies policy, options and modes that every server context has. Returns 0 or -EINVAL. */
MUST_USE int tls_policy_apply(SSL_CTX *ctx, const struct tls_policy *policy);
/* groups.c: the groups of a context, checked before by tls_groups_check(); NULL or empty: the
 * default of this side. Returns 0 or -EINVAL. */
MUST_USE int tls_groups_apply(SSL_CTX *ctx, const char *const *names, bool server);
/* What is offered to nodes: everything that OpenSSL has by default, behind the suites of CFG-25. */
void tls_client_suites(SSL_CTX *ctx);
/* A context whose connections tell their secrets, if they are to. NULL: no memory. */
SSL_CTX *tls_context_new(const SSL_METHOD *method);
/* issue.c: a key pair of P-256, owned by the caller; NULL: no memory. */
EVP_PKEY *tls_key_new(void);
/* Options and modes of both sides: no renegotiation, no compression, partial
 * writes, buffers released when idle. */
void tls_context_common(SSL_CTX *ctx);

/* process.c */
void tls_tickets_install(SSL_CTX *ctx);
struct tls_ticket_key {
	unsigned char name[16], aes[32], hmac[32];
	uint64_t made_ms; /* 0: none */
};
/* The key to make a ticket with (encrypt; name and an IV for AES-256-CBC are filled in) or to open
 * the one with that name. As the library's callback wants it: 1, 2 (the ticket is renewed), 0 (not
 * one of ours) or -1; *ret_key is the caller's to wipe. */
typedef int tls_ticket_key_fn(SSL *ssl, unsigned char name[16], unsigned char *iv, bool encrypt,
	struct tls_ticket_key *ret_key);
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

/* stream.c: puts SSL on a stream; takes over ssl. On success the caller counts its client (NULL: a
 * server's), and the stream gives it back. Returns 0 or -ENOMEM: the stream is as it was. */
MUST_USE int tls_stream_attach(
	struct stream *stream, SSL *ssl, struct tls_client *client, const struct tls_alpn *alpn);
/* NULL if OpenSSL is not on the stream. */
struct tls_layer *tls_stream_layer(const struct stream *stream);
/* keys.c: as tls_keys_export(), for who takes over what is read, opened, held back or due. */
MUST_USE int tls_keys_export_as_is(const struct stream *stream, struct record_keys *ret_keys);
/* The peer has asked for a KeyUpdate, which goes before our next record. */
bool tls_answer_is_due(const struct tls_layer *layer);

/* wire.c: our BIO below layer->ssl. Returns 0 or -ENOMEM. */
MUST_USE int tls_wire_attach(struct tls_layer *layer);
/* Sends what is held. Returns 0 when nothing is left, -EAGAIN or -errno. */
MUST_USE int tls_wire_flush(struct tls_layer *layer);

/* memory_openssl.c: an SSL that had secrets in it. */
void tls_free_wiped(SSL *ssl);
/* Whether all that OpenSSL frees on this thread is wiped: from where tickets may be written or read
 * to the end of that call. */
void tls_memory_tidy(bool on);

/* derive_openssl.c: what a context is made with so that its secrets can be taken; NULL: there is no
 * way. */
const char *tls_derive_properties(void);
/* Around a call that may derive them: those of others go, those of the layer are put into it. */
void tls_derive_forget(void);
void tls_derive_take(struct tls_layer *layer);

/* follow.c: the callback that follows what is said. */
void tls_follow(SSL_CTX *ctx);
/* layer.c: what record/ calls the cipher. Returns 0 or -ENOTSUP. */
MUST_USE int tls_find_cipher(const SSL *ssl, enum record_cipher *ret_cipher);

/* server.c, client.c: one connection, without a socket; the caller frees it. A client's knows whom
 * it goes to and what it resumes. Returns 0, -ENOMEM or -EINVAL. */
MUST_USE int tls_server_ssl(struct tls_server *server, SSL **ret_ssl);
MUST_USE int tls_client_ssl(struct tls_client *client, SSL **ret_ssl);
/* client.c: called once a client handshake is complete; checks the pin. 0 or -EPROTO + text. */
MUST_USE int tls_client_verify(struct tls_client *client, SSL *ssl, char error[TLS_ERROR_SIZE]);
/* auth.c: whether the leaf (NULL: no) is one of these, TLS_SHA256_SIZE bytes each. */
bool tls_is_pinned(X509 *leaf, const unsigned char *pins, size_t count);
/* A server's connection asks for a certificate, whatever it is worth, and takes TLS 1.3 alone. 0 or
 * -EIO. */
MUST_USE int tls_auth_apply(const struct tls_auth *auth, SSL *ssl);
/* Likewise, of a server's connection whose client has to be known. 0 or -EPROTO + text. */
MUST_USE int tls_auth_verify(const struct tls_auth *auth, SSL *ssl, char error[TLS_ERROR_SIZE]);

#endif

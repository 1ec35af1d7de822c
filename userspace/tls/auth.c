// SPDX-License-Identifier: Apache-2.0
/*
 * Who may be a client, by its certificate. The handshake takes any, and when it is over what was
 * shown is judged, before a byte is read and before a ticket is sent. A session that is resumed was
 * judged when it was made: it is bound to the digest of all that is trusted, so trust that has been
 * withdrawn resumes nothing.
 */
#include "tls/openssl.h"
#include "base/fd.h"
#include "base/secret.h"
#include "tls/library.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_LIMIT_BYTES (4 * 1024 * 1024)

struct tls_auth {
	atomic_uint references;
	X509_STORE *authorities; /* NULL: none */
	unsigned char *pins;
	size_t pin_count;
	unsigned char context[TLS_SHA256_SIZE];
};

/* The digest of the pins and of what the file holds. */
static int make_context(struct tls_auth *auth, const char *path)
{
	struct buf all = { 0 };
	char *text = NULL;
	size_t len = 0;
	int r = path ? fd_read_file(path, FILE_LIMIT_BYTES, &text, &len) : 0;

	if (r == 0)
		r = buf_append(&all, auth->pins, auth->pin_count * TLS_SHA256_SIZE);
	if (r == 0)
		r = buf_append(&all, text ? text : "", len);
	if (r == 0)
		tls_sha256(buf_view(&all), auth->context);
	buf_fini(&all);
	free(text);
	return r;
}

static int load_authorities(X509_STORE *store, const char *path, char error[TLS_ERROR_SIZE])
{
	char reason[TLS_REASON_SIZE];

	if (!store)
		return -ENOMEM;
	ERR_clear_error();
	if (X509_STORE_load_locations(store, path, NULL) == 1)
		return 0;
	snprintf(error, TLS_ERROR_SIZE, "no certificate of an authority can be read: %s",
		*tls_take_error(reason) ? reason : "empty");
	return -EINVAL;
}

int tls_authorities_check(const char *path, char error[TLS_ERROR_SIZE])
{
	X509_STORE *store = X509_STORE_new();
	int r;

	snprintf(error, TLS_ERROR_SIZE, "out of memory");
	r = load_authorities(store, path, error);
	X509_STORE_free(store);
	return r;
}

int tls_auth_new(const struct tls_auth_params *params, struct tls_auth **ret_auth,
	char error[TLS_ERROR_SIZE])
{
	struct tls_auth *auth = calloc(1, sizeof(*auth));
	int r = 0;

	snprintf(error, TLS_ERROR_SIZE, "out of memory");
	if (!auth)
		return -ENOMEM;
	atomic_init(&auth->references, 1);
	auth->pins = calloc(params->pin_count + 1, TLS_SHA256_SIZE);
	if (!auth->pins)
		r = -ENOMEM;
	else if (params->pin_count)
		memcpy(auth->pins, params->pins, params->pin_count * TLS_SHA256_SIZE);
	auth->pin_count = params->pin_count;
	if (r == 0 && params->ca_path) {
		auth->authorities = X509_STORE_new();
		r = load_authorities(auth->authorities, params->ca_path, error);
	}
	if (r == 0)
		r = make_context(auth, params->ca_path);
	if (r < 0)
		tls_auth_unref(auth);
	else
		*ret_auth = auth;
	return r;
}

struct tls_auth *tls_auth_ref(struct tls_auth *auth)
{
	atomic_fetch_add(&auth->references, 1);
	return auth;
}

bool tls_auth_same(const struct tls_auth *a, const struct tls_auth *b)
{
	return memcmp(a->context, b->context, sizeof(a->context)) == 0;
}

void tls_auth_unref(struct tls_auth *auth)
{
	if (!auth || atomic_fetch_sub(&auth->references, 1) != 1)
		return;
	X509_STORE_free(auth->authorities);
	free(auth->pins);
	free(auth);
}

/* What it is worth is looked at when the handshake is over. */
static int take_any(int ok, X509_STORE_CTX *store)
{
	(void)ok;
	(void)store;
	return 1;
}

int tls_auth_apply(const struct tls_auth *auth, SSL *ssl)
{
	SSL_set_verify(ssl, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, take_any);
	return SSL_set_min_proto_version(ssl, TLS1_3_VERSION) == 1 &&
			SSL_set_session_id_context(ssl, auth->context, sizeof(auth->context)) == 1
		? 0
		: -EIO;
}

bool tls_is_pinned(X509 *leaf, const unsigned char *pins, size_t count)
{
	unsigned char digest[TLS_SHA256_SIZE], *der = NULL;
	int len = leaf ? i2d_X509(leaf, &der) : -1, equal = 0;

	if (len > 0) {
		tls_sha256(view_make((const char *)der, (size_t)len), digest);
		for (size_t i = 0; i < count; i++)
			equal |= secret_equal(digest, pins + i * sizeof(digest), sizeof(digest));
	}
	OPENSSL_free(der);
	return equal;
}

/* A chain to one of the authorities, for a client, valid now (RFC 5280 section 6). */
static bool is_vouched_for(const struct tls_auth *auth, SSL *ssl, X509 *leaf)
{
	X509_STORE_CTX *check = auth->authorities ? X509_STORE_CTX_new() : NULL;
	bool ok = check &&
		X509_STORE_CTX_init(check, auth->authorities, leaf, SSL_get_peer_cert_chain(ssl)) ==
			1 &&
		X509_STORE_CTX_set_purpose(check, X509_PURPOSE_SSL_CLIENT) == 1;

	if (ok) {
		tls_library_demand_strength(check, ssl);
		ok = X509_verify_cert(check) == 1 && tls_library_is_strong(check);
	}
	X509_STORE_CTX_free(check);
	ERR_clear_error();
	return ok;
}

int tls_auth_verify(const struct tls_auth *auth, SSL *ssl, char error[TLS_ERROR_SIZE])
{
	X509 *leaf = tls_library_peer(ssl);

	if (SSL_session_reused(ssl))
		return leaf && X509_cmp_current_time(X509_get0_notAfter(leaf)) > 0 ? 0 : -EPROTO;
	if (tls_is_pinned(leaf, auth->pins, auth->pin_count) ||
		(leaf && is_vouched_for(auth, ssl, leaf)))
		return 0;
	snprintf(error, TLS_ERROR_SIZE, "the client's certificate is none that is allowed here");
	return -EPROTO;
}

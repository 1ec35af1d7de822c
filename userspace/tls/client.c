// SPDX-License-Identifier: Apache-2.0
/*
 * The client side: trust settings of one destination and leg, and its own small cache of sessions
 * (SES-47), so that a session is resumed only where the same checks were passed (#33). A TLS 1.3
 * session is taken out when used, because its ticket is for one use (RFC 8446 appendix C.4).
 */
#include "tls/library.h"
#include "tls/openssl.h"
#include "base/fd.h"
#include "net/addr.h"

#include <errno.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define CACHE_SESSIONS 64
#define TRUST_LIMIT_BYTES (16 * 1024 * 1024)

struct tls_client {
	atomic_uint references;
	SSL_CTX *ctx;
	char *server_name;
	char *alpn;
	bool name_is_ip;
	unsigned pin_count; /* 0: none */
	unsigned char *pins;
	pthread_mutex_t lock;
	SSL_SESSION *sessions[CACHE_SESSIONS]; /* a stack: the newest is on top */
	unsigned session_count;
};

static void cache_put(struct tls_client *client, SSL_SESSION *session)
{
	pthread_mutex_lock(&client->lock);
	if (client->session_count == CACHE_SESSIONS) {
		SSL_SESSION_free(client->sessions[0]);
		memmove(client->sessions, client->sessions + 1,
			(CACHE_SESSIONS - 1) * sizeof(client->sessions[0]));
		client->session_count--;
	}
	client->sessions[client->session_count++] = session;
	pthread_mutex_unlock(&client->lock);
}

/* The caller owns it. */
static SSL_SESSION *cache_take(struct tls_client *client)
{
	SSL_SESSION *session = NULL;

	pthread_mutex_lock(&client->lock);
	if (client->session_count) {
		session = client->sessions[client->session_count - 1];
		if (SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION)
			client->session_count--;
		else
			SSL_SESSION_up_ref(session);
	}
	pthread_mutex_unlock(&client->lock);
	return session;
}

/* Tickets of TLS 1.3 come after the handshake, so the pin has been checked; with TLS 1.2 this
 * runs inside it, and a certificate that fails its pin fails again at the next use. */
static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
	SSL_SESSION *kept = tls_library_keep(session);

	if (kept)
		cache_put(tls_layer_of(ssl)->client, kept);
	return 0;
}

/* With a pin, or with allow_invalid, the chain is not looked at (CFG-29). */
static int accept_any(X509_STORE_CTX *store, void *arg)
{
	(void)store;
	(void)arg;
	return 1;
}

int tls_client_verify(struct tls_client *client, SSL *ssl, char error[TLS_ERROR_SIZE])
{
	if (!client->pin_count ||
		tls_is_pinned(tls_library_peer(ssl), client->pins, client->pin_count))
		return 0;
	snprintf(error, TLS_ERROR_SIZE, "the certificate is not the pinned one");
	return -EPROTO;
}

static int set_trust(struct tls_client *client, const struct tls_client_params *params)
{
	SSL_CTX *ctx = client->ctx;

	if (params->pin || params->allow_invalid) {
		SSL_CTX_set_cert_verify_callback(ctx, accept_any, NULL);
		SSL_CTX_set_verify(ctx, SSL_VERIFY_NONE, NULL);
		return 0;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	if (!params->ca_path)
		return tls_library_trust_system(ctx);
	return SSL_CTX_load_verify_locations(ctx, params->ca_path, NULL) == 1 ? 0 : -EINVAL;
}

static int set_client_cert(SSL_CTX *ctx, const struct tls_client_params *params)
{
	if (!params->client_cert_path)
		return 0;
	if (SSL_CTX_use_certificate_chain_file(ctx, params->client_cert_path) != 1 ||
		SSL_CTX_use_PrivateKey_file(ctx, params->client_key_path, SSL_FILETYPE_PEM) != 1 ||
		SSL_CTX_check_private_key(ctx) != 1)
		return -EINVAL;
	return 0;
}

static int set_alpn(struct tls_client *client)
{
	unsigned char wire[256];
	size_t len = client->alpn ? strlen(client->alpn) : 0;

	if (!len || len > 255)
		return 0;
	wire[0] = (unsigned char)len;
	memcpy(wire + 1, client->alpn, len);
	return SSL_CTX_set_alpn_protos(client->ctx, wire, (unsigned)len + 1) == 0 ? 0 : -ENOMEM;
}

void tls_system_trust_digest(unsigned char ret_digest[TLS_SHA256_SIZE])
{
	const char *dir = getenv(X509_get_default_cert_dir_env());
	struct {
		unsigned char file[TLS_SHA256_SIZE];
		struct timespec dir;
	} state;
	struct stat st;
	char *text;
	size_t len;

	memset(&state, 0, sizeof(state));
	if (fd_read_file(tls_library_trust_file(), TRUST_LIMIT_BYTES, &text, &len) == 0) {
		tls_sha256(view_make(text, len), state.file);
		free(text);
	}
	if (stat(dir ? dir : X509_get_default_cert_dir(), &st) == 0)
		state.dir = st.st_mtim; /* every change in it is a name that comes or goes */
	tls_sha256(view_make((const char *)&state, sizeof(state)), ret_digest);
}

/* Without the dot of a complete name, which neither SNI (RFC 6066 section 3) nor certificates
 * have. */
static char *dup_name(const char *name)
{
	size_t len = strlen(name);

	return view_dup(view_make(name, len > 1 && name[len - 1] == '.' ? len - 1 : len));
}

int tls_client_new(const struct tls_client_params *params, struct tls_client **ret_client,
	char error[TLS_ERROR_SIZE])
{
	struct tls_client *client = calloc(1, sizeof(*client));
	struct addr addr;
	int r = -ENOMEM;

	if (!client)
		return r;
	atomic_init(&client->references, 1);
	pthread_mutex_init(&client->lock, NULL);
	client->ctx = tls_context_new(TLS_client_method());
	client->server_name = params->server_name ? dup_name(params->server_name) : NULL;
	client->alpn = params->alpn ? strdup(params->alpn) : NULL;
	client->pin_count = params->pin ? MAX(params->pin_count, 1u) : 0;
	client->pins = calloc(client->pin_count + 1, TLS_SHA256_SIZE);
	if (client->pins && params->pin)
		memcpy(client->pins, params->pin, client->pin_count * TLS_SHA256_SIZE);
	client->name_is_ip =
		client->server_name && addr_parse_ip(view_str(client->server_name), 0, &addr) == 0;
	if (client->ctx && client->pins) {
		tls_context_common(client->ctx);
		SSL_CTX_set_min_proto_version(
			client->ctx, params->tls13_only ? TLS1_3_VERSION : TLS1_2_VERSION);
		tls_client_suites(client->ctx);
		SSL_CTX_set_session_cache_mode(
			client->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
		SSL_CTX_sess_set_new_cb(client->ctx, on_new_session);
		r = tls_groups_apply(client->ctx, params->groups, false);
	}
	if (r == 0)
		r = set_trust(client, params);
	if (r == 0)
		r = set_client_cert(client->ctx, params);
	if (r == 0)
		r = set_alpn(client);
	if (r < 0) {
		tls_fault(error, "cannot set up TLS towards the node");
		tls_client_unref(client);
		return r;
	}
	*ret_client = client;
	return 0;
}

struct tls_client *tls_client_ref(struct tls_client *client)
{
	atomic_fetch_add(&client->references, 1);
	return client;
}

void tls_client_unref(struct tls_client *client)
{
	if (!client || atomic_fetch_sub(&client->references, 1) != 1)
		return;
	for (unsigned i = 0; i < client->session_count; i++)
		SSL_SESSION_free(client->sessions[i]);
	SSL_CTX_free(client->ctx);
	pthread_mutex_destroy(&client->lock);
	free(client->server_name);
	free(client->alpn);
	free(client->pins);
	free(client);
}

/* SNI and the name to verify; an IP address is verified but not sent (SES-47). */
static int set_name(SSL *ssl, const struct tls_client *client)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);

	if (!client->server_name)
		return 0;
	if (client->name_is_ip)
		return X509_VERIFY_PARAM_set1_ip_asc(param, client->server_name) == 1 ? 0 : -EINVAL;
	X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set_tlsext_host_name(ssl, client->server_name) == 1 &&
			SSL_set1_host(ssl, client->server_name) == 1
		? 0
		: -EINVAL;
}

int tls_client_ssl(struct tls_client *client, SSL **ret_ssl)
{
	SSL *ssl = SSL_new(client->ctx);
	SSL_SESSION *session;

	if (!ssl)
		return -ENOMEM;
	SSL_set_connect_state(ssl);
	tls_library_client(ssl);
	if (set_name(ssl, client) < 0) {
		SSL_free(ssl);
		return -EINVAL;
	}
	session = cache_take(client);
	if (session) {
		SSL_set_session(ssl, session);
		SSL_SESSION_free(session);
	}
	*ret_ssl = ssl;
	return 0;
}

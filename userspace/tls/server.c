// SPDX-License-Identifier: Apache-2.0
/*
 * The server side: one context per certificate, chosen by SNI in the servername callback (CFG-21);
 * the context a connection starts with is the one for no name. Immutable after tls_server_new().
 */
#include "tls/internal.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct served {
	SSL_CTX *ctx;
	char **names; /* lower case */
	bool is_default;
};

struct tls_server {
	atomic_uint references;
	struct served *certs;
	size_t cert_count;
	SSL_CTX *self_signed;
};

/* *.parent serves exactly one label more than parent. */
static bool wildcard_matches(const char *pattern, const char *name)
{
	const char *dot = strchr(name, '.');

	return pattern[0] == '*' && pattern[1] == '.' && dot && dot != name &&
		strcmp(dot + 1, pattern + 2) == 0;
}

static SSL_CTX *find_name(const struct tls_server *server, const char *name, bool wildcard)
{
	for (size_t i = 0; i < server->cert_count; i++) {
		for (char **n = server->certs[i].names; *n; n++) {
			if (wildcard ? wildcard_matches(*n, name) : strcmp(*n, name) == 0)
				return server->certs[i].ctx;
		}
	}
	return NULL;
}

/* name: lower case, or NULL without SNI. */
static SSL_CTX *choose(const struct tls_server *server, const char *name)
{
	SSL_CTX *ctx = NULL;

	if (name)
		ctx = find_name(server, name, false);
	if (!ctx && name)
		ctx = find_name(server, name, true);
	for (size_t i = 0; !ctx && i < server->cert_count; i++) {
		if (server->certs[i].is_default)
			ctx = server->certs[i].ctx;
	}
	if (!ctx && server->cert_count == 1)
		ctx = server->certs[0].ctx;
	return ctx ? ctx : server->self_signed;
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	char lower[256];
	size_t n = 0;

	(void)alert;
	if (!name)
		return SSL_TLSEXT_ERR_OK;
	for (; name[n] && n < sizeof(lower) - 1; n++)
		lower[n] = ascii_lower(name[n]);
	lower[n] = '\0';
	if (n > 1 && lower[n - 1] == '.')
		lower[n - 1] = '\0';
	if (!name[n])
		SSL_set_SSL_CTX(ssl, choose(arg, lower));
	return SSL_TLSEXT_ERR_OK;
}

static bool is_id(const unsigned char *p, struct view id)
{
	return view_eq(view_make((const char *)p + 1, p[0]), id);
}

/* SES-13 for mail, HTTP-2 for http. */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_len,
	const unsigned char *in, unsigned in_len, void *arg)
{
	const struct tls_alpn *alpn = tls_stream_alpn(ssl);
	bool http = false;

	(void)arg;
	if (!alpn)
		return SSL_TLSEXT_ERR_NOACK;
	for (unsigned i = 0; i + 1 <= in_len && i + 1 + in[i] <= in_len; i += 1u + in[i]) {
		if (alpn->id && is_id(in + i, view_str(alpn->id))) {
			*out = in + i + 1;
			*out_len = in[i];
			return SSL_TLSEXT_ERR_OK;
		}
		http |= is_id(in + i, VIEW_LIT("h2")) || is_id(in + i, VIEW_LIT("http/1.1"));
	}
	return alpn->required || http ? SSL_TLSEXT_ERR_ALERT_FATAL : SSL_TLSEXT_ERR_NOACK;
}

static SSL_CTX *new_context(struct tls_server *server, const struct tls_policy *policy)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());

	if (ctx && tls_policy_apply(ctx, policy) < 0) {
		SSL_CTX_free(ctx);
		ctx = NULL;
	}
	if (!ctx)
		return NULL;
	tls_tickets_install(ctx);
	SSL_CTX_set_tlsext_servername_callback(ctx, on_server_name);
	SSL_CTX_set_tlsext_servername_arg(ctx, server);
	SSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
	return ctx;
}

struct first_error {
	char *text;
	bool set;
};

static void keep_first(void *arg, const struct tls_finding *finding)
{
	struct first_error *first = arg;

	if (!finding->error || first->set)
		return;
	first->set = true;
	snprintf(first->text, TLS_ERROR_SIZE, "%.40s%s%s: %.150s",
		finding->cert ? finding->cert : "", finding->cert ? "." : "", finding->field,
		finding->text);
}

static int add_cert(struct tls_server *server, const struct tls_cert_params *params,
	const struct tls_policy *policy, char error[TLS_ERROR_SIZE])
{
	struct served *served = &server->certs[server->cert_count];
	struct first_error first = { .text = error };
	X509 *leaf;

	served->ctx = new_context(server, policy);
	if (!served->ctx)
		return -ENOMEM;
	server->cert_count++;
	if (tls_cert_load(params, served->ctx, &leaf, keep_first, &first) < 0)
		return -EINVAL;
	served->names = tls_cert_names(params, leaf);
	X509_free(leaf);
	if (!served->names)
		return -ENOMEM;
	served->is_default = params->is_default || find_name(server, "*", false) == served->ctx;
	return 0;
}

static void server_free(struct tls_server *server)
{
	for (size_t i = 0; i < server->cert_count; i++) {
		SSL_CTX_free(server->certs[i].ctx);
		tls_names_free(server->certs[i].names);
	}
	SSL_CTX_free(server->self_signed);
	free(server->certs);
	free(server);
}

int tls_server_new(const struct tls_cert_params *certs, size_t cert_count,
	const struct tls_policy *policy, struct tls_server **ret_server, char error[TLS_ERROR_SIZE])
{
	struct tls_server *server = calloc(1, sizeof(*server));
	int r = 0;

	snprintf(error, TLS_ERROR_SIZE, "cannot set up TLS");
	if (!server)
		return -ENOMEM;
	atomic_init(&server->references, 1);
	server->certs = calloc(cert_count + 1, sizeof(*server->certs));
	server->self_signed = new_context(server, policy);
	if (!server->certs || !server->self_signed ||
		SSL_CTX_use_certificate(server->self_signed, tls_self_signed_cert()) != 1 ||
		SSL_CTX_use_PrivateKey(server->self_signed, tls_self_signed_key()) != 1)
		r = -EINVAL;
	for (size_t i = 0; r == 0 && i < cert_count; i++)
		r = add_cert(server, &certs[i], policy, error);
	ERR_clear_error();
	if (r < 0)
		server_free(server);
	else
		*ret_server = server;
	return r;
}

struct tls_server *tls_server_ref(struct tls_server *server)
{
	atomic_fetch_add(&server->references, 1);
	return server;
}

void tls_server_unref(struct tls_server *server)
{
	if (server && atomic_fetch_sub(&server->references, 1) == 1)
		server_free(server);
}

int tls_stream_accept(struct stream *stream, struct tls_server *server, const struct tls_alpn *alpn)
{
	SSL *ssl = SSL_new(choose(server, NULL));

	if (!ssl)
		return -ENOMEM;
	SSL_set_accept_state(ssl);
	return tls_stream_attach(stream, ssl, NULL, alpn);
}

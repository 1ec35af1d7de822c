// SPDX-License-Identifier: Apache-2.0
/*
 * The server side: one context per certificate, chosen by SNI in the servername callback (CFG-21);
 * the context a connection starts with is the one for no name. Immutable after tls_server_new().
 */
#include "tls/openssl.h"

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

/* One name: what serves it. */
struct entry {
	const char *name; /* borrowed from a served */
	size_t cert;      /* of certs; the first to declare it */
	SSL_CTX *ctx;     /* borrowed */
};

/* Two certificates of one name, of an RSA and of another key, in one context. */
struct pair {
	SSL_CTX *rsa, *other; /* borrowed */
	SSL_CTX *ctx;
};

struct tls_server {
	atomic_uint references;
	struct served *certs;
	size_t cert_count;
	struct entry *entries; /* each name once, in order */
	size_t entry_count;
	struct pair *pairs;
	size_t pair_count;
	SSL_CTX *self_signed;
	SSL_CTX *fallback; /* borrowed: for names that nobody has, and for none (CFG-21) */
};

static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : x->cert < y->cert ? -1 : x->cert > y->cert;
}

static int compare_name(const void *name, const void *entry)
{
	return strcmp(name, ((const struct entry *)entry)->name);
}

static SSL_CTX *find_name(const struct tls_server *server, const char *name)
{
	const struct entry *entry = server->entry_count
		? bsearch(name, server->entries, server->entry_count, sizeof(*entry), compare_name)
		: NULL;

	return entry ? entry->ctx : NULL;
}

/* name: lower case. *.parent serves exactly one label more than parent. */
static SSL_CTX *choose(const struct tls_server *server, const char *name)
{
	SSL_CTX *ctx = find_name(server, name);
	const char *dot = strchr(name, '.');
	char wildcard[256];

	if (!ctx && dot && dot != name) {
		snprintf(wildcard, sizeof(wildcard), "*%s", dot);
		ctx = find_name(server, wildcard);
	}
	return ctx ? ctx : server->fallback;
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	char lower[256];
	size_t n = 0;

	(void)alert;
	if (!name)
		return SSL_TLSEXT_ERR_OK;
	for (; n < sizeof(lower) - 1 && name[n]; n++)
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
	const struct tls_alpn *alpn = tls_layer_of(ssl)->alpn;
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
	SSL_CTX *ctx = tls_context_new(TLS_server_method());

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
	served->is_default = params->is_default;
	for (char **name = served->names; *name; name++)
		served->is_default |= strcmp(*name, "*") == 0;
	return 0;
}

/* ---- who serves which name ---- */

static X509 *leaf_of(SSL_CTX *ctx)
{
	return SSL_CTX_get0_certificate(ctx);
}

static int add_key(SSL_CTX *ctx, SSL_CTX *from)
{
	STACK_OF(X509) *chain = NULL;

	return SSL_CTX_get0_chain_certs(from, &chain) == 1 &&
			SSL_CTX_use_cert_and_key(
				ctx, leaf_of(from), SSL_CTX_get0_privatekey(from), chain, 1) == 1
		? 0
		: -EINVAL;
}

/* Returns 0 with the pair's context, or -errno. */
static int find_pair(struct tls_server *server, SSL_CTX *rsa, SSL_CTX *other,
	const struct tls_policy *policy, SSL_CTX **ret_ctx)
{
	struct pair *pairs, *pair;

	for (size_t i = 0; i < server->pair_count; i++) {
		if (server->pairs[i].rsa == rsa && server->pairs[i].other == other) {
			*ret_ctx = server->pairs[i].ctx;
			return 0;
		}
	}
	pairs = realloc(server->pairs, (server->pair_count + 1) * sizeof(*pairs));
	if (!pairs)
		return -ENOMEM;
	server->pairs = pairs;
	pair = &pairs[server->pair_count];
	*pair = (struct pair){ rsa, other, new_context(server, policy) };
	if (!pair->ctx)
		return -ENOMEM;
	server->pair_count++;
	*ret_ctx = pair->ctx;
	return add_key(pair->ctx, rsa) < 0 || add_key(pair->ctx, other) < 0 ? -EINVAL : 0;
}

/* The entries from..to have one name, which the first of them keeps. */
static int serve_name(struct tls_server *server, size_t from, size_t to,
	const struct tls_policy *policy, struct entry *ret_entry)
{
	SSL_CTX *best[2] = { NULL, NULL }; /* RSA, other */

	for (size_t i = from; i < to; i++) {
		SSL_CTX *ctx = server->certs[server->entries[i].cert].ctx;
		SSL_CTX **kind = &best[!tls_cert_is_rsa(leaf_of(ctx))];

		if (!*kind || tls_cert_is_better(leaf_of(ctx), leaf_of(*kind)))
			*kind = ctx;
	}
	*ret_entry = server->entries[from];
	ret_entry->ctx = best[0] ? best[0] : best[1];
	return best[0] && best[1] ? find_pair(server, best[0], best[1], policy, &ret_entry->ctx)
				  : 0;
}

/* CFG-21: the default, with what its first name has beside it, else the only certificate.
 * Certificates that serve the same names are one. */
static SSL_CTX *find_fallback(const struct tls_server *server)
{
	SSL_CTX *only = server->cert_count == 1 ? server->certs[0].ctx : NULL;

	for (size_t i = 0; i < server->cert_count; i++) {
		const struct served *cert = &server->certs[i];

		if (cert->is_default)
			return *cert->names ? find_name(server, *cert->names) : cert->ctx;
	}
	for (size_t i = 0; server->cert_count > 1 && i < server->entry_count; i++) {
		if (i && server->entries[i].ctx != only)
			return server->self_signed;
		only = server->entries[i].ctx;
	}
	return only ? only : server->self_signed;
}

static int serve_names(struct tls_server *server, const struct tls_policy *policy)
{
	size_t count = 0, kept = 0;
	int r = 0;

	for (size_t i = 0; i < server->cert_count; i++) {
		for (char **name = server->certs[i].names; *name; name++)
			count++;
	}
	server->entries = calloc(count + 1, sizeof(*server->entries));
	if (!server->entries)
		return -ENOMEM;
	count = 0;
	for (size_t i = 0; i < server->cert_count; i++) {
		for (char **name = server->certs[i].names; *name; name++)
			server->entries[count++] = (struct entry){ .name = *name, .cert = i };
	}
	qsort(server->entries, count, sizeof(*server->entries), compare_entries);
	for (size_t from = 0, to; r == 0 && from < count; from = to) {
		for (to = from + 1; to < count &&
			strcmp(server->entries[from].name, server->entries[to].name) == 0;)
			to++;
		r = serve_name(server, from, to, policy, &server->entries[kept++]);
	}
	server->entry_count = kept;
	server->fallback = find_fallback(server);
	return r;
}

static void server_free(struct tls_server *server)
{
	for (size_t i = 0; i < server->pair_count; i++)
		SSL_CTX_free(server->pairs[i].ctx);
	free(server->pairs);
	free(server->entries);
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
	if (r == 0)
		r = serve_names(server, policy);
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

int tls_server_ssl(struct tls_server *server, SSL **ret_ssl)
{
	SSL *ssl = SSL_new(server->fallback);

	if (!ssl)
		return -ENOMEM;
	SSL_set_accept_state(ssl);
	*ret_ssl = ssl;
	return 0;
}

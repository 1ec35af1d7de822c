// SPDX-License-Identifier: Apache-2.0
/*
 * The secrets of TLS 1.3 that records are made of behind the handshake (RFC 8446 section 7.1), as
 * OpenSSL derives them. Its key log tells them too, but writes all five of a handshake as text,
 * each byte with sprintf(), which is a twelfth of a login. So contexts fetch their key derivation
 * from a provider of ours, which is OpenSSL's own but for a look at the label. Where the
 * configuration of OpenSSL does not let it be chosen, the key log it is (follow.c).
 */
#include "base/secret.h"
#include "tls/openssl.h"

#include <openssl/core_dispatch.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/provider.h>
#include <pthread.h>

#define KDF "TLS13-KDF"
#define PROVIDER "hm" /* short: OpenSSL hashes what is asked for each time that it fetches */
#define PROPERTIES "?provider=" PROVIDER

/* For the life of the process. */
static EVP_KDF *theirs;
static OSSL_PROVIDER *ours;
static bool is_chosen;

/* The thread's: what has been derived and not taken. Client's, server's. */
static _Thread_local unsigned char secret[2][RECORD_SECRET_MAX];
static _Thread_local uint8_t secret_len[2];

/* ---- the key derivation: a context is one of theirs ---- */

static void *new_context(void *provider)
{
	(void)provider;
	return EVP_KDF_CTX_new(theirs);
}

static void free_context(void *context)
{
	EVP_KDF_CTX_free(context);
}

static void reset(void *context)
{
	EVP_KDF_CTX_reset(context);
}

static int set_params(void *context, const OSSL_PARAM params[])
{
	return EVP_KDF_CTX_set_params(context, params);
}

static void look_at(const OSSL_PARAM params[], const unsigned char *key, size_t len)
{
	static const char labels[2][sizeof("c ap traffic")] = { "c ap traffic", "s ap traffic" };
	const OSSL_PARAM *label = OSSL_PARAM_locate_const(params, OSSL_KDF_PARAM_LABEL);

	for (int i = 0; i < 2 && label && len <= sizeof(secret[i]); i++) {
		if (label->data_size != strlen(labels[i]) ||
			memcmp(label->data, labels[i], label->data_size) != 0)
			continue;
		memcpy(secret[i], key, len);
		secret_len[i] = (uint8_t)len;
	}
}

static int derive(void *context, unsigned char *key, size_t len, const OSSL_PARAM params[])
{
	int r = EVP_KDF_derive(context, key, len, params);

	if (r > 0)
		look_at(params, key, len);
	return r;
}

/* ---- the provider ---- */

#define FUNCTION(id, function) { id, (void (*)(void))(function) }

static const OSSL_ALGORITHM *query(void *provider, int operation, int *ret_no_cache)
{
	static const OSSL_DISPATCH functions[] = {
		FUNCTION(OSSL_FUNC_KDF_NEWCTX, new_context),
		FUNCTION(OSSL_FUNC_KDF_FREECTX, free_context),
		FUNCTION(OSSL_FUNC_KDF_RESET, reset),
		FUNCTION(OSSL_FUNC_KDF_DERIVE, derive),
		FUNCTION(OSSL_FUNC_KDF_SET_CTX_PARAMS, set_params),
		{ 0, NULL },
	};
	static const OSSL_ALGORITHM algorithms[] = {
		{ KDF, "provider=" PROVIDER, functions, "OpenSSL's, looked at" },
		{ NULL, NULL, NULL, NULL },
	};

	(void)provider;
	*ret_no_cache = 0;
	return operation == OSSL_OP_KDF ? algorithms : NULL;
}

static int start(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in,
	const OSSL_DISPATCH **ret_out, void **ret_provider)
{
	static const OSSL_DISPATCH functions[] = {
		FUNCTION(OSSL_FUNC_PROVIDER_QUERY_OPERATION, query),
		{ 0, NULL },
	};

	(void)in;
	*ret_out = functions;
	*ret_provider = (void *)core;
	return 1;
}

/* Theirs is fetched before there is ours, and those that OpenSSL loads by itself stay. */
static void install(void)
{
	EVP_KDF *found;

	ERR_set_mark();
	theirs = EVP_KDF_fetch(NULL, KDF, NULL);
	if (theirs && OSSL_PROVIDER_add_builtin(NULL, PROVIDER, start) == 1)
		ours = OSSL_PROVIDER_try_load(NULL, PROVIDER, 1);
	if (ours) {
		found = EVP_KDF_fetch(NULL, KDF, PROPERTIES);
		is_chosen = found && EVP_KDF_get0_provider(found) == ours;
		EVP_KDF_free(found);
	}
	ERR_pop_to_mark();
}

const char *tls_derive_properties(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, install);
	return is_chosen ? PROPERTIES : NULL;
}

void tls_derive_forget(void)
{
	if (!secret_len[0] && !secret_len[1])
		return;
	secret_wipe(secret, sizeof(secret));
	secret_len[0] = secret_len[1] = 0;
}

void tls_derive_take(struct tls_layer *layer)
{
	for (int i = 0; i < 2; i++) {
		if (!secret_len[i])
			continue;
		memcpy(layer->secret[i], secret[i], secret_len[i]);
		layer->secret_len = secret_len[i];
	}
	tls_derive_forget();
}

// SPDX-License-Identifier: Apache-2.0
/* See mac.h: by OpenSSL. What is fetched stays for the life of the process. */
#include "record/mac.h"

#include <assert.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <pthread.h>

static EVP_MAC *fetched_hmac;
static EVP_KDF *fetched_prf;

static void fetch(void)
{
	fetched_hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
	fetched_prf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
}

static void fetch_once(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, fetch);
}

static char *name_of(enum record_digest digest)
{
	static const char *const names[] = {
		[RECORD_SHA256] = "SHA256", [RECORD_SHA384] = "SHA384"
	};

	static_assert(ARRAY_SIZE(names) == RECORD_DIGESTS, "a name for each");
	return (char *)names[digest];
}

/* struct record_mac is nothing but OpenSSL's. */
struct record_mac *record_mac_new(enum record_digest digest)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, name_of(digest), 0),
		OSSL_PARAM_construct_end(),
	};
	EVP_MAC_CTX *ctx;

	fetch_once();
	ctx = fetched_hmac ? EVP_MAC_CTX_new(fetched_hmac) : NULL;
	if (ctx && EVP_MAC_CTX_set_params(ctx, params) != 1) {
		EVP_MAC_CTX_free(ctx);
		ctx = NULL;
	}
	return (struct record_mac *)ctx;
}

void record_mac_free(struct record_mac *mac)
{
	EVP_MAC_CTX_free((EVP_MAC_CTX *)mac);
}

int record_mac_make(struct record_mac *mac, const unsigned char *key, size_t key_len,
	const unsigned char *data, size_t len, unsigned char ret[EVP_MAX_MD_SIZE])
{
	EVP_MAC_CTX *ctx = (EVP_MAC_CTX *)mac;
	size_t n;

	return EVP_MAC_init(ctx, key, key_len, NULL) == 1 && EVP_MAC_update(ctx, data, len) == 1 &&
			EVP_MAC_final(ctx, ret, &n, EVP_MAX_MD_SIZE) == 1
		? 0
		: -EIO;
}

int record_prf(enum record_digest digest, const unsigned char *secret, size_t secret_len,
	const unsigned char *seed, size_t seed_len, unsigned char *ret, size_t len)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, name_of(digest), 0),
		OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_SECRET, (void *)secret, secret_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, (void *)seed, seed_len),
		OSSL_PARAM_construct_end(),
	};
	EVP_KDF_CTX *ctx;
	int ok;

	fetch_once();
	ctx = fetched_prf ? EVP_KDF_CTX_new(fetched_prf) : NULL;
	ok = ctx && EVP_KDF_derive(ctx, ret, len, params) > 0;
	EVP_KDF_CTX_free(ctx);
	return ok ? 0 : -EIO;
}

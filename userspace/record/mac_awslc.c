// SPDX-License-Identifier: Apache-2.0
/* See mac.h: by AWS-LC. */
#include "record/mac.h"

#include <errno.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>
#include <stdlib.h>

struct record_mac {
	HMAC_CTX *ctx;
	const EVP_MD *digest;
};

static const EVP_MD *digest_of(enum record_digest digest)
{
	return digest == RECORD_SHA384 ? EVP_sha384() : EVP_sha256();
}

struct record_mac *record_mac_new(enum record_digest digest)
{
	struct record_mac *mac = calloc(1, sizeof(*mac));

	if (!mac)
		return NULL;
	mac->digest = digest_of(digest);
	mac->ctx = HMAC_CTX_new();
	if (!mac->ctx) {
		free(mac);
		return NULL;
	}
	return mac;
}

void record_mac_free(struct record_mac *mac)
{
	if (!mac)
		return;
	HMAC_CTX_free(mac->ctx);
	free(mac);
}

int record_mac_make(struct record_mac *mac, const unsigned char *key, size_t key_len,
	const unsigned char *data, size_t len, unsigned char ret[EVP_MAX_MD_SIZE])
{
	unsigned n;

	return HMAC_Init_ex(mac->ctx, key, key_len, key ? mac->digest : NULL, NULL) == 1 &&
			HMAC_Update(mac->ctx, data, len) == 1 && HMAC_Final(mac->ctx, ret, &n) == 1
		? 0
		: -EIO;
}

int record_prf(enum record_digest digest, const unsigned char *secret, size_t secret_len,
	const unsigned char *seed, size_t seed_len, unsigned char *ret, size_t len)
{
	return CRYPTO_tls1_prf(digest_of(digest), ret, len, secret, secret_len, NULL, 0, seed,
		       seed_len, NULL, 0) == 1
		? 0
		: -EIO;
}

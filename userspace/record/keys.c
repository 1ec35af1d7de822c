// SPDX-License-Identifier: Apache-2.0
/* Traffic keys: from the secrets of a handshake to key and IV, and from one secret to the next. */
#include "base/secret.h"
#include "record/record.h"

#include <assert.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <string.h>

static const struct cipher {
	const char *name;
	size_t key_len;
	const char *digest;
} ciphers[] = {
	[RECORD_AES_128_GCM] = { "AES-128-GCM", 16, "SHA256" },
	[RECORD_AES_256_GCM] = { "AES-256-GCM", 32, "SHA384" },
	[RECORD_CHACHA20_POLY1305] = { "CHACHA20-POLY1305", 32, "SHA256" },
};

static_assert(ARRAY_SIZE(ciphers) == RECORD_CIPHERS, "a row for each");

const char *record_version_name(enum record_version version)
{
	static const char *const names[] = {
		[RECORD_TLS_1_2] = "TLSv1.2",
		[RECORD_TLS_1_3] = "TLSv1.3",
	};

	static_assert(ARRAY_SIZE(names) == RECORD_VERSIONS, "a name for each");
	return names[version];
}

const char *record_cipher_name(enum record_cipher cipher)
{
	return ciphers[cipher].name;
}

static int expand(const char *digest, const unsigned char *secret, size_t secret_len,
	const char *label, unsigned char *ret, size_t len)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY, ok;
	unsigned char info[64];
	size_t label_len = strlen(label), n = 0;

	/* HkdfLabel of RFC 8446 section 7.1, with an empty context */
	info[n++] = (unsigned char)(len >> 8);
	info[n++] = (unsigned char)len;
	info[n++] = (unsigned char)(6 + label_len);
	memcpy(info + n, "tls13 ", 6);
	memcpy(info + n + 6, label, label_len);
	n += 6 + label_len;
	info[n++] = 0;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, secret_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, n),
		OSSL_PARAM_construct_end(),
	};
	ok = ctx && EVP_KDF_derive(ctx, ret, len, params) > 0;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok ? 0 : -EIO;
}

/* The part of the key block (RFC 5246 section 6.3) that belongs to a side; AEAD has no MAC keys. */
static int derive_12(const struct record_keys *keys, int side, struct record_traffic_key *ret_key)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	unsigned char seed[64], block[2 * 32 + 2 * 12];
	size_t key_len = ret_key->key_len, iv_len = ret_key->iv_len;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(
			OSSL_KDF_PARAM_DIGEST, (char *)ciphers[keys->cipher].digest, 0),
		OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_SECRET, (void *)keys->secret[0], keys->secret_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, (void *)"key expansion", 13),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, seed, sizeof(seed)),
		OSSL_PARAM_construct_end(),
	};
	int ok;

	memcpy(seed, keys->random[1], 32);
	memcpy(seed + 32, keys->random[0], 32);
	ok = ctx && EVP_KDF_derive(ctx, block, 2 * (key_len + iv_len), params) > 0;
	if (ok) {
		memcpy(ret_key->key, block + (size_t)side * key_len, key_len);
		memcpy(ret_key->iv, block + 2 * key_len + (size_t)side * iv_len, iv_len);
	}
	secret_wipe(block, sizeof(block));
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok ? 0 : -EIO;
}

int record_keys_derive(const struct record_keys *keys, enum record_direction direction,
	struct record_traffic_key *ret_key)
{
	const struct cipher *cipher = &ciphers[keys->cipher];
	int side = record_owner(keys->is_server, direction), r;

	*ret_key = (struct record_traffic_key){ .key_len = cipher->key_len, .iv_len = 12 };
	if (keys->version == RECORD_TLS_1_2) {
		if (keys->cipher != RECORD_CHACHA20_POLY1305)
			ret_key->iv_len = 4;
		return derive_12(keys, side, ret_key);
	}
	r = expand(cipher->digest, keys->secret[side], keys->secret_len, "key", ret_key->key,
		ret_key->key_len);
	return r < 0 ? r
		     : expand(cipher->digest, keys->secret[side], keys->secret_len, "iv",
			       ret_key->iv, ret_key->iv_len);
}

int record_next_secret(enum record_cipher cipher, unsigned char *secret, size_t len)
{
	unsigned char next[RECORD_SECRET_MAX];
	int r = expand(ciphers[cipher].digest, secret, len, "traffic upd", next, len);

	if (r == 0)
		memcpy(secret, next, len);
	secret_wipe(next, sizeof(next));
	return r;
}

int record_keys_update(struct record_keys *keys, enum record_direction direction)
{
	int r = record_next_secret(keys->cipher,
		keys->secret[record_owner(keys->is_server, direction)], keys->secret_len);

	if (r == 0)
		keys->seq[direction] = 0;
	return r;
}

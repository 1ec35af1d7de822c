// SPDX-License-Identifier: Apache-2.0
/* See aead.h: by AWS-LC's EVP_CIPHER, which has no providers below it. */
#include "record/aead.h"

#include <errno.h>
#include <openssl/cipher.h>

static const EVP_CIPHER *cipher_of(enum record_cipher cipher)
{
	switch (cipher) {
	case RECORD_AES_128_GCM:
		return EVP_aes_128_gcm();
	case RECORD_AES_256_GCM:
		return EVP_aes_256_gcm();
	default:
		return EVP_chacha20_poly1305();
	}
}

int record_aead_init(
	struct record_aead *aead, enum record_cipher cipher, enum record_direction direction)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

	*aead = (struct record_aead){ .direction = direction };
	if (!ctx ||
		EVP_CipherInit_ex(
			ctx, cipher_of(cipher), NULL, NULL, NULL, direction == RECORD_WRITE) != 1) {
		EVP_CIPHER_CTX_free(ctx);
		return -EIO;
	}
	aead->ctx = ctx;
	return 0;
}

void record_aead_fini(struct record_aead *aead)
{
	EVP_CIPHER_CTX_free(aead->ctx);
	aead->ctx = NULL;
}

int record_aead_set_key(struct record_aead *aead, const unsigned char *key)
{
	return EVP_CipherInit_ex(aead->ctx, NULL, NULL, key, NULL, -1) == 1 ? 0 : -EIO;
}

int record_aead_begin(struct record_aead *aead, const unsigned char nonce[RECORD_NONCE_BYTES],
	const unsigned char *tag)
{
	return EVP_CipherInit_ex(aead->ctx, NULL, NULL, NULL, nonce, -1) == 1 &&
			(!tag ||
				EVP_CIPHER_CTX_ctrl(aead->ctx, EVP_CTRL_AEAD_SET_TAG,
					RECORD_TAG_BYTES, (void *)tag) == 1)
		? 0
		: -EIO;
}

int record_aead_add(struct record_aead *aead, const unsigned char *data, size_t len)
{
	return record_aead_update(aead, NULL, data, len);
}

int record_aead_update(
	struct record_aead *aead, unsigned char *to, const unsigned char *from, size_t len)
{
	int n;

	return !len || EVP_CipherUpdate(aead->ctx, to, &n, from, (int)len) == 1 ? 0 : -EIO;
}

/* Neither cipher has anything left to write then. */
static bool finish(struct record_aead *aead)
{
	unsigned char nothing[RECORD_TAG_BYTES];
	int n;

	return EVP_CipherFinal_ex(aead->ctx, nothing, &n) == 1;
}

int record_aead_seal(struct record_aead *aead, unsigned char ret_tag[RECORD_TAG_BYTES])
{
	return finish(aead) &&
			EVP_CIPHER_CTX_ctrl(
				aead->ctx, EVP_CTRL_AEAD_GET_TAG, RECORD_TAG_BYTES, ret_tag) == 1
		? 0
		: -EIO;
}

int record_aead_open(struct record_aead *aead)
{
	return finish(aead) ? 0 : -EBADMSG;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Private to record/: an AEAD cipher of libcrypto's with a key, in one direction. One of
 * aead_openssl.c and aead_awslc.c is built (TLS in the Makefile). With OpenSSL it is fetched as
 * ever, and then used through the functions of the provider that it came from (provider-cipher(7)):
 * EVP looks up the length of the nonce by name before it sets one, which in OpenSSL 3.0 takes as
 * long as a short record's encryption.
 */
#ifndef RECORD_AEAD_H
#define RECORD_AEAD_H

#include "record/record.h"

#define RECORD_TAG_BYTES 16
#define RECORD_NONCE_BYTES 12

struct record_functions;
/* Zeroed: not there. */
struct record_aead {
	void *ctx;                                /* the provider's; AWS-LC: an EVP_CIPHER_CTX */
	const struct record_functions *functions; /* AWS-LC: NULL */
	enum record_direction direction;
};

/* Without a key. Returns 0, or -EIO: libcrypto does not have the cipher, or no memory. */
MUST_USE int record_aead_init(
	struct record_aead *aead, enum record_cipher cipher, enum record_direction direction);
/* The key is wiped. */
void record_aead_fini(struct record_aead *aead);
/* The cipher's key, of 16 or 32 bytes. Returns 0 or -EIO. */
MUST_USE int record_aead_set_key(struct record_aead *aead, const unsigned char *key);

/* One text: begin, additional data and text in any pieces but in this order, finish. Each returns 0
 * or -EIO. tag: where it is to be read from when opening; NULL when sealing. */
MUST_USE int record_aead_begin(struct record_aead *aead,
	const unsigned char nonce[RECORD_NONCE_BYTES], const unsigned char *tag);
MUST_USE int record_aead_add(struct record_aead *aead, const unsigned char *data, size_t len);
/* `to` may be `from`. */
MUST_USE int record_aead_update(
	struct record_aead *aead, unsigned char *to, const unsigned char *from, size_t len);
/* Sealing: makes the tag. */
MUST_USE int record_aead_seal(struct record_aead *aead, unsigned char ret_tag[RECORD_TAG_BYTES]);
/* Opening: -EBADMSG if it is not the tag's text. */
MUST_USE int record_aead_open(struct record_aead *aead);

#endif

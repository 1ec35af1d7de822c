// SPDX-License-Identifier: Apache-2.0
/*
 * Private to record/: HMAC and what is made of it. OpenSSL and AWS-LC have it by other calls, so
 * one of mac_openssl.c and mac_awslc.c is built (TLS in the Makefile).
 */
#ifndef RECORD_MAC_H
#define RECORD_MAC_H

#include "record/record.h"

#include <openssl/evp.h>

enum record_digest { RECORD_SHA256, RECORD_SHA384, RECORD_DIGESTS };

/* The digest of a cipher's key derivation (RFC 8446 appendix B.4, RFC 5289 section 3). */
static inline enum record_digest record_digest_of(enum record_cipher cipher)
{
	return cipher == RECORD_AES_256_GCM ? RECORD_SHA384 : RECORD_SHA256;
}

struct record_mac;
/* Without a key; NULL: libcrypto does not have it, or no memory. */
struct record_mac *record_mac_new(enum record_digest digest);
/* The key is wiped. NULL is fine. */
void record_mac_free(struct record_mac *mac);
/* HMAC of data, of at most EVP_MAX_MD_SIZE bytes. key: NULL for the one before. 0 or -EIO. */
MUST_USE int record_mac_make(struct record_mac *mac, const unsigned char *key, size_t key_len,
	const unsigned char *data, size_t len, unsigned char ret[EVP_MAX_MD_SIZE]);

/* The PRF of TLS 1.2 (RFC 5246 section 5), its label at the front of the seed. 0 or -EIO. */
MUST_USE int record_prf(enum record_digest digest, const unsigned char *secret, size_t secret_len,
	const unsigned char *seed, size_t seed_len, unsigned char *ret, size_t len);

#endif

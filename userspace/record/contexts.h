// SPDX-License-Identifier: Apache-2.0
/*
 * Private to record/: libcrypto's contexts. A thread keeps some for each cipher and direction, and
 * one HMAC for each digest; a state's key is set again when another one has taken its place, which
 * costs a tenth of a microsecond. One for each connection would be slower (it is not in any cache
 * when it is needed) and larger than the connection.
 */
#ifndef RECORD_CONTEXTS_H
#define RECORD_CONTEXTS_H

#include "record/aead.h"
#include "record/mac.h"

/* With the state's key, without a nonce; borrowed until the next call in this thread. NULL when
 * libcrypto fails. */
struct record_aead *record_context(struct record_state *state);
/* The key goes out of the calling thread's contexts. */
void record_context_forget(struct record_state *state);

/* HMAC of data with the digest of a cipher (RFC 8446 appendix B.4), of at most EVP_MAX_MD_SIZE
 * bytes. The key stays in the thread until record_hmac_forget(), and with a key of NULL it is used
 * once more, which takes half the time. Returns 0 or -EIO. */
MUST_USE int record_hmac(enum record_cipher cipher, const unsigned char *key, size_t key_len,
	const unsigned char *data, size_t len, unsigned char ret[EVP_MAX_MD_SIZE]);
void record_hmac_forget(enum record_cipher cipher);

#endif

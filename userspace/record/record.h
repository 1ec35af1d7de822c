// SPDX-License-Identifier: Apache-2.0
/*
 * TLS after the handshake, as functions on bytes: traffic keys and how they follow from secrets,
 * records made of them, and what a peer may say beside data (record/post.h). Knows no socket, no
 * connection and no OpenSSL object but libcrypto's ciphers and key derivation; keeps nothing.
 */
#ifndef RECORD_RECORD_H
#define RECORD_RECORD_H

#include "base/compiler.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum record_version { RECORD_TLS_1_2, RECORD_TLS_1_3, RECORD_VERSIONS };
enum record_cipher {
	RECORD_AES_128_GCM,
	RECORD_AES_256_GCM,
	RECORD_CHACHA20_POLY1305,
	RECORD_CIPHERS
};
/* As seen from this end. */
enum record_direction { RECORD_READ, RECORD_WRITE };
/* Content types (RFC 8446 section 5.1). */
enum record_type { RECORD_ALERT = 21, RECORD_HANDSHAKE = 22, RECORD_DATA = 23 };

#define RECORD_SECRET_MAX 48
#define RECORD_MAX 16384 /* payload of a record (RFC 8446 section 5.1) */

const char *record_version_name(enum record_version version); /* "TLSv1.2" */
const char *record_cipher_name(enum record_cipher cipher);    /* "AES-128-GCM" */

/* A secret of the caller's, who wipes it; traffic keys likewise. */
struct record_keys {
	enum record_version version;
	enum record_cipher cipher;
	bool is_server;
	/* TLS 1.3: [0] client's, [1] server's application traffic secret, secret_len bytes.
	 * TLS 1.2: [0] the master secret. */
	unsigned char secret[2][RECORD_SECRET_MAX];
	size_t secret_len;
	unsigned char random[2][32]; /* TLS 1.2: client's, server's */
	uint64_t seq[2];             /* number of the next record, per enum record_direction */
};

struct record_traffic_key {
	unsigned char key[32];
	size_t key_len;
	/* 12 bytes as the nonce is made of them; TLS 1.2 with GCM: 4 (the salt). */
	unsigned char iv[12];
	size_t iv_len;
};

/* Whose secret protects a direction: 0 client's, 1 server's. */
static inline int record_owner(bool is_server, enum record_direction direction)
{
	return direction == RECORD_WRITE ? is_server : !is_server;
}

/* The number of a record as it stands in nonces and additional data: 64 bits, big endian. */
void record_put_number(unsigned char ret[8], uint64_t number);

/* Key and IV of one direction (RFC 8446 section 7.3; RFC 5246 section 6.3). 0 or -EIO. */
MUST_USE int record_keys_derive(const struct record_keys *keys, enum record_direction direction,
	struct record_traffic_key *ret_key);
/* After a KeyUpdate: the next secret of a direction, record numbers from 0 (RFC 8446 section 7.2).
 * TLS 1.3 only. 0 or -EIO: nothing has changed. */
MUST_USE int record_keys_update(struct record_keys *keys, enum record_direction direction);
/* The same of a secret alone, of len bytes, in place. 0 or -EIO: it is as it was. */
MUST_USE int record_next_secret(enum record_cipher cipher, unsigned char *secret, size_t len);

/* Bytes that a record adds to its payload. */
size_t record_overhead(enum record_version version, enum record_cipher cipher);

/*
 * Makes one record: data of len bytes and content type record_type, with padding zeros (TLS 1.3),
 * numbered by seq. ret must hold len + padding + 40 bytes. Returns its length or -EIO.
 */
MUST_USE int record_seal(const struct record_keys *keys, const struct record_traffic_key *key,
	uint64_t seq, unsigned char record_type, const void *data, size_t len, size_t padding,
	unsigned char *ret);

/* What an opened record holds: len bytes inside the record. */
struct record_text {
	unsigned char type; /* content type */
	unsigned char *data;
	size_t len;
};

/*
 * Opens one whole record of len bytes, header included, in place; numbered by seq. Returns 0 with
 * the text; -EBADMSG for one that this key has not sealed with this number, or that was changed;
 * -EPROTO for what is no protected record of len bytes, or holds more than RECORD_MAX bytes or no
 * content type. On failure the bytes are of no use.
 */
MUST_USE int record_open(const struct record_keys *keys, const struct record_traffic_key *key,
	uint64_t seq, unsigned char *record, size_t len, struct record_text *ret_text);

#endif

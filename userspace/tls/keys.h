// SPDX-License-Identifier: Apache-2.0
/*
 * What another record layer needs to go on where OpenSSL stopped: traffic secrets (not only derived
 * keys, so that they can also be handed on) and the numbers of the next records. Valid only at a
 * record boundary with nothing half read or half written; tls_keys_export() checks that.
 */
#ifndef TLS_KEYS_H
#define TLS_KEYS_H

#include "net/stream.h"

#include <stdint.h>

enum tls_version { TLS_VERSION_1_2, TLS_VERSION_1_3, TLS_VERSIONS };
enum tls_cipher { TLS_AES_128_GCM, TLS_AES_256_GCM, TLS_CHACHA20_POLY1305, TLS_CIPHERS };
/* As seen from this end. */
enum tls_direction { TLS_READ, TLS_WRITE };

#define TLS_SECRET_MAX 48
#define TLS_RECORD_MAX 16384 /* payload of a record (RFC 8446 section 5.1) */

const char *tls_version_name(enum tls_version version); /* "TLSv1.2" */
const char *tls_cipher_name(enum tls_cipher cipher);    /* "AES-128-GCM" */

struct tls_keys {
	enum tls_version version;
	enum tls_cipher cipher;
	bool is_server;
	/* TLS 1.3: [0] client's, [1] server's application traffic secret, secret_len bytes.
	 * TLS 1.2: [0] the master secret. */
	unsigned char secret[2][TLS_SECRET_MAX];
	size_t secret_len;
	unsigned char random[2][32]; /* TLS 1.2: client's, server's */
	uint64_t seq[2];             /* number of the next record, per enum tls_direction */
};

struct tls_traffic_key {
	unsigned char key[32];
	size_t key_len;
	/* 12 bytes as the nonce is made of them; TLS 1.2 with GCM: 4 (the salt). */
	unsigned char iv[12];
	size_t iv_len;
};

enum { TLS_KEYS_NOT_YET = 1 };

/* Before tls_keys_export() is tried, on a stream with OpenSSL: what it holds back is sent, and from
 * now on it reads no further than the record it is at, so that a boundary comes. */
void tls_keys_prepare(struct stream *stream);
/*
 * Copies out what the OpenSSL stream has reached. Returns 0; TLS_KEYS_NOT_YET while bytes are
 * pending, a record is half read or half written, or a message is due (read on and try again);
 * -ENOTSUP for a plain stream, another version or another cipher; -EINVAL if a secret is missing.
 * The caller wipes ret_keys.
 */
MUST_USE int tls_keys_export(const struct stream *stream, struct tls_keys *ret_keys);

/* Key and IV of one direction (RFC 8446 section 7.3; RFC 5246 section 6.3). 0 or -EIO. */
MUST_USE int tls_keys_derive(
	const struct tls_keys *keys, enum tls_direction direction, struct tls_traffic_key *ret_key);
/* After a KeyUpdate: the next secret of a direction, record numbers from 0 (RFC 8446 section 7.2).
 * TLS 1.3 only. 0 or -EIO. */
MUST_USE int tls_keys_update(struct tls_keys *keys, enum tls_direction direction);

/* Bytes that a record adds to its payload. */
size_t tls_record_overhead(enum tls_version version, enum tls_cipher cipher);

/*
 * Makes one record in user space, for probes and tests: data of len bytes and content type
 * record_type, with padding zeros (TLS 1.3), numbered by seq. ret must hold len + padding + 40
 * bytes. Returns its length or -EIO.
 */
MUST_USE int tls_record_seal(const struct tls_keys *keys, const struct tls_traffic_key *key,
	uint64_t seq, unsigned char record_type, const void *data, size_t len, size_t padding,
	unsigned char *ret);

/* Takes OpenSSL off a stream: frees its state (nothing is sent, the session stays resumable) and
 * leaves a plain stream with the same descriptor. */
void tls_stream_detach(struct stream *stream);

#endif

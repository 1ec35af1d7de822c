// SPDX-License-Identifier: Apache-2.0
/*
 * TLS after the handshake, as functions on bytes: traffic keys and how they follow from secrets,
 * records made of them, and what a peer may say beside data (record/post.h). Knows no socket, no
 * connection and no OpenSSL object but libcrypto's ciphers and key derivation. A thread keeps some
 * of those (contexts.c): setting a key costs more than a short record.
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

/* A secret of the caller's, who wipes it. */
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
	/* The most that a record of ours may hold, because the peer has asked for it (RFC 6066
	 * section 4: 512 to 4096); 0: RECORD_MAX. */
	uint16_t payload_max;
};

/* Whose secret protects a direction: 0 client's, 1 server's. */
static inline int record_owner(bool is_server, enum record_direction direction)
{
	return direction == RECORD_WRITE ? is_server : !is_server;
}

/* The number of a record as it stands in nonces and additional data: 64 bits, big endian. */
void record_put_number(unsigned char ret[8], uint64_t number);

/* After a KeyUpdate: the next secret of a direction, record numbers from 0 (RFC 8446 section 7.2).
 * TLS 1.3 only. 0 or -EIO: nothing has changed. */
MUST_USE int record_keys_update(struct record_keys *keys, enum record_direction direction);
/* The same of a secret alone, of len bytes, in place. 0 or -EIO: it is as it was. */
MUST_USE int record_next_secret(enum record_cipher cipher, unsigned char *secret, size_t len);

/* ---- records ---- */

#define RECORD_HEADER_BYTES 5
/* The most that a record adds to its payload, padding aside, and the most that one has (RFC 8446
 * section 5.2: 2^14 + 256; RFC 5246 section 6.2.3: 2^14 + 2048), header included. */
#define RECORD_OVERHEAD_MAX 29
#define RECORD_BYTES_MAX (RECORD_HEADER_BYTES + RECORD_MAX + 2048)

/*
 * One direction's connection state (RFC 5246 section 6.1) between two records: plain data. It may
 * be copied and goes on from the copy, as long as only one of both is used afterwards: a number is
 * never used twice. In another process `keyed` is set to 0 first, because the number is this one's.
 * Wiped by record_state_wipe().
 */
struct record_state {
	uint64_t seq;   /* number of the next record */
	uint64_t keyed; /* by which contexts.c knows the key again; 0: it does not have it */
	unsigned char key[32];
	unsigned char iv[12]; /* what the nonce is made of; TLS 1.2 with GCM: 4 bytes (the salt) */
	uint8_t slot;         /* where contexts.c looks for it */
	uint8_t version;      /* enum record_version */
	uint8_t cipher;       /* enum record_cipher */
	uint8_t direction;    /* enum record_direction */
};

/* Both directions of a connection, numbers included (RFC 8446 section 7.3; RFC 5246 section 6.3). 0
 * or -EIO: both are zeroed. */
MUST_USE int record_states_init(struct record_state ret_states[2], const struct record_keys *keys);
/* After a KeyUpdate (TLS 1.3): the next secret, in place (as many bytes as the cipher's digest
 * has), and what follows from it; record numbers from 0. 0 or -EIO: nothing has changed. */
MUST_USE int record_state_update(struct record_state *state, unsigned char *secret);
/* Bytes of a cipher's traffic secret in TLS 1.3: 32 or 48. */
size_t record_secret_len(enum record_cipher cipher);
/* TLS 1.3: key and IV of a state from its traffic secret (RFC 8446 section 7.3). 0 or -EIO. */
MUST_USE int record_state_derive(struct record_state *state, const unsigned char *secret);
/* The key is wiped here and, in the calling thread, where it was in use. */
void record_state_wipe(struct record_state *state);

/* Records of AES-GCM that one key may protect (RFC 8446 section 5.5): from here on TLS 1.3 changes
 * keys, and TLS 1.2, which cannot, comes to its end with what is under way. */
#define RECORD_UPDATE_AT ((UINT64_C(1) << 23) - 512)
#define RECORD_END_AT ((UINT64_C(1) << 24) - 65536)
#define RECORD_LAST ((UINT64_C(1) << 24) - 1)
/* Whether the state has come to that. */
static inline bool record_state_is_worn(const struct record_state *state)
{
	if (state->cipher == RECORD_CHACHA20_POLY1305)
		return state->seq >= UINT64_MAX - 512;
	return state->seq >= (state->version == RECORD_TLS_1_3 ? RECORD_UPDATE_AT : RECORD_END_AT);
}

/* Bytes that a record adds to its payload, padding aside. */
size_t record_overhead(enum record_version version, enum record_cipher cipher);

/*
 * Makes one record: data of len bytes and content type record_type, with padding zeros (TLS 1.3).
 * ret is apart from data and must hold len + padding + RECORD_OVERHEAD_MAX bytes. Returns the
 * record's length, -EKEYEXPIRED when there are no numbers left, or -EIO.
 */
MUST_USE int record_seal(struct record_state *state, unsigned char record_type, const void *data,
	size_t len, size_t padding, unsigned char *ret);

/*
 * The length of the record that begins so, header included. Returns -EPROTO for what is no
 * protected record, -EMSGSIZE for one that is longer than any may be (RFC 8446 section 5.2).
 */
MUST_USE int record_length(
	const struct record_state *state, const unsigned char header[RECORD_HEADER_BYTES]);

/* What an opened record holds. */
struct record_text {
	unsigned char type; /* content type */
	size_t len;         /* bytes */
};

/*
 * Opens one whole record of len bytes, header included, into `to`, which is apart from it and has
 * room for len bytes (len - RECORD_HEADER_BYTES is the most that is written). Returns 0 with what
 * is there; -EBADMSG for one that this key has not sealed with this number, or that was changed;
 * -EPROTO for what is no protected record of len bytes or holds no content type; -EMSGSIZE for one
 * that holds more than RECORD_MAX bytes; -EKEYEXPIRED when there are no numbers left; -EIO. On
 * failure nothing of it is left in `to`, and the state is as it was.
 */
MUST_USE int record_open(struct record_state *state, const unsigned char *record, size_t len,
	unsigned char *to, struct record_text *ret_text);

#endif

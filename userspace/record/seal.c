// SPDX-License-Identifier: Apache-2.0
/* Records: sealing, opening, and the nonce of both (RFC 8446 section 5.2, RFC 5246 section 6.2.3.3,
 * RFC 5288, RFC 7905). With TLS 1.2 and GCM the explicit nonce is ours to choose: the record
 * number, as OpenSSL does. */
#include "base/secret.h"
#include "record/contexts.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <string.h>

#define NUMBER_BYTES 8
#define SALT_BYTES 4
#define AAD_MAX (NUMBER_BYTES + RECORD_HEADER_BYTES)

static_assert(sizeof(struct record_state) == 64, "a cache line's worth, twice a session and leg");

/* A number is used once, and not more of them than the cipher is good for; how many a peer uses is
 * its own affair, if it can change keys. */
static bool is_spent(const struct record_state *state)
{
	bool peers = state->version == RECORD_TLS_1_3 && state->direction == RECORD_READ;

	return state->seq >=
		(peers || state->cipher == RECORD_CHACHA20_POLY1305 ? UINT64_MAX : RECORD_LAST);
}

size_t record_overhead(enum record_version version, enum record_cipher cipher)
{
	if (version == RECORD_TLS_1_3)
		return RECORD_HEADER_BYTES + 1 + RECORD_TAG_BYTES; /* 1: the content type inside */
	return RECORD_HEADER_BYTES + (cipher == RECORD_CHACHA20_POLY1305 ? 0 : NUMBER_BYTES) +
		RECORD_TAG_BYTES;
}

void record_put_number(unsigned char ret[8], uint64_t number)
{
	number = htobe64(number);
	memcpy(ret, &number, NUMBER_BYTES);
}

/* Bytes of the nonce that stand in the record (RFC 5288 section 3). */
static size_t explicit_bytes(const struct record_state *state)
{
	return state->version == RECORD_TLS_1_2 && state->cipher != RECORD_CHACHA20_POLY1305
		? NUMBER_BYTES
		: 0;
}

/* What no two records of a key may share (RFC 8446 section 5.3, RFC 7905 section 2): the number
 * over the IV; behind it where that is a salt (RFC 5288 section 3). */
static void make_nonce(const struct record_state *state, const unsigned char number[NUMBER_BYTES],
	unsigned char ret[RECORD_NONCE_BYTES])
{
	memcpy(ret, state->iv, RECORD_NONCE_BYTES);
	if (explicit_bytes(state)) {
		memcpy(ret + SALT_BYTES, number, NUMBER_BYTES);
		return;
	}
	for (int i = 0; i < NUMBER_BYTES; i++)
		ret[RECORD_NONCE_BYTES - NUMBER_BYTES + i] ^= number[i];
}

static void put_header(unsigned char ret[RECORD_HEADER_BYTES], unsigned char type, size_t len)
{
	ret[0] = type;
	ret[1] = ret[2] = 3;
	ret[3] = (unsigned char)(len >> 8);
	ret[4] = (unsigned char)len;
}

/*
 * Nonce and additional data of a record that is there but for its text: the header, and where one
 * stands in the record the nonce. Returns the length of the additional data (TLS 1.3: the header,
 * RFC 8446 section 5.2; TLS 1.2: number, type, version and length, RFC 5246 section 6.2.3.3).
 */
static size_t describe(const struct record_state *state, const unsigned char *record,
	size_t text_len, unsigned char ret_nonce[RECORD_NONCE_BYTES],
	unsigned char ret_aad[AAD_MAX])
{
	unsigned char number[NUMBER_BYTES];

	record_put_number(number, state->seq);
	/* opening, it is the peer's own choice, which need not be the number */
	make_nonce(state, explicit_bytes(state) ? record + RECORD_HEADER_BYTES : number, ret_nonce);
	if (state->version == RECORD_TLS_1_3) {
		memcpy(ret_aad, record, RECORD_HEADER_BYTES);
		return RECORD_HEADER_BYTES;
	}
	memcpy(ret_aad, number, NUMBER_BYTES);
	put_header(ret_aad + NUMBER_BYTES, record[0], text_len);
	return AAD_MAX;
}

/* ---- sealing ---- */

/* Text up to this is copied to where its record is made, so that what follows it inside the record
 * takes no call of libcrypto's of its own, which costs as much as a copy of this. */
#define JOINED_BYTES 1024

/* To `to`: the data, and in TLS 1.3 the type and the padding zeros behind it. 0 or -EIO. */
static int seal_text(const struct record_state *state, struct record_aead *aead,
	unsigned char record_type, const void *data, size_t len, size_t padding, unsigned char *to)
{
	size_t joined = len <= JOINED_BYTES ? len : 0;

	if (state->version != RECORD_TLS_1_3)
		return record_aead_update(aead, to, data, len);
	if (joined)
		memcpy(to, data, len);
	else if (record_aead_update(aead, to, data, len) < 0)
		return -EIO;
	to[len] = record_type;
	memset(to + len + 1, 0, padding);
	to += len - joined;
	return record_aead_update(aead, to, to, joined + 1 + padding);
}

int record_seal(struct record_state *state, unsigned char record_type, const void *data, size_t len,
	size_t padding, unsigned char *ret)
{
	bool inside = state->version == RECORD_TLS_1_3; /* the type */
	size_t explicit = explicit_bytes(state), inner = inside ? len + 1 + padding : len;
	size_t body = explicit + inner + RECORD_TAG_BYTES;
	unsigned char *text = ret + RECORD_HEADER_BYTES + explicit, *tag = text + inner;
	unsigned char nonce[RECORD_NONCE_BYTES], aad[AAD_MAX];
	struct record_aead *aead;
	size_t aad_len;

	if (is_spent(state))
		return -EKEYEXPIRED;
	put_header(ret, inside ? RECORD_DATA : record_type, body);
	if (explicit)
		record_put_number(ret + RECORD_HEADER_BYTES, state->seq);
	aad_len = describe(state, ret, inner, nonce, aad);
	aead = record_context(state);
	if (!aead || record_aead_begin(aead, nonce, NULL) < 0 ||
		record_aead_add(aead, aad, aad_len) < 0 ||
		seal_text(state, aead, record_type, data, len, padding, text) < 0 ||
		record_aead_seal(aead, tag) < 0) {
		secret_wipe(text, inner); /* it may not be sealed */
		return -EIO;
	}
	state->seq++;
	return (int)(RECORD_HEADER_BYTES + body);
}

/* ---- opening ---- */

int record_length(const struct record_state *state, const unsigned char header[RECORD_HEADER_BYTES])
{
	size_t body = (size_t)header[3] << 8 | header[4];
	bool is_13 = state->version == RECORD_TLS_1_3;

	/* RFC 8446 section 5.2: all look like data; TLS 1.2 has no ChangeCipherSpec any more */
	if (header[1] != 3 || header[2] != 3 ||
		(is_13 ? header[0] != RECORD_DATA
		       : header[0] < RECORD_ALERT || header[0] > RECORD_DATA))
		return -EPROTO;
	if (body > RECORD_MAX + (is_13 ? 256u : 2048u))
		return -EMSGSIZE;
	return (int)(RECORD_HEADER_BYTES + body);
}

/* The text and its tag. Returns 0; -EBADMSG if it is not the tag's text; -EIO. */
static int open_text(struct record_state *state, const unsigned char *record, size_t explicit,
	size_t text_len, unsigned char *to)
{
	const unsigned char *text = record + RECORD_HEADER_BYTES + explicit;
	unsigned char nonce[RECORD_NONCE_BYTES], aad[AAD_MAX];
	size_t aad_len = describe(state, record, text_len, nonce, aad);
	struct record_aead *aead = record_context(state);

	if (!aead || record_aead_begin(aead, nonce, text + text_len) < 0 ||
		record_aead_add(aead, aad, aad_len) < 0 ||
		record_aead_update(aead, to, text, text_len) < 0)
		return -EIO;
	return record_aead_open(aead);
}

/* The content type is the last byte that is not zero (RFC 8446 section 5.4). */
static int strip(const unsigned char *text, size_t len, struct record_text *ret_text)
{
	while (len && !text[len - 1])
		len--;
	if (!len)
		return -EPROTO;
	*ret_text = (struct record_text){ text[len - 1], len - 1 };
	return 0;
}

int record_open(struct record_state *state, const unsigned char *record, size_t len,
	unsigned char *to, struct record_text *ret_text)
{
	bool inside = state->version == RECORD_TLS_1_3;
	size_t explicit = explicit_bytes(state), text_len;
	int r;

	r = len < RECORD_HEADER_BYTES ? -EPROTO : record_length(state, record);
	if (r < 0)
		return r;
	if ((size_t)r != len)
		return -EPROTO;
	if (len < RECORD_HEADER_BYTES + explicit + RECORD_TAG_BYTES)
		return -EBADMSG;
	if (is_spent(state))
		return -EKEYEXPIRED;
	text_len = len - RECORD_HEADER_BYTES - explicit - RECORD_TAG_BYTES;
	r = open_text(state, record, explicit, text_len, to);
	if (r == 0 && text_len > RECORD_MAX + (inside ? 1u : 0u))
		r = -EMSGSIZE;
	if (r == 0 && inside)
		r = strip(to, text_len, ret_text);
	if (r < 0) {
		secret_wipe(to, text_len);
		return r;
	}
	if (!inside)
		*ret_text = (struct record_text){ record[0], text_len };
	state->seq++;
	return 0;
}

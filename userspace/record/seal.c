// SPDX-License-Identifier: Apache-2.0
/* Records of traffic keys: sealing, opening, and the nonce of both (RFC 8446 section 5.2, RFC 5246
 * section 6.2.3.3, RFC 5288, RFC 7905). With TLS 1.2 and GCM the explicit nonce is ours to choose:
 * the record number, as OpenSSL does. */
#include "record/record.h"

#include <errno.h>
#include <openssl/evp.h>
#include <string.h>

#define HEADER_BYTES 5
#define TAG_BYTES 16
#define NUMBER_BYTES 8
#define NONCE_BYTES 12
#define SALT_BYTES 4

size_t record_overhead(enum record_version version, enum record_cipher cipher)
{
	if (version == RECORD_TLS_1_3)
		return HEADER_BYTES + 1 + TAG_BYTES; /* 1: the content type inside */
	return HEADER_BYTES + (cipher == RECORD_CHACHA20_POLY1305 ? 0 : NUMBER_BYTES) + TAG_BYTES;
}

void record_put_number(unsigned char ret[8], uint64_t number)
{
	for (int i = NUMBER_BYTES - 1; i >= 0; i--, number >>= 8)
		ret[i] = (unsigned char)number;
}

/* What no two records of a key may share (RFC 8446 section 5.3, RFC 7905 section 2): the number
 * over the IV; behind it where that is a salt (RFC 5288 section 3). */
static void make_nonce(const struct record_traffic_key *key,
	const unsigned char number[NUMBER_BYTES], unsigned char ret[NONCE_BYTES])
{
	memcpy(ret, key->iv, key->iv_len);
	if (key->iv_len == SALT_BYTES)
		memcpy(ret + SALT_BYTES, number, NUMBER_BYTES);
	for (int i = 0; key->iv_len == NONCE_BYTES && i < NUMBER_BYTES; i++)
		ret[NONCE_BYTES - NUMBER_BYTES + i] ^= number[i];
}

static size_t explicit_bytes(const struct record_traffic_key *key)
{
	return key->iv_len == SALT_BYTES ? NUMBER_BYTES : 0;
}

static void put_header(unsigned char ret[HEADER_BYTES], unsigned char type, size_t len)
{
	ret[0] = type;
	ret[1] = ret[2] = 3;
	ret[3] = (unsigned char)(len >> 8);
	ret[4] = (unsigned char)len;
}

static const EVP_CIPHER *evp_of(enum record_cipher cipher)
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

/* Text and the tag behind it, in place. 0 or -EIO; opening, also if it is not the tag's text. */
static int run(bool sealing, enum record_cipher cipher, const struct record_traffic_key *key,
	const unsigned char nonce[NONCE_BYTES], const unsigned char *aad, int aad_len,
	unsigned char *text, size_t len)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	unsigned char *tag = text + len;
	int n, ok;

	ok = ctx && EVP_CipherInit_ex(ctx, evp_of(cipher), NULL, key->key, nonce, sealing) == 1 &&
		(sealing || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_BYTES, tag) == 1) &&
		EVP_CipherUpdate(ctx, NULL, &n, aad, aad_len) == 1 &&
		EVP_CipherUpdate(ctx, text, &n, text, (int)len) == 1 &&
		EVP_CipherFinal_ex(ctx, text + n, &n) == 1 &&
		(!sealing || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_BYTES, tag) == 1);
	EVP_CIPHER_CTX_free(ctx);
	return ok ? 0 : -EIO;
}

/* ---- sealing ---- */

static int seal_13(const struct record_keys *keys, const struct record_traffic_key *key,
	uint64_t seq, unsigned char record_type, const void *data, size_t len, size_t padding,
	unsigned char *ret)
{
	size_t inner = len + 1 + padding, body = inner + TAG_BYTES;
	unsigned char *text = ret + HEADER_BYTES, nonce[NONCE_BYTES], number[NUMBER_BYTES];

	put_header(ret, RECORD_DATA, body);
	memcpy(text, data, len);
	text[len] = record_type;
	memset(text + len + 1, 0, padding);
	record_put_number(number, seq);
	make_nonce(key, number, nonce);
	return run(true, keys->cipher, key, nonce, ret, HEADER_BYTES, text, inner) < 0
		? -EIO
		: (int)(HEADER_BYTES + body);
}

static int seal_12(const struct record_keys *keys, const struct record_traffic_key *key,
	uint64_t seq, unsigned char record_type, const void *data, size_t len, unsigned char *ret)
{
	size_t explicit = explicit_bytes(key), body = explicit + len + TAG_BYTES;
	unsigned char *text = ret + HEADER_BYTES + explicit, nonce[NONCE_BYTES];
	unsigned char aad[NUMBER_BYTES + HEADER_BYTES]; /* RFC 5246 section 6.2.3.3 */

	record_put_number(aad, seq);
	put_header(aad + NUMBER_BYTES, record_type, len);
	put_header(ret, record_type, body);
	memcpy(ret + HEADER_BYTES, aad, explicit);
	memcpy(text, data, len);
	make_nonce(key, aad, nonce);
	return run(true, keys->cipher, key, nonce, aad, sizeof(aad), text, len) < 0
		? -EIO
		: (int)(HEADER_BYTES + body);
}

int record_seal(const struct record_keys *keys, const struct record_traffic_key *key, uint64_t seq,
	unsigned char record_type, const void *data, size_t len, size_t padding, unsigned char *ret)
{
	if (keys->version == RECORD_TLS_1_3)
		return seal_13(keys, key, seq, record_type, data, len, padding, ret);
	return seal_12(keys, key, seq, record_type, data, len, ret);
}

/* ---- opening ---- */

/* The content type is the last byte that is not zero (RFC 8446 section 5.4). */
static int open_13(const struct record_keys *keys, const struct record_traffic_key *key,
	uint64_t seq, unsigned char *record, size_t body, struct record_text *ret_text)
{
	unsigned char *text = record + HEADER_BYTES, nonce[NONCE_BYTES], number[NUMBER_BYTES];
	size_t len = body - TAG_BYTES;

	if (record[0] != RECORD_DATA || len > RECORD_MAX + 1)
		return -EPROTO;
	record_put_number(number, seq);
	make_nonce(key, number, nonce);
	if (run(false, keys->cipher, key, nonce, record, HEADER_BYTES, text, len) < 0)
		return -EBADMSG;
	while (len && !text[len - 1])
		len--;
	if (!len)
		return -EPROTO;
	*ret_text = (struct record_text){ text[len - 1], text, len - 1 };
	return 0;
}

static int open_12(const struct record_keys *keys, const struct record_traffic_key *key,
	uint64_t seq, unsigned char *record, size_t body, struct record_text *ret_text)
{
	size_t explicit = explicit_bytes(key);
	unsigned char *text = record + HEADER_BYTES + explicit, nonce[NONCE_BYTES];
	unsigned char aad[NUMBER_BYTES + HEADER_BYTES];
	size_t len;

	if (body < explicit + TAG_BYTES || body - explicit - TAG_BYTES > RECORD_MAX)
		return -EPROTO;
	len = body - explicit - TAG_BYTES;
	record_put_number(aad, seq);
	put_header(aad + NUMBER_BYTES, record[0], len);
	/* The peer's own choice, which need not be the number. */
	make_nonce(key, explicit ? record + HEADER_BYTES : aad, nonce);
	if (run(false, keys->cipher, key, nonce, aad, sizeof(aad), text, len) < 0)
		return -EBADMSG;
	*ret_text = (struct record_text){ record[0], text, len };
	return 0;
}

int record_open(const struct record_keys *keys, const struct record_traffic_key *key, uint64_t seq,
	unsigned char *record, size_t len, struct record_text *ret_text)
{
	size_t body = len - HEADER_BYTES;

	if (len < HEADER_BYTES + TAG_BYTES || record[1] != 3 || record[2] != 3 ||
		((size_t)record[3] << 8 | record[4]) != body)
		return -EPROTO;
	if (keys->version == RECORD_TLS_1_3)
		return open_13(keys, key, seq, record, body, ret_text);
	return open_12(keys, key, seq, record, body, ret_text);
}

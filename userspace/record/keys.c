// SPDX-License-Identifier: Apache-2.0
/* Traffic keys: from the secrets of a handshake to key and IV, and from one secret to the next; and
 * the states that are made of them. */
#include "base/secret.h"
#include "record/contexts.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static const struct cipher {
	size_t key_len, secret_len;
} ciphers[] = {
	[RECORD_AES_128_GCM] = { 16, 32 },
	[RECORD_AES_256_GCM] = { 32, 48 },
	[RECORD_CHACHA20_POLY1305] = { 32, 32 },
};

static_assert(ARRAY_SIZE(ciphers) == RECORD_CIPHERS, "a row for each");

/* HKDF-Expand-Label with an empty context, of at most one digest's bytes, as all that is asked for
 * here is (RFC 8446 section 7.1; RFC 5869 section 2.3). secret: NULL for the one before. */
static int expand(enum record_cipher cipher, const unsigned char *secret, size_t secret_len,
	const char *label, unsigned char *ret, size_t len)
{
	unsigned char info[64], out[EVP_MAX_MD_SIZE];
	size_t label_len = strlen(label), n = 0;
	int r;

	info[n++] = (unsigned char)(len >> 8);
	info[n++] = (unsigned char)len;
	info[n++] = (unsigned char)(6 + label_len);
	memcpy(info + n, "tls13 ", 6);
	memcpy(info + n + 6, label, label_len);
	n += 6 + label_len;
	info[n++] = 0;
	info[n++] = 1; /* the first block is all */
	r = record_hmac(cipher, secret, secret_len, info, n, out);
	if (r == 0)
		memcpy(ret, out, len);
	secret_wipe(out, sizeof(out));
	return r;
}

struct traffic_key {
	unsigned char key[32];
	size_t key_len;
	/* 12 bytes as the nonce is made of them; TLS 1.2 with GCM: 4 (the salt). */
	unsigned char iv[12];
	size_t iv_len;
};

/* Key and IV of a traffic secret (RFC 8446 section 7.3). */
static int derive_13(enum record_cipher cipher, const unsigned char *secret, size_t secret_len,
	unsigned char *ret_key, unsigned char *ret_iv)
{
	int r = expand(cipher, secret, secret_len, "key", ret_key, ciphers[cipher].key_len);

	return r < 0 ? r : expand(cipher, NULL, 0, "iv", ret_iv, 12);
}

/* The key block (RFC 5246 section 6.3) of both sides; AEAD has no MAC keys. */
static int derive_12(const struct record_keys *keys, struct traffic_key ret_keys[2])
{
	static const char label[] = "key expansion";
	unsigned char seed[sizeof(label) - 1 + 64], block[2 * 32 + 2 * 12];
	size_t key_len = ret_keys[0].key_len, iv_len = ret_keys[0].iv_len;
	int r;

	memcpy(seed, label, sizeof(label) - 1);
	memcpy(seed + sizeof(label) - 1, keys->random[1], 32);
	memcpy(seed + sizeof(label) - 1 + 32, keys->random[0], 32);
	r = record_prf(record_digest_of(keys->cipher), keys->secret[0], keys->secret_len, seed,
		sizeof(seed), block, 2 * (key_len + iv_len));
	for (int d = 0; r == 0 && d < 2; d++) {
		int side = record_owner(keys->is_server, (enum record_direction)d);

		memcpy(ret_keys[d].key, block + (size_t)side * key_len, key_len);
		memcpy(ret_keys[d].iv, block + 2 * key_len + (size_t)side * iv_len, iv_len);
	}
	secret_wipe(block, sizeof(block));
	return r;
}

/* Both directions'. */
static int derive(const struct record_keys *keys, struct traffic_key ret_keys[2])
{
	const struct cipher *cipher = &ciphers[keys->cipher];
	bool salt = keys->version == RECORD_TLS_1_2 && keys->cipher != RECORD_CHACHA20_POLY1305;
	int r = 0;

	for (int d = 0; d < 2; d++)
		ret_keys[d] =
			(struct traffic_key){ .key_len = cipher->key_len, .iv_len = salt ? 4 : 12 };
	if (keys->version == RECORD_TLS_1_2)
		return derive_12(keys, ret_keys);
	for (int d = 0; r == 0 && d < 2; d++) {
		int side = record_owner(keys->is_server, (enum record_direction)d);

		r = derive_13(keys->cipher, keys->secret[side], keys->secret_len, ret_keys[d].key,
			ret_keys[d].iv);
	}
	record_hmac_forget(keys->cipher);
	return r;
}

int record_next_secret(enum record_cipher cipher, unsigned char *secret, size_t len)
{
	unsigned char next[RECORD_SECRET_MAX];
	int r = expand(cipher, secret, len, "traffic upd", next, len);

	if (r == 0)
		memcpy(secret, next, len);
	secret_wipe(next, sizeof(next));
	record_hmac_forget(cipher);
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

/* ---- states ---- */

int record_states_init(struct record_state ret_states[2], const struct record_keys *keys)
{
	struct traffic_key both[2];
	int r = derive(keys, both);

	for (int d = RECORD_READ; d <= RECORD_WRITE; d++) {
		ret_states[d] = (struct record_state){
			.seq = keys->seq[d],
			.version = (uint8_t)keys->version,
			.cipher = (uint8_t)keys->cipher,
			.direction = (uint8_t)d,
		};
		memcpy(ret_states[d].key, both[d].key, sizeof(both[d].key));
		memcpy(ret_states[d].iv, both[d].iv, sizeof(both[d].iv));
	}
	secret_wipe(both, sizeof(both));
	if (r < 0)
		secret_wipe(ret_states, 2 * sizeof(*ret_states));
	return r;
}

int record_state_update(struct record_state *state, unsigned char *secret)
{
	unsigned char next[RECORD_SECRET_MAX], key[32] = { 0 }, iv[12];
	enum record_cipher cipher = (enum record_cipher)state->cipher;
	size_t secret_len = ciphers[cipher].secret_len;
	int r = expand(cipher, secret, secret_len, "traffic upd", next, secret_len);

	if (r == 0)
		r = derive_13(cipher, next, secret_len, key, iv);
	if (r == 0) {
		record_context_forget(state);
		memcpy(secret, next, secret_len);
		memcpy(state->key, key, sizeof(key));
		memcpy(state->iv, iv, sizeof(iv));
		state->seq = 0;
	}
	secret_wipe(next, sizeof(next));
	secret_wipe(key, sizeof(key));
	secret_wipe(iv, sizeof(iv));
	record_hmac_forget(cipher);
	return r;
}

size_t record_secret_len(enum record_cipher cipher)
{
	return ciphers[cipher].secret_len;
}

int record_state_derive(struct record_state *state, const unsigned char *secret)
{
	enum record_cipher cipher = (enum record_cipher)state->cipher;
	int r = derive_13(cipher, secret, ciphers[cipher].secret_len, state->key, state->iv);

	record_hmac_forget(cipher);
	return r;
}

void record_state_wipe(struct record_state *state)
{
	record_context_forget(state);
	secret_wipe(state, sizeof(*state));
}

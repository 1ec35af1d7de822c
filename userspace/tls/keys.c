// SPDX-License-Identifier: Apache-2.0
/* Secrets and record numbers out of OpenSSL: the key log callback tells the TLS 1.3 secrets, the
 * message callback sees every record header and every handshake message. */
#include "tls/keys.h"
#include "base/secret.h"
#include "tls/internal.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>

static const struct cipher {
	const char *name;
	size_t key_len;
	const char *digest;
	const EVP_CIPHER *(*evp)(void);
} ciphers[TLS_CIPHERS] = {
	[TLS_AES_128_GCM] = { "AES-128-GCM", 16, "SHA256", EVP_aes_128_gcm },
	[TLS_AES_256_GCM] = { "AES-256-GCM", 32, "SHA384", EVP_aes_256_gcm },
	[TLS_CHACHA20_POLY1305] = { "CHACHA20-POLY1305", 32, "SHA256", EVP_chacha20_poly1305 },
};

const char *tls_version_name(enum tls_version version)
{
	return version == TLS_VERSION_1_3 ? "TLSv1.3" : "TLSv1.2";
}

const char *tls_cipher_name(enum tls_cipher cipher)
{
	return ciphers[cipher].name;
}

size_t tls_record_overhead(enum tls_version version, enum tls_cipher cipher)
{
	if (version == TLS_VERSION_1_3)
		return 5 + 1 + 16; /* header, inner content type, tag */
	return cipher == TLS_CHACHA20_POLY1305 ? 5 + 16 : 5 + 8 + 16;
}

/* ---- what OpenSSL tells while it runs ---- */

/* "LABEL client_random secret", hexadecimal. */
static void on_key_log(const SSL *ssl, const char *line)
{
	static const char *const labels[] = { "CLIENT_TRAFFIC_SECRET_0 ",
		"SERVER_TRAFFIC_SECRET_0 " };
	struct tls_layer *layer = SSL_get_app_data(ssl);

	for (int i = 0; layer && i < 2; i++) {
		const char *hex = strrchr(line, ' ');
		size_t n = 0;

		if (strncmp(line, labels[i], strlen(labels[i])) != 0)
			continue;
		for (hex++; n < TLS_SECRET_MAX && hex_digit(hex[0]) >= 0 && hex_digit(hex[1]) >= 0;
			hex += 2)
			layer->secret[i][n++] =
				(unsigned char)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
		layer->secret_len = (uint8_t)n;
	}
}

static int expand(const char *digest, const unsigned char *secret, size_t secret_len,
	const char *label, unsigned char *ret, size_t len)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	int mode = EVP_KDF_HKDF_MODE_EXPAND_ONLY, ok;
	unsigned char info[64];
	size_t label_len = strlen(label), n = 0;

	/* HkdfLabel of RFC 8446 section 7.1, with an empty context */
	info[n++] = (unsigned char)(len >> 8);
	info[n++] = (unsigned char)len;
	info[n++] = (unsigned char)(6 + label_len);
	memcpy(info + n, "tls13 ", 6);
	memcpy(info + n + 6, label, label_len);
	n += 6 + label_len;
	info[n++] = 0;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_int(OSSL_KDF_PARAM_MODE, &mode),
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)secret, secret_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, n),
		OSSL_PARAM_construct_end(),
	};
	ok = ctx && EVP_KDF_derive(ctx, ret, len, params) > 0;
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok ? 0 : -EIO;
}

static int find_cipher(const SSL *ssl, enum tls_cipher *ret_cipher)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);

	switch (cipher ? SSL_CIPHER_get_cipher_nid(cipher) : 0) {
	case NID_aes_128_gcm:
		*ret_cipher = TLS_AES_128_GCM;
		return 0;
	case NID_aes_256_gcm:
		*ret_cipher = TLS_AES_256_GCM;
		return 0;
	case NID_chacha20_poly1305:
		*ret_cipher = TLS_CHACHA20_POLY1305;
		return 0;
	default:
		return -ENOTSUP;
	}
}

/* Whose secret protects a direction: 0 client's, 1 server's. */
static int owner(bool is_server, enum tls_direction direction)
{
	return direction == TLS_WRITE ? is_server : !is_server;
}

static void on_key_update(SSL *ssl, struct tls_layer *layer, enum tls_direction direction)
{
	unsigned char *secret = layer->secret[owner(SSL_is_server(ssl), direction)];
	unsigned char next[TLS_SECRET_MAX];
	enum tls_cipher cipher;

	layer->seq[direction] = 0;
	/* not followed; and OpenSSL must find no error of ours in its queue */
	if (!layer->secret_len)
		return;
	ERR_set_mark();
	if (find_cipher(ssl, &cipher) < 0 ||
		expand(ciphers[cipher].digest, secret, layer->secret_len, "traffic upd", next,
			layer->secret_len) < 0)
		layer->secret_len = 0; /* not exportable any more */
	else
		memcpy(secret, next, layer->secret_len);
	ERR_pop_to_mark();
	secret_wipe(next, sizeof(next));
}

/* A peer that sends nothing but this would never let SSL_read() return. OpenSSL takes the flag as
 * the end of what the peer says, and drops what is left. */
static void count_quiet(struct tls_layer *layer, uint8_t *count, int max)
{
	if (!layer->handshaken || layer->flooded || ++*count <= max)
		return;
	layer->flooded = true;
	SSL_set_shutdown(layer->ssl, SSL_get_shutdown(layer->ssl) | SSL_RECEIVED_SHUTDOWN);
}

static void on_peers_message(struct tls_layer *layer)
{
	if (layer->messages < UINT8_MAX)
		layer->messages++;
	count_quiet(layer, &layer->quiet_messages, TLS_QUIET_MAX);
}

/* One more is allowed if it may be the data itself. */
static void on_peers_record(struct tls_layer *layer, unsigned char type)
{
	if (layer->records < UINT8_MAX)
		layer->records++;
	count_quiet(
		layer, &layer->quiet_records, TLS_QUIET_MAX + (type == SSL3_RT_APPLICATION_DATA));
}

/* Counts protected records: in TLS 1.3 those of outer type 23, from each side's Finished on; in
 * TLS 1.2 all since ChangeCipherSpec. */
static void on_message(int is_write, int version, int content_type, const void *data, size_t len,
	SSL *ssl, void *arg)
{
	struct tls_layer *layer = SSL_get_app_data(ssl);
	enum tls_direction direction = is_write ? TLS_WRITE : TLS_READ;
	const unsigned char *bytes = data;
	bool is_13 = SSL_version(ssl) == TLS1_3_VERSION;

	(void)version;
	(void)arg;
	if (!layer || !len)
		return;
	if (content_type == SSL3_RT_ALERT) {
		if (!is_write && len == 2 && bytes[1] == SSL_AD_CLOSE_NOTIFY)
			layer->close_notify = true;
	} else if (content_type == SSL3_RT_HEADER) {
		if (!is_write)
			on_peers_record(layer, bytes[0]);
		if (!is_13 && bytes[0] == SSL3_RT_CHANGE_CIPHER_SPEC)
			layer->seq[direction] = 0;
		else if (!is_13 || bytes[0] == SSL3_RT_APPLICATION_DATA)
			layer->seq[direction]++;
	} else if (content_type == SSL3_RT_HANDSHAKE && is_13) {
		if (bytes[0] == SSL3_MT_FINISHED)
			layer->seq[direction] = 0;
		else if (bytes[0] == SSL3_MT_KEY_UPDATE)
			on_key_update(ssl, layer, direction);
	}
	if (content_type == SSL3_RT_HANDSHAKE && !is_write)
		on_peers_message(layer);
}

void tls_keys_install(SSL_CTX *ctx, bool secrets)
{
	if (secrets)
		SSL_CTX_set_keylog_callback(ctx, on_key_log);
	SSL_CTX_set_msg_callback(ctx, on_message);
}

/* ---- export ---- */

static bool at_boundary(const struct tls_layer *layer)
{
	const SSL *ssl = layer->ssl;

	return layer->handshaken && !layer->failed && !layer->shut && !layer->write_blocked &&
		!layer->held.len && !layer->owed && !SSL_in_init(ssl) && !SSL_pending(ssl) &&
		!SSL_has_pending(ssl) && strcmp(SSL_rstate_string(ssl), "RH") == 0 &&
		SSL_get_key_update_type(ssl) == SSL_KEY_UPDATE_NONE &&
		!(SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN);
}

static int export_secrets(const struct tls_layer *layer, struct tls_keys *keys)
{
	const SSL *ssl = layer->ssl;

	if (keys->version == TLS_VERSION_1_3) {
		memcpy(keys->secret, layer->secret, sizeof(keys->secret));
		keys->secret_len = layer->secret_len;
		return keys->secret_len ? 0 : -EINVAL;
	}
	keys->secret_len = SSL_SESSION_get_master_key(
		SSL_get_session(ssl), keys->secret[0], sizeof(keys->secret[0]));
	SSL_get_client_random(ssl, keys->random[0], sizeof(keys->random[0]));
	SSL_get_server_random(ssl, keys->random[1], sizeof(keys->random[1]));
	return keys->secret_len == TLS_SECRET_MAX ? 0 : -EINVAL;
}

void tls_keys_prepare(struct stream *stream)
{
	struct tls_layer *layer = stream->layer;

	SSL_set_read_ahead(layer->ssl, 0);
	(void)!tls_wire_flush(layer); /* what is left is not a boundary */
}

int tls_keys_export(const struct stream *stream, struct tls_keys *ret_keys)
{
	const struct tls_layer *layer = tls_stream_layer(stream);
	struct tls_keys keys = { 0 };
	int version, r;

	if (!layer)
		return -ENOTSUP;
	version = SSL_version(layer->ssl);
	if (version != TLS1_2_VERSION && version != TLS1_3_VERSION)
		return -ENOTSUP;
	if (find_cipher(layer->ssl, &keys.cipher) < 0)
		return -ENOTSUP;
	if (!at_boundary(layer))
		return TLS_KEYS_NOT_YET;
	keys.version = version == TLS1_3_VERSION ? TLS_VERSION_1_3 : TLS_VERSION_1_2;
	keys.is_server = SSL_is_server(layer->ssl);
	keys.seq[TLS_READ] = layer->seq[TLS_READ];
	keys.seq[TLS_WRITE] = layer->seq[TLS_WRITE];
	r = export_secrets(layer, &keys);
	if (r == 0)
		*ret_keys = keys;
	secret_wipe(&keys, sizeof(keys));
	return r;
}

/* ---- derivation ---- */

/* The part of the key block (RFC 5246 section 6.3) that belongs to a side; AEAD has no MAC keys. */
static int derive_12(const struct tls_keys *keys, int side, struct tls_traffic_key *ret_key)
{
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "TLS1-PRF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	unsigned char seed[64], block[2 * 32 + 2 * 12];
	size_t key_len = ret_key->key_len, iv_len = ret_key->iv_len;
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(
			OSSL_KDF_PARAM_DIGEST, (char *)ciphers[keys->cipher].digest, 0),
		OSSL_PARAM_construct_octet_string(
			OSSL_KDF_PARAM_SECRET, (void *)keys->secret[0], keys->secret_len),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, (void *)"key expansion", 13),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SEED, seed, sizeof(seed)),
		OSSL_PARAM_construct_end(),
	};
	int ok;

	memcpy(seed, keys->random[1], 32);
	memcpy(seed + 32, keys->random[0], 32);
	ok = ctx && EVP_KDF_derive(ctx, block, 2 * (key_len + iv_len), params) > 0;
	if (ok) {
		memcpy(ret_key->key, block + (size_t)side * key_len, key_len);
		memcpy(ret_key->iv, block + 2 * key_len + (size_t)side * iv_len, iv_len);
	}
	secret_wipe(block, sizeof(block));
	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return ok ? 0 : -EIO;
}

int tls_keys_derive(
	const struct tls_keys *keys, enum tls_direction direction, struct tls_traffic_key *ret_key)
{
	const struct cipher *cipher = &ciphers[keys->cipher];
	int side = owner(keys->is_server, direction), r;

	*ret_key = (struct tls_traffic_key){ .key_len = cipher->key_len, .iv_len = 12 };
	if (keys->version == TLS_VERSION_1_2) {
		if (keys->cipher != TLS_CHACHA20_POLY1305)
			ret_key->iv_len = 4;
		return derive_12(keys, side, ret_key);
	}
	r = expand(cipher->digest, keys->secret[side], keys->secret_len, "key", ret_key->key,
		ret_key->key_len);
	return r < 0 ? r
		     : expand(cipher->digest, keys->secret[side], keys->secret_len, "iv",
			       ret_key->iv, ret_key->iv_len);
}

int tls_keys_update(struct tls_keys *keys, enum tls_direction direction)
{
	unsigned char *secret = keys->secret[owner(keys->is_server, direction)];
	unsigned char next[TLS_SECRET_MAX];
	int r = expand(ciphers[keys->cipher].digest, secret, keys->secret_len, "traffic upd", next,
		keys->secret_len);

	if (r == 0) {
		memcpy(secret, next, keys->secret_len);
		keys->seq[direction] = 0;
	}
	secret_wipe(next, sizeof(next));
	return r;
}

/* ---- records ---- */

static void put_seq(unsigned char out[8], uint64_t seq)
{
	for (int i = 7; i >= 0; i--, seq >>= 8)
		out[i] = (unsigned char)seq;
}

static int seal(const struct cipher *cipher, const struct tls_traffic_key *key,
	const unsigned char nonce[12], const unsigned char *aad, int aad_len, unsigned char *data,
	size_t len)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n, ok;

	ok = ctx && EVP_EncryptInit_ex(ctx, cipher->evp(), NULL, key->key, nonce) == 1 &&
		EVP_EncryptUpdate(ctx, NULL, &n, aad, aad_len) == 1 &&
		EVP_EncryptUpdate(ctx, data, &n, data, (int)len) == 1 &&
		EVP_EncryptFinal_ex(ctx, data + n, &n) == 1 &&
		EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, 16, data + len) == 1;
	EVP_CIPHER_CTX_free(ctx);
	return ok ? 0 : -EIO;
}

static int seal_13(const struct tls_keys *keys, const struct tls_traffic_key *key, uint64_t seq,
	unsigned char record_type, const void *data, size_t len, size_t padding, unsigned char *ret)
{
	size_t inner = len + 1 + padding, body = inner + 16;
	unsigned char nonce[12], number[8];

	ret[0] = 23;
	ret[1] = ret[2] = 3;
	ret[3] = (unsigned char)(body >> 8);
	ret[4] = (unsigned char)body;
	memcpy(ret + 5, data, len);
	ret[5 + len] = record_type;
	memset(ret + 6 + len, 0, padding);
	put_seq(number, seq);
	memcpy(nonce, key->iv, sizeof(nonce));
	for (int i = 0; i < 8; i++)
		nonce[4 + i] ^= number[i];
	return seal(&ciphers[keys->cipher], key, nonce, ret, 5, ret + 5, inner) < 0
		? -EIO
		: (int)(5 + body);
}

static int seal_12(const struct tls_keys *keys, const struct tls_traffic_key *key, uint64_t seq,
	unsigned char record_type, const void *data, size_t len, unsigned char *ret)
{
	bool explicit = keys->cipher != TLS_CHACHA20_POLY1305;
	size_t nonce_len = explicit ? 8 : 0, body = nonce_len + len + 16;
	unsigned char nonce[12], aad[13], number[8];

	put_seq(number, seq);
	ret[0] = record_type;
	ret[1] = ret[2] = 3;
	ret[3] = (unsigned char)(body >> 8);
	ret[4] = (unsigned char)body;
	memcpy(ret + 5, number, nonce_len);
	memcpy(ret + 5 + nonce_len, data, len);
	memcpy(nonce, key->iv, key->iv_len);
	if (explicit)
		memcpy(nonce + 4, number, 8);
	for (int i = 0; !explicit && i < 8; i++)
		nonce[4 + i] ^= number[i];
	memcpy(aad, number, 8);
	memcpy(aad + 8, ret, 3);
	aad[11] = (unsigned char)(len >> 8);
	aad[12] = (unsigned char)len;
	return seal(&ciphers[keys->cipher], key, nonce, aad, sizeof(aad), ret + 5 + nonce_len,
		       len) < 0
		? -EIO
		: (int)(5 + body);
}

int tls_record_seal(const struct tls_keys *keys, const struct tls_traffic_key *key, uint64_t seq,
	unsigned char record_type, const void *data, size_t len, size_t padding, unsigned char *ret)
{
	if (keys->version == TLS_VERSION_1_3)
		return seal_13(keys, key, seq, record_type, data, len, padding, ret);
	return seal_12(keys, key, seq, record_type, data, len, ret);
}

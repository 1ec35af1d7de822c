// SPDX-License-Identifier: Apache-2.0
/* See library.h: OpenSSL, 3.0 or newer. */
#include "tls/library.h"
#include "base/secret.h"

#include <assert.h>
#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *tls_library_name(void)
{
	static char name[64];

	if (!*name)
		snprintf(name, sizeof(name), "OpenSSL %s", OpenSSL_version(OPENSSL_VERSION_STRING));
	return name;
}

int tls_library_init(void)
{
	(void)tls_library_name();
	return 0;
}

const char *tls_library_reason(int reason)
{
	(void)reason;
	return NULL;
}

/* ---- contexts ---- */

SSL_CTX *tls_library_context(const SSL_METHOD *method, bool secrets)
{
	return SSL_CTX_new_ex(NULL, secrets ? tls_derive_properties() : NULL, method);
}

/* "LABEL client_random secret", hexadecimal. */
static void on_key_log(const SSL *ssl, const char *line)
{
	static const char *const labels[] = { "CLIENT_TRAFFIC_SECRET_0 ",
		"SERVER_TRAFFIC_SECRET_0 " };
	struct tls_layer *layer = tls_layer_of(ssl);

	static_assert(ARRAY_SIZE(labels) == ARRAY_SIZE(layer->secret), "a label for each");
	for (int i = 0; layer && i < 2; i++) {
		const char *hex = strrchr(line, ' ');
		size_t n = 0;

		if (strncmp(line, labels[i], strlen(labels[i])) != 0)
			continue;
		for (hex++;
			n < RECORD_SECRET_MAX && hex_digit(hex[0]) >= 0 && hex_digit(hex[1]) >= 0;
			hex += 2)
			layer->secret[i][n++] =
				(unsigned char)(hex_digit(hex[0]) << 4 | hex_digit(hex[1]));
		layer->secret_len = (uint8_t)n;
	}
}

void tls_library_options(SSL_CTX *ctx, bool secrets)
{
	/* OpenSSL answers a FIN without close_notify with a fatal alert, which would end the other
	 * direction too; tls/stream.c tells a truncation from a clean end itself. */
	SSL_CTX_set_options(ctx,
		SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
	if (secrets && !tls_derive_properties())
		SSL_CTX_set_keylog_callback(ctx, on_key_log);
}

int tls_library_suites13(SSL_CTX *ctx, const char *tls13, bool our_order)
{
	(void)our_order; /* as with TLS 1.2 */
	return *tls13 && SSL_CTX_set_ciphersuites(ctx, tls13) != 1 ? -EINVAL : 0;
}

const char *tls_library_default_suites(void)
{
	return OSSL_default_cipher_list();
}

const char *tls_library_trust_file(void)
{
	const char *file = getenv(X509_get_default_cert_file_env());

	return file ? file : X509_get_default_cert_file();
}

int tls_library_trust_system(SSL_CTX *ctx)
{
	return SSL_CTX_set_default_verify_paths(ctx) == 1 ? 0 : -EINVAL;
}

static int start_crypto(const struct tls_ticket_key *key, unsigned char *iv, EVP_CIPHER_CTX *cipher,
	EVP_MAC_CTX *mac, int encrypt)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(
			OSSL_MAC_PARAM_KEY, (void *)key->hmac, sizeof(key->hmac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv, encrypt) == 1 &&
			EVP_MAC_CTX_set_params(mac, params) == 1
		? 1
		: -1;
}

static tls_ticket_key_fn *find_key;

static int on_ticket(SSL *ssl, unsigned char name[16], unsigned char iv[EVP_MAX_IV_LENGTH],
	EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
	struct tls_ticket_key key;
	int r = find_key(ssl, name, iv, encrypt, &key);

	if (r > 0 && start_crypto(&key, iv, cipher, mac, encrypt) < 0)
		r = -1;
	secret_wipe(&key, sizeof(key));
	return r;
}

void tls_library_tickets(SSL_CTX *ctx, tls_ticket_key_fn *find)
{
	find_key = find;
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
	SSL_CTX_set_max_early_data(ctx, 0);
}

/* ---- connections ---- */

void tls_library_client(SSL *ssl)
{
	(void)ssl; /* SSL_OP_NO_RENEGOTIATION */
}

static void on_key_update(SSL *ssl, struct tls_layer *layer, enum record_direction direction)
{
	unsigned char *secret = layer->secret[record_owner(SSL_is_server(ssl), direction)];
	enum record_cipher cipher;

	layer->seq[direction] = 0;
	/* not followed; and OpenSSL must find no error of ours in its queue */
	if (!layer->secret_len)
		return;
	ERR_set_mark();
	if (tls_find_cipher(ssl, &cipher) < 0 ||
		record_next_secret(cipher, secret, layer->secret_len) < 0)
		layer->secret_len = 0; /* not exportable any more */
	ERR_pop_to_mark();
}

/* Counts protected records: in TLS 1.3 those of outer type 23, from each side's Finished on; in
 * TLS 1.2 all since ChangeCipherSpec. */
unsigned char tls_library_heard(
	SSL *ssl, struct tls_layer *layer, bool is_write, int type, const unsigned char *data)
{
	enum record_direction direction = is_write ? RECORD_WRITE : RECORD_READ;
	bool is_13 = SSL_version(ssl) == TLS1_3_VERSION;

	if (type == SSL3_RT_INNER_CONTENT_TYPE)
		return data[0];
	if (type == SSL3_RT_HEADER) {
		if (!is_13 && data[0] == SSL3_RT_CHANGE_CIPHER_SPEC)
			layer->seq[direction] = 0;
		else if (!is_13 || data[0] == SSL3_RT_APPLICATION_DATA)
			layer->seq[direction]++;
	} else if (type == SSL3_RT_HANDSHAKE && is_13) {
		if (data[0] == SSL3_MT_FINISHED)
			layer->seq[direction] = 0;
		else if (data[0] == SSL3_MT_KEY_UPDATE)
			on_key_update(ssl, layer, direction);
	}
	return 0;
}

void tls_library_read(struct tls_layer *layer)
{
	(void)layer; /* the content type of each record has told */
}

bool tls_library_is_cut(const struct tls_layer *layer, int r, int saved_errno)
{
	(void)saved_errno;
	return SSL_get_error(layer->ssl, r) == SSL_ERROR_ZERO_RETURN && layer->in != TLS_IN_CLOSED;
}

bool tls_library_settle(struct tls_layer *layer)
{
	(void)layer; /* nothing: what it makes goes to the wire in the same call */
	return true;
}

/* RFC 6066 section 4: 1 is 2^9, and so on; 0 is none. */
static uint16_t payload_max(const SSL *ssl)
{
	uint8_t code = SSL_SESSION_get_max_fragment_length(SSL_get_session(ssl));

	return code >= TLSEXT_max_fragment_length_512 && code <= TLSEXT_max_fragment_length_4096
		? (uint16_t)(256u << code)
		: 0;
}

int tls_library_export(const struct tls_layer *layer, struct record_keys *keys)
{
	keys->payload_max = payload_max(layer->ssl);
	memcpy(keys->seq, layer->seq, sizeof(keys->seq));
	if (keys->version != RECORD_TLS_1_3)
		return 0;
	memcpy(keys->secret, layer->secret, sizeof(keys->secret));
	keys->secret_len = layer->secret_len;
	return keys->secret_len ? 0 : -EINVAL;
}

void tls_library_wipe_read(SSL *ssl, bool on)
{
	if (on)
		SSL_set_options(ssl, SSL_OP_CLEANSE_PLAINTEXT);
	else
		SSL_clear_options(ssl, SSL_OP_CLEANSE_PLAINTEXT);
}

X509 *tls_library_peer(const SSL *ssl)
{
	return SSL_get0_peer_certificate(ssl);
}

/* OpenSSL marks its own as not resumable when the node hangs up without close_notify, which says
 * nothing about the session. */
SSL_SESSION *tls_library_keep(SSL_SESSION *session)
{
	return SSL_SESSION_dup(session);
}

void tls_library_demand_strength(X509_STORE_CTX *check, const SSL *ssl)
{
	X509_VERIFY_PARAM_set_auth_level(
		X509_STORE_CTX_get0_param(check), SSL_get_security_level(ssl));
}

bool tls_library_is_strong(X509_STORE_CTX *check)
{
	(void)check;
	return true;
}

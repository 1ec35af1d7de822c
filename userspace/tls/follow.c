// SPDX-License-Identifier: Apache-2.0
/* What OpenSSL tells while it runs: the message callback every record header and every message, the
 * key log, where derive.c cannot have them, the TLS 1.3 secrets. Both end in struct tls_layer. */
#include "tls/openssl.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>

/* What TLS 1.3 adds to a record's content but for padding: its type and, with the ciphers of
 * record/, 16 bytes of tag. */
#define INNER_OVERHEAD 17

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

int tls_find_cipher(const SSL *ssl, enum record_cipher *ret_cipher)
{
	const SSL_CIPHER *cipher = SSL_get_current_cipher(ssl);

	switch (cipher ? SSL_CIPHER_get_cipher_nid(cipher) : 0) {
	case NID_aes_128_gcm:
		*ret_cipher = RECORD_AES_128_GCM;
		return 0;
	case NID_aes_256_gcm:
		*ret_cipher = RECORD_AES_256_GCM;
		return 0;
	case NID_chacha20_poly1305:
		*ret_cipher = RECORD_CHACHA20_POLY1305;
		return 0;
	default:
		return -ENOTSUP;
	}
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

/* A peer that sends nothing but this would never let SSL_read() return. OpenSSL takes the flag as
 * the end of what the peer says, and drops what is left. */
static void count_quiet(struct tls_layer *layer, uint8_t *count, int max)
{
	if (layer->phase < TLS_FLOWS || layer->phase == TLS_FLOODED || ++*count <= max)
		return;
	tls_layer_fail(layer, TLS_FLOODED, "too many TLS messages without data");
	SSL_set_shutdown(layer->ssl, SSL_get_shutdown(layer->ssl) | SSL_RECEIVED_SHUTDOWN);
}

static void on_peers_message(struct tls_layer *layer, size_t len)
{
	layer->unheard -= MIN(layer->unheard, (uint32_t)len);
	if (layer->messages < UINT8_MAX)
		layer->messages++;
	count_quiet(layer, &layer->quiet_messages, RECORD_QUIET_MAX);
}

/* One more is allowed if it may be the data itself. */
static void on_peers_record(struct tls_layer *layer, const unsigned char *header)
{
	size_t body = (size_t)header[3] << 8 | header[4];

	layer->record_bytes = (uint16_t)(body - MIN(body, (size_t)INNER_OVERHEAD));
	if (layer->records < UINT8_MAX)
		layer->records++;
	count_quiet(layer, &layer->quiet_records,
		RECORD_QUIET_MAX + (header[0] == SSL3_RT_APPLICATION_DATA));
}

/*
 * OpenSSL may have the beginning of a message (RFC 8446 section 5.1), which it does not tell below
 * the four bytes of a header: what its records hold is counted, and what its messages are. Padding,
 * which nobody tells, counts as such a beginning until another type of record comes, before which a
 * message must be whole.
 */
static void on_peers_content(struct tls_layer *layer, unsigned char type)
{
	if (layer->phase < TLS_FLOWS)
		return;
	layer->unheard = type == SSL3_RT_HANDSHAKE ? layer->unheard + layer->record_bytes : 0;
}

/* Counts protected records: in TLS 1.3 those of outer type 23, from each side's Finished on; in
 * TLS 1.2 all since ChangeCipherSpec. */
static void on_message(int is_write, int version, int content_type, const void *data, size_t len,
	SSL *ssl, void *arg)
{
	struct tls_layer *layer = tls_layer_of(ssl);
	enum record_direction direction = is_write ? RECORD_WRITE : RECORD_READ;
	const unsigned char *bytes = data;
	bool is_13 = SSL_version(ssl) == TLS1_3_VERSION;

	(void)version;
	(void)arg;
	if (!layer || !len)
		return;
	if (content_type == SSL3_RT_ALERT) {
		if (!is_write && len == 2 && bytes[1] == SSL_AD_CLOSE_NOTIFY)
			layer->in = TLS_IN_CLOSED;
	} else if (content_type == SSL3_RT_HEADER) {
		if (!is_write)
			on_peers_record(layer, bytes);
		if (!is_13 && bytes[0] == SSL3_RT_CHANGE_CIPHER_SPEC)
			layer->seq[direction] = 0;
		else if (!is_13 || bytes[0] == SSL3_RT_APPLICATION_DATA)
			layer->seq[direction]++;
	} else if (content_type == SSL3_RT_INNER_CONTENT_TYPE) {
		if (!is_write)
			on_peers_content(layer, bytes[0]);
	} else if (content_type == SSL3_RT_HANDSHAKE && is_13) {
		if (bytes[0] == SSL3_MT_FINISHED)
			layer->seq[direction] = 0;
		else if (bytes[0] == SSL3_MT_KEY_UPDATE)
			on_key_update(ssl, layer, direction);
	}
	if (content_type == SSL3_RT_HANDSHAKE && !is_write) {
		on_peers_message(layer, len);
		if (bytes[0] == SSL3_MT_FINISHED && SSL_is_server(ssl)) /* tickets follow */
			tls_memory_tidy(true);
	}
}

void tls_follow(SSL_CTX *ctx, bool secrets)
{
	if (secrets)
		SSL_CTX_set_keylog_callback(ctx, on_key_log);
	SSL_CTX_set_msg_callback(ctx, on_message);
}

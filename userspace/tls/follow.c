// SPDX-License-Identifier: Apache-2.0
/* What the library tells while it runs: the message callback every record header and every message.
 * It ends in struct tls_layer. */
#include "tls/library.h"
#include "tls/openssl.h"

#include <errno.h>

/* What TLS 1.3 adds to a record's content but for padding: its type and, with the ciphers of
 * record/, 16 bytes of tag. */
#define INNER_OVERHEAD 17

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

static void on_message(int is_write, int version, int content_type, const void *data, size_t len,
	SSL *ssl, void *arg)
{
	struct tls_layer *layer = tls_layer_of(ssl);
	const unsigned char *bytes = data;
	unsigned char content;

	(void)version;
	(void)arg;
	if (!layer || !len)
		return;
	if (content_type == SSL3_RT_HEADER && !is_write)
		on_peers_record(layer, bytes);
	content = tls_library_heard(ssl, layer, is_write, content_type, bytes);
	if (is_write)
		return;
	if (content)
		on_peers_content(layer, content);
	if (content_type == SSL3_RT_ALERT && len == 2 && bytes[1] == SSL_AD_CLOSE_NOTIFY)
		layer->in = TLS_IN_CLOSED;
	if (content_type == SSL3_RT_HANDSHAKE) {
		on_peers_message(layer, len);
		if (bytes[0] == SSL3_MT_FINISHED && SSL_is_server(ssl)) /* tickets follow */
			tls_memory_tidy(true);
	}
}

void tls_follow(SSL_CTX *ctx)
{
	SSL_CTX_set_msg_callback(ctx, on_message);
}

// SPDX-License-Identifier: Apache-2.0
/* What OpenSSL has reached, copied out: see keys.h. What follows it is follow.c. */
#include "tls/keys.h"
#include "base/secret.h"
#include "tls/library.h"
#include "tls/openssl.h"

#include <errno.h>

/* Nothing is half read or half written: no record, and no message of several records; and nobody
 * has said the end, which whoever goes on would say once more. */
static bool between_records(const struct tls_layer *layer)
{
	const SSL *ssl = layer->ssl;

	return layer->phase == TLS_FLOWS && layer->out == TLS_OUT_OPEN && !layer->passing &&
		!layer->unheard && !SSL_in_init(ssl) && !SSL_get_shutdown(ssl);
}

bool tls_answer_is_due(const struct tls_layer *layer)
{
	return SSL_get_key_update_type(layer->ssl) != SSL_KEY_UPDATE_NONE;
}

/* Nor is anything here that the peer or its reader does not have. */
static bool is_empty(const struct tls_layer *layer)
{
	return !tls_answer_is_due(layer) && !layer->raw.len && !layer->held.len &&
		!SSL_has_pending(layer->ssl);
}

static int export_secrets(const struct tls_layer *layer, struct record_keys *keys)
{
	const SSL *ssl = layer->ssl;
	int r = tls_library_export(layer, keys);

	if (r < 0 || keys->version == RECORD_TLS_1_3)
		return r;
	keys->secret_len = SSL_SESSION_get_master_key(
		SSL_get_session(ssl), keys->secret[0], sizeof(keys->secret[0]));
	SSL_get_client_random(ssl, keys->random[0], sizeof(keys->random[0]));
	SSL_get_server_random(ssl, keys->random[1], sizeof(keys->random[1]));
	return keys->secret_len == RECORD_SECRET_MAX ? 0 : -EINVAL;
}

void tls_keys_prepare(struct stream *stream)
{
	struct tls_layer *layer = stream->layer;

	tls_stream_read_ahead(stream, false);
	if (between_records(layer))
		(void)!tls_library_settle(layer);
	(void)!tls_wire_flush(layer); /* what is left is not a boundary */
}

int tls_keys_export_as_is(const struct stream *stream, struct record_keys *ret_keys)
{
	struct tls_layer *layer = tls_stream_layer(stream);
	struct record_keys keys = { 0 };
	int version, r;

	if (!layer)
		return -ENOTSUP;
	version = SSL_version(layer->ssl);
	if (version != TLS1_2_VERSION && version != TLS1_3_VERSION)
		return -ENOTSUP;
	if (tls_find_cipher(layer->ssl, &keys.cipher) < 0)
		return -ENOTSUP;
	if (!between_records(layer) || !tls_library_settle(layer))
		return TLS_KEYS_NOT_YET;
	keys.version = version == TLS1_3_VERSION ? RECORD_TLS_1_3 : RECORD_TLS_1_2;
	keys.is_server = SSL_is_server(layer->ssl);
	r = export_secrets(layer, &keys);
	if (r == 0)
		*ret_keys = keys;
	secret_wipe(&keys, sizeof(keys));
	return r;
}

int tls_keys_export(const struct stream *stream, struct record_keys *ret_keys)
{
	const struct tls_layer *layer = tls_stream_layer(stream);
	int r = tls_keys_export_as_is(stream, ret_keys);

	if (r == 0 && !is_empty(layer)) {
		secret_wipe(ret_keys, sizeof(*ret_keys));
		return TLS_KEYS_NOT_YET;
	}
	return r;
}

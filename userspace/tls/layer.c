// SPDX-License-Identifier: Apache-2.0
/* See layer.h. */
#include "tls/openssl.h"

#include <errno.h>

#include <assert.h>
#include <stdio.h>

void tls_layer_fail(struct tls_layer *layer, enum tls_phase how, const char *why)
{
	if (layer->phase < TLS_FLOWS)
		layer->phase = TLS_UNSHAKEN;
	else if (layer->phase < how)
		layer->phase = (uint8_t)how;
	if (*why)
		snprintf(layer->error, sizeof(layer->error), "%s", why);
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

void tls_layer_check(const struct tls_layer *layer)
{
	assert((layer->out == TLS_OUT_OWED) == (layer->owed != 0));
	switch ((enum tls_phase)layer->phase) {
	case TLS_SHAKING:
	case TLS_UNSHAKEN:
		assert(layer->out == TLS_OUT_OPEN || layer->out == TLS_OUT_SHUT);
		assert(!layer->quiet_records && !layer->quiet_messages);
		break;
	case TLS_FLOWS:
	case TLS_BROKEN:
		assert(!*layer->error);
		assert(layer->quiet_messages <= RECORD_QUIET_MAX);
		assert(layer->quiet_records <= RECORD_QUIET_MAX + 1);
		break;
	case TLS_REFUSED:
	case TLS_FLOODED:
		assert(*layer->error);
	}
}

#endif

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

// SPDX-License-Identifier: Apache-2.0
/* See layer.h. */
#include "tls/layer.h"

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

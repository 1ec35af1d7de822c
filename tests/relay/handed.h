// SPDX-License-Identifier: Apache-2.0
/* A leg on records as an agent has it: taken off OpenSSL, and, when its peer is a client, packed
 * for another host and unpacked there. */
#ifndef TESTS_RELAY_HANDED_H
#define TESTS_RELAY_HANDED_H

#include "tls/keys.h"
#include "tls/records.h"

#include <stdlib.h>
#include <string.h>

static unsigned handed_packed;

/* Bytes that wait go along. */
static inline void handed_pack(struct stream *stream)
{
	unsigned char packed[RECORD_PACKED_BYTES];
	struct tls_records_state state;
	struct buf all = { .secret = true };

	if (tls_records_give(stream, &all) < 0)
		abort();
	memcpy(&state, buf_view(&all).data, sizeof(state));
	if (record_connection_pack(&state.connection, packed) == 0) {
		memset(&state.connection, 0xa5, sizeof(state.connection));
		if (record_connection_unpack(packed, &state.connection) < 0)
			abort();
		memcpy(all.data + all.start, &state, sizeof(state));
		handed_packed++;
	}
	if (tls_records_resume(stream, buf_view(&all)) < 0)
		abort();
	buf_fini(&all);
}

/* Returns 0, or what tls_records_take() says: OpenSSL has it. */
static inline int handed_take(struct stream *stream)
{
	int r = tls_records_take(stream);

	if (r == 0)
		handed_pack(stream);
	return r;
}

#endif

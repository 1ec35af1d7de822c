// SPDX-License-Identifier: Apache-2.0
/* The PROXY protocol header towards nodes (sessions.md section 10; HAProxy's proxy-protocol.txt). */
#ifndef NET_PROXYHDR_H
#define NET_PROXYHDR_H

#include "net/addr.h"

#define PROXYHDR_MAX_BYTES 128
#define PROXYHDR_ID_BYTES 28

/* "HMG1", 16 bytes of instance id, 8 bytes session number (big endian): TLV 0x05. */
void proxyhdr_make_id(const unsigned char instance[16], uint64_t session,
	unsigned char ret_id[PROXYHDR_ID_BYTES]);
/*
 * Writes a v2 header (PROXY, STREAM, client -> local, TLV 0x05 with id) or, when the families
 * differ, the line "PROXY UNKNOWN" CR LF. Returns its length.
 */
size_t proxyhdr_write(const struct addr *client, const struct addr *local,
	const unsigned char id[PROXYHDR_ID_BYTES], unsigned char ret_header[PROXYHDR_MAX_BYTES]);

#endif

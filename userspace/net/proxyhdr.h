// SPDX-License-Identifier: Apache-2.0
/*
 * The PROXY protocol header (HAProxy's proxy-protocol.txt): written towards nodes (sessions.md
 * section 10), read from trusted peers (section 2, SES-9 to SES-11). Pure: bytes, no sockets. Who may
 * send a header, and how long one is waited for, is the caller's.
 */
#ifndef NET_PROXYHDR_H
#define NET_PROXYHDR_H

#include "net/addr.h"

#define PROXYHDR_MAX_BYTES 128 /* written */
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

/* ---- reading ---- */

#define PROXYHDR_V1_BYTES 107  /* the line, CRLF included */
#define PROXYHDR_V2_BYTES 1024 /* the whole header: what a caller has to be able to hold */

enum proxyhdr_result {
	PROXYHDR_MORE = 0, /* a beginning of a header, or nothing at all: more bytes are needed */
	PROXYHDR_DONE,
	PROXYHDR_NONE,    /* these bytes do not start a header; they are the next layer's */
	PROXYHDR_INVALID, /* starts as a header and is none: close (SES-10) */
};

struct proxyhdr {
	size_t length; /* bytes of the header; what follows belongs to the next layer */
	/* Both set, v4-mapped turned into plain v4; or neither: the socket's addresses stay
	 * (UNKNOWN, LOCAL, UNSPEC). */
	struct addr source, destination;
	/* v2: TLV 0x05, a view into the input; len 0 if there is none, or if the addresses are not
	 * set (what LOCAL and UNSPEC carry is skipped unread). */
	struct view unique_id;
};

/*
 * Reads one header at the start of in, which holds all bytes of the connection so far. Any result
 * but PROXYHDR_MORE stays the same whatever bytes follow; PROXYHDR_MORE is never returned for
 * PROXYHDR_V2_BYTES or more. Writes *ret_header only with PROXYHDR_DONE.
 */
MUST_USE enum proxyhdr_result proxyhdr_parse(struct view in, struct proxyhdr *ret_header);

#endif

// SPDX-License-Identifier: Apache-2.0
/* The PROXY protocol header, from trusted peers and towards nodes (sessions.md sections 2 and 10;
 * HAProxy's proxy-protocol.txt). Pure. */
#ifndef NET_PROXYHDR_H
#define NET_PROXYHDR_H

#include "net/addr.h"

#define PROXYHDR_MAX_BYTES 256
#define PROXYHDR_ID_BYTES 28
/* The longest header that is taken (SES-9): version 2, with room for a certificate in a TLV;
 * version 1 is one line of at most 107 bytes. */
#define PROXYHDR_LONGEST_BYTES 8192

/* "HMG1", 16 bytes of instance id, 8 bytes session number (big endian): TLV 0x05. */
void proxyhdr_make_id(const unsigned char instance[16], uint64_t session,
	unsigned char ret_id[PROXYHDR_ID_BYTES]);
/* The client's TLS, as TLV 0x20 tells it. */
struct proxyhdr_tls {
	const char *version, *cipher; /* "TLSv1.3", "TLS_AES_128_GCM_SHA256": at most 63 bytes */
};
/*
 * Writes a v2 header (PROXY, STREAM, client -> local, TLV 0x05 with id, TLV 0x20 if tls is not
 * NULL) or, when the families differ, the line "PROXY UNKNOWN" CR LF. Returns its length.
 */
size_t proxyhdr_write(const struct addr *client, const struct addr *local,
	const unsigned char id[PROXYHDR_ID_BYTES], const struct proxyhdr_tls *tls,
	unsigned char ret_header[PROXYHDR_MAX_BYTES]);

/* ---- from a peer ---- */

enum {
	PROXYHDR_DONE = 0,
	PROXYHDR_MORE,    /* the beginning of a header */
	PROXYHDR_NONE,    /* no header: the bytes belong to the next layer */
	PROXYHDR_INVALID, /* starts like one, and is none */
};

struct proxyhdr {
	size_t len;         /* of the header; what follows belongs to the next layer */
	bool has_addresses; /* false: LOCAL, UNKNOWN, or no TCP over IP; the socket's count */
	struct addr source, destination; /* v4-mapped ones are plain IPv4 */
	struct view id;                  /* TLV 0x05, within the bytes given; empty: none */
};

/* Looks at the bytes that have come so far, at least one. Returns PROXYHDR_*; ret_header is written
 * on DONE only. The same bytes with more behind them give the same answer, unless that was MORE. */
MUST_USE int proxyhdr_parse(struct view bytes, struct proxyhdr *ret_header);

#endif

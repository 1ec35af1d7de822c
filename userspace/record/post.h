// SPDX-License-Identifier: Apache-2.0
/*
 * What a peer says beside data after the handshake: alerts, tickets, KeyUpdates, records without
 * anything in them. Some of it, and not for ever.
 */
#ifndef RECORD_POST_H
#define RECORD_POST_H

#include "record/record.h"

/* Records and messages without data that a peer may send one behind the other. */
#define RECORD_QUIET_MAX 32
/* Beside them, KeyUpdates: one for each record of data that it has been sent, and so many at the
 * most. A peer may ask with each record that it reads until our answer is there (Java's does),
 * which comes behind all that is on its way to it. */
#define RECORD_PAID_MAX 1023
/* What a change of keys counts for, in bytes that take as long to decrypt. */
#define RECORD_MESSAGE_COST 8192

/* Alerts (RFC 8446 section 6, RFC 5246 section 7.2). */
enum record_alert {
	RECORD_CLOSE_NOTIFY = 0,
	RECORD_UNEXPECTED_MESSAGE = 10,
	RECORD_BAD_RECORD_MAC = 20,
	RECORD_RECORD_OVERFLOW = 22,
	RECORD_INTERNAL_ERROR = 80,
	RECORD_USER_CANCELED = 90,
	RECORD_NO_RENEGOTIATION = 100,
};

enum record_verdict {
	RECORD_GO_ON,
	RECORD_END,                  /* close_notify */
	RECORD_KEY_UPDATE,           /* the peer's next record has its next key */
	RECORD_KEY_UPDATE_REQUESTED, /* the same, and it asks us to change ours */
	RECORD_RENEGOTIATION,        /* TLS 1.2: it is to be told no, which happens once */
};

/* Plain data; version, is_client and payload_max are set at the start, the rest is zero. */
struct record_peer {
	unsigned char begun[4];    /* a header whose beginning ended with its record */
	uint32_t begun_len : 3;    /* of it; 4: of a KeyUpdate, whose last byte is to come */
	uint32_t ticket_rest : 24; /* bytes of a ticket that continue in the next record */
	uint32_t version : 1;      /* enum record_version */
	uint32_t is_client : 1;    /* it is one, and sends no tickets */
	uint32_t told_no : 1;      /* it has tried to renegotiate */
	uint16_t payload_max;      /* the most that it takes in a record, 1 to RECORD_MAX */
	uint16_t quiet : 6; /* records, and messages behind the first of a record, since data */
	uint16_t paid : 10; /* KeyUpdates that do not count as such */
};

/* The peer has sent data. Returns 0, or -EPROTO in the middle of a message (RFC 8446 section
 * 5.1). */
MUST_USE int record_peer_data(struct record_peer *peer);

/* A record of data is sealed for it. */
static inline void record_peer_pay(struct record_peer *peer)
{
	if (peer->paid < RECORD_PAID_MAX)
		peer->paid++;
}

/*
 * One opened record of the peer's that is not data, or is empty: its type and content, len bytes.
 * Returns enum record_verdict; -EPROTO for what nobody may send now, or too much of it; -ECONNRESET
 * for an alert that ends the connection.
 */
MUST_USE int record_peer_said(struct record_peer *peer, int type, const void *data, size_t len);

/* Ours: content of records. The KeyUpdate asks for none in return. */
extern const unsigned char record_close_notify[2];
extern const unsigned char record_key_update[5];

#endif

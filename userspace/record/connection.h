// SPDX-License-Identifier: Apache-2.0
/*
 * A TLS connection after its handshake, as plain data: no pointer, no descriptor, no object of a
 * library. With the bytes that wait (a record that is not whole yet, records that a socket has not
 * taken) this is all there is to know of it, and whoever has both goes on with it.
 */
#ifndef RECORD_CONNECTION_H
#define RECORD_CONNECTION_H

#include "record/post.h"

/* What the peer says. Behind RECORD_IN_OPEN nothing is read any more. */
enum record_in {
	RECORD_IN_OPEN,
	RECORD_IN_CLOSED, /* close_notify */
	RECORD_IN_FAILED, /* what it sent was not to be taken, or was its alert: `error` */
};

/* What we say. */
enum record_out {
	RECORD_OUT_OPEN,
	RECORD_OUT_CLOSED, /* close_notify, or another alert, is the last record */
	RECORD_OUT_SHUT,   /* FIN */
};

struct record_connection {
	struct record_state states[2]; /* per enum record_direction */
	/* TLS 1.3: per direction, for the next change of keys; else zero. */
	unsigned char secret[2][RECORD_SECRET_MAX];
	struct record_peer peer;
	uint16_t full;        /* length of its last record, if that was a long one; else 0 */
	uint8_t error;        /* RECORD_IN_FAILED: an errno value */
	uint8_t in : 2;       /* enum record_in */
	uint8_t out : 2;      /* enum record_out */
	bool untold : 1;      /* not RECORD_IN_OPEN: the reader has not heard of it yet */
	bool answer_owed : 1; /* TLS 1.3: the peer has asked us to change keys */
};

/* As the handshake has left it. Returns 0, or -EIO: it is zeroed. */
MUST_USE int record_connection_init(
	struct record_connection *ret_connection, const struct record_keys *keys);
/* As another place, or another process, has left it: `from` may be any bytes, and is copied.
 * Returns 0, or -EINVAL for what no connection can be: ret_connection is as it was. */
MUST_USE int record_connection_resume(
	struct record_connection *ret_connection, const struct record_connection *from);

/*
 * A connection whose peer is a client, as bytes that another build and another host understand.
 * They hold its traffic secrets (of TLS 1.2 its keys), and the caller wipes them.
 */
#define RECORD_PACKED_BYTES 127
/* Returns 0; -ENOTSUP when something has failed, or our direction is closed: nothing is left to be
 * handed on. */
MUST_USE int record_connection_pack(
	const struct record_connection *connection, unsigned char ret[RECORD_PACKED_BYTES]);
/* Any bytes. Returns 0; -EINVAL for what no such connection can be, or -EIO: ret_connection is as
 * it was. */
MUST_USE int record_connection_unpack(
	const unsigned char from[RECORD_PACKED_BYTES], struct record_connection *ret_connection);

/* Keys and secrets are wiped. */
void record_connection_wipe(struct record_connection *connection);

/* A key has protected as many records as it may, and cannot be changed (TLS 1.2): what is under way
 * may still be sent. */
static inline bool record_connection_is_worn(const struct record_connection *connection)
{
	return connection->peer.version == RECORD_TLS_1_2 &&
		(record_state_is_worn(&connection->states[RECORD_READ]) ||
			record_state_is_worn(&connection->states[RECORD_WRITE]));
}

/* The alert that answers what record_open(), record_length() or record_peer_said() said; -1: none
 * does. Nothing tells the peer more than that (RFC 8446 section 6.2). */
int record_alert_for(int error);

#endif

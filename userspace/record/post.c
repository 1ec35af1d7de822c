// SPDX-License-Identifier: Apache-2.0
/* See post.h. Tickets are dropped, a KeyUpdate ends its record (RFC 8446 sections 4.6 and 5.1); TLS
 * 1.2 has nothing to say here. */
#include "record/post.h"

#include <errno.h>

enum { ALERT_CLOSE_NOTIFY = 0, ALERT_USER_CANCELED = 90 };
enum { MESSAGE_TICKET = 4, MESSAGE_KEY_UPDATE = 24 };

const unsigned char record_close_notify[2] = { 1, ALERT_CLOSE_NOTIFY };
const unsigned char record_key_update[5] = { MESSAGE_KEY_UPDATE, 0, 0, 1, 0 };

/* The messages of one handshake record. */
static int on_handshake(struct record_peer *peer, const unsigned char *data, size_t len)
{
	size_t at = MIN(len, (size_t)peer->ticket_rest);

	peer->ticket_rest -= (uint32_t)at;
	while (at < len) {
		size_t left = len - at, size;

		if (left < 4 || ++peer->quiet_messages > RECORD_QUIET_MAX)
			return -EPROTO;
		size = (size_t)data[at + 1] << 16 | (size_t)data[at + 2] << 8 | data[at + 3];
		if (data[at] == MESSAGE_KEY_UPDATE && size == 1 && left == 5 && data[at + 4] <= 1)
			return data[at + 4] ? RECORD_KEY_UPDATE_REQUESTED : RECORD_KEY_UPDATE;
		if (data[at] != MESSAGE_TICKET)
			return -EPROTO;
		if (size + 4 > left) {
			peer->ticket_rest = (uint32_t)(size + 4 - left);
			return RECORD_GO_ON;
		}
		at += 4 + size;
	}
	return RECORD_GO_ON;
}

int record_peer_said(struct record_peer *peer, enum record_version version, int type,
	const void *data, size_t len)
{
	const unsigned char *bytes = data;

	if (++peer->quiet_records > RECORD_QUIET_MAX)
		return -EPROTO;
	if (type == RECORD_DATA) /* an empty one */
		return len ? -EPROTO : RECORD_GO_ON;
	if (type == RECORD_ALERT && len == 2) {
		if (bytes[1] == ALERT_CLOSE_NOTIFY)
			return RECORD_END;
		return bytes[1] == ALERT_USER_CANCELED ? RECORD_GO_ON : -ECONNRESET;
	}
	if (type == RECORD_HANDSHAKE && version == RECORD_TLS_1_3)
		return on_handshake(peer, data, len);
	return -EPROTO;
}

// SPDX-License-Identifier: Apache-2.0
/* See post.h. A node's tickets are dropped, a KeyUpdate ends its record (RFC 8446 sections 4.6 and
 * 5.1); with TLS 1.2 there is nothing left to say (no renegotiation, RFC 5246 section 7.4.1). */
#include "record/post.h"

#include <errno.h>

enum { MESSAGE_TICKET = 4, MESSAGE_KEY_UPDATE = 24 };
enum { MESSAGE_HEADER_BYTES = 4 };

const unsigned char record_close_notify[2] = { 1, RECORD_CLOSE_NOTIFY };
const unsigned char record_key_update[5] = { MESSAGE_KEY_UPDATE, 0, 0, 1, 0 };

/* No other record comes between the pieces of a message (RFC 8446 section 5.1). */
static bool is_within_message(const struct record_peer *peer)
{
	return peer->ticket_rest || peer->begun_len;
}

int record_peer_data(struct record_peer *peer)
{
	if (is_within_message(peer))
		return -EPROTO;
	peer->quiet = 0;
	return 0;
}

/* One more of what is no data. */
static int count_quiet(struct record_peer *peer)
{
	return ++peer->quiet > RECORD_QUIET_MAX ? -EPROTO : 0;
}

/* The message whose header is in peer->begun: -EPROTO for one that may not be sent. */
static int on_header(struct record_peer *peer)
{
	const unsigned char *begun = peer->begun;
	uint32_t size = (uint32_t)begun[1] << 16 | (uint32_t)begun[2] << 8 | begun[3];

	if (begun[0] == MESSAGE_KEY_UPDATE)
		return size == 1 ? 0 : -EPROTO;
	if (begun[0] != MESSAGE_TICKET || peer->is_client)
		return -EPROTO;
	peer->ticket_rest = size & 0xffffff;
	peer->begun_len = 0;
	return 0;
}

/* The messages of one handshake record. */
static int on_handshake(struct record_peer *peer, const unsigned char *data, size_t len)
{
	size_t at = 0;
	int messages = 0; /* that begin here; the first one counts with its record */

	if (!len)
		return -EPROTO;
	while (at < len) {
		size_t n = MIN(len - at, (size_t)peer->ticket_rest);

		peer->ticket_rest = (peer->ticket_rest - (uint32_t)n) & 0xffffff;
		at += n;
		if (at == len)
			break;
		if (peer->begun_len == MESSAGE_HEADER_BYTES) { /* request_update */
			peer->begun_len = 0;
			if (at + 1 < len || data[at] > 1)
				return -EPROTO;
			return data[at] ? RECORD_KEY_UPDATE_REQUESTED : RECORD_KEY_UPDATE;
		}
		peer->begun[peer->begun_len++] = data[at++];
		if (peer->begun_len == MESSAGE_HEADER_BYTES &&
			((messages++ && count_quiet(peer) < 0) || on_header(peer) < 0))
			return -EPROTO;
	}
	return RECORD_GO_ON;
}

static int on_alert(const unsigned char *data, size_t len)
{
	if (len != 2)
		return -EPROTO;
	switch (data[1]) {
	case RECORD_CLOSE_NOTIFY:
		return RECORD_END;
	case RECORD_USER_CANCELED:
		return RECORD_GO_ON;
	default:
		return -ECONNRESET;
	}
}

static int judge(struct record_peer *peer, int type, const void *data, size_t len)
{
	if (type != RECORD_HANDSHAKE && is_within_message(peer))
		return -EPROTO;
	if (type == RECORD_DATA) /* an empty one */
		return len ? -EPROTO : RECORD_GO_ON;
	if (type == RECORD_ALERT)
		return on_alert(data, len);
	if (type != RECORD_HANDSHAKE)
		return -EPROTO;
	if (peer->version == RECORD_TLS_1_3)
		return on_handshake(peer, data, len);
	if (peer->told_no)
		return -EPROTO;
	peer->told_no = true;
	return RECORD_RENEGOTIATION;
}

int record_peer_said(struct record_peer *peer, int type, const void *data, size_t len)
{
	int r = judge(peer, type, data, len);

	if (r < 0)
		return r;
	if ((r == RECORD_KEY_UPDATE || r == RECORD_KEY_UPDATE_REQUESTED) && peer->paid)
		peer->paid--;
	else if (count_quiet(peer) < 0)
		return -EPROTO;
	return r;
}

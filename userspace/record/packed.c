// SPDX-License-Identifier: Apache-2.0
/*
 * A connection as bytes that another build and another host understand: numbers big endian, nothing
 * left out, and no secret but those of the traffic (RFC 8446 section 7.2; of TLS 1.2 the keys).
 */
#include "base/secret.h"
#include "record/connection.h"
#include "record/contexts.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

/*
 *	 0  version (2): as records have it, 0x0303 or 0x0304
 *	 2  cipher (2): the suite of TLS 1.3 with this AEAD, whatever the version is
 *	 4  payload_max (2)
 *	 6  flags (1)
 *	 7  quiet (1)
 *	 8  paid (2)
 *	10  begun_len (1)
 *	11  begun (4)
 *	15  READ, then WRITE: number of the next record (8), secret (48) or key (32), IV (12) and
 *	    zeros (4)
 */
#define FLAG_CLOSED 1
#define FLAG_UNTOLD 2
#define FLAG_ANSWER_OWED 4
#define FLAG_TOLD_NO 8
#define FLAGS 15
#define DIRECTION_AT 15
#define MATERIAL_BYTES 48
#define DIRECTION_BYTES (8 + MATERIAL_BYTES)
static_assert(RECORD_PACKED_BYTES == DIRECTION_AT + 2 * DIRECTION_BYTES, "all of it");
static_assert(MATERIAL_BYTES == RECORD_SECRET_MAX && MATERIAL_BYTES >= 32 + 12, "either fits");

static void put(unsigned char *to, uint64_t value, unsigned bytes)
{
	while (bytes--) {
		to[bytes] = (unsigned char)value;
		value >>= 8;
	}
}

static uint64_t get(const unsigned char *from, unsigned bytes)
{
	uint64_t value = 0;

	while (bytes--)
		value = value << 8 | *from++;
	return value;
}

/* ---- to bytes ---- */

static void pack_direction(const struct record_connection *connection,
	enum record_direction direction, unsigned char *to)
{
	const struct record_state *state = &connection->states[direction];

	put(to, state->seq, 8);
	memset(to + 8, 0, MATERIAL_BYTES);
	if (state->version == RECORD_TLS_1_3) {
		memcpy(to + 8, connection->secret[direction],
			record_secret_len((enum record_cipher)state->cipher));
	} else {
		memcpy(to + 8, state->key, sizeof(state->key));
		memcpy(to + 8 + sizeof(state->key), state->iv, sizeof(state->iv));
	}
}

int record_connection_pack(
	const struct record_connection *connection, unsigned char ret[RECORD_PACKED_BYTES])
{
	const struct record_peer *peer = &connection->peer;

	if (!peer->is_client || connection->in == RECORD_IN_FAILED ||
		connection->out != RECORD_OUT_OPEN)
		return -ENOTSUP;
	put(ret, peer->version == RECORD_TLS_1_3 ? 0x0304 : 0x0303, 2);
	put(ret + 2, 0x1301u + connection->states[0].cipher, 2);
	put(ret + 4, peer->payload_max, 2);
	ret[6] = (unsigned char)((connection->in == RECORD_IN_CLOSED ? FLAG_CLOSED : 0) |
		(connection->untold ? FLAG_UNTOLD : 0) |
		(connection->answer_owed ? FLAG_ANSWER_OWED : 0) |
		(peer->told_no ? FLAG_TOLD_NO : 0));
	ret[7] = peer->quiet;
	put(ret + 8, peer->paid, 2);
	ret[10] = peer->begun_len;
	memcpy(ret + 11, peer->begun, 4);
	for (int d = RECORD_READ; d <= RECORD_WRITE; d++)
		pack_direction(connection, (enum record_direction)d,
			ret + DIRECTION_AT + d * DIRECTION_BYTES);
	return 0;
}

/* ---- from bytes ---- */

static int unpack_peer(const unsigned char *from, struct record_peer *ret_peer)
{
	uint64_t version = get(from, 2);

	if ((version != 0x0304 && version != 0x0303) || from[6] & ~FLAGS ||
		from[7] > RECORD_QUIET_MAX || get(from + 8, 2) > RECORD_PAID_MAX || from[10] > 4)
		return -EINVAL;
	*ret_peer = (struct record_peer){
		.version = version == 0x0304,
		.is_client = 1,
		.told_no = from[6] & FLAG_TOLD_NO ? 1 : 0,
		.payload_max = (uint16_t)get(from + 4, 2),
		.quiet = from[7] & 63,
		.paid = get(from + 8, 2) & 1023,
		.begun_len = from[10] & 7,
	};
	memcpy(ret_peer->begun, from + 11, 4);
	return 0;
}

/* Key and IV from what stands there. */
static int unpack_direction(const unsigned char *from, enum record_direction direction,
	struct record_connection *connection)
{
	struct record_state *state = &connection->states[direction];
	enum record_cipher cipher = (enum record_cipher)state->cipher;

	state->seq = get(from, 8);
	if (state->version == RECORD_TLS_1_3) {
		memcpy(connection->secret[direction], from + 8, record_secret_len(cipher));
		return record_state_derive(state, connection->secret[direction]);
	}
	memcpy(state->key, from + 8, sizeof(state->key));
	memcpy(state->iv, from + 8 + sizeof(state->key), sizeof(state->iv));
	return 0;
}

int record_connection_unpack(
	const unsigned char from[RECORD_PACKED_BYTES], struct record_connection *ret_connection)
{
	struct record_connection connection = {
		.in = from[6] & FLAG_CLOSED ? RECORD_IN_CLOSED : RECORD_IN_OPEN,
		.untold = from[6] & FLAG_UNTOLD,
		.answer_owed = from[6] & FLAG_ANSWER_OWED,
	};
	uint64_t suite = get(from + 2, 2);
	int r = unpack_peer(from, &connection.peer);

	/* What nobody has left so: an end to tell that has not come, an answer of TLS 1.3. */
	if ((connection.untold && connection.in == RECORD_IN_OPEN) ||
		(connection.answer_owed && connection.peer.version != RECORD_TLS_1_3))
		r = -EINVAL;
	if (suite < 0x1301 || suite >= 0x1301 + RECORD_CIPHERS)
		r = -EINVAL;
	for (int d = RECORD_READ; r == 0 && d <= RECORD_WRITE; d++) {
		connection.states[d] = (struct record_state){
			.version = connection.peer.version,
			.cipher = (uint8_t)(suite - 0x1301),
			.direction = (uint8_t)d,
		};
		r = unpack_direction(from + DIRECTION_AT + d * DIRECTION_BYTES,
			(enum record_direction)d, &connection);
	}
	if (r == 0)
		r = record_connection_resume(ret_connection, &connection);
	secret_wipe(&connection, sizeof(connection));
	return r;
}

// SPDX-License-Identifier: Apache-2.0
/* See connection.h. Sizes count: a host has tens of thousands of them. */
#include "record/connection.h"
#include "base/secret.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static_assert(sizeof(struct record_connection) == 240, "not larger than it has to be");

int record_connection_init(struct record_connection *ret_connection, const struct record_keys *keys)
{
	*ret_connection = (struct record_connection){
		.peer = { .version = keys->version == RECORD_TLS_1_3,
			.is_client = keys->is_server,
			.payload_max = keys->payload_max ? keys->payload_max : RECORD_MAX },
	};
	if (record_states_init(ret_connection->states, keys) < 0) {
		secret_wipe(ret_connection, sizeof(*ret_connection));
		return -EIO;
	}
	if (keys->version != RECORD_TLS_1_3)
		return 0;
	for (int d = RECORD_READ; d <= RECORD_WRITE; d++)
		memcpy(ret_connection->secret[d],
			keys->secret[record_owner(keys->is_server, (enum record_direction)d)],
			keys->secret_len);
	return 0;
}

/* What would be read or written out of bounds otherwise. */
static bool is_possible(const struct record_connection *connection)
{
	const struct record_peer *peer = &connection->peer;

	for (int d = RECORD_READ; d <= RECORD_WRITE; d++) {
		const struct record_state *state = &connection->states[d];

		if (state->direction != d || state->version != peer->version ||
			state->cipher >= RECORD_CIPHERS ||
			state->cipher != connection->states[RECORD_READ].cipher)
			return false;
	}
	return peer->payload_max && peer->payload_max <= RECORD_MAX &&
		peer->begun_len <= sizeof(peer->begun) && connection->in <= RECORD_IN_FAILED &&
		connection->out <= RECORD_OUT_SHUT;
}

int record_connection_resume(
	struct record_connection *ret_connection, const struct record_connection *from)
{
	if (!is_possible(from))
		return -EINVAL;
	*ret_connection = *from;
	for (int d = RECORD_READ; d <= RECORD_WRITE; d++)
		ret_connection->states[d].keyed = 0; /* a number of the other process's */
	return 0;
}

void record_connection_wipe(struct record_connection *connection)
{
	for (int d = RECORD_READ; d <= RECORD_WRITE; d++)
		record_state_wipe(&connection->states[d]);
	secret_wipe(connection, sizeof(*connection));
}

int record_alert_for(int error)
{
	switch (error) {
	case -EBADMSG:
		return RECORD_BAD_RECORD_MAC;
	case -EMSGSIZE:
		return RECORD_RECORD_OVERFLOW;
	case -EPROTO:
		return RECORD_UNEXPECTED_MESSAGE;
	case -EIO:
	case -ENOMEM:
		return RECORD_INTERNAL_ERROR;
	default:
		return -1;
	}
}

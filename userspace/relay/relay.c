// SPDX-License-Identifier: Apache-2.0
/* Dispatch to the data path of a session, and the names of the paths. */
#include "relay/internal.h"

const char *relay_path_name(enum relay_path path)
{
	static const char *const names[RELAY_PATHS] = { "-", "copy", "ktls", "sockmap" };

	return names[path];
}

int relay_start(const struct relay_params *params, struct stream legs[2], struct buf early[2],
	struct relay **ret_relay)
{
	return relay_copy_start(params, legs, early, ret_relay);
}

void relay_stop(struct relay *relay, bool gracefully)
{
	relay->ops->stop(relay, gracefully);
}

void relay_free(struct relay *relay)
{
	if (relay)
		relay->ops->free(relay);
}

void relay_set_idle(struct relay *relay, uint64_t idle_ms)
{
	relay->ops->set_idle(relay, idle_ms);
}

uint64_t relay_bytes(const struct relay *relay, enum relay_direction direction)
{
	return relay->ops->bytes(relay, direction);
}

enum relay_path relay_path_of(const struct relay *relay, enum relay_direction direction)
{
	(void)direction;
	return relay->ops->path;
}

uint64_t relay_idle_ms(const struct relay *relay)
{
	return relay->ops->idle_ms(relay);
}

// SPDX-License-Identifier: Apache-2.0
/* Private to relay/: what a data path provides. relay.c dispatches; copy.c is the first. */
#ifndef RELAY_INTERNAL_H
#define RELAY_INTERNAL_H

#include "relay/relay.h"

struct relay_ops {
	enum relay_path path;
	void (*stop)(struct relay *relay, bool gracefully);
	void (*free)(struct relay *relay);
	void (*set_idle)(struct relay *relay, uint64_t idle_ms);
	uint64_t (*bytes)(const struct relay *relay, enum relay_direction direction);
	uint64_t (*idle_ms)(const struct relay *relay);
};

/* First member of every path's own structure. */
struct relay {
	const struct relay_ops *ops;
};

MUST_USE int relay_copy_start(const struct relay_params *params, struct stream legs[2],
	struct buf early[2], struct relay **ret_relay);

#endif

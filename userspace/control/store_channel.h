// SPDX-License-Identifier: Apache-2.0
/*
 * A store and the way of its messages into the mapping. A reload opens the next one beside it; only
 * the one that is attached is heard, under a lock, so that nothing of an old store arrives after
 * the switch.
 */
#ifndef CONTROL_STORE_CHANNEL_H
#define CONTROL_STORE_CHANNEL_H

#include "config/config.h"
#include "mapping/mapping.h"

struct store_channel;

/* What it says of bans while it is attached: STORE_PUSH_UP and STORE_PUSH_BAN, on the store's
 * thread. */
typedef void store_bans_fn(void *arg, enum store_push_event event, struct view source);

/* Opens the store of a configuration. The channel belongs to the mapping that gets the store: its
 * store_gone is store_channel_free. On failure nothing is left, and error = text for the
 * operator. */
MUST_USE int store_channel_open(struct config *config, store_bans_fn *bans, void *bans_arg,
	struct store_channel **ret_channel, struct store **ret_store, char *error,
	size_t error_size);
/* After the store was freed. */
void store_channel_free(void *channel);

/* From now on messages go to the mapping, read by the rules of config. May be called again for
 * another configuration. */
void store_channel_attach(
	struct store_channel *channel, struct mapping *mapping, struct config *config);
/* From now on nothing does. NULL is fine. */
void store_channel_detach(struct store_channel *channel);

/* Parameters of a mapping but its store. The names are freed by the caller. Returns 0 or
 * -ENOMEM. */
MUST_USE int store_mapping_params(const struct config *config, struct loop *control,
	struct mapping_params *ret_params, const char ***ret_names);
/* For mapping_on_event(). */
void store_log_event(void *arg, enum mapping_event event, const char *text, uint64_t outage_ms);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Opens the store that a configuration selects. */
#ifndef CONTROL_STORE_OPEN_H
#define CONTROL_STORE_OPEN_H

#include "config/config.h"
#include "store/store.h"

/* Returns 0 or -errno with error = text for the operator. push: see store_push_fn; NULL: none. */
MUST_USE int store_open(struct config *config, store_push_fn *push, void *push_arg,
	struct store **ret_store, char *error, size_t error_size);

/* Whether the store tells of changes by a channel of its own (push_state is not "none"). */
bool store_has_push(const struct config *config);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Whether a store can answer, found out before it serves: one lookup of a name that nobody has,
 * without holding the loop that asks.
 */
#ifndef CONTROL_STORE_CHECK_H
#define CONTROL_STORE_CHECK_H

#include "loop/loop.h"
#include "store/store.h"

struct store_check;
/* On the loop, once: error is NULL, or the store's words. The check is gone afterwards. */
typedef void store_check_fn(void *arg, const char *error);

/* Asks, for at most limit_ms. The loop's mailbox must be run until the store has been freed.
 * Returns 0, or -ENOMEM. */
MUST_USE int store_check_start(struct loop *loop, struct store *store, uint64_t limit_ms,
	store_check_fn *done, void *arg, struct store_check **ret_check);
/* done will not be called. The store may still have the question, and may be freed with it. */
void store_check_cancel(struct store_check *check);

#endif

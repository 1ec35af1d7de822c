// SPDX-License-Identifier: Apache-2.0
/*
 * Bans of this router reach those with the same store, and theirs reach this one (GRD-8). Each ban
 * by points or by order is written to the store with the time that it has left, and each end by
 * order as a lift, which stays for as long, so that who is away meanwhile finds it. What the store
 * tells is looked up there. Nothing waits for it: what cannot be written now waits in a queue, and
 * a store that is away takes no ban from anybody.
 */
#ifndef CONTROL_GUARD_SHARE_H
#define CONTROL_GUARD_SHARE_H

#include "control/status.h"

struct guard_share;

/* Observes the guard, which is borrowed as state is. Returns 0 or -errno. */
MUST_USE int guard_share_new(
	struct control_state *state, struct guard *guard, struct guard_share **ret_share);
/* Before the guard and after the store; its last answers have come. NULL is fine. */
void guard_share_free(struct guard_share *share);
/* From now on bans are shared, or not. With yes also: there is another store, or another
 * configuration. */
void guard_share_follow(struct guard_share *share, bool yes);
/* From the store's channel, on any thread: STORE_PUSH_UP or STORE_PUSH_BAN. */
void guard_share_heard(struct guard_share *share, enum store_push_event event, struct view source);
/* {"waiting":N,"lost":N,"error":...} for GET /guard. NULL without memory. */
json_t *guard_share_json(const struct guard_share *share);

#endif

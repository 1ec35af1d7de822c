// SPDX-License-Identifier: Apache-2.0
/*
 * The guard's life. It is made when it is first enabled, by the start or by a reload, and stays
 * until the stop, so that sessions may keep a pointer to it. Disabled, router->guard is NULL and
 * nobody asks it; its bans and points are there again if it is enabled before they are over.
 * Control thread.
 */
#ifndef CONTROL_GUARD_H
#define CONTROL_GUARD_H

#include "control/status.h"

struct control_guard;

/* For the router's snapshot; before workers start. Returns 0 or -errno. */
MUST_USE int control_guard_new(struct control_state *state, struct control_guard **ret_guard);
/* After the workers have been joined, and nobody asks any more. NULL is fine. */
void control_guard_free(struct control_guard *guard);
/* The router has another snapshot. Without memory all stays as it was, which is logged. */
void control_guard_follow(struct control_guard *guard);
/* As store_bans_fn: from the store's channel, any thread. arg: the control_guard. */
void control_guard_heard(void *arg, enum store_push_event event, struct view source);
/* For GET /guard: what the store does of it. */
void control_guard_add_json(const struct control_guard *guard, json_t *object);
/* The admin API has just served this address (GRD-3). NULL is fine. */
void control_guard_admit(struct control_guard *guard, const struct addr *peer);

#endif

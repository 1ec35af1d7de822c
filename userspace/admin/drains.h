// SPDX-License-Identifier: Apache-2.0
/*
 * Drains that were announced (OPS-22), and which of their accounts are between hold and release. A
 * drain of many accounts makes five changes for each: they become one line at debug, but only where
 * the changes are what was announced. Everything else is logged like any other change.
 *
 * What counts is never what a caller says of a change: the announcement is a line at info of its
 * own; a step belongs to it if it comes from the same peer with the drain's secret id; and an
 * account's line is at debug only if the store had it on the announced node before the first step
 * and has it on another one after the last. All on the control thread.
 */
#ifndef ADMIN_DRAINS_H
#define ADMIN_DRAINS_H

#include "admin/request.h"

struct admin_drains;
MUST_USE int admin_drains_new(
	struct loop *loop, const struct admin_ops *ops, struct admin_drains **ret_drains);
/* Says of each how far it came. NULL is fine. */
void admin_drains_free(struct admin_drains *drains);

/* Announces one at info. Returns 0, -ENOSPC (too many at once), or -errno. */
MUST_USE int admin_drain_begin(struct admin_drains *drains, const struct admin_caller *caller,
	const char *node, uint64_t accounts, char ret_id[ADMIN_DRAIN_ID_BYTES + 1]);
/* Says at info how it ended. Returns 0, or -ENOENT: none of this caller's. */
MUST_USE int admin_drain_end(struct admin_drains *drains, const struct admin_caller *caller,
	const char *id, uint64_t *ret_moved, uint64_t *ret_failed);

/* Each of these is about `id` ("": none) of this caller, and makes the drain last on. */
bool admin_drain_known(
	struct admin_drains *drains, const struct admin_caller *caller, const char *id);
/* A hold: the account's steps begin, as the store has it on `node` ("": it cannot tell). False: the
 * hold is to be logged by itself. */
bool admin_drain_hold(struct admin_drains *drains, const struct admin_caller *caller,
	const char *id, const char *account, const char *node);
/* The account is between hold and release. */
bool admin_drain_has(struct admin_drains *drains, const struct admin_caller *caller, const char *id,
	const char *account);
/* A write, done or not. False: it is to be logged by itself. */
bool admin_drain_write(struct admin_drains *drains, const struct admin_pending *pending, bool done);
/* Sessions have been ended. False: it is to be logged by itself. */
bool admin_drain_kick(
	struct admin_drains *drains, const struct admin_pending *pending, uint64_t sessions);
/* Its row has been written here: the store need not be asked where it is. */
bool admin_drain_written(struct admin_drains *drains, const struct admin_caller *caller,
	const char *id, const char *account);
/* The last step: one line for the account, at debug if all is as announced, else at info. node:
 * where the store has it now, if it was not written here; "" it cannot tell. */
void admin_drain_release(struct admin_drains *drains, const struct admin_caller *caller,
	const char *id, const char *account, const char *node);

#endif

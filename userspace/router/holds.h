// SPDX-License-Identifier: Apache-2.0
/* Which accounts' logins wait, and until when (admin.md section 5.6, SES-43). Shared by all workers
 * and the admin API; any thread. */
#ifndef ROUTER_HOLDS_H
#define ROUTER_HOLDS_H

#include "net/addr.h"

#define HOLDS_MAX 100000
/* Logins that wait at the same time: a delay is no way to fill a listener. */
#define HOLDS_WAITING_PER_ACCOUNT 64
#define HOLDS_WAITING_PER_ADDRESS 128 /* IPv6: per /64 */

struct holds;
MUST_USE int holds_new(struct holds **ret_holds);
void holds_free(struct holds *holds);
/* until_ms: monotonic; replaces an earlier end. 0 or a time that is over: no hold. Returns 0,
 * -ENOSPC (HOLDS_MAX accounts are held) or -ENOMEM. */
MUST_USE int holds_set(struct holds *holds, struct view account, uint64_t until_ms);
enum { HOLDS_FULL = 1 };
/* A login begins to wait; holds_leave() with the same two when it does not any more. Returns 0,
 * HOLDS_FULL (too many of the account or the address wait; it is not counted) or -ENOMEM. */
MUST_USE int holds_enter(struct holds *holds, struct view account, const struct addr *client);
void holds_leave(struct holds *holds, struct view account, const struct addr *client);
/* 0: not held. */
uint64_t holds_until(struct holds *holds, struct view account);

#endif

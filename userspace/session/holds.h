// SPDX-License-Identifier: Apache-2.0
/* Which accounts' logins wait, and until when (admin.md section 5.6, SES-43). Shared by all workers
 * and the admin API; any thread. */
#ifndef SESSION_HOLDS_H
#define SESSION_HOLDS_H

#include "base/view.h"

#define HOLDS_MAX 100000

struct holds;
MUST_USE int holds_new(struct holds **ret_holds);
void holds_free(struct holds *holds);
/* until_ms: monotonic; replaces an earlier end. 0 or a time that is over: no hold. Returns 0,
 * -ENOSPC (HOLDS_MAX accounts are held) or -ENOMEM. */
MUST_USE int holds_set(struct holds *holds, struct view account, uint64_t until_ms);
/* 0: not held. */
uint64_t holds_until(struct holds *holds, struct view account);

#endif

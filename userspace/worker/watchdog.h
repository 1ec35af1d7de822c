// SPDX-License-Identifier: Apache-2.0
/*
 * Looks after the loops from a thread of its own. A loop that works on one batch for 3 s is logged,
 * with the session it works on, and counted; after exit_after_ms the process ends by SIGABRT, so
 * that its supervisor starts it again: what waits behind that loop would wait for ever.
 * Time is counted in seconds that this thread has seen pass itself, so a process that was stopped
 * or a machine that slept is not taken for stuck. It waits for no lock that a stuck thread may
 * hold.
 */
#ifndef WORKER_WATCHDOG_H
#define WORKER_WATCHDOG_H

#include "loop/loop.h"
#include "router/router.h"

#define WATCHDOG_NAME_SIZE 24

struct watchdog;

/* exit_after_ms: 0 = never; rounded up to seconds. Returns 0 or -ENOMEM. */
MUST_USE int watchdog_new(
	struct router *router, uint64_t exit_after_ms, struct watchdog **ret_watchdog);
/* Before watchdog_start(). The loop stays the caller's, and outlives the watchdog. Without room for
 * it, or with NULL, it is not looked after. */
void watchdog_add(struct watchdog *watchdog, const char *name, struct loop *loop);
/* Returns 0 or -errno. */
MUST_USE int watchdog_start(struct watchdog *watchdog);
/* Waits for its thread. NULL is fine. */
void watchdog_free(struct watchdog *watchdog);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Who is never banned (GRD-3), while the guard is enabled: loopback, this host's addresses,
 * proxy_trusted of all listeners, nodes by address and by name, guard.allow, and whoever called the
 * admin API with success in the last hour. Follows the configuration, the addresses of the host
 * and, once a minute, those of names. Control thread.
 */
#ifndef CONTROL_NEVER_H
#define CONTROL_NEVER_H

#include "router/router.h"

#define NEVER_ADMITTED 64
#define NEVER_ADMITTED_MS (3600 * 1000ULL)

struct never;

/* Sets what is known at once; names follow. Both are borrowed; the guard need not be the router's
 * yet. Returns 0 or -errno. */
MUST_USE int never_new(
	struct router *router, struct loop *loop, struct guard *guard, struct never **ret_never);
void never_free(struct never *never); /* NULL is fine */
/* The router has another snapshot. */
void never_follow(struct never *never);
/* The admin API has just served this address. Of more than NEVER_ADMITTED the oldest is
 * forgotten. */
void never_admit(struct never *never, const struct addr *peer);

#endif

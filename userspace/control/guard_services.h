// SPDX-License-Identifier: Apache-2.0
/* What the guard's programs take for ours: addresses and ports of the listeners, but not of the
 * admin API. A wildcard is every address of this host, so that forwarded packets are never judged
 * (GRD-4). */
#ifndef CONTROL_GUARD_SERVICES_H
#define CONTROL_GUARD_SERVICES_H

#include "bpfctl/guard.h"
#include "router/router.h"

#define GUARD_SERVICES_MAX 16384

/* Of the router's snapshot and the host's addresses as they are now. What is beyond
 * GUARD_SERVICES_MAX is left out, and logged. Returns 0 or -errno. */
MUST_USE int guard_services_write(struct bpfctl_guard *maps, const struct router *router);

#endif

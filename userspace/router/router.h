// SPDX-License-Identifier: Apache-2.0
/*
 * What all workers share: the configuration snapshot with everything built from it, nodes and
 * listeners with their counters, the mapping, the host's addresses. It lives from start to stop and
 * is atomic or locked, or the control thread's alone.
 */
#ifndef ROUTER_ROUTER_H
#define ROUTER_ROUTER_H

#include "guard/guard.h"
#include "mapping/mapping.h"
#include "net/resolve.h"
#include "relay/probe.h"
#include "relay/relay.h"
#include "router/auth_events.h"
#include "router/holds.h"
#include "router/metrics.h"
#include "router/snapshot.h"
#include "router/strangers.h"
#include "router/tokens.h"

#include <stdatomic.h>

struct path_counters {
	atomic_uint_fast64_t active, started, bytes;
};

struct router {
	/* The control thread's alone: */
	struct snapshot *snapshot; /* the newest; reference */
	struct known known;
	struct bound **bounds;          /* listen.c */
	struct listener **bound_owners; /* whose they are, same order; known ones */
	size_t bound_count;

	struct mapping *mapping;
	struct holds *holds; /* owned by the control thread, as the mapping */
	struct netlink_addrs *local_addrs;
	unsigned char instance[16];
	unsigned worker_count;
	struct addr admin_addr;
	atomic_bool shutting_down;
	atomic_uint_fast64_t session_numbers;
	atomic_uint_fast64_t active, rejected_limit, auth_failed, held;
	atomic_uint_fast64_t regex_limited;         /* HTTP-51 */
	struct path_counters paths[RELAY_PATHS][2]; /* by enum relay_direction */
	struct session_metrics metrics;
	struct histogram handoff_time; /* from the node's yes to the relay's start */
	struct auth_events auth_events;
	/* NULL: disabled. A reload changes it; what it pointed to stays until the workers have
	 * stopped. Sessions ask router_guard(). */
	struct guard *_Atomic guard;
	struct bpfctl *bpfctl;        /* owned; NULL: not usable */
	struct bpfctl_bypass *bypass; /* owned; NULL: not wanted, or not usable */
	struct relay_kernel kernel;
	struct relay_probe probe;
	/* Of the agent that this process is for routers. */
	struct tokens *tokens;       /* owned by the control thread, as the next */
	struct strangers *strangers; /* who came to its port without one */
	struct mailbox **mailboxes;  /* the workers'; owned likewise, worker_count of them */
	struct {
		atomic_uint_fast64_t channels;                   /* that stand now */
		atomic_uint_fast64_t streams;                    /* logins on them now */
		atomic_uint_fast64_t joined;                     /* sessions that it was given */
		atomic_uint_fast64_t refusals[HANDOFF_REFUSALS]; /* logins, by why */
		atomic_uint_fast64_t tokens_refused;
	} handoff;
};

/* NULL: nothing of the guard is to be done. Any thread. */
static inline struct guard *router_guard(struct router *router)
{
	return atomic_load_explicit(&router->guard, memory_order_acquire);
}

/* Room for what a snapshot brings, so that router_adopt() cannot fail. Returns 0 or -ENOMEM. */
MUST_USE int router_reserve(struct router *router, const struct snapshot *snapshot);
/* After router_reserve(): makes a snapshot of snapshot_new() the newest; the reference is taken
 * over. Nodes and listeners it brings become known, health follows its settings and begins anew
 * where a host has changed. Control thread. */
void router_adopt(struct router *router, struct snapshot *snapshot);
/* Whether figures of it are shown: it is declared, or still has sessions. Control thread. */
bool router_shows_node(const struct router *router, const struct node *node);
bool router_shows_listener(const struct router *router, const struct listener *listener);
/* Drops the snapshot and all that is known. */
void router_forget(struct router *router);

/* True if addr is one of our own listeners (SES-60). Any thread. */
bool router_is_own_listener(
	const struct router *router, const struct snapshot *snapshot, const struct addr *addr);

#endif

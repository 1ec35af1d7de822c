// SPDX-License-Identifier: Apache-2.0
/* What the admin API asks of the router (admin/ops.h), answered from the shared counters. */
#ifndef CONTROL_STATUS_H
#define CONTROL_STATUS_H

#include "admin/ops.h"
#include "admin/listener.h"
#include "control/store_channel.h"
#include "router/router.h"
#include "worker/worker.h"

struct control_guard;
struct guard_kernel;

struct control_state {
	struct router *router;
	struct loop *loop;
	struct store *store;               /* the mapping's */
	struct store_channel *channel;     /* its */
	struct admin_listener *admin;      /* the TLS one; borrowed, may be NULL */
	struct control_reload *reload;     /* borrowed */
	struct guard_kernel *guard_kernel; /* borrowed; NULL: nothing in the kernel */
	struct control_guard *guard;       /* owned by start.c */
	uint64_t generation, reload_failures;
	uint64_t started_ms, loaded_real_ms; /* monotonic; wall clock */
	bool starting;
	struct worker *workers; /* borrowed; as many as have been started */
	unsigned worker_count;
};

/* admin_ops.sessions: asks all workers (ask.c). */
MUST_USE int control_sessions(struct control_state *control, const struct session_filter *filter,
	void (*done)(void *arg, json_t *answer), void *arg);

/* Ends an account's sessions on all workers; answers {"kicked":N}. Returns 0 or -ENOMEM. */
MUST_USE int control_kick(struct control_state *control, const char *account,
	void (*done)(void *arg, json_t *answer), void *arg);
/* Workers let waiting logins look at their holds again. */
void control_holds_changed(struct control_state *control);

/* Appends Prometheus text. Returns 0 or -ENOMEM. */
MUST_USE int control_metrics(struct control_state *control, struct buf *ret_text);

void control_ops_fill(struct admin_ops *ops, struct control_state *control);

#endif

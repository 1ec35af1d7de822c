// SPDX-License-Identifier: Apache-2.0
/* What the admin API asks of the router (admin/backend.h), answered from the shared counters. */
#ifndef CONTROL_STATUS_H
#define CONTROL_STATUS_H

#include "admin/backend.h"
#include "admin/server.h"
#include "control/store_channel.h"
#include "router/router.h"
#include "worker/worker.h"

struct control_backend {
	struct router *router;
	struct loop *loop;
	struct store *store;           /* the mapping's */
	struct store_channel *channel; /* its */
	struct admin_server *admin;    /* the TLS one; borrowed, may be NULL */
	struct control_reload *reload; /* borrowed */
	uint64_t generation, reload_failures;
	uint64_t started_ms, loaded_real_ms; /* monotonic; wall clock */
	bool starting;
	struct worker *workers; /* borrowed; as many as have been started */
	unsigned worker_count;
};

/* admin_backend.sessions: asks all workers (ask.c). */
MUST_USE int control_sessions(struct control_backend *control, const struct session_filter *filter,
	void (*done)(void *arg, json_t *answer), void *arg);

/* Ends an account's sessions on all workers; answers {"kicked":N}. Returns 0 or -ENOMEM. */
MUST_USE int control_kick(struct control_backend *control, const char *account,
	void (*done)(void *arg, json_t *answer), void *arg);
/* Workers let waiting logins look at their holds again. */
void control_holds_changed(struct control_backend *control);

/* Appends Prometheus text. Returns 0 or -ENOMEM. */
MUST_USE int control_metrics(struct control_backend *control, struct buf *ret_text);

void control_backend_fill(struct admin_backend *backend, struct control_backend *control);

#endif

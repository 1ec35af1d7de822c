// SPDX-License-Identifier: Apache-2.0
/*
 * What the admin API asks of the router, as functions, so that admin/ is testable alone. All are
 * called on the control thread, do not block, and get arg back.
 */
#ifndef ADMIN_OPS_H
#define ADMIN_OPS_H

#include "base/view.h"
#include "guard/guard.h"
#include "mapping/mapping.h"
#include "node/health.h"
#include "session/list.h"

#include <jansson.h>

struct admin_ops {
	void *arg;

	/* /readyz: "starting", "draining" hold now; the store's part is of mapping_stats. */
	bool (*starting)(void *arg);
	bool (*stopping)(void *arg);

	/* GET /stats except what comes from the mapping: adds "active_connections", "version",
	 * "uptime_s", "config_loaded_at", "config_generation", "rejected_limit", "auth_failed",
	 * "held", "nodes", "listeners", "paths" to an object. Returns 0 or -ENOMEM. */
	int (*add_stats)(void *arg, json_t *object);

	/* Normalises and checks an account (no master split). Returns its length or -EINVAL. */
	int (*account)(void *arg, struct view text, char ret[321]);

	struct mapping *mapping;
	struct admin_drains *drains;
	/* Whether the store is a file (reload) and how to reload it: as store_ops.reload. */
	int (*store_reload)(void *arg, char error[STORE_ERROR_BYTES]);

	/* POST /config/reload: reads the configuration again, or says what would change;
	 * force: another store is taken although it does not answer. done is called
	 * once, maybe before the call returns, with a status and an object to drop, or NULL without
	 * memory. Returns 0, or -EAGAIN while the router is starting (done is not called). */
	int (*config_reload)(void *arg, bool dry_run, bool force,
		void (*done)(void *done_arg, int status, json_t *answer), void *done_arg);

	/* Calls fn for each declared destination, sorted by name. */
	void (*each_node)(void *arg,
		void (*fn)(void *fn_arg, struct node *node, const struct health_status *status),
		void *fn_arg);
	/* Returns 0, or -ENOENT for an unknown destination. */
	int (*node_reset)(void *arg, struct view name);

	/* The sessions that match, as GET /sessions gives them. done is called once, later, with an
	 * object to drop, or NULL without memory. Returns 0, -ENOENT for an unknown node,
	 * -ENOMEM. */
	int (*sessions)(void *arg, const struct session_filter *filter,
		void (*done)(void *done_arg, json_t *answer), void *done_arg);

	/* Ends the account's sessions past the hold; done as above with {"kicked":N}. */
	int (*kick)(void *arg, const char *account, void (*done)(void *done_arg, json_t *answer),
		void *done_arg);
	/* Logins of the account wait for that long, 0: no more. 0, -ENOSPC or -ENOMEM. */
	int (*delay)(void *arg, const char *account, unsigned seconds);

	/* Appends what the router counts as Prometheus text; mapping and admin API are added here.
	 * Returns 0 or -ENOMEM. */
	int (*metrics)(void *arg, struct buf *ret_text);

	/* NULL: not enabled. */
	struct guard *(*guard)(void *arg);
	/* Adds to GET /guard what the kernel and the store do of it. */
	void (*add_guard)(void *arg, json_t *object);

	/* Packets of the banned network that the kernel has dropped. */
	uint64_t (*kernel_dropped)(void *arg, const struct cidr *net);

	/* A request from the address has had the right token. */
	void (*admitted)(void *arg, const struct addr *peer);

	/* The account as logs may show it (redacted unless log_accounts = full). */
	void (*log_account)(void *arg, struct view account, char *ret, size_t ret_size);
};

#endif

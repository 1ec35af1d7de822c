// SPDX-License-Identifier: Apache-2.0
/* A worker's sessions and a new snapshot: what begins later has its settings, what lives follows in
 * the few that are not a session's own (CFG-55). log_accounts is looked up when it is needed. */
#include "session/session.h"

static void follow_idle(struct session_pool *pool, uint64_t idle_ms)
{
	list_for_each_safe (node, next, &pool->sessions) {
		struct session *session = list_entry(node, struct session, link);

		if (session->relay)
			relay_set_idle(session->relay, idle_ms);
	}
}

void session_pool_follow(struct session_pool *pool, struct snapshot *snapshot)
{
	struct snapshot *before = pool->snapshot;
	uint64_t idle_ms = snapshot->config->server.bridge_idle_ms;

	pool->snapshot = snapshot_ref(snapshot);
	if (before && before->config->server.bridge_idle_ms != idle_ms)
		follow_idle(pool, idle_ms);
	snapshot_unref(before);
}

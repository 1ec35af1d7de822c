// SPDX-License-Identifier: Apache-2.0
/* How many sessions a listener has, and those that take no place of it yet. */
#include "session/session.h"
#include "base/log.h"

bool session_count_in(
	struct listener *listener, struct router *router, const struct config_listener *settings)
{
	if (atomic_fetch_add(&listener->active, 1) < (uint64_t)settings->max_connections) {
		atomic_fetch_add(&router->active, 1);
		return true;
	}
	atomic_fetch_sub(&listener->active, 1);
	atomic_fetch_add(&listener->rejected_limit, 1);
	atomic_fetch_add(&router->rejected_limit, 1);
	log_event_limited(
		LOGL_WARN, "connection_limit", listener->name, "listener", listener->name, NULL);
	return false;
}

void session_count_back(struct listener *listener, struct router *router)
{
	atomic_fetch_sub(&listener->active, 1);
	atomic_fetch_sub(&router->active, 1);
}

void session_knock_over(struct session *session)
{
	list_del(&session->login->knock);
	session->pool->knock_count--;
}

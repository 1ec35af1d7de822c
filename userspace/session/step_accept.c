// SPDX-License-Identifier: Apache-2.0
/*
 * accept: the limit of the listener (SES-4), then a session. A refused connection is closed
 * without a byte and without a session line. Inbound PROXY headers are not read by this build;
 * the daemon refuses to start with a configuration that asks for them.
 */
#include "session/session.h"
#include "base/log.h"
#include "net/sock.h"

#include <unistd.h>

void session_accept(
	struct session_pool *pool, struct listener *listener, int fd, const struct addr *peer)
{
	struct server *server = pool->server;
	const struct config_listener *settings =
		&server->snapshot->config->listeners[listener->index];
	struct session *session;

	if (atomic_fetch_add(&listener->active, 1) >= (uint64_t)settings->max_connections) {
		atomic_fetch_sub(&listener->active, 1);
		atomic_fetch_add(&listener->rejected_limit, 1);
		atomic_fetch_add(&server->rejected_limit, 1);
		log_event_limited(LOGL_WARN, "connection_limit", listener->name, "listener",
			listener->name, NULL);
		close(fd);
		return;
	}
	sock_tune(fd);
	if (session_open(pool, listener, fd, peer, &session) < 0) {
		atomic_fetch_sub(&listener->active, 1);
		log_event_limited(LOGL_ERROR, "accept_failed", listener->name, "listener",
			listener->name, NULL);
		close(fd);
		return;
	}
	atomic_fetch_add(&listener->accepted, 1);
	atomic_fetch_add(&server->active, 1);
	if (session->settings->tls == CONFIG_TLS_IMPLICIT)
		session_step_tls(session);
	else
		session_step_dialogue(session);
	session_update_watch(session);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * accept: the limit of the listener (SES-4), then a session. A refused connection is closed
 * without a byte and without a session line. Then the inbound PROXY header where one is asked for,
 * TLS, the dialogue or, on listeners without one, the node.
 */
#include "session/session.h"
#include "base/log.h"

#include <unistd.h>

static bool is_trusted(const struct config_listener *settings, const struct addr *peer)
{
	for (size_t i = 0; i < settings->proxy_trusted_count; i++) {
		if (cidr_match(&settings->proxy_trusted[i], peer))
			return true;
	}
	return false;
}

void session_accepted(struct session *session)
{
	if (session->settings->tls == CONFIG_TLS_IMPLICIT)
		session_step_tls(session);
	else if (session_is_passthrough(session))
		session_step_passthrough(session);
	else
		session_step_dialogue(session);
}

void session_accept(
	struct session_pool *pool, struct listener *listener, int fd, const struct addr *peer)
{
	struct server *server = pool->server;
	const struct config_listener *settings = snapshot_listener(pool->snapshot, listener);
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
	if (session_open(pool, listener, fd, peer, &session) < 0) {
		atomic_fetch_sub(&listener->active, 1);
		log_event_limited(LOGL_ERROR, "accept_failed", listener->name, "listener",
			listener->name, NULL);
		close(fd);
		return;
	}
	atomic_fetch_add(&listener->accepted, 1);
	atomic_fetch_add(&server->active, 1);
	session->login->trusted = is_trusted(session->settings, peer);
	session->login->ttl = (uint8_t)session->snapshot->config->server.proxy_ttl;
	if (session->settings->proxy_protocol == CONFIG_PROXY_OFF)
		session_accepted(session);
	else
		session_step_proxy(session);
	session_update_watch(session);
}

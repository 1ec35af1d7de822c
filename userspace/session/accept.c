// SPDX-License-Identifier: Apache-2.0
/*
 * accept: the limit of the listener (SES-4), then a session. A refused connection is closed
 * without a byte and without a session line; so is who is banned (GRD-2). Then the inbound PROXY
 * header where one is asked for, TLS, the dialogue or, on listeners without one, the node.
 */
#include "session/guarded.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/sock.h"

#include <unistd.h>

#define KNOCKS_MAX 512

/* The caller keeps fd on failure. */
static int open_session(struct session_pool *pool, struct listener *listener, int fd,
	const struct addr *peer, struct session **ret_session)
{
	struct session *session;
	int r = session_new(pool, &session);

	if (r < 0)
		return r;
	session->snapshot = snapshot_ref(pool->snapshot);
	session->listener = listener;
	session->settings = snapshot_listener(session->snapshot, listener);
	session->kind = &pool->kinds[session->settings->protocol];
	session->client = *peer;
	session->number = atomic_fetch_add(&pool->router->session_numbers, 1) + 1;
	proxyhdr_make_id(pool->router->instance, session->number, session->login->proxy_id);
	session->accepted_ms = clock_mono_ms();
	session->login->phase_started_ms = session->login->input_ms = session->accepted_ms;
	session->login->preauth_at_ms =
		session->accepted_ms + session->settings->preauth_timeout_ms;
	r = session_client_open(session, fd);
	if (r < 0) {
		session_forget(session);
		return r;
	}
	*ret_session = session;
	return 0;
}

void session_knock(struct session *session)
{
	struct session_pool *pool = session->pool;

	if (pool->knock_count >= KNOCKS_MAX) {
		struct login *oldest = list_entry(pool->knocks.next, struct login, knock);

		session_close(oldest->session, REASON_PREAUTH_TIMEOUT);
	}
	list_add_tail(&pool->knocks, &session->login->knock);
	pool->knock_count++;
}

void session_accept(
	struct session_pool *pool, struct listener *listener, int fd, const struct addr *peer)
{
	struct router *router = pool->router;
	const struct config_listener *settings = snapshot_listener(pool->snapshot, listener);
	const struct session_kind *kind = &pool->kinds[settings->protocol];
	struct guard *guard = kind->no_guard ? NULL : router_guard(router);
	struct session *session;

	if (guard && guarded_refuses(guard, peer, settings)) {
		sock_abort_on_close(fd); /* what it costs ends here: nothing waits for its FIN */
		close(fd);
		return;
	}
	if (!kind->knocks && !session_count_in(listener, router, settings)) {
		close(fd);
		return;
	}
	if (open_session(pool, listener, fd, peer, &session) < 0) {
		if (!kind->knocks)
			session_count_back(listener, router);
		log_event_limited(LOGL_ERROR, "accept_failed", listener->name, "listener",
			listener->name, NULL);
		close(fd);
		return;
	}
	session->uncounted = kind->knocks;
	atomic_fetch_add(&listener->accepted, 1);
	session->login->trusted = cidr_match_any(
		session->settings->proxy_trusted, session->settings->proxy_trusted_count, peer);
	session->login->ttl = (uint8_t)session->snapshot->config->server.proxy_ttl;
	if (session->settings->proxy_protocol == CONFIG_PROXY_OFF)
		session_begin(session);
	else
		session_set_state(session, S_PROXY);
	session_update_watch(session);
}

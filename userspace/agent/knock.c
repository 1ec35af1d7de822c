// SPDX-License-Identifier: Apache-2.0
/*
 * knock: what a connection to an agent's port is. A TLS record begins a channel; four bytes and a
 * token begin a data connection, whose socket goes to the worker that has the session. Nothing
 * behind the token is taken: it is the client's own TLS.
 */
#include "agent/agent.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define TLS_HANDSHAKE 22

/* To the worker that the token names. */
struct joining {
	struct post post;
	uint64_t handle;
	int fd; /* owned */
};

static void on_joining(struct post *post)
{
	struct joining *joining = container_of(post, struct joining, post);
	struct session_pool *pool = session_pool_current();

	if (pool)
		agent_join(pool, joining->handle, joining->fd);
	else
		close(joining->fd);
	free(joining);
}

static void send_to(struct session_pool *pool, const struct token_owner *owner, int fd)
{
	struct joining *joining = malloc(sizeof(*joining));

	if (!joining) {
		close(fd);
		return;
	}
	*joining = (struct joining){ .handle = owner->handle, .fd = fd };
	if (!mailbox_send(pool->router->mailboxes[owner->worker], &joining->post, on_joining)) {
		close(fd);
		free(joining);
	}
}

/* HND-32. */
static void refused(struct session *session, const char *why)
{
	struct router *router = session->pool->router;
	char client[ADDR_TEXT_SIZE];

	atomic_fetch_add(&router->handoff.tokens_refused, 1);
	strangers_count(router->strangers, &session->client, clock_real_ms());
	log_event_limited(LOGL_WARN, "handoff_token", addr_format_ip(&session->client, client),
		"listener", session->settings->name, "client", client, "error", why, NULL);
	session_close(session, REASON_PROTOCOL_ERROR);
}

/* The socket without its watch; the session has none any more. */
static int take_socket(struct session *session)
{
	struct leg *leg = &session->login->leg;
	int fd = leg->stream.fd;

	loop_watch_del(&leg->watch);
	leg->stream.fd = -1;
	return fd;
}

static void is_data_connection(struct session *session, const unsigned char *token)
{
	struct router *router = session->pool->router;
	struct token_owner owner;
	int fd;

	if (!tokens_take(router->tokens, token, clock_mono_ms(), &owner)) {
		refused(session, "no such token");
		return;
	}
	fd = take_socket(session);
	if (owner.worker == session->pool->engine.worker)
		agent_join(session->pool, owner.handle, fd);
	else
		send_to(session->pool, &owner, fd);
	session_close(session, REASON_JOINED);
}

/* What is there of the first bytes, none more. */
static ssize_t read_first(struct leg *leg)
{
	size_t spent = 0;

	return leg_read(leg, &leg->in, HANDOFF_FIRST_BYTES - leg->in.len, &spent);
}

void agent_knock_enter(struct session *session)
{
	session_knock(session);
	session_update_watch(session);
}

/* It is a channel, and takes a place. An agent that stops takes none any more. */
static void is_channel(struct session *session)
{
	struct router *router = session->pool->router;

	if (session->pool->shutting_down) {
		session_close(session, REASON_SHUTDOWN);
	} else if (!session_count_in(session->listener, router, session->settings)) {
		session_close(session, REASON_INTERNAL);
	} else {
		session->uncounted = false;
		session_knock_over(session);
		session_set_state(session, S_TLS);
	}
}

void agent_knock_progress(struct session *session)
{
	struct leg *leg = &session->login->leg;
	char first;
	ssize_t n;

	if (!leg->in.len && recv(leg->stream.fd, &first, 1, MSG_PEEK | MSG_DONTWAIT) == 1 &&
		first == TLS_HANDSHAKE) {
		is_channel(session);
		return;
	}
	n = read_first(leg);
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		session_close(session, session_client_error(n));
		return;
	}
	if (memcmp(buf_view(&leg->in).data, HANDOFF_MAGIC,
		    MIN((size_t)leg->in.len, (size_t)HANDOFF_MAGIC_BYTES)) != 0)
		refused(session, "neither TLS nor a token");
	else if (leg->in.len == HANDOFF_FIRST_BYTES)
		is_data_connection(session,
			(const unsigned char *)buf_view(&leg->in).data + HANDOFF_MAGIC_BYTES);
}

void agent_knock_deadline(struct session *session)
{
	refused(session, "nothing came in 5 s");
}

// SPDX-License-Identifier: Apache-2.0
/*
 * channel: a router's worker, known by its certificate. The session stands for the connection; the
 * logins on it are sessions of their own.
 */
#include "agent/agent.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

/* Outlives its session for a moment. */
struct agent_channel {
	struct session *session;
	struct channel channel;
	bool draining;
};

static struct agent_channel *of(struct channel *channel)
{
	return container_of(channel, struct agent_channel, channel);
}

static void on_open(struct channel *channel, uint32_t id, const struct handoff_open *open)
{
	struct agent_channel *this = of(channel);

	if (this->draining)
		channel_refuse(channel, id, HANDOFF_REFUSED_DRAINING);
	else
		agent_login(this->session, channel, id, open);
}

static void on_lost(struct channel *channel, const char *why)
{
	struct session *session = of(channel)->session;
	char client[ADDR_TEXT_SIZE];

	log_event_limited(LOGL_INFO, "channel_ended", session->settings->name, "listener",
		session->settings->name, "router", addr_format(&session->client, client), "why",
		why, NULL);
	session_close(session, REASON_CLIENT_EOF);
}

static void on_empty(struct channel *channel)
{
	struct agent_channel *this = of(channel);

	if (this->draining)
		session_close(this->session, REASON_SHUTDOWN);
}

static const struct channel_ops ops = {
	.open = on_open,
	.lost = on_lost,
	.empty = on_empty,
};

static void free_channel(struct channel *channel)
{
	free(of(channel));
}

void agent_channel_enter(struct session *session)
{
	struct login *login = session->login;
	struct agent_channel *this;

	if (!tls_stream_agreed(&login->leg.stream, HANDOFF_ALPN)) {
		session_close(session, REASON_TLS_CLIENT);
		return;
	}
	this = calloc(1, sizeof(*this));
	if (!this) {
		session_close(session, REASON_INTERNAL);
		return;
	}
	this->session = session;
	this->channel.ops = &ops;
	this->channel.loop = session->pool->loop;
	this->channel.is_agent = true;
	this->channel.open_streams = &session->pool->router->handoff.streams;
	this->channel.refusals = session->pool->router->handoff.refusals;
	login->channel = this;
	tls_stream_wipe_read(&login->leg.stream, true);
	atomic_fetch_add(&session->pool->router->handoff.channels, 1);
	channel_start(&this->channel, &login->leg);
	if (session->pool->shutting_down)
		agent_channel_end_after(session, REASON_SHUTDOWN);
}

void agent_channel_end_after(struct session *session, enum session_reason reason)
{
	struct agent_channel *this = session->login->channel;

	(void)reason;
	this->draining = true;
	channel_drain(&this->channel); /* and the end, when it is empty already */
}

void agent_channel_followed(struct session *session)
{
	const struct agent_listener *before = snapshot_agent(session->snapshot, session->listener);
	const struct agent_listener *now =
		snapshot_agent(session->pool->snapshot, session->listener);

	if (session->state != S_CHANNEL || session->login->channel->draining)
		return;
	if (!now || !tls_auth_same(before->auth, now->auth))
		agent_channel_end_after(session, REASON_SHUTDOWN);
}

/* Nobody is owed an answer. */
void agent_channel_refuse(struct session *session, enum session_reason reason)
{
	session_close(session, reason);
}

void agent_channel_release(struct session *session)
{
	struct agent_channel *this = session->login->channel;

	if (!this)
		return;
	session->login->channel = NULL;
	atomic_fetch_sub(&session->pool->router->handoff.channels, 1);
	channel_close(&this->channel);
	channel_let_go(&this->channel, free_channel);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * guarded: what of a session counts as what for the guard. Only what the client does: a node that
 * is away, a kick, a reload, the network or the end of the router are nobody's failures, nor is a
 * refusal that the node calls temporary. A peer in proxy_trusted that tells of no client is itself
 * the client of its session; its connections that come to nothing are checks of its own.
 */
#include "session/guarded.h"
#include "base/log.h"

/* ---- who is let in ---- */

bool guarded_refuses(
	struct guard *guard, const struct addr *client, const struct config_listener *settings)
{
	enum guard_verdict verdict = guard_check(guard, client);
	char text[ADDR_TEXT_SIZE];

	if (verdict == GUARD_PASS)
		return false;
	log_event_limited(LOGL_INFO, "client_refused", settings->name, "listener", settings->name,
		"client", addr_format(client, text), "reason", guard_verdict_name(verdict), NULL);
	return true;
}

bool session_guard_refuses(struct session *session)
{
	struct guard *guard = session_guard(session);

	return guard && guarded_refuses(guard, &session->client, session->settings);
}

/* ---- logins ---- */

/* Everybody behind it would wait, and checks of its own are no client's. */
static bool is_balancer(const struct session *session)
{
	return !session->told &&
		cidr_match_any(session->settings->proxy_trusted,
			session->settings->proxy_trusted_count, &session->client);
}

static void note(
	struct guard *guard, const struct session *session, enum guard_event event, uint64_t secret)
{
	guard_note(guard, &session->client, session->told, event, secret);
}

void session_guard_secret(struct session *session, struct view account, struct view password)
{
	struct guard *guard = session_guard(session);

	session->login->secret = guard ? guard_secret(guard, account, password) : 0;
}

void session_guard_failed(struct session *session, enum guard_event event)
{
	struct guard *guard = session_guard(session);
	struct login *login = session->login;

	login->penalty_ms = 0;
	if (!guard)
		return;
	/* Asked before it counts: the first failure waits for nothing. Nor does a stop (SES-86). */
	if (!is_balancer(session) && !session->pool->shutting_down)
		login->penalty_ms = guard_penalty_ms(guard, &session->client);
	note(guard, session, event, login->secret);
	login->secret = 0;
}

void session_guard_passed(struct session *session)
{
	struct guard *guard = session_guard(session);

	if (!guard)
		return;
	note(guard, session, GUARD_GOOD_LOGIN, 0);
	session->login->secret = 0;
	if (session->guard)
		return;
	session->guard = guard;
	guard_session(guard, &session->client, 1);
}

/* ---- the end ---- */

/* It was the client, or nothing came of it in its time. */
static bool client_left(const struct session *session)
{
	switch (session->reason) {
	case REASON_CLIENT_EOF:
	case REASON_CLIENT_ERROR:
	case REASON_TLS_CLIENT:
	case REASON_PREAUTH_TIMEOUT:
		return true;
	case REASON_PROTOCOL_ERROR: /* what came was no request */
		return session->kind->by_request;
	default:
		return false;
	}
}

/* A command, a request, or, where the router does not look, a byte. */
static bool has_spoken(const struct session *session, enum session_state at)
{
	if (session->kind->by_request)
		return session->requests;
	if (session->kind->front)
		return at == S_ESTABLISHED || session->login->spoke;
	return at != S_ESTABLISHED || session->bytes[RELAY_UP];
}

/* Bytes that no client sends by mistake. */
static bool has_violated(const struct session *session)
{
	return session->kind->front &&
		(session->reason == REASON_PROTOCOL_ERROR ||
			session->reason == REASON_STARTTLS_INJECTION);
}

static void note_end(struct guard *guard, const struct session *session, enum session_state at)
{
	if (is_balancer(session))
		return;
	if (has_violated(session))
		note(guard, session, GUARD_MALFORMED, 0);
	else if (!client_left(session))
		return;
	else if (at == S_TLS)
		note(guard, session, GUARD_HANDSHAKE_FAILED, 0);
	else if (!has_spoken(session, at))
		note(guard, session, GUARD_LEFT_SILENT, 0);
}

void session_guard_ended(struct session *session, enum session_state at)
{
	struct guard *guard = session_guard(session);

	if (session->guard) /* also if it was taken away meanwhile: it may come back */
		guard_session(session->guard, &session->client, -1);
	else if (guard)
		note_end(guard, session, at);
	session->guard = NULL;
}

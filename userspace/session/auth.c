// SPDX-License-Identifier: Apache-2.0
/* The one place where a login's outcome is counted, and a failure announced. */
#include "session/guarded.h"
#include "session/login_failed.h"

/* The account of a login that could not be read is not known: what is there is an earlier one's. */
static void log_failed(const struct session *session, enum session_auth result, bool temporary)
{
	char account[SESSION_ACCOUNT_TEXT_SIZE];
	struct login_failed failed = {
		.client = &session->client,
		.protocol = session->settings->protocol,
		.reason = temporary              ? "temporary"
			: result == AUTH_REFUSED ? "refused"
						 : "malformed",
		.attempts = session->attempts + 1u,
	};

	if (result == AUTH_REFUSED)
		failed.account = session_shown_account(session, account);
	login_failed_log(&failed);
}

void session_count_auth(struct session *session, enum session_auth result)
{
	atomic_fetch_add(
		&session->pool->router->metrics.auth[session->settings->protocol][result], 1);
}

void session_auth_failed(struct session *session, enum session_auth result, bool temporary)
{
	struct router *router = session->pool->router;
	struct auth_failure failure = { .client = &session->client,
		.protocol = session->settings->protocol,
		.result = result };

	atomic_fetch_add(&router->auth_failed, 1);
	if (result == AUTH_REFUSED)
		atomic_fetch_add(&session->node->auth_failed, 1);
	session_count_auth(session, result);
	auth_events_announce(&router->auth_events, &failure);
	log_failed(session, result, temporary);
	if (!session_guard(session))
		return;
	if (temporary) /* the client may be right */
		session->login->secret = 0;
	else
		session_guard_failed(
			session, result == AUTH_REFUSED ? GUARD_REFUSED : GUARD_MALFORMED);
}

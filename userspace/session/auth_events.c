// SPDX-License-Identifier: Apache-2.0
/* The subscribers of failed logins, and the one place where a session's failure is counted. */
#include "session/auth_events.h"
#include "session/login_failed.h"
#include "session/session.h"

void auth_events_subscribe(struct auth_events *events, struct auth_subscriber *subscriber)
{
	pthread_rwlock_wrlock(&events->lock);
	if (!events->subscribers.next)
		list_init(&events->subscribers);
	list_add_tail(&events->subscribers, &subscriber->link);
	atomic_fetch_add(&events->count, 1);
	pthread_rwlock_unlock(&events->lock);
}

void auth_events_unsubscribe(struct auth_events *events, struct auth_subscriber *subscriber)
{
	pthread_rwlock_wrlock(&events->lock);
	list_del(&subscriber->link);
	atomic_fetch_sub(&events->count, 1);
	pthread_rwlock_unlock(&events->lock);
}

void auth_events_announce(struct auth_events *events, const struct auth_failure *failure)
{
	if (!atomic_load(&events->count))
		return;
	pthread_rwlock_rdlock(&events->lock);
	if (atomic_load(&events->count)) {
		list_for_each (node, &events->subscribers) {
			const struct auth_subscriber *subscriber =
				list_entry(node, struct auth_subscriber, link);

			subscriber->fn(subscriber->arg, failure);
		}
	}
	pthread_rwlock_unlock(&events->lock);
}

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
		&session->pool->server->metrics.auth[session->settings->protocol][result], 1);
}

void session_auth_failed(struct session *session, enum session_auth result, bool temporary)
{
	struct server *server = session->pool->server;
	struct auth_failure failure = { .client = &session->client,
		.protocol = session->settings->protocol,
		.result = result };

	atomic_fetch_add(&server->auth_failed, 1);
	if (result == AUTH_REFUSED)
		atomic_fetch_add(&session->node->auth_failed, 1);
	session_count_auth(session, result);
	auth_events_announce(&server->auth_events, &failure);
	log_failed(session, result, temporary);
}

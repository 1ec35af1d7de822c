// SPDX-License-Identifier: Apache-2.0
/*
 * LISTEN on one more connection (MAP-100). Behind a pooler by transactions it is said on a server
 * connection that belongs to somebody else by the time a message comes. The proof (push.c) is sent
 * by a pool connection: sent by the listener itself it would come back in any case.
 */
#include "store/pg.h"

#include <libpq-fe.h>
#include <sys/epoll.h>

static void on_listener(struct loop_watch *watch, uint32_t events);

static struct store_pg *of_push(struct store_push *push)
{
	return container_of(push, struct store_pg, push);
}

/* ---- what comes in ---- */

static void take_notification(struct store_pg *store, struct view payload)
{
	store_push_heard(&store->push);
	if (!store_push_take_mark(&store->push, payload) &&
		!store_push_take_ban(&store->push, payload))
		store->push.fn(
			store->push.arg, payload.len ? STORE_PUSH_KEY : STORE_PUSH_ALL, payload);
}

static void take_notifications(struct store_pg *store)
{
	PGnotify *notify;

	while (store->listener.pg && (notify = PQnotifies(store->listener.pg))) {
		take_notification(store, view_str(notify->extra));
		PQfreemem(notify);
	}
}

/* Answers to LISTEN and to the sign of life. Returns false when one failed. */
static bool take_results(struct store_pg *store)
{
	while (store->listener.pg && !PQisBusy(store->listener.pg)) {
		PGresult *result = PQgetResult(store->listener.pg);
		ExecStatusType status = PQresultStatus(result);

		if (!result)
			return true;
		PQclear(result);
		if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
			return false;
		if (store->listening == PG_LISTEN_ASKED) {
			store->listening = PG_LISTEN_CONFIRMED;
			store_push_prove(&store->push);
		} else {
			store_push_heard(&store->push);
		}
	}
	return true;
}

/* ---- the connection ---- */

static bool connect_listener(struct store_pg *store)
{
	struct pg_link *link = &store->listener;

	switch (PQconnectPoll(link->pg)) {
	case PGRES_POLLING_OK:
		store->listening = PG_LISTEN_ASKED;
		return pg_watch(store, link, EPOLLIN, on_listener) == 0 &&
			PQsendQuery(link->pg, "LISTEN " STORE_PG_CHANNEL);
	case PGRES_POLLING_READING:
		return pg_watch(store, link, EPOLLIN, on_listener) == 0;
	case PGRES_POLLING_WRITING:
		return pg_watch(store, link, EPOLLOUT, on_listener) == 0;
	default:
		return false;
	}
}

static void on_listener(struct loop_watch *watch, uint32_t events)
{
	struct store_pg *store =
		container_of(container_of(watch, struct pg_link, watch), struct store_pg, listener);
	PGconn *pg = store->listener.pg;

	(void)events;
	if (PQstatus(pg) != CONNECTION_OK || store->listening == PG_LISTEN_NOT) {
		if (!connect_listener(store))
			store_push_lost(&store->push);
		return;
	}
	if (!PQconsumeInput(pg) || !take_results(store)) {
		store_push_lost(&store->push);
		return;
	}
	take_notifications(store);
}

static void push_open(struct store_push *push)
{
	struct store_pg *store = of_push(push);

	store->listening = PG_LISTEN_NOT;
	store->listener.pg = pg_connect(store);
	if (!store->listener.pg || PQstatus(store->listener.pg) == CONNECTION_BAD ||
		pg_watch(store, &store->listener, EPOLLOUT, on_listener) < 0)
		store_push_lost(push);
}

static void push_ping(struct store_push *push)
{
	if (!PQsendQuery(of_push(push)->listener.pg, "SELECT 1"))
		store_push_lost(push);
}

static void push_close(struct store_push *push)
{
	struct store_pg *store = of_push(push);

	store->listening = PG_LISTEN_NOT;
	pg_close_link(&store->listener);
}

static const struct store_push_driver push_driver = {
	.open = push_open,
	.ping = push_ping,
	.close = push_close,
};

void pg_listen_init(struct store_pg *store, const struct store_pg_params *params)
{
	store_push_init(&store->push, &push_driver, &store->thread.loop, &store->pool, &params->net,
		"PostgreSQL accepts LISTEN, but a notification of our own does not "
		"come back "
		"(a pooler in transaction mode?): no push, entries live as long as "
		"positive_ttl and negative_ttl say");
}

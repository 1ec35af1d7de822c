// SPDX-License-Identifier: Apache-2.0
/*
 * LISTEN on one more connection (MAP-100). That the server has accepted it proves nothing: behind a
 * pooler by transactions it was said on a server connection that belongs to somebody else by now, and
 * no message ever comes. So a notification of our own is sent by a pool connection, and the channel
 * counts as up once that has come back. Sent by the listener itself it would come back in any case.
 */
#include "base/clock.h"
#include "base/fd.h"
#include "store/pg.h"

#include <libpq-fe.h>
#include <stdio.h>
#include <sys/epoll.h>

/* Payloads of such proofs, ours or another router's: no account has a name in .invalid (RFC 2606). */
#define MARK_PREFIX "push-check-"
#define MARK_SUFFIX "@homing.invalid"

static void on_listener(struct loop_watch *watch, uint32_t events);

static struct store_pg *of_push(struct store_push *push)
{
	return container_of(push, struct store_pg, push);
}

/* ---- the proof ---- */

static void on_announced(struct store_request *request)
{
	struct store_pg *store = container_of(request, struct store_pg, announce);

	store->announcing = false;
	if (request->result != STORE_DONE)
		store_push_lost(&store->push);
}

static void announce(struct store_pg *store)
{
	uint64_t number;

	if (store->announcing || fd_random(&number, sizeof(number)) < 0) {
		store_push_lost(&store->push); /* the one before is still out */
		return;
	}
	snprintf(store->mark, sizeof(store->mark), MARK_PREFIX "%016llx" MARK_SUFFIX,
		(unsigned long long)number);
	store->announce = (struct store_request){ .op = STORE_ANNOUNCE,
		.identifier = view_str(store->mark),
		.deadline_ms = clock_mono_ms() + store->push.open_ms,
		.done = on_announced };
	store->announcing = true;
	store->listening = PG_LISTEN_ANNOUNCED;
	store_pool_add(&store->pool, &store->announce);
}

static bool is_mark(struct view payload)
{
	size_t tail = strlen(MARK_SUFFIX);

	return view_starts(payload, VIEW_LIT(MARK_PREFIX)) && payload.len > tail &&
		view_eq(view_skip(payload, payload.len - tail), VIEW_LIT(MARK_SUFFIX));
}

/* ---- what comes in ---- */

static void take_notification(struct store_pg *store, struct view payload)
{
	store_push_heard(&store->push);
	if (!is_mark(payload)) {
		store->push.fn(
			store->push.arg, payload.len ? STORE_PUSH_KEY : STORE_PUSH_ALL, payload);
	} else if (store->listening == PG_LISTEN_ANNOUNCED &&
		view_eq(payload, view_str(store->mark))) {
		store->listening = PG_LISTEN_PROVED;
		store_push_up(&store->push);
	}
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
		if (store->listening == PG_LISTEN_ASKED)
			announce(store);
		else
			store_push_heard(&store->push);
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

	/* Everything was accepted and nothing came: worth a word, once. */
	if (store->listening == PG_LISTEN_ANNOUNCED && !store->announcing && store->warn &&
		!store->warned && !store->pool.stopping && store->announce.result == STORE_DONE) {
		store->warned = true;
		store->warn(store->warn_arg,
			"PostgreSQL accepts LISTEN, but a notification of our own does not come "
			"back (a pooler in transaction mode?): no push, entries live as long as "
			"positive_ttl and negative_ttl say");
	}
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
	store->warn = params->warn;
	store->warn_arg = params->push_arg;
	store->push = (struct store_push){ .driver = &push_driver,
		.loop = &store->thread.loop,
		.fn = params->push,
		.arg = params->push_arg,
		.open_ms = params->timeout_ms };
}

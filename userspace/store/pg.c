// SPDX-License-Identifier: Apache-2.0
/*
 * PostgreSQL by libpq, on a thread of its own because PQconnectStart() resolves names in the
 * calling thread. Requests are pipelined, each with its own sync, so each is a transaction and an
 * error stays its own (MAP-54).
 *
 * A connection need not be ours alone: a pooler (pgbouncer) may give each transaction another
 * server connection. So nothing that a request needs is left on one: the lookup's statement is
 * prepared, for it saves the planning, but a server that does not know it, or knows it already, is
 * a pooler's, and from then on the text goes with each lookup. Its name holds a digest of the text:
 * what another program prepared is never taken for it.
 */
#include "store/pg.h"
#include "base/clock.h"
#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

struct pool_conn {
	struct store_conn conn;
	struct pg_link link;
	bool preparing; /* the statement is out */
	bool prepared;
	bool again; /* the head is asked once more, with its text */
};

/* ---- connecting ---- */

/* The first line; libpq ends its texts with a newline. */
static const char *connect_error(PGconn *pg, char text[200])
{
	snprintf(text, 200, "%.199s", pg ? PQerrorMessage(pg) : "out of memory");
	text[strcspn(text, "\r\n")] = '\0';
	return text[0] ? text : "connection lost";
}

/* ---- results ---- */

static const char *field(const PGresult *result, int code, const char *otherwise)
{
	const char *text = result ? PQresultErrorField(result, code) : NULL;

	return text && *text ? text : otherwise;
}

/* The server's text; an identifier that it quotes is nobody's business. */
static void set_error(struct store_request *request, const PGresult *result)
{
	const char *text = field(result, PG_DIAG_MESSAGE_PRIMARY, "no answer");
	const char *state = field(result, PG_DIAG_SQLSTATE, "unknown");
	char quoted[STORE_VALUE_BYTES + 80];
	const char *at;

	request->result = STORE_ERROR;
	/* Class 42: syntax, names, rights. 3F: no such schema. */
	request->refused = strncmp(state, "42", 2) == 0 || strncmp(state, "3F", 2) == 0;
	snprintf(quoted, sizeof(quoted), "\"%.*s\"", (int)request->identifier.len,
		request->identifier.data);
	at = request->identifier.len ? strstr(text, quoted) : NULL;
	if (at)
		snprintf(request->error, sizeof(request->error),
			"postgresql: %.*s$1%.100s (SQLSTATE %.5s)",
			(int)MIN(at - text, (ptrdiff_t)100), text, at + strlen(quoted), state);
	else
		snprintf(request->error, sizeof(request->error),
			"postgresql: %.200s (SQLSTATE %.7s)", text, state);
}

static void take_list(struct store_request *request, const PGresult *result)
{
	struct store_list *list = request->list;
	struct view last = view_make("", 0);
	int r = 0, rows = PQnfields(result) ? PQntuples(result) : 0;

	rows = MIN(rows, (int)list->limit);
	for (int i = 0; r == 0 && i < rows; i++) {
		last = view_make(PQgetvalue(result, i, 0), (size_t)PQgetlength(result, i, 0));
		if (!PQgetisnull(result, i, 0))
			r = store_list_add(list, last);
	}
	if (r == 0 && rows == (int)list->limit)
		r = store_list_set_next(list, last);
	request->result = r == 0 ? STORE_DONE : STORE_ERROR;
}

/* (text, milliseconds left) */
static void take_ban(struct store_request *request, const PGresult *result)
{
	request->result = STORE_NONE;
	if (PQntuples(result) < 1 || PQnfields(result) < 2 || PQgetisnull(result, 0, 0))
		return;
	store_take_value(
		request, view_make(PQgetvalue(result, 0, 0), (size_t)PQgetlength(result, 0, 0)));
	request->ttl_ms = strtoull(PQgetvalue(result, 0, 1), NULL, 10);
}

static void take_result(struct store_request *request, const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	if (status == PGRES_PIPELINE_ABORTED) /* what came before it has failed and said why */
		return;
	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
		set_error(request, result);
		return;
	}
	switch (request->op) {
	case STORE_LIST:
	case STORE_BAN_LIST:
		take_list(request, result);
		break;
	case STORE_LOOKUP:
		request->result = STORE_NONE;
		if (PQntuples(result) > 0 && PQnfields(result) > 0 && !PQgetisnull(result, 0, 0))
			store_take_value(request,
				view_make(PQgetvalue(result, 0, 0),
					(size_t)PQgetlength(result, 0, 0)));
		break;
	case STORE_BAN_GET:
		take_ban(request, result);
		break;
	case STORE_DELETE:
		request->result = status == PGRES_TUPLES_OK
			? PQntuples(result) > 0 ? STORE_DONE : STORE_NONE
			: atoi(PQcmdTuples((PGresult *)result)) > 0 ? STORE_DONE
								    : STORE_NONE;
		break;
	default:
		request->result = STORE_DONE;
	}
}

static int send_sync(PGconn *pg)
{
	return PQpipelineSync(pg) ? 0 : -EIO;
}

static bool writable(const struct store_pg *store)
{
	return store->sql[PG_UPSERT] && store->sql[PG_DELETE];
}

/* ---- pool connections ---- */

static struct store_pg *store_of(const struct pool_conn *conn)
{
	return conn->conn.pool->owner;
}

static void on_conn(struct loop_watch *watch, uint32_t events);

/* Sends what libpq has buffered. */
static int flush(struct pool_conn *conn)
{
	int r = PQflush(conn->link.pg);

	if (r < 0)
		return -EIO;
	return pg_watch(store_of(conn), &conn->link, EPOLLIN | (r > 0 ? EPOLLOUT : 0), on_conn);
}

static void lost(struct pool_conn *conn)
{
	char text[200];

	store_conn_lost(&conn->conn, connect_error(conn->link.pg, text));
}

/* PQsendPrepare() and its sync, or nothing to wait for. */
static int prepare(struct pool_conn *conn)
{
	struct store_pg *store = store_of(conn);
	PGconn *pg = conn->link.pg;

	if (PQsetnonblocking(pg, 1) < 0 || !PQenterPipelineMode(pg))
		return -EIO;
	if (store->pooled) {
		store_conn_ready(&conn->conn);
		return 0;
	}
	conn->preparing = true;
	if (!PQsendPrepare(pg, store->name, store->sql[PG_LOOKUP], 0, NULL) || send_sync(pg) < 0)
		return -EIO;
	return flush(conn);
}

static void connecting(struct pool_conn *conn)
{
	int r;

	switch (PQconnectPoll(conn->link.pg)) {
	case PGRES_POLLING_OK:
		r = pg_watch(store_of(conn), &conn->link, EPOLLIN, on_conn);
		if (r == 0)
			r = prepare(conn);
		break;
	case PGRES_POLLING_READING:
		r = pg_watch(store_of(conn), &conn->link, EPOLLIN, on_conn);
		break;
	case PGRES_POLLING_WRITING:
		r = pg_watch(store_of(conn), &conn->link, EPOLLOUT, on_conn);
		break;
	default:
		r = -EIO;
	}
	if (r < 0)
		lost(conn);
}

/* What says that a prepared statement is not what we left on the connection: it is not there,
 * somebody was faster, or the table has changed under it. */
static bool lost_statement(struct pool_conn *conn, const PGresult *result)
{
	const char *state = field(result, PG_DIAG_SQLSTATE, "");
	bool pooled = strcmp(state, "26000") == 0 || strcmp(state, "42P05") == 0;

	if (!pooled && strcmp(state, "0A000") != 0)
		return false;
	conn->prepared = false;
	store_of(conn)->pooled |= pooled;
	return true;
}

/* The statement's preparation, or the head's answer. */
static void take_one(struct pool_conn *conn, const PGresult *result)
{
	struct store_request *head = store_conn_head(&conn->conn);

	if (conn->preparing) {
		/* One that is wrong is so for each lookup, which will say why. */
		conn->prepared = PQresultStatus(result) == PGRES_COMMAND_OK;
		if (!conn->prepared)
			(void)lost_statement(conn, result);
	} else if (head && head->named && PQresultStatus(result) == PGRES_FATAL_ERROR &&
		lost_statement(conn, result)) {
		conn->again = true;
	} else if (head) {
		take_result(head, result);
	}
}

/* Returns false when the connection is gone. */
static bool take_sync(struct pool_conn *conn)
{
	if (conn->preparing) {
		conn->preparing = false;
		store_conn_ready(&conn->conn);
	} else if (conn->again) {
		conn->again = false;
		store_conn_again(&conn->conn);
	} else {
		store_conn_answered(&conn->conn);
	}
	return conn->conn.state == STORE_CONN_READY;
}

static void take_results(struct pool_conn *conn)
{
	PGconn *pg = conn->link.pg;
	bool null_seen = false;

	while ((conn->preparing || conn->conn.count) && !PQisBusy(pg)) {
		PGresult *result = PQgetResult(pg);
		bool sync;

		if (!result) { /* the end of one query's results; twice: there is nothing */
			if (null_seen)
				return;
			null_seen = true;
			continue;
		}
		null_seen = false;
		sync = PQresultStatus(result) == PGRES_PIPELINE_SYNC;
		if (!sync)
			take_one(conn, result);
		PQclear(result);
		if (sync && !take_sync(conn))
			return;
	}
}

/* A pooler may give us a server connection on which somebody listens: libpq would keep what
 * comes. */
static void drop_notifications(PGconn *pg)
{
	PGnotify *notify;

	while ((notify = PQnotifies(pg)))
		PQfreemem(notify);
}

static bool is_connecting(const struct pool_conn *conn)
{
	return conn->conn.state == STORE_CONN_OPENING && !conn->preparing;
}

static void on_conn(struct loop_watch *watch, uint32_t events)
{
	struct pool_conn *conn =
		container_of(container_of(watch, struct pg_link, watch), struct pool_conn, link);

	(void)events;
	if (PQstatus(conn->link.pg) != CONNECTION_OK || is_connecting(conn)) {
		connecting(conn);
		return;
	}
	if (!PQconsumeInput(conn->link.pg)) {
		lost(conn);
		return;
	}
	take_results(conn);
	/* Lost meanwhile, and maybe opened anew: that is not the link we looked at. */
	if (conn->conn.state == STORE_CONN_CLOSED || is_connecting(conn))
		return;
	drop_notifications(conn->link.pg);
	if (PQstatus(conn->link.pg) != CONNECTION_OK || flush(conn) < 0)
		lost(conn);
}

static void pg_open(struct store_conn *base)
{
	struct pool_conn *conn = (struct pool_conn *)base;

	conn->preparing = conn->prepared = conn->again = false;
	conn->link.pg = pg_connect(store_of(conn));
	if (!conn->link.pg || PQstatus(conn->link.pg) == CONNECTION_BAD ||
		pg_watch(store_of(conn), &conn->link, EPOLLOUT, on_conn) < 0)
		lost(conn);
}

static int send_list(struct pool_conn *conn, const struct store_request *request)
{
	char node[STORE_VALUE_BYTES], limit[16];
	const char *values[] = { node, request->list->after, limit };

	snprintf(node, sizeof(node), "%.*s", (int)request->destination.len,
		request->destination.data);
	snprintf(limit, sizeof(limit), "%u", request->list->limit);
	store_list_clear(request->list);
	return PQsendQueryParams(
		conn->link.pg, store_of(conn)->list_sql, 3, NULL, values, NULL, NULL, 0);
}

/* A name that nobody has is looked up and whatever that changed is taken back (MAP-54): the
 * ROLLBACK is in the same implicit transaction, as there is no sync between them. No BEGIN:
 * after an error it would stay open, and a pooler by statements refuses it. */
static int send_ping(struct pool_conn *conn)
{
	const char *values[] = { STORE_NOBODY };
	PGconn *pg = conn->link.pg;

	return PQsendQueryParams(
		       pg, store_of(conn)->sql[PG_LOOKUP], 1, NULL, values, NULL, NULL, 0) &&
		PQsendQueryParams(pg, "ROLLBACK", 0, NULL, NULL, NULL, NULL, 0);
}

static int send_statement(struct pool_conn *conn, struct store_request *request)
{
	static const char announce[] = "SELECT pg_notify('" STORE_PG_CHANNEL "', $1)";
	const struct store_pg *store = store_of(conn);
	const char *const statements[] = { [STORE_LOOKUP] = store->sql[PG_LOOKUP],
		[STORE_UPSERT] = store->sql[PG_UPSERT],
		[STORE_DELETE] = store->sql[PG_DELETE],
		[STORE_ANNOUNCE] = announce };
	static_assert(ARRAY_SIZE(statements) == STORE_BAN_SET, "one for each but list, ping, bans");
	char identifier[512], destination[STORE_VALUE_BYTES];
	const char *values[] = { identifier, destination };
	int count = request->op == STORE_UPSERT ? 2 : 1;

	snprintf(identifier, sizeof(identifier), "%.*s", (int)request->identifier.len,
		request->identifier.data);
	snprintf(destination, sizeof(destination), "%.*s", (int)request->destination.len,
		request->destination.data ? request->destination.data : "");
	request->named = request->op == STORE_LOOKUP && conn->prepared && !store->pooled;
	return request->named
		? PQsendQueryPrepared(conn->link.pg, store->name, count, values, NULL, NULL, 0)
		: PQsendQueryParams(conn->link.pg, statements[request->op], count, NULL, values,
			  NULL, NULL, 0);
}

/* Rows whose time is over are of no use to anybody: who writes one takes some of them away. Not its
 * own, which one statement must not change twice, and none that somebody else is at. */
static int send_ban(struct pool_conn *conn, struct store_request *request)
{
	static const char set[] =
		"WITH over AS (DELETE FROM homing_bans WHERE source IN (SELECT source FROM "
		"homing_bans WHERE until < now() AND source <> $1 LIMIT 100 FOR UPDATE SKIP "
		"LOCKED)) INSERT INTO homing_bans (source, note, until) VALUES ($1, $2, now() + "
		"$3::bigint * interval '1 millisecond') ON CONFLICT (source) DO UPDATE SET note = "
		"excluded.note, until = excluded.until";
	static const char get[] =
		"SELECT note, (extract(epoch FROM until - now()) * 1000)::bigint FROM homing_bans "
		"WHERE source = $1 AND until > now()";
	static const char list[] =
		"SELECT source FROM homing_bans WHERE until > now() AND source > $1 ORDER BY "
		"source LIMIT $2";
	char source[STORE_BAN_SOURCE_BYTES + 1], text[STORE_VALUE_BYTES], number[24];
	const char *values[] = { source, text, number };
	PGconn *pg = conn->link.pg;

	if (request->op == STORE_BAN_LIST) {
		values[0] = request->list->after;
		values[1] = number;
		snprintf(number, sizeof(number), "%u", request->list->limit);
		store_list_clear(request->list);
		return PQsendQueryParams(pg, list, 2, NULL, values, NULL, NULL, 0);
	}
	snprintf(source, sizeof(source), "%.*s", (int)request->identifier.len,
		request->identifier.data);
	if (request->op == STORE_BAN_GET)
		return PQsendQueryParams(pg, get, 1, NULL, values, NULL, NULL, 0);
	snprintf(text, sizeof(text), "%.*s", (int)request->destination.len,
		request->destination.data);
	snprintf(number, sizeof(number), "%llu", (unsigned long long)request->ttl_ms);
	return PQsendQueryParams(pg, set, 3, NULL, values, NULL, NULL, 0);
}

static int pg_send(struct store_conn *base, struct store_request *request)
{
	struct pool_conn *conn = (struct pool_conn *)base;
	int ok;

	request->named = false;
	if (request->op == STORE_PING)
		ok = send_ping(conn);
	else if (request->op == STORE_LIST)
		ok = send_list(conn, request);
	else if (store_is_ban(request->op))
		ok = send_ban(conn, request);
	else
		ok = send_statement(conn, request);
	set_error(request, NULL); /* until the server has said more */
	return ok && send_sync(conn->link.pg) == 0 ? flush(conn) : -EIO;
}

static void pg_close(struct store_conn *base)
{
	pg_close_link(&((struct pool_conn *)base)->link);
}

static const struct store_driver driver = {
	.name = "postgresql",
	.conn_size = sizeof(struct pool_conn),
	.open = pg_open,
	.send = pg_send,
	.close = pg_close,
};

/* ---- operations ---- */

static void on_submit(struct post *post)
{
	struct store_request *request = container_of(post, struct store_request, post);
	struct store_pg *store = (struct store_pg *)request->store;

	if (request->op == STORE_LIST && !store->list_sql) {
		store_cannot_list(request);
		request->done(request);
		return;
	}
	if ((request->op == STORE_UPSERT || request->op == STORE_DELETE) && !writable(store)) {
		request->result = STORE_READ_ONLY;
		request->done(request);
		return;
	}
	store_pool_add(&store->pool, request);
}

static void pg_submit(struct store *base, struct store_request *request)
{
	struct store_pg *store = (struct store_pg *)base;

	store_thread_submit(&store->thread, base, &store->pool, request, on_submit);
}

static bool pg_writable(const struct store *base)
{
	return writable((const struct store_pg *)base);
}

static bool pg_can_list(const struct store *base)
{
	return ((const struct store_pg *)base)->list_sql;
}

static void finish(void *arg)
{
	struct store_pg *store = arg;

	store_push_stop(&store->push);
	store_pool_fini(&store->pool);
}

static void release(struct store_pg *store)
{
	for (int i = 0; i < PG_STATEMENTS; i++)
		free(store->sql[i]);
	free(store->list_sql);
	free(store->url);
	free(store);
}

static void pg_free(struct store *base)
{
	struct store_pg *store = (struct store_pg *)base;

	store_thread_stop(&store->thread);
	release(store);
}

static const struct store_ops pg_ops = {
	.name = "postgresql",
	.submit = pg_submit,
	.any_thread = true,
	.writable = pg_writable,
	.can_list = pg_can_list,
	.reload = store_no_reload,
	.free = pg_free,
};

int store_pg_new(const struct store_pg_params *params, struct store **ret_store,
	char error[STORE_ERROR_BYTES])
{
	struct store_pg *store = calloc(1, sizeof(*store));
	bool ok = true;
	int r;

	snprintf(error, STORE_ERROR_BYTES, "postgresql: cannot start");
	if (!store)
		return -ENOMEM;
	store->store.ops = &pg_ops;
	store->url = store_copy_text(params->url, &ok);
	store->sql[PG_LOOKUP] = store_copy_text(params->query, &ok);
	store->sql[PG_UPSERT] = store_copy_text(params->upsert_query, &ok);
	store->sql[PG_DELETE] = store_copy_text(params->delete_query, &ok);
	store->list_sql = store_copy_text(params->list_query, &ok);
	snprintf(store->name, sizeof(store->name), "homing_%016llx",
		(unsigned long long)hash_view(view_str(params->query)));
	r = ok ? store_thread_init(&store->thread) : -ENOMEM;
	if (r < 0) {
		release(store);
		return r;
	}
	pg_listen_init(store, params);
	r = store_pool_init(&store->pool, &driver, store, &store->thread.loop,
		params->net.pool_size, params->net.timeout_ms);
	if (r == 0) {
		store_push_start(&store->push);
		r = store_thread_run(&store->thread, "postgresql", finish, store);
	}
	if (r < 0) {
		store_pool_fini(&store->pool);
		loop_fini(&store->thread.loop);
		release(store);
		return r;
	}
	*ret_store = &store->store;
	return 0;
}

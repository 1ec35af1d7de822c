// SPDX-License-Identifier: Apache-2.0
/*
 * PostgreSQL by libpq, on a thread of its own because PQconnectStart() resolves names in the calling
 * thread. Requests are pipelined, each with its own sync, so each is a transaction and an error
 * stays its own (MAP-54). One more connection listens for changes.
 */
#include "base/clock.h"
#include "store/pool.h"

#include <errno.h>
#include <libpq-fe.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

enum statement { STATEMENT_LOOKUP, STATEMENT_UPSERT, STATEMENT_DELETE, STATEMENTS };
static const char *const names[STATEMENTS] = { "homing_lookup", "homing_upsert", "homing_delete" };

/* What pool connections and the listener have in common. */
struct link {
	PGconn *pg;
	struct loop_watch watch;
	int fd; /* of the watch: libpq may change its socket while connecting */
};

struct pg_conn {
	struct store_conn conn;
	struct link link;
	unsigned preparing;     /* syncs of statements that are out */
	char prepare_error[64]; /* SQLSTATE of the lookup's statement; "" if it is fine */
};

struct store_pg {
	struct store store;
	char *url;             /* NULL: environment */
	char *sql[STATEMENTS]; /* NULL: none */
	char *list_sql;        /* not prepared: rare, and one that is wrong spoils nothing else */
	struct store_thread thread;
	struct store_pool pool;
	struct store_push push;
	struct link listener;
	bool listening; /* LISTEN has been confirmed */
};

/* ---- connecting ---- */

static int watch_link(struct store_pg *store, struct link *link, uint32_t events, loop_watch_fn *fn)
{
	int fd = PQsocket(link->pg);

	if (link->watch.loop && link->fd == fd)
		return loop_watch_set(&link->watch, events);
	loop_watch_del(&link->watch);
	link->fd = fd;
	return fd < 0 ? -EBADF : loop_watch_add(&store->thread.loop, &link->watch, fd, events, fn);
}

static void close_link(struct link *link)
{
	loop_watch_del(&link->watch);
	PQfinish(link->pg);
	link->pg = NULL;
}

static void drop_notice(void *arg, const PGresult *result)
{
	(void)arg;
	(void)result;
}

static PGconn *start(const struct store_pg *store)
{
	/* The url wins over what comes before it, the environment over the fallback (MAP-51). */
	const char *keys[] = { "fallback_application_name", "client_encoding", "dbname", NULL };
	const char *values[] = { "homingd", "UTF8", store->url ? store->url : "", NULL };
	PGconn *pg = PQconnectStartParams(keys, values, 1);

	if (pg)
		PQsetNoticeReceiver(pg, drop_notice, NULL);
	return pg;
}

/* The first line; libpq ends its texts with a newline. */
static const char *connect_error(PGconn *pg, char text[200])
{
	snprintf(text, 200, "%.199s", pg ? PQerrorMessage(pg) : "out of memory");
	text[strcspn(text, "\r\n")] = '\0';
	return text[0] ? text : "connection lost";
}

/* ---- statements ---- */

static void set_error(struct store_request *request, const char *sqlstate)
{
	request->result = STORE_ERROR;
	/* The message itself may quote what was asked. */
	snprintf(request->error, sizeof(request->error), "postgresql: SQLSTATE %.10s",
		sqlstate && *sqlstate ? sqlstate : "unknown");
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

static void take_result(struct store_request *request, const PGresult *result)
{
	ExecStatusType status = PQresultStatus(result);

	if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
		set_error(request, PQresultErrorField(result, PG_DIAG_SQLSTATE));
		return;
	}
	switch (request->op) {
	case STORE_LIST:
		take_list(request, result);
		break;
	case STORE_LOOKUP:
		request->result = STORE_NONE;
		if (PQntuples(result) > 0 && PQnfields(result) > 0 && !PQgetisnull(result, 0, 0))
			store_take_value(request,
				view_make(PQgetvalue(result, 0, 0),
					(size_t)PQgetlength(result, 0, 0)));
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
	return store->sql[STATEMENT_UPSERT] && store->sql[STATEMENT_DELETE];
}

/* ---- pool connections ---- */

static struct store_pg *store_of(const struct pg_conn *conn)
{
	return conn->conn.pool->owner;
}

static void on_conn(struct loop_watch *watch, uint32_t events);

/* Sends what libpq has buffered. */
static int flush(struct pg_conn *conn)
{
	int r = PQflush(conn->link.pg);

	if (r < 0)
		return -EIO;
	return watch_link(store_of(conn), &conn->link, EPOLLIN | (r > 0 ? EPOLLOUT : 0), on_conn);
}

static void lost(struct pg_conn *conn)
{
	char text[200];

	store_conn_lost(&conn->conn, connect_error(conn->link.pg, text));
}

static int prepare_all(struct pg_conn *conn)
{
	struct store_pg *store = store_of(conn);
	PGconn *pg = conn->link.pg;

	if (PQsetnonblocking(pg, 1) < 0 || !PQenterPipelineMode(pg))
		return -EIO;
	for (int i = 0; i < STATEMENTS; i++) {
		if (!store->sql[i] || (i != STATEMENT_LOOKUP && !writable(store)))
			continue;
		if (!PQsendPrepare(pg, names[i], store->sql[i], 0, NULL) || send_sync(pg) < 0)
			return -EIO;
		conn->preparing++;
	}
	return flush(conn);
}

static void connecting(struct pg_conn *conn)
{
	int r;

	switch (PQconnectPoll(conn->link.pg)) {
	case PGRES_POLLING_OK:
		r = prepare_all(conn);
		break;
	case PGRES_POLLING_READING:
		r = watch_link(store_of(conn), &conn->link, EPOLLIN, on_conn);
		break;
	case PGRES_POLLING_WRITING:
		r = watch_link(store_of(conn), &conn->link, EPOLLOUT, on_conn);
		break;
	default:
		r = -EIO;
	}
	if (r < 0)
		lost(conn);
}

/* A statement's preparation, or the head's answer. */
static void take_one(struct pg_conn *conn, const PGresult *result)
{
	struct store_request *head = store_conn_head(&conn->conn);
	ExecStatusType status = PQresultStatus(result);
	const char *state;

	if (!conn->preparing) {
		if (head)
			take_result(head, result);
		return;
	}
	if (status == PGRES_COMMAND_OK || conn->prepare_error[0])
		return;
	state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
	snprintf(conn->prepare_error, sizeof(conn->prepare_error),
		"a statement cannot be prepared: SQLSTATE %.10s", state ? state : "unknown");
}

/* Returns false when the connection is gone. */
static bool take_sync(struct pg_conn *conn)
{
	if (!conn->preparing) {
		store_conn_answered(&conn->conn);
		return conn->conn.state == STORE_CONN_READY;
	}
	if (--conn->preparing)
		return true;
	if (conn->prepare_error[0]) {
		store_conn_lost(&conn->conn, conn->prepare_error);
		return false;
	}
	store_conn_ready(&conn->conn);
	return conn->conn.state == STORE_CONN_READY;
}

static void take_results(struct pg_conn *conn)
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

static void on_conn(struct loop_watch *watch, uint32_t events)
{
	struct pg_conn *conn =
		container_of(container_of(watch, struct link, watch), struct pg_conn, link);

	(void)events;
	if (PQstatus(conn->link.pg) != CONNECTION_OK ||
		(conn->conn.state == STORE_CONN_OPENING && !conn->preparing)) {
		connecting(conn);
		return;
	}
	if (!PQconsumeInput(conn->link.pg)) {
		lost(conn);
		return;
	}
	take_results(conn);
	/* Lost meanwhile, and maybe opened anew: that is not the link we looked at. */
	if (conn->conn.state == STORE_CONN_CLOSED ||
		(conn->conn.state == STORE_CONN_OPENING && !conn->preparing))
		return;
	if (PQstatus(conn->link.pg) != CONNECTION_OK || flush(conn) < 0)
		lost(conn);
}

static void pg_open(struct store_conn *base)
{
	struct pg_conn *conn = (struct pg_conn *)base;

	conn->preparing = 0;
	conn->prepare_error[0] = '\0';
	conn->link.pg = start(store_of(conn));
	if (!conn->link.pg || PQstatus(conn->link.pg) == CONNECTION_BAD ||
		watch_link(store_of(conn), &conn->link, EPOLLOUT, on_conn) < 0)
		lost(conn);
}

static int send_list(struct pg_conn *conn, const struct store_request *request)
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

static int pg_send(struct store_conn *base, struct store_request *request)
{
	static const enum statement statements[] = { [STORE_LOOKUP] = STATEMENT_LOOKUP,
		[STORE_UPSERT] = STATEMENT_UPSERT,
		[STORE_DELETE] = STATEMENT_DELETE };
	struct pg_conn *conn = (struct pg_conn *)base;
	char identifier[512], destination[STORE_VALUE_BYTES];
	const char *values[] = { identifier, destination };
	PGconn *pg = conn->link.pg;
	int ok;

	snprintf(identifier, sizeof(identifier), "%.*s", (int)request->identifier.len,
		request->identifier.data);
	if (request->op == STORE_PING) {
		ok = PQsendQueryParams(pg, "SELECT 1", 0, NULL, NULL, NULL, NULL, 0);
	} else if (request->op == STORE_LIST) {
		ok = send_list(conn, request);
	} else {
		snprintf(destination, sizeof(destination), "%.*s", (int)request->destination.len,
			request->destination.data ? request->destination.data : "");
		ok = PQsendQueryPrepared(pg, names[statements[request->op]],
			request->op == STORE_UPSERT ? 2 : 1, values, NULL, NULL, 0);
	}
	set_error(request, NULL); /* until the server has said more */
	return ok && send_sync(pg) == 0 ? flush(conn) : -EIO;
}

static void pg_close(struct store_conn *base)
{
	close_link(&((struct pg_conn *)base)->link);
}

static const struct store_driver driver = {
	.name = "postgresql",
	.conn_size = sizeof(struct pg_conn),
	.open = pg_open,
	.send = pg_send,
	.close = pg_close,
};

/* ---- LISTEN (MAP-100) ---- */

static void on_listener(struct loop_watch *watch, uint32_t events);

static struct store_pg *of_push(struct store_push *push)
{
	return container_of(push, struct store_pg, push);
}

static void take_notifications(struct store_pg *store)
{
	PGnotify *notify;

	while ((notify = PQnotifies(store->listener.pg))) {
		struct view payload = view_str(notify->extra);

		store_push_heard(&store->push);
		store->push.fn(
			store->push.arg, payload.len ? STORE_PUSH_KEY : STORE_PUSH_ALL, payload);
		PQfreemem(notify);
	}
}

/* Answers to LISTEN and to the sign of life. Returns false when one failed. */
static bool take_listener_results(struct store_pg *store)
{
	while (!PQisBusy(store->listener.pg)) {
		PGresult *result = PQgetResult(store->listener.pg);
		ExecStatusType status = PQresultStatus(result);

		if (!result)
			return true;
		PQclear(result);
		if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
			return false;
		if (store->listening) {
			store_push_heard(&store->push);
		} else {
			store->listening = true;
			store_push_up(&store->push);
		}
	}
	return true;
}

static bool connect_listener(struct store_pg *store)
{
	struct link *link = &store->listener;

	switch (PQconnectPoll(link->pg)) {
	case PGRES_POLLING_OK:
		return watch_link(store, link, EPOLLIN, on_listener) == 0 &&
			PQsendQuery(link->pg, "LISTEN " STORE_PG_CHANNEL);
	case PGRES_POLLING_READING:
		return watch_link(store, link, EPOLLIN, on_listener) == 0;
	case PGRES_POLLING_WRITING:
		return watch_link(store, link, EPOLLOUT, on_listener) == 0;
	default:
		return false;
	}
}

static void on_listener(struct loop_watch *watch, uint32_t events)
{
	struct store_pg *store =
		container_of(container_of(watch, struct link, watch), struct store_pg, listener);
	PGconn *pg = store->listener.pg;

	(void)events;
	if (PQstatus(pg) != CONNECTION_OK) {
		if (!connect_listener(store))
			store_push_lost(&store->push);
		return;
	}
	if (!PQconsumeInput(pg) || !take_listener_results(store)) {
		store_push_lost(&store->push);
		return;
	}
	take_notifications(store);
}

static void push_open(struct store_push *push)
{
	struct store_pg *store = of_push(push);

	store->listening = false;
	store->listener.pg = start(store);
	if (!store->listener.pg || PQstatus(store->listener.pg) == CONNECTION_BAD ||
		watch_link(store, &store->listener, EPOLLOUT, on_listener) < 0)
		store_push_lost(push);
}

static void push_ping(struct store_push *push)
{
	if (!PQsendQuery(of_push(push)->listener.pg, "SELECT 1"))
		store_push_lost(push);
}

static void push_close(struct store_push *push)
{
	close_link(&of_push(push)->listener);
}

static const struct store_push_driver push_driver = {
	.open = push_open,
	.ping = push_ping,
	.close = push_close,
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
	store_thread_submit(&((struct store_pg *)base)->thread, base, request, on_submit);
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
	for (int i = 0; i < STATEMENTS; i++)
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
	store->sql[STATEMENT_LOOKUP] = store_copy_text(params->query, &ok);
	store->sql[STATEMENT_UPSERT] = store_copy_text(params->upsert_query, &ok);
	store->sql[STATEMENT_DELETE] = store_copy_text(params->delete_query, &ok);
	store->list_sql = store_copy_text(params->list_query, &ok);
	r = ok ? store_thread_init(&store->thread) : -ENOMEM;
	if (r < 0) {
		release(store);
		return r;
	}
	store->push = (struct store_push){ .driver = &push_driver,
		.loop = &store->thread.loop,
		.fn = params->push,
		.arg = params->push_arg,
		.open_ms = params->timeout_ms };
	r = store_pool_init(&store->pool, &driver, store, &store->thread.loop, params->pool_size,
		params->timeout_ms);
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

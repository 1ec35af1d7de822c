// SPDX-License-Identifier: Apache-2.0
/*
 * SQLite on a thread of its own behind a queue, so that a locked or slow database never holds a
 * thread that serves sessions (MAP-62). Every wait inside it (locks, long statements) looks at the
 * deadline of the request under way. The database may be missing, locked, corrupt or replaced:
 * each request reports what it met, and the next one opens it again (MAP-34).
 */
#include "base/clock.h"
#include "store/pool.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define POLL_MS 1000

enum statement { STATEMENT_QUERY, STATEMENT_UPSERT, STATEMENT_DELETE, STATEMENT_LIST, STATEMENTS };

struct store_sqlite {
	struct store store;
	char *path;
	char *sql[STATEMENTS]; /* NULL: none */
	bool read_only;
	store_push_fn *push;
	void *push_arg;

	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	struct store_request *first, *last;
	bool stop;

	/* The thread's own: */
	sqlite3 *db;
	sqlite3_stmt *statements[STATEMENTS];
	int64_t data_version; /* -1: not read yet */
	dev_t dev;
	ino_t ino;
	uint64_t deadline_ms;
	bool write_refused;  /* by the last error */
	char open_error[80]; /* of a database that is not open; "": none */
};

/* ---- database ---- */

static void close_db(struct store_sqlite *store)
{
	for (int i = 0; i < STATEMENTS; i++) {
		sqlite3_finalize(store->statements[i]);
		store->statements[i] = NULL;
	}
	sqlite3_close(store->db);
	store->db = NULL;
	store->data_version = -1;
}

static bool stopping(struct store_sqlite *store)
{
	bool stop;

	pthread_mutex_lock(&store->lock);
	stop = store->stop;
	pthread_mutex_unlock(&store->lock);
	return stop;
}

/* Called by SQLite while another connection holds a lock. */
static int on_busy(void *arg, int count)
{
	struct store_sqlite *store = arg;

	if (clock_mono_ms() >= store->deadline_ms || stopping(store))
		return 0;
	usleep(count < 10 ? 1000 : 10000);
	return 1;
}

/* Called by SQLite every so many steps: non-zero ends the statement. */
static int on_progress(void *arg)
{
	struct store_sqlite *store = arg;

	return clock_mono_ms() >= store->deadline_ms || stopping(store);
}

/* The number moves when another connection has changed the database. */
static int64_t read_version(struct store_sqlite *store)
{
	sqlite3_stmt *statement = NULL;
	int64_t version = store->data_version;

	if (sqlite3_prepare_v2(store->db, "PRAGMA data_version", -1, &statement, NULL) ==
			SQLITE_OK &&
		sqlite3_step(statement) == SQLITE_ROW)
		version = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return version;
}

static bool writable(const struct store_sqlite *store)
{
	return store->sql[STATEMENT_UPSERT] && store->sql[STATEMENT_DELETE] && !store->read_only;
}

static int open_db(struct store_sqlite *store)
{
	int flags = (writable(store) ? SQLITE_OPEN_READWRITE : SQLITE_OPEN_READONLY) |
		SQLITE_OPEN_NOMUTEX;
	struct stat st;
	int r;

	if (store->db)
		return SQLITE_OK;
	r = sqlite3_open_v2(store->path, &store->db, flags, NULL);
	if (r != SQLITE_OK) {
		int cause = store->db ? sqlite3_system_errno(store->db) : 0;

		snprintf(store->open_error, sizeof(store->open_error), "%.50s%s%.25s",
			sqlite3_errstr(r), cause ? ": " : "", cause ? strerror(cause) : "");
		close_db(store);
		return r;
	}
	store->open_error[0] = '\0';
	sqlite3_busy_handler(store->db, on_busy, store);
	sqlite3_progress_handler(store->db, 1000, on_progress, store);
	if (stat(store->path, &st) == 0) {
		store->dev = st.st_dev;
		store->ino = st.st_ino;
	}
	store->data_version = read_version(store); /* before the first answer is read */
	return SQLITE_OK;
}

static int prepare(struct store_sqlite *store, enum statement which)
{
	int r = open_db(store);

	if (r != SQLITE_OK || store->statements[which])
		return r;
	return sqlite3_prepare_v3(store->db, store->sql[which], -1, SQLITE_PREPARE_PERSISTENT,
		&store->statements[which], NULL);
}

/* MAP-61: by name $1 ?1 :1 @1 where the statement has it, else by position. */
static int bind_text(sqlite3_stmt *statement, int n, struct view value)
{
	static const char prefixes[] = "$?:@";
	int index = 0;
	char name[3] = { 0, (char)('0' + n), 0 };

	for (const char *p = prefixes; *p && !index; p++) {
		name[0] = *p;
		index = sqlite3_bind_parameter_index(statement, name);
	}
	if (!index)
		index = n;
	return sqlite3_bind_text(statement, index, value.data, (int)value.len, SQLITE_STATIC);
}

/* ---- requests ---- */

/* Whoever reads a database in WAL mode makes files beside it. */
static bool lacks_directory(const struct store_sqlite *store)
{
	const char *slash = strrchr(store->path, '/');
	char directory[PATH_MAX];

	snprintf(directory, sizeof(directory), "%.*s", (int)(slash - store->path) + 1, store->path);
	return access(store->path, R_OK) == 0 && access(directory, W_OK) < 0;
}

/* Its text names tables and columns, and quotes no data. */
static void set_error_text(struct store_sqlite *store, struct store_request *request, int code)
{
	const char *text = store->open_error[0] ? store->open_error
		: store->db                     ? sqlite3_errmsg(store->db)
						: sqlite3_errstr(code);
	bool is_cannot = code == SQLITE_CANTOPEN || code == SQLITE_READONLY;
	bool lacks = is_cannot && lacks_directory(store);

	snprintf(request->error, sizeof(request->error), "sqlite: %.100s: %.70s%s", store->path,
		text,
		lacks ? " (this user may not write to its directory, where SQLite makes files)"
		      : "");
	request->refused = lacks || code == SQLITE_ERROR || code == SQLITE_PERM ||
		code == SQLITE_AUTH ||
		(code == SQLITE_CANTOPEN && access(store->path, R_OK) < 0 && errno == EACCES);
}

static void set_error(struct store_sqlite *store, struct store_request *request, int code)
{
	bool late = clock_mono_ms() >= request->deadline_ms;

	code &= 0xff;
	store->write_refused = code == SQLITE_READONLY;
	request->result =
		late && (code == SQLITE_BUSY || code == SQLITE_INTERRUPT || code == SQLITE_LOCKED)
		? STORE_TIMEOUT
		: STORE_ERROR;
	set_error_text(store, request, code);
	if (code != SQLITE_BUSY && code != SQLITE_LOCKED && code != SQLITE_INTERRUPT &&
		code != SQLITE_CONSTRAINT)
		close_db(store); /* opened again by the next request */
}

static void run_statement(
	struct store_sqlite *store, struct store_request *request, enum statement which)
{
	sqlite3_stmt *statement;
	int r = prepare(store, which);

	request->result = STORE_NONE;
	statement = store->statements[which];
	if (r == SQLITE_OK)
		r = bind_text(statement, 1, request->identifier);
	if (r == SQLITE_OK && which == STATEMENT_UPSERT)
		r = bind_text(statement, 2, request->destination);
	if (r == SQLITE_OK)
		r = sqlite3_step(statement);
	if (r == SQLITE_ROW && which == STATEMENT_QUERY && sqlite3_column_text(statement, 0))
		store_take_value(request,
			view_make((const char *)sqlite3_column_text(statement, 0),
				(size_t)sqlite3_column_bytes(statement, 0)));
	while (r == SQLITE_ROW) /* further rows are ignored, but a write must run to its end */
		r = sqlite3_step(statement);
	if (r == SQLITE_DONE && which == STATEMENT_UPSERT)
		request->result = STORE_DONE;
	if (r == SQLITE_DONE && which == STATEMENT_DELETE)
		request->result = sqlite3_changes(store->db) > 0 ? STORE_DONE : STORE_NONE;
	if (statement) {
		sqlite3_reset(statement);
		sqlite3_clear_bindings(statement);
	}
	if (r != SQLITE_DONE)
		set_error(store, request, r);
}

/* The caller has checked that there is a statement. */
static int list_rows(struct store_sqlite *store, struct store_request *request)
{
	struct store_list *list = request->list;
	sqlite3_stmt *statement;
	char limit[16];
	int r = prepare(store, STATEMENT_LIST), failed = 0;
	unsigned rows = 0;

	snprintf(limit, sizeof(limit), "%u", list->limit);
	statement = store->statements[STATEMENT_LIST];
	if (r == SQLITE_OK)
		r = bind_text(statement, 1, request->destination);
	if (r == SQLITE_OK)
		r = bind_text(statement, 2, view_str(list->after));
	if (r == SQLITE_OK)
		r = bind_text(statement, 3, view_str(limit));
	if (r == SQLITE_OK)
		r = sqlite3_step(statement);
	while (r == SQLITE_ROW && !failed && rows < list->limit) {
		const char *text = (const char *)sqlite3_column_text(statement, 0);
		struct view name = view_make(text, (size_t)sqlite3_column_bytes(statement, 0));

		failed = text ? store_list_add(list, name) : 0;
		if (!failed && ++rows == list->limit)
			failed = store_list_set_next(list, text ? name : view_make("", 0));
		else if (!failed)
			r = sqlite3_step(statement);
	}
	if (r == SQLITE_ROW)
		r = failed ? SQLITE_ERROR : SQLITE_DONE;
	if (statement) {
		sqlite3_reset(statement);
		sqlite3_clear_bindings(statement);
	}
	return r;
}

/* A connection made in the moment in which another user's tool created the journal can only
 * read, and does not become better: what it could not write is written on a new one. */
static void run_write(struct store_sqlite *store, struct store_request *request)
{
	enum statement which = request->op == STORE_UPSERT ? STATEMENT_UPSERT : STATEMENT_DELETE;

	run_statement(store, request, which);
	if (request->result == STORE_ERROR && store->write_refused) {
		request->error[0] = '\0';
		run_statement(store, request, which);
	}
}

static void run_list(struct store_sqlite *store, struct store_request *request)
{
	int r = list_rows(store, request);

	request->result = STORE_DONE;
	if (r != SQLITE_DONE)
		set_error(store, request, r);
}

/* The lookup of a name that nobody has; a query that assigns nodes assigns none (MAP-54). */
static void run_ping(struct store_sqlite *store, struct store_request *request)
{
	int r = prepare(store, STATEMENT_QUERY);
	bool writes = r == SQLITE_OK && !sqlite3_stmt_readonly(store->statements[STATEMENT_QUERY]);

	request->identifier = view_make(STORE_NOBODY, strlen(STORE_NOBODY));
	if (writes)
		r = sqlite3_exec(store->db, "BEGIN", NULL, NULL, NULL);
	if (r != SQLITE_OK) {
		set_error(store, request, r);
		return;
	}
	run_statement(store, request, STATEMENT_QUERY);
	if (writes && store->db && !sqlite3_get_autocommit(store->db) &&
		sqlite3_exec(store->db, "ROLLBACK", NULL, NULL, NULL) != SQLITE_OK)
		close_db(store);
	if (request->result == STORE_FOUND || request->result == STORE_NONE)
		request->result = STORE_DONE;
}

static void run_request(struct store_sqlite *store, struct store_request *request)
{
	store->deadline_ms = request->deadline_ms;
	if (clock_mono_ms() >= request->deadline_ms) {
		request->result = STORE_TIMEOUT; /* it waited in the queue for too long */
		snprintf(request->error, sizeof(request->error), "sqlite: timed out in the queue");
		return;
	}
	switch (request->op) {
	case STORE_LOOKUP:
		run_statement(store, request, STATEMENT_QUERY);
		break;
	case STORE_LIST:
		if (store->sql[STATEMENT_LIST])
			run_list(store, request);
		else
			store_cannot_list(request);
		break;
	case STORE_PING:
		run_ping(store, request);
		break;
	case STORE_BAN_SET:
	case STORE_BAN_GET:
	case STORE_BAN_LIST:
		store_no_bans(request);
		break;
	default:
		if (writable(store))
			run_write(store, request);
		else
			request->result = STORE_READ_ONLY;
	}
}

/* ---- changes by others (MAP-63) ---- */

static bool was_replaced(struct store_sqlite *store)
{
	struct stat st;

	return stat(store->path, &st) == 0 && (st.st_dev != store->dev || st.st_ino != store->ino);
}

static void poll_changes(struct store_sqlite *store)
{
	int64_t version = store->data_version;
	bool replaced;

	if (!store->db)
		return;
	replaced = was_replaced(store);
	if (replaced) {
		close_db(store);
	} else {
		store->deadline_ms = clock_mono_ms() + 100;
		store->data_version = read_version(store);
	}
	if (store->push && (replaced || (version >= 0 && version != store->data_version)))
		store->push(store->push_arg, STORE_PUSH_ALL, view_make("", 0));
}

/* ---- thread ---- */

static struct store_request *next_request(struct store_sqlite *store, uint64_t poll_at_ms)
{
	struct store_request *request;

	pthread_mutex_lock(&store->lock);
	while (!store->first && !store->stop && clock_mono_ms() < poll_at_ms) {
		struct timespec until = { .tv_sec = (time_t)(poll_at_ms / 1000),
			.tv_nsec = (long)(poll_at_ms % 1000) * 1000000 };

		pthread_cond_timedwait(&store->wake, &store->lock, &until);
	}
	request = store->first;
	if (request) {
		store->first = request->next;
		if (!store->first)
			store->last = NULL;
	}
	pthread_mutex_unlock(&store->lock);
	return request;
}

static void *store_main(void *arg)
{
	struct store_sqlite *store = arg;
	uint64_t poll_at_ms = clock_mono_ms() + POLL_MS;

	pthread_setname_np(pthread_self(), "sqlite");
	for (;;) {
		struct store_request *request = next_request(store, poll_at_ms);

		if (request) {
			if (stopping(store)) {
				request->result = STORE_ERROR;
				snprintf(
					request->error, sizeof(request->error), "sqlite: stopping");
			} else {
				run_request(store, request);
			}
			request->done(request);
		} else if (stopping(store)) {
			break;
		}
		if (clock_mono_ms() >= poll_at_ms) {
			poll_changes(store);
			poll_at_ms = clock_mono_ms() + POLL_MS;
		}
	}
	close_db(store);
	return NULL;
}

/* ---- operations ---- */

static void sqlite_submit(struct store *base, struct store_request *request)
{
	struct store_sqlite *store = (struct store_sqlite *)base;

	request->next = NULL;
	pthread_mutex_lock(&store->lock);
	if (store->last)
		store->last->next = request;
	else
		store->first = request;
	store->last = request;
	pthread_cond_signal(&store->wake);
	pthread_mutex_unlock(&store->lock);
}

static bool sqlite_writable(const struct store *base)
{
	return writable((const struct store_sqlite *)base);
}

static bool sqlite_can_list(const struct store *base)
{
	return ((const struct store_sqlite *)base)->sql[STATEMENT_LIST];
}

static void release(struct store_sqlite *store)
{
	pthread_mutex_destroy(&store->lock);
	pthread_cond_destroy(&store->wake);
	for (int i = 0; i < STATEMENTS; i++)
		free(store->sql[i]);
	free(store->path);
	free(store);
}

static void sqlite_free(struct store *base)
{
	struct store_sqlite *store = (struct store_sqlite *)base;

	pthread_mutex_lock(&store->lock);
	store->stop = true;
	pthread_cond_signal(&store->wake);
	pthread_mutex_unlock(&store->lock);
	pthread_join(store->thread, NULL);
	release(store);
}

static const struct store_ops sqlite_ops = {
	.name = "sqlite",
	.submit = sqlite_submit,
	.any_thread = true,
	.writable = sqlite_writable,
	.can_list = sqlite_can_list,
	.reload = store_no_reload,
	.free = sqlite_free,
};

int store_sqlite_new(const struct store_sqlite_params *params, struct store **ret_store,
	char error[STORE_ERROR_BYTES])
{
	struct store_sqlite *store = calloc(1, sizeof(*store));
	pthread_condattr_t attr;
	bool ok = true;
	int r = -ENOMEM;

	snprintf(error, STORE_ERROR_BYTES, "sqlite: cannot start");
	if (!store)
		return r;
	store->store.ops = &sqlite_ops;
	store->path = store_copy_text(params->path, &ok);
	store->sql[STATEMENT_QUERY] = store_copy_text(params->query, &ok);
	store->sql[STATEMENT_UPSERT] = store_copy_text(params->upsert_query, &ok);
	store->sql[STATEMENT_DELETE] = store_copy_text(params->delete_query, &ok);
	store->sql[STATEMENT_LIST] = store_copy_text(params->list_query, &ok);
	store->read_only = params->read_only;
	store->push = params->push;
	store->push_arg = params->push_arg;
	store->data_version = -1;
	pthread_mutex_init(&store->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&store->wake, &attr);
	pthread_condattr_destroy(&attr);
	if (ok && params->path && params->path[0] == '/' && params->query)
		r = -pthread_create(&store->thread, NULL, store_main, store);
	else if (ok)
		r = -EINVAL;
	if (r < 0)
		release(store);
	else
		*ret_store = &store->store;
	return r;
}

int store_sqlite_create(const char *path, char error[STORE_ERROR_BYTES])
{
	static const char schema[] = "PRAGMA journal_mode = WAL;"
				     "CREATE TABLE IF NOT EXISTS account_nodes ("
				     "  identifier TEXT PRIMARY KEY NOT NULL"
				     "    CHECK (identifier = lower(identifier)),"
				     "  node TEXT NOT NULL"
				     ") WITHOUT ROWID;"
				     "CREATE INDEX IF NOT EXISTS account_nodes_node"
				     "  ON account_nodes (node, identifier);"; /* for drain */
	sqlite3 *db = NULL;
	int r = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, NULL);

	if (r == SQLITE_OK) {
		sqlite3_busy_timeout(db, 5000);
		r = sqlite3_exec(db, schema, NULL, NULL, NULL);
	}
	if (r != SQLITE_OK)
		snprintf(error, STORE_ERROR_BYTES, "%s",
			db ? sqlite3_errmsg(db) : sqlite3_errstr(r));
	sqlite3_close(db);
	return r == SQLITE_OK ? 0 : -EIO;
}

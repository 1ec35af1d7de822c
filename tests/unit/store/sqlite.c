// SPDX-License-Identifier: Apache-2.0
/* SQLite as a store, without a router: how parameters are bound, which thread waits and how
 * long. */
#include "unit.h"

#include "base/clock.h"
#include "store/store.h"

#include <pthread.h>
#include <sqlite3.h>
#include <unistd.h>

static char directory[] = "/tmp/homing-sqlite-XXXXXX", path[64];

struct ask {
	struct store_request request;
	pthread_mutex_t lock;
	pthread_cond_t done;
	bool is_done;
	pthread_t thread;
};

static void on_done(struct store_request *request)
{
	struct ask *ask = container_of(request, struct ask, request);

	pthread_mutex_lock(&ask->lock);
	ask->is_done = true;
	ask->thread = pthread_self();
	pthread_cond_signal(&ask->done);
	pthread_mutex_unlock(&ask->lock);
}

static void submit(struct store *store, struct ask *ask, enum store_op op, const char *account,
	const char *node, unsigned limit_ms)
{
	memset(ask, 0, sizeof(*ask));
	pthread_mutex_init(&ask->lock, NULL);
	pthread_cond_init(&ask->done, NULL);
	ask->request.op = op;
	ask->request.identifier = view_str(account);
	ask->request.destination = view_str(node);
	ask->request.deadline_ms = clock_mono_ms() + limit_ms;
	ask->request.done = on_done;
	store->ops->submit(store, &ask->request);
}

static enum store_result wait_for(struct ask *ask)
{
	pthread_mutex_lock(&ask->lock);
	while (!ask->is_done)
		pthread_cond_wait(&ask->done, &ask->lock);
	pthread_mutex_unlock(&ask->lock);
	return ask->request.result;
}

static enum store_result run(struct store *store, struct ask *ask, enum store_op op,
	const char *account, const char *node)
{
	submit(store, ask, op, account, node, 20000);
	return wait_for(ask);
}

static sqlite3 *database(void)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	assert_int_equal(
		sqlite3_exec(db,
			"DROP TABLE IF EXISTS t; CREATE TABLE t (a TEXT PRIMARY KEY, n TEXT)", NULL,
			NULL, NULL),
		SQLITE_OK);
	return db;
}

static struct store *make(const char *query, const char *upsert, const char *del)
{
	struct store_sqlite_params params = {
		.path = path, .query = query, .upsert_query = upsert, .delete_query = del
	};
	char error[STORE_ERROR_BYTES];
	struct store *store;

	assert_int_equal(store_sqlite_new(&params, &store, error), 0);
	return store;
}

static void test_MAP_61_parameters_by_name_or_position(void **state)
{
	static const char *const upserts[] = {
		"INSERT OR REPLACE INTO t (a, n) VALUES ($1, $2)",
		"INSERT OR REPLACE INTO t (n, a) VALUES ($2, $1)", /* $2 is mentioned first */
		"INSERT OR REPLACE INTO t (n, a) VALUES (?2, ?1)",
		"INSERT OR REPLACE INTO t (n, a) VALUES (:2, :1)",
		"INSERT OR REPLACE INTO t (n, a) VALUES (@2, @1)",
		"INSERT OR REPLACE INTO t (n, a) SELECT $2, $1 WHERE $2 <> $1",
		"INSERT OR REPLACE INTO t (a, n) VALUES (?, ?)", /* by position */
	};
	sqlite3 *db = database();

	(void)state;
	for (size_t i = 0; i < sizeof(upserts) / sizeof(upserts[0]); i++) {
		struct store *store = make(
			"SELECT n FROM t WHERE a = $1", upserts[i], "DELETE FROM t WHERE a = @1");
		struct ask ask;

		assert_int_equal(run(store, &ask, STORE_UPSERT, "alice", "node2"), STORE_DONE);
		assert_int_equal(run(store, &ask, STORE_LOOKUP, "alice", ""), STORE_FOUND);
		assert_string_equal(ask.request.value, "node2");
		assert_int_equal(run(store, &ask, STORE_LOOKUP, "node2", ""), STORE_NONE);
		assert_int_equal(run(store, &ask, STORE_DELETE, "node2", ""), STORE_NONE);
		assert_int_equal(run(store, &ask, STORE_DELETE, "alice", ""), STORE_DONE);
		store_free(store);
	}
	sqlite3_close(db);
}

/* MAP-62: a lock is waited for, on the store's own thread, as long as the request allows. */
static void test_MAP_62_busy_wait(void **state)
{
	struct store *store;
	struct ask ask, other;
	sqlite3 *db = database();
	uint64_t began;

	(void)state;
	assert_int_equal(
		sqlite3_exec(db, "INSERT INTO t VALUES ('alice', 'node2')", NULL, NULL, NULL),
		SQLITE_OK);
	store = make("SELECT n FROM t WHERE a = $1", NULL, NULL);
	assert_int_equal(run(store, &ask, STORE_LOOKUP, "alice", ""), STORE_FOUND);
	assert_int_equal(sqlite3_exec(db, "BEGIN EXCLUSIVE", NULL, NULL, NULL), SQLITE_OK);
	began = clock_mono_ms();
	submit(store, &ask, STORE_LOOKUP, "alice", "", 300);
	assert_true(clock_mono_ms() - began < 300); /* the caller does not wait */
	assert_int_equal(wait_for(&ask), STORE_TIMEOUT);
	assert_true(clock_mono_ms() - began >= 300);
	submit(store, &ask, STORE_LOOKUP, "alice", "", 20000);
	submit(store, &other, STORE_LOOKUP, "alice", "",
		1); /* queued behind it, over when it comes */
	while (clock_mono_ms() <= other.request.deadline_ms)
		usleep(1000);
	assert_int_equal(sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL), SQLITE_OK);
	assert_int_equal(wait_for(&ask), STORE_FOUND); /* the lock went in time */
	assert_false(pthread_equal(ask.thread, pthread_self()));
	assert_int_equal(wait_for(&other), STORE_TIMEOUT);
	store_free(store);
	sqlite3_close(db);
}

static void test_MAP_60_not_created(void **state)
{
	char elsewhere[80];
	struct store_sqlite_params params = { .path = elsewhere,
		.query = "SELECT n FROM t WHERE a = $1",
		.upsert_query = "INSERT INTO t VALUES ($1, $2)",
		.delete_query = "DELETE FROM t WHERE a = $1" };
	char error[STORE_ERROR_BYTES];
	struct store *store;
	struct ask ask;

	(void)state;
	snprintf(elsewhere, sizeof(elsewhere), "%s/none.db", directory);
	assert_int_equal(store_sqlite_new(&params, &store, error), 0);
	assert_int_equal(run(store, &ask, STORE_LOOKUP, "alice", ""), STORE_ERROR);
	assert_int_equal(run(store, &ask, STORE_UPSERT, "alice", "node1"), STORE_ERROR);
	assert_int_equal(access(elsewhere, F_OK), -1);
	store_free(store);
	params.path = "relative.db";
	assert_true(store_sqlite_new(&params, &store, error) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_MAP_61_parameters_by_name_or_position),
		cmocka_unit_test(test_MAP_62_busy_wait),
		cmocka_unit_test(test_MAP_60_not_created),
	};
	int r;

	if (!mkdtemp(directory))
		return 1;
	snprintf(path, sizeof(path), "%s/t.db", directory);
	r = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	rmdir(directory);
	return r;
}

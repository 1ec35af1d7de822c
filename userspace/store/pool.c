// SPDX-License-Identifier: Apache-2.0
#include "store/pool.h"
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Requests on one connection at once. */
#define DEPTH 64
/* Beyond that a store that answers nothing costs memory only. */
#define WAITING_MAX 100000
#define RETRY_FIRST_MS 100
#define RETRY_LAST_MS 2000

static void dispatch(struct store_pool *pool);

/* ---- requests ---- */

static void finish(struct store_pool *pool, struct store_request *request, enum store_result result,
	const char *error)
{
	request->result = result;
	if (result == STORE_ERROR || result == STORE_TIMEOUT)
		snprintf(request->error, sizeof(request->error), "%s: %.200s", pool->driver->name,
			error);
	request->done(request);
}

static void on_waiting_deadline(struct timer *timer);

static void arm_waiting(struct store_pool *pool)
{
	uint64_t now = clock_mono_ms();
	struct store_request *oldest;

	if (list_empty(&pool->waiting)) {
		loop_timer_del(pool->loop, &pool->timer);
		return;
	}
	oldest = list_entry(pool->waiting.next, struct store_request, link);
	loop_timer_set(pool->loop, &pool->timer,
		oldest->deadline_ms > now ? oldest->deadline_ms - now : 0, on_waiting_deadline);
}

static struct store_request *take_waiting(struct store_pool *pool)
{
	struct store_request *request = list_entry(pool->waiting.next, struct store_request, link);

	list_del(&request->link);
	pool->waiting_count--;
	return request;
}

static void on_waiting_deadline(struct timer *timer)
{
	struct store_pool *pool = container_of(timer, struct store_pool, timer);
	uint64_t now = clock_mono_ms();

	while (!list_empty(&pool->waiting) &&
		list_entry(pool->waiting.next, struct store_request, link)->deadline_ms <= now)
		finish(pool, take_waiting(pool), STORE_TIMEOUT, "no connection in time");
	arm_waiting(pool);
}

static void fail_waiting(struct store_pool *pool)
{
	while (!list_empty(&pool->waiting))
		finish(pool, take_waiting(pool), STORE_ERROR, pool->error);
	arm_waiting(pool);
}

void store_cannot_list(struct store_request *request)
{
	request->result = STORE_ERROR;
	snprintf(request->error, sizeof(request->error), "cannot list accounts");
}

void store_list_fini(struct store_list *list)
{
	buf_fini(&list->names);
}

void store_list_clear(struct store_list *list)
{
	buf_clear(&list->names);
	list->count = 0;
	list->next[0] = '\0';
	list->scanned = false;
}

int store_list_add(struct store_list *list, struct view identifier)
{
	int r = buf_reserve(&list->names, identifier.len + 1);

	if (r < 0 || memchr(identifier.data, '\0', identifier.len))
		return r;
	r = buf_append_view(&list->names, identifier);
	if (r == 0)
		r = buf_append(&list->names, "", 1);
	list->count += r == 0;
	return r;
}

int store_list_set_next(struct store_list *list, struct view token)
{
	if (token.len > STORE_TOKEN_BYTES)
		return -ENAMETOOLONG;
	memcpy(list->next, token.data, token.len);
	list->next[token.len] = '\0';
	return 0;
}

struct view store_trim(struct view v)
{
	while (v.len && strchr(" \t\r\n", v.data[0]))
		v = view_skip(v, 1);
	while (v.len && strchr(" \t\r\n", v.data[v.len - 1]))
		v.len--;
	return v;
}

void store_take_value(struct store_request *request, struct view value)
{
	struct view v = store_trim(value);

	request->result = STORE_NONE;
	if (!v.len)
		return;
	snprintf(request->value, sizeof(request->value), "%.*s",
		(int)MIN(v.len, sizeof(request->value) - 1), v.data);
	request->result = STORE_FOUND;
}

/* ---- connections ---- */

static void on_conn_timer(struct timer *timer);

static void arm_conn(struct store_conn *conn)
{
	struct store_request *head = store_conn_head(conn);
	uint64_t now = clock_mono_ms();

	if (conn->state == STORE_CONN_BROKEN)
		return;
	if (conn->state == STORE_CONN_OPENING)
		loop_timer_set(
			conn->pool->loop, &conn->timer, conn->pool->timeout_ms, on_conn_timer);
	else if (head)
		loop_timer_set(conn->pool->loop, &conn->timer,
			head->deadline_ms > now ? head->deadline_ms - now : 0, on_conn_timer);
	else
		loop_timer_del(conn->pool->loop, &conn->timer);
}

struct store_request *store_conn_head(struct store_conn *conn)
{
	return list_empty(&conn->items) ? NULL
					: list_entry(conn->items.next, struct store_request, link);
}

static void take_item(struct store_conn *conn, struct store_request *request)
{
	list_del(&request->link);
	conn->count--;
	conn->lists -= store_is_list(request->op);
}

void store_conn_again(struct store_conn *conn)
{
	struct store_request *request = store_conn_head(conn);

	take_item(conn, request);
	arm_conn(conn);
	list_add_head(&conn->pool->waiting, &request->link);
	conn->pool->waiting_count++;
	dispatch(conn->pool);
}

void store_conn_answered(struct store_conn *conn)
{
	struct store_request *request = store_conn_head(conn);

	take_item(conn, request);
	arm_conn(conn);
	request->done(request);
	dispatch(conn->pool);
}

static void note_failure(struct store_pool *pool, const char *error)
{
	uint64_t wait = (uint64_t)RETRY_FIRST_MS << MIN(pool->failures, 8u);

	snprintf(pool->error, sizeof(pool->error), "%.200s", error);
	pool->failures++;
	pool->retry_at_ms = clock_mono_ms() + MIN(wait, (uint64_t)RETRY_LAST_MS);
}

/* What was sent on a connection that died is asked once more on another (MAP-32). */
static void give_back(struct store_conn *conn, const char *error, bool late)
{
	struct store_pool *pool = conn->pool;
	uint64_t now = clock_mono_ms();

	while (!list_empty(&conn->items)) { /* from the last: they go to the front, in order */
		struct store_request *request =
			list_entry(conn->items.prev, struct store_request, link);

		take_item(conn, request);
		if (request->deadline_ms <= now) {
			finish(pool, request, STORE_TIMEOUT, "no answer in time");
		} else if (!late && (request->repeated || pool->stopping)) {
			finish(pool, request, STORE_ERROR, error);
		} else {
			request->repeated = true;
			list_add_head(&pool->waiting, &request->link);
			pool->waiting_count++;
		}
	}
	arm_waiting(pool);
}

static void lose(struct store_conn *conn, const char *error, bool late)
{
	struct store_pool *pool = conn->pool;
	bool was_open = conn->state == STORE_CONN_READY || conn->state == STORE_CONN_BROKEN;

	if (conn->state == STORE_CONN_CLOSED)
		return;
	conn->state = STORE_CONN_CLOSED;
	loop_timer_del(pool->loop, &conn->timer);
	pool->driver->close(conn);
	if (was_open) { /* it was there a moment ago: an attempt at once, whatever failed before */
		snprintf(pool->error, sizeof(pool->error), "%.200s", error);
		pool->retry_at_ms = 0;
	} else {
		note_failure(pool, error);
	}
	give_back(conn, error, late);
	if (!pool->stopping)
		dispatch(pool);
}

void store_conn_lost(struct store_conn *conn, const char *error)
{
	lose(conn, error, false);
}

/* A server that holds one answer back holds back all behind it. */
static void on_conn_timer(struct timer *timer)
{
	struct store_conn *conn = container_of(timer, struct store_conn, timer);

	if (conn->state == STORE_CONN_BROKEN)
		lose(conn, "connection lost", false);
	else
		lose(conn,
			conn->state == STORE_CONN_OPENING ? "cannot connect in time"
							  : "no answer in time",
			true);
}

void store_conn_ready(struct store_conn *conn)
{
	conn->state = STORE_CONN_READY;
	conn->pool->failures = 0;
	arm_conn(conn);
	dispatch(conn->pool);
}

/* ---- dispatch ---- */

static void count_conns(struct store_pool *pool, unsigned *ret_opening,
	struct store_conn **ret_best, struct store_conn **ret_closed)
{
	*ret_opening = 0;
	*ret_best = *ret_closed = NULL;
	for (unsigned i = 0; i < pool->size; i++) {
		struct store_conn *conn = pool->conns[i];

		if (conn->state == STORE_CONN_OPENING)
			(*ret_opening)++;
		else if (conn->state == STORE_CONN_CLOSED && !*ret_closed)
			*ret_closed = conn;
		else if (conn->state == STORE_CONN_READY && conn->count < DEPTH && !conn->lists &&
			(!*ret_best || conn->count < (*ret_best)->count))
			*ret_best = conn;
	}
}

static void open_conn(struct store_conn *conn)
{
	conn->state = STORE_CONN_OPENING;
	arm_conn(conn);
	mailbox_wake_held(); /* who has been answered does not wait for a name server */
	conn->pool->driver->open(conn);
}

static void send_one(struct store_pool *pool, struct store_conn *conn)
{
	struct store_request *request = take_waiting(pool);

	list_add_tail(&conn->items, &request->link);
	conn->count++;
	conn->lists += store_is_list(request->op);
	if (conn->count == 1)
		arm_conn(conn);
	if (pool->driver->send(conn, request) == 0)
		return;
	/* What follows may open another, which only the store's thread does, as it may wait. */
	conn->state = STORE_CONN_BROKEN;
	loop_timer_set(pool->loop, &conn->timer, 0, on_conn_timer);
}

/* Opens connections while there is more to do than they can begin with at once; while the server
 * cannot be reached one attempt at a time, after a pause, in whose course nobody waits. */
static void dispatch(struct store_pool *pool)
{
	while (!list_empty(&pool->waiting) && !pool->stopping) {
		struct store_conn *best, *closed;
		bool paused = pool->failures && clock_mono_ms() < pool->retry_at_ms;
		unsigned opening;

		count_conns(pool, &opening, &best, &closed);
		if (best && !best->count) {
			send_one(pool, best);
			continue;
		}
		if (closed && !paused && opening < (pool->failures ? 1 : pool->waiting_count)) {
			open_conn(closed);
			continue;
		}
		if (best) {
			send_one(pool, best);
			continue;
		}
		if (paused && !opening && closed)
			fail_waiting(pool);
		break;
	}
	arm_waiting(pool);
}

/* Whether a request would be sent at once, and no more would be done than that. */
static bool can_send(struct store_pool *pool)
{
	struct store_conn *best, *closed;
	unsigned opening;

	if (pool->stopping || !list_empty(&pool->waiting))
		return false;
	count_conns(pool, &opening, &best, &closed);
	return best && (!best->count || !closed);
}

void store_pool_add(struct store_pool *pool, struct store_request *request)
{
	request->repeated = false;
	if (pool->stopping) {
		finish(pool, request, STORE_ERROR, "stopping");
		return;
	}
	if (clock_mono_ms() >= request->deadline_ms || pool->waiting_count >= WAITING_MAX) {
		finish(pool, request, STORE_TIMEOUT, "too much is waiting");
		return;
	}
	list_add_tail(&pool->waiting, &request->link);
	pool->waiting_count++;
	dispatch(pool);
}

/* ---- life ---- */

int store_pool_init(struct store_pool *pool, const struct store_driver *driver, void *owner,
	struct loop *loop, unsigned size, uint64_t timeout_ms)
{
	*pool = (struct store_pool){ .driver = driver,
		.owner = owner,
		.loop = loop,
		.size = size,
		.timeout_ms = timeout_ms,
		.error = "not connected" };
	list_init(&pool->waiting);
	pool->conns = calloc(size, sizeof(*pool->conns));
	for (unsigned i = 0; pool->conns && i < size; i++) {
		pool->conns[i] = calloc(1, driver->conn_size);
		if (!pool->conns[i])
			return -ENOMEM;
		pool->conns[i]->pool = pool;
		list_init(&pool->conns[i]->items);
	}
	return pool->conns ? 0 : -ENOMEM;
}

void store_pool_fini(struct store_pool *pool)
{
	pool->stopping = true;
	snprintf(pool->error, sizeof(pool->error), "stopping");
	for (unsigned i = 0; pool->conns && i < pool->size; i++) {
		if (pool->conns[i])
			store_conn_lost(pool->conns[i], "stopping");
		free(pool->conns[i]);
	}
	free(pool->conns);
	pool->conns = NULL;
	if (pool->loop)
		fail_waiting(pool);
}

/* ---- thread ---- */

int store_thread_init(struct store_thread *thread)
{
	int r = loop_init(&thread->loop);

	pthread_mutex_init(&thread->guard, NULL);
	thread->loop.guard = &thread->guard;
	return r;
}

static void *thread_main(void *arg)
{
	struct store_thread *thread = arg;
	int r;

	pthread_setname_np(pthread_self(), thread->name);
	pthread_mutex_lock(&thread->guard);
	r = loop_run(&thread->loop); /* fails only without memory for epoll: nothing to do then */
	(void)r;
	/* Requests that came last, then what is out. */
	mailbox_close(&thread->loop.mailbox);
	mailbox_run(&thread->loop.mailbox);
	thread->finish(thread->arg);
	mailbox_wake_held();
	pthread_mutex_unlock(&thread->guard);
	return NULL;
}

int store_thread_run(
	struct store_thread *thread, const char *name, void (*finish_fn)(void *arg), void *arg)
{
	thread->name = name;
	thread->finish = finish_fn;
	thread->arg = arg;
	return -pthread_create(&thread->thread, NULL, thread_main, thread);
}

static void on_stop(struct post *post)
{
	loop_stop(&container_of(post, struct store_thread, stop)->loop);
}

void store_thread_stop(struct store_thread *thread)
{
	mailbox_send(&thread->loop.mailbox, &thread->stop, on_stop);
	pthread_join(thread->thread, NULL);
	loop_fini(&thread->loop);
}

/* Sends a lookup from here, which saves the thread from waking up for that. */
static bool send_here(
	struct store_thread *thread, struct store_pool *pool, struct post *post, post_fn *fn)
{
	bool sent;

	if (pthread_mutex_trylock(&thread->guard) != 0)
		return false;
	sent = can_send(pool);
	if (sent) {
		fn(post);
		loop_guest_done(&thread->loop);
	}
	pthread_mutex_unlock(&thread->guard);
	return sent;
}

void store_thread_submit(struct store_thread *thread, struct store *store, struct store_pool *pool,
	struct store_request *request, post_fn *fn)
{
	request->store = store;
	if (request->op == STORE_LOOKUP && send_here(thread, pool, &request->post, fn))
		return;
	if (mailbox_send(&thread->loop.mailbox, &request->post, fn))
		return;
	request->result = STORE_ERROR;
	snprintf(request->error, sizeof(request->error), "%s: stopping", store->ops->name);
	request->done(request);
}

int store_no_reload(struct store *store, char error[STORE_ERROR_BYTES])
{
	(void)store;
	(void)error;
	return -ENOTSUP;
}

char *store_copy_text(const char *text, bool *ok)
{
	char *copy = text ? strdup(text) : NULL;

	*ok &= !text || copy;
	return copy;
}

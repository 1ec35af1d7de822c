// SPDX-License-Identifier: Apache-2.0
/*
 * The memory of sessions: it goes at the end of the loop's batch, so that a frame above may still
 * look at session->state. What may outlive a session never names it: answers of the mapping name a
 * reach, by its handle, and the control thread asks for accounts.
 */
#include "session/session.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>

/* After so many logins, when in so much time there were less than an eighth of that. */
#define TRIM_LOGINS 512
#define TRIM_MS 3000

int session_new(struct session_pool *pool, struct session **ret_session)
{
	struct session *session = calloc(1, sizeof(*session));
	struct login *login = calloc(1, sizeof(*login));

	if (!session || !login) {
		free(session);
		free(login);
		return -ENOMEM;
	}
	session->login = login;
	login->session = session;
	session->pool = pool;
	list_add_tail(&pool->sessions, &session->link);
	pool->count++;
	session->mech = session->choice = -1;
	for (int i = 0; i < PHASES; i++)
		session->phase_ms[i] = -1;
	*ret_session = session;
	return 0;
}

static void login_free(struct login *login)
{
	snapshot_unref(login->node_snapshot);
	free(login->http);
	free(login);
}

static void login_free_deferred(struct loop_deferred *deferred)
{
	struct login *login = container_of(deferred, struct login, deferred);

	if (login->session)
		login->session->login = NULL;
	login_free(login);
}

static void on_trim(struct timer *timer);

static void arm_trim(struct session_pool *pool)
{
	pool->retired_before = pool->retired;
	loop_timer_set(pool->loop, &pool->trim_timer, TRIM_MS, on_trim);
}

/*
 * A login takes a hundred times the memory of the session that it becomes, most of it OpenSSL's;
 * after many at once the heap is mostly free, and full of pages that only the allocator knows.
 * They go back when the crowd is over: giving them back while it lasts would be in vain.
 */
static void on_trim(struct timer *timer)
{
	struct session_pool *pool = container_of(timer, struct session_pool, trim_timer);

	if (pool->retired - pool->retired_before >= TRIM_LOGINS / 8) {
		arm_trim(pool);
		return;
	}
	pool->retired = 0;
	malloc_trim(0);
}

/* Frames above may still look at it. */
void session_retire_login(struct session *session)
{
	session->login->retired = true;
	loop_timer_del(session->pool->loop, &session->login->turn);
	loop_defer(session->pool->loop, &session->login->deferred, login_free_deferred);
	if (++session->pool->retired >= TRIM_LOGINS && !timer_armed(&session->pool->trim_timer))
		arm_trim(session->pool);
}

static void session_free_deferred(struct loop_deferred *deferred)
{
	struct session *session = container_of(deferred, struct session, deferred);
	struct session_pool *pool = session->pool;

	if (session->login && session->login->retired) {
		session->login->session = NULL; /* freed by its own call */
	} else if (session->login) {
		login_free(session->login);
	}
	snapshot_unref(session->snapshot);
	free(session->account);
	free(session->via);
	free(session);
	if (!pool->count && pool->on_empty)
		pool->on_empty(pool);
}

void session_forget(struct session *session)
{
	struct session_pool *pool = session->pool;

	list_del(&session->link);
	pool->count--;
	loop_defer(pool->loop, &session->deferred, session_free_deferred);
}

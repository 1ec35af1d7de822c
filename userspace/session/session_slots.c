// SPDX-License-Identifier: Apache-2.0
/*
 * Where sessions live: slots with generations, so that a handle of a session that is gone finds
 * nothing, and memory that goes at the end of the loop's batch, so that a frame above may still
 * look at session->state.
 */
#include "session/session.h"

#include <errno.h>
#include <stdlib.h>

#define NO_SLOT UINT32_MAX

/* One worker, one thread, one pool: messages from other threads find it here. */
static _Thread_local struct session_pool *current_pool;

struct session_pool *session_pool_current(void)
{
	return current_pool;
}

void session_slots_init(struct session_pool *pool)
{
	list_init(&pool->sessions);
	pool->first_free = NO_SLOT;
	current_pool = pool;
}

void session_slots_fini(struct session_pool *pool)
{
	free(pool->slots);
	pool->slots = NULL;
	pool->slot_count = 0;
	current_pool = NULL;
}

static int slots_grow(struct session_pool *pool)
{
	uint32_t count = pool->slot_count ? pool->slot_count * 2 : 64;
	struct session_slot *slots = realloc(pool->slots, count * sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = pool->slot_count; i < count; i++)
		slots[i] = (struct session_slot){ .next_free = i + 1 < count ? i + 1 : NO_SLOT };
	pool->first_free = pool->slot_count;
	pool->slots = slots;
	pool->slot_count = count;
	return 0;
}

uint64_t session_handle(const struct session *session)
{
	return (uint64_t)session->pool->slots[session->slot].generation << 32 | session->slot;
}

struct session *session_find(struct session_pool *pool, uint64_t handle)
{
	uint32_t slot = (uint32_t)handle;

	if (slot >= pool->slot_count || pool->slots[slot].generation != (uint32_t)(handle >> 32))
		return NULL;
	return pool->slots[slot].session;
}

int session_new(struct session_pool *pool, struct session **ret_session)
{
	struct session *session;
	struct login *login;
	int r;

	if (pool->first_free == NO_SLOT) {
		r = slots_grow(pool);
		if (r < 0)
			return r;
	}
	session = calloc(1, sizeof(*session));
	login = calloc(1, sizeof(*login));
	if (!session || !login) {
		free(session);
		free(login);
		return -ENOMEM;
	}
	session->login = login;
	login->session = session;
	session->pool = pool;
	session->slot = pool->first_free;
	pool->first_free = pool->slots[session->slot].next_free;
	pool->slots[session->slot].session = session;
	list_add_tail(&pool->sessions, &session->link);
	pool->count++;
	session->mech = session->route = -1;
	for (int i = 0; i < PHASES; i++)
		session->phase_ms[i] = -1;
	*ret_session = session;
	return 0;
}

static void login_free_deferred(struct loop_deferred *deferred)
{
	struct login *login = container_of(deferred, struct login, deferred);

	if (login->session)
		login->session->login = NULL;
	free(login->http);
	free(login);
}

/* Frames above may still look at it. */
void session_retire_login(struct session *session)
{
	session->login->retired = true;
	loop_timer_del(session->pool->loop, &session->login->turn);
	loop_defer(session->pool->loop, &session->login->deferred, login_free_deferred);
}

static void session_free_deferred(struct loop_deferred *deferred)
{
	struct session *session = container_of(deferred, struct session, deferred);
	struct session_pool *pool = session->pool;

	if (session->login && session->login->retired) {
		session->login->session = NULL; /* freed by its own call */
	} else if (session->login) {
		free(session->login->http);
		free(session->login);
	}
	snapshot_unref(session->snapshot);
	snapshot_unref(session->node_snapshot);
	free(session->account);
	free(session->via);
	free(session);
	if (!pool->count && pool->on_empty)
		pool->on_empty(pool);
}

void session_forget(struct session *session)
{
	struct session_pool *pool = session->pool;
	struct session_slot *slot = &pool->slots[session->slot];

	slot->session = NULL;
	slot->generation++;
	slot->next_free = pool->first_free;
	pool->first_free = session->slot;
	list_del(&session->link);
	pool->count--;
	loop_defer(pool->loop, &session->deferred, session_free_deferred);
}

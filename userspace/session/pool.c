// SPDX-License-Identifier: Apache-2.0
/*
 * What happens to all sessions of a worker, or to those of one account: a new snapshot, a hold that
 * was changed, a kick, the end of the process. What each of them means for a session stands in the
 * row of its state.
 */
#include "session/kind.h"

/* One worker, one thread, one pool: messages from other threads find it here. */
static _Thread_local struct session_pool *current_pool;

struct session_pool *session_pool_current(void)
{
	return current_pool;
}

int session_pool_init(struct session_pool *pool, const struct session_kind *kinds,
	struct router *router, struct loop *loop, unsigned worker)
{
	int r;

	*pool = (struct session_pool){ .kinds = kinds, .router = router, .loop = loop };
	list_init(&pool->sessions);
	current_pool = pool;
	r = relay_engine_init(&pool->engine, loop, &router->kernel, worker);
	if (r >= 0)
		r = resolver_new(loop, &pool->resolver);
	list_init(&pool->knocks);
	slots_init(&pool->tunnels);
	reaches_init(&pool->reaches, router, loop, pool->resolver, &pool->snapshot);
	return r;
}

void session_pool_kill(struct session_pool *pool)
{
	list_for_each_safe (node, next, &pool->sessions) {
		struct session *session = list_entry(node, struct session, link);

		if (session->relay)
			relay_stop(session->relay, true);
		session_close(
			session, session_is_ending(session) ? session->reason : REASON_SHUTDOWN);
	}
}

void session_pool_fini(struct session_pool *pool)
{
	session_pool_kill(pool);
	loop_timer_del(pool->loop, &pool->fold_timer);
	loop_timer_del(pool->loop, &pool->trim_timer);
	relay_engine_fini(&pool->engine);
	reaches_fini(&pool->reaches); /* may still wait for names */
	resolver_free(pool->resolver);
	pool->resolver = NULL;
	slots_fini(&pool->tunnels);
	current_pool = NULL;
	snapshot_unref(pool->snapshot);
	pool->snapshot = NULL;
}

static void follow_idle(struct session_pool *pool, uint64_t idle_ms)
{
	list_for_each_safe (node, next, &pool->sessions) {
		struct session *session = list_entry(node, struct session, link);

		if (session->relay)
			relay_set_idle(session->relay, idle_ms);
	}
}

void session_pool_follow(struct session_pool *pool, struct snapshot *snapshot)
{
	struct snapshot *before = pool->snapshot;
	uint64_t idle_ms = snapshot->config->server.bridge_idle_ms;

	pool->snapshot = snapshot_ref(snapshot);
	agents_follow(&pool->reaches.agents);
	list_for_each_safe (node, next, &pool->sessions) {
		struct session *session = list_entry(node, struct session, link);

		if (session->kind->followed)
			session->kind->followed(session);
	}
	if (before && before->config->server.bridge_idle_ms != idle_ms)
		follow_idle(pool, idle_ms);
	snapshot_unref(before);
}

/* ---- an account ---- */

void session_pool_holds_changed(struct session_pool *pool)
{
	reaches_holds_changed(&pool->reaches);
}

static void kick(struct session *session, enum session_kick how)
{
	if (session->relay && session->tls_at_agent) { /* HND-34: its agent says goodbye */
		relay_part(session->relay, RELAY_END_PARTED);
		return;
	}
	if (session->relay)
		relay_stop(session->relay, true);
	if (how == KICK_CLOSES)
		session_close(session, REASON_KICKED);
	else if (session->kind->kicked)
		session->kind->kicked(session);
	else
		session_unavailable(session, REASON_KICKED);
}

unsigned session_pool_kick(struct session_pool *pool, const char *account)
{
	unsigned count = 0;

	list_for_each_safe (node, next, &pool->sessions) {
		struct session *session = list_entry(node, struct session, link);
		enum session_kick how = session_states[session->state].kick;

		if (how == KICK_NOT || !session->account || strcmp(session->account, account) != 0)
			continue;
		count++;
		kick(session, how);
	}
	return count;
}

/* ---- the end ---- */

static void shut_down(struct session *session)
{
	switch (session_states[session->state].shutdown) {
	case SHUTDOWN_NOT:
		break;
	case SHUTDOWN_CLOSES:
		session_close(session, REASON_SHUTDOWN);
		break;
	case SHUTDOWN_ANSWERS_HEAD:
		if (session->login->leg.in.len)
			session->kind->refuse(session, REASON_SHUTDOWN);
		else
			session_close(session, REASON_SHUTDOWN);
		break;
	case SHUTDOWN_SERVES:
		if (session->kind->end_after) {
			session->kind->end_after(session, REASON_SHUTDOWN);
			break;
		}
		/* fall through */
	case SHUTDOWN_ANSWERS:
		session->kind->refuse(session, REASON_SHUTDOWN);
	}
}

void session_pool_shut_down(struct session_pool *pool)
{
	pool->shutting_down = true;
	list_for_each_safe (node, next, &pool->sessions)
		shut_down(list_entry(node, struct session, link));
	if (!pool->count && pool->on_empty)
		pool->on_empty(pool);
}

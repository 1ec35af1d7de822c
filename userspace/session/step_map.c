// SPDX-License-Identifier: Apache-2.0
/*
 * map: from the account to the node's name. A cache hit goes on at once on this thread; a miss
 * comes back through the worker's mailbox, addressed by handle, because the session may be gone by
 * then. Without an answer it is the default destination (MAP-1), or nowhere if the operator says
 * so.
 */
#include "session/steps.h"

static void got_answer(struct session *session, const struct mapping_answer *answer)
{
	session->route = (int8_t)answer->route;
	session->cache_hit = answer->hit;
	session_phase_end(session, PHASE_LOOKUP);
	if (answer->route == MAPPING_UNAVAILABLE) {
		session_unavailable(session, REASON_STORE_DOWN);
		return;
	}
	session_set_node_name(session, answer->destination);
	session_set_state(session, session->kind->reach ? session->kind->reach(session) : S_DIAL);
}

/* Runs on the worker's loop; the pool is found through the reply's mailbox owner. */
static void on_reply(struct post *post)
{
	struct mapping_reply *reply = container_of(post, struct mapping_reply, post);
	struct session_pool *pool = session_pool_current();
	struct session *session = pool ? session_find(pool, reply->cookie) : NULL;

	if (session && session->state == S_LOOKUP) {
		got_answer(session, &reply->answer);
		session_run(session);
	}
	mapping_reply_free(reply);
}

void step_lookup_enter(struct session *session)
{
	struct mapping_answer answer;
	int r;

	session_phase_start(session);
	r = mapping_lookup(session->pool->server->mapping, view_str(session->account),
		&session->pool->loop->mailbox, on_reply, session_handle(session), &answer);
	if (r < 0)
		session_unavailable(session, REASON_INTERNAL);
	else if (r == MAPPING_HIT)
		got_answer(session, &answer);
}

void step_lookup_deadline(struct session *session)
{
	session_unavailable(session, REASON_INTERNAL);
}

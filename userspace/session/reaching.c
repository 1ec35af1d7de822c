// SPDX-License-Identifier: Apache-2.0
/*
 * hold, map and dial: the session's reach (reach.h) is under way from HOLD on, or from DIAL on
 * where the node's name is known; here is what its callbacks mean for the session's state. While an
 * operator delays the account it waits before the lookup, so that it finds what was written
 * meanwhile (SES-43, mapping.md section 11). Without an answer it is the default destination
 * (MAP-1), or nowhere if the operator says so. Once the leg is up the kind talks to the node.
 */
#include "session/steps.h"

/* ---- hold and map ---- */

static void on_phase(void *arg, enum reach_phase phase)
{
	struct session *session = arg;

	if (phase == REACH_HOLD) {
		session_phase_start(session);
		return;
	}
	if (session->login->reach.from_loop) /* it has waited */
		session_phase_end(session, PHASE_HOLD);
	session_set_state(session, S_LOOKUP);
}

static void on_found(void *arg, const struct mapping_answer *answer)
{
	struct session *session = arg;
	bool from_loop = session->login->reach.from_loop;

	session->choice = (int8_t)answer->choice;
	session->cache_hit = answer->hit;
	session_phase_end(session, PHASE_LOOKUP);
	if (answer->choice == MAPPING_UNAVAILABLE)
		return;
	session_set_node_name(session, answer->destination);
	session_set_state(session, session->kind->found ? session->kind->found(session) : S_DIAL);
	if (from_loop)
		session_run(session);
}

/* ---- dial ---- */

/* The session is counted with the node for as long as it lasts. */
static void on_chosen(void *arg, const struct reach_target *target)
{
	struct session *session = arg;

	session->node = target->node;
	session->kept = NODE_KEEP_NOTHING;
	session->login->destination = target->destination;
	if (target->snapshot == session->snapshot)
		return;
	snapshot_unref(session->login->node_snapshot);
	session->login->node_snapshot = snapshot_ref(target->snapshot);
}

static void on_up(void *arg)
{
	struct session *session = arg;

	session->kind->connected(session);
}

static void on_event(void *arg)
{
	struct session *session = arg;

	session->kind->node_event(session);
}

static void on_down(void *arg)
{
	struct session *session = arg;

	if (session->kind->node_down)
		session->kind->node_down(session);
}

static enum node_step on_step(void *arg)
{
	const struct session *session = arg;

	return session->kind->node_step ? session->kind->node_step(session) : NODE_STEP_RESPONSE;
}

static void on_after(void *arg)
{
	session_update_watch(arg);
}

static const struct addr *on_local(void *arg)
{
	return session_local(arg);
}

/* ---- both ---- */

static void on_done(void *arg, enum reach_failure failure, enum reach_phase at)
{
	struct session *session = arg;
	bool from_loop = session->login->reach.from_loop;

	if (session->state ==
		S_HOLD) /* no node has to do with it, not even that of an attempt before */
		session->node = NULL;
	if (at == REACH_DIAL && failure != UNREACHED_NO_VERDICT) /* else the dial was over */
		session_phase_end(session, PHASE_DIAL);
	session_unavailable(session, reach_failures[failure].reason);
	if (from_loop)
		session_run(session);
}

/* HND-10. */
static void on_kept(void *arg, enum node_keep why)
{
	struct session *session = arg;

	session->kept = why;
}

/* Where no agent may ever be asked, no reason is told. */
static enum node_keep on_offer(void *arg, const struct handoff_open **ret_open)
{
	struct session *session = arg;

	return session->kind->offer ? session->kind->offer(session, ret_open) : NODE_KEEP_NOTHING;
}

static struct reach_params params_of(struct session *session)
{
	static const struct reach_ops ops = {
		.phase = on_phase,
		.found = on_found,
		.chosen = on_chosen,
		.offer = on_offer,
		.done = on_done,
		.dial = { .up = on_up,
			.event = on_event,
			.down = on_down,
			.step = on_step,
			.after = on_after,
			.local = on_local,
			.kept = on_kept },
	};
	struct reach_params params = {
		.ops = &ops,
		.arg = session,
		.reaches = &session->pool->reaches,
		.client = &session->client,
		.snapshot = session->snapshot,
		.protocol = session->settings->protocol,
		.proxy_id = session->login->proxy_id,
		.proxy_tls = session->login->proxy_tls.version ? &session->login->proxy_tls : NULL,
		.number = session->number,
		.hops_left = session->login->ttl,
		.talk_bytes = session->kind->talk_bytes,
		.client_tls = stream_is_tls(&session->login->leg.stream),
	};

	return params;
}

void step_hold_enter(struct session *session)
{
	struct reach_params params = params_of(session);

	reach_start(&session->login->reach, &params, session->account);
}

void step_lookup_enter(struct session *session)
{
	session_phase_start(session);
}

void step_lookup_deadline(struct session *session)
{
	session_unavailable(session, REASON_INTERNAL);
}

void step_dial_enter(struct session *session)
{
	struct reach_params params = params_of(session);

	session_phase_start(session);
	reach_to(&session->login->reach, &params, session->login->node_name);
}

void step_dial_deadline(struct session *session)
{
	dial_expired(session->login->reach.dial);
}

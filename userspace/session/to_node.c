// SPDX-License-Identifier: Apache-2.0
/*
 * dial: the session's dial (dial.h): which node and leg it is, what the breaker says, and what
 * follows. Then the kind talks to the node.
 */
#include "reach/dial.h"
#include "session/steps.h"
#include "base/log.h"

/*
 * Where a destination is declared. A session that began before a reload may be sent to a node that
 * came with it: that node is found in the newer snapshot. In the moment in which the mapping knows
 * the node and this worker does not yet, it is the default, as it was until now.
 */
static struct snapshot *find_node(struct session *session, const char *destination, int *ret_index)
{
	struct snapshot *newest = session->pool->snapshot;

	*ret_index = snapshot_find(session->snapshot, destination);
	if (*ret_index >= 0)
		return session->snapshot;
	*ret_index = snapshot_find(newest, destination);
	if (*ret_index >= 0) {
		snapshot_unref(session->node_snapshot);
		session->node_snapshot = snapshot_ref(newest);
		return newest;
	}
	*ret_index = snapshot_find(
		session->snapshot, session->snapshot->config->routing.default_destination);
	return session->snapshot;
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

static void on_failed(void *arg, enum reach_failure failure)
{
	struct session *session = arg;

	if (failure != UNREACHED_NO_VERDICT) /* the dial was over */
		session_phase_end(session, PHASE_DIAL);
	session_unavailable(session, reach_failures[failure].reason);
}

static void on_after(void *arg)
{
	session_update_watch(arg);
}

static const struct addr *on_local(void *arg)
{
	return session_local(arg);
}

static const struct dial_ops dial_ops = {
	.up = on_up,
	.event = on_event,
	.down = on_down,
	.step = on_step,
	.failed = on_failed,
	.after = on_after,
	.local = on_local,
};

/* Chooses node and leg. Returns 0, or why it is not reached. */
static int make_dial(struct session *session)
{
	const struct config *config = session->snapshot->config;
	enum protocol protocol = session->settings->protocol;
	int index;
	struct snapshot *snapshot = find_node(session, session->login->node_name, &index);
	struct dial_params params = {
		.ops = &dial_ops,
		.arg = session,
		.router = session->pool->router,
		.newest = &session->pool->snapshot,
		.loop = session->pool->loop,
		.resolver = session->pool->resolver,
		.node = snapshot->nodes[index],
		.destination = &snapshot->config->destinations[index],
		.protocol = protocol,
		.tls = snapshot->legs[index].tls[protocol],
		.client = &session->client,
		.proxy_id = session->login->proxy_id,
		.number = session->number,
		.window_ends_ms =
			session->login->phase_started_ms + config->server.backend_timeout_ms,
		.retries = (unsigned)config->server.backend_connect_retries,
		.reads_secrets = !session->kind->by_request,
		.talk_bytes = session->kind->talk_bytes,
	};

	session->node = params.node;
	session->destination = params.destination;
	return dial_new(&params, &session->login->dial);
}

void step_dial_enter(struct session *session)
{
	const struct config_leg *settings;

	session_phase_start(session);
	if (make_dial(session) < 0) {
		session_unavailable(session, REASON_INTERNAL);
		return;
	}
	settings = session->login->dial->settings;
	if (!settings->declared) {
		log_event_limited(LOGL_WARN, "node_no_protocol", session->node->name, "node",
			session->node->name, NULL);
		session_unavailable(session, REASON_NODE_NO_PROTOCOL);
	} else if (!dial_enter(session->login->dial)) {
		session_unavailable(session, REASON_NODE_DOWN);
	} else if (settings->forwarding == CONFIG_FORWARDING_XCLIENT && session->login->ttl <= 1) {
		session_unavailable(session, REASON_LOOP); /* SES-63 */
	} else {
		dial_start(session->login->dial);
	}
}

void step_dial_deadline(struct session *session)
{
	dial_expired(session->login->dial);
}

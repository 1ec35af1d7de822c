// SPDX-License-Identifier: Apache-2.0
/*
 * splice: the node said yes and its answer has reached the client's socket; now both legs with
 * their left-over bytes go to the relay, in order and before anything else (#47). From here on
 * the session holds no protocol state, no buffer and no credential.
 */
#include "session/steps.h"
#include "base/clock.h"
#include "net/sock.h"

#include <assert.h>

#define FOLD_MS 1000
/* The node's socket gets its keepalive when a session is that old: TCP counts from the last segment
 * on, and most sessions are over before. */
#define KEEP_ALIVE_AFTER_MS 10000

static void keep_node_alive(struct session *session, uint64_t now)
{
	if (session->kept_alive || now - session->accepted_ms < KEEP_ALIVE_AFTER_MS)
		return;
	session->kept_alive = true;
	sock_keep_alive(relay_fd(session->relay, RELAY_NODE));
}

static void on_fold(struct timer *timer)
{
	struct session_pool *pool = container_of(timer, struct session_pool, fold_timer);
	bool any = false;

	list_for_each (node, &pool->sessions) {
		struct session *session = list_entry(node, struct session, link);

		if (session->relay) {
			session_fold(session);
			keep_node_alive(session, pool->loop->now_ms);
			any = true;
		}
	}
	if (any)
		loop_timer_set(pool->loop, &pool->fold_timer, FOLD_MS, on_fold);
}

static void on_relay_done(struct relay *relay, void *arg, enum relay_end end)
{
	static const enum session_reason reasons[] = {
		[RELAY_END_CLIENT_EOF] = REASON_CLIENT_EOF,
		[RELAY_END_NODE_EOF] = REASON_NODE_EOF,
		[RELAY_END_CLIENT_ERROR] = REASON_CLIENT_ERROR,
		[RELAY_END_NODE_ERROR] = REASON_NODE_ERROR,
		[RELAY_END_KEEPALIVE] = REASON_KEEPALIVE,
		[RELAY_END_IDLE] = REASON_IDLE,
		[RELAY_END_TRUNCATED] = REASON_TRUNCATED,
		[RELAY_END_KEY_UPDATE] = REASON_KEY_UPDATE,
		[RELAY_END_STOPPED] = REASON_SHUTDOWN,
		[RELAY_END_PARTED] = REASON_KICKED,
	};
	struct session *session = arg;

	static_assert(ARRAY_SIZE(reasons) == RELAY_END_PARTED + 1, "a reason for each");
	/* HND-35: the agent did not take it. */
	if (end == RELAY_END_NODE_EOF && session->tls_at_agent && !relay_bytes(relay, RELAY_DOWN))
		end = RELAY_END_NODE_ERROR;
	/* OPS-22: both ended, the node first: the answer to LOGOUT or QUIT was the last word. */
	if (end == RELAY_END_NODE_EOF && !session->kind->by_request)
		session_close(session, REASON_CLIENT_QUIT);
	else
		session_close(session, reasons[end]);
}

static void count_in(struct session *session)
{
	struct router *router = session->pool->router;

	session->counted_active = true;
	atomic_fetch_add(&session->node->active, 1);
	atomic_fetch_add(&session->node->protocol_active[session->settings->protocol], 1);
	if (!session->kind->by_request) { /* counted with its answer */
		atomic_fetch_add(&session->node->protocol_sessions[session->settings->protocol], 1);
		atomic_fetch_add(&session->node->sessions, 1);
	}
	for (int i = 0; i < 2; i++) {
		session->path[i] = (int8_t)relay_path_of(session->relay, (enum relay_direction)i);
		atomic_fetch_add(&router->paths[session->path[i]][i].active, 1);
		atomic_fetch_add(&router->paths[session->path[i]][i].started, 1);
	}
	if (!timer_armed(&session->pool->fold_timer))
		loop_timer_set(session->pool->loop, &session->pool->fold_timer, FOLD_MS, on_fold);
}

static const enum relay_mode modes[] = {
	[CONFIG_SPLICE_AUTO] = RELAY_MODE_AUTO,
	[CONFIG_SPLICE_SOCKMAP] = RELAY_MODE_SOCKMAP,
	[CONFIG_SPLICE_RECORD] = RELAY_MODE_RECORD,
	[CONFIG_SPLICE_KTLS] = RELAY_MODE_KTLS,
	[CONFIG_SPLICE_COPY] = RELAY_MODE_COPY,
};
static_assert(ARRAY_SIZE(modes) == CONFIG_SPLICE_MODES, "the relay's word for each");

bool session_takes_records(const struct session *session)
{
	return relay_takes_records(modes[session->snapshot->config->splice.mode]);
}

int session_start_relay(struct session *session)
{
	struct node_leg node = session->login->node_leg;
	const struct config_splice *splice = &session->snapshot->config->splice;
	struct relay_params params = {
		.engine = &session->pool->engine,
		.settings = {
			.mode = modes[splice->mode],
			.backlog_limit = (uint32_t)splice->backlog_limit_bytes,
			.bulk_rate = splice->bulk_rate_bytes,
			.arm_ms = (uint32_t)splice->arm_after_ms,
			.stall_ms = splice->stall_after_ms,
			.same_host = splice->same_host == CONFIG_SAME_HOST_AUTO,
		},
		.session = session->number,
		.bytes = { session->bytes[RELAY_UP] + node.sent_up, session->bytes[RELAY_DOWN] },
		.protocol = protocol_name(session->settings->protocol),
		.idle_ms = session->pool->snapshot->config->server.bridge_idle_ms,
		.owed_ms = SESSION_FAREWELL_MS,
		.one_way = node.one_way,
		.parts = session->tls_at_agent,
		.watches = { &session->login->leg.watch, &node.leg->watch },
		.done = on_relay_done,
		.arg = session,
	};
	struct stream legs[2] = { session->login->leg.stream, node.leg->stream };
	struct buf early[2] = { session->login->leg.in, node.leg->in };
	int r;

	r = relay_start(&params, legs, early, &session->relay);
	session->login->leg.stream = legs[RELAY_CLIENT]; /* zeroed if the relay took them */
	node.leg->stream = legs[RELAY_NODE];
	session->login->leg.in = early[RELAY_CLIENT];
	node.leg->in = early[RELAY_NODE];
	return r;
}

void step_splice_progress(struct session *session)
{
	if (session->login->leg.out.len) /* the node's answer goes first */
		return;
	if (session_start_relay(session) < 0)
		session_close(session, REASON_INTERNAL);
	else
		session_set_state(session, S_ESTABLISHED);
}

void step_established_enter(struct session *session)
{
	session_drop_dial(session);
	if (session->kind->release)
		session->kind->release(session);
	if (session->login->front)
		session->kind->front->free(session->login->front);
	session->login->front = NULL;
	buf_fini(&session->login->leg.in);
	buf_fini(&session->login->leg.out);
	session_retire_login(session);
	count_in(session);
}

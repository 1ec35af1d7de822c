// SPDX-License-Identifier: Apache-2.0
/*
 * dial: from the node's name to a leg on which its dialogue can begin (sessions.md section 8):
 * breaker, then attempts inside one window, each of which is a net/connect: addresses (none of our
 * own), source, PROXY header, TLS. Then step_replay.c talks. Every failure ends in dial_failed(),
 * which decides between another address, another attempt and the unavailable reply.
 */
#include "session/dial.h"
#include "session/steps.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define RETRY_PAUSE_MS 200
#define NODE_IN_BYTES 131072
#define NODE_OUT_BYTES 65536

/* Why an address is not tried. */
enum { ADDRESS_IS_OURS = CONNECT_REFUSED, ADDRESS_WITHOUT_SOURCE };

static void attempt_start(struct session *session);

static const struct dial_fault fault_internal = { REASON_INTERNAL, HEALTH_NONE, false,
	.error = -ENOMEM };

static void on_pause_over(struct timer *timer)
{
	struct dial *dial = container_of(timer, struct dial, timer);
	struct session *session = dial->session;

	attempt_start(session);
	session_update_watch(session);
}

void dial_failed(struct session *session, struct dial_fault fault)
{
	struct dial *dial = session->login->dial;
	bool was_opening = dial->connect.phase == CONNECT_OPEN;

	if (fault.reason != REASON_INTERNAL && fault.reason != REASON_LOOP)
		dial_note_failure(session, &fault);
	dial_close_leg(dial);
	if (fault.retryable && was_opening && connect_has_next(&dial->connect)) {
		connect_next(&dial->connect);
		return;
	}
	if (fault.retryable && dial->retries_left &&
		clock_mono_ms() + RETRY_PAUSE_MS < dial->window_ends_ms) {
		dial->retries_left--;
		connect_stop(&dial->connect);
		loop_timer_set(session->pool->loop, &dial->timer, RETRY_PAUSE_MS, on_pause_over);
		return;
	}
	if (fault.event != HEALTH_NONE)
		atomic_fetch_add(&session->node->dial_errors, 1);
	dial_report(session, fault.event);
	session_phase_end(session, PHASE_DIAL);
	session_unavailable(session, fault.reason);
}

/* A node that was told who the client is may be slow for that client alone. */
static enum health_event window_over_event(const struct dial *dial)
{
	return dial->settings->forwarding == CONFIG_FORWARDING_PROXY &&
			dial->connect.phase >= CONNECT_TLS
		? HEALTH_FAIL_CLIENT
		: HEALTH_FAIL_HOST;
}

void step_dial_deadline(struct session *session)
{
	struct dial *dial = session->login->dial;
	struct dial_fault fault = { REASON_NODE_TIMEOUT, window_over_event(dial), false,
		.error = -ETIMEDOUT,
		.cause = dial->connect.phase == CONNECT_OPEN ? NULL : "no answer in time" };

	if (dial->connect.phase != CONNECT_IDLE)
		dial_note_failure(session, &fault);
	atomic_fetch_add(&session->node->dial_errors, 1);
	dial_report(session, fault.event);
	session_phase_end(session, PHASE_DIAL);
	session_unavailable(session, REASON_NODE_TIMEOUT);
}

/* ---- the leg ---- */

void dial_update_watch(struct dial *dial)
{
	struct leg *leg = &dial->leg;

	if (!leg->watch.loop || dial->connect.phase != CONNECT_UP)
		return;
	if (dial->over) {
		/* The node's answer waits for the client: nobody reads here, and epoll would
		 * report a hang-up again and again. The relay watches anew. */
		loop_watch_del(&leg->watch);
		return;
	}
	if (leg_watch(leg, leg_events(leg, true, leg->out.len)) < 0)
		dial_failed(dial->session, fault_internal);
}

static void on_node_event(struct loop_watch *watch, uint32_t epoll_events)
{
	struct dial *dial = container_of(watch, struct dial, leg.watch);
	struct session *session = dial->session;

	loop_work_on(session->pool->loop, session->number);
	if (connect_is_under_way(&dial->connect))
		connect_event(&dial->connect, epoll_events);
	else if (dial->connect.phase == CONNECT_UP && !dial->over)
		session->kind->node_event(session);
	session_update_watch(session);
}

void dial_start_tls(struct session *session)
{
	connect_secure(&session->login->dial->connect);
}

/* ---- one attempt ---- */

static int choose_source(struct connect *connect, const struct addr *addr, struct addr *ret_source,
	uint64_t *ret_limit_ms)
{
	struct dial *dial = container_of(connect, struct dial, connect);
	struct session *session = dial->session;
	uint64_t now = clock_mono_ms();
	uint64_t left = dial->window_ends_ms > now ? dial->window_ends_ms - now : 0;

	if (server_is_own_listener(session->pool->server, session->pool->snapshot, addr)) {
		log_event_limited(
			LOGL_ERROR, "loop", session->node->name, "node", session->node->name, NULL);
		return ADDRESS_IS_OURS;
	}
	*ret_limit_ms =
		node_connect_budget_ms(left, connect_has_next(connect) || dial->retries_left);
	return node_source_next(session->node, session->destination->source_ips,
		       session->destination->source_ip_count, addr->sa.sa_family, ret_source) < 0
		? ADDRESS_WITHOUT_SOURCE
		: 0;
}

static int write_proxy_header(struct connect *connect)
{
	struct dial *dial = container_of(connect, struct dial, connect);
	struct session *session = dial->session;
	unsigned char header[PROXYHDR_MAX_BYTES];
	size_t len;

	if (dial->settings->forwarding != CONFIG_FORWARDING_PROXY)
		return 0;
	len = proxyhdr_write(
		&session->client, session_local(session), session->login->proxy_id, header);
	return buf_append(&dial->leg.out, header, len);
}

static int secure(struct connect *connect)
{
	struct dial *dial = container_of(connect, struct dial, connect);
	struct stream *stream = &dial->leg.stream;
	int r;

	if (!stream_is_tls(stream)) {
		if (tls_stream_connect(stream, dial->tls) < 0)
			return CONNECT_OURS;
		tls_stream_read_ahead(stream, true);
	}
	r = tls_stream_handshake(stream);
	dial->secured = r == 0;
	return r;
}

/* The leg stands (again, after STARTTLS): the node's dialogue goes on. */
static void on_up(struct connect *connect)
{
	struct session *session = container_of(connect, struct dial, connect)->session;

	session->kind->connected(session);
}

/* A shortage of ours says nothing about the node; another address or a little later it may be
 * over. */
static struct dial_fault unreachable(struct session *session, int error, const char *cause)
{
	bool shortage = dial_is_shortage(session, error);

	return (struct dial_fault){ shortage ? REASON_INTERNAL : REASON_NODE_UNREACHABLE,
		shortage ? HEALTH_NONE : HEALTH_FAIL_HOST, true, .error = error, .cause = cause };
}

static struct dial_fault fault_of(struct session *session, enum connect_phase phase, int outcome)
{
	switch (outcome) {
	case CONNECT_OURS:
		return fault_internal;
	case CONNECT_SLOW:
		return (struct dial_fault){ REASON_NODE_TIMEOUT, HEALTH_FAIL_HOST, true,
			.error = -ETIMEDOUT };
	case ADDRESS_IS_OURS:
		return (struct dial_fault){ REASON_LOOP, HEALTH_NONE, false, .error = -ELOOP };
	case ADDRESS_WITHOUT_SOURCE:
		return (struct dial_fault){ REASON_NODE_UNREACHABLE, HEALTH_FAIL_HOST, true,
			.error = -EADDRNOTAVAIL,
			.cause = "source_ips has no address of this family" };
	}
	switch (phase) {
	case CONNECT_RESOLVE:
		return unreachable(session, outcome, resolve_text(outcome));
	case CONNECT_PREAMBLE:
		return (struct dial_fault){ REASON_NODE_ERROR, HEALTH_FAIL_CLIENT, true,
			.error = outcome };
	case CONNECT_TLS:
		return (struct dial_fault){ REASON_TLS_NODE, HEALTH_FAIL_CLIENT, outcome != -EPROTO,
			.error = outcome };
	default:
		return unreachable(session, outcome, NULL);
	}
}

static void on_failed(struct connect *connect, int outcome)
{
	struct session *session = container_of(connect, struct dial, connect)->session;

	dial_failed(session, fault_of(session, connect->phase, outcome));
	session_update_watch(session);
}

static const struct connect_ops connect_ops = {
	.address = choose_source,
	.preamble = write_proxy_header,
	.secure = secure,
	.up = on_up,
	.failed = on_failed,
};

static void attempt_start(struct session *session)
{
	struct dial *dial = session->login->dial;

	connect_start(&dial->connect, session->destination->host, dial->settings->port);
}

/* ---- entry ---- */

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

/* Chooses node and leg. Returns false when the session was answered instead. */
static bool choose_leg(struct session *session)
{
	int index;
	struct snapshot *snapshot = find_node(session, session->login->node_name, &index);
	const struct config_leg *leg;

	session->node = snapshot->nodes[index];
	session->destination = &snapshot->config->destinations[index];
	leg = &session->destination->legs[session->settings->protocol];
	if (!leg->declared) {
		log_event_limited(LOGL_WARN, "node_no_protocol", session->node->name, "node",
			session->node->name, NULL);
		session_unavailable(session, REASON_NODE_NO_PROTOCOL);
		return false;
	}
	session->login->dial->settings = leg;
	session->login->dial->tls = snapshot->legs[index].tls[session->settings->protocol];
	return true;
}

static bool pass_breaker(struct session *session)
{
	enum health_gate gate =
		health_enter(session->node->health, &session->client, clock_mono_ms());

	if (gate == HEALTH_REFUSE) {
		session_unavailable(session, REASON_NODE_DOWN);
		return false;
	}
	session->login->dial->entered = true;
	session->login->dial->probe = gate == HEALTH_PROBE;
	return true;
}

void step_dial_enter(struct session *session)
{
	struct dial *dial = calloc(1, sizeof(*dial));
	const struct config *config = session->snapshot->config;

	if (!dial) {
		session_unavailable(session, REASON_INTERNAL);
		return;
	}
	session_phase_start(session);
	session->login->dial = dial;
	dial->session = session;
	dial->retries_left = (unsigned)config->server.backend_connect_retries;
	dial->window_ends_ms = session->login->phase_started_ms + config->server.backend_timeout_ms;
	leg_init(&dial->leg, NODE_IN_BYTES, NODE_OUT_BYTES);
	dial->connect = (struct connect){ .ops = &connect_ops,
		.loop = session->pool->loop,
		.resolver = session->pool->resolver,
		.leg = &dial->leg,
		.fn = on_node_event };
	if (!choose_leg(session) || !pass_breaker(session))
		return;
	dial->connect.tls_first = dial->settings->tls == CONFIG_TLS_IMPLICIT;
	if (dial->settings->forwarding == CONFIG_FORWARDING_XCLIENT && session->login->ttl <= 1) {
		session_unavailable(session, REASON_LOOP); /* SES-63 */
		return;
	}
	attempt_start(session);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Breaker, then attempts inside one window (sessions.md section 8), each of which is a
 * net/connect: addresses (none of our own), source, PROXY header, TLS. Every failure ends in
 * dial_failed(), which decides between another address, another attempt and the end.
 */
#include "reach/dial.h"
#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define RETRY_PAUSE_MS 200
#define NODE_IN_BYTES 131072
#define NODE_OUT_BYTES 65536

/* Why an address is not tried. */
enum { ADDRESS_IS_OURS = CONNECT_REFUSED, ADDRESS_WITHOUT_SOURCE };

static void attempt_start(struct dial *dial);

static const struct dial_fault fault_no_memory = { UNREACHED_NO_MEMORY, .error = -ENOMEM };

/* ---- what is valid when ---- */

/* A talk has begun, and is not over. */
static bool has_talk(const struct dial *dial)
{
	return dial->state >= DIAL_UP && dial->state <= DIAL_OVER;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

static void check(const struct dial *dial)
{
	enum connect_phase phase = dial->connect.phase;

	switch (dial->state) {
	case DIAL_NEW:
	case DIAL_PAUSE:
		assert(phase == CONNECT_IDLE && !stream_is_open(&dial->leg.stream));
		assert(timer_armed(&dial->timer) == (dial->state == DIAL_PAUSE));
		break;
	case DIAL_CONNECT:
		assert(connect_is_under_way(&dial->connect));
		break;
	case DIAL_UP:
	case DIAL_COMMITTED:
		assert(phase == CONNECT_UP && stream_is_open(&dial->leg.stream));
		break;
	case DIAL_SECURE:
		assert(phase == CONNECT_TLS && stream_is_open(&dial->leg.stream));
		break;
	case DIAL_OVER:
		assert(phase == CONNECT_UP);
		break;
	case DIAL_ENDED:
		assert(phase == CONNECT_IDLE && !stream_is_open(&dial->leg.stream));
	}
	assert(dial->state == DIAL_PAUSE || !timer_armed(&dial->timer));
}

#else

static void check(const struct dial *dial)
{
	(void)dial;
}

#endif

/* ---- breaker ---- */

bool dial_enter(struct dial *dial)
{
	enum health_gate gate =
		health_enter(dial->params.node->health, dial->params.client, clock_mono_ms());

	dial->breaker = gate == HEALTH_REFUSE ? BREAKER_OWED_NOTHING
		: gate == HEALTH_PROBE        ? BREAKER_PROBE
					      : BREAKER_ENTERED;
	return gate != HEALTH_REFUSE;
}

void dial_report(struct dial *dial, enum health_event event)
{
	struct node *node;
	bool probe;
	enum health_change change;

	if (!dial || dial->breaker == BREAKER_OWED_NOTHING)
		return;
	probe = dial->breaker == BREAKER_PROBE;
	dial->breaker = BREAKER_OWED_NOTHING;
	node = dial->params.node;
	change = health_report(node->health, event, probe, dial->params.client, clock_mono_ms());
	if (change != HEALTH_SAME)
		log_event(change == HEALTH_WENT_DOWN ? LOGL_WARN : LOGL_INFO,
			change == HEALTH_WENT_DOWN ? "node_down" : "node_up", "node", node->name,
			NULL);
}

/* ---- leaving ---- */

/* Ends what there is of the leg and the talk; the window and the addresses stay. */
static void close_leg(struct dial *dial)
{
	loop_timer_del(dial->params.loop, &dial->timer);
	agent_ask_stop(&dial->ask);
	leg_close(&dial->leg);
	if (has_talk(dial))
		dial->params.ops->down(dial->params.arg);
	dial->state = DIAL_ENDED;
}

void dial_free(struct dial *dial)
{
	if (!dial)
		return;
	dial_report(dial, HEALTH_NONE);
	connect_stop(&dial->connect);
	close_leg(dial);
	free(dial);
}

static void on_pause_over(struct timer *timer)
{
	struct dial *dial = container_of(timer, struct dial, timer);
	const struct dial_ops *ops = dial->params.ops;
	void *arg = dial->params.arg;

	attempt_start(dial);
	ops->after(arg);
}

/* Nothing is left to be tried. */
static void give_up(struct dial *dial, enum reach_failure failure)
{
	const struct reach_failure_row *row = &reach_failures[failure];

	connect_stop(&dial->connect);
	close_leg(dial);
	if (row->blame == BLAME_COUNTED)
		atomic_fetch_add(&dial->params.node->dial_errors, 1);
	dial_report(dial, row->event);
	dial->params.failed(dial->params.failed_arg, failure);
}

static void pause_before_next(struct dial *dial)
{
	dial->retries_left--;
	connect_stop(&dial->connect);
	dial->state = DIAL_PAUSE;
	loop_timer_set(dial->params.loop, &dial->timer, RETRY_PAUSE_MS, on_pause_over);
}

void dial_failed(struct dial *dial, struct dial_fault fault)
{
	const struct reach_failure_row *row = &reach_failures[fault.failure];
	bool again = row->again && dial->state != DIAL_COMMITTED;
	bool was_opening = dial->connect.phase == CONNECT_OPEN;

	check(dial);
	if (row->blame != BLAME_OURS)
		dial_note_failure(dial, &fault);
	close_leg(dial);
	if (again && was_opening && connect_has_next(&dial->connect)) {
		dial->state = DIAL_CONNECT;
		connect_next(&dial->connect);
	} else if (again && dial->retries_left &&
		clock_mono_ms() + RETRY_PAUSE_MS < dial->params.window_ends_ms) {
		pause_before_next(dial);
	} else {
		give_up(dial, fault.failure);
	}
}

/* A node that was told who the client is may be slow for that client alone. */
static struct dial_fault fault_of_window(const struct dial *dial)
{
	enum connect_phase phase = dial->connect.phase;
	bool told = dial->settings->forwarding == CONFIG_FORWARDING_PROXY && phase >= CONNECT_TLS;

	if (dial->state == DIAL_COMMITTED)
		return (struct dial_fault){ UNREACHED_NO_VERDICT, .error = -ETIMEDOUT,
			.cause = "no answer to the login in time" };
	if (agent_ask_is_unheard(&dial->ask)) /* of the node nothing is known */
		return (struct dial_fault){ UNREACHED_NO_AGENT, .error = -ETIMEDOUT,
			.cause = "its agent says nothing" };
	return (struct dial_fault){ told ? UNREACHED_TIMEOUT_CLIENT : UNREACHED_TIMEOUT,
		.error = -ETIMEDOUT, .cause = phase == CONNECT_OPEN ? NULL : "no answer in time" };
}

void dial_expired(struct dial *dial)
{
	struct dial_fault fault = fault_of_window(dial);

	check(dial);
	if (dial->connect.phase != CONNECT_IDLE)
		dial_note_failure(dial, &fault);
	give_up(dial, fault.failure);
}

/* ---- the leg ---- */

void dial_update_watch(struct dial *dial)
{
	struct leg *leg = &dial->leg;

	if (!leg->watch.loop || dial->connect.phase != CONNECT_UP)
		return;
	check(dial);
	if (dial->state == DIAL_OVER) {
		/* The node's answer waits for the client: nobody reads here, and epoll would
		 * report a hang-up again and again. The relay watches anew. */
		loop_watch_del(&leg->watch);
		return;
	}
	if (leg_watch(leg, leg_events(leg, true, leg->out.len)) < 0)
		dial_failed(dial, fault_no_memory);
}

static void on_node_event(struct loop_watch *watch, uint32_t epoll_events)
{
	struct dial *dial = container_of(watch, struct dial, leg.watch);
	const struct dial_ops *ops = dial->params.ops;
	void *arg = dial->params.arg;

	loop_work_on(dial->params.loop, dial->params.number);
	check(dial);
	if (connect_is_under_way(&dial->connect))
		connect_event(&dial->connect, epoll_events);
	else if (dial_talks(dial))
		ops->event(arg);
	ops->after(arg);
}

int dial_watch(struct dial *dial, uint32_t epoll_events)
{
	struct leg *leg = &dial->leg;

	if (!epoll_events) {
		loop_watch_del(&leg->watch);
		return 0;
	}
	if (leg->watch.loop)
		return leg_watch(leg, epoll_events);
	return loop_watch_add(
		dial->params.loop, &leg->watch, leg->stream.fd, epoll_events, on_node_event);
}

void dial_start_tls(struct dial *dial)
{
	dial->state = DIAL_SECURE;
	connect_secure(&dial->connect);
}

void dial_commit(struct dial *dial)
{
	dial->state = DIAL_COMMITTED;
	check(dial);
}

void dial_end_talk(struct dial *dial)
{
	dial->state = DIAL_OVER;
	if (dial_is_secured(dial) &&
		!dial_stream(dial)) /* what follows is no credential, and much */
		tls_stream_wipe_read(&dial->leg.stream, false);
}

/* ---- one attempt ---- */

static int choose_source(struct connect *connect, const struct addr *addr, struct addr *ret_source,
	uint64_t *ret_limit_ms)
{
	struct dial *dial = container_of(connect, struct dial, connect);
	const struct dial_params *params = &dial->params;
	uint64_t now = clock_mono_ms();
	uint64_t left = params->window_ends_ms > now ? params->window_ends_ms - now : 0;

	if (router_is_own_listener(params->router, *params->newest, addr)) {
		log_event_limited(
			LOGL_ERROR, "loop", params->node->name, "node", params->node->name, NULL);
		return ADDRESS_IS_OURS;
	}
	*ret_limit_ms =
		node_connect_budget_ms(left, connect_has_next(connect) || dial->retries_left);
	return node_source_next(params->node, params->destination->source_ips,
		       params->destination->source_ip_count, addr->sa.sa_family, ret_source) < 0
		? ADDRESS_WITHOUT_SOURCE
		: 0;
}

static int write_proxy_header(struct connect *connect)
{
	struct dial *dial = container_of(connect, struct dial, connect);
	const struct dial_params *params = &dial->params;
	unsigned char header[PROXYHDR_MAX_BYTES];
	size_t len;

	if (dial->settings->forwarding != CONFIG_FORWARDING_PROXY)
		return 0;
	len = proxyhdr_write(params->client, params->ops->local(params->arg), params->proxy_id,
		params->client_tls, header);
	return buf_append(&dial->leg.out, header, len);
}

static int secure(struct connect *connect)
{
	struct dial *dial = container_of(connect, struct dial, connect);
	struct stream *stream = &dial->leg.stream;
	int r;

	if (!stream_is_tls(stream)) {
		if (tls_stream_connect(stream, dial->params.tls) < 0)
			return CONNECT_OURS;
		tls_stream_read_ahead(stream, true);
		loop_watch_set_stage(&dial->leg.staged, LOOP_SECURE);
	}
	r = tls_stream_handshake(stream);
	if (r == 0) /* what the node says may repeat a credential */
		tls_stream_wipe_read(stream, true);
	return r;
}

/* The leg stands (again, after STARTTLS). */
static void on_up(struct connect *connect)
{
	struct dial *dial = container_of(connect, struct dial, connect);

	dial->state = DIAL_UP;
	loop_watch_set_stage(&dial->leg.staged, LOOP_ANSWER);
	dial->params.ops->up(dial->params.arg);
}

/* A shortage of ours says nothing about the node; another address or a little later it may be
 * over. */
static struct dial_fault unreachable(struct dial *dial, int error, const char *cause)
{
	return (struct dial_fault){ dial_is_shortage(dial, error) ? UNREACHED_SHORTAGE
								  : UNREACHED_UNREACHABLE,
		.error = error, .cause = cause };
}

static struct dial_fault fault_of(struct dial *dial, enum connect_phase phase, int outcome)
{
	switch (outcome) {
	case CONNECT_OURS:
		return fault_no_memory;
	case CONNECT_SLOW:
		return (struct dial_fault){ UNREACHED_SLOW, .error = -ETIMEDOUT };
	case ADDRESS_IS_OURS:
		return (struct dial_fault){ UNREACHED_LOOP, .error = -ELOOP };
	case ADDRESS_WITHOUT_SOURCE:
		return (struct dial_fault){ UNREACHED_UNREACHABLE, .error = -EADDRNOTAVAIL,
			.cause = "source_ips has no address of this family" };
	}
	switch (phase) {
	case CONNECT_RESOLVE:
		return unreachable(dial, outcome, resolve_text(outcome));
	case CONNECT_PREAMBLE:
		return (struct dial_fault){ UNREACHED_BROKEN, .error = outcome };
	case CONNECT_TLS:
		return (struct dial_fault){ outcome == -EPROTO ? UNREACHED_TLS_REFUSED
							       : UNREACHED_TLS_BROKEN,
			.error = outcome };
	default:
		return unreachable(dial, outcome, NULL);
	}
}

static void on_failed(struct connect *connect, int outcome)
{
	struct dial *dial = container_of(connect, struct dial, connect);
	const struct dial_ops *ops = dial->params.ops;
	void *arg = dial->params.arg;

	dial_failed(dial, fault_of(dial, connect->phase, outcome));
	ops->after(arg);
}

static const struct connect_ops connect_ops = {
	.address = choose_source,
	.preamble = write_proxy_header,
	.secure = secure,
	.up = on_up,
	.failed = on_failed,
};

/* ---- by way of the agent ---- */

static bool must_go_by_agent(const struct dial *dial)
{
	return dial->params.destination->handoff.mode == CONFIG_HANDOFF_REQUIRE;
}

void dial_keep_tls(struct dial *dial, enum node_keep why)
{
	if (why)
		atomic_fetch_add(&dial->params.node->kept[why], 1);
	if (dial->params.ops->kept)
		dial->params.ops->kept(dial->params.arg, why);
}

static void on_agent_opened(struct agent_ask *ask)
{
	struct dial *dial = container_of(ask, struct dial, ask);
	const struct dial_ops *ops = dial->params.ops;
	void *arg = dial->params.arg;

	loop_work_on(dial->params.loop, dial->params.number);
	dial_keep_tls(dial, NODE_KEEP_NOTHING);
	channel_stream_put(ask->stream, &dial->leg.stream);
	ask->stream = NULL;
	connect_made(&dial->connect);
	ops->after(arg);
}

/* By enum handoff_refusal; 0: there is no channel. What the agent said of its node is as if the
 * router had seen it. */
static const struct agent_fault {
	enum node_keep keep;
	struct dial_fault fault;
} agent_faults[] = {
	[0] = { NODE_KEEP_CHANNEL,
		{ UNREACHED_NO_AGENT, .error = -EHOSTUNREACH,
			.cause = "its agent cannot be reached" } },
	[HANDOFF_REFUSED_HOST] = { NODE_KEEP_NODE,
		{ UNREACHED_UNREACHABLE, .error = -EHOSTUNREACH,
			.cause = "its agent cannot reach it" } },
	[HANDOFF_REFUSED_CLIENT] = { NODE_KEEP_REFUSED,
		{ UNREACHED_BROKEN, .error = -ECONNRESET,
			.cause = "its agent was refused by it" } },
	[HANDOFF_REFUSED_NO_PROTOCOL] = { NODE_KEEP_NO_PROTOCOL,
		{ UNREACHED_NO_AGENT, .error = -EHOSTUNREACH,
			.cause = "its agent has no such leg" } },
	[HANDOFF_REFUSED_LIMIT] = { NODE_KEEP_LIMIT,
		{ UNREACHED_NO_AGENT, .error = -EHOSTUNREACH,
			.cause = "its agent has too many sessions" } },
	[HANDOFF_REFUSED_DRAINING] = { NODE_KEEP_DRAINING,
		{ UNREACHED_NO_AGENT, .error = -EHOSTUNREACH,
			.cause = "its agent is about to stop" } },
};
static_assert(ARRAY_SIZE(agent_faults) == HANDOFF_REFUSALS, "each has its meaning");

static void agent_refused(struct dial *dial, int refusal)
{
	bool of_node = refusal == HANDOFF_REFUSED_HOST || refusal == HANDOFF_REFUSED_CLIENT;

	dial_keep_tls(dial, agent_faults[refusal].keep);
	if (!of_node && !must_go_by_agent(dial)) {
		dial->agent_given_up = true;
		attempt_start(dial);
	} else {
		dial_failed(dial, agent_faults[refusal].fault);
	}
}

static void on_agent_failed(struct agent_ask *ask, int refusal)
{
	struct dial *dial = container_of(ask, struct dial, ask);
	const struct dial_ops *ops = dial->params.ops;
	void *arg = dial->params.arg;

	loop_work_on(dial->params.loop, dial->params.number);
	agent_refused(dial, refusal);
	ops->after(arg);
}

static void on_agent_event(struct agent_ask *ask)
{
	struct dial *dial = container_of(ask, struct dial, ask);
	const struct dial_ops *ops = dial->params.ops;
	void *arg = dial->params.arg;

	loop_work_on(dial->params.loop, dial->params.number);
	check(dial);
	if (dial_talks(dial))
		ops->event(arg);
	ops->after(arg);
}

static struct agent_target target_of(const struct dial *dial)
{
	return (struct agent_target){ dial->params.node, dial->params.destination,
		dial->params.agent_tls };
}

static void ask_agent(struct dial *dial, const struct agent_target *target)
{
	static const struct agent_ask_ops ops = {
		.opened = on_agent_opened,
		.failed = on_agent_failed,
		.event = on_agent_event,
	};

	dial->ask = (struct agent_ask){ .ops = &ops, .open = *dial->params.handoff };
	agent_ask(dial->params.agents, target, &dial->ask);
}

/* Whether this attempt is the agent's. One that is not worth asking now, and would have to be, is
 * as if it had been asked. */
static bool start_by_agent(struct dial *dial)
{
	struct agent_target target = target_of(dial);
	enum node_keep why = agents_deny(dial->params.agents, &target);

	if (why)
		dial_keep_tls(dial, why);
	if (why && !must_go_by_agent(dial))
		return false;
	connect_start_other(&dial->connect);
	if (why)
		dial_failed(dial,
			agent_faults[why == NODE_KEEP_DRAINING ? HANDOFF_REFUSED_DRAINING : 0]
				.fault);
	else
		ask_agent(dial, &target);
	return true;
}

static void attempt_start(struct dial *dial)
{
	bool may_ask = dial->params.handoff && !dial->agent_given_up;

	dial->state = DIAL_CONNECT;
	loop_watch_set_stage(&dial->leg.staged, LOOP_DIAL);
	if (!may_ask || !start_by_agent(dial))
		connect_start(&dial->connect, dial->params.destination->host, dial->settings->port);
}

/* ---- entry ---- */

int dial_new(const struct dial_params *params, struct dial **ret_dial)
{
	struct dial *dial = calloc(1, sizeof(*dial) + params->talk_bytes);

	if (!dial)
		return -ENOMEM;
	dial->params = *params;
	dial->settings = &params->destination->legs[params->protocol];
	dial->retries_left = params->retries;
	leg_init(&dial->leg, NODE_IN_BYTES, NODE_OUT_BYTES);
	dial->connect = (struct connect){ .ops = &connect_ops,
		.loop = params->loop,
		.resolver = params->resolver,
		.leg = &dial->leg,
		.fn = on_node_event,
		.brief = params->protocol != PROTOCOL_HTTP, /* its session sees to it */
		.tls_first = dial->settings->tls == CONFIG_TLS_IMPLICIT };
	*ret_dial = dial;
	return 0;
}

void dial_start(struct dial *dial)
{
	attempt_start(dial);
}

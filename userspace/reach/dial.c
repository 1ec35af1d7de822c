// SPDX-License-Identifier: Apache-2.0
/*
 * Breaker, then attempts inside one window (sessions.md section 8), each of which is a
 * net/connect: addresses (none of our own), source, PROXY header, TLS. Every failure ends in
 * dial_failed(), which decides between another address, another attempt and the end.
 */
#include "reach/dial.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define RETRY_PAUSE_MS 200
#define NODE_IN_BYTES 131072
#define NODE_OUT_BYTES 65536

/* Why an address is not tried. */
enum { ADDRESS_IS_OURS = CONNECT_REFUSED, ADDRESS_WITHOUT_SOURCE };

static void attempt_start(struct dial *dial);

static const struct dial_fault fault_internal = { REASON_INTERNAL, HEALTH_NONE, false,
	.error = -ENOMEM };

/* ---- breaker ---- */

bool dial_enter(struct dial *dial)
{
	enum health_gate gate =
		health_enter(dial->params.node->health, dial->params.client, clock_mono_ms());

	dial->entered = gate != HEALTH_REFUSE;
	dial->probe = gate == HEALTH_PROBE;
	return dial->entered;
}

void dial_report(struct dial *dial, enum health_event event)
{
	struct node *node;
	enum health_change change;

	if (!dial || !dial->entered)
		return;
	dial->entered = false;
	node = dial->params.node;
	change = health_report(
		node->health, event, dial->probe, dial->params.client, clock_mono_ms());
	if (change != HEALTH_SAME)
		log_event(change == HEALTH_WENT_DOWN ? LOGL_WARN : LOGL_INFO,
			change == HEALTH_WENT_DOWN ? "node_down" : "node_up", "node", node->name,
			NULL);
}

/* ---- leaving ---- */

/* Ends what there is of the leg; the window and the addresses stay. */
static void close_leg(struct dial *dial)
{
	loop_timer_del(dial->params.loop, &dial->timer);
	loop_timer_del(dial->params.loop, &dial->turn);
	leg_close(&dial->leg);
	if (dial->back)
		dial->back_ops->free(dial->back);
	dial->back = NULL;
	dial->secured = false;
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

static void give_up(struct dial *dial, const struct dial_fault *fault, bool counts)
{
	if (counts)
		atomic_fetch_add(&dial->params.node->dial_errors, 1);
	dial_report(dial, fault->event);
	dial->params.ops->failed(dial->params.arg, fault->reason);
}

void dial_failed(struct dial *dial, struct dial_fault fault)
{
	bool was_opening = dial->connect.phase == CONNECT_OPEN;

	if (fault.reason != REASON_INTERNAL && fault.reason != REASON_LOOP)
		dial_note_failure(dial, &fault);
	close_leg(dial);
	if (fault.retryable && was_opening && connect_has_next(&dial->connect)) {
		connect_next(&dial->connect);
		return;
	}
	if (fault.retryable && dial->retries_left &&
		clock_mono_ms() + RETRY_PAUSE_MS < dial->params.window_ends_ms) {
		dial->retries_left--;
		connect_stop(&dial->connect);
		loop_timer_set(dial->params.loop, &dial->timer, RETRY_PAUSE_MS, on_pause_over);
		return;
	}
	give_up(dial, &fault, fault.event != HEALTH_NONE);
}

/* A node that was told who the client is may be slow for that client alone. */
static enum health_event window_over_event(const struct dial *dial)
{
	return dial->settings->forwarding == CONFIG_FORWARDING_PROXY &&
			dial->connect.phase >= CONNECT_TLS
		? HEALTH_FAIL_CLIENT
		: HEALTH_FAIL_HOST;
}

void dial_expired(struct dial *dial)
{
	struct dial_fault fault = { REASON_NODE_TIMEOUT, window_over_event(dial), false,
		.error = -ETIMEDOUT,
		.cause = dial->connect.phase == CONNECT_OPEN ? NULL : "no answer in time" };

	if (dial->connect.phase != CONNECT_IDLE)
		dial_note_failure(dial, &fault);
	give_up(dial, &fault, true);
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
		dial_failed(dial, fault_internal);
}

static void on_node_event(struct loop_watch *watch, uint32_t epoll_events)
{
	struct dial *dial = container_of(watch, struct dial, leg.watch);
	const struct dial_ops *ops = dial->params.ops;
	void *arg = dial->params.arg;

	loop_work_on(dial->params.loop, dial->params.number);
	if (connect_is_under_way(&dial->connect))
		connect_event(&dial->connect, epoll_events);
	else if (dial->connect.phase == CONNECT_UP && !dial->over)
		ops->event(arg);
	ops->after(arg);
}

void dial_start_tls(struct dial *dial)
{
	connect_secure(&dial->connect);
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
	len = proxyhdr_write(
		params->client, params->ops->local(params->arg), params->proxy_id, header);
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
		/* It may repeat a credential; bodies of HTTP are too much to be wiped. */
		tls_stream_wipe_read(stream, !dial->params.by_request);
	}
	r = tls_stream_handshake(stream);
	dial->secured = r == 0;
	return r;
}

/* The leg stands (again, after STARTTLS). */
static void on_up(struct connect *connect)
{
	struct dial *dial = container_of(connect, struct dial, connect);

	dial->params.ops->up(dial->params.arg);
}

/* A shortage of ours says nothing about the node; another address or a little later it may be
 * over. */
static struct dial_fault unreachable(struct dial *dial, int error, const char *cause)
{
	bool shortage = dial_is_shortage(dial, error);

	return (struct dial_fault){ shortage ? REASON_INTERNAL : REASON_NODE_UNREACHABLE,
		shortage ? HEALTH_NONE : HEALTH_FAIL_HOST, true, .error = error, .cause = cause };
}

static struct dial_fault fault_of(struct dial *dial, enum connect_phase phase, int outcome)
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
		return unreachable(dial, outcome, resolve_text(outcome));
	case CONNECT_PREAMBLE:
		return (struct dial_fault){ REASON_NODE_ERROR, HEALTH_FAIL_CLIENT, true,
			.error = outcome };
	case CONNECT_TLS:
		return (struct dial_fault){ REASON_TLS_NODE, HEALTH_FAIL_CLIENT, outcome != -EPROTO,
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

static void attempt_start(struct dial *dial)
{
	connect_start(&dial->connect, dial->params.destination->host, dial->settings->port);
}

/* ---- entry ---- */

int dial_new(const struct dial_params *params, struct dial **ret_dial)
{
	struct dial *dial = calloc(1, sizeof(*dial));

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
		.tls_first = dial->settings->tls == CONFIG_TLS_IMPLICIT };
	*ret_dial = dial;
	return 0;
}

void dial_start(struct dial *dial)
{
	attempt_start(dial);
}

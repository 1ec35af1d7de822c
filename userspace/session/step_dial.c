// SPDX-License-Identifier: Apache-2.0
/*
 * dial: from the node's name to a leg on which its dialogue can begin (sessions.md section 8):
 * breaker, resolution, own-address check, connects with retries inside one window, PROXY header,
 * TLS. Then step_replay.c talks. Every failure ends in dial_failed(), which decides between
 * another address, another attempt and the unavailable reply.
 */
#include "session/dial.h"
#include "session/steps.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/sock.h"

#include <errno.h>
#include <stdlib.h>

#define RETRY_PAUSE_MS 200
#define NODE_IN_BYTES 131072
#define NODE_OUT_BYTES 65536

enum { CONNECT_NO_SOURCE = 1 };

static void attempt_start(struct session *session);
static void connect_next(struct session *session);

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
	bool was_connecting = dial->phase == DIAL_CONNECT || dial->phase == DIAL_RESOLVE;

	if (fault.reason != REASON_INTERNAL && fault.reason != REASON_LOOP)
		dial_note_failure(session, &fault);
	dial_close_leg(dial);
	if (fault.retryable && was_connecting && dial->addr_next < dial->addr_count) {
		connect_next(session);
		return;
	}
	if (fault.retryable && dial->retries_left &&
		clock_mono_ms() + RETRY_PAUSE_MS < dial->window_ends_ms) {
		dial->retries_left--;
		dial->phase = DIAL_PAUSE;
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
	return dial->leg->forwarding == CONFIG_FORWARDING_PROXY &&
			(dial->phase == DIAL_TLS || dial->phase == DIAL_TALK)
		? HEALTH_FAIL_CLIENT
		: HEALTH_FAIL_HOST;
}

void step_dial_deadline(struct session *session)
{
	struct dial *dial = session->login->dial;
	struct dial_fault fault = { REASON_NODE_TIMEOUT, window_over_event(dial), false,
		.error = -ETIMEDOUT,
		.cause = dial->phase == DIAL_CONNECT ? NULL : "no answer in time" };

	if (dial->phase != DIAL_PAUSE)
		dial_note_failure(session, &fault);
	atomic_fetch_add(&session->node->dial_errors, 1);
	dial_report(session, fault.event);
	session_phase_end(session, PHASE_DIAL);
	session_unavailable(session, REASON_NODE_TIMEOUT);
}

/* ---- input and output of the leg ---- */

void dial_update_watch(struct dial *dial)
{
	uint32_t events = 0;

	if (!dial->watch.loop)
		return;
	if (dial->phase == DIAL_OVER) {
		/* The node's answer waits for the client: nobody reads here, and epoll would
		 * report a hang-up again and again. The relay watches anew. */
		loop_watch_del(&dial->watch);
		return;
	}
	switch (dial->phase) {
	case DIAL_CONNECT:
		events = EPOLLOUT;
		break;
	case DIAL_PREAMBLE:
		events = EPOLLOUT;
		break;
	case DIAL_TLS:
		events = dial->out.len ? EPOLLOUT : dial->stream.want;
		break;
	case DIAL_TALK:
		events = dial->read_want ? dial->read_want : EPOLLIN;
		if (dial->out.len)
			events |= dial->write_want ? dial->write_want : EPOLLOUT;
		break;
	default:
		break;
	}
	if (loop_watch_set(&dial->watch, events) < 0)
		dial_failed(dial->session, fault_internal);
}

/* TLS failed or the peer left: what the breaker should think of it. */
static struct dial_fault tls_fault(int error)
{
	bool io = error != -EPROTO;

	return (struct dial_fault){ REASON_TLS_NODE, HEALTH_FAIL_CLIENT, io, .error = error };
}

/* The leg stands (again, after STARTTLS): the node's dialogue goes on. */
static void leg_ready(struct session *session)
{
	session->login->dial->phase = DIAL_TALK;
	session->kind->connected(session);
}

static void tls_progress(struct session *session)
{
	struct dial *dial = session->login->dial;
	int r = tls_stream_handshake(&dial->stream);

	if (r == -EAGAIN) {
		dial_update_watch(dial);
		return;
	}
	if (r < 0) {
		dial_failed(session, tls_fault(r));
		return;
	}
	dial->secured = true;
	dial->stream.want = 0;
	leg_ready(session);
}

void dial_start_tls(struct session *session)
{
	struct dial *dial = session->login->dial;

	dial->phase = DIAL_TLS;
	if (tls_stream_connect(&dial->stream, dial->tls) < 0) {
		dial_failed(session, fault_internal);
		return;
	}
	tls_stream_read_ahead(&dial->stream, true);
	dial->stream.want = EPOLLOUT;
	tls_progress(session);
}

/* The PROXY header is on its way: TLS next, or the greeting. */
static void preamble_done(struct session *session)
{
	struct dial *dial = session->login->dial;

	if (dial->leg->tls == CONFIG_TLS_IMPLICIT) {
		dial_start_tls(session);
		return;
	}
	leg_ready(session);
}

static void preamble_progress(struct session *session)
{
	int r = dial_flush(session->login->dial);

	if (r < 0)
		dial_failed(session,
			(struct dial_fault){
				REASON_NODE_ERROR, HEALTH_FAIL_CLIENT, true, .error = r });
	else if (!session->login->dial->out.len)
		preamble_done(session);
	else
		dial_update_watch(session->login->dial);
}

/* A shortage of ours says nothing about the node; another address or a little later it may be
 * over. */
static void unreachable(struct session *session, int error, const char *cause)
{
	bool shortage = dial_is_shortage(session, error);

	dial_failed(session,
		(struct dial_fault){ shortage ? REASON_INTERNAL : REASON_NODE_UNREACHABLE,
			shortage ? HEALTH_NONE : HEALTH_FAIL_HOST, true, .error = error,
			.cause = cause });
}

static void connect_failed(struct session *session, int error)
{
	unreachable(session, error, NULL);
}

static void connected(struct session *session)
{
	struct dial *dial = session->login->dial;
	unsigned char header[PROXYHDR_MAX_BYTES];
	size_t len;

	loop_timer_del(session->pool->loop, &dial->timer);
	dial->phase = DIAL_PREAMBLE;
	if (dial->leg->forwarding == CONFIG_FORWARDING_PROXY) {
		len = proxyhdr_write(
			&session->client, session_local(session), session->login->proxy_id, header);
		if (buf_append(&dial->out, header, len) < 0) {
			dial_failed(session, fault_internal);
			return;
		}
	}
	preamble_progress(session);
}

static void on_node_event(struct loop_watch *watch, uint32_t epoll_events)
{
	struct dial *dial = container_of(watch, struct dial, watch);
	struct session *session = dial->session;
	int r;

	loop_work_on(session->pool->loop, session->number);
	/* Errors show up in the calls below. */
	switch (dial->phase) {
	case DIAL_CONNECT:
		r = epoll_events & (EPOLLERR | EPOLLHUP) ? sock_error(dial->stream.fd) : 0;
		if (r < 0)
			connect_failed(session, r);
		else
			connected(session);
		break;
	case DIAL_PREAMBLE:
		preamble_progress(session);
		break;
	case DIAL_TLS:
		tls_progress(session);
		break;
	case DIAL_TALK:
		session->kind->node_event(session);
		break;
	default:
		break;
	}
	session_update_watch(session);
}

/* ---- connects ---- */

static void on_connect_timeout(struct timer *timer)
{
	struct dial *dial = container_of(timer, struct dial, timer);
	struct session *session = dial->session;

	dial_failed(session,
		(struct dial_fault){
			REASON_NODE_TIMEOUT, HEALTH_FAIL_HOST, true, .error = -ETIMEDOUT });
	session_update_watch(session);
}

/* Returns 0, CONNECT_NO_SOURCE or -errno. */
static int connect_one(struct session *session, const struct addr *addr)
{
	struct dial *dial = session->login->dial;
	uint64_t now = clock_mono_ms();
	uint64_t left = dial->window_ends_ms > now ? dial->window_ends_ms - now : 0;
	bool others = dial->addr_next < dial->addr_count || dial->retries_left;
	int fd, r;

	r = node_source_next(session->node, session->destination->source_ips,
		session->destination->source_ip_count, addr->sa.sa_family, &dial->source);
	if (r < 0)
		return CONNECT_NO_SOURCE;
	fd = sock_connect_start(addr, &dial->source);
	if (fd < 0)
		return fd;
	stream_init_plain(&dial->stream, fd);
	r = loop_watch_add(session->pool->loop, &dial->watch, fd, EPOLLOUT, on_node_event);
	if (r < 0)
		return r;
	loop_timer_set(session->pool->loop, &dial->timer, node_connect_budget_ms(left, others),
		on_connect_timeout);
	return 0;
}

static void connect_next(struct session *session)
{
	struct dial *dial = session->login->dial;
	const struct addr *addr = &dial->addrs[dial->addr_next++];
	int r;

	dial->phase = DIAL_CONNECT;
	if (server_is_own_listener(session->pool->server, session->pool->snapshot, addr)) {
		log_event_limited(
			LOGL_ERROR, "loop", session->node->name, "node", session->node->name, NULL);
		dial_failed(session,
			(struct dial_fault){ REASON_LOOP, HEALTH_NONE, false, .error = -ELOOP });
		return;
	}
	r = connect_one(session, addr);
	if (r == CONNECT_NO_SOURCE)
		dial_failed(session,
			(struct dial_fault){ REASON_NODE_UNREACHABLE, HEALTH_FAIL_HOST, true,
				.error = -EADDRNOTAVAIL,
				.cause = "source_ips has no address of this family" });
	else if (r < 0)
		connect_failed(session, r);
}

static void on_resolved(void *arg, int status, const struct addr *addrs, size_t count)
{
	struct session *session = arg;
	struct dial *dial = session->login->dial;

	dial->query = NULL;
	dial->addr_next = 0;
	dial->addr_count = status == 0 ? MIN(count, (size_t)RESOLVE_MAX_ADDRS) : 0;
	for (size_t i = 0; i < dial->addr_count; i++)
		dial->addrs[i] = addrs[i];
	if (!dial->addr_count)
		unreachable(session, status, resolve_text(status));
	else
		connect_next(session);
	session_update_watch(session);
}

static void attempt_start(struct session *session)
{
	struct dial *dial = session->login->dial;

	dial->phase = DIAL_RESOLVE;
	dial->addr_next = dial->addr_count = 0;
	if (resolve_start(session->pool->resolver, session->destination->host, dial->leg->port,
		    on_resolved, session, &dial->query) < 0)
		dial_failed(session, fault_internal);
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
	session->login->dial->leg = leg;
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
	buf_init(&dial->in, NODE_IN_BYTES, true);
	buf_init(&dial->out, NODE_OUT_BYTES, true);
	if (!choose_leg(session) || !pass_breaker(session))
		return;
	if (dial->leg->forwarding == CONFIG_FORWARDING_XCLIENT && session->login->ttl <= 1) {
		session_unavailable(session, REASON_LOOP); /* SES-63 */
		return;
	}
	attempt_start(session);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * How slow a client may be with a body (http.min_rate). Measured is only the time in which the
 * router waits for nobody but the client: while it reads the request's body from it, or has some of
 * the response that it does not take. A slow node is never held against it. Kernel buffers hide how
 * much of a response has arrived, so what is not acknowledged yet counts as not sent.
 */
#include "http/http.h"
#include "net/sock.h"

#define WINDOW_MS 30000
#define UNKNOWN UINT64_MAX

static bool client_owes(const struct session *session)
{
	if (session->state == S_EXTRACT)
		return true;
	return session->state == S_EXCHANGE && !session->login->http->request.plan.streaming &&
		(login_has_to_send(session->login) || http_exchange_wants_body(session));
}

static void on_window_over(struct timer *timer);

/* What the client has sent and taken, in bytes. */
static uint64_t moved(const struct session *session)
{
	const struct http_rate *rate = &session->login->http->rate;
	int unsent = sock_unsent(session->login->leg.stream.fd);
	uint64_t waiting = unsent > 0 ? MIN((uint64_t)unsent, rate->written) : 0;

	return rate->received + rate->written - waiting;
}

static void begin(struct session *session, uint64_t window_ms)
{
	loop_timer_set(
		session->pool->loop, &session->login->http->rate.timer, window_ms, on_window_over);
}

/* From now on. */
static void measure(struct session *session)
{
	struct http_rate *rate = &session->login->http->rate;

	rate->from_ms = session->pool->loop->now_ms;
	rate->moved_before = moved(session);
	begin(session, WINDOW_MS);
}

static bool is_slow(const struct session *session, uint64_t spent_ms)
{
	uint64_t before = session->login->http->rate.moved_before, now = moved(session);
	uint64_t bytes = now > before ? now - before : 0;

	return bytes / (spent_ms / 1000) < session->snapshot->config->http.min_rate_bytes;
}

static void on_window_over(struct timer *timer)
{
	struct http *http = container_of(timer, struct http, rate.timer);
	struct session *session = http->session;
	uint64_t spent = session->pool->loop->now_ms - http->rate.from_ms;

	if (!http->rate.from_ms || !http_drives(session))
		return;
	if (spent < WINDOW_MS && http->rate.moved_before != UNKNOWN) {
		begin(session, WINDOW_MS - spent); /* it was set for another window */
	} else if (http->rate.moved_before == UNKNOWN || !is_slow(session, spent)) {
		measure(session);
	} else {
		http_answer(session, 408, REASON_SLOW_CLIENT);
	}
}

void http_rate_follow(struct session *session)
{
	struct http_rate *rate = &session->login->http->rate;

	if (!session->snapshot->config->http.min_rate_bytes || !client_owes(session)) {
		rate->from_ms = 0;
		return;
	}
	if (rate->from_ms)
		return;
	if (!timer_armed(&rate->timer)) {
		measure(session);
	} else { /* the kernel is asked once in a window */
		rate->from_ms = session->pool->loop->now_ms;
		rate->moved_before = UNKNOWN;
	}
}

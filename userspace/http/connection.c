// SPDX-License-Identifier: Apache-2.0
/*
 * An HTTP connection from its first head to its end: heads, turns, time limits (http.md sections
 * 1, 2, 9, 10).
 */
#include "http/http.h"
#include "base/clock.h"
#include "net/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define IN_BYTES 65536

static const struct config_http *settings_of(const struct session *session)
{
	return &session->snapshot->config->http;
}

/* ---- start and end ---- */

static void on_turn(struct timer *timer)
{
	struct http *http = container_of(timer, struct http, turn);

	session_progress(http->session);
}

static void find_peer(struct session *session, struct http *http)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);

	if (getpeername(session->login->leg.stream.fd, (struct sockaddr *)&peer, &len) < 0 ||
		addr_from_sockaddr(&peer, &http->peer) < 0)
		http->peer = session->client;
}

void http_begin(struct session *session)
{
	struct login *login = session->login;
	size_t in_bytes = MAX((size_t)settings_of(session)->max_head_size, (size_t)IN_BYTES);

	login->http = calloc(1, sizeof(*login->http));
	if (!login->http) {
		session_close(session, REASON_INTERNAL);
		return;
	}
	login->http->session = session;
	list_init(&login->http->idle);
	login->http->close_reason = REASON_CLIENT_EOF;
	find_peer(session, login->http);
	login->leg.in.limit =
		(uint32_t)in_bytes + 1; /* one byte too many is seen, not waited for */
	login->leg.out.limit = 0;       /* a head, and what HTTP_HIGH_BYTES lets through */
	http_leave_openssl(session, &login->leg.stream);
	session_progress(session); /* TLS may hold bytes for which no event will come */
}

void http_release(struct session *session)
{
	struct http *http = session->login->http;

	if (!http)
		return;
	http_request_account(session);
	loop_timer_del(session->pool->loop, &http->wait);
	loop_timer_del(session->pool->loop, &http->turn);
	loop_timer_del(session->pool->loop, &http->rate.timer);
	http_legs_close(session);
	http_request_clear(session);
}

/* The node has no part in it. */
void http_kicked(struct session *session)
{
	http_refuse(session, REASON_KICKED);
}

void http_end_after(struct session *session, enum session_reason reason)
{
	session->login->http->closing = true;
	session->login->http->close_reason = reason;
}

/* ---- time limits ---- */

static uint64_t idle_limit_ms(const struct session *session)
{
	const struct config *config = session->snapshot->config;

	return session->login->http->request.plan.streaming ? config->server.bridge_idle_ms
							    : config->http.relay_idle_ms;
}

/* Nothing has moved for relay_idle. */
static void exchange_silent(struct session *session)
{
	const struct http *http = session->login->http;
	const struct http_request *request = &http->request;

	if (request->response >= RESPONSE_FLOWS) {
		http_answer(session, 0, REASON_IDLE);
	} else if (!http_body_is_done(&request->up) && request->goes != BODY_AWAITED &&
		!http->leg->wire.out.len) {
		http_answer(session, 408, REASON_IDLE); /* the client owes its body */
	} else {
		atomic_fetch_add(&session->node->dial_errors, 1);
		http_note_failure(session, REASON_NODE_TIMEOUT, -ETIMEDOUT, "no answer in time");
		session_unavailable(session, REASON_NODE_TIMEOUT);
	}
}

/* Armed lazily: traffic does not touch it. */
static bool still_has_time(struct session *session)
{
	uint64_t now = clock_mono_ms(),
		 end = session->login->http->progress_ms + idle_limit_ms(session);

	if (session_states[session->state].limit == LIMIT_HEAD) /* however its bytes come */
		end = MIN(
			end, session->login->http->head_ms + settings_of(session)->head_timeout_ms);
	if (end <= now)
		return false;
	session_set_limit(session, end - now);
	return true;
}

void http_first_head_deadline(struct session *session)
{
	http_answer(session, 408, REASON_PREAUTH_TIMEOUT);
}

void http_idle_deadline(struct session *session)
{
	session_finish(session, REASON_KEEPALIVE);
}

void http_head_deadline(struct session *session)
{
	if (!still_has_time(session))
		http_answer(session, 408, REASON_IDLE);
}

void http_exchange_deadline(struct session *session)
{
	if (!still_has_time(session))
		exchange_silent(session);
}

/* ---- heads ---- */

bool http_head_step(struct session *session)
{
	static _Thread_local struct http_head head;
	struct login *login = session->login;
	struct http_limits limits = { (size_t)settings_of(session)->max_head_size, HTTP_MAX_FIELDS,
		false };
	int r;

	if (!login->leg.in.len)
		return http_read_client(session, NULL, 0) > 0;
	http_head_start(&head, login->http->scanned);
	r = http_head_parse(&head, buf_view(&login->leg.in), &limits);
	login->http->scanned = head.scanned;
	if (r == HTTP_HEAD_MORE)
		return http_read_client(session, NULL, 0) > 0;
	login->http->scanned = 0;
	if (r != HTTP_HEAD_DONE) {
		if (view_eq(head.method, VIEW_LIT("HEAD")))
			login->http->request.asks = ASKS_HEAD;
		http_answer(session, r, REASON_PROTOCOL_ERROR);
		return false;
	}
	http_route_request(session, &head);
	return true;
}

void http_head_begin(struct session *session)
{
	http_progress(session);
	session->login->http->head_ms = session->pool->loop->now_ms;
}

bool http_idle_step(struct session *session)
{
	if (!session->login->leg.in.len)
		return http_read_client(session, NULL, 0) > 0;
	session_set_state(session, S_HEAD);
	return true;
}

/* Only to see the client leave. */
bool http_watch_step(struct session *session)
{
	return http_read_client(session, NULL, 0) > 0;
}

/* ---- turns ---- */

static bool exchanges(const struct session *session)
{
	return session_states[session->state].watch == WATCH_BODY;
}

static bool is_turn_over(const struct session *session)
{
	return session->login->http->turn_bytes >
		(exchanges(session) ? HTTP_TURN_BYTES : HTTP_HEAD_TURN_BYTES);
}

static uint64_t pause_ms(const struct session *session)
{
	return !exchanges(session) &&
			session->login->http->turn_bytes >=
				STREAM_HEAVY_TURNS * HTTP_HEAD_TURN_BYTES
		? STREAM_HEAVY_PAUSE_MS
		: 0;
}

void http_run(struct session *session)
{
	struct http *http = session->login->http;

	if (timer_armed(&http->turn)) /* it has had this turn */
		return;
	http->turn_bytes = 0;
	while (http_drives(session) && !is_turn_over(session) &&
		session_cell(session)->step(session))
		;
	if (!http_drives(session))
		return;
	http_check(session);
	if (is_turn_over(session))
		loop_timer_set(session->pool->loop, &http->turn, pause_ms(session), on_turn);
	if (!exchanges(session) && !session->login->leg.in.len)
		buf_fini(&session->login->leg.in); /* idle clients hold no buffer */
	http_rate_follow(session);
}

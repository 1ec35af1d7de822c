// SPDX-License-Identifier: Apache-2.0
/*
 * The client's side of an HTTP connection: heads, time limits, the router's own answers, what ends
 * it (http.md sections 1, 2, 9, 10).
 */
#include "session/http.h"
#include "base/clock.h"
#include "net/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define READ_BYTES 8192
#define BODY_READ_BYTES 65536
#define SHORT_BYTES 4096
#define EOF_GRACE_MS 500
#define IN_BYTES 65536

bool session_http_drives(const struct session *session)
{
	return session->login && session->login->http && session->state >= S_FIRST_HEAD &&
		session->state <= S_EXCHANGE;
}

static const struct session_state_row *row_of(const struct session *session)
{
	return &session_states[session->state];
}

static const struct config_http *settings_of(const struct session *session)
{
	return &session->snapshot->config->http;
}

void http_progress(struct session *session)
{
	session->login->http->progress_ms = session->pool->loop->now_ms;
}

/* ---- start and end ---- */

static void on_turn(struct timer *timer)
{
	struct http *http = container_of(timer, struct http, turn);

	session_http_run(http->session);
}

static void find_peer(struct session *session, struct http *http)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);

	if (getpeername(session->login->stream.fd, (struct sockaddr *)&peer, &len) < 0 ||
		addr_from_sockaddr(&peer, &http->peer) < 0)
		http->peer = session->client;
}

void session_http_start(struct session *session)
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
	login->in.limit = (uint32_t)in_bytes + 1; /* one byte too many is seen, not waited for */
	login->out.limit = 0; /* a head, and what HTTP_HIGH_BYTES lets through */
	session_set_state(session, S_FIRST_HEAD);
	session_http_run(session); /* TLS may hold bytes for which no event will come */
}

void http_request_clear(struct session *session)
{
	struct http_request *request = &session->login->http->request;

	buf_fini(&request->raw);
	buf_fini(&request->data);
	free(request->head);
	*request = (struct http_request){ 0 };
}

void session_http_end(struct session *session)
{
	struct http *http = session->login ? session->login->http : NULL;

	if (!http)
		return;
	http_exchange_account(session);
	loop_timer_del(session->pool->loop, &http->wait);
	loop_timer_del(session->pool->loop, &http->turn);
	loop_timer_del(session->pool->loop, &http->rate.timer);
	http_legs_close(session);
	http_request_clear(session);
}

void session_http_free(struct login *login)
{
	free(login->http);
	login->http = NULL;
}

void http_answer(struct session *session, int status, enum session_reason reason)
{
	struct http *http = session->login->http;
	bool to_head = http->request.to_head;

	if (http->request.status) { /* HTTP-33: there is no way to say it */
		sock_abort_on_close(session->login->stream.fd);
		session_close(session, reason);
		return;
	}
	if (http_write_error(status, to_head, &session->login->out) < 0) {
		session_close(session, REASON_INTERNAL);
		return;
	}
	session_finish(session, reason);
}

static int status_of(enum session_reason reason)
{
	switch (reason) {
	case REASON_NODE_DOWN:
	case REASON_STORE_DOWN:
	case REASON_HOLD_LIMIT:
	case REASON_KICKED:
	case REASON_SHUTDOWN:
	case REASON_INTERNAL:
		return 503;
	case REASON_NODE_TIMEOUT:
		return 504;
	default:
		return 502;
	}
}

void session_http_failed(struct session *session, enum session_reason reason)
{
	http_answer(session, status_of(reason), reason);
}

void session_http_close_after(struct session *session, enum session_reason reason)
{
	session->login->http->closing = true;
	session->login->http->close_reason = reason;
}

/* ---- time limits ---- */

static uint64_t idle_limit_ms(const struct session *session)
{
	const struct config *config = session->snapshot->config;

	return session->login->http->request.streaming ? config->server.bridge_idle_ms
						       : config->http.relay_idle_ms;
}

/* Nothing has moved for relay_idle. */
static void exchange_silent(struct session *session)
{
	const struct http *http = session->login->http;
	const struct http_request *request = &http->request;

	if (request->status) {
		http_answer(session, 0, REASON_IDLE);
	} else if (!http_body_is_done(&request->up) && !request->await_continue &&
		!http->leg->out.len) {
		http_answer(session, 408, REASON_IDLE); /* the client owes its body */
	} else {
		atomic_fetch_add(&session->node->dial_errors, 1);
		http_note_failure(session, REASON_NODE_TIMEOUT, -ETIMEDOUT, "no answer in time");
		session_unavailable(session, REASON_NODE_TIMEOUT);
	}
}

static void on_limit(struct timer *timer)
{
	session_http_deadline(container_of(timer, struct login, deadline)->session);
}

/* Armed lazily: traffic does not touch it. */
static bool still_has_time(struct session *session)
{
	uint64_t now = clock_mono_ms(),
		 end = session->login->http->progress_ms + idle_limit_ms(session);

	if (session->state == S_HEAD) /* in all, however its bytes come */
		end = MIN(
			end, session->login->http->head_ms + settings_of(session)->head_timeout_ms);
	if (end <= now)
		return false;
	loop_timer_set(session->pool->loop, &session->login->deadline, end - now, on_limit);
	return true;
}

void session_http_deadline(struct session *session)
{
	switch (session->state) {
	case S_FIRST_HEAD:
		http_answer(session, 408, REASON_PREAUTH_TIMEOUT);
		break;
	case S_IDLE:
		session_finish(session, REASON_KEEPALIVE);
		break;
	default:
		if (still_has_time(session))
			break;
		if (session->state == S_EXCHANGE)
			exchange_silent(session);
		else
			http_answer(session, 408, REASON_IDLE);
	}
}

/* ---- reading ---- */

static void on_grace_over(struct timer *timer)
{
	struct session *session = container_of(timer, struct http, wait)->session;

	if (row_of(session)->client_end == CLIENT_END_GRACE)
		session_close(session, REASON_CLIENT_EOF);
}

/* HTTP-96: it may only have closed its direction, and then wants the answer: if the node is about to
 * be reached that is waited for, a little. */
static void start_grace(struct session *session)
{
	loop_timer_set(
		session->pool->loop, &session->login->http->wait, EOF_GRACE_MS, on_grace_over);
}

static ssize_t client_ended(struct session *session)
{
	struct http *http = session->login->http;

	http->client_eof = true;
	switch (row_of(session)->client_end) {
	case CLIENT_END_GRACE:
		if (!timer_armed(&http->wait))
			start_grace(session);
		return 0;
	case CLIENT_END_SERVES:
		if (http_body_is_done(&http->request.up) && !http->request.streaming)
			return 0;
		/* fall through */
	default:
		session_close(session, REASON_CLIENT_EOF);
		return -1;
	}
}

/* Until the node is reached the client is only watched for its end. */
static bool is_watched_only(const struct session *session)
{
	return row_of(session)->watch == WATCH_AHEAD;
}

/* What may be read into a buffer now. What nobody asks for yet is not taken in. */
static size_t room_in(const struct session *session, const struct buf *buf)
{
	size_t room = buf_room(buf);

	if (is_watched_only(session))
		room = buf->len < READ_BYTES ? MIN(room, READ_BYTES - (size_t)buf->len) : 0;
	return room;
}

ssize_t http_read_client(struct session *session, struct buf *to, uint64_t span)
{
	struct login *login = session->login;
	size_t want;
	ssize_t n;

	if (!to) {
		to = &login->in;
		span = READ_BYTES;
	}
	want = MIN((size_t)MIN(span, (uint64_t)BODY_READ_BYTES), room_in(session, to));
	if (login->http->client_eof) /* what came before it has been used up */
		return client_ended(session);
	if (!want || login->http->client_dry)
		return 0;
	if (buf_reserve(to, want) < 0) {
		session_close(session, REASON_INTERNAL);
		return -1;
	}
	n = stream_read(&login->stream, buf_tail(to), want);
	login->read_want = n == -EAGAIN ? login->stream.want : 0;
	login->http->client_dry =
		n < SHORT_BYTES && n < (ssize_t)want && !stream_pending(&login->stream);
	if (n == -EAGAIN)
		return 0;
	if (n == STREAM_EOF || n == -ECONNABORTED)
		return client_ended(session);
	if (n < 0) {
		session_close(session,
			n == -EPROTO              ? REASON_TLS_CLIENT
				: n == -ETIMEDOUT ? REASON_KEEPALIVE
						  : REASON_CLIENT_ERROR);
		return -1;
	}
	buf_commit(to, (size_t)n);
	/* A body's bytes are counted when they go to the node. */
	login->http->turn_bytes +=
		stream_read_cost(&login->stream, n) - (to == &login->in ? 0 : (size_t)n);
	login->input_ms = session->pool->loop->now_ms;
	login->http->rate.received += (uint64_t)n;
	http_progress(session);
	return n;
}

/* ---- heads ---- */

static bool head_step(struct session *session)
{
	static _Thread_local struct http_head head;
	struct login *login = session->login;
	struct http_limits limits = { (size_t)settings_of(session)->max_head_size, HTTP_MAX_FIELDS,
		false };
	int r;

	if (!login->in.len)
		return http_read_client(session, NULL, 0) > 0;
	if (session->state == S_IDLE) {
		http_progress(session);
		login->http->head_ms = clock_mono_ms();
		session_set_state(session, S_HEAD);
	}
	memset(&head, 0, sizeof(head));
	head.scanned = login->http->scanned;
	r = http_head_parse(&head, buf_view(&login->in), &limits);
	login->http->scanned = head.scanned;
	if (r == HTTP_HEAD_MORE)
		return http_read_client(session, NULL, 0) > 0;
	login->http->scanned = 0;
	if (r != HTTP_HEAD_DONE) {
		login->http->request.to_head = view_eq(head.method, VIEW_LIT("HEAD"));
		http_answer(session, r, REASON_PROTOCOL_ERROR);
		return false;
	}
	http_route_request(session, &head);
	return true;
}

static bool step(struct session *session)
{
	switch (session->state) {
	case S_FIRST_HEAD:
	case S_IDLE:
	case S_HEAD:
		return head_step(session);
	case S_EXTRACT:
		return http_extract_step(session);
	case S_HOLD:
	case S_LOOKUP:
	case S_DIAL: /* only to see the client leave */
		return http_read_client(session, NULL, 0) > 0;
	case S_EXCHANGE:
		return http_exchange_step(session);
	default:
		return false;
	}
}

static bool is_turn_over(const struct session *session)
{
	return session->login->http->turn_bytes >
		(session->state == S_EXCHANGE ? HTTP_TURN_BYTES : HTTP_HEAD_TURN_BYTES);
}

static uint64_t pause_ms(const struct session *session)
{
	return session->state != S_EXCHANGE &&
			session->login->http->turn_bytes >=
				STREAM_HEAVY_TURNS * HTTP_HEAD_TURN_BYTES
		? STREAM_HEAVY_PAUSE_MS
		: 0;
}

void session_http_run(struct session *session)
{
	struct http *http = session->login->http;

	if (timer_armed(&http->turn)) { /* it has had this turn */
		session_update_watch(session);
		return;
	}
	http->turn_bytes = 0;
	while (session_http_drives(session) && !is_turn_over(session) && step(session))
		;
	if (session_http_drives(session) && is_turn_over(session))
		loop_timer_set(session->pool->loop, &http->turn, pause_ms(session), on_turn);
	if (session_http_drives(session) && session->state != S_EXCHANGE && !session->login->in.len)
		buf_fini(&session->login->in); /* idle clients hold no buffer */
	if (session_http_drives(session))
		http_rate_follow(session);
	session_update_watch(session);
}

/* The end of the client, behind input for which there is no room. */
static void client_left(struct session *session)
{
	if (row_of(session)->client_end == CLIENT_END_GRACE) {
		session->login->http->client_left = true;
		start_grace(session);
		session_update_watch(session);
	} else {
		session_close(session, REASON_CLIENT_EOF);
	}
}

void session_http_client_event(struct session *session, uint32_t epoll_events)
{
	session->login->http->client_dry = false;
	if (epoll_events & EPOLLRDHUP && !room_in(session, &session->login->in))
		client_left(session);
	else
		session_run(session);
}

void session_http_update_watches(struct session *session)
{
	struct login *login = session->login;
	bool read = !login->http->client_eof && room_in(session, &login->in) &&
		!timer_armed(&login->http->turn);
	uint32_t events = 0;

	if (session->state == S_EXCHANGE)
		http_exchange_watches(session, &read);
	if (read)
		events |= login->read_want ? login->read_want : EPOLLIN;
	else if (session->state != S_EXCHANGE && !login->http->client_eof &&
		!login->http->client_left)
		events |= EPOLLRDHUP;
	if (login->out.len)
		events |= login->write_want ? login->write_want : EPOLLOUT;
	if (loop_watch_set(&login->watch, events) < 0)
		session_close(session, REASON_INTERNAL);
}

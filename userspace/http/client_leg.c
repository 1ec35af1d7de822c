// SPDX-License-Identifier: Apache-2.0
/*
 * The client leg while HTTP moves it: what is read and when, the client's end, the router's own
 * answers (http.md sections 2, 9, 10).
 */
#include "http/http.h"
#include "net/sock.h"

#include <errno.h>

#define READ_BYTES 8192
#define BODY_READ_BYTES 65536
#define EOF_GRACE_MS 500

static const struct session_state_row *row_of(const struct session *session)
{
	return &session_states[session->state];
}

void http_progress(struct session *session)
{
	session->login->http->progress_ms = session->pool->loop->now_ms;
}

/* ---- answers ---- */

void http_answer(struct session *session, int status, enum session_reason reason)
{
	struct http *http = session->login->http;
	bool to_head = http->request.asks == ASKS_HEAD;

	if (http->request.response >= RESPONSE_FLOWS) { /* HTTP-33: there is no way to say it */
		sock_abort_on_close(session->login->leg.stream.fd);
		session_close(session, reason);
		return;
	}
	if (http_write_error(status, to_head, &session->login->leg.out) < 0) {
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

void http_refuse(struct session *session, enum session_reason reason)
{
	if (session->state == S_PENALTY) { /* the answer is there already */
		session_finish(session, reason);
		return;
	}
	http_answer(session, status_of(reason), reason);
}

/* ---- reading ---- */

static void on_grace_over(struct timer *timer)
{
	struct session *session = container_of(timer, struct http, wait)->session;

	if (row_of(session)->client_end == CLIENT_END_GRACE)
		session_close(session, REASON_CLIENT_EOF);
}

/* HTTP-96: it may only have closed its direction, and then wants the answer: if the node is
 * about to be reached that is waited for, a little. */
static void start_grace(struct session *session)
{
	loop_timer_set(
		session->pool->loop, &session->login->http->wait, EOF_GRACE_MS, on_grace_over);
}

static ssize_t client_ended(struct session *session)
{
	struct http *http = session->login->http;

	http->source = SOURCE_ENDED;
	switch (row_of(session)->client_end) {
	case CLIENT_END_GRACE:
		if (!timer_armed(&http->wait))
			start_grace(session);
		return 0;
	case CLIENT_END_SERVES:
		if (http_body_is_done(&http->request.up) && !http->request.plan.streaming)
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
	size_t want, spent = 0;
	ssize_t n;

	if (!to) {
		to = &login->leg.in;
		span = READ_BYTES;
	}
	want = MIN((size_t)MIN(span, (uint64_t)BODY_READ_BYTES), room_in(session, to));
	if (login->http->source == SOURCE_ENDED) /* what came before it has been used up */
		return client_ended(session);
	if (!want || login->leg.dry)
		return 0;
	n = leg_read(&login->leg, to, want, &spent);
	if (n == -EAGAIN)
		return 0;
	if (n == STREAM_EOF || n == -ECONNABORTED)
		return client_ended(session);
	if (n < 0) {
		session_close(session, session_client_error(n));
		return -1;
	}
	/* A body's bytes are counted when they go to the node. */
	login->http->turn_bytes += spent - (to == &login->leg.in ? 0 : (size_t)n);
	login->input_ms = session->pool->loop->now_ms;
	login->http->rate.received += (uint64_t)n;
	http_progress(session);
	return n;
}

/* ---- events ---- */

/* The end of the client, behind input for which there is no room. */
static void client_left(struct session *session)
{
	if (row_of(session)->client_end == CLIENT_END_GRACE) {
		if (session->login->http->source == SOURCE_OPEN)
			session->login->http->source = SOURCE_ENDING;
		start_grace(session);
		session_update_watch(session);
	} else {
		session_close(session, REASON_CLIENT_EOF);
	}
}

void http_client_event(struct session *session, uint32_t epoll_events)
{
	struct http *http = session->login->http;

	session->login->leg.dry = false;
	http->early |= !http->reads && epoll_events & EPOLLIN;
	if (epoll_events & EPOLLRDHUP && !room_in(session, &session->login->leg.in))
		client_left(session);
	else
		session_run(session);
}

void http_watch_client(struct session *session, bool read, bool end)
{
	struct login *login = session->login;
	struct http *http = login->http;
	uint32_t events = leg_events(&login->leg, read, login_has_to_send(login));

	if (!read && end)
		events |= EPOLLRDHUP;
	http->reads = read;
	http->early &= !read;
	/* Most clients wait for their answer: the watch stays as it is for the next request, unless
	 * it told of something that has to wait. */
	if (!end && !http->early && login->leg.watch.events == (events | EPOLLIN))
		return;
	if (leg_watch(&login->leg, events) < 0)
		session_close(session, REASON_INTERNAL);
}

void http_update_watch(struct session *session)
{
	const struct http *http = session->login->http;

	http_watch_client(session,
		http->source != SOURCE_ENDED && room_in(session, &session->login->leg.in) &&
			!timer_armed(&http->turn),
		http->source == SOURCE_OPEN);
}

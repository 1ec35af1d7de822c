// SPDX-License-Identifier: Apache-2.0
/*
 * The request of an exchange goes up: when its body may, what is read of the client, and what the
 * node takes (http.md sections 3, 6, 8).
 */
#include "http/http.h"
#include "net/sock.h"

#include <errno.h>

#define CONTINUE_MS 1000

static void on_continue_over(struct timer *timer)
{
	struct http *http = container_of(timer, struct http, wait);

	http->request.goes = BODY_OVERDUE;
	session_progress(http->session);
}

/* Section 8: what the client sends during an event stream is dropped; its end is noticed. */
static int drop_input(struct session *session)
{
	ssize_t n = http_read_client(session, NULL, 0);

	if (n >= 0)
		buf_fini(&session->login->leg.in);
	return n < 0 ? -1 : n > 0;
}

bool http_exchange_wants_body(const struct session *session)
{
	const struct http *http = session->login->http;

	return !http_body_is_done(&http->request.up) && http->request.goes != BODY_AWAITED &&
		!http->leg->write_failed && http->leg->wire.out.len < HTTP_HIGH_BYTES;
}

/* HTTP-30: what the node has of it must not look complete. */
static int bad_body(struct session *session, int error)
{
	sock_abort_on_close(session->login->http->leg->wire.stream.fd);
	if (error == -EBADMSG)
		http_answer(session, 400, REASON_PROTOCOL_ERROR);
	else
		session_close(session, REASON_INTERNAL);
	return -1;
}

static int read_body(struct session *session)
{
	struct http *http = session->login->http;
	struct buf *in = &session->login->leg.in;
	uint64_t span = http_body_span(&http->request.up);
	size_t consumed = 0;
	ssize_t n;
	int r;

	if (in->len) {
		r = http_body_input(
			&http->request.up, buf_view(in), &consumed, &http->leg->wire.out, NULL);
		buf_consume(in, consumed);
		if (r < 0)
			return bad_body(session, r);
		if (consumed)
			return 1;
	}
	n = http_read_client(session, span ? &http->leg->wire.out : NULL, span);
	if (n > 0 && span)
		http_body_skip(&http->request.up, (uint64_t)n);
	return n < 0 ? -1 : n > 0;
}

int http_move_up(struct session *session)
{
	struct http *http = session->login->http;
	int moved = 0, r;

	if (http->request.plan.streaming && http->source != SOURCE_ENDED)
		moved = drop_input(session);
	else if (http_exchange_wants_body(session))
		moved = read_body(session);
	if (moved < 0)
		return -1;
	if (http->leg->write_failed || !http->leg->wire.out.len)
		return moved;
	r = http_leg_flush(http->leg);
	if (r < 0) { /* HTTP-36: it may have answered, and not want the rest */
		http->leg->write_failed = true;
		buf_fini(&http->leg->wire.out);
		http->leg->wire.dry = false;
		return 1;
	}
	if (http->request.goes == BODY_AWAITED && !http->leg->wire.out.len &&
		!timer_armed(&http->wait))
		loop_timer_set(session->pool->loop, &http->wait, CONTINUE_MS, on_continue_over);
	return moved || r;
}

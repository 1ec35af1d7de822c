// SPDX-License-Identifier: Apache-2.0
/*
 * The response of an exchange comes down: as much as there is, its body as it came or without its
 * chunks; one that cannot be completed is cut (http.md sections 3, 6, 8).
 */
#include "http/http.h"
#include "net/sock.h"

#include <errno.h>

/* HTTP-33: what is there is delivered, and no clean end after it. */
static int cut(struct session *session, enum session_reason reason)
{
	struct http *http = session->login->http;

	http->request.response = RESPONSE_CUT;
	if (http->request.plan.unchunked) /* a FIN would look like its end */
		sock_abort_on_close(session->login->leg.stream.fd);
	http->close_reason = reason;
	http_leg_drop(session);
	return 1;
}

static int body_ended(struct session *session, ssize_t error)
{
	struct http_request *request = &session->login->http->request;

	if (request->down.framing != HTTP_UNTIL_CLOSE)
		return cut(
			session, error == STREAM_EOF ? REASON_TRUNCATED : http_lost_reason(error));
	if (error == STREAM_EOF) {
		request->down.state = HTTP_BODY_END;
		return 1;
	}
	sock_abort_on_close(session->login->leg.stream.fd); /* a FIN would look like its end */
	return cut(session, error == -ECONNABORTED ? REASON_TRUNCATED : http_lost_reason(error));
}

static int move_body(struct session *session)
{
	struct http *http = session->login->http;
	struct http_leg *leg = http->leg;
	struct buf *out = &session->login->leg.out;
	uint64_t span = http_body_span(&http->request.down);
	size_t consumed = 0;
	ssize_t n;
	int r;

	if (leg->wire.in.len) {
		r = http->request.plan.unchunked
			? http_body_input(&http->request.down, buf_view(&leg->wire.in), &consumed,
				  NULL, out)
			: http_body_input(&http->request.down, buf_view(&leg->wire.in), &consumed,
				  out, NULL);
		buf_consume(&leg->wire.in, consumed);
		if (r < 0)
			return cut(session, REASON_PROTOCOL_ERROR);
		if (consumed)
			return 1;
	}
	n = http_leg_read(leg, span ? out : NULL, span);
	if (n == -EAGAIN)
		return 0;
	if (n <= 0)
		return body_ended(session, n);
	if (span)
		http_body_skip(&http->request.down, (uint64_t)n);
	return 1;
}

bool http_exchange_wants_response(const struct session *session)
{
	const struct http_request *request = &session->login->http->request;
	bool more = request->response < RESPONSE_FLOWS ||
		(request->response == RESPONSE_FLOWS && !http_body_is_done(&request->down));

	return more && session->login->leg.out.len < HTTP_HIGH_BYTES;
}

/* As much as there is, so that a short response goes to the client in one piece. */
int http_move_down(struct session *session)
{
	struct http *http = session->login->http;
	int moved = 0, r = 1;

	while (r > 0 && http_exchange_wants_response(session) &&
		http->turn_bytes <= HTTP_TURN_BYTES) {
		r = http->request.response == RESPONSE_FLOWS ? move_body(session)
							     : http_move_head(session);
		moved |= r;
	}
	return r < 0 ? -1 : moved;
}

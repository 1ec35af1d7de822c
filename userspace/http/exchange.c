// SPDX-License-Identifier: Apache-2.0
/*
 * An exchange: the request goes up, the response comes down, both at once (http.md sections 3, 6,
 * 8). Each step moves what can be moved without waiting; when nothing moves, the watches say what
 * for. Whatever may end the exchange returns -1, and nothing is touched after that.
 */
#include "http/http.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/sock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define CONTINUE_MS 1000
#define MAX_INTERIM 16

/* ---- ends ---- */

static void close_after(struct session *session, enum session_reason reason)
{
	struct http *http = session->login->http;

	if (!http->closing)
		http->close_reason = reason;
	http->closing = true;
}

/* HTTP-33: what is there is delivered, and no clean end after it. */
static int cut(struct session *session, enum session_reason reason)
{
	struct http *http = session->login->http;

	http->request.cut = true;
	if (http->request.unchunked) /* a FIN would look like its end */
		sock_abort_on_close(session->login->leg.stream.fd);
	http->close_reason = reason;
	http_leg_drop(session);
	return 1;
}

static enum session_reason lost_reason(ssize_t error)
{
	if (error == STREAM_EOF || error == -ECONNABORTED)
		return REASON_NODE_EOF;
	return error == -EPROTO ? REASON_TLS_NODE : REASON_NODE_ERROR;
}

/* HTTP-65: the node may have closed a kept leg just when it was used again. */
static bool may_repeat(const struct session *session)
{
	const struct http *http = session->login->http;
	const struct http_request *request = &http->request;

	return http->leg->reused && !request->retried && request->repeatable &&
		!http->leg->wire.in.len && !request->interim && !request->body_seen &&
		http_body_is_done(&request->up);
}

/* The node cannot be expected to answer. Whatever the request did to it, it was there to take it:
 * the breaker hears nothing of it. */
static int node_failed(
	struct session *session, enum session_reason reason, int error, const char *cause)
{
	atomic_fetch_add(&session->node->dial_errors, 1);
	http_note_failure(session, reason, error, cause);
	session_unavailable(session, reason);
	return -1;
}

static int node_talks_nonsense(struct session *session, const char *cause)
{
	return node_failed(session, REASON_NODE_REFUSED, -EBADMSG, cause);
}

static int node_lost(struct session *session, ssize_t error)
{
	struct http *http = session->login->http;

	if (!may_repeat(session))
		return node_failed(session, lost_reason(error), (int)error, NULL);
	http->request.retried = true;
	http_leg_drop(session);
	session_set_node_name(session, session->node->name);
	session_set_state(session, S_DIAL);
	return -1;
}

void http_exchange_account(struct session *session)
{
	struct http_request *request = &session->login->http->request;
	char id[SESSION_ID_SIZE];
	struct log_line line UNINITIALIZED;

	if (!request->started_ms)
		return;
	for (int i = 0; i < 2; i++)
		session->carried[i] += request->bytes[i];
	if (session->node) {
		atomic_fetch_add(&session->node->bytes_up, request->bytes[RELAY_UP]);
		atomic_fetch_add(&session->node->bytes_down, request->bytes[RELAY_DOWN]);
	}
	if (log_wants(LOGL_DEBUG)) {
		session_format_id(session, id);
		log_start(&line, LOGL_DEBUG, "request");
		log_str(&line, "id", id);
		log_str(&line, "method", request->method);
		log_int(&line, "status", request->status);
		log_str(&line, "node", session->node ? session->node->name : NULL);
		log_int(&line, "bytes", (int64_t)request->bytes[RELAY_DOWN]);
		log_int(&line, "ms", (int64_t)(clock_mono_ms() - request->started_ms));
		log_end(&line);
	}
	request->started_ms = 0;
	request->bytes[0] = request->bytes[1] = 0;
}

/* The response has been sent in full. */
static void finish(struct session *session)
{
	struct http *http = session->login->http;
	struct http_leg *leg = http->leg;

	http_exchange_account(session);
	if (leg->wire.in.len)
		log_event_limited(LOGL_WARN, "node_unexpected_bytes", leg->node->name, "node",
			leg->node->name, NULL);
	if (http->request.keep_leg && !http->closing && !leg->wire.out.len && !leg->wire.in.len)
		http_leg_keep(session);
	else
		http_leg_drop(session);
	if (http->closing || (http->client_eof && !session->login->leg.in.len)) {
		session_finish(session, http->close_reason);
		return;
	}
	session_set_state(session, S_IDLE);
}

/* ---- up ---- */

static void on_continue_over(struct timer *timer)
{
	struct http *http = container_of(timer, struct http, wait);

	http->request.await_continue = false;
	http->request.continue_over = true;
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

	return !http_body_is_done(&http->request.up) && !http->request.await_continue &&
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
		if (consumed) {
			http->request.body_seen = true;
			return 1;
		}
	}
	n = http_read_client(session, span ? &http->leg->wire.out : NULL, span);
	if (n > 0)
		http->request.body_seen = true;
	if (n > 0 && span)
		http_body_skip(&http->request.up, (uint64_t)n);
	return n < 0 ? -1 : n > 0;
}

static int move_up(struct session *session)
{
	struct http *http = session->login->http;
	int moved = 0, r;

	if (http->request.streaming && !http->client_eof)
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
	if (http->request.await_continue && !http->leg->wire.out.len && !timer_armed(&http->wait))
		loop_timer_set(session->pool->loop, &http->wait, CONTINUE_MS, on_continue_over);
	return moved || r;
}

/* ---- the response's head ---- */

static int hand_over(struct session *session, bool one_way)
{
	struct http_leg *leg = session->login->http->leg;

	session->login->node_leg = (struct node_leg){ &leg->wire, one_way };
	loop_watch_del(&leg->wire.watch);
	loop_timer_del(session->pool->loop, &session->login->http->wait);
	session_set_state(session, S_SPLICE);
	return -1;
}

static void count_answer(struct session *session, int status)
{
	struct node *node = session->node;

	atomic_fetch_add(&node->sessions, 1);
	atomic_fetch_add(&node->protocol_sessions[PROTOCOL_HTTP], 1);
	atomic_fetch_add(&node->http_answers[status / 100 - 1], 1);
}

static int no_memory(struct session *session)
{
	session_close(session, REASON_INTERNAL);
	return -1;
}

static int got_upgrade(struct session *session, const struct http_head *head)
{
	struct http *http = session->login->http;

	if (!http->request.websocket || !head->is_upgrade)
		return node_talks_nonsense(session, "an upgrade that was not asked for");
	if (http_write_response(head, false, false, &session->login->leg.out) < 0)
		return no_memory(session);
	buf_consume(&http->leg->wire.in, head->length);
	http->request.status = head->status;
	count_answer(session, head->status);
	return hand_over(session, false);
}

static int got_interim(struct session *session, const struct http_head *head)
{
	struct http *http = session->login->http;
	struct http_request *request = &http->request;
	/* RFC 9110 section 15.2: not to a client of HTTP/1.0. */
	bool unwanted = request->http10 ||
		(head->status == 100 && request->continue_over && http_body_is_done(&request->up));

	if (head->status == 101)
		return got_upgrade(session, head);
	if (++request->interim > MAX_INTERIM)
		return node_talks_nonsense(session, "too many interim responses");
	if (!unwanted && http_write_response(head, false, false, &session->login->leg.out) < 0)
		return no_memory(session);
	if (head->status == 100 && request->await_continue) {
		request->await_continue = false;
		loop_timer_del(session->pool->loop, &http->wait);
	}
	buf_consume(&http->leg->wire.in, head->length);
	return 1;
}

/* Whether client and node connection end with this response. */
static void decide_end(
	struct session *session, const struct http_head *head, enum http_framing framing)
{
	struct http *http = session->login->http;
	struct http_request *request = &http->request;
	bool up_done = http_body_is_done(&request->up);
	bool node_closes = head->wants_close || head->is_http10 || framing == HTTP_UNTIL_CLOSE;

	request->keep_leg = up_done && !node_closes && !http->leg->write_failed;
	request->streaming = head->is_event_stream && framing != HTTP_NO_BODY;
	if (node_closes || request->streaming)
		close_after(session, REASON_NODE_EOF);
	if (!up_done || request->websocket)
		close_after(session, REASON_CLIENT_QUIT);
}

/* Of the request nothing is needed any more; the body that the node did not ask for is not sent. */
static void forget_request(struct session *session)
{
	struct http_request *request = &session->login->http->request;

	loop_timer_del(session->pool->loop, &session->login->http->wait);
	buf_fini(&request->raw);
	free(request->head);
	request->head = NULL;
}

/* Section 8. The chunks of an event stream go on as they come: the client was told that nothing
 * follows them, and leaves when it has the last one. */
static bool may_hand_over(const struct session *session, enum http_framing framing)
{
	const struct http *http = session->login->http;

	return (framing == HTTP_UNTIL_CLOSE ||
		       (framing == HTTP_CHUNKED && http->request.streaming &&
			       !http->request.unchunked)) &&
		!http->client_eof && !http->leg->wire.out.len &&
		http_body_is_done(&http->request.up);
}

/* A client of HTTP/1.0 is not sent a transfer coding (RFC 9112 section 6.1). False: it is one that
 * cannot be taken off. */
static bool take_coding_off(struct http_request *request, const struct http_head *head)
{
	const struct http_field *coding;
	size_t count;

	request->unchunked = request->http10 && head->framing == HTTP_CHUNKED;
	if (!request->unchunked)
		return true;
	coding = http_head_field(head, "Transfer-Encoding", &count);
	return count == 1 && view_eq_nocase(coding->value, VIEW_LIT("chunked"));
}

/* OPS-22: the node refuses what the client presented. Without credentials a 401 only asks for them,
 * and the schemes that take more than one step (Negotiate, NTLM, Digest) are answered so on the
 * way. */
static void note_refusal(struct session *session)
{
	size_t count;
	const struct http_field *field =
		http_head_field(session->login->http->request.head, "Authorization", &count);

	if (!count ||
		(!view_starts_nocase(field->value, VIEW_LIT("Basic ")) &&
			!view_starts_nocase(field->value, VIEW_LIT("Bearer "))))
		return;
	session_auth_failed(session, AUTH_REFUSED, false);
	session->attempts++;
}

static int got_final(struct session *session, const struct http_head *head)
{
	struct http *http = session->login->http;
	struct http_request *request = &http->request;
	enum http_framing framing = http_response_framing(head, request->to_head);

	if (!take_coding_off(request, head)) { /* the node is not wrong */
		session_unavailable(session, REASON_NODE_REFUSED);
		return -1;
	}
	request->status = head->status;
	http_body_init(&request->down, framing, head->content_length,
		(size_t)session->snapshot->config->http.max_head_size);
	decide_end(session, head, framing);
	if (http_write_response(head, http->closing, request->unchunked, &session->login->leg.out) <
		0)
		return no_memory(session);
	buf_consume(&http->leg->wire.in, head->length);
	count_answer(session, head->status);
	if (head->status == 401)
		note_refusal(session);
	forget_request(session);
	return may_hand_over(session, framing) ? hand_over(session, true) : 1;
}

/* Returns 0 when more of it is needed. */
static int take_response(struct session *session)
{
	static _Thread_local struct http_head head;
	struct http *http = session->login->http;
	struct http_limits limits = { (size_t)session->snapshot->config->http.max_head_size,
		HTTP_MAX_FIELDS, false };
	int r;

	dial_report(session->login->dial, HEALTH_SUCCESS); /* it says something */
	memset(&head, 0, sizeof(head));
	head.scanned = http->request.response_scanned;
	r = http_response_parse(&head, buf_view(&http->leg->wire.in), &limits);
	http->request.response_scanned = head.scanned;
	if (r == HTTP_HEAD_MORE)
		return 0;
	if (r != HTTP_HEAD_DONE)
		return node_talks_nonsense(session, "the answer is not a valid HTTP response");
	http->request.response_scanned = 0;
	session_drop_dial(session);
	return head.status < 200 ? got_interim(session, &head) : got_final(session, &head);
}

static int move_head(struct session *session)
{
	struct http_leg *leg = session->login->http->leg;
	ssize_t n;
	int r;

	if (leg->wire.in.len) {
		r = take_response(session);
		if (r)
			return r;
	}
	n = http_leg_read(leg, NULL, 0);
	if (n == -EAGAIN)
		return 0;
	return n > 0 ? 1 : node_lost(session, n);
}

/* ---- the response's body ---- */

static int body_ended(struct session *session, ssize_t error)
{
	struct http_request *request = &session->login->http->request;

	if (request->down.framing != HTTP_UNTIL_CLOSE)
		return cut(session, error == STREAM_EOF ? REASON_TRUNCATED : lost_reason(error));
	if (error == STREAM_EOF) {
		request->down.state = HTTP_BODY_END;
		return 1;
	}
	sock_abort_on_close(session->login->leg.stream.fd); /* a FIN would look like its end */
	return cut(session, error == -ECONNABORTED ? REASON_TRUNCATED : lost_reason(error));
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
		r = http->request.unchunked
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

static bool wants_response(const struct session *session)
{
	const struct http_request *request = &session->login->http->request;

	return !request->cut && session->login->leg.out.len < HTTP_HIGH_BYTES &&
		(!request->status || !http_body_is_done(&request->down));
}

/* As much as there is, so that a short response goes to the client in one piece. */
static int move_down(struct session *session)
{
	struct http *http = session->login->http;
	int moved = 0, r = 1;

	while (r > 0 && wants_response(session) && http->turn_bytes <= HTTP_TURN_BYTES) {
		r = http->request.status ? move_body(session) : move_head(session);
		moved |= r;
	}
	return r < 0 ? -1 : moved;
}

/* ---- both ---- */

/* Returns 1 if bytes moved, 0 if not, -1 when the session is over. */
static int flush_client(struct session *session)
{
	uint32_t before = session->login->leg.out.len;

	if (!before)
		return 0;
	if (session_flush(session) < 0)
		return -1;
	if (session->login->leg.out.len == before)
		return 0;
	session->login->http->rate.written += before - session->login->leg.out.len;
	http_progress(session);
	return 1;
}

static bool step_cut(struct session *session)
{
	if (flush_client(session) < 0)
		return false;
	if (!session->login->leg.out.len)
		session_close(session, session->login->http->close_reason);
	return false;
}

bool http_exchange_step(struct session *session)
{
	struct http *http = session->login->http;
	struct http_request *request = &http->request;
	int moved = 0, r;

	if (request->cut)
		return step_cut(session);
	if (http->turn_bytes > HTTP_TURN_BYTES)
		return false;
	for (int i = 0; i < 3; i++) {
		r = i == 0 ? move_up(session) : i == 1 ? move_down(session) : flush_client(session);
		if (r < 0 || request->cut)
			return r >= 0;
		moved |= r;
	}
	if (request->status && http_body_is_done(&request->down) && !session->login->leg.out.len) {
		finish(session);
		return true;
	}
	return moved;
}

void http_exchange_watch(struct session *session)
{
	struct http *http = session->login->http;
	struct http_leg *leg = http->leg;
	bool read = false;

	if (!http->request.cut) { /* else there is no leg any more */
		http_leg_update_watch(
			leg, wants_response(session), leg->wire.out.len && !leg->write_failed);
		read = !http->client_eof && buf_room(&session->login->leg.in) &&
			(http->request.streaming || http_exchange_wants_body(session));
	}
	http_watch_client(session, read, false);
}

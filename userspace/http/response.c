// SPDX-License-Identifier: Apache-2.0
/*
 * What a node answers, up to the response's body: interim responses, an upgrade, the final head;
 * and that it does not answer (http.md sections 3, 6, 8).
 */
#include "http/http.h"
#include "net/sock.h"

#include <errno.h>
#include <stdlib.h>

#define MAX_INTERIM 16

/* ---- no answer ---- */

/* HTTP-65: the node may have closed a kept leg just when it was used again. */
static bool may_repeat(const struct session *session)
{
	const struct http *http = session->login->http;
	const struct http_request *request = &http->request;

	return http->leg->use == LEG_AGAIN && request->repeat == REPEAT_ONCE &&
		request->response == RESPONSE_NONE && !http->leg->wire.in.len;
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
		return node_failed(session, http_lost_reason(error), (int)error, NULL);
	http->request.repeat = REPEAT_DONE;
	http_leg_drop(session);
	session_set_node_name(session, session->node->name);
	session_set_state(session, S_DIAL);
	return -1;
}

/* ---- one ---- */

static int hand_over(struct session *session, bool one_way)
{
	struct http_leg *leg = session->login->http->leg;

	session->login->http->request.response = RESPONSE_HANDED_OVER;
	session->login->node_leg = (struct node_leg){ .leg = &leg->wire, .one_way = one_way };
	loop_watch_del(&leg->wire.watch);
	loop_timer_del(session->pool->loop, &session->login->http->wait);
	http_check(session);
	http_request_account(session); /* the relay counts on from it */
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

	if (http->request.asks != ASKS_WEBSOCKET || !head->is_upgrade)
		return node_talks_nonsense(session, "an upgrade that was not asked for");
	if (http_write_response(head, false, false, &session->login->leg.out) < 0)
		return no_memory(session);
	buf_consume(&http->leg->wire.in, head->length);
	http->request.status = head->status;
	count_answer(session, head->status);
	(void)http_guard_response(session, head->status);
	return hand_over(session, false);
}

static int got_interim(struct session *session, const struct http_head *head)
{
	struct http *http = session->login->http;
	struct http_request *request = &http->request;
	/* RFC 9110 section 15.2: not to a client of HTTP/1.0. */
	bool unwanted = request->http10 ||
		(head->status == 100 && request->goes == BODY_OVERDUE &&
			http_body_is_done(&request->up));

	if (head->status == 101)
		return got_upgrade(session, head);
	request->response = RESPONSE_INTERIM;
	if (++request->interim > MAX_INTERIM)
		return node_talks_nonsense(session, "too many interim responses");
	if (!unwanted && http_write_response(head, false, false, &session->login->leg.out) < 0)
		return no_memory(session);
	if (head->status == 100 && request->goes == BODY_AWAITED) {
		request->goes = BODY_FLOWS;
		loop_timer_del(session->pool->loop, &http->wait);
	}
	buf_consume(&http->leg->wire.in, head->length);
	return 1;
}

/* Whether the client's connection ends with this response; who wants it first is the reason. */
static void decide_end(struct http *http)
{
	enum http_last last = http->request.plan.last;

	if (last == LAST_NOT || http->closing)
		return;
	http->closing = true;
	http->close_reason = last == LAST_BY_NODE ? REASON_NODE_EOF : REASON_CLIENT_QUIT;
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

static bool make_plan(struct http *http, const struct http_head *head, struct http_plan *ret_plan)
{
	const struct http_request *request = &http->request;
	const struct http_standing standing = {
		.asks = request->asks,
		.http10 = request->http10,
		.sent = http_body_is_done(&request->up),
		.flushed = !http->leg->wire.out.len,
		.write_failed = http->leg->write_failed,
		.client_ended = http->source == SOURCE_ENDED,
	};

	return http_plan_make(head, &standing, ret_plan);
}

static int got_final(struct session *session, const struct http_head *head)
{
	struct http *http = session->login->http;
	struct http_request *request = &http->request;

	if (!make_plan(http, head, &request->plan)) { /* the node is not wrong */
		session_unavailable(session, REASON_NODE_REFUSED);
		return -1;
	}
	request->response = RESPONSE_FLOWS;
	request->status = head->status;
	http_body_init(&request->down, request->plan.framing, head->content_length,
		(size_t)session->snapshot->config->http.max_head_size);
	decide_end(http);
	/* what has come of the body goes behind the head */
	(void)!buf_reserve(&session->login->leg.out, http->leg->wire.in.len + HTTP_WRITE_ADDED);
	if (http_write_response(
		    head, http->closing, request->plan.unchunked, &session->login->leg.out) < 0)
		return no_memory(session);
	buf_consume(&http->leg->wire.in, head->length);
	count_answer(session, head->status);
	if (http_guard_response(session, head->status) && !request->plan.hand_over)
		session->login->held = true;
	forget_request(session);
	return request->plan.hand_over ? hand_over(session, true) : 1;
}

/* Returns 0 when more of it is needed. */
static int take_response(struct session *session)
{
	static _Thread_local struct http_head head;
	struct http *http = session->login->http;
	struct http_limits limits = { (size_t)session->snapshot->config->http.max_head_size,
		HTTP_MAX_FIELDS, false };
	int r;

	dial_report(session->login->reach.dial, HEALTH_SUCCESS); /* it says something */
	http_head_start(&head, http->request.response_scanned);
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

int http_move_head(struct session *session)
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

// SPDX-License-Identifier: Apache-2.0
/*
 * An exchange: the request goes up (up.c), the response comes down (response.c, down.c), both at
 * once (http.md sections 3, 6, 8). Each step moves what can be moved without waiting; when nothing
 * moves, the watches say what for. Whatever may end the exchange returns -1, and nothing is touched
 * after that.
 */
#include "http/http.h"
#include "base/clock.h"
#include "base/log.h"
#include "tls/records.h"

/* ---- the end ---- */

/* The request has its answer: the next one, or the end. */
static void go_on(struct session *session)
{
	const struct http *http = session->login->http;

	if (http->closing || (http->source == SOURCE_ENDED && !session->login->leg.in.len))
		session_finish(session, http->close_reason);
	else
		session_set_state(session, S_IDLE);
}

void http_penalty_deadline(struct session *session)
{
	session->login->held = false;
	session->login->penalty_ms = 0;
	go_on(session);
	session_run(session);
}

/* The response has been sent in full, or has to wait. */
static void finish(struct session *session)
{
	struct http *http = session->login->http;
	struct http_leg *leg = http->leg;

	http_request_account(session);
	if (leg->wire.in.len)
		log_event_limited(LOGL_WARN, "node_unexpected_bytes", leg->node->name, "node",
			leg->node->name, NULL);
	if (tls_records_are_worn(&session->login->leg.stream)) {
		http->closing = true;
		http->close_reason = REASON_KEY_UPDATE;
	}
	if (http->request.plan.keep_leg && !http->closing &&
		!tls_records_are_worn(&leg->wire.stream) && !leg->wire.out.len && !leg->wire.in.len)
		http_leg_keep(session);
	else
		http_leg_drop(session);
	if (session->login->held && !session->pool->shutting_down) {
		session_set_state(session, S_PENALTY);
		return;
	}
	session->login->held = false;
	go_on(session);
}

/* ---- steps ---- */

/* Returns 1 if bytes moved, 0 if not, -1 when the session is over. */
static int flush_client(struct session *session)
{
	uint32_t before = session->login->leg.out.len;

	if (!before || !http_may_send(session))
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

	if (request->response == RESPONSE_CUT)
		return step_cut(session);
	if (http->turn_bytes > HTTP_TURN_BYTES)
		return false;
	for (int i = 0; i < 3; i++) {
		r = i == 0       ? http_move_up(session)
			: i == 1 ? http_move_down(session)
				 : flush_client(session);
		if (r < 0 || request->response == RESPONSE_CUT)
			return r >= 0;
		moved |= r;
	}
	if (request->response == RESPONSE_FLOWS && http_body_is_done(&request->down) &&
		(!session->login->leg.out.len || session->login->held)) {
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

	if (http->request.response != RESPONSE_CUT) { /* else there is no leg any more */
		http_leg_update_watch(leg, http_exchange_wants_response(session),
			leg->wire.out.len && !leg->write_failed);
		read = http->source != SOURCE_ENDED && buf_room(&session->login->leg.in) &&
			(http->request.plan.streaming || http_exchange_wants_body(session));
	}
	http_watch_client(session, read, false);
}

// SPDX-License-Identifier: Apache-2.0
/* What states.h says of which fields are valid when, asserted in builds with sanitizers. */
#include "http/http.h"

#include <assert.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

static void check_idle_legs(const struct http *http)
{
	unsigned count = 0;

	list_for_each (position, &http->idle) {
		const struct http_leg *leg = list_entry(position, struct http_leg, link);

		assert(leg->use == LEG_IDLE && leg != http->leg);
		assert(timer_armed(&leg->timer));
		assert(!leg->wire.in.len && !leg->wire.out.len);
		count++;
	}
	assert(count == http->idle_count && count <= HTTP_MAX_IDLE);
}

/* No request, or none that has been understood. */
static void check_no_request(const struct http *http)
{
	const struct http_request *request = &http->request;

	assert(!request->head && !request->raw.data && !request->data.data);
	assert(request->asks == ASKS_CONTENT && request->repeat == REPEAT_NEVER);
	assert(request->goes == BODY_FLOWS);
}

/* Of any request. */
static void check_request(const struct http_request *request)
{
	assert(request->repeat == REPEAT_NEVER || http_body_is_done(&request->up));
	assert(request->asks != ASKS_WEBSOCKET || !request->http10);
	assert(!request->data.data || request->goes == BODY_LOOKED_AT);
}

/* On its way to a node. */
static void check_head(const struct http_request *request)
{
	check_request(request);
	assert(request->head && request->raw.data);
	assert(request->goes == BODY_FLOWS || request->goes == BODY_LOOKED_AT);
}

static void check_no_response(const struct http_request *request)
{
	assert(request->response <= RESPONSE_INTERIM && !request->status);
	assert((request->response == RESPONSE_INTERIM) == (request->interim != 0));
	assert(!request->plan.unchunked && !request->plan.streaming && !request->plan.keep_leg);
	assert(request->plan.last == LAST_NOT && !request->plan.hand_over);
}

static void check_begun(const struct http *http)
{
	const struct http_request *request = &http->request;

	assert(!request->head && !request->raw.data && request->status >= 200);
	assert(!request->plan.unchunked || request->http10);
	assert(request->plan.last == LAST_NOT || http->closing);
	assert(!timer_armed(&http->wait) || request->goes == BODY_AWAITED);
}

static void check_exchange(const struct session *session)
{
	const struct http *http = session->login->http;
	const struct http_request *request = &http->request;

	check_request(request);
	assert(!request->data.data);
	assert(request->goes != BODY_AWAITED || !http_body_is_done(&request->up));
	assert((http->leg == NULL) == (request->response == RESPONSE_CUT));
	assert(!http->leg || http->leg->use != LEG_IDLE);
	switch (request->response) {
	case RESPONSE_NONE:
	case RESPONSE_INTERIM:
		check_no_response(request);
		assert(request->head && request->raw.data);
		assert(!timer_armed(&http->wait) || request->goes == BODY_AWAITED);
		break;
	case RESPONSE_FLOWS:
	case RESPONSE_CUT:
		check_begun(http);
		break;
	case RESPONSE_HANDED_OVER:
		assert(request->status == 101 || request->plan.hand_over);
		assert(session->login->node_leg.leg == &http->leg->wire);
		assert(!http->leg->wire.watch.loop && !timer_armed(&http->wait));
	}
}

void http_check(const struct session *session)
{
	const struct http *http = session->login->http;

	check_idle_legs(http);
	if (session->state == S_EXCHANGE) {
		check_exchange(session);
		return;
	}
	assert(!http->leg);
	check_no_response(&http->request);
	switch (session->state) {
	case S_FIRST_HEAD:
	case S_IDLE:
	case S_HEAD:
	case S_PENALTY:
		check_no_request(http);
		assert(!timer_armed(&http->wait));
		break;
	case S_EXTRACT:
		assert(http->request.goes == BODY_LOOKED_AT);
		/* fall through */
	case S_HOLD:
		check_head(&http->request);
		assert(!timer_armed(&http->wait));
		break;
	case S_LOOKUP:
	case S_DIAL:
		check_head(&http->request);
		assert(!timer_armed(&http->wait) || http->source != SOURCE_OPEN);
		break;
	default:
		assert(false); /* not HTTP's */
	}
}

#endif

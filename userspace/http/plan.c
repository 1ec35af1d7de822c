// SPDX-License-Identifier: Apache-2.0
/* A response's head, judged once: framing, coding, ends, who moves the body. */
#include "http/plan.h"

/* A client of HTTP/1.0 is not sent a transfer coding (RFC 9112 section 6.1). */
static bool can_unchunk(const struct http_head *head)
{
	size_t count;
	const struct http_field *coding = http_head_field(head, "Transfer-Encoding", &count);

	return count == 1 && view_eq_nocase(coding->value, VIEW_LIT("chunked"));
}

/* Section 8. The chunks of an event stream go on as they come: the client was told that nothing
 * follows them, and leaves when it has the last one. */
static bool may_hand_over(const struct http_plan *plan, const struct http_standing *standing)
{
	bool endless = plan->framing == HTTP_UNTIL_CLOSE ||
		(plan->framing == HTTP_CHUNKED && plan->streaming && !plan->unchunked);

	return endless && !standing->client_ended && standing->flushed && standing->sent;
}

bool http_plan_make(const struct http_head *head, const struct http_standing *standing,
	struct http_plan *ret_plan)
{
	struct http_plan plan = {
		.framing = http_response_framing(head, standing->asks == ASKS_HEAD),
		.unchunked = standing->http10 && head->framing == HTTP_CHUNKED,
	};
	bool node_closes = head->wants_close || head->is_http10 || plan.framing == HTTP_UNTIL_CLOSE;

	if (plan.unchunked && !can_unchunk(head))
		return false;
	plan.keep_leg = standing->sent && !node_closes && !standing->write_failed;
	plan.streaming = head->is_event_stream && plan.framing != HTTP_NO_BODY;
	if (node_closes || plan.streaming)
		plan.last = LAST_BY_NODE;
	else if (!standing->sent || standing->asks == ASKS_WEBSOCKET)
		plan.last = LAST_BY_CLIENT;
	plan.hand_over = may_hand_over(&plan, standing);
	*ret_plan = plan;
	return true;
}

// SPDX-License-Identifier: Apache-2.0
/* An exchange begins: the request's head, as it goes on, and what was looked at of its body are
 * written to the leg (http.md sections 5 and 7). */
#include "http/http.h"

#include <stdio.h>

#define HOST_BYTES 300

/* HTTP-70 */
static bool keeps_forwarded(const struct session *session)
{
	const struct config_listener *settings = session->settings;

	return settings->forwarded_trust &&
		(!settings->proxy_trusted_count ||
			cidr_match_any(settings->proxy_trusted, settings->proxy_trusted_count,
				&session->login->http->peer));
}

/* What a request that names no host is taken to be for. */
static const char *host_of(const struct config_destination *destination, char text[HOST_BYTES])
{
	bool is_v6 = strchr(destination->host, ':') && destination->host[0] != '[';

	if (destination->tls_server_name)
		return destination->tls_server_name;
	snprintf(text, HOST_BYTES, is_v6 ? "[%s]" : "%s", destination->host);
	return text;
}

static int write_head(struct session *session)
{
	struct http *http = session->login->http;
	struct http_request *request = &http->request;
	char ip[ADDR_TEXT_SIZE], host[HOST_BYTES];
	struct http_request_changes changes = {
		.host = request->http10 ? host_of(http->leg->destination, host) : NULL,
		.keep_forwarded = keeps_forwarded(session),
		.client = http->leg->destination->forwarded ? addr_format_ip(&session->client, ip)
							    : NULL,
		.drop_expect = request->goes == BODY_LOOKED_AT,
	};
	int r = http_write_request(request->head, &changes, &http->leg->wire.out);

	if (r == 0 && request->goes == BODY_LOOKED_AT)
		r = http_body_put_peeked(
			&request->up, buf_view(&request->data), &http->leg->wire.out);
	buf_fini(&request->data);
	return r;
}

void http_exchange_enter(struct session *session)
{
	struct http *http = session->login->http;
	struct http_request *request = &http->request;

	/* HTTP-66, SES-48: once more, right before the credential is written. */
	if (!http->leg->secured && !http->leg->destination->allow_plaintext_auth) {
		session_unavailable(session, REASON_NODE_REFUSED);
		return;
	}
	if (write_head(session) < 0) {
		session_close(session, REASON_INTERNAL);
		return;
	}
	loop_timer_del(session->pool->loop, &http->wait);
	if (request->head->expects_continue && request->goes == BODY_FLOWS &&
		!http_body_is_done(&request->up))
		request->goes = BODY_AWAITED;
	request->response_scanned = 0;
	/* Of one that was kept epoll tells when the answer is there. */
	if (http->leg->use == LEG_FIRST)
		http->leg->wire.dry = false;
	http_progress(session);
}

void http_connected(struct session *session)
{
	session_phase_end(session, PHASE_DIAL);
	/* How long a request takes is the client's choice: a probe must not wait for its answer. */
	if (session->login->reach.dial->breaker == BREAKER_PROBE)
		dial_report(session->login->reach.dial, HEALTH_SUCCESS);
	if (http_leg_adopt(session) < 0)
		session_unavailable(session, REASON_INTERNAL);
	else
		session_set_state(session, S_EXCHANGE);
	session_progress(session);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * From a request head to a node's name (http.md sections 4 and 5): the route, the identifier, the
 * hold and the lookup of mail logins; or a node that the route names itself. Then a leg.
 */
#include "http/http.h"
#include "base/log.h"
#include "session/guarded.h"

#include <stdlib.h>

static const struct config_route *route_of(const struct session *session)
{
	return &session->snapshot->config->http.routes[session->login->http->request.route];
}

/* ---- the node ---- */

enum session_state http_found(struct session *session)
{
	int index = snapshot_find(session->snapshot, session->login->node_name);
	struct node *node = index >= 0 ? session->snapshot->nodes[index] : NULL;

	if (!node || !http_leg_take(session, node))
		return S_DIAL;
	session->node = node;
	session->login->destination = &session->snapshot->config->destinations[index];
	return S_EXCHANGE;
}

/* Without a lookup. */
static void go_to(struct session *session, const char *destination)
{
	session_set_node_name(session, destination);
	session_set_state(session, http_found(session));
}

static void take_fallback(struct session *session)
{
	const struct config *config = session->snapshot->config;
	const char *fallback = route_of(session)->fallback;

	session->choice = CHOICE_DEFAULT;
	session->cache_hit = false;
	if (!fallback || strcmp(fallback, "default") == 0)
		fallback = config->routing.default_destination;
	go_to(session, fallback);
}

/* ---- the account ---- */

static void rejected(struct session *session)
{
	struct http *http = session->login->http;
	int status = route_of(session)->from == CONFIG_EXTRACT_AUTHORIZATION ? 401 : 400;

	http_guard_malformed(session);
	if (!session->login->penalty_ms) {
		http_answer(session, status, REASON_PROTOCOL_ERROR);
		return;
	}
	if (http_write_error(status, http->request.asks == ASKS_HEAD, &session->login->leg.out) <
		0) {
		session_close(session, REASON_INTERNAL);
		return;
	}
	http_request_account(session);
	http->closing = true;
	http->close_reason = REASON_PROTOCOL_ERROR;
	session->login->held = true;
	session_set_state(session, S_PENALTY);
}

static void identify(struct session *session)
{
	const struct config *config = session->snapshot->config;
	struct http_request *request = &session->login->http->request;
	struct route_rules rules = { &config->identity_rules, config->oauth_jwt_username_claim };
	struct identity identity;
	int r = route_extract(session->snapshot->routes, request->route, &rules, request->head,
		buf_view(&request->data), &identity);

	switch (r) {
	case ROUTE_FOUND:
		session->account = view_dup(view_make(identity.account, identity.len));
		if (session->account)
			session_set_state(session, S_HOLD);
		else
			session_close(session, REASON_INTERNAL);
		break;
	case ROUTE_LIMITED:
		atomic_fetch_add(&session->pool->router->regex_limited, 1);
		/* fall through */
	case ROUTE_NOTHING:
		take_fallback(session);
		break;
	case ROUTE_REJECTED:
		rejected(session);
		break;
	case ROUTE_AMBIGUOUS:
		http_answer(session, 400, REASON_PROTOCOL_ERROR);
		break;
	default:
		session_close(session, REASON_INTERNAL);
	}
}

/* ---- a body that is looked at ---- */

bool http_extract_step(struct session *session)
{
	struct login *login = session->login;
	struct http_request *request = &login->http->request;
	size_t consumed = 0;
	int r = HTTP_BODY_MORE;

	if (login->leg.in.len) {
		r = http_body_peek(
			&request->up, buf_view(&login->leg.in), &consumed, &request->data);
		buf_consume(&login->leg.in, consumed);
	}
	if (r < 0) {
		http_answer(session, 400, REASON_PROTOCOL_ERROR);
		return false;
	}
	if (r == HTTP_BODY_DONE) {
		identify(session);
		return true;
	}
	return http_read_client(session, NULL, 0) > 0;
}

void http_extract_enter(struct session *session)
{
	struct http_request *request = &session->login->http->request;
	const struct config_http *http = &session->snapshot->config->http;

	request->goes = BODY_LOOKED_AT;
	buf_init(&request->data, (size_t)http->body_extract_cap, true);
	if (http_body_is_done(&request->up)) {
		identify(session);
		return;
	}
	if (request->head->expects_continue && http_write_continue(&session->login->leg.out) < 0) {
		session_close(session, REASON_INTERNAL);
		return;
	}
	http_progress(session);
	(void)!session_flush(session);
}

/* ---- a head ---- */

/* The head's bytes become the request's, what follows stays; the views keep their meaning. */
static int take_head(struct session *session, const struct http_head *head)
{
	struct login *login = session->login;
	struct http_request *request = &login->http->request;
	struct view rest = view_skip(buf_view(&login->leg.in), head->length);

	request->raw = login->leg.in;
	buf_init(&login->leg.in, request->raw.limit, true);
	if (buf_append_view(&login->leg.in, rest) < 0)
		return -1;
	request->head = http_head_copy(head);
	return request->head ? 0 : -1;
}

static bool is_repeatable(struct view method)
{
	static const char *const methods[] = { "GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT" };

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		if (view_eq(method, view_str(methods[i])))
			return true;
	}
	return false;
}

static enum http_asks asks_for(const struct http_head *head)
{
	if (head->wants_websocket)
		return ASKS_WEBSOCKET;
	return view_eq(head->method, VIEW_LIT("HEAD")) ? ASKS_HEAD : ASKS_CONTENT;
}

static void fill_request(struct session *session, const struct http_head *head)
{
	struct http *http = session->login->http;
	const struct config_http *settings = &session->snapshot->config->http;
	struct http_request *request = &http->request;

	request->started_ms = session->pool->loop->now_ms;
	request->http10 = head->is_http10;
	request->asks = asks_for(head);
	memcpy(request->method, head->method.data,
		MIN(head->method.len, sizeof(request->method) - 1)); /* zeroed before */
	http_body_init(
		&request->up, head->framing, head->content_length, (size_t)settings->max_head_size);
	if (is_repeatable(head->method) && http_body_is_done(&request->up))
		request->repeat = REPEAT_ONCE;
	session->requests++;
	if (head->wants_close) {
		http->closing = true;
		http->close_reason = REASON_CLIENT_QUIT;
	}
	if (session->pool->shutting_down) {
		http->closing = true;
		http->close_reason = REASON_SHUTDOWN;
	}
	if (settings->max_keepalive_requests &&
		session->requests >= (uint64_t)settings->max_keepalive_requests) {
		http->closing = true;
		http->close_reason = REASON_KEEPALIVE;
	}
}

void http_route_request(struct session *session, struct http_head *head)
{
	struct http_request *request = &session->login->http->request;
	const struct config_route *route;

	/* Who has failed here may have been banned since. */
	if (session->attempts && session_guard(session) && session_guard_refuses(session)) {
		session_close(session, REASON_BANNED);
		return;
	}
	if (take_head(session, head) < 0) {
		session_close(session, REASON_INTERNAL);
		return;
	}
	fill_request(session, head);
	free(session->account);
	session->account = NULL;
	session->node = NULL;
	session->login->destination = NULL;
	session->choice = -1;
	request->route = route_find(session->snapshot->routes, head->target);
	if (request->route < 0) {
		http_answer(session, 404, REASON_PROTOCOL_ERROR);
		return;
	}
	route = route_of(session);
	if (route->destination) {
		session->choice = CHOICE_PIN;
		go_to(session, route->destination);
	} else if (route->from == CONFIG_EXTRACT_BODY) {
		session_set_state(session, S_EXTRACT);
	} else {
		identify(session);
	}
}

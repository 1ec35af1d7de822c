// SPDX-License-Identifier: Apache-2.0
/*
 * penalty: the answer to a failed login waits as long as the guard says (GRD-9), here a 401 to
 * credentials, or what the router says of those that it cannot read. It is collected in
 * login->leg.out (held: nothing is sent), so that the node's leg is free before it waits, then the
 * session is in S_PENALTY. A client whose direction ends meanwhile has left. An answer of more than
 * HTTP_HIGH_BYTES waits for nothing: a node decides how long it is, no client does.
 */
#include "http/http.h"
#include "session/guarded.h"

/* Such as a node judges at once; NULL: there are none. */
static const struct http_field *credentials(const struct session *session)
{
	size_t count;
	const struct http_field *field =
		http_head_field(session->login->http->request.head, "Authorization", &count);

	if (!count ||
		(!view_starts_nocase(field->value, VIEW_LIT("Basic ")) &&
			!view_starts_nocase(field->value, VIEW_LIT("Bearer "))))
		return NULL;
	return field;
}

static void take_secret(struct session *session)
{
	const struct http_field *field = credentials(session);

	if (field)
		session_guard_secret(session, VIEW_LIT(""), field->value);
}

void http_guard_malformed(struct session *session)
{
	if (session_guard(session))
		take_secret(session);
	session_auth_failed(session, AUTH_MALFORMED, false);
	session->attempts++;
}

static void good(struct session *session)
{
	struct http *http = session->login->http;

	if (http->proven || !credentials(session))
		return;
	http->proven = true;
	session_guard_passed(session);
}

/* OPS-22: the node refuses what the client presented. Without credentials a 401 only asks for them,
 * and the schemes that take more than one step (Negotiate, NTLM, Digest) are answered so on the
 * way. */
static void refused(struct session *session)
{
	if (!credentials(session))
		return;
	if (session_guard(session))
		take_secret(session);
	session_auth_failed(session, AUTH_REFUSED, false);
	session->attempts++;
	session->login->http->proven = false;
}

bool http_guard_response(struct session *session, int status)
{
	if (status == 401)
		refused(session);
	else if (status < 400 && session_guard(session))
		good(session);
	return session->login->penalty_ms;
}

bool http_may_send(struct session *session)
{
	struct login *login = session->login;

	if (!login->held)
		return true;
	if (login->http->request.response == RESPONSE_FLOWS && login->leg.out.len < HTTP_HIGH_BYTES)
		return false;
	login->held = false;
	login->penalty_ms = 0;
	return true;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * From a complete request to the endpoint that answers it. The order of checks is that of admin.md
 * section 2: health, lockout, token, path and method, parameters.
 */
#include "admin/request.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/secret.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- methods ---- */

static int method_of(struct view method)
{
	static const struct {
		const char *name;
		int bit;
	} methods[] = { { "GET", METHOD_GET }, { "HEAD", METHOD_GET }, { "PUT", METHOD_PUT },
		{ "DELETE", METHOD_DELETE }, { "POST", METHOD_POST } };

	for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
		if (view_eq(method, view_str(methods[i].name)))
			return methods[i].bit;
	}
	return 0;
}

static void method_not_allowed(struct admin_conn *conn, int methods)
{
	char allow[64] = "Allow: ";

	if (methods & METHOD_GET)
		strcat(allow, "GET, HEAD, ");
	if (methods & METHOD_PUT)
		strcat(allow, "PUT, ");
	if (methods & METHOD_DELETE)
		strcat(allow, "DELETE, ");
	if (methods & METHOD_POST)
		strcat(allow, "POST, ");
	strcpy(allow + strlen(allow) - 2, "\r\n");
	admin_respond(conn, 405, allow, "{\"error\": \"method not allowed\"}\n");
}

/* ---- token ---- */

static bool token_ok(const struct admin_conn *conn)
{
	unsigned char digest[TLS_SHA256_SIZE];
	const struct http_field *field;
	struct view token;
	size_t count;

	field = http_head_field(&conn->head, "Authorization", &count);
	if (count != 1 || !view_starts_nocase(field->value, VIEW_LIT("Bearer ")))
		return false;
	token = view_skip(field->value, 7);
	while (token.len && token.data[0] == ' ')
		token = view_skip(token, 1);
	tls_sha256(token, digest);
	return secret_equal(digest, conn->listener->token_sha256, sizeof(digest));
}

/* Returns false when the request was answered instead. */
static bool authorize(struct admin_conn *conn, struct view path)
{
	struct lockout *lockout = conn->listener->lockout;
	uint64_t now = clock_mono_ms(), wait_s = lockout_remaining_s(lockout, &conn->peer, now);
	char extra[64], body[64], client[ADDR_TEXT_SIZE], shown[128];

	/* Whoever has the token and sits on this host can be trusted, whatever others here
	 * tried. */
	if (wait_s && !(addr_is_loopback(&conn->peer) && token_ok(conn))) {
		snprintf(extra, sizeof(extra), "Retry-After: %llu\r\n", (unsigned long long)wait_s);
		snprintf(body, sizeof(body),
			"{\"error\": \"locked out\", \"retry_after_s\": %llu}\n",
			(unsigned long long)wait_s);
		admin_respond(conn, 429, extra, body);
		return false;
	}
	if (token_ok(conn)) {
		const struct admin_ops *ops = conn->listener->params.ops;

		lockout_success(lockout, &conn->peer);
		ops->admitted(ops->arg, &conn->peer);
		return true;
	}
	lockout_failure(lockout, &conn->peer, now);
	conn->listener->denied++;
	snprintf(shown, sizeof(shown), "%.*s", (int)MIN(path.len, (size_t)100), path.data);
	log_event(LOGL_WARN, "admin_denied", "client", admin_client(conn, client), "path", shown,
		NULL);
	admin_respond(conn, 401, "WWW-Authenticate: Bearer\r\n", "{\"error\": \"unauthorized\"}\n");
	return false;
}

/* On the host's own socket the kernel has said who it is (ADM-9a). */
static bool is_allowed(struct admin_conn *conn, struct view path)
{
	return admin_is_local(conn->listener) || authorize(conn, path);
}

/* ---- entry ---- */

static const struct admin_endpoint *find_endpoint(
	const struct admin_endpoint *endpoint, struct view path)
{
	while (endpoint->path && !view_eq(path, view_str(endpoint->path)))
		endpoint++;
	return endpoint->path ? endpoint : NULL;
}

/* Only the health paths are for whoever speaks HTTP/1.0, or names no host. */
static bool is_dialect(struct admin_conn *conn)
{
	if (conn->head.is_http10)
		admin_error(conn, 505, "version not supported");
	else if (!http_head_field(&conn->head, "Host", NULL))
		admin_error(conn, 400, "bad request");
	else
		return false;
	return true;
}

void admin_dispatch(struct admin_conn *conn)
{
	struct view target = conn->head.target, path, query = { "", 0 };
	const char *mark = memchr(target.data, '?', target.len);
	struct admin_request *request;
	const struct admin_endpoint *endpoint;
	const char *error;
	int method = method_of(conn->head.method);

	path = mark ? view_make(target.data, (size_t)(mark - target.data)) : target;
	if (mark)
		query = view_skip(target, path.len + 1);
	while (path.len > 1 && path.data[path.len - 1] == '/') /* ADM-20 */
		path.len--;
	endpoint = find_endpoint(conn->listener->params.endpoints, path);
	if (!(endpoint && endpoint->open) && (is_dialect(conn) || !is_allowed(conn, path)))
		return;
	if (!endpoint) {
		admin_error(conn, 404, "not found");
		return;
	}
	if (!(endpoint->methods & method)) {
		method_not_allowed(conn, endpoint->methods);
		return;
	}
	request = calloc(1, sizeof(*request));
	if (!request) {
		admin_error(conn, 500, "out of memory");
		return;
	}
	request->conn = conn;
	request->ops = conn->listener->params.ops;
	request->method = method;
	error = admin_take_query(request, endpoint, query);
	if (error)
		admin_error(conn, 400, error);
	else
		endpoint->answer(request);
	free(request);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Paths, methods and parameters of the admin API (admin.md sections 2 to 4). The order of checks is
 * that of section 2: health, lockout, token, path and method, parameters.
 */
#include "admin/request.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/secret.h"

#include <stdio.h>
#include <stdlib.h>

/* ---- the table ---- */

static const struct route {
	const char *path;
	int methods;
	const char *params[ADMIN_PARAMS_MAX + 1]; /* NULL-terminated */
	void (*answer)(struct admin_request *request);
	bool open; /* no token */
} routes[] = {
	{ "/healthz", METHOD_GET, { NULL }, admin_answer_healthz, true },
	{ "/readyz", METHOD_GET, { NULL }, admin_answer_readyz, true },
	{ "/stats", METHOD_GET, { NULL }, admin_answer_stats, false },
	{ "/metrics", METHOD_GET, { NULL }, admin_answer_metrics, false },
	{ "/sessions", METHOD_GET, { "identifier", "destination", "limit" }, admin_answer_sessions,
		false },
	{ "/destinations", METHOD_GET, { NULL }, admin_answer_destinations, false },
	{ "/destinations/reset", METHOD_POST, { "destination" }, admin_answer_reset, false },
	{ "/mappings", METHOD_GET | METHOD_PUT | METHOD_DELETE,
		{ "identifier", "destination", "drain" }, admin_answer_mappings, false },
	{ "/mappings/list", METHOD_GET, { "destination", "after", "limit" },
		admin_answer_mappings_list, false },
	{ "/mappings/reload", METHOD_POST, { NULL }, admin_answer_mappings_reload, false },
	{ "/config/reload", METHOD_POST, { "dry_run", "force" }, admin_answer_config_reload,
		false },
	{ "/cache/invalidate", METHOD_POST, { "identifier", "drain" }, admin_answer_invalidate,
		false },
	{ "/connections/kick", METHOD_POST, { "identifier", "drain" }, admin_answer_kick, false },
	{ "/connections/delay", METHOD_POST, { "identifier", "seconds", "drain" },
		admin_answer_delay, false },
	{ "/drains", METHOD_POST | METHOD_DELETE, { "destination", "accounts", "drain" },
		admin_answer_drains, false },
};

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
	return secret_equal(digest, conn->server->token_sha256, sizeof(digest));
}

/* Returns false when the request was answered instead. */
static bool authorize(struct admin_conn *conn, struct view path)
{
	struct lockout *lockout = conn->server->lockout;
	uint64_t now = clock_mono_ms(), wait_s = lockout_remaining_s(lockout, &conn->peer, now);
	char extra[64], body[64], client[ADDR_TEXT_SIZE], shown[128];

	if (admin_is_local(conn->server))
		return true;
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
		lockout_success(lockout, &conn->peer);
		return true;
	}
	lockout_failure(lockout, &conn->peer, now);
	conn->server->denied++;
	snprintf(shown, sizeof(shown), "%.*s", (int)MIN(path.len, (size_t)100), path.data);
	log_event(LOGL_WARN, "admin_denied", "client", admin_client(conn, client), "path", shown,
		NULL);
	admin_respond(conn, 401, "WWW-Authenticate: Bearer\r\n", "{\"error\": \"unauthorized\"}\n");
	return false;
}

/* ---- parameters (ADM-21) ---- */

static bool decode(struct view text, char *to, size_t *ret_len)
{
	size_t n = 0;

	while (text.len) {
		int c = view_take_percent(&text);

		if (c < 0 || n == ADMIN_VALUE_BYTES)
			return false;
		to[n++] = (char)c;
	}
	to[n] = '\0';
	*ret_len = n;
	return true;
}

/* Returns NULL or the error text. */
static const char *take_pair(
	struct admin_request *request, const struct route *route, struct view pair)
{
	const char *equals = pair.len ? memchr(pair.data, '=', pair.len) : NULL;
	struct view name;

	if (!equals)
		return "bad request";
	name = view_make(pair.data, (size_t)(equals - pair.data));
	for (int i = 0; route->params[i]; i++) {
		struct admin_param *param = &request->params[i];

		if (!view_eq(name, view_str(route->params[i])))
			continue;
		if (param->given)
			return "duplicate parameter";
		param->given = true;
		return decode(view_skip(pair, name.len + 1), param->value, &param->len)
			? NULL
			: "bad request";
	}
	return "unknown parameter";
}

static const char *take_query(
	struct admin_request *request, const struct route *route, struct view query)
{
	const char *error = NULL;

	while (!error && query.len) {
		const char *amp = memchr(query.data, '&', query.len);
		size_t n = amp ? (size_t)(amp - query.data) : query.len;

		error = take_pair(request, route, view_make(query.data, n));
		query = view_skip(query, n + 1);
		if (amp && !query.len && !error)
			error = "bad request";
	}
	return error;
}

/* ---- entry ---- */

static const struct route *find_route(struct view path)
{
	for (size_t i = 0; i < ARRAY_SIZE(routes); i++) {
		if (view_eq(path, view_str(routes[i].path)))
			return &routes[i];
	}
	return NULL;
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

void admin_route(struct admin_conn *conn)
{
	struct view target = conn->head.target, path, query = { "", 0 };
	const char *mark = memchr(target.data, '?', target.len);
	struct admin_request *request;
	const struct route *route;
	const char *error;
	int method = method_of(conn->head.method);

	path = mark ? view_make(target.data, (size_t)(mark - target.data)) : target;
	if (mark)
		query = view_skip(target, path.len + 1);
	while (path.len > 1 && path.data[path.len - 1] == '/') /* ADM-20 */
		path.len--;
	route = find_route(path);
	if (!(route && route->open) && (is_dialect(conn) || !authorize(conn, path)))
		return;
	if (!route) {
		admin_error(conn, 404, "not found");
		return;
	}
	if (!(route->methods & method)) {
		method_not_allowed(conn, route->methods);
		return;
	}
	request = calloc(1, sizeof(*request));
	if (!request) {
		admin_error(conn, 500, "out of memory");
		return;
	}
	request->conn = conn;
	request->backend = conn->server->params.backend;
	request->method = method;
	error = take_query(request, route, query);
	if (error)
		admin_error(conn, 400, error);
	else
		route->answer(request);
	free(request);
}

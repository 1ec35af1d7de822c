// SPDX-License-Identifier: Apache-2.0
/*
 * Paths, methods, parameters and answers of the admin API (admin.md sections 2 to 5). The order of
 * checks is that of section 2: health, lockout, token, path and method, parameters.
 */
#include "admin/internal.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define PARAMS_MAX 8
#define VALUE_BYTES 1024
#define ACCOUNT_BYTES 321

enum { METHOD_GET = 1, METHOD_PUT = 2, METHOD_DELETE = 4, METHOD_POST = 8 };

struct param {
	const char *name; /* of the route's list */
	bool given;
	char value[VALUE_BYTES + 1];
	size_t len;
};

struct request {
	struct admin_conn *conn;
	const struct admin_backend *backend;
	int method;
	struct param params[PARAMS_MAX];
};

/* An answer that comes later. The connection may be gone by then: conn is NULL. */
struct admin_pending {
	struct admin_conn *conn;
	const struct admin_backend *backend;
	const char *op;
	char identifier[VALUE_BYTES + 1], account[ACCOUNT_BYTES],
		destination[MAPPING_NAME_BYTES + 1];
	char client[ADDR_TEXT_SIZE];
};

void admin_forget_pending(struct admin_conn *conn)
{
	if (conn->pending)
		conn->pending->conn = NULL;
	conn->pending = NULL;
}

/* ---- answers ---- */

static void send_json(struct admin_conn *conn, int status, json_t *object)
{
	char *text = json_dumps(object, JSON_PRESERVE_ORDER | JSON_COMPACT), *line = NULL;

	json_decref(object);
	if (!text || asprintf(&line, "%s\n", text) < 0)
		admin_error(conn, 500, "out of memory");
	else
		admin_respond(conn, status, "", line);
	free(line);
	free(text);
}

static void log_op(const struct admin_backend *backend, const char *client, const char *op,
	const char *account, const char *outcome)
{
	char shown[400] = "-";

	if (account && *account)
		backend->log_account(backend->arg, view_str(account), shown, sizeof(shown));
	log_event(LOGL_INFO, "admin", "op", op, "client", client, "account", shown, "outcome",
		outcome, NULL);
}

static const char *client_of(const struct admin_conn *conn, char text[ADDR_TEXT_SIZE])
{
	return addr_format(&conn->peer, text);
}

/* ---- health ---- */

static void answer_healthz(struct request *request)
{
	admin_respond(request->conn, 200, "", "{\"status\":\"ok\"}\n");
}

static const char *store_name(const struct mapping_stats *stats)
{
	static const char *const names[] = { "unknown", "up", "down" };

	return names[stats->store_state];
}

static void answer_readyz(struct request *request)
{
	const struct admin_backend *backend = request->backend;
	json_t *reasons = json_array(), *body;
	struct mapping_stats stats;
	bool ready;

	mapping_stats(backend->mapping, &stats);
	if (backend->starting(backend->arg))
		json_array_append_new(reasons, json_string("starting"));
	if (!stats.store_seen)
		json_array_append_new(reasons, json_string("store"));
	if (backend->draining(backend->arg))
		json_array_append_new(reasons, json_string("draining"));
	ready = json_array_size(reasons) == 0;
	body = json_pack("{sb ss}", "ready", ready, "store", store_name(&stats));
	if (ready)
		json_decref(reasons);
	else
		json_object_set_new(body, "reasons", reasons);
	send_json(request->conn, ready ? 200 : 503, body);
}

/* ---- stats ---- */

/* jansson prints reals as it likes; the rate has two decimals (ADM-27), so it is put in as text. */
static void send_stats(struct admin_conn *conn, json_t *object, const struct mapping_stats *stats)
{
	static const char mark[] = "\"@hit_rate@\"";
	uint64_t lookups = stats->hits + stats->misses;
	char *text = json_dumps(object, JSON_PRESERVE_ORDER | JSON_COMPACT), *at, *body = NULL;

	json_decref(object);
	at = text ? strstr(text, mark) : NULL;
	if (!at ||
		asprintf(&body, "%.*s%.2f%s\n", (int)(at - text), text,
			lookups ? 100.0 * (double)stats->hits / (double)lookups : 0.0,
			at + sizeof(mark) - 1) < 0)
		admin_error(conn, 500, "out of memory");
	else
		admin_respond(conn, 200, "", body);
	free(body);
	free(text);
}

static void answer_stats(struct request *request)
{
	const struct admin_backend *backend = request->backend;
	struct mapping_stats stats;
	json_t *object, *more = json_object();
	const char *key;
	json_t *value;

	mapping_stats(backend->mapping, &stats);
	if (backend->add_stats(backend->arg, more) < 0) {
		json_decref(more);
		admin_error(request->conn, 500, "out of memory");
		return;
	}
	object = json_pack("{sI sI ss sI}", "cache_hits", (json_int_t)stats.hits, "cache_misses",
		(json_int_t)stats.misses, "hit_rate_pct", "@hit_rate@", "cache_entries",
		(json_int_t)stats.entries);
	json_object_set(object, "active_connections", json_object_get(more, "active_connections"));
	json_object_foreach(more, key, value)
	{
		json_object_set(object, key, value);
	}
	json_decref(more);
	value = json_pack("{sI sI sI sI sI ss sI sI sI ss sI}", "cache_coalesced",
		(json_int_t)stats.coalesced, "stale_entries", (json_int_t)stats.stale_entries,
		"stale_served", (json_int_t)stats.stale_served, "invalidated",
		(json_int_t)stats.invalidated, "flushes", (json_int_t)stats.flushes, "store_state",
		store_name(&stats), "store_down_seconds", (json_int_t)(stats.store_down_ms / 1000),
		"store_queries", (json_int_t)stats.store_queries, "store_errors",
		(json_int_t)stats.store_errors, "push_state", "none", "unknown_destination",
		(json_int_t)stats.unknown_destination);
	json_object_update(object, value);
	json_decref(value);
	send_stats(request->conn, object, &stats);
}

/* ---- destinations ---- */

static void add_node(
	void *arg, const char *name, const struct health_status *status, uint64_t active)
{
	json_array_append_new(arg,
		json_pack("{ss sI sI sb sb sI sb sI}", "destination", name, "consecutive_failures",
			(json_int_t)status->consecutive_failures, "failure_sources",
			(json_int_t)status->failure_sources, "host_level_failure",
			status->host_level_failure, "down", status->down, "down_for_s",
			(json_int_t)((status->down_for_ms + 999) / 1000), "probing",
			status->probing, "active", (json_int_t)active));
}

static void answer_destinations(struct request *request)
{
	json_t *list = json_array();

	request->backend->each_node(request->backend->arg, add_node, list);
	send_json(request->conn, 200, json_pack("{so}", "destinations", list));
}

static void answer_reset(struct request *request)
{
	struct param *destination = &request->params[0];
	char client[ADDR_TEXT_SIZE];

	if (!destination->given) {
		admin_error(request->conn, 400, "destination required");
		return;
	}
	if (request->backend->node_reset(
		    request->backend->arg, view_make(destination->value, destination->len)) < 0) {
		admin_error(request->conn, 404, "unknown destination");
		return;
	}
	log_op(request->backend, client_of(request->conn, client), "reset", NULL, "done");
	send_json(request->conn, 200, json_pack("{ss}", "reset", destination->value));
}

/* ---- mappings ---- */

static void wait_for(struct request *request, struct admin_pending *pending)
{
	pending->conn = request->conn;
	pending->backend = request->backend;
	client_of(request->conn, pending->client);
	request->conn->pending = pending;
}

/* The connection, if it is still there, and no more for the pending answer. */
static struct admin_conn *take_conn(struct admin_pending *pending)
{
	struct admin_conn *conn = pending->conn;

	if (conn)
		conn->pending = NULL;
	return conn;
}

static void wake(struct admin_conn *conn)
{
	/* The answer is in conn->out; an event writes it from the loop. */
	if (conn->watch.loop && loop_watch_set(&conn->watch, EPOLLOUT) < 0)
		log_event(LOGL_ERROR, "admin_conn_lost", NULL);
}

static void on_mapping_get(void *arg, const struct mapping_admin_answer *answer)
{
	struct admin_pending *pending = arg;
	struct admin_conn *conn = take_conn(pending);
	json_t *body;

	if (conn) {
		body = json_pack("{ss ss ss sb sb ss}", "identifier", pending->identifier,
			"normalized", pending->account, "destination", answer->destination,
			"routed_to_default", answer->routed_to_default, "cached", answer->cached,
			"source", mapping_source_name(answer->source));
		json_object_set_new(body, "expires_in_s",
			answer->expires_in_s < 0 ? json_null()
						 : json_integer(answer->expires_in_s));
		if (answer->source == MAPPING_SOURCE_UNDECLARED)
			json_object_set_new(body, "stored", json_string(answer->stored));
		send_json(conn, 200, body);
		wake(conn);
	}
	free(pending);
}

static void answer_write(struct admin_pending *pending, struct admin_conn *conn,
	const struct mapping_admin_answer *answer, json_t *success)
{
	switch (answer->result) {
	case MAPPING_ADMIN_OK:
	case MAPPING_ADMIN_REMOVED:
	case MAPPING_ADMIN_NOT_REMOVED:
		log_op(pending->backend, pending->client, pending->op, pending->account, "done");
		if (conn)
			send_json(conn, 200, json_incref(success));
		break;
	case MAPPING_ADMIN_READ_ONLY:
		if (conn)
			admin_error(conn, 501, "mapping store is read-only");
		break;
	case MAPPING_ADMIN_TIMEOUT:
		log_op(pending->backend, pending->client, pending->op, pending->account, "timeout");
		if (conn)
			admin_error(conn, 504, "store timeout");
		break;
	default:
		log_op(pending->backend, pending->client, pending->op, pending->account, "failed");
		if (conn)
			admin_error(conn, 500, "store write failed");
	}
	if (conn)
		wake(conn);
	json_decref(success);
}

static void on_mapping_set(void *arg, const struct mapping_admin_answer *answer)
{
	struct admin_pending *pending = arg;

	answer_write(pending, take_conn(pending), answer,
		json_pack("{ss ss}", "identifier", pending->account, "destination",
			pending->destination));
	free(pending);
}

static void on_mapping_del(void *arg, const struct mapping_admin_answer *answer)
{
	struct admin_pending *pending = arg;

	answer_write(pending, take_conn(pending), answer,
		json_pack("{sb}", "removed", answer->result == MAPPING_ADMIN_REMOVED));
	free(pending);
}

/* ADM-22. Answers 400 and returns NULL when the identifier is missing or bad. */
static struct admin_pending *take_identifier(struct request *request, const char *missing)
{
	struct param *identifier = &request->params[0];
	struct admin_pending *pending;

	if (!identifier->given) {
		admin_error(request->conn, 400, missing);
		return NULL;
	}
	pending = calloc(1, sizeof(*pending));
	if (!pending) {
		admin_error(request->conn, 500, "out of memory");
		return NULL;
	}
	if (request->backend->account(request->backend->arg,
		    view_make(identifier->value, identifier->len), pending->account) < 0) {
		free(pending);
		admin_error(request->conn, 400, "invalid identifier");
		return NULL;
	}
	memcpy(pending->identifier, identifier->value, identifier->len);
	return pending;
}

static void out_of_memory(struct admin_pending *pending)
{
	admin_error(take_conn(pending), 500, "out of memory");
	free(pending);
}

static void put_mapping(struct request *request, struct mapping *mapping)
{
	struct param *destination = &request->params[1];
	struct admin_pending *pending;

	if (!request->params[0].given || !destination->given) {
		admin_error(request->conn, 400,
			!request->params[0].given && !destination->given
				? "identifier and destination required"
				: request->params[0].given ? "destination required"
							   : "identifier required");
		return;
	}
	pending = take_identifier(request, "");
	if (!pending)
		return;
	if (!mapping_declared(mapping, view_make(destination->value, destination->len))) {
		free(pending);
		admin_error(request->conn, 400, "unknown destination");
		return;
	}
	pending->op = "map_set";
	snprintf(pending->destination, sizeof(pending->destination), "%.64s", destination->value);
	wait_for(request, pending);
	if (mapping_admin_set(mapping, view_str(pending->account), view_str(pending->destination),
		    on_mapping_set, pending) < 0)
		out_of_memory(pending);
}

static void answer_mappings(struct request *request)
{
	struct mapping *mapping = request->backend->mapping;
	struct admin_pending *pending;

	if (request->method == METHOD_PUT) {
		put_mapping(request, mapping);
		return;
	}
	if (request->params[1].given) {
		admin_error(request->conn, 400, "unknown parameter");
		return;
	}
	pending = take_identifier(request, "identifier required");
	if (!pending)
		return;
	pending->op = "map_del";
	wait_for(request, pending);
	if (request->method == METHOD_GET ? mapping_admin_get(mapping, view_str(pending->account),
						    on_mapping_get, pending) < 0
					  : mapping_admin_del(mapping, view_str(pending->account),
						    on_mapping_del, pending) < 0)
		out_of_memory(pending);
}

static void answer_reload(struct request *request)
{
	char error[STORE_ERROR_BYTES] = "", client[ADDR_TEXT_SIZE];
	int r = request->backend->store_reload(request->backend->arg, error);

	client_of(request->conn, client);
	if (r == -ENOTSUP) {
		send_json(request->conn, 200,
			json_pack("{sb ss}", "reloaded", 0, "note",
				"the store is read on every lookup"));
		return;
	}
	log_op(request->backend, client, "map_reload", NULL, r < 0 ? "failed" : "done");
	if (r < 0) { /* MAP-44: file and line */
		log_event(LOGL_ERROR, "mapping_file", "error", error, NULL);
		send_json(request->conn, 500,
			json_pack("{ss ss}", "error", "reload failed", "detail", error));
		return;
	}
	mapping_invalidate_all(request->backend->mapping);
	send_json(request->conn, 200, json_pack("{sb si}", "reloaded", 1, "entries", r));
}

static void answer_invalidate(struct request *request)
{
	struct param *identifier = &request->params[0];
	char account[ACCOUNT_BYTES] = "", client[ADDR_TEXT_SIZE];
	uint64_t count;

	if (!identifier->given) {
		count = mapping_invalidate_all(request->backend->mapping);
	} else if (request->backend->account(request->backend->arg,
			   view_make(identifier->value, identifier->len), account) < 0) {
		admin_error(request->conn, 400, "invalid identifier");
		return;
	} else {
		count = mapping_invalidate(request->backend->mapping, view_str(account));
	}
	log_op(request->backend, client_of(request->conn, client), "invalidate", account, "done");
	send_json(request->conn, 200, json_pack("{sI}", "invalidated", (json_int_t)count));
}

/* ---- the table ---- */

static const struct route {
	const char *path;
	int methods;
	const char *params[3]; /* NULL-terminated */
	void (*answer)(struct request *request);
	bool open; /* no token */
} routes[] = {
	{ "/healthz", METHOD_GET, { NULL }, answer_healthz, true },
	{ "/readyz", METHOD_GET, { NULL }, answer_readyz, true },
	{ "/stats", METHOD_GET, { NULL }, answer_stats, false },
	{ "/destinations", METHOD_GET, { NULL }, answer_destinations, false },
	{ "/destinations/reset", METHOD_POST, { "destination" }, answer_reset, false },
	{ "/mappings", METHOD_GET | METHOD_PUT | METHOD_DELETE, { "identifier", "destination" },
		answer_mappings, false },
	{ "/mappings/reload", METHOD_POST, { NULL }, answer_reload, false },
	{ "/cache/invalidate", METHOD_POST, { "identifier" }, answer_invalidate, false },
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
	char extra[64], client[ADDR_TEXT_SIZE], shown[128];

	if (wait_s) {
		snprintf(extra, sizeof(extra), "Retry-After: %llu\r\n", (unsigned long long)wait_s);
		admin_respond(conn, 429, extra, "{\"error\": \"locked out\"}\n");
		return false;
	}
	if (token_ok(conn)) {
		lockout_success(lockout, &conn->peer);
		return true;
	}
	lockout_failure(lockout, &conn->peer, now);
	snprintf(shown, sizeof(shown), "%.*s", (int)MIN(path.len, (size_t)100), path.data);
	log_event(
		LOGL_WARN, "admin_denied", "client", client_of(conn, client), "path", shown, NULL);
	admin_respond(conn, 401, "WWW-Authenticate: Bearer\r\n", "{\"error\": \"unauthorized\"}\n");
	return false;
}

/* ---- parameters (ADM-21) ---- */

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = ascii_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool decode(struct view text, char *to, size_t *ret_len)
{
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++) {
		char c = text.data[i];

		if (c == '%') {
			if (i + 2 >= text.len || hex(text.data[i + 1]) < 0 ||
				hex(text.data[i + 2]) < 0)
				return false;
			c = (char)(hex(text.data[i + 1]) << 4 | hex(text.data[i + 2]));
			i += 2;
		}
		if (n == VALUE_BYTES)
			return false;
		to[n++] = c;
	}
	to[n] = '\0';
	*ret_len = n;
	return true;
}

/* Returns NULL or the error text. */
static const char *take_pair(struct request *request, const struct route *route, struct view pair)
{
	const char *equals = pair.len ? memchr(pair.data, '=', pair.len) : NULL;
	struct view name;

	if (!equals)
		return "bad request";
	name = view_make(pair.data, (size_t)(equals - pair.data));
	for (int i = 0; route->params[i]; i++) {
		struct param *param = &request->params[i];

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

static const char *take_query(struct request *request, const struct route *route, struct view query)
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

void admin_route(struct admin_conn *conn)
{
	struct view target = conn->head.target, path, query = { "", 0 };
	const char *mark = memchr(target.data, '?', target.len);
	struct request *request;
	const struct route *route;
	const char *error;
	int method = method_of(conn->head.method);

	path = mark ? view_make(target.data, (size_t)(mark - target.data)) : target;
	if (mark)
		query = view_skip(target, path.len + 1);
	while (path.len > 1 && path.data[path.len - 1] == '/') /* ADM-20 */
		path.len--;
	route = find_route(path);
	if (!(route && route->open) && !authorize(conn, path))
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

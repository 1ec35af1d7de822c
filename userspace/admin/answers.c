// SPDX-License-Identifier: Apache-2.0
/* What all answers share, and those about the router itself (admin.md sections 5.1, 5.2, 5.4). */
#include "admin/request.h"
#include "base/clock.h"
#include "base/log.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- answers ---- */

void admin_send_json(struct admin_conn *conn, int status, json_t *object)
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

static void log_op(enum log_level level, const struct admin_backend *backend,
	const struct admin_caller *caller, const char *op, const char *account, const char *outcome,
	va_list args)
{
	char shown[400] = "-";
	struct log_line line;
	const char *key, *value;

	if (account && *account)
		backend->log_account(backend->arg, view_str(account), shown, sizeof(shown));
	log_start(&line, level, "admin");
	log_str(&line, "op", op);
	log_str(&line, "client", caller->client);
	if (caller->is_local)
		log_int(&line, "uid", caller->uid);
	log_str(&line, "account", shown);
	while ((key = va_arg(args, const char *))) {
		value = va_arg(args, const char *);
		log_str(&line, key, *value ? value : "-");
	}
	log_str(&line, "outcome", outcome);
	log_end(&line);
}

void admin_log_op(const struct admin_backend *backend, const struct admin_caller *caller,
	const char *op, const char *account, const char *outcome, ...)
{
	va_list args;

	va_start(args, outcome);
	log_op(LOGL_INFO, backend, caller, op, account, outcome, args);
	va_end(args);
}

void admin_log_op_at(enum log_level level, const struct admin_backend *backend,
	const struct admin_caller *caller, const char *op, const char *account, const char *outcome,
	...)
{
	va_list args;

	va_start(args, outcome);
	log_op(level, backend, caller, op, account, outcome, args);
	va_end(args);
}

struct admin_caller admin_caller(const struct admin_conn *conn)
{
	struct admin_caller caller = {
		.peer = conn->peer, .is_local = admin_is_local(conn->server), .uid = conn->uid
	};

	admin_client(conn, caller.client);
	return caller;
}

const char *admin_client(const struct admin_conn *conn, char text[ADDR_TEXT_SIZE])
{
	if (admin_is_local(conn->server))
		return strcpy(text, "local");
	return addr_format(&conn->peer, text);
}

/* ---- late answers ---- */

void admin_forget_pending(struct admin_conn *conn)
{
	if (conn->pending)
		conn->pending->conn = NULL;
	conn->pending = NULL;
}

void admin_wait_for(struct admin_request *request, struct admin_pending *pending)
{
	pending->conn = request->conn;
	pending->backend = request->backend;
	pending->caller = admin_caller(request->conn);
	request->conn->pending = pending;
}

struct admin_conn *admin_take_conn(struct admin_pending *pending)
{
	struct admin_conn *conn = pending->conn;

	if (conn)
		conn->pending = NULL;
	return conn;
}

void admin_wake(struct admin_conn *conn)
{
	if (conn->leg.watch.loop && leg_watch(&conn->leg, EPOLLOUT) < 0)
		log_event(LOGL_ERROR, "admin_conn_lost", NULL);
}

struct admin_pending *admin_take_identifier(struct admin_request *request, const char *missing)
{
	struct admin_param *identifier = &request->params[0];
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

void admin_out_of_memory(struct admin_pending *pending)
{
	admin_error(admin_take_conn(pending), 500, "out of memory");
	free(pending);
}

/* ---- health ---- */

void admin_answer_healthz(struct admin_request *request)
{
	admin_respond(request->conn, 200, "", "{\"status\":\"ok\"}\n");
}

static const char *store_name(const struct mapping_stats *stats)
{
	static const char *const names[] = { "unknown", "up", "down" };

	static_assert(ARRAY_SIZE(names) == MAPPING_STORE_STATES, "a name for each");
	return names[stats->store_state];
}

static const char *push_name(const struct mapping_stats *stats)
{
	static const char *const names[] = { "none", "up", "down" };

	static_assert(ARRAY_SIZE(names) == MAPPING_PUSH_STATES, "a name for each");
	return names[stats->push_state];
}

void admin_answer_readyz(struct admin_request *request)
{
	const struct admin_backend *backend = request->backend;
	json_t *reasons = json_array(), *body;
	struct mapping_stats stats;
	bool ready;

	mapping_stats(backend->mapping, &stats);
	if (backend->starting(backend->arg))
		json_array_append_new(reasons, json_string("starting"));
	if (!stats.store_seen || stats.store_refused)
		json_array_append_new(reasons, json_string("store"));
	if (backend->draining(backend->arg))
		json_array_append_new(reasons, json_string("draining"));
	ready = json_array_size(reasons) == 0;
	body = json_pack("{sb ss}", "ready", ready, "store", store_name(&stats));
	if (ready)
		json_decref(reasons);
	else
		json_object_set_new(body, "reasons", reasons);
	if (!ready && *mapping_store_error(backend->mapping))
		json_object_set_new(
			body, "store_error", json_string(mapping_store_error(backend->mapping)));
	admin_send_json(request->conn, ready ? 200 : 503, body);
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

static json_t *mapping_json(const struct mapping_stats *stats)
{
	return json_pack("{sI sI sI sI sI ss sI sI sI ss sI}", "cache_coalesced",
		(json_int_t)stats->coalesced, "stale_entries", (json_int_t)stats->stale_entries,
		"stale_served", (json_int_t)stats->stale_served, "invalidated",
		(json_int_t)stats->invalidated, "flushes", (json_int_t)stats->flushes,
		"store_state", store_name(stats), "store_down_seconds",
		(json_int_t)(stats->store_down_ms / 1000), "store_queries",
		(json_int_t)stats->store_queries, "store_errors", (json_int_t)stats->store_errors,
		"push_state", push_name(stats), "unknown_destination",
		(json_int_t)stats->unknown_destination);
}

/* The fields stand in the order of the specification (ADM-23): the mapping's own come between what
 * the backend says of the process and what it says of sessions. */
void admin_answer_stats(struct admin_request *request)
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
		if (strcmp(key, "config_generation") == 0)
			json_object_update_new(object, mapping_json(&stats));
	}
	json_decref(more);
	send_stats(request->conn, object, &stats);
}

/* ---- destinations ---- */

/* OPS-13; null before the first one. */
static json_t *last_error_json(struct node *node)
{
	struct node_failure failure;
	char at[CLOCK_TEXT_SIZE];

	node_last_failure(node, &failure);
	if (!failure.at_real_ms)
		return json_null();
	return json_pack("{ss ss ss ss ss?}", "at",
		clock_format_rfc3339(failure.at_real_ms, false, at), "step",
		node_step_name(failure.step), "address", failure.address, "cause", failure.cause,
		"hint", failure.hint);
}

static json_t *errors_json(struct node *node)
{
	json_t *errors = json_object();

	for (int i = 0; i < NODE_STEP_COUNT; i++)
		json_object_set_new(errors, node_step_name((enum node_step)i),
			json_integer((json_int_t)atomic_load(&node->errors[i])));
	return errors;
}

static void add_node(void *arg, struct node *node, const struct health_status *status)
{
	json_array_append_new(arg,
		json_pack("{ss sI sI sb sb sI sb sI so so}", "destination", node->name,
			"consecutive_failures", (json_int_t)status->consecutive_failures,
			"failure_sources", (json_int_t)status->failure_sources,
			"host_level_failure", status->host_level_failure, "down", status->down,
			"down_for_s", (json_int_t)((status->down_for_ms + 999) / 1000), "probing",
			status->probing, "active", (json_int_t)atomic_load(&node->active), "errors",
			errors_json(node), "last_error", last_error_json(node)));
}

void admin_answer_destinations(struct admin_request *request)
{
	json_t *list = json_array();

	request->backend->each_node(request->backend->arg, add_node, list);
	admin_send_json(request->conn, 200, json_pack("{so}", "destinations", list));
}

void admin_answer_reset(struct admin_request *request)
{
	struct admin_param *destination = &request->params[0];
	struct admin_caller caller = admin_caller(request->conn);

	if (!destination->given) {
		admin_error(request->conn, 400, "destination required");
		return;
	}
	if (request->backend->node_reset(
		    request->backend->arg, view_make(destination->value, destination->len)) < 0) {
		admin_error(request->conn, 404, "unknown destination");
		return;
	}
	admin_log_op(
		request->backend, &caller, "reset", NULL, "done", "node", destination->value, NULL);
	admin_send_json(request->conn, 200, json_pack("{ss}", "reset", destination->value));
}

// SPDX-License-Identifier: Apache-2.0
/* Assignments of accounts to nodes, and the cache before them (admin.md sections 5.5 and 5.6). */
#include "admin/drains.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static void on_mapping_get(void *arg, const struct mapping_admin_answer *answer)
{
	struct admin_pending *pending = arg;
	struct admin_conn *conn = admin_take_conn(pending);
	json_t *body;

	if (conn) {
		body = json_pack("{ss ss ss? sb sb ss}", "identifier", pending->identifier,
			"normalized", pending->account, "destination",
			answer->destination[0] ? answer->destination : NULL, "routed_to_default",
			answer->routed_to_default, "cached", answer->cached, "source",
			mapping_source_name(answer->source));
		json_object_set_new(body, "expires_in_s",
			answer->expires_in_s < 0 ? json_null()
						 : json_integer(answer->expires_in_s));
		if (answer->source == MAPPING_SOURCE_UNDECLARED)
			json_object_set_new(body, "stored", json_string(answer->stored));
		admin_send_json(conn, 200, body);
		admin_wake(conn);
	}
	free(pending);
}

/* In the store's words, which name tables and rights and quote no account. */
static void write_failed(struct admin_conn *conn, const char *error)
{
	log_event(LOGL_WARN, "mapping_write", "error", error, NULL);
	if (conn)
		admin_send_json(conn, 500,
			json_pack("{ss ss}", "error", "store write failed", "store_error", error));
}

static void log_write(const struct admin_pending *pending, const char *outcome)
{
	if (admin_drain_write(pending->ops->drains, pending, strcmp(outcome, "done") == 0))
		return;
	admin_log_op(pending->ops, &pending->caller, pending->op, pending->account, outcome, "node",
		pending->destination, "was", pending->was, NULL);
}

static void answer_write(struct admin_pending *pending, struct admin_conn *conn,
	const struct mapping_admin_answer *answer, json_t *success)
{
	switch (answer->result) {
	case MAPPING_ADMIN_OK:
	case MAPPING_ADMIN_REMOVED:
	case MAPPING_ADMIN_NOT_REMOVED:
		log_write(pending, "done");
		if (conn)
			admin_send_json(conn, 200, json_incref(success));
		break;
	case MAPPING_ADMIN_READ_ONLY:
		log_write(pending, "read_only");
		if (conn)
			admin_error(conn, 501, "mapping store is read-only");
		break;
	case MAPPING_ADMIN_TIMEOUT:
		log_write(pending, "timeout");
		if (conn)
			admin_error(conn, 504, "store timeout");
		break;
	default:
		log_write(pending, "failed");
		write_failed(conn, answer->error ? answer->error : "");
	}
	if (conn)
		admin_wake(conn);
	json_decref(success);
}

static void on_mapping_set(void *arg, const struct mapping_admin_answer *answer)
{
	struct admin_pending *pending = arg;

	answer_write(pending, admin_take_conn(pending), answer,
		json_pack("{ss ss}", "identifier", pending->account, "destination",
			pending->destination));
	free(pending);
}

static void on_mapping_del(void *arg, const struct mapping_admin_answer *answer)
{
	struct admin_pending *pending = arg;

	answer_write(pending, admin_take_conn(pending), answer,
		json_pack("{sb}", "removed", answer->result == MAPPING_ADMIN_REMOVED));
	free(pending);
}

static void start_write(struct admin_pending *pending)
{
	struct mapping *mapping = pending->ops->mapping;
	struct view account = view_str(pending->account);
	int r = *pending->destination
		? mapping_admin_set(
			  mapping, account, view_str(pending->destination), on_mapping_set, pending)
		: mapping_admin_del(mapping, account, on_mapping_del, pending);

	if (r < 0)
		admin_out_of_memory(pending);
}

static void on_node_before(void *arg, const struct mapping_admin_answer *answer)
{
	struct admin_pending *pending = arg;

	if (answer->source == MAPPING_SOURCE_CACHE || answer->source == MAPPING_SOURCE_STORE)
		snprintf(pending->was, sizeof(pending->was), "%s",
			answer->routed_to_default ? "" : answer->destination);
	start_write(pending);
}

/* The log says what stood there before, if the store can tell now (OPS-22). */
static void look_and_write(struct admin_pending *pending)
{
	struct mapping *mapping = pending->ops->mapping;
	struct mapping_stats stats;

	mapping_stats(mapping, &stats);
	if (stats.store_state != MAPPING_STORE_UP)
		start_write(pending);
	else if (mapping_admin_get(mapping, view_str(pending->account), on_node_before, pending) <
		0)
		admin_out_of_memory(pending);
}

static void put_mapping(struct admin_request *request, struct mapping *mapping)
{
	struct admin_param *destination = &request->params[1];
	struct admin_pending *pending;

	if (!request->params[0].given || !destination->given) {
		admin_error(request->conn, 400,
			!request->params[0].given && !destination->given
				? "identifier and destination required"
				: request->params[0].given ? "destination required"
							   : "identifier required");
		return;
	}
	pending = admin_take_identifier(request, "");
	if (!pending)
		return;
	if (!mapping_declared(mapping, view_make(destination->value, destination->len))) {
		free(pending);
		admin_error(request->conn, 400, "unknown destination");
		return;
	}
	if (!admin_take_drain(request, 2, pending->drain)) {
		free(pending);
		return;
	}
	pending->op = "map_set";
	snprintf(pending->destination, sizeof(pending->destination), "%.64s", destination->value);
	admin_wait_for(request, pending);
	look_and_write(pending);
}

void admin_answer_mappings(struct admin_request *request)
{
	struct mapping *mapping = request->ops->mapping;
	struct admin_pending *pending;

	if (request->method == METHOD_PUT) {
		put_mapping(request, mapping);
		return;
	}
	if (!admin_takes_only(request, BIT(0)))
		return;
	pending = admin_take_identifier(request, "identifier required");
	if (!pending)
		return;
	pending->op = "map_del";
	admin_wait_for(request, pending);
	if (request->method != METHOD_GET)
		look_and_write(pending);
	else if (mapping_admin_get(mapping, view_str(pending->account), on_mapping_get, pending) <
		0)
		admin_out_of_memory(pending);
}

void admin_answer_mappings_reload(struct admin_request *request)
{
	struct admin_caller caller = admin_caller(request->conn);
	char error[STORE_ERROR_BYTES] = "";
	int r = request->ops->store_reload(request->ops->arg, error);

	if (r == -ENOTSUP) {
		admin_send_json(request->conn, 200,
			json_pack("{sb ss}", "reloaded", 0, "note",
				"the store is read on every lookup"));
		return;
	}
	admin_log_op(request->ops, &caller, "map_reload", NULL, r < 0 ? "failed" : "done", NULL);
	if (r < 0) { /* MAP-44: file and line */
		log_event(LOGL_ERROR, "mapping_file", "error", error, NULL);
		admin_send_json(request->conn, 500,
			json_pack("{ss ss}", "error", "reload failed", "detail", error));
		return;
	}
	mapping_invalidate_all(request->ops->mapping);
	admin_send_json(request->conn, 200, json_pack("{sb si}", "reloaded", 1, "entries", r));
}

void admin_answer_invalidate(struct admin_request *request)
{
	struct admin_param *identifier = &request->params[0];
	struct admin_caller caller = admin_caller(request->conn);
	char account[ADMIN_ACCOUNT_BYTES] = "", dropped[24], drain[ADMIN_DRAIN_ID_BYTES + 1];
	uint64_t count;

	if (!admin_take_drain(request, 1, drain))
		return;
	if (!identifier->given) {
		count = mapping_invalidate_all(request->ops->mapping);
	} else if (request->ops->account(request->ops->arg,
			   view_make(identifier->value, identifier->len), account) < 0) {
		admin_error(request->conn, 400, "invalid identifier");
		return;
	} else {
		count = mapping_invalidate(request->ops->mapping, view_str(account));
	}
	snprintf(dropped, sizeof(dropped), "%llu", (unsigned long long)count);
	/* It assigns nothing: a drain may drop what is cached of any account without a line at
	 * info. */
	if (!admin_drain_has(request->ops->drains, &caller, drain, account))
		admin_log_op_at(*drain && identifier->given ? LOGL_DEBUG : LOGL_INFO, request->ops,
			&caller, "invalidate", account, "done", "entries", dropped, NULL);
	admin_send_json(request->conn, 200, json_pack("{sI}", "invalidated", (json_int_t)count));
}

// SPDX-License-Identifier: Apache-2.0
/* Answers about the router itself: health, figures, nodes (admin.md sections 5.1, 5.2, 5.4). */
#include "admin/request.h"
#include "base/clock.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

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
	const struct admin_ops *ops = request->ops;
	json_t *reasons = json_array(), *body;
	struct mapping_stats stats;
	bool ready;

	mapping_stats(ops->mapping, &stats);
	if (ops->starting(ops->arg))
		json_array_append_new(reasons, json_string("starting"));
	if (!stats.store_seen || stats.store_refused)
		json_array_append_new(reasons, json_string("store"));
	if (ops->stopping(ops->arg))
		json_array_append_new(reasons, json_string("draining"));
	ready = json_array_size(reasons) == 0;
	body = json_pack("{sb ss}", "ready", ready, "store", store_name(&stats));
	if (ready)
		json_decref(reasons);
	else
		json_object_set_new(body, "reasons", reasons);
	if (!ready && *mapping_store_error(ops->mapping))
		json_object_set_new(
			body, "store_error", json_string(mapping_store_error(ops->mapping)));
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
 * the router says of the process and what it says of sessions. */
void admin_answer_stats(struct admin_request *request)
{
	const struct admin_ops *ops = request->ops;
	struct mapping_stats stats;
	json_t *object, *more = json_object();
	const char *key;
	json_t *value;

	mapping_stats(ops->mapping, &stats);
	if (ops->add_stats(ops->arg, more) < 0) {
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

/* null where none is beside it. */
static json_t *agent_json(struct node *node)
{
	enum node_agent state = node_agent_state(node, clock_mono_ms());

	if (state == NODE_AGENT_NONE)
		return json_null();
	return json_pack("{ss sI sI sI sI}", "state", node_agent_name(state), "channels",
		(json_int_t)atomic_load(&node->agent_channels), "streams",
		(json_int_t)atomic_load(&node->agent_streams), "handoffs",
		(json_int_t)atomic_load(&node->agent_handed), "errors",
		(json_int_t)atomic_load(&node->agent_errors));
}

static void add_node(void *arg, struct node *node, const struct health_status *status)
{
	json_array_append_new(arg,
		json_pack("{ss sI sI sb sb sI sb sI so so so}", "destination", node->name,
			"consecutive_failures", (json_int_t)status->consecutive_failures,
			"failure_sources", (json_int_t)status->failure_sources,
			"host_level_failure", status->host_level_failure, "down", status->down,
			"down_for_s", (json_int_t)((status->down_for_ms + 999) / 1000), "probing",
			status->probing, "active", (json_int_t)atomic_load(&node->active), "errors",
			errors_json(node), "last_error", last_error_json(node), "agent",
			agent_json(node)));
}

void admin_answer_destinations(struct admin_request *request)
{
	json_t *list = json_array();

	request->ops->each_node(request->ops->arg, add_node, list);
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
	if (request->ops->node_reset(
		    request->ops->arg, view_make(destination->value, destination->len)) < 0) {
		admin_error(request->conn, 404, "unknown destination");
		return;
	}
	admin_log_op(
		request->ops, &caller, "reset", NULL, "done", "node", destination->value, NULL);
	admin_send_json(request->conn, 200, json_pack("{ss}", "reset", destination->value));
}

// SPDX-License-Identifier: Apache-2.0
/*
 * A drain is announced and ended here, and its holds and releases are answered: at each of these
 * two the mapping says where the account is, which decides how loud its line is (drains.h).
 *
 *     POST /drains?destination=NODE&accounts=N      {"drain":"ID"}
 *     ...&drain=ID                                  in a delay, a write, an invalidation, a kick
 *     DELETE /drains?drain=ID                       {"moved":N,"failed":N}
 */
#include "admin/drains.h"

#include <errno.h>
#include <stdlib.h>

static void begin_drain(struct admin_request *request)
{
	const struct admin_param *node = &request->params[0], *count = &request->params[1];
	struct admin_caller caller = admin_caller(request->conn);
	char id[ADMIN_DRAIN_ID_BYTES + 1];
	uint64_t accounts;
	int r;

	if (!node->given || !count->given) {
		admin_error(request->conn, 400, "destination and accounts required");
		return;
	}
	if (request->params[2].given ||
		view_to_u64(view_make(count->value, count->len), &accounts) < 0) {
		admin_error(request->conn, 400, "bad request");
		return;
	}
	if (!mapping_declared(request->ops->mapping, view_make(node->value, node->len))) {
		admin_error(request->conn, 404, "unknown destination");
		return;
	}
	r = admin_drain_begin(request->ops->drains, &caller, node->value, accounts, id);
	if (r == -ENOSPC)
		admin_error(request->conn, 503, "too many drains");
	else if (r < 0)
		admin_error(request->conn, 500, "out of memory");
	else
		admin_send_json(request->conn, 200, json_pack("{ss}", "drain", id));
}

void admin_answer_drains(struct admin_request *request)
{
	const struct admin_param *id = &request->params[2];
	struct admin_caller caller = admin_caller(request->conn);
	uint64_t moved, failed;

	if (request->method == METHOD_POST)
		begin_drain(request);
	else if (!id->given || request->params[0].given || request->params[1].given)
		admin_error(request->conn, 400, "bad request");
	else if (admin_drain_end(request->ops->drains, &caller, id->value, &moved, &failed) < 0)
		admin_error(request->conn, 404, "unknown drain");
	else
		admin_send_json(request->conn, 200,
			json_pack("{sI sI}", "moved", (json_int_t)moved, "failed",
				(json_int_t)failed));
}

bool admin_take_drain(
	struct admin_request *request, unsigned param, char ret_id[ADMIN_DRAIN_ID_BYTES + 1])
{
	const struct admin_param *id = &request->params[param];
	struct admin_caller caller = admin_caller(request->conn);

	*ret_id = '\0';
	if (!id->given)
		return true;
	if (id->len != ADMIN_DRAIN_ID_BYTES ||
		!admin_drain_known(request->ops->drains, &caller, id->value)) {
		admin_error(request->conn, 404, "unknown drain");
		return false;
	}
	memcpy(ret_id, id->value, ADMIN_DRAIN_ID_BYTES + 1);
	return true;
}

/* ---- hold and release ---- */

/* Where the store has the account; "" if it has it nowhere, or cannot tell. */
static const char *node_of(const struct mapping_admin_answer *answer)
{
	bool is_known =
		answer->source == MAPPING_SOURCE_CACHE || answer->source == MAPPING_SOURCE_STORE;

	return is_known && !answer->routed_to_default ? answer->destination : "";
}

static void finish(struct admin_pending *pending, const char *node)
{
	struct admin_drains *drains = pending->ops->drains;
	struct admin_conn *conn = admin_take_conn(pending);
	char seconds[16];

	if (!pending->seconds &&
		admin_drain_has(drains, &pending->caller, pending->drain, pending->account)) {
		admin_drain_release(
			drains, &pending->caller, pending->drain, pending->account, node);
	} else if (!pending->seconds ||
		!admin_drain_hold(
			drains, &pending->caller, pending->drain, pending->account, node)) {
		snprintf(seconds, sizeof(seconds), "%u", pending->seconds);
		admin_log_op(pending->ops, &pending->caller, "delay", pending->account, "done",
			"seconds", seconds, NULL);
	}
	if (conn) {
		admin_send_json(conn, 200,
			json_pack("{ss si}", "identifier", pending->account, "seconds",
				(int)pending->seconds));
		admin_wake(conn);
	}
	free(pending);
}

static void on_node(void *arg, const struct mapping_admin_answer *answer)
{
	finish(arg, node_of(answer));
}

/* A store that is down is not waited for. */
static bool must_ask(const struct admin_pending *pending)
{
	struct admin_drains *drains = pending->ops->drains;
	struct mapping_stats stats;

	if (!*pending->drain)
		return false;
	if (!pending->seconds &&
		(!admin_drain_has(drains, &pending->caller, pending->drain, pending->account) ||
			admin_drain_written(
				drains, &pending->caller, pending->drain, pending->account)))
		return false;
	mapping_stats(pending->ops->mapping, &stats);
	return stats.store_state == MAPPING_STORE_UP;
}

void admin_drain_delayed(
	struct admin_request *request, struct admin_pending *pending, unsigned seconds)
{
	pending->seconds = seconds;
	admin_wait_for(request, pending);
	if (!must_ask(pending) ||
		mapping_admin_get(
			request->ops->mapping, view_str(pending->account), on_node, pending) < 0)
		finish(pending, "");
}

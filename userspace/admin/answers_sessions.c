// SPDX-License-Identifier: Apache-2.0
/* The list of sessions, their end, their delay (admin.md sections 5.3 and 5.6). Workers own them,
 * so the answer comes later. */
#include "admin/drains.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 10000
#define LIMIT_MAX_NET 1000 /* its worker does nothing else meanwhile */

static void on_sessions(void *arg, json_t *answer)
{
	struct admin_pending *pending = arg;
	struct admin_conn *conn = admin_take_conn(pending);

	if (conn && answer)
		admin_send_json(conn, 200, json_incref(answer));
	else if (conn)
		admin_error(conn, 500, "out of memory");
	if (conn)
		admin_wake(conn);
	json_decref(answer);
	free(pending);
}

void admin_answer_sessions(struct admin_request *request)
{
	const struct admin_param *destination = &request->params[1];
	const struct admin_param *net = &request->params[3];
	struct session_filter filter = { .net = net->given };
	struct admin_pending *pending;
	int r;

	if (net->given && !view_eq(view_make(net->value, net->len), VIEW_LIT("1"))) {
		admin_error(request->conn, 400, "invalid net");
		return;
	}
	filter.limit = admin_parse_limit(
		&request->params[2], LIMIT_DEFAULT, filter.net ? LIMIT_MAX_NET : LIMIT_MAX);
	if (!filter.limit) {
		admin_error(request->conn, 400, "invalid limit");
		return;
	}
	if (request->params[0].given)
		pending = admin_take_identifier(request, "");
	else
		pending = calloc(1, sizeof(*pending));
	if (!pending) {
		if (!request->params[0].given)
			admin_error(request->conn, 500, "out of memory");
		return;
	}
	filter.account = request->params[0].given ? pending->account : NULL;
	filter.node = destination->given ? destination->value : NULL;
	admin_wait_for(request, pending);
	r = request->ops->sessions(request->ops->arg, &filter, on_sessions, pending);
	if (r == -ENOENT) {
		admin_error(admin_take_conn(pending), 404, "unknown destination");
		free(pending);
	} else if (r < 0) {
		admin_out_of_memory(pending);
	}
}

static void on_kicked(void *arg, json_t *answer)
{
	struct admin_pending *pending = arg;
	json_int_t kicked = json_integer_value(json_object_get(answer, "kicked"));
	char count[24];

	snprintf(count, sizeof(count), "%lld", (long long)kicked);
	if (!answer || !admin_drain_kick(pending->ops->drains, pending, (uint64_t)kicked))
		admin_log_op(pending->ops, &pending->caller, "kick", pending->account,
			answer ? "done" : "failed", "sessions", count, NULL);
	on_sessions(arg, answer);
}

void admin_answer_kick(struct admin_request *request)
{
	struct admin_pending *pending = admin_take_identifier(request, "identifier required");

	if (!pending)
		return;
	if (!admin_take_drain(request, 1, pending->drain)) {
		free(pending);
		return;
	}
	admin_wait_for(request, pending);
	if (request->ops->kick(request->ops->arg, pending->account, on_kicked, pending) < 0)
		admin_out_of_memory(pending);
}

/* 0 to 3600, decimal; -1 when it is not. */
static int parse_seconds(const struct admin_param *param)
{
	uint64_t seconds;

	if (view_to_u64(view_make(param->value, param->len), &seconds) < 0 || seconds > 3600)
		return -1;
	return (int)seconds;
}

void admin_answer_delay(struct admin_request *request)
{
	const struct admin_param *given = &request->params[1];
	struct admin_pending *pending;
	struct admin_caller caller = admin_caller(request->conn);
	int seconds, r;

	if (!request->params[0].given || !given->given) {
		admin_error(request->conn, 400, "identifier and seconds required");
		return;
	}
	seconds = parse_seconds(given);
	if (seconds < 0) {
		admin_error(request->conn, 400, "invalid seconds");
		return;
	}
	pending = admin_take_identifier(request, "");
	if (!pending)
		return;
	if (!admin_take_drain(request, 2, pending->drain)) {
		free(pending);
		return;
	}
	r = request->ops->delay(request->ops->arg, pending->account, (unsigned)seconds);
	if (r == 0) {
		admin_drain_delayed(request, pending, (unsigned)seconds);
		return;
	}
	admin_log_op(request->ops, &caller, "delay", pending->account, "failed", "seconds",
		given->value, NULL);
	if (r == -ENOSPC)
		admin_error(request->conn, 503, "too many delays");
	else
		admin_error(request->conn, 500, "out of memory");
	free(pending);
}

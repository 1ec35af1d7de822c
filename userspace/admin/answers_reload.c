// SPDX-License-Identifier: Apache-2.0
/* POST /config/reload (admin.md section 5.6, config.md section 14). */
#include "admin/request.h"

#include <errno.h>
#include <stdlib.h>

static void on_reloaded(void *arg, int status, json_t *answer)
{
	struct admin_pending *pending = arg;
	struct admin_conn *conn = admin_take_conn(pending);

	admin_log_op(pending->ops, &pending->caller, pending->op, NULL,
		status == 200 ? "done" : "failed", NULL);
	if (conn && answer)
		admin_send_json(conn, status, json_incref(answer));
	else if (conn)
		admin_error(conn, 500, "reload failed");
	if (conn)
		admin_wake(conn);
	json_decref(answer);
	free(pending);
}

/* Returns 0, or -EINVAL for what is neither true nor false. */
static int take_flag(const struct admin_param *param, bool *ret_flag)
{
	struct view value = view_make(param->value, param->len);

	*ret_flag = param->given && view_eq(value, VIEW_LIT("true"));
	return !param->given || *ret_flag || view_eq(value, VIEW_LIT("false")) ? 0 : -EINVAL;
}

void admin_answer_config_reload(struct admin_request *request)
{
	struct admin_pending *pending;
	bool is_dry, force;

	if (take_flag(&request->params[0], &is_dry) < 0 ||
		take_flag(&request->params[1], &force) < 0) {
		admin_error(request->conn, 400, "bad request");
		return;
	}
	pending = calloc(1, sizeof(*pending));
	if (!pending) {
		admin_error(request->conn, 500, "out of memory");
		return;
	}
	pending->op = is_dry ? "config_check" : "config_reload";
	admin_wait_for(request, pending);
	if (request->ops->config_reload(request->ops->arg, is_dry, force, on_reloaded, pending) <
		0) {
		admin_error(admin_take_conn(pending), 503, "not ready");
		free(pending);
	}
}

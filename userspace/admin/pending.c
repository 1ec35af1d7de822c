// SPDX-License-Identifier: Apache-2.0
/* Answers that come later: what is asked for, and whether the connection is still there. */
#include "admin/request.h"

#include <stdlib.h>

void admin_forget_pending(struct admin_conn *conn)
{
	if (conn->pending)
		conn->pending->conn = NULL;
	conn->pending = NULL;
}

void admin_wait_for(struct admin_request *request, struct admin_pending *pending)
{
	pending->conn = request->conn;
	pending->ops = request->ops;
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
	if (request->ops->account(request->ops->arg, view_make(identifier->value, identifier->len),
		    pending->account) < 0) {
		free(pending);
		admin_error(request->conn, 400, "invalid identifier");
		return NULL;
	}
	memcpy(pending->identifier, identifier->value, identifier->len);
	return pending;
}

void admin_out_of_memory(struct admin_pending *pending)
{
	struct admin_conn *conn = admin_take_conn(pending);

	if (conn) {
		admin_error(conn, 500, "out of memory");
		admin_wake(conn);
	}
	free(pending);
}

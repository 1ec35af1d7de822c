// SPDX-License-Identifier: Apache-2.0
/* Who asked for a change, and the line about it (ADM-26, OPS-22). */
#include "admin/request.h"

#include <stdarg.h>

static void log_op(enum log_level level, const struct admin_ops *ops,
	const struct admin_caller *caller, const char *op, const char *account, const char *outcome,
	va_list args)
{
	char shown[400] = "-";
	struct log_line line;
	const char *key, *value;

	if (account && *account)
		ops->log_account(ops->arg, view_str(account), shown, sizeof(shown));
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

void admin_log_op(const struct admin_ops *ops, const struct admin_caller *caller, const char *op,
	const char *account, const char *outcome, ...)
{
	va_list args;

	va_start(args, outcome);
	log_op(LOGL_INFO, ops, caller, op, account, outcome, args);
	va_end(args);
}

void admin_log_op_at(enum log_level level, const struct admin_ops *ops,
	const struct admin_caller *caller, const char *op, const char *account, const char *outcome,
	...)
{
	va_list args;

	va_start(args, outcome);
	log_op(level, ops, caller, op, account, outcome, args);
	va_end(args);
}

struct admin_caller admin_caller(const struct admin_conn *conn)
{
	struct admin_caller caller = {
		.peer = conn->peer, .is_local = admin_is_local(conn->listener), .uid = conn->uid
	};

	admin_client(conn, caller.client);
	return caller;
}

const char *admin_client(const struct admin_conn *conn, char text[ADDR_TEXT_SIZE])
{
	if (admin_is_local(conn->listener))
		return strcpy(text, "local");
	return addr_format(&conn->peer, text);
}

// SPDX-License-Identifier: Apache-2.0
/* Private to admin/: a request whose head, token and parameters have been checked (dispatch.c), as
 * the functions that answer it see it (answers_*.c). */
#ifndef ADMIN_REQUEST_H
#define ADMIN_REQUEST_H

#include "admin/ops.h"
#include "admin/connection.h"
#include "base/log.h"

#define ADMIN_PARAMS_MAX 4
#define ADMIN_DRAIN_ID_BYTES 32 /* hex */
#define ADMIN_VALUE_BYTES 1024
#define ADMIN_ACCOUNT_BYTES 321

enum { METHOD_GET = 1, METHOD_PUT = 2, METHOD_DELETE = 4, METHOD_POST = 8 };

struct admin_param {
	bool given;
	char value[ADMIN_VALUE_BYTES + 1]; /* decoded */
	size_t len;
};

struct admin_request {
	struct admin_conn *conn;
	const struct admin_ops *ops;
	int method;
	struct admin_param params[ADMIN_PARAMS_MAX]; /* in the order of the endpoint's row */
};

struct admin_endpoint {
	const char *path;
	int methods;
	const char *params[ADMIN_PARAMS_MAX + 1]; /* NULL-terminated */
	void (*answer)(struct admin_request *request);
	bool open; /* no token */
};

/* Who made a call, for the log: an address, or "local" and the user of the socket's peer. */
struct admin_caller {
	char client[ADDR_TEXT_SIZE];
	struct addr peer; /* not if it is local */
	bool is_local;
	uid_t uid;
};

/* An answer that comes later. The connection may be gone by then: conn is NULL. */
struct admin_pending {
	struct admin_conn *conn;
	const struct admin_ops *ops;
	const char *op;
	char identifier[ADMIN_VALUE_BYTES + 1], account[ADMIN_ACCOUNT_BYTES],
		destination[MAPPING_NAME_BYTES + 1];
	char was[MAPPING_NAME_BYTES + 1];     /* the node before a write; "" unknown or none */
	unsigned seconds;                     /* of a delay */
	char drain[ADMIN_DRAIN_ID_BYTES + 1]; /* that this is a step of; "": none */
	struct admin_caller caller;
};

/* oplog.c. The log line of a changing call (ADM-26, OPS-22). account: NULL if it is about none.
 * Then keys and values of what was changed, strings, up to a NULL key; an empty value is shown as
 * "-". */
void admin_log_op(const struct admin_ops *ops, const struct admin_caller *caller, const char *op,
	const char *account, const char *outcome, ...);
/* The same at another level than info. */
void admin_log_op_at(enum log_level level, const struct admin_ops *ops,
	const struct admin_caller *caller, const char *op, const char *account, const char *outcome,
	...);
struct admin_caller admin_caller(const struct admin_conn *conn);
const char *admin_client(const struct admin_conn *conn, char text[ADDR_TEXT_SIZE]);
/* pending.c. ADM-22: reads parameter 0. Answers 400 with `missing` or "invalid identifier" and
 * returns NULL when it is missing or bad. */
struct admin_pending *admin_take_identifier(struct admin_request *request, const char *missing);
/* The answer comes later, through admin_take_conn(). */
void admin_wait_for(struct admin_request *request, struct admin_pending *pending);
/* The connection, if it is still there, and no more for the pending answer. */
struct admin_conn *admin_take_conn(struct admin_pending *pending);
/* After a late answer was given: an event writes it from the loop. */
void admin_wake(struct admin_conn *conn);
/* A late answer that cannot be had. */
void admin_out_of_memory(struct admin_pending *pending);
/* params.c. Returns NULL or the error text. */
const char *admin_take_query(
	struct admin_request *request, const struct admin_endpoint *endpoint, struct view query);
/* For methods that take a part of the row's parameters: BIT(index) of each that this one takes.
 * Answers 400 and returns false if another is given. */
MUST_USE bool admin_takes_only(struct admin_request *request, unsigned params);
/* A limit parameter: decimal, 1 to most; `standard` if it is not given, 0 if it is not valid. */
unsigned admin_parse_limit(const struct admin_param *param, unsigned standard, unsigned most);

/* answers_*.c */
void admin_answer_healthz(struct admin_request *request);
void admin_answer_readyz(struct admin_request *request);
void admin_answer_stats(struct admin_request *request);
void admin_answer_metrics(struct admin_request *request);
void admin_answer_destinations(struct admin_request *request);
void admin_answer_reset(struct admin_request *request);
void admin_answer_mappings(struct admin_request *request);
void admin_answer_mappings_list(struct admin_request *request);
void admin_answer_mappings_reload(struct admin_request *request);
void admin_answer_config_reload(struct admin_request *request);
void admin_answer_invalidate(struct admin_request *request);
void admin_answer_sessions(struct admin_request *request);
void admin_answer_kick(struct admin_request *request);
void admin_answer_delay(struct admin_request *request);
void admin_answer_bans(struct admin_request *request);
void admin_answer_guard(struct admin_request *request);
void admin_answer_drains(struct admin_request *request);

/* answers_drain.c: a change as a step of an announced drain (drains.h). */

/* Takes the parameter that names the drain ("" if it is not given). Answers 404 and returns false
 * if this caller has none of that id: nothing is changed under a claim that does not hold. */
MUST_USE bool admin_take_drain(
	struct admin_request *request, unsigned param, char ret_id[ADMIN_DRAIN_ID_BYTES + 1]);
/* The hold, or with 0 its end, has been set. Logs and answers, perhaps later; pending is taken. */
void admin_drain_delayed(
	struct admin_request *request, struct admin_pending *pending, unsigned seconds);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * GET /mappings/list: the accounts that the store assigns to a node, a page at a time. The store
 * answers when it can; nothing waits for it but this request. A row whose identifier is not what
 * the router would make of it (normalised, valid) serves nobody: it is counted, not listed.
 */
#include "admin/request.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 1000

static bool is_account(const struct admin_ops *ops, struct view name)
{
	char account[ADMIN_ACCOUNT_BYTES];
	int n = ops->account(ops->arg, name, account);

	return n >= 0 && view_eq(view_make(account, (size_t)n), name);
}

static json_t *names_of(
	const struct admin_ops *ops, const struct store_list *list, unsigned *ret_skipped)
{
	const char *name = buf_view(&list->names).data;
	json_t *names = json_array();

	*ret_skipped = 0;
	for (unsigned i = 0; i < list->count; i++, name += strlen(name) + 1) {
		if (is_account(ops, view_str(name)))
			json_array_append_new(names, json_string(name));
		else
			(*ret_skipped)++;
	}
	return names;
}

static void send_page(struct admin_conn *conn, const struct admin_pending *pending,
	const struct mapping_admin_answer *answer)
{
	json_t *next = answer->list->next[0] ? json_string(answer->list->next) : json_null(),
	       *names;
	unsigned skipped;

	if (!next) { /* no UTF-8 */
		log_event(LOGL_ERROR, "mapping_list", "error",
			"an identifier in the store is not valid UTF-8", NULL);
		admin_error(conn, 500, "store read failed");
		return;
	}
	names = names_of(pending->ops, answer->list, &skipped);
	admin_send_json(conn, 200,
		json_pack("{ss so so sb si}", "destination", pending->destination, "identifiers",
			names, "next", next, "writable", answer->writable, "skipped",
			(int)skipped));
}

static void on_page(void *arg, const struct mapping_admin_answer *answer)
{
	struct admin_pending *pending = arg;
	struct admin_conn *conn = admin_take_conn(pending);

	if (conn) {
		switch (answer->result) {
		case MAPPING_ADMIN_OK:
			send_page(conn, pending, answer);
			break;
		case MAPPING_ADMIN_CANNOT_LIST:
			admin_error(conn, 501,
				"mapping store cannot list accounts (no mapping.sql.list_query)");
			break;
		case MAPPING_ADMIN_TIMEOUT:
			admin_error(conn, 504, "store timeout");
			break;
		default:
			log_event(LOGL_ERROR, "mapping_list", "error",
				answer->error ? answer->error : "", NULL);
			admin_error(conn, 500, "store read failed");
		}
		admin_wake(conn);
	}
	free(pending);
}

void admin_answer_mappings_list(struct admin_request *request)
{
	const struct admin_param *destination = &request->params[0], *after = &request->params[1];
	unsigned limit = admin_parse_limit(&request->params[2], LIMIT_DEFAULT, LIMIT_MAX);
	struct view node = view_make(destination->value, destination->len);
	struct mapping *mapping = request->ops->mapping;
	struct admin_pending *pending;

	if (!destination->given || !limit) {
		admin_error(request->conn, 400, limit ? "destination required" : "invalid limit");
		return;
	}
	if (memchr(after->value, '\0', after->len)) {
		admin_error(request->conn, 400, "bad request");
		return;
	}
	if (!mapping_declared(mapping, node)) {
		admin_error(request->conn, 404, "unknown destination");
		return;
	}
	pending = calloc(1, sizeof(*pending));
	if (!pending) {
		admin_error(request->conn, 500, "out of memory");
		return;
	}
	memcpy(pending->destination, node.data, MIN(node.len, sizeof(pending->destination) - 1));
	admin_wait_for(request, pending);
	if (mapping_admin_list(mapping, node, view_make(after->value, after->len), limit, on_page,
		    pending) < 0)
		admin_out_of_memory(pending);
}

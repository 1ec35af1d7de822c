// SPDX-License-Identifier: Apache-2.0
/* The answer to a request, as bytes that wait to be sent. Whoever gives it later than the request
 * came wakes the connection (pending.c). */
#include "admin/connection.h"

#include <stdio.h>
#include <stdlib.h>

void admin_respond(struct admin_conn *conn, int status, const char *extra, const char *body)
{
	admin_respond_as(conn, status, "application/json", extra, body);
}

void admin_respond_as(
	struct admin_conn *conn, int status, const char *type, const char *extra, const char *body)
{
	size_t len = body ? strlen(body) : 0;
	int r;

	buf_fini(&conn->leg.in); /* wipes the token */
	r = buf_printf(&conn->leg.out,
		"HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
		"Cache-Control: no-store\r\nConnection: close\r\n%s\r\n",
		status, http_reason(status), type, len, extra);
	if (r == 0 && !conn->is_head)
		r = buf_append(&conn->leg.out, body, len);
	if (r < 0)
		buf_clear(&conn->leg.out);
	conn->state = ADMIN_SEND;
}

void admin_error(struct admin_conn *conn, int status, const char *text)
{
	char body[128];

	snprintf(body, sizeof(body), "{\"error\": \"%s\"}\n", text);
	admin_respond(conn, status, "", body);
}

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

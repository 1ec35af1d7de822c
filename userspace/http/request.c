// SPDX-License-Identifier: Apache-2.0
/* The end of a request, however it ends: what it has carried is counted and told, its memory
 * goes. */
#include "http/http.h"
#include "base/clock.h"
#include "base/log.h"

#include <stdlib.h>

void http_request_account(struct session *session)
{
	struct http_request *request = &session->login->http->request;
	char id[SESSION_ID_SIZE];
	struct log_line line UNINITIALIZED;

	if (!request->started_ms)
		return;
	for (int i = 0; i < 2; i++)
		session->bytes[i] += request->bytes[i];
	if (session->node) {
		atomic_fetch_add(&session->node->bytes_up, request->bytes[RELAY_UP]);
		atomic_fetch_add(&session->node->bytes_down, request->bytes[RELAY_DOWN]);
	}
	if (log_wants(LOGL_DEBUG)) {
		session_format_id(session, id);
		log_start(&line, LOGL_DEBUG, "request");
		log_str(&line, "id", id);
		log_str(&line, "method", request->method);
		log_int(&line, "status", request->status);
		log_str(&line, "node", session->node ? session->node->name : NULL);
		log_int(&line, "bytes", (int64_t)request->bytes[RELAY_DOWN]);
		log_int(&line, "ms", (int64_t)(clock_mono_ms() - request->started_ms));
		log_end(&line);
	}
	request->started_ms = 0;
	request->bytes[0] = request->bytes[1] = 0;
}

void http_request_clear(struct session *session)
{
	struct http_request *request = &session->login->http->request;

	buf_fini(&request->raw);
	buf_fini(&request->data);
	free(request->head);
	*request = (struct http_request){ 0 };
}

// SPDX-License-Identifier: Apache-2.0
/* From a complete request to the endpoint of a table that the listener was given, on the host's own
 * socket, where no token is asked for. */
#include "unit.h"

#include "admin/request.h"

static char seen[64];

static void answer(struct admin_request *request)
{
	snprintf(seen, sizeof(seen), "%d %.32s", request->method, request->params[0].value);
	admin_respond(request->conn, 200, "", "{}\n");
}

static const struct admin_endpoint table[] = {
	{ "/health", METHOD_GET, { NULL }, answer, true },
	{ "/things", METHOD_GET | METHOD_PUT | METHOD_DELETE, { "name" }, answer, false },
	{ NULL, 0, { NULL }, NULL, false },
};

/* The answer to a head, in memory that the next call takes again. */
static const char *ask(const char *text)
{
	static const struct http_limits limits = { 16384, 64, true };
	static char told[512];
	struct admin_listener listener = { .params = { .endpoints = table } };
	struct admin_conn *conn = calloc(1, sizeof(*conn));

	assert_non_null(conn);
	conn->listener = &listener;
	conn->state = ADMIN_WAIT;
	leg_init(&conn->leg, 0, 0);
	assert_int_equal(http_head_parse(&conn->head, view_str(text), &limits), HTTP_HEAD_DONE);
	conn->is_head = view_eq(conn->head.method, VIEW_LIT("HEAD"));
	seen[0] = '\0';
	admin_dispatch(conn);
	assert_int_equal(conn->state, ADMIN_SEND);
	snprintf(told, sizeof(told), "%.*s", (int)conn->leg.out.len, buf_view(&conn->leg.out).data);
	leg_close(&conn->leg);
	free(conn);
	return told;
}

static void assert_answer(const char *head, int status, const char *part)
{
	const char *told = ask(head);
	char line[16];

	snprintf(line, sizeof(line), "HTTP/1.1 %d ", status);
	assert_memory_equal(told, line, strlen(line));
	assert_non_null(strstr(told, part));
}

static void test_the_table_of_the_listener_is_asked(void **state)
{
	(void)state;
	assert_answer("GET /things?name=a%20b HTTP/1.1\r\nHost: x\r\n\r\n", 200, "\r\n\r\n{}\n");
	assert_string_equal(seen, "1 a b");
	assert_answer("DELETE /things HTTP/1.1\r\nHost: x\r\n\r\n", 200, "\r\n\r\n{}\n");
	assert_string_equal(seen, "4 ");
	assert_answer("GET /stats HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not found");
	assert_string_equal(seen, "");
}

static void test_ADM_20_paths(void **state)
{
	(void)state;
	assert_answer("GET /things// HTTP/1.1\r\nHost: x\r\n\r\n", 200, "{}");
	assert_answer("GET /Things HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not found");
	assert_answer("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not found");
}

static void test_methods(void **state)
{
	(void)state;
	assert_answer("POST /things HTTP/1.1\r\nHost: x\r\n\r\n", 405,
		"\r\nAllow: GET, HEAD, PUT, DELETE\r\n");
	assert_answer("BREW /health HTTP/1.1\r\nHost: x\r\n\r\n", 405, "\r\nAllow: GET, HEAD\r\n");
	assert_string_equal(seen, "");
	assert_null(strstr(ask("HEAD /things HTTP/1.1\r\nHost: x\r\n\r\n"), "{}"));
	assert_string_equal(seen, "1 ");
}

static void test_parameters_come_last(void **state)
{
	(void)state;
	assert_answer("GET /nothing?who=x HTTP/1.1\r\nHost: x\r\n\r\n", 404, "not found");
	assert_answer("POST /things?who=x HTTP/1.1\r\nHost: x\r\n\r\n", 405, "not allowed");
	assert_answer("GET /things?who=x HTTP/1.1\r\nHost: x\r\n\r\n", 400, "unknown parameter");
	assert_string_equal(seen, "");
}

static void test_ADM_2_only_open_endpoints_are_for_probes(void **state)
{
	(void)state;
	assert_answer("GET /health HTTP/1.0\r\n\r\n", 200, "{}");
	assert_answer("GET /health HTTP/1.1\r\n\r\n", 200, "{}");
	assert_answer("GET /things HTTP/1.0\r\nHost: x\r\n\r\n", 505, "version");
	assert_answer("GET /things HTTP/1.1\r\n\r\n", 400, "bad request");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_table_of_the_listener_is_asked),
		cmocka_unit_test(test_ADM_20_paths),
		cmocka_unit_test(test_methods),
		cmocka_unit_test(test_parameters_come_last),
		cmocka_unit_test(test_ADM_2_only_open_endpoints_are_for_probes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

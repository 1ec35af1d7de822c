// SPDX-License-Identifier: Apache-2.0
/* Bodies: limits, what a caller may move itself, decoded data; heads as they go on. */
#include "unit.h"

#include "proto/http_body.h"
#include "proto/http_write.h"

#include <errno.h>

static int feed(struct http_body *body, struct view in, struct buf *out, struct buf *data)
{
	size_t consumed;

	return http_body_input(body, in, &consumed, out, data);
}

static void test_counted_stops_at_its_end(void **state)
{
	struct http_body body;
	struct buf out = { 0 };
	size_t consumed;

	(void)state;
	http_body_init(&body, HTTP_COUNTED, 5, 100);
	assert_int_equal(http_body_span(&body), 5);
	assert_int_equal(http_body_input(&body, VIEW_LIT("ab"), &consumed, &out, NULL), 0);
	http_body_skip(&body, 1);
	assert_int_equal(
		http_body_input(&body, VIEW_LIT("deGET"), &consumed, &out, NULL), HTTP_BODY_DONE);
	assert_int_equal(consumed, 2);
	assert_true(view_eq(buf_view(&out), VIEW_LIT("abde")));
	assert_int_equal(http_body_span(&body), 0);
	http_body_init(&body, HTTP_COUNTED, 0, 100);
	assert_true(http_body_is_done(&body));
	http_body_init(&body, HTTP_NO_BODY, 7, 100);
	assert_true(http_body_is_done(&body));
	http_body_init(&body, HTTP_UNTIL_CLOSE, 0, 100);
	assert_int_equal(feed(&body, VIEW_LIT("xyz"), &out, NULL), 0);
	http_body_skip(&body, 1000);
	assert_int_equal(http_body_span(&body), UINT64_MAX);
	buf_fini(&out);
}

/* The largest size there is; nothing is counted wrong behind it. */
static void test_HTTP_30_the_largest_chunk(void **state)
{
	struct http_body body;
	struct buf out = { 0 };

	(void)state;
	http_body_init(&body, HTTP_CHUNKED, 0, 100);
	assert_int_equal(feed(&body, VIEW_LIT("FFFFFFFFFFFFFFFF\r\n"), &out, NULL), 0);
	assert_int_equal(http_body_span(&body), UINT64_MAX);
	http_body_skip(&body, UINT64_MAX - 1);
	assert_int_equal(feed(&body, VIEW_LIT("x\r\n0\r\n\r\n"), &out, NULL), HTTP_BODY_DONE);
	assert_true(view_eq(buf_view(&out), VIEW_LIT("ffffffffffffffff\r\nx\r\n0\r\n\r\n")));
	buf_fini(&out);
}

static void test_HTTP_30_line_and_trailer_limits(void **state)
{
	static char line[20000];
	struct http_body body;
	struct buf out = { 0 };

	(void)state;
	memset(line, 'e', sizeof(line));
	memcpy(line, "3;", 2);
	http_body_init(&body, HTTP_CHUNKED, 0, 100);
	assert_int_equal(feed(&body, view_make(line, 16384), &out, NULL), 0);
	assert_int_equal(feed(&body, VIEW_LIT("e"), &out, NULL), -EBADMSG);
	line[16382] = '\r';
	line[16383] = '\n';
	http_body_init(&body, HTTP_CHUNKED, 0, 100);
	assert_int_equal(feed(&body, view_make(line, 16384), &out, NULL), 0);
	assert_int_equal(http_body_span(&body), 3);

	/* "a: b" CR LF is 6 bytes */
	http_body_init(&body, HTTP_CHUNKED, 0, 12);
	assert_int_equal(
		feed(&body, VIEW_LIT("0\r\na: b\r\na: b\r\n"), &out, NULL), HTTP_BODY_MORE);
	assert_int_equal(feed(&body, VIEW_LIT("a: b\r\n"), &out, NULL), -EBADMSG);
	/* a line that does not end is refused when it cannot end in time */
	http_body_init(&body, HTTP_CHUNKED, 0, 12);
	assert_int_equal(feed(&body, VIEW_LIT("0\r\na: bbbbbbbbbb"), &out, NULL), -EBADMSG);
	buf_fini(&out);
}

static void test_HTTP_52_data_up_to_the_cap(void **state)
{
	struct http_body body;
	struct buf out = { 0 }, data;

	(void)state;
	buf_init(&data, 4, false);
	http_body_init(&body, HTTP_CHUNKED, 0, 100);
	assert_int_equal(feed(&body, VIEW_LIT("3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n"), &out, &data),
		HTTP_BODY_DONE);
	assert_true(view_eq(buf_view(&data), VIEW_LIT("abcd")));
	assert_true(view_eq(buf_view(&out), VIEW_LIT("3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n")));
	buf_fini(&out);
	buf_fini(&data);
}

/* ---- looked at, then sent on ---- */

/* What goes on in all: what was looked at in one chunk, the rest as it comes. */
static void peek(const char *in, size_t cut, size_t limit, const char *wanted)
{
	struct view rest = view_str(in);
	struct buf data, out = { 0 };
	struct http_body body;
	size_t consumed;
	int r = HTTP_BODY_MORE;

	buf_init(&data, limit, false);
	http_body_init(&body, HTTP_CHUNKED, 0, 100);
	while (r == HTTP_BODY_MORE) {
		struct view part = view_make(rest.data, MIN(rest.len, cut));

		r = http_body_peek(&body, part, &consumed, &data);
		assert_true(part.len && data.len <= limit);
		rest = view_skip(rest, consumed);
	}
	assert_int_equal(r, HTTP_BODY_DONE);
	assert_int_equal(http_body_put_peeked(&body, buf_view(&data), &out), 0);
	for (r = HTTP_BODY_MORE; r == HTTP_BODY_MORE; rest = view_skip(rest, consumed))
		r = http_body_input(
			&body, view_make(rest.data, MIN(rest.len, cut)), &consumed, &out, NULL);
	assert_int_equal(r, HTTP_BODY_DONE);
	assert_int_equal(rest.len, 0);
	if (!view_eq(buf_view(&out), view_str(wanted)))
		fail_msg("cut %zu, limit %zu: %.*s", cut, limit, (int)out.len, buf_view(&out).data);
	buf_fini(&data);
	buf_fini(&out);
}

static void test_HTTP_31_what_is_looked_at_is_held_once(void **state)
{
	static const char in[] = "1;x=y\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\nX: y\r\n\r\n";

	(void)state;
	for (size_t cut = 14; cut < sizeof(in); cut++) {
		peek(in, cut, 1, "1\r\na\r\n2\r\nbc\r\n3\r\ndef\r\n0\r\nX: y\r\n\r\n");
		peek(in, cut, 2, "2\r\nab\r\n1\r\nc\r\n3\r\ndef\r\n0\r\nX: y\r\n\r\n");
		peek(in, cut, 3, "3\r\nabc\r\n3\r\ndef\r\n0\r\nX: y\r\n\r\n");
		peek(in, cut, 5, "5\r\nabcde\r\n1\r\nf\r\n0\r\nX: y\r\n\r\n");
		peek(in, cut, 6, "6\r\nabcdef\r\n0\r\nX: y\r\n\r\n");
		peek(in, cut, 100, "6\r\nabcdef\r\n0\r\nX: y\r\n\r\n");
	}
	peek("0\r\n\r\n", 9, 10, "0\r\n\r\n");
}

static void test_HTTP_31_bad_framing_is_seen(void **state)
{
	struct http_body body;
	struct buf data;
	size_t consumed;

	(void)state;
	buf_init(&data, 10, false);
	http_body_init(&body, HTTP_CHUNKED, 0, 100);
	assert_int_equal(http_body_peek(&body, VIEW_LIT("1\r\naX"), &consumed, &data), -EBADMSG);
	buf_fini(&data);
}

/* For a client of HTTP/1.0. */
static void test_RFC_9112_7_1_3_unchunked(void **state)
{
	struct http_body body;
	struct buf data = { 0 };

	(void)state;
	http_body_init(&body, HTTP_CHUNKED, 0, 100);
	assert_int_equal(
		feed(&body, VIEW_LIT("3;e\r\nabc\r\n2\r\nde\r\n0\r\nX: y\r\n\r\n"), NULL, &data),
		HTTP_BODY_DONE);
	assert_true(view_eq(buf_view(&data), VIEW_LIT("abcde")));
	buf_fini(&data);
}

/* ---- heads as they go on ---- */

static const struct http_limits limits = { 4096, 100, false };

static void rewrite(
	const char *text, const struct http_request_changes *changes, const char *wanted)
{
	static struct http_head head;
	struct buf out = { 0 };

	memset(&head, 0, sizeof(head));
	assert_int_equal(http_head_parse(&head, view_str(text), &limits), HTTP_HEAD_DONE);
	assert_int_equal(http_write_request(&head, changes, &out), 0);
	if (!view_eq(buf_view(&out), view_str(wanted)))
		fail_msg("%.*s", (int)out.len, buf_view(&out).data);
	buf_fini(&out);
}

#define G "GET / HTTP/1.1\r\nHost: x\r\n"

static void test_HTTP_70_71_forwarded(void **state)
{
	static const char in[] = G "X-Forwarded-For: 1.1.1.1\r\nA: b\r\nforwarded: for=_x\r\n"
				   "X-Real-IP: 1.1.1.1\r\nX-Forwarded-Proto: http\r\n"
				   "x-forwarded-for: 2.2.2.2\r\n\r\n";

	(void)state;
	rewrite(in, &(struct http_request_changes){ 0 }, G "A: b\r\n\r\n");
	rewrite(in, &(struct http_request_changes){ .client = "203.0.113.5" },
		G "A: b\r\nForwarded: for=203.0.113.5\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n");
	rewrite(in, &(struct http_request_changes){ .client = "2001:db8::1" },
		G "A: b\r\nForwarded: for=\"[2001:db8::1]\"\r\n"
		  "X-Forwarded-For: 2001:db8::1\r\n\r\n");
	rewrite(in, &(struct http_request_changes){ .keep_forwarded = true, .client = "3.3.3.3" },
		G "A: b\r\nX-Real-IP: 1.1.1.1\r\nX-Forwarded-Proto: http\r\n"
		  "Forwarded: for=_x, for=3.3.3.3\r\n"
		  "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3\r\n\r\n");
	rewrite(in, &(struct http_request_changes){ .keep_forwarded = true }, in);
}

static void test_section_8_upgrade(void **state)
{
	static const char wanted[] = G "Sec-WebSocket-Key: k\r\nConnection: Upgrade\r\n"
				       "Upgrade: websocket\r\n\r\n";

	(void)state;
	rewrite(G "connection: keep-alive, UPGRADE\r\nupgrade: WebSocket\r\n"
		  "Sec-WebSocket-Key: k\r\n\r\n",
		&(struct http_request_changes){ 0 }, wanted);
	rewrite(G "Expect: 100-continue\r\n\r\n",
		&(struct http_request_changes){ .drop_expect = true }, G "\r\n");
	rewrite(G "Expect: 100-continue\r\n\r\n", &(struct http_request_changes){ 0 },
		G "Expect: 100-continue\r\n\r\n");
}

static void test_connection_options_are_limited(void **state)
{
	static struct http_head head;
	char text[1024] = G "Connection: a";

	(void)state;
	for (int i = 1; i < 100; i++)
		strcat(text, ",a");
	strcat(text, "\r\n\r\n");
	assert_int_equal(http_head_parse(&head, view_str(text), &limits), HTTP_HEAD_DONE);
	strcpy(text + strlen(text) - 4, ",a\r\n\r\n");
	memset(&head, 0, sizeof(head));
	assert_int_equal(http_head_parse(&head, view_str(text), &limits), 431);
}

static void test_section_2_answers(void **state)
{
	static const struct {
		int status;
		bool to_head;
		const char *wanted;
	} cases[] = {
		{ 400, false,
			"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
			"Content-Length: 15\r\nConnection: close\r\n\r\n400 Bad Request" },
		{ 502, true,
			"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/plain; charset=utf-8\r\n"
			"Content-Length: 15\r\nConnection: close\r\n\r\n" },
		{ 503, false,
			"HTTP/1.1 503 Service Unavailable\r\n"
			"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 23\r\n"
			"Retry-After: 5\r\nConnection: close\r\n\r\n503 Service Unavailable" },
		{ 401, false,
			"HTTP/1.1 401 Unauthorized\r\nContent-Type: text/plain; charset=utf-8\r\n"
			"Content-Length: 16\r\n"
			"WWW-Authenticate: Basic realm=\"Homing\", charset=\"UTF-8\"\r\n"
			"WWW-Authenticate: Bearer\r\nConnection: close\r\n\r\n401 Unauthorized" },
	};
	static const int all[] = { 404, 405, 408, 417, 431, 504, 505 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf out = { 0 };

		assert_int_equal(http_write_error(cases[i].status, cases[i].to_head, &out), 0);
		assert_true(view_eq(buf_view(&out), view_str(cases[i].wanted)));
		buf_fini(&out);
	}
	for (size_t i = 0; i < ARRAY_SIZE(all); i++)
		assert_string_not_equal(http_reason(all[i]), "Error");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counted_stops_at_its_end),
		cmocka_unit_test(test_HTTP_30_the_largest_chunk),
		cmocka_unit_test(test_HTTP_30_line_and_trailer_limits),
		cmocka_unit_test(test_HTTP_52_data_up_to_the_cap),
		cmocka_unit_test(test_HTTP_31_what_is_looked_at_is_held_once),
		cmocka_unit_test(test_HTTP_31_bad_framing_is_seen),
		cmocka_unit_test(test_RFC_9112_7_1_3_unchunked),
		cmocka_unit_test(test_HTTP_70_71_forwarded),
		cmocka_unit_test(test_section_8_upgrade),
		cmocka_unit_test(test_connection_options_are_limited),
		cmocka_unit_test(test_section_2_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

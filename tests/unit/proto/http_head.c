// SPDX-License-Identifier: Apache-2.0
/* http.md section 2 as a table of raw heads, whole and cut at every byte, at a guard page. */
#include "dialogue/dialogue.h"
#include "proto/http_head.h"
#include "proto/http_internal.h"

#define H "Host: x\r\n"
#define G "GET / HTTP/1.1\r\n"

static const struct {
	const char *head;
	int result;
} cases[] = {
	{ G H "\r\n", 1 },
	{ "\r\n" G H "\r\n", 1 },
	{ "\r\n\r\n" G H "\r\n", 400 },
	{ "GET / HTTP/1.1\n" H "\r\n", 400 },
	{ G "Host: x\n\r\n", 400 },
	{ G H "A: b\rc\r\n\r\n", 400 },
	{ G H " folded: x\r\n\r\n", 400 },
	{ G H "A: b\r\n c\r\n\r\n", 400 },
	{ G H "NoColon\r\n\r\n", 400 },
	{ G H "A : b\r\n\r\n", 400 },
	{ G H ": b\r\n\r\n", 400 },
	{ G H "A\x01: b\r\n\r\n", 400 },
	{ G H "A: b\x01\r\n\r\n", 400 },
	{ G H "A: b\x7f\r\n\r\n", 400 },
	{ G H "A: b\tc\r\n\r\n", 1 },
	{ "GET  / HTTP/1.1\r\n" H "\r\n", 400 },
	{ "GET /a\x01 HTTP/1.1\r\n" H "\r\n", 400 },
	{ "GET /#x HTTP/1.1\r\n" H "\r\n", 400 },
	{ "G@T / HTTP/1.1\r\n" H "\r\n", 400 },
	{ "GET /\r\n" H "\r\n", 400 },
	{ "GET / HTTP/1.2\r\n" H "\r\n", 505 },
	{ "GET / HTTP/0.9\r\n" H "\r\n", 505 },
	{ "GET / HTTP/2.0\r\n" H "\r\n", 505 },
	{ "PRI * HTTP/2.0\r\n\r\n", 505 },
	{ "GET / HTTP/1.1x\r\n" H "\r\n", 400 },
	{ "GET / http/1.1\r\n" H "\r\n", 400 },
	{ "CONNECT x:1 HTTP/1.1\r\n" H "\r\n", 405 },
	{ G "\r\n", 400 },
	{ G H H "\r\n", 400 },
	{ G "Host: a b\r\n\r\n", 400 },
	{ G "Host: a/b\r\n\r\n", 400 },
	{ G "Host: u@h\r\n\r\n", 400 },
	{ G H "Content-Length: 5\r\n\r\n", 1 },
	{ G H "Content-Length: +5\r\n\r\n", 400 },
	{ G H "Content-Length: -1\r\n\r\n", 400 },
	{ G H "Content-Length: 5,5\r\n\r\n", 400 },
	{ G H "Content-Length: 0x5\r\n\r\n", 400 },
	{ G H "Content-Length: 5 5\r\n\r\n", 400 },
	{ G H "Content-Length:\r\n\r\n", 400 },
	{ G H "Content-Length: 12345678901234567890\r\n\r\n", 400 },
	{ G H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n", 1 },
	{ G H "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400 },
	{ G H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
	{ G H "Transfer-Encoding: chunked\r\n\r\n", 1 },
	{ G H "Transfer-Encoding: gzip, chunked\r\n\r\n", 1 },
	{ G H "Transfer-Encoding: gzip\r\n\r\n", 400 },
	{ G H "Transfer-Encoding: chunked, gzip\r\n\r\n", 400 },
	{ G H "Transfer-Encoding: chunked, chunked\r\n\r\n", 400 },
	{ G H "Transfer-Encoding: identity\r\n\r\n", 400 },
	{ G H "Transfer-Encoding: xchunked\r\n\r\n", 400 },
	{ G H "Transfer-Encoding:\r\n\r\n", 400 },
	{ G H "Transfer-Encoding: chunked;a=b\r\n\r\n", 400 },
	{ G H "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400 },
	{ G H "Expect: 100-continue\r\n\r\n", 1 },
	{ G H "Expect: 200-maybe\r\n\r\n", 417 },
	{ "OPTIONS * HTTP/1.1\r\n" H "\r\n", 1 },
	{ "GET * HTTP/1.1\r\n" H "\r\n", 400 },
	{ "GET http://x/p HTTP/1.1\r\n" H "\r\n", 1 },
	{ "GET http://y/p HTTP/1.1\r\n" H "\r\n", 400 },
	{ "GET x HTTP/1.1\r\n" H "\r\n", 400 },
	{ "\x16\x03\x01\x02", 0 },
};

static const struct http_limits limits = { 2048, 10, false };

static int parse(struct http_head *head, struct view bytes)
{
	struct guarded g = guard(bytes);
	int r = http_head_parse(head, g.view, &limits);

	guard_free(&g);
	return r;
}

static void test_table_whole_and_byte_by_byte(void **state)
{
	static struct http_head head;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct view bytes = view_str(cases[i].head);
		int r = 0;

		memset(&head, 0, sizeof(head));
		r = parse(&head, bytes);
		if (r != cases[i].result)
			fail_msg("case %zu: %d\n%s", i, r, cases[i].head);
		memset(&head, 0, sizeof(head));
		r = 0;
		for (size_t n = 1; n <= bytes.len && r == 0; n++) {
			http_head_again(&head);
			r = parse(&head, view_make(bytes.data, n));
		}
		if (r != cases[i].result)
			fail_msg("case %zu byte by byte: %d\n%s", i, r, cases[i].head);
	}
}

static void test_HTTP_10_limits(void **state)
{
	static struct http_head head;
	static char text[4096];

	(void)state;
	strcpy(text, G H);
	for (int i = 0; i < 10; i++)
		sprintf(text + strlen(text), "F%d: x\r\n", i);
	strcat(text, "\r\n");
	assert_int_equal(parse(&head, view_str(text)), 431);
	memset(&head, 0, sizeof(head));
	memset(text, 'x', sizeof(text));
	memcpy(text, "GET /", 5);
	assert_int_equal(parse(&head, view_make(text, 2048)), 431);
}

static void test_what_it_finds(void **state)
{
	static struct http_head head;
	static const char text[] =
		"GET http://X/a?b=c HTTP/1.1\r\nhost: x\r\nConnection: Upgrade, "
		"close\r\nUpgrade: WebSocket\r\nContent-Length: 0\r\nA:  v  \r\n\r\nrest";
	struct http_head *copy;
	size_t count;

	(void)state;
	assert_int_equal(http_head_parse(&head, view_str(text), &limits), 1);
	assert_int_equal(head.length, sizeof(text) - 5);
	assert_true(view_eq(head.target, VIEW_LIT("/a?b=c")));
	assert_true(head.wants_close && head.wants_websocket);
	assert_int_equal(head.framing, HTTP_COUNTED);
	assert_int_equal(head.content_length, 0);
	assert_true(view_eq(http_head_field(&head, "a", &count)->value, VIEW_LIT("v")));
	assert_int_equal(count, 1);
	copy = http_head_copy(&head);
	assert_non_null(copy);
	assert_true(view_eq(http_head_field(copy, "a", &count)->value, VIEW_LIT("v")));
	assert_int_equal(copy->field_count, head.field_count);
	assert_true(copy->wants_close && copy->length == head.length);
	free(copy);
	/* of what was there nothing is left */
	http_head_start(&head, 3);
	assert_int_equal(http_head_parse(&head, VIEW_LIT(G H "\r\n"), &limits), 1);
	assert_true(!head.wants_close && !head.wants_websocket && head.framing == HTTP_NO_BODY);
	assert_int_equal(head.field_count, 1);
}

/* HTTP-11, byte by byte; empty lines in front are no head. Returns as http_find_end(). */
static long end_of(struct view in)
{
	for (size_t i = 0; i < in.len; i++) {
		if (in.data[i] == '\n' && (!i || in.data[i - 1] != '\r'))
			return -1;
		if (in.data[i] == '\r' && i + 1 < in.len && in.data[i + 1] != '\n')
			return -1;
		if (i > 3 && memcmp(in.data + i - 3, "\r\n\r\n", 4) == 0)
			return (long)i + 1;
	}
	return 0;
}

/* Lines of few bytes, which come in pieces. */
static void test_HTTP_11_end_of_a_head_against_a_model(void **state)
{
	static struct http_head head;
	static const char *const pieces[] = { "\r\n", "\r\n", "a", "b:c", "\r", "\n" };
	unsigned seen[3] = { 0 };

	(void)state;
	srand(11);
	for (int round = 0; round < 50000; round++) {
		char text[64] = "";
		size_t kinds = round % 2 ? 4 : ARRAY_SIZE(pieces), n = 0, len;
		long end = 0, wanted;

		for (int i = rand() % 12; i > 0; i--)
			strcat(text, pieces[(size_t)rand() % kinds]);
		len = strlen(text);
		memset(&head, 0, sizeof(head));
		while (n < len && !end) {
			struct guarded g;

			n = MIN(n + 1 + (size_t)rand() % 4, len);
			g = guard(view_make(text, n));
			end = http_find_end(&head, g.view);
			guard_free(&g);
			wanted = end_of(view_make(text, n));
			if (end != wanted)
				fail_msg("%ld, not %ld, after %zu bytes of\n%s", end, wanted, n,
					text);
		}
		seen[end < 0 ? 0 : end > 0 ? 1 : 2]++;
	}
	assert_true(seen[0] > 1000 && seen[1] > 1000 && seen[2] > 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_whole_and_byte_by_byte),
		cmocka_unit_test(test_HTTP_11_end_of_a_head_against_a_model),
		cmocka_unit_test(test_HTTP_10_limits),
		cmocka_unit_test(test_what_it_finds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

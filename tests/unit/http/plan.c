// SPDX-License-Identifier: Apache-2.0
/* What a response's head means for its exchange (http.md sections 3, 6, 8). */
#include "unit.h"

#include "http/plan.h"

#define OK "HTTP/1.1 200 OK\r\n"
#define COUNTED OK "Content-Length: 3\r\n"
#define CHUNKED OK "Transfer-Encoding: chunked\r\n"
#define EVENTS "Content-Type: text/event-stream\r\n"

/* A request without a body, which the node has taken. */
static const struct http_standing plain = { .sent = true, .flushed = true };

static bool plan(const char *fields, struct http_standing standing, struct http_plan *ret_plan)
{
	static const struct http_limits limits = { 2048, HTTP_MAX_FIELDS, false };
	struct http_head head = { 0 };
	char text[512];

	snprintf(text, sizeof(text), "%s\r\n", fields);
	assert_int_equal(http_response_parse(&head, view_str(text), &limits), HTTP_HEAD_DONE);
	return http_plan_make(&head, &standing, ret_plan);
}

static struct http_plan of(const char *fields, struct http_standing standing)
{
	struct http_plan made;

	assert_true(plan(fields, standing, &made));
	return made;
}

static void test_HTTP_64_a_leg_is_kept(void **state)
{
	static const char *const kept[] = { COUNTED, CHUNKED, "HTTP/1.1 204 No Content\r\n",
		"HTTP/1.1 304 Not Modified\r\n" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kept); i++) {
		struct http_plan made = of(kept[i], plain);

		assert_true(made.keep_leg);
		assert_int_equal(made.last, LAST_NOT);
		assert_false(made.hand_over || made.streaming || made.unchunked);
	}
}

static void test_HTTP_64_what_ends_a_leg(void **state)
{
	static const char *const closes[] = { COUNTED "Connection: close\r\n", OK,
		"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n" };
	struct http_standing standing = plain;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(closes); i++) {
		assert_false(of(closes[i], plain).keep_leg);
		assert_int_equal(of(closes[i], plain).last, LAST_BY_NODE);
	}
	standing.write_failed = true; /* the client may go on with another leg */
	assert_false(of(COUNTED, standing).keep_leg);
	assert_int_equal(of(COUNTED, standing).last, LAST_NOT);
}

/* The node did not want the rest of the request's body, and nobody can say where it would end. */
static void test_HTTP_36_an_answer_before_the_body(void **state)
{
	struct http_standing standing = { .flushed = true };

	(void)state;
	assert_false(of(COUNTED, standing).keep_leg);
	assert_int_equal(of(COUNTED, standing).last, LAST_BY_CLIENT);
	assert_int_equal(of(OK, standing).last, LAST_BY_NODE); /* who is first */
	assert_false(of(OK, standing).hand_over);
}

static void test_an_upgrade_that_the_node_refuses(void **state)
{
	struct http_standing standing = plain;

	(void)state;
	standing.asks = ASKS_WEBSOCKET;
	assert_int_equal(of(COUNTED, standing).last, LAST_BY_CLIENT);
	assert_true(of(COUNTED, standing).keep_leg);
}

static void test_HEAD_has_no_body(void **state)
{
	struct http_standing standing = plain;

	(void)state;
	standing.asks = ASKS_HEAD;
	assert_int_equal(of(OK, standing).framing, HTTP_NO_BODY);
	assert_true(of(OK, standing).keep_leg);
	assert_int_equal(of(COUNTED, standing).framing, HTTP_NO_BODY);
	assert_false(of(CHUNKED EVENTS, standing).streaming);
	assert_false(of(CHUNKED EVENTS, standing).hand_over);
}

/* RFC 9112 section 6.1 */
static void test_a_client_of_1_0_is_sent_no_coding(void **state)
{
	struct http_standing standing = plain;
	struct http_plan untouched = { .keep_leg = true };

	(void)state;
	assert_false(of(CHUNKED, plain).unchunked);
	standing.http10 = true;
	assert_true(of(CHUNKED, standing).unchunked);
	assert_false(of(COUNTED, standing).unchunked);
	assert_false(plan(OK "Transfer-Encoding: gzip, chunked\r\n", standing, &untouched));
	assert_true(untouched.keep_leg);
	assert_true(plan(OK "Transfer-Encoding: gzip, chunked\r\n", plain, &untouched));
}

/* Section 8: what has no end that the router would have to find. */
static void test_what_the_relay_may_take(void **state)
{
	struct http_standing standing = plain;

	(void)state;
	assert_true(of(OK, plain).hand_over);
	assert_true(of(CHUNKED EVENTS, plain).hand_over);
	assert_int_equal(of(CHUNKED EVENTS, plain).last, LAST_BY_NODE);
	assert_false(of(CHUNKED, plain).hand_over);
	assert_false(of(COUNTED EVENTS, plain).hand_over);
	assert_true(of(COUNTED EVENTS, plain).streaming);
	standing.http10 = true; /* its chunks are taken off here */
	assert_false(of(CHUNKED EVENTS, standing).hand_over);
	assert_true(of(CHUNKED EVENTS, standing).streaming);
	assert_true(of(OK, standing).hand_over);
}

static void test_what_still_waits_is_not_handed_over(void **state)
{
	struct http_standing unflushed = plain, unsent = plain, half_closed = plain;

	(void)state;
	unflushed.flushed = false;
	unsent.sent = false;
	half_closed.client_ended = true;
	assert_false(of(OK, unflushed).hand_over);
	assert_false(of(OK, unsent).hand_over);
	assert_false(of(OK, half_closed).hand_over);
	assert_false(of(CHUNKED EVENTS, half_closed).hand_over);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_HTTP_64_a_leg_is_kept),
		cmocka_unit_test(test_HTTP_64_what_ends_a_leg),
		cmocka_unit_test(test_HTTP_36_an_answer_before_the_body),
		cmocka_unit_test(test_an_upgrade_that_the_node_refuses),
		cmocka_unit_test(test_HEAD_has_no_body),
		cmocka_unit_test(test_a_client_of_1_0_is_sent_no_coding),
		cmocka_unit_test(test_what_the_relay_may_take),
		cmocka_unit_test(test_what_still_waits_is_not_handed_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

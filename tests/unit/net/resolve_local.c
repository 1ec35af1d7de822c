// SPDX-License-Identifier: Apache-2.0
/* Resolution of what needs no server, and a resolver that goes while it asks one. */
#include "unit.h"

#include "net/resolve.h"

struct answer {
	bool done;
	int status;
	size_t count;
	struct addr first;
};

static void on_resolved(void *arg, int status, const struct addr *addrs, size_t count)
{
	struct answer *answer = arg;

	answer->done = true;
	answer->status = status;
	answer->count = count;
	if (count)
		answer->first = addrs[0];
}

static void test_resolve(void **state)
{
	struct answer literal = { 0 }, localhost = { 0 }, cancelled = { 0 };
	struct resolve_query *query;
	struct resolver *resolver;
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(resolver_new(&loop, &resolver), 0);
	assert_int_equal(
		resolve_start(resolver, "192.0.2.7", 993, on_resolved, &literal, &query), 0);
	assert_false(literal.done); /* never inside the call */
	assert_int_equal(
		resolve_start(resolver, "localhost", 1, on_resolved, &localhost, &query), 0);
	assert_int_equal(
		resolve_start(resolver, "localhost", 1, on_resolved, &cancelled, &query), 0);
	resolve_cancel(query);
	for (int i = 0; i < 1000 && !(literal.done && localhost.done); i++)
		assert_int_equal(loop_run_once(&loop, 10), 0);
	assert_true(literal.done && literal.status == 0 && literal.count == 1);
	assert_int_equal(addr_port(&literal.first), 993);
	assert_true(localhost.done && localhost.status == 0 && localhost.count >= 1);
	assert_true(addr_is_loopback(&localhost.first));
	assert_false(cancelled.done);
	/* A query that is still running when the resolver goes. */
	assert_int_equal(
		resolve_start(resolver, "no.such.name.invalid", 1, on_resolved, &cancelled, &query),
		0);
	resolver_free(resolver);
	loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_resolve),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

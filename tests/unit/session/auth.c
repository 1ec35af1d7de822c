// SPDX-License-Identifier: Apache-2.0
/* Failed logins as events: one each, with the client's address, to every subscriber; counted in all
 * places at once; subscribing and leaving while workers announce. */
#include "unit.h"

#include "session/kind.h"

#include <pthread.h>
#include <stdatomic.h>

struct heard {
	struct auth_subscriber subscriber;
	atomic_uint count;
	struct addr client;
	enum protocol protocol;
	enum session_auth result;
};

static void on_failed(void *arg, const struct auth_failure *failure)
{
	struct heard *heard = arg;

	heard->client = *failure->client;
	heard->protocol = failure->protocol;
	heard->result = failure->result;
	atomic_fetch_add(&heard->count, 1);
}

static void on_failed_count(void *arg, const struct auth_failure *failure)
{
	struct heard *heard = arg;

	assert_int_equal(failure->result, AUTH_REFUSED);
	atomic_fetch_add(&heard->count, 1);
}

static struct heard make(auth_failed_fn *fn)
{
	return (struct heard){ .subscriber = { .fn = fn } };
}

static void join_in(struct auth_events *events, struct heard *heard)
{
	heard->subscriber.arg = heard;
	auth_events_subscribe(events, &heard->subscriber);
}

static void test_one_event_for_each_failure(void **state)
{
	static struct router router = { .auth_events = AUTH_EVENTS_INIT };
	struct config_listener settings = { .protocol = PROTOCOL_IMAP };
	struct session_pool pool = { .router = &router };
	struct node node = { 0 };
	struct session_kind kind = { 0 };
	struct session session = {
		.pool = &pool, .settings = &settings, .kind = &kind, .node = &node
	};
	struct heard one = make(on_failed), two = make(on_failed);

	(void)state;
	assert_int_equal(addr_parse_ip(VIEW_LIT("203.0.113.5"), 40000, &session.client), 0);
	session_auth_failed(&session, AUTH_REFUSED, false); /* nobody listens */
	join_in(&router.auth_events, &one);
	session_auth_failed(&session, AUTH_REFUSED, false);
	join_in(&router.auth_events, &two);
	session.node = NULL; /* a malformed login has seen none */
	session_auth_failed(&session, AUTH_MALFORMED, false);
	assert_int_equal(atomic_load(&one.count), 2);
	assert_int_equal(atomic_load(&two.count), 1);
	assert_int_equal(two.result, AUTH_MALFORMED);
	assert_int_equal(two.protocol, PROTOCOL_IMAP);
	assert_true(addr_eq_ip(&two.client, &session.client));
	assert_int_equal(addr_port(&two.client), 40000);
	auth_events_unsubscribe(&router.auth_events, &one.subscriber);
	session_auth_failed(&session, AUTH_MALFORMED, false);
	assert_int_equal(atomic_load(&one.count), 2);
	assert_int_equal(atomic_load(&two.count), 2);
	auth_events_unsubscribe(&router.auth_events, &two.subscriber);
	session_auth_failed(&session, AUTH_MALFORMED, false);
	assert_int_equal(atomic_load(&two.count), 2);
	assert_int_equal(atomic_load(&router.auth_failed), 5);
	assert_int_equal(atomic_load(&node.auth_failed), 2);
	assert_int_equal(atomic_load(&router.metrics.auth[PROTOCOL_IMAP][AUTH_REFUSED]), 2);
	assert_int_equal(atomic_load(&router.metrics.auth[PROTOCOL_IMAP][AUTH_MALFORMED]), 3);
}

#define THREADS 4
#define ROUNDS 20000

static struct auth_events shared = AUTH_EVENTS_INIT;

static void *announce(void *arg)
{
	struct addr client = { 0 };
	struct auth_failure failure = { .client = &client, .result = AUTH_REFUSED };

	for (int i = 0; i < ROUNDS; i++)
		auth_events_announce(&shared, &failure);
	return arg;
}

static void test_subscribers_come_and_go_while_workers_announce(void **state)
{
	struct heard always = make(on_failed_count);
	pthread_t threads[THREADS];

	(void)state;
	join_in(&shared, &always);
	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, announce, NULL);
	for (int i = 0; i < 1000; i++) {
		struct heard *brief = malloc(sizeof(*brief));
		unsigned count;

		*brief = make(on_failed_count);
		join_in(&shared, brief);
		auth_events_unsubscribe(&shared, &brief->subscriber);
		count = atomic_load(&brief->count); /* nobody calls it any more */
		assert_int_equal(atomic_load(&brief->count), count);
		free(brief);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(atomic_load(&always.count), THREADS * ROUNDS);
	auth_events_unsubscribe(&shared, &always.subscriber);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_event_for_each_failure),
		cmocka_unit_test(test_subscribers_come_and_go_while_workers_announce),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

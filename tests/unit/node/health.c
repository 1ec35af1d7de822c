// SPDX-License-Identifier: Apache-2.0
/* The breaker, scenario by scenario (sessions.md SES-50, SES-51), source addresses, and
 * what the agent beside a node is. */
#include "unit.h"

#include "node/node.h"

#include <errno.h>

static struct addr client(int n)
{
	struct addr addr;
	char text[32];

	snprintf(text, sizeof(text), "192.0.2.%d", n);
	assert_int_equal(addr_parse_ip(view_str(text), 4000, &addr), 0);
	return addr;
}

static struct health *make(unsigned threshold, unsigned clients)
{
	struct health_params params = { threshold, clients, 1000 };
	struct health *health;

	assert_int_equal(health_new(&params, &health), 0);
	return health;
}

static enum health_gate enter(struct health *health, int n, uint64_t now)
{
	struct addr addr = client(n);

	return health_enter(health, &addr, now);
}

static enum health_change report(
	struct health *health, enum health_event event, bool probe, int n, uint64_t now)
{
	struct addr addr = client(n);

	return health_report(health, event, probe, &addr, now);
}

static bool is_down(struct health *health)
{
	struct health_status status;

	health_status(health, 0, &status);
	return status.down;
}

static void test_SES_50_one_banned_client(void **state)
{
	struct health *health = make(5, 2);
	struct health_status status;

	(void)state;
	for (int i = 0; i < 1000; i++)
		report(health, HEALTH_FAIL_CLIENT, false, 1, 0);
	health_status(health, 0, &status);
	assert_false(status.down);
	assert_int_equal(status.failure_sources, 1);
	assert_int_equal(status.consecutive_failures, 1000);
	assert_false(status.host_level_failure);
	assert_int_equal(report(health, HEALTH_FAIL_CLIENT, false, 2, 0), HEALTH_WENT_DOWN);
	health_free(health);
}

static void test_SES_50_host_failures(void **state)
{
	struct health *health = make(5, 2);

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(report(health, HEALTH_FAIL_HOST, false, 1, 0), HEALTH_SAME);
	report(health, HEALTH_SUCCESS, false, 1, 0); /* ends the streak */
	for (int i = 0; i < 4; i++)
		assert_int_equal(report(health, HEALTH_FAIL_HOST, false, 1, 0), HEALTH_SAME);
	assert_int_equal(report(health, HEALTH_FAIL_HOST, false, 1, 0), HEALTH_WENT_DOWN);
	assert_int_equal(enter(health, 9, 999), HEALTH_REFUSE);
	health_free(health);
}

static void test_SES_50_off_and_no_need_of_clients(void **state)
{
	struct health *off = make(0, 2), *single = make(3, 0);

	(void)state;
	for (int i = 0; i < 100; i++)
		report(off, HEALTH_FAIL_HOST, false, i % 3, 0);
	assert_false(is_down(off));
	for (int i = 0; i < 3; i++)
		report(single, HEALTH_FAIL_CLIENT, false, 1, 0);
	assert_true(is_down(single));
	health_reset(single);
	assert_false(is_down(single));
	health_free(off);
	health_free(single);
}

static void test_SES_51_one_probe(void **state)
{
	struct health *health = make(1, 0);

	(void)state;
	report(health, HEALTH_FAIL_HOST, false, 1, 0);
	assert_int_equal(enter(health, 1, 500), HEALTH_REFUSE);
	assert_int_equal(enter(health, 1, 1000), HEALTH_PROBE);
	for (int i = 2; i < 22; i++)
		assert_int_equal(enter(health, i, 1000), HEALTH_REFUSE);
	report(health, HEALTH_FAIL_HOST, true, 1, 1100); /* another cooldown */
	assert_int_equal(enter(health, 2, 2000), HEALTH_REFUSE);
	assert_int_equal(enter(health, 2, 2100), HEALTH_PROBE);
	report(health, HEALTH_NONE, true, 2, 2100); /* no verdict: the next session probes */
	assert_int_equal(enter(health, 3, 2100), HEALTH_PROBE);
	assert_int_equal(report(health, HEALTH_SUCCESS, true, 3, 2100), HEALTH_WENT_UP);
	assert_int_equal(enter(health, 4, 2100), HEALTH_ALLOW);
	health_free(health);
}

static void test_SES_51_banned_client_as_probe(void **state)
{
	struct health *health = make(1, 0);

	(void)state;
	report(health, HEALTH_FAIL_HOST, false, 1, 0);
	assert_int_equal(enter(health, 1, 1000), HEALTH_PROBE);
	report(health, HEALTH_FAIL_CLIENT, true, 1, 1000);
	assert_int_equal(enter(health, 1, 1000), HEALTH_REFUSE); /* not the same client again */
	assert_int_equal(enter(health, 2, 1000), HEALTH_PROBE);  /* another one at once */
	report(health, HEALTH_FAIL_CLIENT, true, 2, 1000);       /* two addresses: a cooldown */
	assert_int_equal(enter(health, 3, 1500), HEALTH_REFUSE);
	assert_int_equal(enter(health, 3, 2000), HEALTH_PROBE);
	assert_int_equal(report(health, HEALTH_SUCCESS, true, 3, 2000), HEALTH_WENT_UP);
	health_free(health);
}

static void test_SES_45_sources(void **state)
{
	struct addr ips[3], got;
	struct node_params params = { .name = "n" };
	struct node *node;

	(void)state;
	ips[0] = client(1);
	assert_int_equal(addr_parse_ip(VIEW_LIT("2001:db8::1"), 0, &ips[1]), 0);
	ips[2] = client(2);
	assert_int_equal(node_new(&params, &node), 0);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(node_source_next(node, ips, 3, AF_INET, &got), 0);
		assert_true(addr_eq_ip(&got, &ips[i % 2 ? 2 : 0]));
	}
	assert_int_equal(node_source_next(node, ips, 1, AF_INET6, &got), -EADDRNOTAVAIL);
	assert_int_equal(node_source_next(node, NULL, 0, AF_INET6, &got), 0);
	assert_false(addr_is_set(&got));
	node_unref(node);
	assert_int_equal(node_connect_budget_ms(1000, true), 500);
	assert_int_equal(node_connect_budget_ms(1000, false), 1000);
	assert_int_equal(node_connect_budget_ms(0, true), 1);
}

/* ---- the agent beside a node ---- */

static void test_section_6_what_an_agent_is(void **state)
{
	struct node_params params = { "node1", { 1, 0, 1000 } };
	struct addr addr = client(1);
	struct node *node;

	(void)state;
	assert_int_equal(node_new(&params, &node), 0);
	assert_int_equal(node_agent_state(node, 5000), NODE_AGENT_NONE);
	atomic_store(&node->has_agent, true);
	assert_int_equal(node_agent_state(node, 5000), NODE_AGENT_IDLE);
	atomic_store(&node->agent_rests_until_ms, 5001);
	assert_int_equal(node_agent_state(node, 5000), NODE_AGENT_RESTING);
	assert_int_equal(node_agent_state(node, 5001), NODE_AGENT_IDLE);
	assert_int_equal(
		health_report(node->agent, HEALTH_FAIL_HOST, false, &addr, 5000), HEALTH_WENT_DOWN);
	assert_int_equal(node_agent_state(node, 5001), NODE_AGENT_DOWN);
	atomic_store(&node->agent_channels, 2); /* another worker has them */
	atomic_store(&node->agent_draining, 1);
	assert_int_equal(node_agent_state(node, 5001), NODE_AGENT_UP);
	atomic_store(&node->agent_draining, 2);
	assert_int_equal(node_agent_state(node, 5001), NODE_AGENT_DRAINING);
	assert_string_equal(node_agent_name(NODE_AGENT_DRAINING), "draining");
	assert_string_equal(node_keep_name(NODE_KEEP_LATE), "late");
	node_unref(node);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_SES_50_one_banned_client),
		cmocka_unit_test(test_SES_50_host_failures),
		cmocka_unit_test(test_SES_50_off_and_no_need_of_clients),
		cmocka_unit_test(test_SES_51_one_probe),
		cmocka_unit_test(test_SES_51_banned_client_as_probe),
		cmocka_unit_test(test_SES_45_sources),
		cmocka_unit_test(test_section_6_what_an_agent_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* The table of states holds together: what a row promises, the states that may follow can keep. */
#include "unit.h"

#include "session/states.h"

#include <stdbool.h>

static const char *const names[] = {
#define X(name, ...) [S_##name] = #name,
	SESSION_STATES(X)
#undef X
};

static bool may_go(enum session_state from, enum session_state to)
{
	return session_states[from].next & BIT(to);
}

/* A close is always legal, and the last thing. */
static void test_every_state_may_close(void **state)
{
	(void)state;
	for (int s = 0; s < SESSION_STATE_COUNT; s++) {
		if (s != S_CLOSED && !may_go((enum session_state)s, S_CLOSED))
			fail_msg("%s cannot close", names[s]);
		assert_false(may_go((enum session_state)s, (enum session_state)s));
	}
	assert_int_equal(session_states[S_CLOSED].next, 0);
}

static void test_every_state_can_be_reached(void **state)
{
	uint32_t seen = BIT(S_ACCEPT), before;

	(void)state;
	do {
		before = seen;
		for (int s = 0; s < SESSION_STATE_COUNT; s++) {
			if (seen & BIT(s))
				seen |= session_states[s].next;
		}
	} while (seen != before);
	assert_int_equal(seen, BIT(SESSION_STATE_COUNT) - 1);
}

/* Who is told something by a kick or a shutdown has a way to FLUSH, where it is sent. */
static void test_what_is_answered_can_be_sent(void **state)
{
	(void)state;
	for (int s = 0; s < SESSION_STATE_COUNT; s++) {
		const struct session_state_row *row = &session_states[s];
		bool says = row->kick == KICK_ANSWERS || row->shutdown == SHUTDOWN_ANSWERS ||
			row->shutdown == SHUTDOWN_ANSWERS_HEAD || row->shutdown == SHUTDOWN_SERVES;

		if (s == S_CHANNEL) /* what it is owed goes with its frames */
			continue;
		if (says && !may_go((enum session_state)s, S_FLUSH))
			fail_msg("%s has no way to say it", names[s]);
	}
}

/* Without a limit go on: what lasts no time, what waits for a delay (the reach has its timer), what
 * the relay has, what is over, and a channel, which notices silence. */
static void test_every_state_has_a_limit(void **state)
{
	(void)state;
	for (int s = 0; s < SESSION_STATE_COUNT; s++) {
		if (s == S_ACCEPT || s == S_HOLD || s == S_ESTABLISHED || s == S_CHANNEL ||
			s == S_CLOSED)
			assert_int_equal(session_states[s].limit, LIMIT_NONE);
		else if (session_states[s].limit == LIMIT_NONE)
			fail_msg("%s has no limit", names[s]);
	}
}

/* What is ending is left alone: by a kick, by a shutdown, by itself. */
static void test_what_is_ending_is_left_alone(void **state)
{
	(void)state;
	for (int s = 0; s < SESSION_STATE_COUNT; s++) {
		const struct session_state_row *row = &session_states[s];

		if (row->client_end != CLIENT_END_OVER)
			continue;
		assert_int_equal(row->kick, KICK_NOT);
		assert_int_equal(row->shutdown, SHUTDOWN_NOT);
		assert_int_equal(row->next & ~(BIT(S_LINGER) | BIT(S_CLOSED)), 0);
	}
}

/* The words of admin.md section 5.3. */
static void test_stages_are_those_of_the_rules(void **state)
{
	static const char *const stages[] = { "dialogue", "hold", "lookup", "dial", "replay",
		"established", "http", "http_idle", "penalty", "knock", "channel" };

	(void)state;
	for (int s = 0; s < SESSION_STATE_COUNT; s++) {
		bool known = false;

		for (size_t i = 0; i < ARRAY_SIZE(stages); i++)
			known |= strcmp(session_states[s].stage, stages[i]) == 0;
		if (!known)
			fail_msg("%s: \"%s\"", names[s], session_states[s].stage);
	}
}

/* LIB-8: each step of a login brings its turn nearer, and none is taken for a session before its
 * end. */
static void test_each_step_comes_sooner(void **state)
{
	static const enum session_state mail[] = { S_ACCEPT, S_TLS, S_DIALOGUE, S_HOLD, S_LOOKUP,
		S_DIAL, S_REPLAY, S_SPLICE, S_ESTABLISHED };

	(void)state;
	for (size_t i = 1; i < ARRAY_SIZE(mail); i++) {
		enum loop_stage before = session_states[mail[i - 1]].order;
		enum loop_stage after = session_states[mail[i]].order;

		if (after > before || before == LOOP_AT_ONCE)
			fail_msg("%s comes later than %s", names[mail[i]], names[mail[i - 1]]);
	}
	assert_int_equal(session_states[S_ESTABLISHED].order, LOOP_AT_ONCE);
	assert_int_equal(session_states[S_EXCHANGE].order, LOOP_AT_ONCE);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_state_may_close),
		cmocka_unit_test(test_every_state_can_be_reached),
		cmocka_unit_test(test_what_is_answered_can_be_sent),
		cmocka_unit_test(test_every_state_has_a_limit),
		cmocka_unit_test(test_what_is_ending_is_left_alone),
		cmocka_unit_test(test_stages_are_those_of_the_rules),
		cmocka_unit_test(test_each_step_comes_sooner),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

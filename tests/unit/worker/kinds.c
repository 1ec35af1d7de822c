// SPDX-License-Identifier: Apache-2.0
/* Every kind of listener has what the core and the steps ask of it, in each state it can be in. */
#include "unit.h"

#include "worker/kinds.h"

#include <stdbool.h>

static bool is_used(const struct session_cell *cell)
{
	return cell->enter || cell->progress || cell->client || cell->deadline;
}

static const char *name_of(int protocol)
{
	return protocol_name((enum protocol)protocol);
}

/* What all begin and end with. */
static void test_the_common_states_have_cells(void **state)
{
	static const enum session_state common[] = { S_PROXY, S_TLS, S_SPLICE, S_ESTABLISHED,
		S_FLUSH, S_LINGER };

	(void)state;
	for (int p = 0; p < PROTOCOLS; p++) {
		const struct session_kind *kind = &session_kinds[p];

		for (size_t i = 0; i < ARRAY_SIZE(common); i++)
			assert_non_null(kind->cells[common[i]].enter);
		assert_non_null(kind->cells[kind->first].enter);
		assert_true(session_states[S_ACCEPT].next & BIT(kind->first));
		assert_true(session_states[S_TLS].next & BIT(kind->first));
	}
}

/* A limit that passes finds somebody. */
static void test_a_state_with_a_limit_has_a_deadline(void **state)
{
	(void)state;
	for (int p = 0; p < PROTOCOLS; p++) {
		const struct session_kind *kind = &session_kinds[p];

		for (int s = 0; s < SESSION_STATE_COUNT; s++) {
			if (is_used(&kind->cells[s]) &&
				(session_states[s].limit != LIMIT_NONE) !=
					!!kind->cells[s].deadline)
				fail_msg("%s, state %d", name_of(p), s);
		}
	}
}

/* Who moves the client leg itself does all of it; else nothing is left that the row would not
 * say. */
static void test_who_steps_also_watches(void **state)
{
	(void)state;
	for (int p = 0; p < PROTOCOLS; p++) {
		const struct session_kind *kind = &session_kinds[p];

		for (int s = 0; s < SESSION_STATE_COUNT; s++) {
			const struct session_cell *cell = &kind->cells[s];

			if (!cell->step != !cell->watch)
				fail_msg("%s, state %d", name_of(p), s);
			if (cell->step)
				assert_true(cell->progress && cell->client);
			if (session_states[s].watch == WATCH_BODY)
				assert_int_equal(is_used(cell), !!cell->step);
		}
	}
}

static void test_a_kind_has_what_it_is_asked_for(void **state)
{
	(void)state;
	for (int p = 0; p < PROTOCOLS; p++) {
		const struct session_kind *kind = &session_kinds[p];

		assert_non_null(kind->refuse);
		if (kind->knocks) { /* its logins are sessions of another kind */
			assert_int_equal(kind->first, S_CHANNEL);
			assert_non_null(kind->end_after);
			continue;
		}
		assert_non_null(kind->connected);
		assert_int_equal(!kind->front, !kind->back);
		assert_int_equal(!kind->back, !kind->node_event);
		/* Somebody says the last line: the front, the kind's line, or the kind as a
		 * whole. */
		assert_int_equal(!!kind->front + !!kind->line + kind->by_request, 1);
		assert_int_equal(kind->by_request, !!kind->end_after);
		if (kind->first == S_DIAL)
			assert_non_null(kind->begin);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_common_states_have_cells),
		cmocka_unit_test(test_a_state_with_a_limit_has_a_deadline),
		cmocka_unit_test(test_who_steps_also_watches),
		cmocka_unit_test(test_a_kind_has_what_it_is_asked_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

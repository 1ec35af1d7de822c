// SPDX-License-Identifier: Apache-2.0
/* HND-32: strangers by address, and who is forgotten when there are too many. */
#include "unit.h"

#include "router/strangers.h"

#include <stdio.h>

static void come(struct strangers *strangers, const char *ip, uint64_t now_ms)
{
	struct addr addr;

	assert_int_equal(addr_parse_ip(view_str(ip), 4000 + (uint16_t)now_ms, &addr), 0);
	strangers_count(strangers, &addr, now_ms);
}

static void test_HND_32_by_address(void **state)
{
	struct strangers *strangers;
	struct stranger rows[8];
	char text[STRANGER_TEXT_SIZE];

	(void)state;
	assert_int_equal(strangers_new(&strangers), 0);
	assert_int_equal(strangers_worst(strangers, rows, ARRAY_SIZE(rows)), 0);
	come(strangers, "192.0.2.1", 1);
	come(strangers, "2001:db8::1", 2);
	come(strangers, "192.0.2.2", 3);
	come(strangers, "2001:db8::2", 4); /* the same /64 */
	assert_int_equal(strangers_worst(strangers, rows, ARRAY_SIZE(rows)), 3);
	assert_string_equal(stranger_format(&rows[0], text), "2001:db8::/64");
	assert_int_equal(rows[0].count, 2);
	assert_int_equal(rows[0].last_real_ms, 4);
	assert_string_equal(stranger_format(&rows[1], text), "192.0.2.2"); /* came later */
	assert_string_equal(stranger_format(&rows[2], text), "192.0.2.1");
	assert_int_equal(strangers_worst(strangers, rows, 1), 1);
	strangers_free(strangers);
	strangers_free(NULL);
}

/* A crowd that comes once each does not drive out who comes again. */
static void test_HND_32_too_many(void **state)
{
	struct strangers *strangers;
	struct stranger rows[STRANGERS_MAX + 1];
	char text[STRANGER_TEXT_SIZE];

	(void)state;
	assert_int_equal(strangers_new(&strangers), 0);
	come(strangers, "192.0.2.1", 1);
	come(strangers, "192.0.2.1", 2);
	for (unsigned i = 0; i < 3 * STRANGERS_MAX; i++) {
		snprintf(text, sizeof(text), "10.0.%u.%u", i / 256, i % 256);
		come(strangers, text, 3 + i);
	}
	assert_int_equal(strangers_worst(strangers, rows, ARRAY_SIZE(rows)), STRANGERS_MAX);
	assert_string_equal(stranger_format(&rows[0], text), "192.0.2.1");
	assert_int_equal(rows[0].count, 2);
	for (unsigned i = 1; i < STRANGERS_MAX; i++) {
		assert_int_equal(rows[i].count, 1);
		assert_int_equal(rows[i].last_real_ms, 3 + 3 * STRANGERS_MAX - i); /* the newest */
	}
	strangers_free(strangers);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_HND_32_by_address),
		cmocka_unit_test(test_HND_32_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* The names of bans in a store (GRD-8): what is one, what is an account or a mark, and that a
 * message about one is told as such. */
#include "unit.h"

#include "store/pool.h"

static struct {
	unsigned told;
	char source[STORE_BAN_SOURCE_BYTES + 1];
} f;

static void on_push(void *arg, enum store_push_event event, struct view source)
{
	(void)arg;
	assert_int_equal(event, STORE_PUSH_BAN);
	snprintf(f.source, sizeof(f.source), "%.*s", (int)source.len, source.data);
	f.told++;
}

static void test_GRD_8_names(void **state)
{
	static const char *const sources[] = { "192.0.2.1/32", "2001:db8::/64", "*" };
	char name[STORE_BAN_NAME_BYTES];
	struct view source;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sources); i++) {
		size_t n = store_ban_name(view_str(sources[i]), name);

		assert_int_equal(n, strlen(name));
		assert_true(store_ban_source(view_make(name, n), &source));
		assert_true(view_eq(source, view_str(sources[i])));
	}
	store_ban_name(view_str("192.0.2.1/32"), name);
	assert_string_equal(name, "ban/192.0.2.1/32@homing.invalid");
}

static void test_GRD_8_what_is_no_name(void **state)
{
	static const char *const others[] = { "", "ban/", "ban/@homing.invalid", "alice",
		"ban/192.0.2.1@example.com", "push-check-0123@homing.invalid",
		"Ban/192.0.2.1/32@homing.invalid", "@homing.invalid" };
	char longest[200];
	struct view source;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_false(store_ban_source(view_str(others[i]), &source));
	for (int n = STORE_BAN_SOURCE_BYTES; n <= STORE_BAN_SOURCE_BYTES + 1; n++) {
		snprintf(longest, sizeof(longest), "ban/%0*d@homing.invalid", n, 0);
		assert_int_equal(
			store_ban_source(view_str(longest), &source), n == STORE_BAN_SOURCE_BYTES);
	}
}

static void test_GRD_8_messages(void **state)
{
	struct store_push push = { .fn = on_push };

	(void)state;
	assert_false(store_push_take_ban(&push, VIEW_LIT("alice@example.com")));
	assert_int_equal(f.told, 0);
	assert_true(store_push_take_ban(&push, VIEW_LIT("ban/2001:db8::/64@homing.invalid")));
	assert_int_equal(f.told, 1);
	assert_string_equal(f.source, "2001:db8::/64");
}

static void test_GRD_8_a_store_without_bans_says_so(void **state)
{
	struct store_request request = { .op = STORE_BAN_SET };

	(void)state;
	store_no_bans(&request);
	assert_int_equal(request.result, STORE_ERROR);
	assert_string_equal(request.error, "this store keeps no bans");
	assert_true(store_is_ban(STORE_BAN_LIST) && !store_is_ban(STORE_LIST));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_GRD_8_names),
		cmocka_unit_test(test_GRD_8_what_is_no_name),
		cmocka_unit_test(test_GRD_8_messages),
		cmocka_unit_test(test_GRD_8_a_store_without_bans_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

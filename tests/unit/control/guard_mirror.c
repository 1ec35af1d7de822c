// SPDX-License-Identifier: Apache-2.0
/* Bans of the guard as rows in the kernel, and what a process before has left as bans of the guard
 * again. Without the rights to load a program only keys and texts are tested. */
#include "unit.h"

#include "base/clock.h"
#include "control/guard_mirror.h"

#define HOUR_MS 3600000u

static struct bpfctl_guard *maps;
static struct guard *guard;
static struct guard_mirror mirror;

static struct cidr net(const char *text)
{
	struct cidr cidr;

	assert_int_equal(cidr_parse(view_str(text), &cidr), 0);
	return cidr;
}

static int set_up(void **state)
{
	const struct bpfctl_guard_params params = {
		.max_bans = 16, .max_sources = 1, .max_rules = 8, .max_services = 1
	};
	const struct guard_settings settings = { .ban_after = 10,
		.ban_window_ms = HOUR_MS,
		.ban_time_ms = HOUR_MS,
		.ban_time_max_ms = HOUR_MS,
		.ipv4_prefix = 32,
		.ipv6_prefix = 64,
		.max_bans = 16,
		.max_sources = 16 };
	char error[BPFCTL_ERROR_SIZE];

	(void)state;
	maps = NULL;
	if (bpfctl_guard_load(&params, &maps, error) < 0)
		return 0;
	if (guard_new(&settings, &guard) < 0)
		return -1;
	guard_mirror_init(&mirror, maps, 32, 64, 8);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (!maps)
		return 0;
	guard_free(guard);
	guard_mirror_fini(&mirror);
	bpfctl_guard_free(maps);
	return 0;
}

static void need_maps(void)
{
	if (!maps)
		skip_because("the maps cannot be made here");
}

static int ban(const char *text, bool told)
{
	const struct guard_order order = { .net = net(text),
		.for_ms = HOUR_MS,
		.origin = GUARD_OPERATOR,
		.reason = GUARD_FOR_ORDER,
		.told = told };

	return guard_ban(guard, &order, NULL);
}

static bool in_kernel(const char *text, struct hm_guard_ban *ret_ban)
{
	struct cidr cidr = net(text);
	struct hm_guard_prefix prefix;
	struct hm_guard_source source;

	guard_mirror_prefix(&cidr, &prefix);
	memcpy(source.addr, prefix.addr, sizeof(source.addr));
	return bpfctl_guard_ban_get(maps, &source, ret_ban) == 0;
}

struct seen {
	const char *text;
	enum hm_guard_action action;
	int lines, found;
};

static void see(void *arg, const struct bpfctl_guard_line *line)
{
	struct seen *seen = arg;
	struct cidr cidr = net(seen->text);
	struct hm_guard_prefix prefix;

	guard_mirror_prefix(&cidr, &prefix);
	seen->lines++;
	seen->found += memcmp(&prefix, &line->prefix, sizeof(prefix)) == 0 &&
		line->rule.action == seen->action;
}

static bool listed(const char *text, enum hm_guard_action action, int lines)
{
	struct seen seen = { .text = text, .action = action };

	assert_int_equal(bpfctl_guard_lists_scan(maps, see, &seen), 0);
	assert_int_equal(seen.lines, lines);
	return seen.found == 1;
}

static void test_GRD_5_addresses_have_sixteen_bytes(void **state)
{
	static const struct {
		const char *text;
		unsigned bits;
	} rows[] = {
		{ "192.0.2.1", 128 },
		{ "192.0.2.0/24", 120 },
		{ "0.0.0.0/1", 97 },
		{ "2001:db8::/32", 32 },
		{ "2001:db8::1", 128 },
		{ "::/1", 1 },
		{ "2001:db8:1111:2222:3333:4444:5555:6660/127", 127 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct cidr cidr = net(rows[i].text), back;
		struct hm_guard_prefix prefix;
		char text[HM_GUARD_CLIENT_BYTES];

		guard_mirror_prefix(&cidr, &prefix);
		assert_int_equal(prefix.bits, rows[i].bits);
		assert_true(guard_mirror_net(&prefix, &back));
		assert_int_equal(back.bits, cidr.bits);
		assert_true(addr_eq_ip(&back.net, &cidr.net));
		assert_string_equal(guard_mirror_text(&back, text), rows[i].text);
	}
	assert_false(guard_mirror_net(
		&(struct hm_guard_prefix){ .bits = 129 }, &(struct cidr){ .bits = 0 }));
}

static void test_GRD_5_a_prefix_is_not_its_first_source(void **state)
{
	static const struct {
		const char *text;
		bool source;
	} rows[] = {
		{ "192.0.2.0", true },
		{ "192.0.2.0/24", false },
		{ "2001:db8::/64", true },
		{ "2001:db8::/48", false },
		{ "2001:db8::", false },
	};
	const struct guard_mirror cut = { .ipv4_bits = 32, .ipv6_bits = 64 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct cidr cidr = net(rows[i].text);
		struct hm_guard_source source;
		struct hm_guard_prefix prefix;

		assert_int_equal(guard_mirror_source(&cut, &cidr, &source), rows[i].source);
		if (!rows[i].source)
			continue;
		guard_mirror_prefix(&cidr, &prefix);
		assert_memory_equal(source.addr, prefix.addr, sizeof(source.addr));
	}
}

static void test_GRD_5_a_ban_is_a_row_until_it_ends(void **state)
{
	struct cidr cidr = net("198.51.100.7");
	struct hm_guard_ban row;

	(void)state;
	need_maps();
	assert_int_equal(guard_mirror_start(&mirror, guard), 0);
	assert_int_equal(ban("198.51.100.7", false), 0);
	assert_int_equal(ban("2001:db8:1:2::/64", false), 0);
	assert_true(in_kernel("198.51.100.7", &row));
	assert_string_equal(row.client, "198.51.100.7");
	assert_int_equal(row.reason, GUARD_FOR_ORDER + 1);
	assert_in_range(row.until_ns / 1000000, clock_mono_ms() + HOUR_MS - 60000,
		clock_mono_ms() + HOUR_MS);
	assert_true(in_kernel("2001:db8:1:2::", &row));
	assert_string_equal(row.client, "2001:db8:1:2::/64");
	assert_int_equal(guard_unban(guard, &cidr), 0);
	assert_false(in_kernel("198.51.100.7", &row));
}

static void test_GRD_3_a_told_address_is_banned_in_user_space_only(void **state)
{
	struct hm_guard_ban row;

	(void)state;
	need_maps();
	assert_int_equal(guard_mirror_start(&mirror, guard), 0);
	assert_int_equal(ban("198.51.100.7", true), 0);
	assert_int_equal(ban("198.51.0.0/16", true), 0);
	guard_mirror_write_lists(&mirror);
	assert_false(in_kernel("198.51.100.7", &row));
	assert_false(listed("198.51.0.0/16", HM_GUARD_DENY, 0));
}

static void test_GRD_5_other_prefixes_and_networks_are_lists(void **state)
{
	const struct guard_net never[] = {
		{ net("192.0.2.0/28"), GUARD_WHY_ALLOW },
		{ net("198.51.0.0/16"), GUARD_WHY_PROXY },
	};
	struct cidr cidr = net("192.0.2.0/24");
	struct hm_guard_ban row;

	(void)state;
	need_maps();
	assert_int_equal(guard_mirror_start(&mirror, guard), 0);
	assert_int_equal(guard_set_never(guard, never, 2), 0);
	assert_int_equal(ban("192.0.2.0/24", false), 0);
	assert_int_equal(ban("2001:db8::1", false), 0); /* longer than a source */
	assert_false(in_kernel("192.0.2.0/24", &row));
	guard_mirror_write_lists(&mirror);
	assert_true(listed("192.0.2.0/24", HM_GUARD_DENY, 4));
	assert_true(listed("2001:db8::1", HM_GUARD_DENY, 4));
	assert_true(listed("192.0.2.0/28", HM_GUARD_ALLOW, 4));
	assert_true(listed("198.51.0.0/16", HM_GUARD_ALLOW, 4));
	assert_int_equal(guard_unban(guard, &cidr), 0);
	guard_mirror_write_lists(&mirror);
	assert_false(listed("192.0.2.0/24", HM_GUARD_DENY, 3));
}

static void test_GRD_9_more_prefixes_than_there_is_room_for(void **state)
{
	const struct guard_net never = { net("192.0.2.0/28"), GUARD_WHY_ALLOW };
	char text[32];

	(void)state;
	need_maps();
	assert_int_equal(guard_mirror_start(&mirror, guard), 0);
	assert_int_equal(guard_set_never(guard, &never, 1), 0);
	for (int i = 0; i < 10; i++) {
		snprintf(text, sizeof(text), "10.%d.0.0/16", i);
		assert_int_equal(ban(text, false), 0);
	}
	guard_mirror_write_lists(&mirror);
	assert_true(listed("192.0.2.0/28", HM_GUARD_ALLOW, 8));
}

static void leave(const char *key, const char *client, long long for_ms)
{
	struct hm_guard_ban row = { .until_ns = (clock_mono_ms() + (__u64)for_ms) * 1000000,
		.since_ns = clock_mono_ms() * 1000000,
		.reason = GUARD_FOR_REFUSED + 1,
		.strikes = 3 };
	struct cidr cidr = net(key);
	struct hm_guard_prefix prefix;
	struct hm_guard_source source;

	guard_mirror_prefix(&cidr, &prefix);
	memcpy(source.addr, prefix.addr, sizeof(source.addr));
	snprintf(row.client, sizeof(row.client), "%s", client);
	assert_int_equal(bpfctl_guard_ban_set(maps, &source, &row), 0);
}

static void test_GRD_8_what_a_process_before_has_left(void **state)
{
	const struct guard_net never = { net("192.0.2.0/28"), GUARD_WHY_ALLOW };
	struct bpfctl_guard_line line = { .rule = { .until_ns = UINT64_MAX / 2,
						  .since_ns = 1,
						  .action = HM_GUARD_DENY,
						  .reason = GUARD_FOR_ORDER + 1 } };
	struct cidr cidr = net("10.0.0.0/8");
	struct guard_ban found;
	struct hm_guard_ban row;

	(void)state;
	need_maps();
	guard_mirror_prefix(&cidr, &line.prefix);
	assert_int_equal(bpfctl_guard_lists_set(maps, &line, 1), 0);
	leave("198.51.100.7", "198.51.100.7", HOUR_MS);
	leave("192.0.2.1", "192.0.2.1", HOUR_MS);          /* is never banned now */
	leave("198.51.101.0", "198.51.101.0/24", HOUR_MS); /* was a source */
	leave("198.51.100.9", "who?", HOUR_MS);            /* nobody knows */
	assert_int_equal(guard_mirror_start(&mirror, guard), 0);
	assert_int_equal(guard_set_never(guard, &never, 1), 0);
	assert_int_equal(guard_mirror_restore(&mirror), 3);
	cidr = net("198.51.100.7");
	assert_true(guard_find_ban(guard, &cidr, &found));
	assert_int_equal(found.origin, GUARD_RESTORED);
	assert_int_equal(found.reason, GUARD_FOR_REFUSED);
	assert_int_equal(found.strikes, 3);
	assert_in_range(
		found.until_ms, clock_mono_ms() + HOUR_MS - 60000, clock_mono_ms() + HOUR_MS);
	assert_true(in_kernel("198.51.100.7", &row));
	assert_int_equal(row.strikes, 3);
	assert_false(in_kernel("192.0.2.1", &row));
	assert_false(in_kernel("198.51.101.0", &row));
	guard_mirror_write_lists(&mirror);
	assert_true(listed("198.51.101.0/24", HM_GUARD_DENY, 3));
	assert_true(listed("10.0.0.0/8", HM_GUARD_DENY, 3));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_GRD_5_addresses_have_sixteen_bytes),
		cmocka_unit_test(test_GRD_5_a_prefix_is_not_its_first_source),
		TEST(test_GRD_5_a_ban_is_a_row_until_it_ends),
		TEST(test_GRD_3_a_told_address_is_banned_in_user_space_only),
		TEST(test_GRD_5_other_prefixes_and_networks_are_lists),
		TEST(test_GRD_9_more_prefixes_than_there_is_room_for),
		TEST(test_GRD_8_what_a_process_before_has_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

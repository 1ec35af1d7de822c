// SPDX-License-Identifier: Apache-2.0
/* Failed tokens per address: thresholds and times (ADM-14), keys and the bound of the table
 * (ADM-15). */
#include "unit.h"

#include "admin/lockout.h"

#define DURATION 300000ull
#define TABLE 16384

static struct addr address(const char *ip)
{
	struct addr addr;

	assert_int_equal(addr_parse_ip(view_str(ip), 40000, &addr), 0);
	return addr;
}

static struct addr numbered(unsigned i)
{
	char text[32];

	snprintf(text, sizeof(text), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
	return address(text);
}

static void fail_times(struct lockout *lockout, const struct addr *addr, int count, uint64_t now)
{
	while (count--)
		lockout_failure(lockout, addr, now);
}

static void test_ADM_14_threshold_and_times(void **state)
{
	struct addr a = address("192.0.2.1"), b = address("192.0.2.2");
	struct lockout *lockout;

	(void)state;
	assert_int_equal(lockout_new(3, DURATION, &lockout), 0);
	fail_times(lockout, &a, 2, 1000);
	assert_int_equal(lockout_remaining_s(lockout, &a, 1000), 0);
	lockout_success(lockout, &a); /* clears: two more do not lock */
	fail_times(lockout, &a, 2, 1000);
	assert_int_equal(lockout_remaining_s(lockout, &a, 1000), 0);
	lockout_failure(lockout, &a, 2000);
	assert_int_equal(lockout_remaining_s(lockout, &a, 2000), 300);
	assert_int_equal(lockout_remaining_s(lockout, &a, 2000 + DURATION - 1), 1);
	assert_int_equal(lockout_remaining_s(lockout, &a, 2000 + DURATION), 0);
	assert_int_equal(lockout_remaining_s(lockout, &b, 2000), 0);
	/* Each less than the duration after the one before, or the count begins anew. */
	fail_times(lockout, &b, 2, 5000);
	lockout_failure(lockout, &b, 5000 + DURATION);
	assert_int_equal(lockout_remaining_s(lockout, &b, 5000 + DURATION), 0);
	lockout_failure(lockout, &b, 5000 + 2 * DURATION - 1);
	lockout_failure(lockout, &b, 5000 + 3 * DURATION - 2);
	assert_int_equal(lockout_remaining_s(lockout, &b, 5000 + 3 * DURATION - 2), 300);
	lockout_free(lockout);
}

static void test_ADM_15_keys(void **state)
{
	struct addr a = address("2001:db8:1:2::1"), b = address("2001:db8:1:2:ffff:ffff:ffff:ffff");
	struct addr c = address("2001:db8:1:3::1"), v4 = address("192.0.2.1");
	struct addr port = a;
	struct lockout *lockout;

	(void)state;
	assert_int_equal(lockout_new(3, DURATION, &lockout), 0);
	addr_set_port(&port, 1);
	fail_times(lockout, &a, 1, 1000);
	fail_times(lockout, &b, 1, 1000); /* one /64 shares the count, whatever the port */
	fail_times(lockout, &port, 1, 1000);
	assert_int_equal(lockout_remaining_s(lockout, &a, 1000), 300);
	assert_int_equal(lockout_remaining_s(lockout, &b, 1000), 300);
	assert_int_equal(lockout_remaining_s(lockout, &c, 1000), 0);
	assert_int_equal(lockout_remaining_s(lockout, &v4, 1000), 0);
	assert_int_equal(lockout_count(lockout, 1000), 1);
	lockout_free(lockout);
}

static void test_ADM_15_threshold_zero(void **state)
{
	struct addr a = address("192.0.2.1");
	struct lockout *lockout;

	(void)state;
	assert_int_equal(lockout_new(0, DURATION, &lockout), 0);
	fail_times(lockout, &a, 100, 1000);
	assert_int_equal(lockout_remaining_s(lockout, &a, 1000), 0);
	lockout_free(lockout);
}

/* 16384 addresses are remembered; the next one takes the place of the oldest. */
static void test_ADM_15_the_table_is_bounded(void **state)
{
	struct lockout *lockout;
	struct addr addr;

	(void)state;
	assert_int_equal(lockout_new(1, DURATION, &lockout), 0);
	for (unsigned i = 0; i < TABLE; i++) {
		addr = numbered(i);
		lockout_failure(lockout, &addr, 1000 + i);
	}
	assert_int_equal(lockout_count(lockout, 1000 + TABLE), TABLE);
	addr = numbered(0);
	lockout_failure(lockout, &addr, 2000 + TABLE); /* again: it is not the oldest any more */
	for (unsigned i = TABLE; i < TABLE + 10; i++) {
		addr = numbered(i);
		lockout_failure(lockout, &addr, 2000 + TABLE);
		assert_int_not_equal(lockout_remaining_s(lockout, &addr, 2000 + TABLE), 0);
	}
	assert_int_equal(lockout_count(lockout, 2000 + TABLE), TABLE);
	for (unsigned i = 0; i < 13; i++) {
		addr = numbered(i);
		assert_int_equal(
			lockout_remaining_s(lockout, &addr, 2000 + TABLE) == 0, i >= 1 && i <= 10);
	}
	lockout_free(lockout);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ADM_14_threshold_and_times),
		cmocka_unit_test(test_ADM_15_keys),
		cmocka_unit_test(test_ADM_15_threshold_zero),
		cmocka_unit_test(test_ADM_15_the_table_is_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

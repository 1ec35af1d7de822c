// SPDX-License-Identifier: Apache-2.0
/* Networks as keys. */
#include "unit.h"

#include "guard/key.h"

static struct key key_from(const char *text)
{
	struct cidr cidr;
	struct key key;

	assert_int_equal(cidr_parse(view_str(text), &cidr), 0);
	key_of_cidr(&cidr, &key);
	return key;
}

static void check_text(const char *text, unsigned bits, bool v4)
{
	char shown[CIDR_TEXT_SIZE];
	struct key key = key_from(text);
	struct cidr back;

	assert_int_equal(key.bits, bits);
	assert_int_equal(key_is_v4(&key), v4);
	key_to_cidr(&key, &back);
	assert_string_equal(cidr_format(&back, shown), text);
}

static void test_there_and_back(void **state)
{
	(void)state;
	check_text("192.0.2.1/32", 128, true);
	check_text("192.0.2.0/24", 120, true);
	check_text("0.0.0.0/0", 96, true);
	check_text("2001:db8::/64", 64, false);
	check_text("2001:db8::1/128", 128, false);
	check_text("::/0", 0, false);
	check_text("::/96", 96, false);
}

static void test_mapped_is_ipv4(void **state)
{
	struct key mapped = key_from("::ffff:192.0.2.0/120"), plain = key_from("192.0.2.0/24");

	(void)state;
	assert_true(key_eq(&mapped, &plain));
	assert_int_equal(key_hash(&mapped), key_hash(&plain));
}

static void check_cut(const char *from, unsigned bits, const char *to)
{
	struct key key = key_from(from), wanted = key_from(to), cut;

	key_cut(&key, bits, &cut);
	assert_true(key_eq(&cut, &wanted));
}

static void test_cut(void **state)
{
	struct key a = key_from("192.0.2.0/24"), b = key_from("192.0.2.0/25");

	(void)state;
	check_cut("192.0.2.255", 96 + 24, "192.0.2.0/24");
	check_cut("192.0.2.255", 96 + 25, "192.0.2.128/25");
	check_cut("192.0.2.255", 96 + 31, "192.0.2.254/31");
	check_cut("192.0.2.255", 128, "192.0.2.255/32");
	check_cut("192.0.2.0/24", 128, "192.0.2.0/24"); /* it has no more */
	check_cut("2001:db8:ffff:ffff:ffff::1", 57, "2001:db8:ffff:ff80::/57");
	check_cut("2001:db8::1", 0, "::/0");
	assert_false(key_eq(&a, &b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_mapped_is_ipv4),
		cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

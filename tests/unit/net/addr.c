// SPDX-License-Identifier: Apache-2.0
/* Addresses and ranges. */
#include "unit.h"

#include "net/addr.h"

#include <errno.h>

static void test_addresses(void **state)
{
	static const struct {
		const char *in, *out; /* out NULL: refused */
	} cases[] = { { "1.2.3.4:5", "1.2.3.4:5" }, { "[2001:DB8::1]:993", "[2001:db8::1]:993" },
		{ "0.0.0.0:0", "0.0.0.0:0" }, { "1.2.3.4", NULL }, { "1.2.3.4:", NULL },
		{ "1.2.3.4:65536", NULL }, { "::1:993", NULL }, { "[1.2.3.4]:1", NULL },
		{ "localhost:1", NULL }, { "", NULL }, { "[::1]", NULL } };
	char text[ADDR_TEXT_SIZE];
	struct addr addr;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int r = addr_parse(view_str(cases[i].in), &addr);

		assert_int_equal(r, cases[i].out ? 0 : -EINVAL);
		if (cases[i].out)
			assert_string_equal(addr_format(&addr, text), cases[i].out);
	}
}

static void test_section_3_cidr(void **state)
{
	static const struct {
		const char *net, *ip;
		bool match;
	} cases[] = { { "10.0.0.0/8", "10.1.2.3", true }, { "10.0.0.0/8", "::ffff:10.0.0.5", true },
		{ "10.0.0.0/8", "11.0.0.1", false }, { "10.0.0.0/8", "::1", false },
		{ "192.168.1.1", "192.168.1.1", true }, { "192.168.1.1", "192.168.1.2", false },
		{ "2001:db8::/32", "2001:db8::1", true }, { "2001:db8::/32", "2001:db9::1", false },
		{ "10.1.2.3/9", "10.127.0.1", true }, { "10.1.2.3/9", "10.128.0.1", false },
		{ "0.0.0.0/0", "1.2.3.4", true }, { "::/0", "1.2.3.4", false } };
	struct cidr cidr;
	struct addr addr;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(cidr_parse(view_str(cases[i].net), &cidr), 0);
		assert_int_equal(addr_parse_ip(view_str(cases[i].ip), 0, &addr), 0);
		if (cidr_match(&cidr, &addr) != cases[i].match)
			fail_msg("%s %s", cases[i].net, cases[i].ip);
	}
	assert_int_equal(cidr_parse(VIEW_LIT("1.2.3.4/33"), &cidr), -EINVAL);
	assert_int_equal(cidr_parse(VIEW_LIT("1.2.3.4/"), &cidr), -EINVAL);
}

static void test_cidr_text(void **state)
{
	static const char *const texts[] = { "192.0.2.1/32", "192.0.2.0/24", "0.0.0.0/0", "::/0",
		"2001:db8::/64", "2001:db8::1/128", "1111:2222:3333:4444:5555:6666:7777:8888/128" };
	char text[CIDR_TEXT_SIZE];
	struct cidr cidr;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		assert_int_equal(cidr_parse(view_str(texts[i]), &cidr), 0);
		assert_string_equal(cidr_format(&cidr, text), texts[i]);
	}
}

static void test_mapped(void **state)
{
	static const struct {
		const char *net, *ip;
		uint8_t bits;
	} rows[] = { { "192.0.2.0/24", "::ffff:192.0.2.0", 120 },
		{ "0.0.0.0/0", "::ffff:0.0.0.0", 96 }, { "192.0.2.1/32", "::ffff:192.0.2.1", 128 },
		{ "2001:db8::/32", "2001:db8::", 32 }, { "::/96", "::", 96 } };
	unsigned char ip[16];
	struct cidr net, back;
	struct addr addr;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		assert_int_equal(cidr_parse(view_str(rows[i].net), &net), 0);
		assert_int_equal(addr_parse_ip(view_str(rows[i].ip), 0, &addr), 0);
		addr_to_mapped(&net.net, ip);
		assert_memory_equal(ip, &addr.in6.sin6_addr, sizeof(ip));
		cidr_from_mapped(ip, rows[i].bits, &back);
		assert_true(cidr_eq(&back, &net));
	}
	/* More than IPv4 is in it. */
	cidr_from_mapped((unsigned char[16]){ [10] = 0xff, [11] = 0xfe }, 95, &back);
	assert_int_equal(back.net.sa.sa_family, AF_INET6);
	assert_int_equal(back.bits, 95);
}

static void test_cidr_eq(void **state)
{
	struct cidr a, shorter, other;

	(void)state;
	assert_int_equal(cidr_parse(VIEW_LIT("10.0.0.0/8"), &a), 0);
	assert_int_equal(cidr_parse(VIEW_LIT("10.0.0.0/7"), &shorter), 0);
	assert_int_equal(cidr_parse(VIEW_LIT("11.0.0.0/8"), &other), 0);
	assert_true(cidr_eq(&a, &a));
	assert_false(cidr_eq(&a, &shorter) || cidr_eq(&a, &other));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_section_3_cidr),
		cmocka_unit_test(test_cidr_text),
		cmocka_unit_test(test_mapped),
		cmocka_unit_test(test_cidr_eq),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

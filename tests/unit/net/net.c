// SPDX-License-Identifier: Apache-2.0
/* Addresses, ranges, the PROXY header, resolution of what needs no server. */
#include "unit.h"

#include "net/proxyhdr.h"
#include "net/resolve.h"

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

static void test_section_10_proxy_header(void **state)
{
	static const unsigned char instance[16] = "0123456789abcdef";
	unsigned char id[PROXYHDR_ID_BYTES], header[PROXYHDR_MAX_BYTES];
	static const unsigned char expected[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x2b"
						"\xc0\0\2\1\xc0\0\2\2\x12\x34\x03\xe1\x05\0\x1c"
						"HMG10123456789abcdef\0\0\0\0\0\0\1\2";
	struct addr client, local;

	(void)state;
	proxyhdr_make_id(instance, 0x102, id);
	assert_int_equal(addr_parse(VIEW_LIT("192.0.2.1:4660"), &client), 0);
	assert_int_equal(addr_parse(VIEW_LIT("192.0.2.2:993"), &local), 0);
	assert_int_equal(proxyhdr_write(&client, &local, id, header), sizeof(expected) - 1);
	assert_memory_equal(header, expected, sizeof(expected) - 1);
	assert_int_equal(addr_parse(VIEW_LIT("[::1]:993"), &local), 0);
	assert_int_equal(proxyhdr_write(&client, &local, id, header), 15);
	assert_memory_equal(header, "PROXY UNKNOWN\r\n", 15);
	assert_int_equal(addr_parse(VIEW_LIT("[2001:db8::1]:1"), &client), 0);
	assert_int_equal(proxyhdr_write(&client, &local, id, header), 16 + 36 + 31);
}

struct answer {
	bool done;
	int status;
	size_t count;
	struct addr first;
};

static void on_resolved(void *arg, int status, const struct addr *addrs, size_t count)
{
	struct answer *answer = arg;

	answer->done = true;
	answer->status = status;
	answer->count = count;
	if (count)
		answer->first = addrs[0];
}

static void test_resolve(void **state)
{
	struct answer literal = { 0 }, localhost = { 0 }, cancelled = { 0 };
	struct resolve_query *query;
	struct resolver *resolver;
	struct loop loop;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(resolver_new(&loop, &resolver), 0);
	assert_int_equal(
		resolve_start(resolver, "192.0.2.7", 993, on_resolved, &literal, &query), 0);
	assert_false(literal.done); /* never inside the call */
	assert_int_equal(
		resolve_start(resolver, "localhost", 1, on_resolved, &localhost, &query), 0);
	assert_int_equal(
		resolve_start(resolver, "localhost", 1, on_resolved, &cancelled, &query), 0);
	resolve_cancel(query);
	for (int i = 0; i < 1000 && !(literal.done && localhost.done); i++)
		assert_int_equal(loop_run_once(&loop, 10), 0);
	assert_true(literal.done && literal.status == 0 && literal.count == 1);
	assert_int_equal(addr_port(&literal.first), 993);
	assert_true(localhost.done && localhost.status == 0 && localhost.count >= 1);
	assert_true(addr_is_loopback(&localhost.first));
	assert_false(cancelled.done);
	/* A query that is still running when the resolver goes. */
	assert_int_equal(
		resolve_start(resolver, "no.such.name.invalid", 1, on_resolved, &cancelled, &query),
		0);
	resolver_free(resolver);
	loop_fini(&loop);
}

static void test_own_addresses(void **state)
{
	struct netlink_addrs *addrs;
	struct loop loop;
	struct addr addr;

	(void)state;
	assert_int_equal(loop_init(&loop), 0);
	assert_int_equal(netlink_addrs_new(&loop, &addrs), 0);
	assert_int_equal(addr_parse_ip(VIEW_LIT("127.9.9.9"), 0, &addr), 0);
	assert_true(netlink_is_local(addrs, &addr));
	assert_int_equal(addr_parse_ip(VIEW_LIT("192.0.2.1"), 0, &addr), 0);
	assert_false(netlink_is_local(addrs, &addr));
	netlink_addrs_free(addrs);
	loop_fini(&loop);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_section_3_cidr),
		cmocka_unit_test(test_section_10_proxy_header),
		cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_own_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

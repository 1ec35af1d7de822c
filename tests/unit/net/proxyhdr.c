// SPDX-License-Identifier: Apache-2.0
/* Headers of trusted peers, SES-9 to SES-11 and SES-64. Every input ends at a page without
 * access. */
#include "dialogue/dialogue.h"
#include "net/proxyhdr.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
/* 192.0.2.1:4660 to 192.0.2.2:993 */
#define INET "\xc0\0\2\1\xc0\0\2\2\x12\x34\x03\xe1"
/* [2001:db8::1]:1 to [2001:db8::2]:65535 */
#define ZERO27 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define UNIX_PAIR ZERO27 ZERO27 ZERO27 ZERO27 ZERO27 ZERO27 ZERO27 ZERO27 /* 216 bytes */
#define INET6                                                                        \
	"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\1\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0" \
	"\0\0\2\0\1\xff\xff"

static int parse(struct view in, struct proxyhdr *header)
{
	struct guarded g = guard(in);
	int result = proxyhdr_parse(g.view, header);

	if (result == PROXYHDR_DONE && header->id.len) /* the same place in what is kept */
		header->id.data = in.data + (header->id.data - g.view.data);
	guard_free(&g);
	return result;
}

static const struct {
	const char *name;
	struct view header;
	const char *source, *destination; /* "-" = the socket's stay */
} good[] = {
	{ "tcp4", VIEW_LIT("PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\n"), "1.2.3.4:1111",
		"5.6.7.8:2222" },
	{ "longest tcp4", VIEW_LIT("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
		"255.255.255.255:65535", "255.255.255.255:65535" },
	{ "least", VIEW_LIT("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), "0.0.0.0:0", "0.0.0.0:0" },
	{ "tcp6", VIEW_LIT("PROXY TCP6 2001:DB8::1 ::1 1 65535\r\n"), "[2001:db8::1]:1",
		"[::1]:65535" },
	{ "longest tcp6",
		VIEW_LIT("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
			 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
		"[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535" },
	{ "SES-11 v4-mapped", VIEW_LIT("PROXY TCP6 ::ffff:10.0.0.1 ::ffff:a00:2 1 2\r\n"),
		"10.0.0.1:1", "10.0.0.2:2" },
	{ "SES-9 mixed families",
		VIEW_LIT("PROXY TCP6 2603:c020:57fd::a1:1 192.168.203.4 48874 143\r\n"),
		"[2603:c020:57fd::a1:1]:48874", "192.168.203.4:143" },
	{ "SES-9 mixed families the other way", VIEW_LIT("PROXY TCP6 1.2.3.4 ::2 1 2\r\n"),
		"1.2.3.4:1", "[::2]:2" },
	{ "SES-9 mixed families behind TCP4", VIEW_LIT("PROXY TCP4 1.2.3.4 ::2 1 2\r\n"),
		"1.2.3.4:1", "[::2]:2" },
	{ "SES-9 a mapped source only", VIEW_LIT("PROXY TCP6 ::ffff:1.2.3.4 2001:db8::1 1 2\r\n"),
		"1.2.3.4:1", "[2001:db8::1]:2" },
	{ "unknown", VIEW_LIT("PROXY UNKNOWN\r\n"), "-", "-" },
	{ "unknown with more", VIEW_LIT("PROXY UNKNOWN 1.2.3.4  x \0\xff\r\n"), "-", "-" },
	{ "unknown, 107 bytes",
		VIEW_LIT("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
			 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
		"-", "-" },
	{ "v2 inet", VIEW_LIT(SIGNATURE "\x21\x11\0\x0c" INET), "192.0.2.1:4660", "192.0.2.2:993" },
	{ "v2 inet6", VIEW_LIT(SIGNATURE "\x21\x21\0\x24" INET6), "[2001:db8::1]:1",
		"[2001:db8::2]:65535" },
	{ "v2 v4-mapped",
		VIEW_LIT(SIGNATURE "\x21\x21\0\x24"
				   "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\1"
				   "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\2\0\1\0\2"),
		"10.0.0.1:1", "10.0.0.2:2" },
	{ "v2 with TLVs",
		VIEW_LIT(SIGNATURE "\x21\x11\0\x1b" INET "\1\0\2h2"
				   "\xee\0\0"
				   "\x20\0\4\5\0\0\1"),
		"192.0.2.1:4660", "192.0.2.2:993" },
	{ "v2 local", VIEW_LIT(SIGNATURE "\x20\0\0\0"), "-", "-" },
	{ "v2 local with addresses", VIEW_LIT(SIGNATURE "\x20\x11\0\x0c" INET), "-", "-" },
	{ "v2 local, family not looked at", VIEW_LIT(SIGNATURE "\x20\xff\0\1x"), "-", "-" },
	{ "v2 unspec", VIEW_LIT(SIGNATURE "\x21\0\0\0"), "-", "-" },
	{ "SES-9 v2 datagrams over IPv4", VIEW_LIT(SIGNATURE "\x21\x12\0\x0c" INET), "-", "-" },
	{ "SES-9 v2 datagrams over IPv6", VIEW_LIT(SIGNATURE "\x21\x22\0\x24" INET6), "-", "-" },
	{ "SES-9 v2 unix stream", VIEW_LIT(SIGNATURE "\x21\x31\0\xd8" UNIX_PAIR), "-", "-" },
	{ "SES-9 v2 unix datagrams", VIEW_LIT(SIGNATURE "\x21\x32\0\xd8" UNIX_PAIR), "-", "-" },
	{ "SES-9 v2 unix without its addresses", VIEW_LIT(SIGNATURE "\x21\x31\0\0"), "-", "-" },
	{ "v2 unspec stream", VIEW_LIT(SIGNATURE "\x21\1\0\0"), "-", "-" },
	{ "v2 unspec with what looks like half a TLV", VIEW_LIT(SIGNATURE "\x21\0\0\3\5\xff\xff"),
		"-", "-" },
};

static const struct {
	const char *name;
	struct view bytes;
} invalid[] = {
	{ "no protocol", VIEW_LIT("PROXY \r\n") },
	{ "two blanks", VIEW_LIT("PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n") },
	{ "two blanks later", VIEW_LIT("PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n") },
	{ "blank at the end", VIEW_LIT("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n") },
	{ "tab", VIEW_LIT("PROXY TCP4\t1.2.3.4 5.6.7.8 1 2\r\n") },
	{ "lower case", VIEW_LIT("PROXY tcp4 1.2.3.4 5.6.7.8 1 2\r\n") },
	{ "unknown in lower case", VIEW_LIT("PROXY unknown\r\n") },
	{ "longer word", VIEW_LIT("PROXY UNKNOWNS\r\n") },
	{ "other protocol", VIEW_LIT("PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n") },
	{ "no addresses", VIEW_LIT("PROXY TCP4\r\n") },
	{ "no addresses, blank", VIEW_LIT("PROXY TCP4 \r\n") },
	{ "one port", VIEW_LIT("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n") },
	{ "no second port", VIEW_LIT("PROXY TCP4 1.2.3.4 5.6.7.8 1 \r\n") },
	{ "one field more", VIEW_LIT("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n") },
	{ "v6 in tcp4", VIEW_LIT("PROXY TCP4 ::1 ::2 1 2\r\n") },
	{ "v4 in tcp6", VIEW_LIT("PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n") },
	{ "leading zero in an address", VIEW_LIT("PROXY TCP4 1.2.3.04 5.6.7.8 1 2\r\n") },
	{ "three numbers", VIEW_LIT("PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n") },
	{ "256", VIEW_LIT("PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n") },
	{ "address with NUL", VIEW_LIT("PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n") },
	{ "scope", VIEW_LIT("PROXY TCP6 fe80::1%lo ::1 1 2\r\n") },
	{ "brackets", VIEW_LIT("PROXY TCP6 [::1] ::1 1 2\r\n") },
	{ "two double colons", VIEW_LIT("PROXY TCP6 1::2::3 ::1 1 2\r\n") },
	{ "leading zero in a port", VIEW_LIT("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n") },
	{ "port 00", VIEW_LIT("PROXY TCP4 1.2.3.4 5.6.7.8 1 00\r\n") },
	{ "signed port", VIEW_LIT("PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n") },
	{ "negative port", VIEW_LIT("PROXY TCP4 1.2.3.4 5.6.7.8 1 -2\r\n") },
	{ "port 65536", VIEW_LIT("PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n") },
	{ "port of six digits", VIEW_LIT("PROXY TCP4 1.2.3.4 5.6.7.8 1 000002\r\n") },
	{ "port in hex", VIEW_LIT("PROXY TCP4 1.2.3.4 5.6.7.8 0x1 2\r\n") },
	{ "lone LF", VIEW_LIT("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n") },
	{ "lone CR", VIEW_LIT("PROXY UNKNOWN\rx\r\n") },
	{ "LF inside", VIEW_LIT("PROXY UNKNOWN a\nb\r\n") },
	{ "two CRs", VIEW_LIT("PROXY UNKNOWN\r\r\n") },
	{ "version 3", VIEW_LIT(SIGNATURE "\x31\x11\0\x0c" INET) },
	{ "version 1", VIEW_LIT(SIGNATURE "\x11\x11\0\x0c" INET) },
	{ "command 2", VIEW_LIT(SIGNATURE "\x22\x11\0\x0c" INET) },
	{ "inet without transport", VIEW_LIT(SIGNATURE "\x21\x10\0\x0c" INET) },
	{ "transport 3", VIEW_LIT(SIGNATURE "\x21\x13\0\x0c" INET) },
	{ "unspec, transport 3", VIEW_LIT(SIGNATURE "\x21\3\0\0") },
	{ "unix without transport", VIEW_LIT(SIGNATURE "\x21\x30\0\0") },
	{ "family 4", VIEW_LIT(SIGNATURE "\x21\x41\0\x0c" INET) },
	{ "too short for inet",
		VIEW_LIT(SIGNATURE "\x21\x11\0\x0b\xc0\0\2\1\xc0\0\2\2\x12\x34\x03") },
	{ "too short for inet6", VIEW_LIT(SIGNATURE "\x21\x21\0\x0c" INET) },
	{ "no addresses at all", VIEW_LIT(SIGNATURE "\x21\x11\0\0") },
	{ "8193 bytes", VIEW_LIT(SIGNATURE "\x21\x11\x1f\xf1") },
	{ "8193 bytes, local", VIEW_LIT(SIGNATURE "\x20\0\x1f\xf1") },
	{ "longest", VIEW_LIT(SIGNATURE "\x21\x11\xff\xff") },
	{ "half a TLV", VIEW_LIT(SIGNATURE "\x21\x11\0\x0e" INET "\1\0") },
	{ "TLV past the end", VIEW_LIT(SIGNATURE "\x21\x11\0\x10" INET "\1\0\2h") },
	{ "TLV far past the end", VIEW_LIT(SIGNATURE "\x21\x11\0\x10" INET "\1\xff\xffh") },
};

static void expect_addresses(const char *name, const struct proxyhdr *header, const char *source,
	const char *destination)
{
	char text[ADDR_TEXT_SIZE];

	if (strcmp(addr_format(&header->source, text), source) != 0)
		fail_msg("%s: source %s", name, text);
	if (strcmp(addr_format(&header->destination, text), destination) != 0)
		fail_msg("%s: destination %s", name, text);
}

/* Cut at every byte: more is needed up to the last one; then what follows does not matter. */
static void test_SES_9_valid(void **state)
{
	static const char *const tails[] = { "", "a", "PROXY UNKNOWN\r\n", "\r\n\r\n" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct view whole = good[i].header;
		struct proxyhdr header;

		for (size_t n = 1; n < whole.len; n++) {
			if (parse(view_make(whole.data, n), &header) != PROXYHDR_MORE)
				fail_msg("%s: decided after %zu bytes", good[i].name, n);
		}
		for (size_t k = 0; k < ARRAY_SIZE(tails); k++) {
			struct buf in = { 0 };

			assert_int_equal(buf_append_view(&in, whole), 0);
			assert_int_equal(buf_append_str(&in, tails[k]), 0);
			if (parse(buf_view(&in), &header) != PROXYHDR_DONE)
				fail_msg("%s: refused", good[i].name);
			assert_int_equal(header.len, whole.len);
			assert_int_equal(header.id.len, 0);
			assert_int_equal(header.has_addresses, strcmp(good[i].source, "-") != 0);
			expect_addresses(
				good[i].name, &header, good[i].source, good[i].destination);
			buf_fini(&in);
		}
	}
}

/* Cut at every byte: never done, never "no header", and once invalid always invalid. */
static void test_SES_10_invalid(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(invalid); i++) {
		int result = PROXYHDR_MORE;
		struct proxyhdr header;

		for (size_t n = 1; n <= invalid[i].bytes.len; n++) {
			int now = parse(view_make(invalid[i].bytes.data, n), &header);

			if (now != result && (result != PROXYHDR_MORE || now != PROXYHDR_INVALID))
				fail_msg("%s: %d, then %d at %zu", invalid[i].name, result, now, n);
			result = now;
		}
		if (result != PROXYHDR_INVALID)
			fail_msg("%s: %d", invalid[i].name, result);
	}
}

/* The first byte that does not fit decides. */
static void test_SES_8_no_header(void **state)
{
	static const struct view starts[] = { VIEW_LIT("PROXY "), VIEW_LIT(SIGNATURE) };
	struct proxyhdr header;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(starts); i++) {
		for (size_t n = 0; n < starts[i].len; n++) {
			for (int c = 0; c < 256; c++) {
				char text[16];
				bool fits = (char)c == starts[i].data[n] ||
					(n == 0 && (c == 'P' || c == '\r'));

				memcpy(text, starts[i].data, n);
				text[n] = (char)c;
				assert_int_equal(parse(view_make(text, n + 1), &header),
					fits ? PROXYHDR_MORE : PROXYHDR_NONE);
			}
		}
	}
	assert_int_equal(parse(VIEW_LIT("proxy TCP4"), &header), PROXYHDR_NONE);
	assert_int_equal(parse(VIEW_LIT("\x16\x03\x01"), &header), PROXYHDR_NONE);
	assert_int_equal(parse(VIEW_LIT("\r\n\r\nx"), &header), PROXYHDR_NONE);
}

/* A line of 107 bytes is read, one of 108 is not, and neither is one without an end. */
static void test_SES_9_v1_length(void **state)
{
	char line[200];
	struct proxyhdr header;

	(void)state;
	memset(line, 'x', sizeof(line));
	memcpy(line, "PROXY UNKNOWN ", 14);
	assert_int_equal(parse(view_make(line, 106), &header), PROXYHDR_MORE);
	assert_int_equal(parse(view_make(line, 107), &header), PROXYHDR_INVALID);
	assert_int_equal(parse(view_make(line, sizeof(line)), &header), PROXYHDR_INVALID);
	memcpy(line + 105, "\r\n", 2);
	assert_int_equal(parse(view_make(line, sizeof(line)), &header), PROXYHDR_DONE);
	assert_int_equal(header.len, 107);
	memcpy(line + 105, "x\r\n", 3);
	assert_int_equal(parse(view_make(line, 106), &header), PROXYHDR_MORE);
	assert_int_equal(parse(view_make(line, 107), &header), PROXYHDR_INVALID);
	assert_int_equal(parse(view_make(line, 108), &header), PROXYHDR_INVALID);
}

static void test_SES_9_v2_length(void **state)
{
	static const unsigned char fixed[] = SIGNATURE "\x21\x11\x1f\xf0" INET "\xee\x1f\xe1";
	char bytes[PROXYHDR_LONGEST_BYTES + 10] = { 0 };
	struct proxyhdr header;

	(void)state;
	memcpy(bytes, fixed, sizeof(fixed) - 1);
	for (size_t n = 16; n < PROXYHDR_LONGEST_BYTES; n++)
		assert_int_equal(parse(view_make(bytes, n), &header), PROXYHDR_MORE);
	assert_int_equal(parse(view_make(bytes, sizeof(bytes)), &header), PROXYHDR_DONE);
	assert_int_equal(header.len, PROXYHDR_LONGEST_BYTES);
}

/* With what a client's TLS is, and without: the same is read of both. */
static void check_round_trip_with(
	const char *source, const char *destination, const struct proxyhdr_tls *tls)
{
	static const unsigned char instance[16] = "0123456789abcdef";
	unsigned char id[PROXYHDR_ID_BYTES], bytes[PROXYHDR_MAX_BYTES];
	struct addr client, local;
	struct proxyhdr header;
	size_t length;

	proxyhdr_make_id(instance, 0x1122334455667788, id);
	assert_int_equal(addr_parse(view_str(source), &client), 0);
	assert_int_equal(addr_parse(view_str(destination), &local), 0);
	length = proxyhdr_write(&client, &local, id, tls, bytes);
	for (size_t n = 1; n < length; n++)
		assert_int_equal(parse(view_make((char *)bytes, n), &header), PROXYHDR_MORE);
	assert_int_equal(parse(view_make((char *)bytes, length), &header), PROXYHDR_DONE);
	assert_int_equal(header.len, length);
	if (client.sa.sa_family != local.sa.sa_family) {
		assert_false(header.has_addresses);
		assert_int_equal(header.id.len, 0);
		return;
	}
	assert_true(header.has_addresses);
	assert_true(addr_eq(&header.source, &client));
	assert_true(addr_eq(&header.destination, &local));
	assert_int_equal(header.id.len, PROXYHDR_ID_BYTES);
	assert_memory_equal(header.id.data, id, PROXYHDR_ID_BYTES);
}

static void check_round_trip(const char *source, const char *destination)
{
	static const struct proxyhdr_tls tls = { "TLSv1.3", "TLS_AES_128_GCM_SHA256" };

	check_round_trip_with(source, destination, NULL);
	check_round_trip_with(source, destination, &tls);
}

/* HND-20, haproxy's proxy-protocol.txt section 2.2.5: TLV 0x20 with the version and the cipher. */
static void test_HND_20_tls(void **state)
{
	static const struct proxyhdr_tls tls = { "TLSv1.2", "A" };
	static const char expected[] = "\x20\0\x13\1\0\0\0\1\x21\0\7TLSv1.2\x23\0\1A";
	unsigned char id[PROXYHDR_ID_BYTES] = { 0 }, bytes[PROXYHDR_MAX_BYTES];
	struct addr addr;
	size_t length;

	(void)state;
	assert_int_equal(addr_parse(VIEW_LIT("192.0.2.1:1"), &addr), 0);
	length = proxyhdr_write(&addr, &addr, id, &tls, bytes);
	assert_int_equal(length, 16 + 12 + 31 + sizeof(expected) - 1);
	assert_memory_equal(bytes + 16 + 12 + 31, expected, sizeof(expected) - 1);
}

static void test_SES_64_round_trip(void **state)
{
	(void)state;
	check_round_trip("192.0.2.1:4660", "192.0.2.2:993");
	check_round_trip("[2001:db8::1]:1", "[2001:db8::2]:65535");
	check_round_trip("192.0.2.1:1", "[2001:db8::2]:2");
}

/* The id is found behind and before others, and may be of any length. */
static void test_SES_64_unique_id(void **state)
{
	static const struct {
		struct view header;
		const char *id;
	} cases[] = {
		{ VIEW_LIT(SIGNATURE "\x21\x11\0\x12" INET "\5\0\3abc"), "abc" },
		{ VIEW_LIT(SIGNATURE "\x21\x11\0\x16" INET "\4\0\1x\5\0\3abc"), "abc" },
		{ VIEW_LIT(SIGNATURE "\x21\x11\0\x16" INET "\5\0\3abc\4\0\1x"), "abc" },
		{ VIEW_LIT(SIGNATURE "\x21\x11\0\x0f" INET "\5\0\0"), "" },
		/* inside another value, or behind the header: none */
		{ VIEW_LIT(SIGNATURE "\x21\x11\0\x15" INET "\x20\0\6\5\0\3abc"), "" },
		{ VIEW_LIT(SIGNATURE "\x21\x11\0\x0c" INET "\5\0\3abc"), "" },
		{ VIEW_LIT(SIGNATURE "\x20\x11\0\x12" INET "\5\0\3abc"), "" },
	};
	struct proxyhdr header;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(parse(cases[i].header, &header), PROXYHDR_DONE);
		assert_int_equal(header.id.len, strlen(cases[i].id));
		if (header.id.len)
			assert_memory_equal(header.id.data, cases[i].id, header.id.len);
	}
}

static void test_SES_11_unmap(void **state)
{
	static const char *const cases[][2] = { { "::ffff:10.0.0.1", "10.0.0.1:7" },
		{ "::10.0.0.1", "[::10.0.0.1]:7" }, { "10.0.0.1", "10.0.0.1:7" },
		{ "2001:db8::1", "[2001:db8::1]:7" } };
	char text[ADDR_TEXT_SIZE];
	struct addr addr, none = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(addr_parse_ip(view_str(cases[i][0]), 7, &addr), 0);
		addr_unmap(&addr);
		assert_string_equal(addr_format(&addr, text), cases[i][1]);
	}
	addr_unmap(&none);
	assert_false(addr_is_set(&none));
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
	assert_int_equal(proxyhdr_write(&client, &local, id, NULL, header), sizeof(expected) - 1);
	assert_memory_equal(header, expected, sizeof(expected) - 1);
	assert_int_equal(addr_parse(VIEW_LIT("[::1]:993"), &local), 0);
	assert_int_equal(proxyhdr_write(&client, &local, id, NULL, header), 15);
	assert_memory_equal(header, "PROXY UNKNOWN\r\n", 15);
	assert_int_equal(addr_parse(VIEW_LIT("[2001:db8::1]:1"), &client), 0);
	assert_int_equal(proxyhdr_write(&client, &local, id, NULL, header), 16 + 36 + 31);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_SES_9_valid),
		cmocka_unit_test(test_SES_10_invalid),
		cmocka_unit_test(test_SES_8_no_header),
		cmocka_unit_test(test_SES_9_v1_length),
		cmocka_unit_test(test_SES_9_v2_length),
		cmocka_unit_test(test_SES_64_round_trip),
		cmocka_unit_test(test_HND_20_tls),
		cmocka_unit_test(test_SES_64_unique_id),
		cmocka_unit_test(test_SES_11_unmap),
		cmocka_unit_test(test_section_10_proxy_header),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

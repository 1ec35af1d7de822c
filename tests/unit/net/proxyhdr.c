// SPDX-License-Identifier: Apache-2.0
/* PROXY headers from peers: sessions.md SES-8 to SES-11. */
#include "dialogue/dialogue.h"

#include "net/proxyhdr.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

struct header_case {
	const char *name;
	struct view bytes; /* and then "payload" */
	int result;
	const char *source, *destination; /* NULL: the socket's */
};
#define BYTES(s)                 \
	{                        \
		s, sizeof(s) - 1 \
	}

static const struct header_case cases[] = {
	{ "SES-9 v1", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 1111 2222\r\n"), PROXYHDR_DONE,
		"1.2.3.4:1111", "5.6.7.8:2222" },
	{ "SES-9 v1 IPv6", BYTES("PROXY TCP6 2001:db8::1 ::1 65535 0\r\n"), PROXYHDR_DONE,
		"[2001:db8::1]:65535", "[::1]:0" },
	{ "SES-11 v1 mapped", BYTES("PROXY TCP6 ::ffff:10.0.0.1 ::ffff:10.0.0.2 1 2\r\n"),
		PROXYHDR_DONE, "10.0.0.1:1", "10.0.0.2:2" },
	{ "SES-9 v1 unknown", BYTES("PROXY UNKNOWN\r\n"), PROXYHDR_DONE, NULL, NULL },
	{ "SES-9 v1 unknown with more", BYTES("PROXY UNKNOWN a b c\r\n"), PROXYHDR_DONE, NULL,
		NULL },
	{ "v1 families", BYTES("PROXY TCP4 ::1 ::1 1 2\r\n"), PROXYHDR_INVALID, NULL, NULL },
	{ "v1 families", BYTES("PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n"), PROXYHDR_INVALID, NULL,
		NULL },
	{ "v1 missing port", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n"), PROXYHDR_INVALID, NULL,
		NULL },
	{ "v1 one too many", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n"), PROXYHDR_INVALID, NULL,
		NULL },
	{ "v1 two blanks", BYTES("PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n"), PROXYHDR_INVALID, NULL,
		NULL },
	{ "v1 blank at the end", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n"), PROXYHDR_INVALID,
		NULL, NULL },
	{ "v1 leading zero", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n"), PROXYHDR_INVALID, NULL,
		NULL },
	{ "v1 sign", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n"), PROXYHDR_INVALID, NULL, NULL },
	{ "v1 port", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n"), PROXYHDR_INVALID, NULL,
		NULL },
	{ "v1 address", BYTES("PROXY TCP4 1.2.3.256 5.6.7.8 1 2\r\n"), PROXYHDR_INVALID, NULL,
		NULL },
	{ "v1 lone LF", BYTES("PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n"), PROXYHDR_INVALID, NULL, NULL },
	{ "v1 protocol", BYTES("PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n"), PROXYHDR_INVALID, NULL,
		NULL },
	{ "v1 lower case", BYTES("proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n"), PROXYHDR_NONE, NULL, NULL },
	{ "SES-8 IMAP", BYTES("a NOOP\r\n"), PROXYHDR_NONE, NULL, NULL },
	{ "SES-8 TLS", BYTES("\x16\x03\x01"), PROXYHDR_NONE, NULL, NULL },
	{ "SES-8 an empty line", BYTES("\r\n\r\nx"), PROXYHDR_NONE, NULL, NULL },
	{ "SES-9 v2", BYTES(SIGNATURE "\x21\x11\0\x0c\1\2\3\4\5\6\7\x08\x04\x57\x08\xae"),
		PROXYHDR_DONE, "1.2.3.4:1111", "5.6.7.8:2222" },
	{ "SES-9 v2 IPv6",
		BYTES(SIGNATURE "\x21\x21\0\x24"
				" \1\r\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
				"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\1\0\2"),
		PROXYHDR_DONE, "[2001:db8::1]:1", "[::1]:2" },
	{ "SES-11 v2 mapped",
		BYTES(SIGNATURE "\x21\x21\0\x24"
				"\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\1"
				"\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\2\0\1\0\2"),
		PROXYHDR_DONE, "10.0.0.1:1", "10.0.0.2:2" },
	{ "SES-9 v2 local", BYTES(SIGNATURE "\x20\0\0\0"), PROXYHDR_DONE, NULL, NULL },
	{ "SES-9 v2 local with addresses",
		BYTES(SIGNATURE "\x20\x11\0\x0c\1\2\3\4\5\6\7\x08\4\5\6\7"), PROXYHDR_DONE, NULL,
		NULL },
	{ "SES-9 v2 unspec", BYTES(SIGNATURE "\x21\0\0\2xx"), PROXYHDR_DONE, NULL, NULL },
	{ "SES-10 version 3", BYTES(SIGNATURE "\x31\x11\0\x0c\1\2\3\4\5\6\7\x08\4\5\6\7"),
		PROXYHDR_INVALID, NULL, NULL },
	{ "v2 command", BYTES(SIGNATURE "\x22\x11\0\x0c\1\2\3\4\5\6\7\x08\4\5\6\7"),
		PROXYHDR_INVALID, NULL, NULL },
	{ "v2 datagrams", BYTES(SIGNATURE "\x21\x12\0\x0c\1\2\3\4\5\6\7\x08\4\5\6\7"),
		PROXYHDR_INVALID, NULL, NULL },
	{ "v2 too short", BYTES(SIGNATURE "\x21\x11\0\x0b\1\2\3\4\5\6\7\x08\4\5\6"),
		PROXYHDR_INVALID, NULL, NULL },
	{ "v2 a TLV that does not fit",
		BYTES(SIGNATURE "\x21\x11\0\x10\1\2\3\4\5\6\7\x08\4\5\6\7\xe0\0\2x"),
		PROXYHDR_INVALID, NULL, NULL },
	{ "v2 half a TLV", BYTES(SIGNATURE "\x21\x11\0\x0e\1\2\3\4\5\6\7\x08\4\5\6\7\xe0\0"),
		PROXYHDR_INVALID, NULL, NULL },
	{ "v2 too long", BYTES(SIGNATURE "\x21\x11\x03\xf1"), PROXYHDR_INVALID, NULL, NULL },
};

static void check_header(const struct header_case *c, const struct proxyhdr *header)
{
	char text[ADDR_TEXT_SIZE];

	assert_int_equal(header->len, c->bytes.len);
	assert_int_equal(header->has_addresses, c->source != NULL);
	if (!c->source)
		return;
	assert_string_equal(addr_format(&header->source, text), c->source);
	assert_string_equal(addr_format(&header->destination, text), c->destination);
}

/* Whole with bytes behind it, and every shorter beginning at a guard page: MORE until it is decided,
 * and then for good. */
static void test_SES_9_10_headers(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct buf all = { 0 };
		bool decided = false;

		assert_int_equal(buf_append_view(&all, cases[i].bytes), 0);
		assert_int_equal(buf_append_str(&all, "payload"), 0);
		for (size_t n = 1; n <= all.len; n++) {
			struct guarded g = guard(view_make(buf_view(&all).data, n));
			struct proxyhdr header;
			int r = proxyhdr_parse(g.view, &header);

			if (decided || r != PROXYHDR_MORE) {
				decided = true;
				if (r != cases[i].result)
					fail_msg("%s, %zu bytes: %d", cases[i].name, n, r);
				if (r == PROXYHDR_DONE)
					check_header(&cases[i], &header);
			}
			guard_free(&g);
		}
		if (!decided)
			fail_msg("%s: not decided", cases[i].name);
		buf_fini(&all);
	}
}

static void test_SES_9_lengths(void **state)
{
	char line[200];
	struct proxyhdr header;

	(void)state;
	memset(line, 'x', sizeof(line));
	memcpy(line, "PROXY UNKNOWN ", 14);
	memcpy(line + 105, "\r\n", 2); /* 107 bytes are the most */
	assert_int_equal(proxyhdr_parse(view_make(line, 107), &header), PROXYHDR_DONE);
	assert_int_equal(proxyhdr_parse(view_make(line, 106), &header), PROXYHDR_MORE);
	memset(line + 105, 'x', 2);
	memcpy(line + 106, "\r\n", 2);
	assert_int_equal(proxyhdr_parse(view_make(line, 108), &header), PROXYHDR_INVALID);
}

/* What we write towards nodes is what we read from peers, the id included. */
static void test_SES_64_round_trip(void **state)
{
	static const unsigned char instance[16] = "0123456789abcdef";
	unsigned char id[PROXYHDR_ID_BYTES], bytes[PROXYHDR_MAX_BYTES];
	struct addr client, local;
	struct proxyhdr header;
	size_t len;

	(void)state;
	assert_int_equal(addr_parse(VIEW_LIT("192.0.2.1:4000"), &client), 0);
	assert_int_equal(addr_parse(VIEW_LIT("192.0.2.2:993"), &local), 0);
	proxyhdr_make_id(instance, 77, id);
	len = proxyhdr_write(&client, &local, id, bytes);
	assert_int_equal(proxyhdr_parse(view_make((char *)bytes, len), &header), PROXYHDR_DONE);
	assert_int_equal(header.len, len);
	assert_true(addr_eq(&header.source, &client));
	assert_true(addr_eq(&header.destination, &local));
	assert_int_equal(header.id.len, sizeof(id));
	assert_memory_equal(header.id.data, id, sizeof(id));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_SES_9_10_headers),
		cmocka_unit_test(test_SES_9_lengths),
		cmocka_unit_test(test_SES_64_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* XCLIENT: what a trusted peer may say (SES-61), and what a node is told (section 10). */
#include "unit.h"

#include "proto/front.h"

#include <errno.h>

static int parse(const char *words, struct front_peer *peer)
{
	*peer = (struct front_peer){ 0 };
	return xclient_parse(view_str(words), true, peer);
}

/* ---- from a peer ---- */

static void test_SES_61_all_attributes(void **state)
{
	struct front_peer peer;

	(void)state;
	assert_int_equal(parse("ADDR=192.0.2.7 PORT=4000 DESTADDR=192.0.2.9 DESTPORT=65535 "
			       "SESSION=H12ab-3f TTL=255 CLIENT-TRANSPORT=TLS HELO=c PROTO=ESMTP",
				 &peer),
		0);
	assert_string_equal(peer.addr, "192.0.2.7");
	assert_int_equal(peer.port, 4000);
	assert_string_equal(peer.dest_addr, "192.0.2.9");
	assert_int_equal(peer.dest_port, 65535);
	assert_string_equal(peer.session, "H12ab-3f");
	assert_true(peer.has_ttl);
	assert_int_equal(peer.ttl, 255);
}

static void test_SES_61_addresses(void **state)
{
	static const struct {
		const char *words, *addr;
	} cases[] = {
		{ "ADDR=2001:db8::1", "2001:db8::1" },
		{ "ADDR=IPV6:2001:db8::1", "2001:db8::1" },
		{ "addr=ipv6:::1", "::1" },
		{ "ADDR=::ffff:192.0.2.1", "::ffff:192.0.2.1" },
		{ "ADDR=192.0.2.1 ADDR=192.0.2.2", "192.0.2.2" },
		{ "  ADDR=192.0.2.1   PORT=1  ", "192.0.2.1" },
		{ "ADDR=192+2E0.2+2e1", "192.0.2.1" },
		{ "ADDR=[UNAVAILABLE]", "" },
		{ "ADDR=[tempunavail]", "" },
		{ "ADDRESS=x DDR=y", "" },
		{ "", "" },
	};
	struct front_peer peer;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(parse(cases[i].words, &peer), 0);
		assert_string_equal(peer.addr, cases[i].addr);
	}
}

static void test_SES_61_bad_values(void **state)
{
	static const char *const cases[] = { "ADDR=", "ADDR=x", "ADDR=192.0.2", "ADDR=192.0.2.256",
		"ADDR=192.0.2.1:25", "ADDR=[192.0.2.1]", "ADDR=IPV6:", "ADDR=192.0.2.1+00",
		"ADDR=2001:db8::1%eth0", "ADDR=1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa",
		"DESTADDR=x", "PORT=", "PORT=0", "PORT=65536", "PORT=-1", "PORT=+31x", "PORT=1+20",
		"PORT=99999999999999999999", "DESTPORT=0", "DESTPORT=65536", "TTL=", "TTL=256",
		"TTL=-1", "TTL=x", "TTL=0x10", "SESSION=a+20b", "SESSION=a+00", "SESSION=+7f",
		"SESSION=1234567890123456789012345678901234567890123456789012345678901234+35",
		"ADDR", "=x", "=", "TTL =5", "TTL=5 PORT", "SESSION=+", "SESSION=+4", "SESSION=+4g",
		"SESSION=a\tb", "SESSION=\xc3\xa4" };
	struct front_peer peer;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		if (parse(cases[i], &peer) != -EINVAL)
			fail_msg("\"%s\" was taken", cases[i]);
	}
}

/* All or nothing, whatever comes before or behind the bad value. */
static void test_SES_61_all_or_nothing(void **state)
{
	struct front_peer peer;

	(void)state;
	assert_int_equal(parse("ADDR=192.0.2.1 TTL=7", &peer), 0);
	assert_int_equal(xclient_parse(VIEW_LIT("ADDR=192.0.2.2 TTL=256"), true, &peer), -EINVAL);
	assert_int_equal(xclient_parse(VIEW_LIT("TTL=300 ADDR=192.0.2.2"), true, &peer), -EINVAL);
	assert_string_equal(peer.addr, "192.0.2.1");
	assert_int_equal(peer.ttl, 7);
	/* what is not named stays */
	assert_int_equal(xclient_parse(VIEW_LIT("PORT=5 ADDR=[UNAVAILABLE]"), true, &peer), 0);
	assert_string_equal(peer.addr, "192.0.2.1");
	assert_int_equal(peer.port, 5);
}

/* LOGIN and all that the router does not know are ignored, CLIENT-TRANSPORT has no effect. */
static void test_SES_61_ignored(void **state)
{
	struct front_peer peer, none = { 0 };

	(void)state;
	assert_int_equal(parse("LOGIN=eve NAME=x CLIENT-TRANSPORT=TLS HELO=h PROTO=ESMTP FOO=bar "
			       "LOGIN=",
				 &peer),
		0);
	assert_memory_equal(&peer, &none, sizeof(none));
}

static void test_SES_61_session_length(void **state)
{
	char words[] = "SESSION=1234567890123456789012345678901234567890123456789012345678901234";
	struct front_peer peer;

	(void)state;
	assert_int_equal(parse(words, &peer), 0);
	assert_string_equal(peer.session, words + 8);
	assert_int_equal(parse("SESSION=", &peer), 0);
	assert_string_equal(peer.session, "");
}

/* Raw in a value: printable ASCII but a blank, which ends the word. Encoded as "+XX": SESSION takes
 * what is printable, an address none of it. */
static void test_SES_61_every_byte(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		char raw[] = "SESSION=a?b", encoded[32];
		bool printable = c > ' ' && c <= '~';
		struct front_peer peer = { 0 };
		int r;

		raw[9] = (char)c;
		r = xclient_parse(view_make(raw, sizeof(raw) - 1), true, &peer);
		/* "+b" is half an escape; behind a blank "b" is a word without "=" */
		assert_int_equal(r, printable && c != '+' ? 0 : -EINVAL);
		if (r == 0)
			assert_memory_equal(peer.session, raw + 8, 4);
		snprintf(encoded, sizeof(encoded), "SESSION=a+%02Xb", (unsigned)c);
		peer = (struct front_peer){ 0 };
		r = xclient_parse(view_str(encoded), true, &peer);
		assert_int_equal(r, printable ? 0 : -EINVAL);
		assert_int_equal((unsigned char)peer.session[1], printable ? c : 0);
		snprintf(encoded, sizeof(encoded), "ADDR=192.0.2.1+%02X", (unsigned)c);
		r = xclient_parse(view_str(encoded), true, &peer);
		assert_int_equal(r, c >= '0' && c <= '9' ? 0 : -EINVAL);
	}
}

/* ---- to a node ---- */

static void test_section_10_listed(void **state)
{
	static const struct {
		const char *words;
		unsigned listed;
	} cases[] = {
		{ "", 0 },
		{ "   ", 0 },
		{ "NAME LOGIN REVERSE_NAME", 0 },
		{ "ADDRESS XADDR PORTS", 0 },
		{ " addr  Port ", BIT(XCLIENT_ADDR) | BIT(XCLIENT_PORT) },
		{ XCLIENT_NAMES, XCLIENT_ALL_OF_POP3 },
		{ XCLIENT_NAMES " HELO PROTO", BIT(XCLIENT_ATTRIBUTES) - 1 },
		{ "TTL TTL", BIT(XCLIENT_TTL) },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(xclient_listed(view_str(cases[i].words)), cases[i].listed);
}

static const struct back_forward v4 = { .client_ip = "192.0.2.1",
	.local_ip = "192.0.2.9",
	.client_port = 4000,
	.local_port = 587,
	.ttl = 6,
	.session_id = "H12ab-3f",
	.client_tls = true };
static const struct back_forward v6 = { .client_ip = "2001:db8::1",
	.local_ip = "192.0.2.9",
	.client_port = 4000,
	.local_port = 995,
	.ttl = 0,
	.session_id = "H12ab-3f" };

static void expect_written(const struct back_forward *forward, const char *helo, unsigned mask,
	bool smtp, const char *text)
{
	struct buf out = { 0 };
	bool any = !*text;

	assert_int_equal(xclient_write(&out, forward, helo, mask, smtp, &any), 0);
	if (!view_eq(buf_view(&out), view_str(text)))
		fail_msg("\"%.*s\" is not \"%s\"", (int)out.len, buf_view(&out).data, text);
	assert_int_equal(any, *text != '\0');
	assert_null(memmem(buf_view(&out).data, out.len, "LOGIN", 5));
	buf_fini(&out);
}

static void test_section_10_written(void **state)
{
	(void)state;
	expect_written(&v4, "c.example", BIT(XCLIENT_ATTRIBUTES) - 1, true,
		" ADDR=192.0.2.1 PORT=4000 DESTADDR=192.0.2.9 DESTPORT=587 SESSION=H12ab-3f TTL=6 "
		"CLIENT-TRANSPORT=TLS HELO=c.example PROTO=ESMTP");
	expect_written(&v4, "", XCLIENT_ALL_OF_POP3, false,
		" ADDR=192.0.2.1 PORT=4000 DESTADDR=192.0.2.9 DESTPORT=587 SESSION=H12ab-3f TTL=6 "
		"CLIENT-TRANSPORT=TLS");
	/* IPv6 has its prefix on submission only */
	expect_written(&v6, "", BIT(XCLIENT_ADDR) | BIT(XCLIENT_DESTADDR), true,
		" ADDR=IPV6:2001:db8::1 DESTADDR=192.0.2.9");
	expect_written(&v6, "", BIT(XCLIENT_ADDR) | BIT(XCLIENT_DESTADDR), false,
		" ADDR=2001:db8::1 DESTADDR=192.0.2.9");
	expect_written(&v6, "", BIT(XCLIENT_TTL) | BIT(XCLIENT_CLIENT_TRANSPORT), true,
		" TTL=0 CLIENT-TRANSPORT=insecure");
}

/* Each attribute alone, and none: the mask decides, the order is fixed. */
static void test_section_10_filtered(void **state)
{
	static const char *const alone[XCLIENT_ATTRIBUTES] = { " ADDR=192.0.2.1", " PORT=4000",
		" DESTADDR=192.0.2.9", " DESTPORT=587", " SESSION=H12ab-3f", " TTL=6",
		" CLIENT-TRANSPORT=TLS", " HELO=c", " PROTO=ESMTP" };

	(void)state;
	for (int i = 0; i < XCLIENT_ATTRIBUTES; i++)
		expect_written(&v4, "c", BIT(i), true, alone[i]);
	expect_written(&v4, "c", 0, true, "");
	expect_written(&v4, "", BIT(XCLIENT_HELO), true, "");
	expect_written(&v4, "c", xclient_listed(VIEW_LIT("PROTO LOGIN NAME ADDR")), true,
		" ADDR=192.0.2.1 PROTO=ESMTP");
}

/* What is written in xtext is read again as it was: no byte of a name gets out of its value. */
static void test_section_10_every_byte_in_xtext(void **state)
{
	(void)state;
	for (int c = 1; c < 256; c++) {
		char helo[] = "a?b", text[32];
		bool plain = c > ' ' && c <= '~' && c != '+' && c != '=';

		helo[1] = (char)c;
		snprintf(text, sizeof(text), plain ? " HELO=a%cb" : " HELO=a+%02Xb", c);
		expect_written(&v4, helo, BIT(XCLIENT_HELO), true, text);
	}
}

/* The router understands itself. */
static void test_section_10_and_SES_61_agree(void **state)
{
	struct back_forward forward = v6;
	struct front_peer peer = { 0 };
	struct buf out = { 0 };
	bool any;

	(void)state;
	forward.session_id = "H1+2=3 x";
	assert_int_equal(xclient_write(&out, &forward, "c", BIT(XCLIENT_SESSION), true, &any), 0);
	assert_true(view_eq(buf_view(&out), VIEW_LIT(" SESSION=H1+2B2+3D3+20x")));
	buf_clear(&out);
	forward.session_id = "H1+2=3";
	assert_int_equal(xclient_write(&out, &forward, "c+\xc3\xa4", BIT(XCLIENT_ATTRIBUTES) - 1,
				 true, &any),
		0);
	assert_int_equal(xclient_parse(buf_view(&out), true, &peer), 0);
	assert_string_equal(peer.addr, "2001:db8::1");
	assert_string_equal(peer.dest_addr, "192.0.2.9");
	assert_int_equal(peer.port, 4000);
	assert_int_equal(peer.dest_port, 995);
	assert_string_equal(peer.session, "H1+2=3");
	assert_true(peer.has_ttl);
	assert_int_equal(peer.ttl, 0);
	buf_fini(&out);
}

static void test_output_limit(void **state)
{
	struct buf out;
	bool any;

	(void)state;
	buf_init(&out, 10, false);
	assert_int_equal(
		xclient_write(&out, &v4, "c", BIT(XCLIENT_ATTRIBUTES) - 1, true, &any), -ENOBUFS);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_SES_61_all_attributes),
		cmocka_unit_test(test_SES_61_addresses),
		cmocka_unit_test(test_SES_61_bad_values),
		cmocka_unit_test(test_SES_61_all_or_nothing),
		cmocka_unit_test(test_SES_61_ignored),
		cmocka_unit_test(test_SES_61_session_length),
		cmocka_unit_test(test_SES_61_every_byte),
		cmocka_unit_test(test_section_10_listed),
		cmocka_unit_test(test_section_10_written),
		cmocka_unit_test(test_section_10_filtered),
		cmocka_unit_test(test_section_10_every_byte_in_xtext),
		cmocka_unit_test(test_section_10_and_SES_61_agree),
		cmocka_unit_test(test_output_limit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

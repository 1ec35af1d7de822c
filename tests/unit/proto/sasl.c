// SPDX-License-Identifier: Apache-2.0
/* SASL messages and exchanges (SES-32 to SES-38), XCLIENT attributes (SES-61, section 10, #10,
 * #14). */
#include "unit.h"

#include "base/base64.h"
#include "proto/front.h"

#include <errno.h>

static int respond(struct sasl_exchange *exchange, struct view message)
{
	struct buf encoded = { 0 };
	int r;

	assert_int_equal(base64_encode(message, &encoded), 0);
	r = sasl_exchange_response(exchange, buf_view(&encoded));
	buf_fini(&encoded);
	return r;
}

struct message_case {
	enum sasl_mech mech;
	struct view message;
	int result;
	const char *login, *token;
};
#define TEXT(s) { s, sizeof(s) - 1 }
#define B SASL_OAUTHBEARER
#define X SASL_XOAUTH2

static const struct message_case messages[] = {
	{ SASL_PLAIN, TEXT("\0bob\0pw"), SASL_DONE, "bob", "" },
	{ SASL_PLAIN, TEXT("eve\0bob\0pw"), SASL_DONE, "bob", "" },
	{ SASL_PLAIN, TEXT("\0bob\0"), SASL_FAIL_AUTH, NULL, NULL },
	{ SASL_PLAIN, TEXT("\0\0pw"), SASL_FAIL_AUTH, NULL, NULL },
	{ SASL_PLAIN, TEXT("bob\0pw"), SASL_FAIL_AUTH, NULL, NULL },
	{ SASL_PLAIN, TEXT("a\0b\0c\0d"), SASL_FAIL_AUTH, NULL, NULL },
	{ SASL_PLAIN, TEXT("\0b\xff\0pw"), SASL_FAIL_AUTH, NULL, NULL },
	{ SASL_PLAIN, TEXT(""), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,a=bob@x,\1auth=Bearer tok\1\1"), SASL_DONE, "bob@x", "tok" },
	{ B, TEXT("y,a=bob@x,\1host=h\1port=1\1auth=bEARER tok\1\1"), SASL_DONE, "bob@x", "tok" },
	{ B, TEXT("n,,\1auth=Bearer a.b-c_d~e+f/g=\1\1"), SASL_DONE, "", "a.b-c_d~e+f/g=" },
	{ B, TEXT("n,a=b=2Cc=3Dd,\1auth=Bearer t\1\1"), SASL_DONE, "b,c=d", "t" },
	{ B, TEXT("n,,\1auth=Bearer t\1"), SASL_DONE, "", "t" },
	{ B, TEXT("n,a=b=2cc,\1auth=Bearer t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,a=b=,\1auth=Bearer t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("p=tls-unique,,\1auth=Bearer t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,a=b,c,\1auth=Bearer t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,b=c,\1auth=Bearer t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,\1auth=Bearer t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,,\1auth=Basic t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,,\1auth=Bearer \1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,,\1auth=Bearer t t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,,\1auth=Bearer t\1auth=Bearer t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,,\1host=h\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,,\1auth=Bearer t\1nonsense\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,,\1auth=Bearer t\1=h\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,,\1auth=Bearer t\1host=\1\1"), SASL_DONE, "", "t" },
	{ B, TEXT("n,,\1host=h\1auth=Bearer t\1"), SASL_DONE, "", "t" },
	{ B, TEXT("n,a=,\1auth=Bearer t\1\1"), SASL_DONE, "", "t" },
	{ B, TEXT("n,a=b,\1auth=Bearer  t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,a=b=3dc,\1auth=Bearer t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,a=b=2,\1auth=Bearer t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,a=b\0c,\1auth=Bearer t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,a=b\1auth=Bearer t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("N,,\1auth=Bearer t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT(",,\1auth=Bearer t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("\1\1auth=Bearer t\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,,\1auth=Bearer t\1\1more"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,,\1auth=Bearer t\1\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("n,,\1auth=Bearer t"), SASL_FAIL_AUTH, NULL, NULL },
	{ B, TEXT("\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ X, TEXT("user=bob@x\1auth=Bearer tok\1\1"), SASL_DONE, "bob@x", "tok" },
	{ X, TEXT("user=bob@x\1auth=Bearer tok\1"), SASL_DONE, "bob@x", "tok" },
	{ X, TEXT("user=bob@x\1auth=Bearer tok"), SASL_DONE, "bob@x", "tok" },
	{ X, TEXT("user=\1auth=Bearer tok\1\1"), SASL_DONE, "", "tok" },
	{ X, TEXT("user=bob@x\1auth=Bearer tok\1\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ X, TEXT("user=bob@x\1auth=Bearer tok\1x"), SASL_FAIL_AUTH, NULL, NULL },
	{ X, TEXT("user=b\xff\1auth=Bearer tok\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ X, TEXT("usr=bob\1auth=Bearer tok\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ X, TEXT("user=bob@x\1auth=tok\1\1"), SASL_FAIL_AUTH, NULL, NULL },
	{ X, TEXT(""), SASL_FAIL_AUTH, NULL, NULL },
};

/* SES-33, SES-35, SES-36; SES-37: the message stays as it was, byte for byte. */
static void test_SES_33_35_36_37_messages(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
		const struct message_case *c = &messages[i];
		struct proto_credential credential;
		struct sasl_exchange exchange;
		struct view token;

		sasl_exchange_init(&exchange);
		assert_int_equal(sasl_exchange_start(&exchange, c->mech), SASL_PROMPT_EMPTY);
		if (respond(&exchange, c->message) != c->result)
			fail_msg("message %zu: %.*s", i, (int)c->message.len, c->message.data);
		if (c->result == SASL_DONE) {
			sasl_exchange_take(&exchange, &credential);
			assert_true(view_eq(buf_view(&credential.message), c->message));
			assert_true(
				view_eq(proto_credential_login(&credential), view_str(c->login)));
			token = view_make(buf_view(&credential.message).data + credential.token_at,
				credential.token_len);
			assert_true(view_eq(token, view_str(c->token)));
			proto_credential_wipe(&credential);
		}
		sasl_exchange_reset(&exchange);
	}
}

/* Tokens: every byte, and the length. */
static void test_SES_35_token_characters(void **state)
{
	static const char good[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				   "-._~+/=";

	(void)state;
	for (int c = 0; c < 256; c++) {
		char text[] = "n,,\1auth=Bearer tXt\1\1";
		struct sasl_exchange exchange;

		text[17] = (char)c;
		sasl_exchange_init(&exchange);
		assert_int_equal(
			sasl_exchange_start(&exchange, SASL_OAUTHBEARER), SASL_PROMPT_EMPTY);
		assert_int_equal(respond(&exchange, view_make(text, sizeof(text) - 1)),
			c && strchr(good, c) ? SASL_DONE : SASL_FAIL_AUTH);
		sasl_exchange_reset(&exchange);
	}
}

static void test_SES_35_token_length(void **state)
{
	(void)state;
	for (size_t len = 12200; len <= 12300; len += 44) {
		struct sasl_exchange exchange;
		struct buf text = { 0 };

		assert_int_equal(buf_append_str(&text, "user=\1auth=Bearer "), 0);
		for (size_t i = 0; i < len; i++)
			assert_int_equal(buf_append(&text, "t", 1), 0);
		sasl_exchange_init(&exchange);
		assert_int_equal(sasl_exchange_start(&exchange, X), SASL_PROMPT_EMPTY);
		assert_int_equal(respond(&exchange, buf_view(&text)),
			len + 18 > 12288       ? SASL_FAIL_TOO_LONG
				: len <= 12288 ? SASL_DONE
					       : SASL_FAIL_AUTH);
		sasl_exchange_reset(&exchange);
		buf_fini(&text);
	}
}

static void test_SES_32_base64(void **state)
{
	static const struct {
		const char *text;
		int result;
	} cases[] = { { "AGJvYgBwdw==", SASL_DONE }, { "AGJvYgBwdw", SASL_DONE },
		{ "AGJvYgBwdw=", SASL_FAIL_BASE64 }, { "AGJvYgBwdx==", SASL_FAIL_BASE64 },
		{ "AGJv YgBwdw==", SASL_FAIL_BASE64 }, { "AGJvYgBwdw==\n", SASL_FAIL_BASE64 },
		{ "AGJvYgBwdw===", SASL_FAIL_BASE64 }, { "AGJvYgBwd-==", SASL_FAIL_BASE64 },
		{ "A", SASL_FAIL_BASE64 }, { "*", SASL_FAIL_CANCELLED }, { "**", SASL_FAIL_BASE64 },
		{ "=", SASL_FAIL_BASE64 }, { "", SASL_FAIL_AUTH } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sasl_exchange exchange;

		sasl_exchange_init(&exchange);
		assert_int_equal(sasl_exchange_start(&exchange, SASL_PLAIN), SASL_PROMPT_EMPTY);
		if (sasl_exchange_response(&exchange, view_str(cases[i].text)) != cases[i].result)
			fail_msg("%s", cases[i].text);
		sasl_exchange_reset(&exchange);
	}
}

static void test_SES_34_login(void **state)
{
	static const struct {
		struct view user, password;
		int first, second;
	} cases[] = {
		{ TEXT("bob"), TEXT("pw"), SASL_PROMPT_PASSWORD, SASL_DONE },
		{ TEXT(""), TEXT("pw"), SASL_FAIL_AUTH, 0 },
		{ TEXT("bob"), TEXT(""), SASL_PROMPT_PASSWORD, SASL_FAIL_AUTH },
		{ TEXT("b\0b"), TEXT("pw"), SASL_PROMPT_PASSWORD, SASL_FAIL_AUTH },
		{ TEXT("bob"), TEXT("p\0w"), SASL_PROMPT_PASSWORD, SASL_FAIL_AUTH },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct proto_credential credential;
		struct sasl_exchange exchange;

		sasl_exchange_init(&exchange);
		assert_int_equal(sasl_exchange_start(&exchange, SASL_LOGIN), SASL_PROMPT_USER);
		assert_int_equal(respond(&exchange, cases[i].user), cases[i].first);
		if (cases[i].first == SASL_PROMPT_PASSWORD)
			assert_int_equal(respond(&exchange, cases[i].password), cases[i].second);
		if (cases[i].first == SASL_PROMPT_PASSWORD && cases[i].second == SASL_DONE) {
			sasl_exchange_take(&exchange, &credential);
			assert_true(view_eq(buf_view(&credential.message), VIEW_LIT("\0bob\0pw")));
			assert_int_equal(credential.mech, SASL_LOGIN);
			proto_credential_wipe(&credential);
		}
		sasl_exchange_reset(&exchange);
	}
}

/* ---- every byte in a field ---- */

enum field { ANY_TEXT, PASSWORD, SASLNAME, USER, VALUE };

static bool field_takes(enum field field, unsigned char c)
{
	switch (field) {
	case PASSWORD: /* in whatever encoding */
		return c != 0;
	case VALUE: /* of a pair that is not looked at: anything that does not end it */
		return c != 1;
	case USER:
		return c > 1 && c < 0x80;
	case SASLNAME:
		return c > 1 && c < 0x80 && c != ',' && c != '=';
	default:
		return c && c < 0x80;
	}
}

/* A byte of its own is no UTF-8 from 0x80 on. What controls and blanks mean is judged later, by the
 * rules for logins. */
static void test_10_every_byte_in_a_field(void **state)
{
	static const struct {
		enum sasl_mech mech;
		struct view message; /* the '?' is replaced */
		enum field field;
	} cases[] = {
		{ SASL_PLAIN, TEXT("a?z\0bob\0pw"), ANY_TEXT },
		{ SASL_PLAIN, TEXT("\0b?b\0pw"), ANY_TEXT },
		{ SASL_PLAIN, TEXT("\0bob\0p?w"), PASSWORD },
		{ B, TEXT("n,a=b?b,\1auth=Bearer t\1\1"), SASLNAME },
		{ B, TEXT("n,,\1host=a?b\1auth=Bearer t\1\1"), VALUE },
		{ X, TEXT("user=b?b\1auth=Bearer t\1\1"), USER },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		for (int c = 0; c < 256; c++) {
			struct sasl_exchange exchange;
			char text[64];

			memcpy(text, cases[i].message.data, cases[i].message.len);
			*(char *)memchr(text, '?', sizeof(text)) = (char)c;
			sasl_exchange_init(&exchange);
			(void)sasl_exchange_start(&exchange, cases[i].mech);
			if (respond(&exchange, view_make(text, cases[i].message.len)) !=
				(field_takes(cases[i].field, (unsigned char)c) ? SASL_DONE
									       : SASL_FAIL_AUTH))
				fail_msg("message %zu, byte %d", i, c);
			sasl_exchange_reset(&exchange);
		}
	}
}

/* SES-38: nothing of a refused attempt is kept, and the next one is not disturbed. */
static void test_SES_38_refused_is_wiped(void **state)
{
	static const struct {
		enum sasl_mech mech;
		const char *first, *second; /* base64 */
		int result;
	} cases[] = {
		{ SASL_PLAIN, "c2VjcmV0", NULL, SASL_FAIL_AUTH },
		{ SASL_PLAIN, "c2VjcmV0!", NULL, SASL_FAIL_BASE64 },
		{ SASL_LOGIN, "Ym9i", "*", SASL_FAIL_CANCELLED },
		{ SASL_LOGIN, "Ym9i", "!", SASL_FAIL_BASE64 },
		{ SASL_LOGIN, "Ym9i", "cAB3", SASL_FAIL_AUTH },
		{ B, "bixhPWJvYixhdXRo", NULL, SASL_FAIL_AUTH },
		{ B, "bixhPWJvYiwBYXV0aD1CZWFyZXIgdA==", NULL, SASL_FAIL_AUTH },
		{ X, "dXNlcj1ib2I=", NULL, SASL_FAIL_AUTH },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct sasl_exchange exchange;
		int r;

		sasl_exchange_init(&exchange);
		(void)sasl_exchange_start(&exchange, cases[i].mech);
		r = sasl_exchange_response(&exchange, view_str(cases[i].first));
		if (cases[i].second) {
			assert_int_equal(r, SASL_PROMPT_PASSWORD);
			r = sasl_exchange_response(&exchange, view_str(cases[i].second));
		}
		assert_int_equal(r, cases[i].result);
		assert_null(exchange.credential.message.data);
		assert_null(exchange.credential.oauth_name.data);
		assert_null(exchange.user.data);
		assert_int_equal(exchange.credential.token_len, 0);
		(void)sasl_exchange_start(&exchange, SASL_PLAIN);
		assert_int_equal(respond(&exchange, VIEW_LIT("\0bob\0pw")), SASL_DONE);
		assert_true(view_eq(proto_credential_login(&exchange.credential), VIEW_LIT("bob")));
		sasl_exchange_reset(&exchange);
	}
}

/* 16384 base64 bytes are the most, whatever they are. */
static void test_section_3_response_length(void **state)
{
	static char text[PROTO_SASL_BASE64_BYTES + 1];

	(void)state;
	memset(text, 'A', sizeof(text));
	for (int mech = 0; mech < SASL_MECHS; mech++) {
		struct sasl_exchange exchange;

		sasl_exchange_init(&exchange);
		(void)sasl_exchange_start(&exchange, (enum sasl_mech)mech);
		assert_int_equal(sasl_exchange_response(&exchange, view_make(text, sizeof(text))),
			SASL_FAIL_TOO_LONG);
		(void)sasl_exchange_start(&exchange, (enum sasl_mech)mech);
		assert_int_equal(
			sasl_exchange_response(&exchange, view_make(text, sizeof(text) - 1)),
			mech == SASL_LOGIN ? SASL_PROMPT_PASSWORD : SASL_FAIL_AUTH);
		sasl_exchange_reset(&exchange);
	}
}

static void test_names(void **state)
{
	(void)state;
	for (int mech = 0; mech < SASL_MECHS; mech++)
		assert_int_equal(
			sasl_mech_find(view_str(sasl_mech_name((enum sasl_mech)mech))), mech);
	assert_int_equal(sasl_mech_find(VIEW_LIT("xOauth2")), X);
	assert_int_equal(sasl_mech_find(VIEW_LIT("XOAUTH")), -1);
	assert_int_equal(sasl_mech_find(VIEW_LIT("XOAUTH22")), -1);
	assert_int_equal(sasl_mech_find(VIEW_LIT("PLAIN\0")), -1);
	assert_int_equal(sasl_mech_find(VIEW_LIT("")), -1);
}

/* ---- XCLIENT ---- */

/* Attributes that are not read may hold what they want, as long as they want. */
static void test_SES_61_others_are_ignored(void **state)
{
	static const char *const words[] = { "LOGIN=a+b", "FORWARD=a+/+x==", "HELO=+zz",
		"PROTO=", "CLIENT-TRANSPORT=+", "NAME=[UNAVAILABLE]", "X=\xff" };
	struct buf text = { 0 };

	(void)state;
	for (int xtext = 0; xtext < 2; xtext++) {
		struct front_peer peer = { 0 };

		buf_clear(&text);
		for (size_t i = 0; i < ARRAY_SIZE(words); i++)
			assert_int_equal(buf_printf(&text, "%s ", words[i]), 0);
		assert_int_equal(buf_printf(&text, "FORWARD=%0*d TTL=7", 4000, 0), 0);
		assert_int_equal(xclient_parse(buf_view(&text), xtext, &peer), 0);
		assert_int_equal(peer.ttl, 7);
		assert_int_equal(xclient_parse(VIEW_LIT("TTL"), xtext, &peer), -EINVAL);
		assert_int_equal(xclient_parse(VIEW_LIT("=7"), xtext, &peer), -EINVAL);
		assert_int_equal(xclient_parse(VIEW_LIT("LOGIN"), xtext, &peer), -EINVAL);
	}
	buf_fini(&text);
}

static void test_SES_61_addresses(void **state)
{
	static const struct {
		const char *text, *addr; /* addr NULL: a bad value */
	} cases[] = { { "192.0.2.1", "192.0.2.1" }, { "2001:db8::1", "2001:db8::1" },
		{ "IPV6:2001:db8::1", "2001:db8::1" }, { "ipv6:::1", "::1" },
		{ "IPV6:192.0.2.1", NULL }, { "IPV6:", NULL }, { "IPV6:IPV6:::1", NULL },
		{ "", NULL }, { "localhost", NULL }, { "192.0.2.01", NULL }, { "[::1]", NULL },
		{ "fe80::1%lo", NULL }, { "192.0.2.1:25", NULL }, { "[UNAVAILABLE]", "" },
		{ "[tempunavail]", "" }, { "[OTHER]", NULL } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct front_peer peer = { 0 };

		assert_int_equal(front_peer_set(&peer, VIEW_LIT("ADDR"), view_str(cases[i].text)),
			cases[i].addr ? 0 : -EINVAL);
		assert_string_equal(peer.addr, cases[i].addr ? cases[i].addr : "");
		assert_int_equal(
			front_peer_set(&peer, VIEW_LIT("destaddr"), view_str(cases[i].text)),
			cases[i].addr ? 0 : -EINVAL);
		assert_string_equal(peer.dest_addr, cases[i].addr ? cases[i].addr : "");
	}
}

static void test_SES_61_numbers(void **state)
{
	static const struct {
		const char *name, *text;
		int value; /* -1: a bad value */
	} cases[] = { { "TTL", "0", 0 }, { "TTL", "255", 255 }, { "TTL", "256", -1 },
		{ "TTL", "", -1 }, { "TTL", "-1", -1 }, { "TTL", "+1", -1 }, { "TTL", "1 ", -1 },
		{ "TTL", "0x1", -1 }, { "TTL", "18446744073709551617", -1 }, { "PORT", "1", 1 },
		{ "PORT", "65535", 65535 }, { "PORT", "65536", -1 }, { "PORT", "0", -1 } };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct front_peer peer = { 0 };
		int r = front_peer_set(&peer, view_str(cases[i].name), view_str(cases[i].text));

		assert_int_equal(r, cases[i].value < 0 ? -EINVAL : 0);
		assert_int_equal(peer.has_ttl, r == 0 && cases[i].name[0] == 'T');
		if (r == 0)
			assert_int_equal(peer.has_ttl ? peer.ttl : peer.port, cases[i].value);
	}
}

/* #10: every byte in a session id, plain and in xtext. */
static void test_10_every_byte_in_a_value(void **state)
{
	(void)state;
	for (int c = 0; c < 256; c++) {
		struct front_peer peer = { 0 };
		char text[32], value[4] = { 'a', (char)c, 'b', 0 };
		bool printable = c > ' ' && c <= '~';

		assert_int_equal(front_peer_set(&peer, VIEW_LIT("session"), view_make(value, 3)),
			printable ? 0 : -EINVAL);
		snprintf(text, sizeof(text), "SESSION=a+%02Xb", c);
		assert_int_equal(
			xclient_parse(view_str(text), true, &peer), printable ? 0 : -EINVAL);
		if (printable)
			assert_memory_equal(peer.session, value, 4);
	}
}

static void test_SES_61_all_or_nothing(void **state)
{
	struct front_peer peer = { 0 };

	(void)state;
	assert_int_equal(
		xclient_parse(VIEW_LIT("TTL=5 ADDR=192.0.2.1 PORT=x"), true, &peer), -EINVAL);
	assert_false(peer.has_ttl);
	assert_string_equal(peer.addr, "");
	assert_int_equal(xclient_parse(VIEW_LIT("  ttl=5  ADDR=[UNAVAILABLE] NAME=x LOGIN=eve "),
				 true, &peer),
		0);
	assert_true(peer.has_ttl);
	assert_string_equal(peer.addr, "");
}

static void test_14_login_is_never_written(void **state)
{
	static const struct back_forward forward = { .client_ip = "2001:db8::1",
		.local_ip = "192.0.2.2",
		.client_port = 1,
		.local_port = 2,
		.ttl = 3,
		.session_id = "H1+1=",
		.client_tls = false };
	struct buf out = { 0 };
	bool any;

	(void)state;
	assert_int_equal(xclient_write(&out, &forward, "a+b c", UINT32_MAX, true, &any), 0);
	assert_true(view_eq(buf_view(&out),
		VIEW_LIT(" ADDR=IPV6:2001:db8::1 PORT=1 DESTADDR=192.0.2.2 DESTPORT=2 "
			 "SESSION=H1+2B1+3D TTL=3 CLIENT-TRANSPORT=insecure HELO=a+2Bb+20c "
			 "PROTO=ESMTP")));
	buf_clear(&out);
	assert_int_equal(xclient_write(&out, &forward, "", XCLIENT_ALL_OF_POP3, false, &any), 0);
	assert_true(view_eq(buf_view(&out),
		VIEW_LIT(" ADDR=2001:db8::1 PORT=1 DESTADDR=192.0.2.2 DESTPORT=2 SESSION=H1+1= "
			 "TTL=3 CLIENT-TRANSPORT=insecure")));
	buf_clear(&out);
	assert_int_equal(xclient_write(&out, &forward, "",
				 xclient_listed(VIEW_LIT("NAME LOGIN helo")), true, &any),
		0);
	assert_false(any);
	assert_int_equal(out.len, 0);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_SES_33_35_36_37_messages),
		cmocka_unit_test(test_SES_35_token_characters),
		cmocka_unit_test(test_SES_35_token_length),
		cmocka_unit_test(test_10_every_byte_in_a_field),
		cmocka_unit_test(test_SES_38_refused_is_wiped),
		cmocka_unit_test(test_section_3_response_length),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_SES_32_base64),
		cmocka_unit_test(test_SES_34_login),
		cmocka_unit_test(test_10_every_byte_in_a_value),
		cmocka_unit_test(test_SES_61_all_or_nothing),
		cmocka_unit_test(test_SES_61_others_are_ignored),
		cmocka_unit_test(test_SES_61_addresses),
		cmocka_unit_test(test_SES_61_numbers),
		cmocka_unit_test(test_14_login_is_never_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

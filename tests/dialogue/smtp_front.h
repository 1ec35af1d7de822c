// SPDX-License-Identifier: Apache-2.0
/* The texts of submission's front, and how a test talks to one. Private to the smtp_front tests. */
#ifndef TESTS_DIALOGUE_SMTP_FRONT_H
#define TESTS_DIALOGUE_SMTP_FRONT_H

#include "dialogue/dialogue.h"

#include <errno.h>

enum {
	RAW = BIT(0),     /* no EHLO was sent before */
	PLAIN = BIT(1),   /* credentials are not permitted, STARTTLS is offered */
	TRUSTED = BIT(2), /* the peer may say XCLIENT */
	FEW = BIT(3),     /* PLAIN is the only mechanism */
	NONE = BIT(4),    /* no mechanism and no EHLO keyword are configured */
	V6 = BIT(5),
};

#define PRIVACY "538 5.7.11 Encryption required for requested authentication mechanism\r\n"
#define FAILED "535 5.7.8 Authentication failed\r\n"
#define UNKNOWN "500 5.5.2 Command not recognised\r\n"
#define LIMIT "421 4.7.0 h.example Too many failed attempts\r\n"
#define NO_NAME "501 5.5.4 Name required\r\n"
#define BAD_CHUNK "521 5.5.4 Bad chunk size\r\n"
#define BASE64 "501 5.5.2 Invalid base64\r\n"
#define NO_MECH "504 5.5.4 Mechanism not supported\r\n"
#define CANCELLED "501 5.7.0 Authentication cancelled\r\n"
#define LOGIN_FIRST "530 5.7.0 Authentication required\r\n"
#define OK "250 2.0.0 OK\r\n"
#define CLOSING "221 2.0.0 Closing\r\n"
#define GREETING "220 h.example ESMTP ready now\r\n"
#define USER "334 VXNlcm5hbWU6\r\n"
#define PASSWORD "334 UGFzc3dvcmQ6\r\n"
#define BAD_XCLIENT "501 5.5.4 Bad XCLIENT value\r\n"
#define HELLO(client) "250-h.example Hello [" client "]\r\n250-8BITMIME\r\n250-SIZE 1000\r\n"
#define MECHS "250 AUTH PLAIN LOGIN OAUTHBEARER XOAUTH2\r\n"
#define XCLIENT_LINE \
	"XCLIENT ADDR PORT DESTADDR DESTPORT SESSION TTL CLIENT-TRANSPORT HELO PROTO\r\n"
#define EXCHANGE_TOO_LONG "500 5.5.6 Authentication exchange line is too long\r\n"

static inline struct front *make_bare(int leg)
{
	static const enum sasl_mech mechs[] = { SASL_PLAIN, SASL_LOGIN, SASL_OAUTHBEARER,
		SASL_XOAUTH2 };
	struct front_params params = { .host = "h.example",
		.banner = "ready now",
		.capabilities = leg & NONE ? "" : "8BITMIME\nSIZE 1000",
		.client = leg & V6 ? "IPv6:2001:db8::1" : "203.0.113.5",
		.mechs = mechs,
		.mech_count = leg & NONE ? 0
			: leg & FEW      ? 1
					 : ARRAY_SIZE(mechs),
		.offer_starttls = leg & PLAIN,
		.permit_auth = !(leg & PLAIN),
		.trusted = leg & TRUSTED,
		.max_attempts = 3 };
	struct front *front;

	assert_int_equal(smtp_front_ops.create(&params, &front), 0);
	return front;
}

static inline struct front *make(int leg)
{
	struct front *front = make_bare(leg);
	struct buf out = { 0 };

	if (!(leg & RAW))
		assert_int_equal(play_front(&smtp_front_ops, front,
					 VIEW_LIT("EHLO first.example\r\n"), SIZE_MAX, &out),
			PROTO_MORE);
	buf_fini(&out);
	return front;
}

static inline void expect(const char *name, size_t first, const struct buf *out, const char *text)
{
	if (!view_eq(buf_view(out), view_str(text)))
		fail_msg("%s (cut %zd): \"%.*s\" is not \"%s\"", name, first, (int)out->len,
			buf_view(out).data, text);
}

static inline void check_credential(struct front *front, const char *text)
{
	struct proto_credential credential;
	struct view message;
	char *said;

	smtp_front_ops.take_credential(front, &credential);
	message = buf_view(&credential.message);
	said = view_dup(message);
	for (size_t i = 0; i < message.len; i++)
		said[i] = said[i] == 0 ? '|' : said[i] == 1 ? '^' : said[i];
	assert_string_equal(said, text);
	assert_string_equal(credential.tag, "");
	free(said);
	proto_credential_wipe(&credential);
}

#endif

// SPDX-License-Identifier: Apache-2.0
/* A back of IMAP, and what nodes and it say, as the tests of its conversations want them. */
#ifndef TESTS_IMAP_BACK_H
#define TESTS_IMAP_BACK_H

#include "dialogue/dialogue.h"
#include "proto/sasl.h"

#define CRED "a AUTHENTICATE PLAIN AGJvYgBwdw==\r\n"
#define XOAUTH "a AUTHENTICATE XOAUTH2 dXNlcj1ib2JAeAFhdXRoPUJlYXJlciB0b2sBAQ==\r\n"
#define IR "* OK [CAPABILITY IMAP4rev1 SASL-IR] hi\r\n"
#define ID_LINE                                                                                \
	"H1 ID (\"x-originating-ip\" \"192.0.2.1\" \"x-originating-port\" \"4000\" "           \
	"\"x-connected-ip\" \"192.0.2.9\" \"x-connected-port\" \"993\" \"x-proxy-ttl\" \"6\" " \
	"\"x-session-id\" \"H1234-1\" \"x-client-transport\" \"TLS\")\r\n"

static const struct back_forward forward = { .client_ip = "192.0.2.1",
	.local_ip = "192.0.2.9",
	.client_port = 4000,
	.local_port = 993,
	.ttl = 6,
	.session_id = "H1234-1",
	.client_tls = true };

static inline struct back *make(bool starttls, bool forwards, const char *tag)
{
	struct back_params params = { .starttls = starttls,
		.host = "h",
		.client_tag = tag,
		.forward = forwards ? &forward : NULL };
	struct back *back;

	assert_int_equal(imap_back_ops.create(&params, &back), 0);
	return back;
}

static inline void make_credential(
	struct proto_credential *credential, const char *tag, enum sasl_mech mech)
{
	static const char *const messages[SASL_MECHS] = {
		[SASL_OAUTHBEARER] = "n,a=bob@x,\1auth=Bearer tok\1\1",
		[SASL_XOAUTH2] = "user=bob@x\1auth=Bearer tok\1\1",
	};

	*credential = (struct proto_credential){ .mech = mech };
	buf_init(&credential->message, 0, true);
	if (messages[mech]) {
		assert_int_equal(buf_append_str(&credential->message, messages[mech]), 0);
		assert_int_equal(sasl_parse(credential), 0);
	} else {
		assert_int_equal(sasl_make_plain(credential, VIEW_LIT("bob"), VIEW_LIT("pw")), 0);
	}
	snprintf(credential->tag, sizeof(credential->tag), "%s", tag);
}

static inline void expect(const char *name, const struct buf *buf, const char *text)
{
	if (buf->len != strlen(text) || memcmp(buf_view(buf).data, text, buf->len) != 0)
		fail_msg("%s: \"%.*s\" is not \"%s\"", name, (int)buf->len, buf_view(buf).data,
			text);
}

#endif

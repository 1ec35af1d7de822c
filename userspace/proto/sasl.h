// SPDX-License-Identifier: Apache-2.0
/* SASL messages: checking them and finding the login name (RFC 4616, RFC 7628, XOAUTH2; SES-32 to
 * SES-36), and the server's side of one exchange. Pure. */
#ifndef PROTO_SASL_H
#define PROTO_SASL_H

#include "proto/proto.h"

/* -1 if there is no such mechanism; names match in any case. */
int sasl_mech_find(struct view name);

/* Takes the decoded message in credential->message apart, by credential->mech (not LOGIN).
 * Returns 0, -EINVAL (auth failed), or -ENOMEM. */
MUST_USE int sasl_parse(struct proto_credential *credential);
/* Makes a PLAIN message of a name and a password (mechanism LOGIN, command LOGIN, USER and PASS)
 * and parses it; mech is left alone. Returns 0, -EINVAL (empty, NUL, not UTF-8), or
 * -ENOMEM/-ENOBUFS. */
MUST_USE int sasl_make_plain(
	struct proto_credential *credential, struct view user, struct view password);

/* ---- one exchange, as a server ---- */

struct sasl_exchange {
	struct proto_credential credential; /* credential.mech: the mechanism of the attempt */
	struct buf user;                    /* of the mechanism LOGIN, between its two prompts */
};

enum sasl_step {
	SASL_DONE = 0,        /* credential is complete and well formed */
	SASL_PROMPT_USER,     /* LOGIN: send SASL_USER_PROMPT, take a response */
	SASL_PROMPT_PASSWORD, /* LOGIN: send SASL_PASSWORD_PROMPT, take a response */
	SASL_PROMPT_EMPTY,    /* send the empty challenge, take a response */
	/* The attempt is over and wiped; the front says so and counts (sessions.md section 5.1). */
	SASL_FAIL_AUTH,
	SASL_FAIL_BASE64,
	SASL_FAIL_TOO_LONG,
	SASL_FAIL_CANCELLED,
};
#define SASL_USER_PROMPT "VXNlcm5hbWU6"
#define SASL_PASSWORD_PROMPT "UGFzc3dvcmQ6"

void sasl_exchange_init(struct sasl_exchange *exchange);
/* Wipes and frees; may be used again. */
void sasl_exchange_reset(struct sasl_exchange *exchange);
/* Starts an attempt without an initial response: a SASL_PROMPT_*. */
enum sasl_step sasl_exchange_start(struct sasl_exchange *exchange, enum sasl_mech mech);
/* A response, base64 without the line end (of the command line after sasl_exchange_start(), or a
 * line of its own). "*" cancels. Returns an enum sasl_step or -ENOMEM. */
MUST_USE int sasl_exchange_response(struct sasl_exchange *exchange, struct view base64);
/* Moves the credential out; the exchange is reset. */
void sasl_exchange_take(struct sasl_exchange *exchange, struct proto_credential *ret_credential);

#endif

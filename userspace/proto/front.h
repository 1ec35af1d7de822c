// SPDX-License-Identifier: Apache-2.0
/* Private to proto/: what every front keeps, whatever it speaks. Replies stay in the protocol's own
 * file. */
#ifndef PROTO_FRONT_H
#define PROTO_FRONT_H

#include "proto/sasl.h"

/* Commands that one connection may have answered before it is logged in: refusals that do not count
 * as failed attempts, and NOOP and the like, are bounded by it (SES-16). */
#define FRONT_COMMANDS 100

enum front_state {
	FRONT_COMMAND,
	FRONT_RESPONSE,  /* a SASL response is awaited */
	FRONT_DISCARD,   /* the rest of a line that has been answered */
	FRONT_CHUNK,     /* submission: octets announced by a command that is refused */
	FRONT_WANTS_TLS, /* STARTTLS was asked for */
	FRONT_HAS_CREDENTIAL,
	FRONT_ENDED,
};

typedef int front_input_fn(
	struct front *front, struct view in, size_t *ret_consumed, struct buf *out);

/* How a protocol says what all of them say. */
struct front_dialect {
	const char *prompt_user, *prompt_password, *prompt_empty;
	const char *auth_failed, *unavailable; /* of attempts that may be followed by others */
	const char *bad_base64, *long_response, *cancelled, *privacy;
	/* Answers the command or attempt under way; returns as proto_say(), which it is if NULL. */
	int (*answer)(struct front *front, struct buf *out, const char *text);
	/* The last word after the last failed attempt; NULL: there is none. */
	int (*limit)(struct front *front, struct buf *out);
	/* What is said before the end for UNAVAILABLE, SHUTDOWN, TIMEOUT and VIOLATION. */
	int (*goodbye)(struct front *front, enum front_reply reply, struct buf *out);
	/* Forgets what the protocol itself keeps of an attempt. */
	void (*forget)(struct front *front);
	/* What input is in FRONT_COMMAND and FRONT_RESPONSE, for front_base_input(); in is not
	 * empty, *ret_consumed is 0. */
	front_input_fn *command, *response;
};

struct front_base {
	const struct front_dialect *dialect;
	enum front_state state;
	enum front_end end;
	char *host, *banner, *capabilities, *implementation, *client; /* owned; never NULL */
	enum sasl_mech mechs[SASL_MECHS];                             /* offered */
	size_t mech_count;
	bool offer_starttls, permit_auth, trusted;
	unsigned max_attempts, attempts, privacy;
	unsigned commands; /* answered before a login */
	int last_mech;
	struct sasl_exchange sasl;
	struct front_peer peer;
};

/* A front of size bytes, whose struct begins with its base, zeroed behind it. Returns 0 or
 * -ENOMEM. */
MUST_USE int front_base_create(size_t size, const struct front_dialect *dialect,
	const struct front_params *params, struct front **ret_front);
void front_base_free(struct front *front); /* NULL is fine */

/* The mechanism named by the client if it is offered, else -1. Notes it as the last one. */
int front_base_mech(struct front *front, struct view name);
/* An attempt with this mechanism starts (LOGIN of IMAP and USER of POP3 count as PLAIN). */
void front_base_attempt(struct front *front, enum sasl_mech mech);
/* Says and counts that TLS is needed first. */
MUST_USE int front_base_want_privacy(struct front *front, struct buf *out);
/* The end, after r of what was said. Returns FRONT_CLOSE or r < 0. */
MUST_USE int front_base_close(struct front *front, enum front_end why, int r);
/* Counts a failed attempt whose reply was r; at the limit says so and ends (SES-16). */
MUST_USE int front_base_count(struct front *front, struct buf *out, int r);
/* The attempt names a mechanism that is not offered: forgets and answers it. Clients try what they
 * like best first, so it does not count as failed (SES-16). */
MUST_USE int front_base_unsupported(struct front *front, struct buf *out, const char *text);
/* What came of one command's input, r: counts what was answered, and ends at FRONT_COMMANDS (more
 * by the failed attempts, which have their own limit) as at the limit of attempts. Returns r or
 * what the end comes to. */
MUST_USE int front_base_command(struct front *front, struct buf *out, int r);
/* The attempt has failed: forgets it, answers it, counts it. */
MUST_USE int front_base_fail(struct front *front, struct buf *out, const char *text);
/* What the exchange wants next: step is what sasl.h returned. */
MUST_USE int front_base_step(struct front *front, int step, struct buf *out);
/* Input of front_ops, for protocols whose commands and responses are told by their states alone. */
MUST_USE int front_base_input(
	struct front *front, struct view in, size_t *ret_consumed, struct buf *out);
/* FRONT_DISCARD up to an LF. Returns PROTO_MORE or PROTO_AGAIN. */
MUST_USE int front_base_discard(struct front *front, struct view in, size_t *ret_consumed);

/* What the caller tells; of front_ops. */
void front_base_starttls_done(struct front *front, bool permit_auth); /* SES-14 */
void front_base_take_credential(struct front *front, struct proto_credential *ret_credential);
MUST_USE int front_base_reply(struct front *front, enum front_reply reply, struct buf *out);
MUST_USE int front_base_refused(struct front *front, struct buf *out);

/* The questions of front_ops that the base answers; struct front begins with its base. */
enum front_end front_base_end(const struct front *front);
unsigned front_base_attempts(const struct front *front);
unsigned front_base_privacy(const struct front *front);
int front_base_last_mech(const struct front *front);
const struct front_peer *front_base_peer(const struct front *front);
#define FRONT_BASE_OPS                                                                   \
	.reply = front_base_reply, .refused = front_base_refused, .end = front_base_end, \
	.attempts = front_base_attempts, .privacy = front_base_privacy,                  \
	.last_mech = front_base_last_mech, .peer = front_base_peer

/* The mechanisms offered, each behind this text. Returns 0 or an error of the buffer. */
MUST_USE int front_base_put_mechs(
	const struct front_base *base, struct buf *out, const char *before);
/* A line and CRLF. Returns PROTO_AGAIN or an error of the buffer. */
MUST_USE int proto_say(struct buf *out, const char *line);

/* ---- metadata of trusted peers (SES-61) ---- */

/* Takes one attribute by its XCLIENT name (any case); value is decoded. Unknown ones are ignored.
 * "[UNAVAILABLE]", "[TEMPUNAVAIL]" count as not given. Returns 0 or -EINVAL (bad value). */
MUST_USE int front_peer_set(struct front_peer *peer, struct view name, struct view value);
/* NAME=VALUE words separated by blanks; xtext: values are in xtext (RFC 3461 section 4;
 * submission), else they are plain. All or nothing. Returns 0 or -EINVAL. */
MUST_USE int xclient_parse(struct view words, bool xtext, struct front_peer *peer);

#define XCLIENT_NAMES "ADDR PORT DESTADDR DESTPORT SESSION TTL CLIENT-TRANSPORT"

/* Bits of the attributes that a node lists, in the order in which they are sent (section 10). */
enum xclient_attribute {
	XCLIENT_ADDR,
	XCLIENT_PORT,
	XCLIENT_DESTADDR,
	XCLIENT_DESTPORT,
	XCLIENT_SESSION,
	XCLIENT_TTL,
	XCLIENT_CLIENT_TRANSPORT,
	XCLIENT_HELO,
	XCLIENT_PROTO,
	XCLIENT_ATTRIBUTES
};
#define XCLIENT_ALL_OF_POP3 (BIT(XCLIENT_HELO) - 1) /* what POP3 and ManageSieve send */

/* The bits of the names in a node's announcement (words separated by blanks, any case). */
unsigned xclient_listed(struct view words);
/* Appends " NAME=VALUE" for each bit of mask, values in xtext; smtp: IPv6 as "IPV6:addr", HELO only
 * if helo is not empty, PROTO=ESMTP. Returns 0 or an error of the buffer. *ret_any: one was
 * written. */
MUST_USE int xclient_write(struct buf *out, const struct back_forward *forward, const char *helo,
	unsigned mask, bool smtp, bool *ret_any);

#endif

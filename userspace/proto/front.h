// SPDX-License-Identifier: Apache-2.0
/* Private to proto/: what every front keeps, whatever it speaks. Replies stay in the protocol's own
 * file. */
#ifndef PROTO_FRONT_H
#define PROTO_FRONT_H

#include "proto/sasl.h"

struct front_base {
	enum front_end end;
	char *host, *banner, *capabilities, *implementation, *client; /* owned; never NULL */
	enum sasl_mech mechs[SASL_MECHS];                             /* offered */
	size_t mech_count;
	bool offer_starttls, permit_auth, trusted;
	unsigned max_attempts, attempts, privacy;
	int last_mech;
	struct sasl_exchange sasl;
	struct front_peer peer;
};

/* Returns 0 or -ENOMEM (then nothing is held). */
MUST_USE int front_base_init(struct front_base *base, const struct front_params *params);
void front_base_fini(struct front_base *base);

/* The mechanism named by the client if it is offered, else -1. Notes it as the last one. */
int front_base_mech(struct front_base *base, struct view name);
/* An attempt with this mechanism starts (LOGIN of IMAP and USER of POP3 count as PLAIN). */
void front_base_attempt(struct front_base *base, enum sasl_mech mech);
void front_base_count_privacy(struct front_base *base);
/* Counts a failed attempt (SES-16). True: that was the last one; say so and close. */
bool front_base_count(struct front_base *base);
/* After STARTTLS (SES-14). */
void front_base_starttls_done(struct front_base *base, bool permit_auth);

/* The questions of front_ops that the base answers; struct front begins with its base. */
enum front_end front_base_end(const struct front *front);
unsigned front_base_attempts(const struct front *front);
unsigned front_base_privacy(const struct front *front);
int front_base_last_mech(const struct front *front);
const struct front_peer *front_base_peer(const struct front *front);
#define FRONT_BASE_OPS                                                                         \
	.end = front_base_end, .attempts = front_base_attempts, .privacy = front_base_privacy, \
	.last_mech = front_base_last_mech, .peer = front_base_peer

/* A line and CRLF. Returns PROTO_AGAIN or an error of the buffer. */
MUST_USE int proto_say(struct buf *out, const char *line);

/* ---- metadata of trusted peers (SES-61) ---- */

/* Takes one attribute by its XCLIENT name (any case); value is decoded. Unknown ones are ignored.
 * "[UNAVAILABLE]", "[TEMPUNAVAIL]" count as not given. Returns 0 or -EINVAL (bad value). */
MUST_USE int front_peer_set(struct front_peer *peer, struct view name, struct view value);
/* NAME=VALUE words separated by blanks, values in xtext (RFC 3461 section 4). All or nothing.
 * Returns 0 or -EINVAL. */
MUST_USE int xclient_parse(struct view words, struct front_peer *peer);

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

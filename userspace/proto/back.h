// SPDX-License-Identifier: Apache-2.0
/* Private to proto/: what every back keeps, and what they do alike: reading replies line by line
 * within the limits, holding back what the node says to the credential, sending the credential, at once
 * or after a prompt. */
#ifndef PROTO_BACK_H
#define PROTO_BACK_H

#include "proto/line.h"

#define BACK_LINES_PER_REPLY 256
#define BACK_LINES_IN_REPLAY 64
/* A command line longer than this waits for the prompt (section 12). */
#define BACK_COMMAND_BYTES 12288

struct back_base {
	enum back_failure failure;
	bool want_starttls, forwards, utf8, temporarily, for_good, sent;
	bool answered; /* an OAuth error's detail has been answered */
	bool greeted;
	const char *cause; /* of a failure, in words; NULL: what the node said is the cause */
	struct back_forward forward;
	char session_id[32], client_ip[64], local_ip[64];
	char host[PROTO_HELO_BYTES + 1], helo[PROTO_HELO_BYTES + 1];
	unsigned lines;
	size_t scanned;
	enum sasl_mech mech;
	struct buf held, credential; /* credential: secret, base64, waits for the prompt */
};

/* A back of size bytes, whose struct begins with its base, zeroed behind it. Returns 0 or -ENOMEM. */
MUST_USE int back_base_create(
	size_t size, const struct back_params *params, struct back **ret_back);
void back_base_free(struct back *back); /* NULL is fine */

/* The mechanism as it is replayed: LOGIN has become PLAIN (SES-70). */
const char *back_base_mech_name(const struct proto_credential *credential);

/* Writes "COMMAND M b64" (before, mechanism, between, credential, behind), or without the credential if
 * that would be too long; then it waits in base->credential. Returns 0 or -errno. */
MUST_USE int back_base_replay(struct back_base *base, const struct proto_credential *credential,
	const char *command, struct buf *to_node);
/* The node's prompt: sends the waiting credential, or the one answer to an OAuth error (SES-71). more:
 * bytes are left behind the prompt, which may not be when the credential goes out (SES-57). Returns
 * PROTO_AGAIN, BACK_FAILED or -errno. */
MUST_USE int back_base_prompted(struct back_base *base, bool more, struct buf *to_node);

/* Takes one line. Returns PROTO_MORE, BACK_FAILED (too long, too many) or PROTO_AGAIN with *ret_line
 * and *ret_consumed. in_replay: the line is held for the client. */
MUST_USE int back_base_line(struct back_base *base, struct view in, bool in_replay,
	size_t *ret_consumed, struct view *ret_line);

MUST_USE int back_base_fail(struct back_base *base, enum back_failure failure);
/* base->cause of a leg that wants STARTTLS where the node has none. */
extern const char back_no_starttls[];

/* The questions of back_ops that the base answers; struct back begins with its base. */
bool back_base_credential_sent(const struct back *back);
enum back_failure back_base_failure(const struct back *back);
bool back_base_refused_temporarily(const struct back *back);
bool back_base_refused_for_good(const struct back *back);
bool back_base_greeted(const struct back *back);
const char *back_base_cause(const struct back *back);
#define BACK_BASE_OPS                                                               \
	.credential_sent = back_base_credential_sent, .failure = back_base_failure, \
	.greeted = back_base_greeted, .cause = back_base_cause,                     \
	.refused_temporarily = back_base_refused_temporarily,                       \
	.refused_for_good = back_base_refused_for_good

#endif

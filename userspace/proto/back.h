// SPDX-License-Identifier: Apache-2.0
/* Private to proto/: what every back keeps, and what they do alike: reading replies line by line
 * within the limits, holding back what the node says to the credential, sending the credential, at
 * once or after a prompt. */
#ifndef PROTO_BACK_H
#define PROTO_BACK_H

#include "proto/line.h"

#define BACK_LINES_PER_REPLY 256
#define BACK_LINES_IN_REPLAY 64
/* What a receiver must take of one command, its line end included; a credential that would pass it
 * waits for the prompt: RFC 5321 section 4.5.3.1.4, RFC 2449 section 4, RFC 2683 section
 * 3.2.1.5. */
#define BACK_SMTP_COMMAND_BYTES 512
#define BACK_POP3_COMMAND_BYTES 255
#define BACK_IMAP_COMMAND_BYTES 8000

/* How a credential goes to a node (SES-70). */
enum back_way {
	BACK_WAY_NONE,    /* the node offers nothing that carries it */
	BACK_WAY_MECH,    /* the mechanism itself, LOGIN as PLAIN */
	BACK_WAY_LOGIN,   /* the mechanism LOGIN: name and password, each after a prompt */
	BACK_WAY_COMMAND, /* the protocol's own command: LOGIN, or USER and PASS */
};

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
	bool lists;       /* the node has said what it offers */
	unsigned offered; /* bits of enum sasl_mech */
	unsigned prompts; /* that the credential waits for: one part is sent after each */
	struct buf held, credential, password; /* the parts, secret, as they are sent */
};

/* A back of size bytes, whose struct begins with its base, zeroed behind it. Returns 0 or
 * -ENOMEM. */
MUST_USE int back_base_create(
	size_t size, const struct back_params *params, struct back **ret_back);
void back_base_free(struct back *back); /* NULL is fine */

/* The mechanism of BACK_WAY_MECH: LOGIN has become PLAIN. */
enum sasl_mech back_base_mech(const struct proto_credential *credential);

/* A list of mechanisms, separated by blanks; lists add up. Who names none has said nothing. */
void back_base_offer(struct back_base *base, struct view names);
void back_base_forget_offer(struct back_base *base); /* SES-54 */
/* PLAIN (or the OAuth mechanism) if the node lists it or has not said what it offers; else LOGIN;
 * else the protocol's own command, if there is one that the node takes. */
enum back_way back_base_way(const struct back_base *base, const struct proto_credential *credential,
	bool takes_command);

/* The name and the password of a credential of PLAIN or LOGIN; views into its message. */
struct view back_user(const struct proto_credential *credential);
struct view back_password(const struct proto_credential *credential);

/* Before a replay: remembers the mechanism, begins a reply. */
void back_base_start_replay(struct back_base *base, const struct proto_credential *credential);
/* The parts of BACK_WAY_LOGIN, in base64, for two prompts. Returns 0 or -errno. */
MUST_USE int back_base_login_parts(
	struct back_base *base, const struct proto_credential *credential);
/* BACK_WAY_MECH and BACK_WAY_LOGIN. Writes "COMMAND M b64" and the line end, or without the
 * credential if that would pass limit bytes; then it waits. Returns 0 or -errno. */
MUST_USE int back_base_replay(struct back_base *base, const struct proto_credential *credential,
	enum back_way way, const char *command, size_t limit_bytes, struct buf *to_node);
/* A prompt for the next part: moves it to ret_part (secret). more: bytes are left behind the
 * prompt, which may not be when a secret goes out (SES-57). Returns 0, BACK_FAILED or -errno. */
MUST_USE int back_base_take_part(struct back_base *base, bool more, struct buf *ret_part);
/* The node's prompt, answered by a line: sends the part that waits, or the one answer to an OAuth
 * error (SES-71). Returns PROTO_AGAIN, BACK_FAILED or -errno. */
MUST_USE int back_base_prompted(struct back_base *base, bool more, struct buf *to_node);

/* Takes one line. Returns PROTO_MORE, BACK_FAILED (too long, too many) or PROTO_AGAIN with
 * *ret_line and *ret_consumed. in_replay: the line is held for the client. */
MUST_USE int back_base_line(struct back_base *base, struct view in, bool in_replay,
	size_t *ret_consumed, struct view *ret_line);

MUST_USE int back_base_fail(struct back_base *base, enum back_failure failure);
/* base->cause with BACK_WAY_NONE. */
extern const char back_no_mechanism[];
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

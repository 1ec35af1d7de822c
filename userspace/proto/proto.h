// SPDX-License-Identifier: Apache-2.0
/*
 * What the session needs of a mail protocol: a front (talks to the client up to the credential)
 * and a back (talks to the node up to its verdict). Both are pure state machines: bytes in, bytes
 * and a verdict out. They know no socket, TLS, configuration or log, never block, and own only
 * their small state. All output goes into buffers given by the caller. Views passed in are
 * borrowed for the call.
 *
 * The caller keeps input in a buffer, calls *_input() with all of it, and drops *ret_consumed
 * bytes. It calls again (with what is left, even if empty is pointless) as long as the result is
 * *_AGAIN; PROTO_MORE means: read more bytes from the peer first. Output is sent before anything
 * else happens, whatever the result.
 */
#ifndef PROTO_PROTO_H
#define PROTO_PROTO_H

#include "base/buf.h"
#include "base/view.h"

/* ---- mechanisms and credentials ---- */

enum sasl_mech { SASL_PLAIN, SASL_LOGIN, SASL_OAUTHBEARER, SASL_XOAUTH2, SASL_MECHS };
const char *sasl_mech_name(enum sasl_mech mech);

#define PROTO_TAG_BYTES 128        /* IMAP tag */
#define PROTO_INPUT_BYTES 65536    /* one client command, literals included */
#define PROTO_NODE_LINE_BYTES 8192 /* node line */
#define PROTO_SASL_BASE64_BYTES 16384

/* One complete credential, as the front hands it out. Wiped with proto_credential_wipe(). */
struct proto_credential {
	enum sasl_mech mech; /* as the client named it; replayed as PLAIN when LOGIN */
	struct buf
		message; /* the decoded SASL message to replay (LOGIN turned into PLAIN); secret */
	/* Offsets into message: */
	size_t authcid_at, authcid_len; /* PLAIN, XOAUTH2: the login name; XOAUTH2: may be empty */
	size_t authzid_at, authzid_len; /* PLAIN; may be empty */
	size_t token_at, token_len;     /* OAUTHBEARER, XOAUTH2 */
	struct buf oauth_name;          /* OAUTHBEARER: a=, decoded; may be empty */
	char tag[PROTO_TAG_BYTES + 1];  /* IMAP only, else "" */
};
void proto_credential_wipe(struct proto_credential *credential);
/* The login name that the client gave; empty with OAuth when only the token may tell. */
struct view proto_credential_login(const struct proto_credential *credential);

/* ---- front ---- */

struct front_params {
	const char *host; /* server.hostname or the local address literal; borrowed, outlives */
	const char *banner;
	/* imap: advertise, joined with blanks; submission: the ehlo lines, joined with LF;
	 * managesieve: the sieve list, joined with blanks; pop3: NULL */
	const char *capabilities;
	const char *implementation; /* managesieve */
	/* submission: the client's address for the EHLO reply: "203.0.113.5", "IPv6:2001:db8::1" */
	const char *client;
	const enum sasl_mech *mechs; /* offered, in order */
	size_t mech_count;
	bool offer_starttls; /* a starttls listener before TLS */
	bool permit_auth;    /* secure leg, or allow_plain_auth_without_tls */
	bool trusted;        /* peer in proxy_trusted: ID / XCLIENT fields are read */
	unsigned max_attempts;
};

/* What a trusted peer says of its own client (SES-61), by XCLIENT or the ID fields of IMAP. */
#define PROTO_ADDRESS_BYTES 46
struct front_peer {
	bool has_ttl;
	unsigned ttl;     /* 0..255 */
	char session[65]; /* printable ASCII without blanks; "" = not given */
	char addr[PROTO_ADDRESS_BYTES], dest_addr[PROTO_ADDRESS_BYTES]; /* bare, valid; "" */
	uint16_t port, dest_port;                                       /* 0 = not given */
};

#define PROTO_HELO_BYTES 255

/* Why a front wants the connection closed; the final line is already in out. */
enum front_end {
	FRONT_END_QUIT,       /* LOGOUT, QUIT: reason client_quit */
	FRONT_END_AUTH_LIMIT, /* auth_limit */
	FRONT_END_TOO_LONG,   /* protocol_error */
	FRONT_END_VIOLATION,  /* protocol_error */
	FRONT_ENDS
};

enum {
	PROTO_MORE = 0, /* needs more bytes */
	PROTO_AGAIN,    /* call again with what is left */
	FRONT_STARTTLS, /* the client asked for TLS: nothing written yet. The caller checks that no
			 * byte is left (buffer, socket), then calls front->starttls_ok() and starts
			 * the handshake, or front->violation() and closes (SES-15). */
	FRONT_LOGIN,    /* take_credential() has one; waits for reply_*() */
	FRONT_CLOSE,    /* send out, then close; end() says why */
};

/* Replies of the router's own to an attempt: classes of sessions.md section 5.1. */
enum front_reply {
	FRONT_REPLY_AUTH_FAILED, /* counted; stay (or limit) */
	FRONT_REPLY_HIDDEN_TEMP, /* "hidden temporary refusal": counted, stay (or limit) */
	FRONT_REPLY_UNAVAILABLE, /* then close: caller closes */
	FRONT_REPLY_SHUTDOWN,    /* final line, then close; any state */
	FRONT_REPLY_TIMEOUT,     /* preauth timeout: final line, then close; any state */
	FRONT_REPLY_VIOLATION,   /* protocol violation, then close; any state */
};

struct front;

struct front_ops {
	const char *name; /* "imap" */
	MUST_USE int (*create)(const struct front_params *params, struct front **ret_front);
	void (*free)(struct front *front); /* wipes; NULL is fine */

	/* Writes the greeting. Also after STARTTLS where the protocol has one. 0 or -errno. */
	MUST_USE int (*greet)(struct front *front, struct buf *out);

	/* Returns PROTO_MORE, PROTO_AGAIN, FRONT_*, or -ENOBUFS/-ENOMEM (close, internal). */
	MUST_USE int (*input)(
		struct front *front, struct view in, size_t *ret_consumed, struct buf *out);

	/* Writes the "begin TLS" line. */
	MUST_USE int (*starttls_ok)(struct front *front, struct buf *out);
	/* TLS is up: forgets what came before (SES-14); params are re-read for offer/permit. */
	void (*starttls_done)(struct front *front, bool permit_auth);

	/* Moves the credential to the caller (who wipes it). Only after FRONT_LOGIN. */
	void (*take_credential)(struct front *front, struct proto_credential *ret_credential);

	/* Answers the attempt, or ends the dialogue. Returns PROTO_AGAIN (go on with input) or
	 * FRONT_CLOSE (out holds the final line), or -errno. */
	MUST_USE int (*reply)(struct front *front, enum front_reply reply, struct buf *out);
	/* The node's own refusal has been put into out by the caller: counts it.
	 * Returns as reply(). */
	MUST_USE int (*refused)(struct front *front, struct buf *out);

	enum front_end (*end)(const struct front *front);
	unsigned (*attempts)(const struct front *front); /* failed so far */
	unsigned (*privacy)(const struct front *front); /* refused for want of TLS; at most 65535 */
	/* Last mechanism named in an attempt, or -1. */
	int (*last_mech)(const struct front *front);
	/* Never NULL; zeroed while nothing was said. */
	const struct front_peer *(*peer)(const struct front *front);
	/* submission: the EHLO name (valid by SES-30), "" before; other protocols: NULL. */
	const char *(*helo)(const struct front *front);
	/* pop3: UTF8 was sent (SES-49); other protocols: NULL. */
	bool (*utf8)(const struct front *front);
};

/* ---- back ---- */

struct back_params {
	bool starttls;          /* leg wants STARTTLS: done before anything else */
	const char *host;       /* EHLO name and the like; borrowed, outlives */
	const char *client_tag; /* IMAP: our own tags differ from it; "" elsewhere; copied */
	const char *helo; /* submission: the client's EHLO name, "" if there is none; copied */
	bool utf8;        /* pop3: send UTF8 before the credential if the node lists it (SES-49) */
	/* Client data to convey (xclient mode), NULL = do not convey. */
	const struct back_forward *forward;
};

struct back_forward {
	const char *client_ip, *local_ip; /* bare addresses */
	uint16_t client_port, local_port;
	unsigned ttl; /* outgoing */
	const char *session_id;
	bool client_tls;
};

enum {
	/* PROTO_MORE, PROTO_AGAIN as above; then: */
	BACK_STARTTLS = 32, /* start the handshake now; then back->starttls_done() */
	BACK_READY,         /* ready for the credential (end of stage 7): call replay() */
	/* positive final reply, put into to_client (left-over input is relay data) */
	BACK_ACCEPTED,
	BACK_REFUSED, /* negative final reply, put into to_client; refusal tells its class */
	BACK_FAILED,  /* the node spoke nonsense or refused the session; failure() says what */
};

enum back_failure {
	BACK_FAIL_REFUSED,   /* node_refused: greeting, STARTTLS missing, left-over bytes ... */
	BACK_FAIL_INJECTION, /* starttls_injection: bytes behind the STARTTLS OK */
	BACK_FAIL_PROTOCOL,  /* node_refused: line too long, too many lines, nonsense */
	BACK_FAIL_MECHANISM, /* node_refused: the node offers nothing that takes this credential */
};

struct back;

struct back_ops {
	const char *name;
	MUST_USE int (*create)(const struct back_params *params, struct back **ret_back);
	void (*free)(struct back *back); /* wipes */
	/* to_node: commands to send. to_client: bytes for the client (only with ACCEPTED,
	 * REFUSED). */
	MUST_USE int (*input)(struct back *back, struct view in, size_t *ret_consumed,
		struct buf *to_node, struct buf *to_client);
	/* TLS to the node is up; writes the next command if there is one. Bytes the node sent
	 * before must not be passed to input() any more (the caller checked that there were none).
	 * Returns PROTO_MORE, BACK_READY ... as input(). */
	MUST_USE int (*starttls_done)(struct back *back, struct buf *to_node);
	/* Writes the credential (SES-57: unread is what the caller still holds from the node;
	 * returns BACK_FAILED when it may not be there; *ret_consumed bytes of it are dropped).
	 * The credential stays the caller's, who wipes it when BACK_ACCEPTED/REFUSED/FAILED or once
	 * credential_sent() is true and to_node is flushed. Returns PROTO_MORE or BACK_FAILED. */
	MUST_USE int (*replay)(struct back *back, const struct proto_credential *credential,
		struct view unread, size_t *ret_consumed, struct buf *to_node);
	bool (*credential_sent)(const struct back *back);
	/* A greeting that invites to go on has been read: the node is alive. */
	bool (*greeted)(const struct back *back);
	/* After BACK_FAILED: why, in words; NULL when the node's last line says it. */
	const char *(*cause)(const struct back *back);
	enum back_failure (*failure)(const struct back *back);
	/* After BACK_REFUSED: a temporary class (SES-74)? */
	bool (*refused_temporarily)(const struct back *back);
	/* After BACK_REFUSED: the client has to be closed as well (SES-75)? */
	bool (*refused_for_good)(const struct back *back);
};

extern const struct front_ops imap_front_ops;
extern const struct back_ops imap_back_ops;
extern const struct front_ops pop3_front_ops;
extern const struct back_ops pop3_back_ops;
extern const struct front_ops sieve_front_ops;
extern const struct back_ops sieve_back_ops;
extern const struct front_ops smtp_front_ops;
extern const struct back_ops smtp_back_ops;

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * What a router and an agent beside a node say to each other on a channel (handoff.md section 3),
 * as functions on bytes: frames, and what their payloads hold. Integers are big endian, no field is
 * optional, and what is not exactly as it stands here is no frame.
 */
#ifndef HANDOFF_FRAME_H
#define HANDOFF_FRAME_H

#include "base/buf.h"
#include "net/proxyhdr.h"
#include "record/connection.h"

/* Of what follows a frame's length: type, zeros, stream, payload. */
#define HANDOFF_FRAME_MAX 69632
#define HANDOFF_HEAD_BYTES 12 /* the length too */
/* Of a stream, in each direction; and so much text of the client's goes with its keys. */
#define HANDOFF_DATA_MAX 65536
#define HANDOFF_TOKEN_BYTES 16
#define HANDOFF_FIRST_BYTES (HANDOFF_MAGIC_BYTES + HANDOFF_TOKEN_BYTES) /* of a data connection */
#define HANDOFF_ALPN "homing-handoff/1"
/* The first bytes of a data connection, before the token. */
#define HANDOFF_MAGIC "HMGD"
#define HANDOFF_MAGIC_BYTES 4
#define HANDOFF_SESSION_BYTES 24 /* a session's id as text, with zeros behind it */
#define HANDOFF_ACCOUNT_MAX 1024

enum handoff_type {
	HANDOFF_OPEN = 1, /* router: reach the node */
	HANDOFF_OPENED,   /* agent: its connection stands; token */
	HANDOFF_FAILED,   /* agent: it does not; enum handoff_refusal */
	HANDOFF_DATA,     /* both: dialogue */
	HANDOFF_CLOSE,    /* both: the stream is over before a handoff; enum handoff_close */
	HANDOFF_KEYS,     /* router: HANDOFF, the client's TLS session */
	HANDOFF_DRAIN,    /* agent: no new streams */
	HANDOFF_PING,
	HANDOFF_PONG,
	HANDOFF_TYPES
};
const char *handoff_type_name(enum handoff_type type);

/* Why the node is not reached, as SES-46 and its breaker see it. */
enum handoff_refusal {
	HANDOFF_REFUSED_HOST = 1,    /* the node's fault */
	HANDOFF_REFUSED_CLIENT,      /* perhaps this client's */
	HANDOFF_REFUSED_NO_PROTOCOL, /* the agent has no such leg */
	HANDOFF_REFUSED_LIMIT,       /* of sessions */
	HANDOFF_REFUSED_DRAINING,
	HANDOFF_REFUSALS
};
const char *handoff_refusal_name(enum handoff_refusal refusal);

enum handoff_close {
	HANDOFF_CLOSE_DONE = 1, /* whoever says so has nothing more to do here */
	HANDOFF_CLOSE_EOF,      /* agent: the node has closed */
	HANDOFF_CLOSE_ERROR,    /* agent: its connection broke */
	HANDOFF_CLOSE_LIMIT,    /* more DATA than a login needs, or a time is over */
	HANDOFF_CLOSES
};

/* By their numbers on the wire. */
enum handoff_protocol {
	HANDOFF_IMAP = 1,
	HANDOFF_POP3,
	HANDOFF_MANAGESIEVE,
	HANDOFF_SUBMISSION,
	HANDOFF_PROTOCOLS
};

struct handoff_frame {
	enum handoff_type type;
	uint32_t stream;     /* 0 for DRAIN, PING and PONG, and for nothing else */
	struct view payload; /* of the length that its type may have */
};

/* One frame at the beginning of `in`. Returns the bytes that it takes, 0 when more are needed, or
 * -EPROTO. */
MUST_USE ssize_t handoff_frame_read(struct view in, struct handoff_frame *ret_frame);
/* payload: at most HANDOFF_FRAME_MAX - 8 bytes. Returns 0, -ENOBUFS or -ENOMEM: nothing is
 * written. */
MUST_USE int handoff_frame_write(
	struct buf *out, enum handoff_type type, uint32_t stream, struct view payload);
/* One whose payload is one byte. */
MUST_USE int handoff_frame_write_byte(
	struct buf *out, enum handoff_type type, uint32_t stream, unsigned byte);

/* The payload of OPEN: who logs in. */
struct handoff_open {
	enum handoff_protocol protocol;
	uint16_t tls_version; /* of the client's leg, as its records have it: 0x0303, 0x0304 */
	uint16_t tls_suite;   /* IANA's number */
	struct addr client, local;
	unsigned char proxy_id[PROXYHDR_ID_BYTES];
	char session[HANDOFF_SESSION_BYTES]; /* the router's id of it; ends with a zero */
	struct view account;                 /* 1 to HANDOFF_ACCOUNT_MAX bytes, no zero in it */
};

MUST_USE int handoff_open_write(struct buf *out, uint32_t stream, const struct handoff_open *open);
/* Returns 0 or -EPROTO. account is borrowed from the payload. */
MUST_USE int handoff_open_read(struct view payload, struct handoff_open *ret_open);

/* The payload of HANDOFF. */
struct handoff_keys {
	/* DATA of the agent's that the client has been sent; the rest is sealed anew. */
	uint32_t delivered;
	unsigned char connection[RECORD_PACKED_BYTES]; /* secret */
	/* From the client, opened, and not sent as DATA; then what follows of it, as it came. */
	struct view text;
};

/* The caller wipes keys. */
MUST_USE int handoff_keys_write(struct buf *out, uint32_t stream, const struct handoff_keys *keys);
/* Returns 0 or -EPROTO; connection is not looked into, text is borrowed from the payload. */
MUST_USE int handoff_keys_read(struct view payload, struct handoff_keys *ret_keys);

#endif

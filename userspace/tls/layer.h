// SPDX-License-Identifier: Apache-2.0
/*
 * A connection of OpenSSL's, between its stream (stream.c) and the socket (wire.c): how far it has
 * come, what is held back, and what its messages have told (follow.c). Which fields mean something
 * in which state stands here once; tls_layer_check() (layer.c) holds a build with sanitizers to it.
 */
#ifndef TLS_LAYER_H
#define TLS_LAYER_H

#include "base/buf.h"
#include "record/post.h"
#include "tls/tls.h"

#include <openssl/ssl.h>

/* What one call takes from the socket at most. What it leaves there, epoll tells again. */
#define TLS_READ_BUDGET 65536
/* Of that, with one recv(), when it is read ahead of what is needed. */
#define TLS_AHEAD_BYTES 16384
/* Above it nothing is read that might ask for an answer, and no answer is made. */
#define TLS_HELD_BYTES 65536

/* Forward only. Before TLS_FLOWS nothing is read or written but by the handshake, behind it nothing
 * is written. */
enum tls_phase {
	TLS_SHAKING,
	TLS_UNSHAKEN, /* the handshake has failed: closing is all that is left */
	TLS_FLOWS,
	TLS_BROKEN,  /* the socket has failed, which says nothing about the session */
	TLS_REFUSED, /* one of both cannot go on: the session is not resumed */
	TLS_FLOODED, /* too much of the peer's was no data: nothing is read any more */
};

/* How the peer has ended, as far as it has been read. */
enum tls_in {
	TLS_IN_OPEN,
	TLS_IN_CUT,    /* FIN, no close_notify */
	TLS_IN_CLOSED, /* close_notify, whatever comes behind it */
};

/* What we write, from TLS_FLOWS on. */
enum tls_out {
	TLS_OUT_OPEN,
	TLS_OUT_BLOCKED, /* OpenSSL's last write has failed; or waits, if it is in a message */
	TLS_OUT_OWED,    /* a write's records are in `held`; it is repeated until they are sent */
	TLS_OUT_SHUT,    /* our end of stream is sent; also after a handshake that has failed */
};

struct tls_layer {
	SSL *ssl;
	struct tls_client *client; /* reference; NULL on the server side */
	struct tls_auth *auth;     /* reference; NULL: any client may come */
	const struct tls_alpn *alpn;
	uint8_t phase;                         /* enum tls_phase */
	uint8_t in;                            /* enum tls_in */
	uint8_t out;                           /* enum tls_out */
	uint8_t quiet_records, quiet_messages; /* from TLS_FLOWS on, since the last byte of data */
	uint8_t messages, records;             /* of the peer's, in this call */
	/* errno: why the socket has not taken what OpenSSL had to send, from TLS_BROKEN on; or 0 */
	uint8_t unsendable;
	/* TLS 1.3, from TLS_FLOWS on: bytes that the peer's last record has at the most, and those
	 * of handshake records that no message has accounted for. */
	uint16_t record_bytes;
	uint32_t unheard;
	uint32_t budget;  /* bytes that this call may still take from the socket */
	bool ahead;       /* the socket is read for all there is, not for one record */
	bool gathers;     /* what the library writes is held, whatever else */
	int fd;           /* the stream's */
	uint32_t passing; /* bytes at the front of raw that OpenSSL may have: a whole record */
	struct buf raw;   /* read from the socket, and OpenSSL does not have it yet */
	/* Records that are not sent yet: a flight; later TLS_HELD_BYTES, and what one write
	 * makes. */
	struct buf held;
	size_t owed;        /* TLS_OUT_OWED: bytes that the write has taken; else 0 */
	uint8_t secret_len; /* 0: there is none, or it is not followed any more */
	unsigned char secret[2]
			    [RECORD_SECRET_MAX]; /* TLS 1.3 traffic secrets: client's, server's */
	uint64_t seq[2];                         /* per enum record_direction */
	char error[TLS_ERROR_SIZE / 2]; /* from TLS_REFUSED on, and of a handshake; else empty */
};

static inline struct tls_layer *tls_layer_of(const SSL *ssl)
{
	return SSL_get_app_data(ssl);
}

/* It cannot go on: TLS_BROKEN, TLS_REFUSED or TLS_FLOODED, and why ("": nothing to say). */
void tls_layer_fail(struct tls_layer *layer, enum tls_phase how, const char *why);

/* Between calls: asserts what stands above, in builds with sanitizers. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
void tls_layer_check(const struct tls_layer *layer);
#else
static inline void tls_layer_check(const struct tls_layer *layer)
{
	(void)layer;
}
#endif

#endif

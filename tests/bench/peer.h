// SPDX-License-Identifier: Apache-2.0
/*
 * What the load generator and the light node have in common: one kind of TLS (1.3, AES-128-GCM,
 * X25519), so that two servers under test are never measured with different ciphers; the time; and
 * input cut into lines without memory of its own while no line is half read.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include "base/buf.h"
#include "net/stream.h"
#include "tls/openssl.h"

#define PEER_SCRATCH 262144
#define PEER_LINE_MAX 8192
#define PEER_RECORD 16384 /* the most that one read of a TLS stream gives */

/* CLOCK_MONOTONIC. */
uint64_t peer_now_ns(void);
/* All descriptors that the hard limit permits; SIGPIPE ignored. */
void peer_process_init(void);
/* A context of SSL_CTX_new(method) with the one kind of TLS, or NULL. */
SSL_CTX *peer_tls_context(const SSL_METHOD *method);
/* Puts TLS on a plain stream; takes over ssl. Returns 0 or -ENOMEM. */
MUST_USE int peer_tls_attach(struct stream *stream, SSL *ssl);

/*
 * Reads once into the scratch buffer, behind what *part keeps of a line. Returns the number of
 * bytes in *ret_data (> 0) or what stream_read() returned. Whoever takes the data hands back what
 * is left of it with peer_keep(). *ret_more: the stream may have more, read again.
 */
MUST_USE ssize_t peer_read(
	struct stream *stream, struct buf *part, struct view *ret_data, bool *ret_more);
/* Keeps the beginning of a line. Returns 0, -EMSGSIZE or -ENOMEM. */
MUST_USE int peer_keep(struct buf *part, struct view rest);
/* Takes a line from the front, without its end and with a NUL behind it. */
bool peer_take_line(struct view *data, const char **ret_line);

#endif

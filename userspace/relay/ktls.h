// SPDX-License-Identifier: Apache-2.0
/*
 * Kernel TLS under a stream: after the switch the kernel encrypts and decrypts, OpenSSL's state is
 * gone, and the stream reads and writes plain bytes with recvmsg() and send(). Alerts, tickets and
 * key updates are handled here; what the stream's owner sees is net/stream.h's contract, and one
 * error more: -EKEYEXPIRED, the peer has changed its keys and this kernel cannot follow.
 */
#ifndef RELAY_KTLS_H
#define RELAY_KTLS_H

#include "net/stream.h"
#include "tls/keys.h"

/* What this kernel can do, per version and cipher; found out by relay/probe. */
struct ktls_features {
	bool usable[RECORD_VERSIONS][RECORD_CIPHERS]; /* both directions */
	bool no_pad; /* TLS_RX_EXPECT_NO_PAD is correct, also for padded records */
	bool rekey;  /* both directions can change keys */
};

enum { KTLS_NOT_YET = 1 };

/*
 * Puts kernel TLS under an OpenSSL stream and frees OpenSSL's state. Returns 0; KTLS_NOT_YET when
 * the stream is not at a record boundary (go on and try again); -ENOTSUP and the like when this
 * leg cannot: the stream is as it was; -EIO when the socket is half switched: close it.
 */
MUST_USE int ktls_switch(struct stream *stream, const struct ktls_features *features);
bool ktls_is_on(const struct stream *stream);

/* The system calls alone, also for the probe. 0 or -errno. */
MUST_USE int ktls_attach(int fd);
MUST_USE int ktls_set_keys(int fd, const struct record_keys *keys, enum record_direction direction);
MUST_USE int ktls_expect_no_pad(int fd);
/* Whether the kernel tells how many records it has sent, without which an end of stream could
 * overtake data. 0 or -errno. */
MUST_USE int ktls_can_count(int fd, enum record_cipher cipher);
/* One record that is not data. Bytes taken or -errno. */
MUST_USE ssize_t ktls_send_record(int fd, unsigned char type, const void *data, size_t len);
/* As recvmsg(); ret_type: the record's type, -1 if there was none (end of file). */
MUST_USE ssize_t ktls_recv(int fd, void *data, size_t len, int *ret_type);

#endif

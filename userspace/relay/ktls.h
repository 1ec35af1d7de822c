// SPDX-License-Identifier: Apache-2.0
/* Kernel TLS: the system calls alone, for the stream above them (ktls_stream.c) and for the probe.
 * They know sockets and keys, not who had the connection before. */
#ifndef RELAY_KTLS_H
#define RELAY_KTLS_H

#include "record/record.h"

#include <sys/types.h>

/* What this kernel can do, per version and cipher; found out by relay/probe. */
struct ktls_features {
	bool usable[RECORD_VERSIONS][RECORD_CIPHERS]; /* both directions */
	bool no_pad; /* TLS_RX_EXPECT_NO_PAD is correct, also for padded records */
	bool rekey;  /* both directions can change keys */
};

/* Each returns 0 or -errno. An attached socket passes bytes through until it has a direction's
 * keys, which are those of a state, from its next record on. */
MUST_USE int ktls_attach(int fd);
MUST_USE int ktls_set_keys(int fd, const struct record_state *state);
MUST_USE int ktls_expect_no_pad(int fd);
/* Number of the next record to be sent, without which an end of stream could overtake data. */
MUST_USE int ktls_next_number(int fd, enum record_cipher cipher, uint64_t *ret_number);
/* One record that is not data. Bytes taken or -errno. */
MUST_USE ssize_t ktls_send_record(int fd, unsigned char type, const void *data, size_t len);
/* As recvmsg(); ret_type: the record's type, -1 if there was none (end of file). */
MUST_USE ssize_t ktls_recv(int fd, void *data, size_t len, int *ret_type);

#endif

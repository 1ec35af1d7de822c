// SPDX-License-Identifier: Apache-2.0
/*
 * What another record layer needs to go on where OpenSSL stopped: traffic secrets (not only derived
 * keys, so that they can also be handed on) and the numbers of the next records. Valid only at a
 * record boundary with nothing half read or half written; tls_keys_export() checks that.
 */
#ifndef TLS_KEYS_H
#define TLS_KEYS_H

#include "net/stream.h"
#include "record/record.h"

enum { TLS_KEYS_NOT_YET = 1 };

/* Before tls_keys_export() is tried, on a stream with OpenSSL: what it holds back is sent, and from
 * now on it reads no further than the record it is at, so that a boundary comes. */
void tls_keys_prepare(struct stream *stream);
/*
 * Copies out what the OpenSSL stream has reached. Returns 0; TLS_KEYS_NOT_YET while bytes are
 * pending, a record or a message is half read, a write is to be repeated, an answer is due, or one
 * side has said its end (read on and try again);
 * -ENOTSUP for a plain stream, another version or another cipher; -EINVAL if a secret is missing.
 * The caller wipes ret_keys.
 */
MUST_USE int tls_keys_export(const struct stream *stream, struct record_keys *ret_keys);

/* Takes OpenSSL off a stream: frees its state (nothing is sent, the session stays resumable) and
 * leaves a plain stream with the same descriptor. */
void tls_stream_detach(struct stream *stream);

#endif

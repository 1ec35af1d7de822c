// SPDX-License-Identifier: Apache-2.0
/*
 * TLS without OpenSSL's connection: a stream over record/. After the handshake a leg is two keys
 * and two numbers, and that is all that is kept of it.
 */
#ifndef TLS_RECORDS_H
#define TLS_RECORDS_H

#include "net/stream.h"
#include "record/connection.h"

/*
 * Takes OpenSSL off a stream whose handshake is over, frees it (the session stays resumable) and
 * goes on with its keys; what it has read too early is taken over, what it still holds back goes
 * out with the next bytes, as does the answer to a KeyUpdate. Returns 0; TLS_KEYS_NOT_YET while a
 * record is half written (try again behind the next read or write); -ENOTSUP for a plain stream, or
 * for a version or cipher that record/ does not have or has failed with; -EINVAL if a secret is
 * missing; -ENOMEM or -EIO. Unless it is 0, OpenSSL goes on.
 */
MUST_USE int tls_records_take(struct stream *stream);

/* NULL if the stream is not one of these. Borrowed. */
const struct record_connection *tls_records_connection(const struct stream *stream);
/* It is one of these, and has come to the end of its keys: nothing new is to be begun. */
bool tls_records_are_worn(const struct stream *stream);
/* Why the last read failed; "" if it did not. */
const char *tls_records_error(const struct stream *stream);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * TLS without OpenSSL's connection: a stream over record/. After the handshake a leg is two keys
 * and two numbers, and that is all that is kept of it.
 */
#ifndef TLS_RECORDS_H
#define TLS_RECORDS_H

#include "base/buf.h"
#include "net/stream.h"
#include "record/connection.h"

/*
 * Takes OpenSSL off a stream whose handshake is over, frees it (the session stays resumable) and
 * goes on with its keys; what it has read too early is taken over, what it still holds back goes
 * out with the next bytes, or with the answer to a KeyUpdate, which the next read or write sends.
 * Returns 0; TLS_KEYS_NOT_YET while a message is half read, or a write is to be repeated (try again
 * behind the next read or write); -ENOTSUP for a plain stream, or for a version or cipher that
 * record/ does not have or has failed with; -EINVAL if a secret is missing; -ENOMEM or -EIO. Unless
 * it is 0, OpenSSL goes on.
 */
MUST_USE int tls_records_take(struct stream *stream);

/* Whether tls_records_take() would do it, at a boundary. */
bool tls_records_may_take(const struct stream *stream);

/*
 * For another record layer that is to go on with such a stream's socket: what waits is sent, and
 * from now on no more is read than the record that is due, so that a boundary comes. Returns 0 at
 * one, where neither read nor sealed bytes wait: ret_connection is then all there is to know, a
 * copy that the caller wipes. Else TLS_KEYS_NOT_YET (try again behind the next read or write), or
 * -ENOTSUP when one side has said its end, or keys are worn: such a connection goes nowhere.
 */
MUST_USE int tls_records_stop(struct stream *stream, struct record_connection *ret_connection);
/* It has not been taken over. */
void tls_records_go_on(struct stream *stream);
/* It has: a plain stream is left, with the same descriptor; all that this one had is wiped. */
void tls_records_detach(struct stream *stream);

/*
 * All there is to know of such a stream beside its socket: this, which is plain data, and behind it
 * the bytes that wait, in this order. It may be written down, and read by another process of the
 * same build. Keys are in it, and text: whoever has it wipes it.
 */
struct tls_records_state {
	struct record_connection connection;
	uint32_t part;   /* bytes: read from the socket, and not opened */
	uint32_t unsent; /* bytes: sealed, and not taken by the socket */
	uint32_t opened; /* bytes: text that the reader has not taken */
	uint32_t owed;   /* payload in unsent whose write has returned -EAGAIN; it is repeated */
};

/*
 * Takes the TLS off such a stream, which is a plain one from here on, with its descriptor. Nothing
 * is sent or read. The state and what waits are appended to `to`, whose bytes are wiped when it is
 * a secret one; all that the stream had is wiped and freed. Only one may go on from there: a record
 * number is never used twice. Returns 0, or the stream is as it was: -ENOTSUP if it is none of
 * these, -ENOBUFS or -ENOMEM.
 */
MUST_USE int tls_records_give(struct stream *stream, struct buf *to);
/*
 * Goes on from there, on a plain stream with that socket, whoever has opened it. The bytes of the
 * state are copied, and remain the caller's to wipe. A write that had returned -EAGAIN is repeated
 * here. Returns 0, or the stream is as it was: -EINVAL for what is no state, -ENOTSUP for a stream
 * that has TLS, -ENOMEM.
 */
MUST_USE int tls_records_resume(struct stream *stream, struct view state);

/* NULL if the stream is not one of these. Borrowed. */
const struct record_connection *tls_records_connection(const struct stream *stream);
/* It is one of these, and has come to the end of its keys: nothing new is to be begun. */
bool tls_records_are_worn(const struct stream *stream);
/* Why the last read failed; "" if it did not. */
const char *tls_records_error(const struct stream *stream);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Kernel TLS under a stream: the kernel encrypts and decrypts, the stream reads and writes plain
 * bytes with recvmsg() and send(). Alerts, tickets and key updates are handled here; what the
 * stream's owner sees is net/stream.h's contract, and one error more: -EKEYEXPIRED, the peer has
 * changed its keys and this kernel cannot follow.
 */
#ifndef RELAY_KTLS_STREAM_H
#define RELAY_KTLS_STREAM_H

#include "net/stream.h"
#include "record/connection.h"
#include "relay/ktls.h"

struct ktls;

/*
 * Gives the socket the keys of a connection that stands at a record boundary in both directions,
 * is open in both, and owes no answer. Returns 0, and then ktls_stream_put() must follow; -ENOTSUP
 * for a version or cipher that this kernel does not have; -EIO when the socket is half switched:
 * close it; else -errno, and who had the connection goes on with it. Copies what it needs.
 */
MUST_USE int ktls_stream_prepare(int fd, const struct record_connection *connection,
	const struct ktls_features *features, struct ktls **ret_ktls);
/* On a plain stream of that socket; takes ktls over. */
void ktls_stream_put(struct stream *stream, struct ktls *ktls);
bool ktls_stream_is(const struct stream *stream);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Heads as they go on (http.md section 7) and the answers that the router makes itself (section 2).
 * A head is written anew from its parts, so that what the next party reads is what was understood
 * here. All functions append to out and return 0, -ENOBUFS or -ENOMEM. Pure.
 */
#ifndef PROTO_HTTP_WRITE_H
#define PROTO_HTTP_WRITE_H

#include "base/buf.h"
#include "proto/http_head.h"

struct http_request_changes {
	bool keep_forwarded; /* the client's own Forwarded etc. (HTTP-70) */
	const char *client;  /* its address, added to Forwarded and X-Forwarded-For; NULL = none */
	const char *host; /* named to the node when the client named none (HTTP/1.0); NULL = "" */
	bool drop_expect;
};

/* Mostly more than a head grows by on its way, in bytes. */
#define HTTP_WRITE_ADDED 128

/* As HTTP/1.1, whatever the client speaks. The upgrade goes on if the head wants a websocket. */
MUST_USE int http_write_request(
	const struct http_head *head, const struct http_request_changes *changes, struct buf *out);

/* close: says so. unchunked: the body goes on without its coding, and ends with the connection. */
MUST_USE int http_write_response(
	const struct http_head *head, bool close, bool unchunked, struct buf *out);

/* A whole answer of the router's, after which it closes. */
MUST_USE int http_write_error(int status, bool to_head, struct buf *out);
MUST_USE int http_write_continue(struct buf *out);

#endif

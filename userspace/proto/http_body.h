// SPDX-License-Identifier: Apache-2.0
/*
 * HTTP bodies in transit (RFC 9112 sections 6 and 7; http.md section 3): bytes in, the same body
 * out. Counted and read-until-close bodies pass as they are. Chunked ones are checked byte for
 * byte and written anew: sizes in plain hex, no extensions, trailer fields filtered; chunk
 * boundaries stay. What comes out is never longer than what went in. Pure.
 */
#ifndef PROTO_HTTP_BODY_H
#define PROTO_HTTP_BODY_H

#include "base/buf.h"
#include "proto/http_head.h"

enum http_body_state {
	HTTP_BODY_DATA, /* counted, until close, or inside a chunk */
	HTTP_BODY_SIZE,
	HTTP_BODY_EXTENSION,
	HTTP_BODY_SIZE_LF,
	HTTP_BODY_CR, /* behind a chunk */
	HTTP_BODY_LF,
	HTTP_BODY_TRAILER,
	HTTP_BODY_END,
};

struct http_body {
	enum http_framing framing;
	enum http_body_state state;
	uint64_t left; /* data bytes of the body or the chunk */
	uint32_t line_bytes, digits;
	size_t trailer_left, fields_left;
};

enum { HTTP_BODY_MORE = 0, HTTP_BODY_DONE = 1 };

/* length: of a counted body. trailer_bytes: most bytes of all trailer fields together. */
void http_body_init(
	struct http_body *body, enum http_framing framing, uint64_t length, size_t trailer_bytes);
bool http_body_is_done(const struct http_body *body);
/*
 * Takes what it can of in (*ret_consumed bytes; a trailer line is taken when it is complete), puts
 * the body as it goes on into out, and its data, as far as it fits, into data (may be NULL).
 * Without out the body goes on in data, its framing and its trailer taken off (one of the two is
 * there). Returns HTTP_BODY_MORE, HTTP_BODY_DONE, -EBADMSG (the framing is wrong), -ENOBUFS or
 * -ENOMEM.
 */
MUST_USE int http_body_input(struct http_body *body, struct view in, size_t *ret_consumed,
	struct buf *out, struct buf *data);
/*
 * Looks at a body before it goes on: as http_body_input(), but puts data alone into data, and takes
 * nothing behind the last byte of data or behind what data has room for. Returns HTTP_BODY_DONE
 * when there is no more to look at, so memory is bounded by the limit of data, however it was
 * framed.
 */
MUST_USE int http_body_peek(
	struct http_body *body, struct view in, size_t *ret_consumed, struct buf *data);
/* What was looked at as it goes on, in one chunk if it is chunked; then http_body_input() goes on
 * from there. Appends to out. Returns 0, -ENOBUFS or -ENOMEM. */
MUST_USE int http_body_put_peeked(const struct http_body *body, struct view data, struct buf *out);
/* How many of the next bytes are plain data, so that the caller may move them itself; then says
 * how many it moved. */
uint64_t http_body_span(const struct http_body *body);
void http_body_skip(struct http_body *body, uint64_t n);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * A strict parser of HTTP/1.1 request heads (RFC 9112; http.md section 2): whatever two parties
 * could read in two ways is refused. Pure and without allocation: the caller keeps the bytes and
 * calls again with more. The admin API and the data plane share it.
 */
#ifndef PROTO_HTTP_HEAD_H
#define PROTO_HTTP_HEAD_H

#include "base/view.h"

#define HTTP_MAX_FIELDS 100

struct http_field {
	struct view name, value; /* value without outer blanks */
};

enum http_framing { HTTP_NO_BODY, HTTP_COUNTED, HTTP_CHUNKED };

struct http_head {
	/* Progress; zero the whole structure for a new head. */
	size_t scanned;

	/* Filled when complete: views into the input. */
	size_t length;              /* of the head, its empty line included */
	struct view method, target; /* target in origin form or "*" */
	struct http_field fields[HTTP_MAX_FIELDS];
	size_t field_count;
	enum http_framing framing;
	uint64_t content_length;
	bool wants_close; /* Connection: close */
	bool expects_continue;
	bool wants_websocket; /* Upgrade: websocket with Connection: upgrade */
};

enum { HTTP_HEAD_MORE = 0, HTTP_HEAD_DONE = 1 };

struct http_limits {
	size_t head_bytes, fields; /* fields <= HTTP_MAX_FIELDS */
};

/* Returns HTTP_HEAD_MORE, HTTP_HEAD_DONE, or the status to answer with: 400, 405, 417, 431, 505. */
MUST_USE int http_head_parse(
	struct http_head *head, struct view in, const struct http_limits *limits);
/* The only field of this name (any case); NULL if there is none. *ret_count: how many. */
const struct http_field *http_head_field(
	const struct http_head *head, const char *name, size_t *ret_count);
const char *http_reason(int status);

#endif

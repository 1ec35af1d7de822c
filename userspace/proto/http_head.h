// SPDX-License-Identifier: Apache-2.0
/*
 * A strict parser of HTTP/1.x heads (RFC 9112; http.md sections 2 and 3): whatever two parties
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

enum http_framing { HTTP_NO_BODY, HTTP_COUNTED, HTTP_CHUNKED, HTTP_UNTIL_CLOSE };

struct http_head {
	/* Progress; http_head_start(), or all of it zeroed, for a new head. */
	size_t scanned;

	/* Filled when complete: views into the input. */
	size_t length;              /* of the head, its empty line included */
	struct view method, target; /* request; target in origin form or "*" */
	int status;                 /* response */
	struct view reason;
	bool is_http10;
	size_t field_count;
	/* By the fields alone; http_response_framing() knows what else counts for a response. */
	enum http_framing framing;
	uint64_t content_length;
	bool wants_close; /* Connection: close; or a request of HTTP/1.0 */
	bool expects_continue;
	bool wants_websocket; /* GET without a body, Upgrade: websocket, Connection: upgrade */
	bool is_upgrade;      /* response: the same two fields */
	bool is_event_stream; /* response: Content-Type: text/event-stream */
	struct http_field fields[HTTP_MAX_FIELDS]; /* field_count of them are set */
};

enum { HTTP_HEAD_MORE = 0, HTTP_HEAD_DONE = 1 };

struct http_limits {
	size_t head_bytes, fields; /* fields <= HTTP_MAX_FIELDS */
	bool hostless;             /* a request of HTTP/1.1 need not name a host either */
};

/* A request of HTTP/1.0 has no transfer coding, and no claim to 100, an upgrade or another request
 * behind it. Returns HTTP_HEAD_MORE, HTTP_HEAD_DONE, or the status to answer with: 400, 405, 417,
 * 431, 505. */
MUST_USE int http_head_parse(
	struct http_head *head, struct view in, const struct http_limits *limits);
/* The head of a response (HTTP-34). Returns HTTP_HEAD_MORE, HTTP_HEAD_DONE or 502. */
MUST_USE int http_response_parse(
	struct http_head *head, struct view in, const struct http_limits *limits);
/* How the response's body ends (section 3). */
enum http_framing http_response_framing(const struct http_head *head, bool to_head);

/* For a head of which so many bytes have been scanned by an earlier call; 0: for a new one. */
void http_head_start(struct http_head *head, size_t scanned);
/* Drops what was parsed and keeps the progress: before a call with more bytes. */
void http_head_again(struct http_head *head);
/* A copy on the heap without room for fields that are not set, to be freed with free(); NULL when
 * out of memory. Its views are those of the original. */
struct http_head *http_head_copy(const struct http_head *head);
/* The only field of this name (any case); NULL if there is none. *ret_count: how many. */
const struct http_field *http_head_field(
	const struct http_head *head, const char *name, size_t *ret_count);
const char *http_reason(int status);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Runs a stream of HTTP messages through the pure parts of the data plane, as a session does: head,
 * rewritten head, body, next head. For unit tests (what reaches the other side, whatever way the
 * bytes are cut) and fuzzers (the output, run again, is itself).
 */
#ifndef TESTS_HTTP_STREAM_H
#define TESTS_HTTP_STREAM_H

#include "proto/http_body.h"
#include "proto/http_write.h"

#include <errno.h>
#include <stdlib.h>

#define STREAM_WHOLE SIZE_MAX

struct http_stream {
	bool responses, to_head;
	struct http_limits limits;
	struct buf in, out, data; /* data: bodies decoded */
	struct http_head head;
	struct http_body body;
	bool in_body;
	unsigned messages; /* complete ones */
	int status;        /* 0 while all is well */
};

static inline void http_stream_init(struct http_stream *stream, bool responses)
{
	memset(stream, 0, sizeof(*stream));
	stream->responses = responses;
	stream->limits = (struct http_limits){ 2048, HTTP_MAX_FIELDS, false };
}

static inline void http_stream_fini(struct http_stream *stream)
{
	buf_fini(&stream->in);
	buf_fini(&stream->out);
	buf_fini(&stream->data);
}

static inline int http_stream_head(struct http_stream *stream)
{
	static const struct http_request_changes changes = { .keep_forwarded = true };
	struct http_head *head = &stream->head;
	enum http_framing framing;
	int r;

	http_head_again(head);
	r = stream->responses ? http_response_parse(head, buf_view(&stream->in), &stream->limits)
			      : http_head_parse(head, buf_view(&stream->in), &stream->limits);
	if (r != HTTP_HEAD_DONE)
		return r;
	framing = stream->responses ? http_response_framing(head, stream->to_head) : head->framing;
	http_body_init(&stream->body, framing, head->content_length, stream->limits.head_bytes);
	r = stream->responses ? http_write_response(head, head->wants_close, false, &stream->out)
			      : http_write_request(head, &changes, &stream->out);
	if (r < 0)
		return 500;
	buf_consume(&stream->in, head->length);
	memset(head, 0, sizeof(*head));
	stream->in_body = true;
	return HTTP_HEAD_DONE;
}

/* Returns false when it needs more bytes, or is over. */
static inline bool http_stream_step(struct http_stream *stream)
{
	size_t consumed = 0;
	int r;

	if (!stream->in_body) {
		r = stream->in.len ? http_stream_head(stream) : HTTP_HEAD_MORE;
		if (r > HTTP_HEAD_DONE)
			stream->status = r;
		return r == HTTP_HEAD_DONE;
	}
	if (!http_body_is_done(&stream->body)) {
		r = http_body_input(&stream->body, buf_view(&stream->in), &consumed, &stream->out,
			&stream->data);
		buf_consume(&stream->in, consumed);
		if (r < 0)
			stream->status = r == -EBADMSG ? 400 : 500;
		if (r != HTTP_BODY_DONE)
			return false;
	}
	stream->in_body = false;
	stream->messages++;
	return true;
}

static inline void http_stream_input(struct http_stream *stream, struct view bytes)
{
	if (stream->status)
		return;
	if (buf_append_view(&stream->in, bytes) < 0)
		abort();
	while (!stream->status && http_stream_step(stream))
		;
}

/* cut: bytes of the first part; 0 = one by one; STREAM_WHOLE = all at once. */
static inline void http_stream_run(struct http_stream *stream, struct view bytes, size_t cut)
{
	if (cut == STREAM_WHOLE || cut >= bytes.len) {
		http_stream_input(stream, bytes);
	} else if (cut) {
		http_stream_input(stream, view_make(bytes.data, cut));
		http_stream_input(stream, view_skip(bytes, cut));
	} else {
		for (size_t i = 0; i < bytes.len; i++)
			http_stream_input(stream, view_make(bytes.data + i, 1));
	}
}

#endif

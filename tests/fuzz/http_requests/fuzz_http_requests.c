// SPDX-License-Identifier: Apache-2.0
/* Any bytes as a stream of requests: the way they are cut changes nothing, and what is passed on is
 * read again as exactly itself. */
#include "http_stream.h"

/* Decodes a chunked body; what is behind its end does not matter. */
static int decode(struct view bytes, struct buf *data)
{
	struct http_body body;
	size_t consumed;

	http_body_init(&body, HTTP_CHUNKED, 0, 1024);
	return http_body_input(&body, bytes, &consumed, NULL, data);
}

/* A body that is looked at first has the same data afterwards, however much of it was looked at. */
static void peek(struct view bytes, size_t most)
{
	struct buf all = { 0 }, seen, out = { 0 }, again = { 0 };
	struct http_body body;
	size_t consumed;
	int r;

	buf_init(&seen, most, false);
	http_body_init(&body, HTTP_CHUNKED, 0, 1024);
	r = http_body_peek(&body, bytes, &consumed, &seen);
	if (seen.len > most)
		abort();
	if (r == HTTP_BODY_DONE && decode(bytes, &all) == HTTP_BODY_DONE) {
		if (http_body_put_peeked(&body, buf_view(&seen), &out) < 0 ||
			http_body_input(&body, view_skip(bytes, consumed), &consumed, &out, NULL) !=
				HTTP_BODY_DONE ||
			decode(buf_view(&out), &again) != HTTP_BODY_DONE ||
			!view_eq(buf_view(&all), buf_view(&again)))
			abort();
	}
	buf_fini(&all);
	buf_fini(&seen);
	buf_fini(&out);
	buf_fini(&again);
}

#define ARE_RESPONSES false
#define EACH_INPUT(bytes) peek(view_skip(bytes, 1), (unsigned char)(bytes).data[0] + 1u)
#include "fuzz/http_requests/stream.h"

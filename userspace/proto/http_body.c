// SPDX-License-Identifier: Apache-2.0
/* Bodies: counting, and chunked coding checked and written anew. */
#include "proto/http_body.h"
#include "proto/http_internal.h"

#include <errno.h>

#define LINE_BYTES 16384
#define SIZE_DIGITS 16

void http_body_init(
	struct http_body *body, enum http_framing framing, uint64_t length, size_t trailer_bytes)
{
	*body = (struct http_body){
		.framing = framing,
		.state = HTTP_BODY_DATA,
		.trailer_left = trailer_bytes,
		.fields_left = HTTP_MAX_FIELDS,
	};
	if (framing == HTTP_CHUNKED)
		body->state = HTTP_BODY_SIZE;
	else if (framing == HTTP_UNTIL_CLOSE)
		body->left = UINT64_MAX;
	else
		body->left = framing == HTTP_COUNTED ? length : 0;
	if (framing != HTTP_CHUNKED && !body->left)
		body->state = HTTP_BODY_END;
}

bool http_body_is_done(const struct http_body *body)
{
	return body->state == HTTP_BODY_END;
}

uint64_t http_body_span(const struct http_body *body)
{
	return body->state == HTTP_BODY_DATA ? body->left : 0;
}

void http_body_skip(struct http_body *body, uint64_t n)
{
	if (body->framing == HTTP_UNTIL_CLOSE)
		return;
	body->left -= n;
	if (!body->left)
		body->state = body->framing == HTTP_CHUNKED ? HTTP_BODY_CR : HTTP_BODY_END;
}

/* ---- chunks ---- */

static int size_digit(struct http_body *body, char c)
{
	int digit = hex_digit(c);

	if (digit >= 0) {
		if (++body->digits > SIZE_DIGITS)
			return -EBADMSG;
		body->left = body->left << 4 | (uint64_t)digit;
		return 0;
	}
	if (!body->digits || (c != ';' && c != '\r'))
		return -EBADMSG;
	body->state = c == ';' ? HTTP_BODY_EXTENSION : HTTP_BODY_SIZE_LF;
	return 0;
}

static int extension_byte(struct http_body *body, char c)
{
	if (c == '\r')
		body->state = HTTP_BODY_SIZE_LF;
	else if (!http_is_text(view_make(&c, 1)))
		return -EBADMSG;
	return 0;
}

static int put(struct buf *out, const char *data, size_t len)
{
	return out ? buf_append(out, data, len) : 0;
}

static int put_size(uint64_t size, struct buf *out)
{
	char line[SIZE_DIGITS + 2];
	size_t at = sizeof(line);

	line[--at] = '\n';
	line[--at] = '\r';
	do {
		line[--at] = "0123456789abcdef"[size & 15];
		size >>= 4;
	} while (size);
	return put(out, line + at, sizeof(line) - at);
}

static int size_complete(struct http_body *body, char c, struct buf *out)
{
	uint64_t size = body->left;

	if (c != '\n')
		return -EBADMSG;
	body->line_bytes = body->digits = 0;
	body->state = size ? HTTP_BODY_DATA : HTTP_BODY_TRAILER;
	return put_size(size, out);
}

static int framing_byte(struct http_body *body, char c, struct buf *out)
{
	if (body->state != HTTP_BODY_CR && body->state != HTTP_BODY_LF &&
		++body->line_bytes > LINE_BYTES)
		return -EBADMSG;
	switch (body->state) {
	case HTTP_BODY_SIZE:
		return size_digit(body, c);
	case HTTP_BODY_EXTENSION:
		return extension_byte(body, c);
	case HTTP_BODY_SIZE_LF:
		return size_complete(body, c, out);
	case HTTP_BODY_CR:
		body->state = HTTP_BODY_LF;
		return c == '\r' ? 0 : -EBADMSG;
	default: /* HTTP_BODY_LF */
		body->state = HTTP_BODY_SIZE;
		return c == '\n' ? put(out, "\r\n", 2) : -EBADMSG;
	}
}

/* ---- trailer ---- */

/* What would change how the message is read, or who it is said to come from (HTTP-30). */
static bool is_dropped(struct view name)
{
	return http_is_alike(view_make(name.data, MIN(name.len, strlen("Content-"))),
		       VIEW_LIT("Content-")) ||
		http_is_alike(name, VIEW_LIT("Transfer-Encoding")) ||
		http_is_alike(name, VIEW_LIT("Host")) ||
		http_is_alike(name, VIEW_LIT("Authorization")) || http_is_hop_field(name) ||
		http_is_forwarded_field(name);
}

/* Length of the first line with its CRLF, 0 when it is not complete, or -EBADMSG. */
static long find_line(struct view in)
{
	const char *lf = in.len ? memchr(in.data, '\n', in.len) : NULL;
	size_t len = lf ? (size_t)(lf - in.data) : in.len;
	const char *cr = len ? memchr(in.data, '\r', len) : NULL;

	if (cr && cr + 1 < in.data + len)
		return -EBADMSG; /* a bare CR */
	if (!lf)
		return 0;
	return cr ? (long)len + 1 : -EBADMSG;
}

static int trailer_line(struct http_body *body, struct view in, size_t *ret_used, struct buf *out)
{
	long len = find_line(in);
	struct http_field field;

	*ret_used = 0;
	if (len < 0)
		return (int)len;
	if ((len ? (size_t)len : in.len) > body->trailer_left)
		return -EBADMSG;
	if (!len)
		return 0;
	*ret_used = (size_t)len;
	if (len == 2) {
		body->state = HTTP_BODY_END;
		return put(out, "\r\n", 2);
	}
	body->trailer_left -= (size_t)len;
	if (http_split_field(view_make(in.data, (size_t)len - 2), &field) < 0 ||
		!body->fields_left--)
		return -EBADMSG;
	return is_dropped(field.name) ? 0 : put(out, in.data, (size_t)len);
}

/* ---- both ---- */

static int take_data(
	struct http_body *body, struct view in, size_t *ret_used, struct buf *out, struct buf *data)
{
	size_t n = (size_t)MIN(body->left, (uint64_t)in.len);
	int r = 0;

	if (out)
		r = buf_append(out, in.data, n);
	else
		n = MIN(n, buf_room(data));
	if (r == 0 && data)
		r = buf_append(data, in.data, MIN(n, buf_room(data)));
	*ret_used = n;
	if (r == 0)
		http_body_skip(body, n);
	return r;
}

int http_body_input(struct http_body *body, struct view in, size_t *ret_consumed, struct buf *out,
	struct buf *data)
{
	size_t used = 0;
	int r = 0;

	*ret_consumed = 0;
	while (r == 0 && in.len && body->state != HTTP_BODY_END) {
		if (body->state == HTTP_BODY_DATA) {
			r = take_data(body, in, &used, out, data);
		} else if (body->state == HTTP_BODY_TRAILER) {
			r = trailer_line(body, in, &used, out);
		} else {
			r = framing_byte(body, in.data[0], out);
			used = 1;
		}
		if (r == 0 && !used)
			break;
		*ret_consumed += used;
		in = view_skip(in, used);
	}
	if (r < 0)
		return r;
	return body->state == HTTP_BODY_END ? HTTP_BODY_DONE : HTTP_BODY_MORE;
}

/* ---- looked at ---- */

static bool is_seen(const struct http_body *body, const struct buf *data)
{
	return body->state == HTTP_BODY_END || body->state == HTTP_BODY_TRAILER || !buf_room(data);
}

int http_body_peek(struct http_body *body, struct view in, size_t *ret_consumed, struct buf *data)
{
	size_t used = 0;
	int r = 0;

	*ret_consumed = 0;
	while (r == 0 && in.len && !is_seen(body, data)) {
		if (body->state == HTTP_BODY_DATA) {
			r = take_data(body, in, &used, NULL, data);
		} else {
			r = framing_byte(body, in.data[0], NULL);
			used = 1;
		}
		*ret_consumed += used;
		in = view_skip(in, used);
	}
	if (r < 0)
		return r;
	return is_seen(body, data) ? HTTP_BODY_DONE : HTTP_BODY_MORE;
}

int http_body_put_peeked(const struct http_body *body, struct view data, struct buf *out)
{
	int r = 0;

	if (body->framing != HTTP_CHUNKED)
		return buf_append_view(out, data);
	if (data.len) {
		r = put_size(data.len, out);
		if (r == 0)
			r = buf_append_view(out, data);
		/* Else the CRLF behind the chunk is still to come. */
		if (r == 0 && body->state != HTTP_BODY_CR && body->state != HTTP_BODY_LF)
			r = buf_append(out, "\r\n", 2);
	}
	if (r == 0 && (body->state == HTTP_BODY_DATA || body->state == HTTP_BODY_TRAILER))
		r = put_size(body->left, out); /* the rest of a chunk; the last chunk */
	return r;
}

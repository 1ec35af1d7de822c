// SPDX-License-Identifier: Apache-2.0
/* Growable byte queue with a limit; see buf.h for the contract. */
#include "base/buf.h"
#include "base/secret.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define BUF_FIRST_BYTES 256

void buf_init(struct buf *buf, size_t limit_bytes, bool secret)
{
	*buf = (struct buf){ .limit = (uint32_t)MIN(limit_bytes, (size_t)BUF_MAX_BYTES),
		.secret = secret };
}

void buf_fini(struct buf *buf)
{
	if (buf->data && buf->secret)
		secret_wipe(buf->data, buf->cap);
	free(buf->data);
	buf->data = NULL;
	buf->start = buf->len = buf->cap = 0;
}

size_t buf_room(const struct buf *buf)
{
	return (buf->limit ? buf->limit : BUF_MAX_BYTES) - buf->len;
}

static void buf_compact(struct buf *buf)
{
	if (!buf->start)
		return;
	assert(buf->data);
	if (buf->len)
		memmove(buf->data, buf->data + buf->start, buf->len);
	if (buf->secret)
		secret_wipe(buf->data + buf->len, buf->start);
	buf->start = 0;
}

static int buf_grow(struct buf *buf, size_t need)
{
	size_t cap = buf->cap ? buf->cap : BUF_FIRST_BYTES;
	char *data;

	while (cap < need) /* need is at most BUF_MAX_BYTES */
		cap *= 2;
	if (buf->limit && cap > buf->limit)
		cap = MAX(need, (size_t)buf->limit); /* more would never be used */
	if (!buf->secret) {
		data = realloc(buf->data, cap);
		if (!data)
			return -ENOMEM;
	} else { /* realloc would leave a copy behind */
		data = malloc(cap);
		if (!data)
			return -ENOMEM;
		if (buf->data) {
			memcpy(data, buf->data, buf->len);
			secret_wipe(buf->data, buf->cap);
			free(buf->data);
		}
	}
	buf->data = data;
	buf->cap = (uint32_t)cap;
	return 0;
}

int buf_reserve(struct buf *buf, size_t n)
{
	if (n > buf_room(buf))
		return -ENOBUFS;
	if (!n)
		return 0;
	if (buf->data && buf->cap - buf->start - buf->len >= n)
		return 0;
	buf_compact(buf);
	if (buf->data && buf->cap - buf->len >= n)
		return 0;
	return buf_grow(buf, buf->len + n);
}

char *buf_tail(struct buf *buf)
{
	return buf->data ? buf->data + buf->start + buf->len : NULL;
}

void buf_commit(struct buf *buf, size_t n)
{
	buf->len += (uint32_t)n;
}

int buf_append(struct buf *buf, const void *data, size_t len)
{
	int r = buf_reserve(buf, len);

	if (r < 0)
		return r;
	if (len)
		memcpy(buf_tail(buf), data, len);
	buf_commit(buf, len);
	return 0;
}

int buf_append_view(struct buf *buf, struct view v)
{
	return buf_append(buf, v.data, v.len);
}

int buf_append_str(struct buf *buf, const char *s)
{
	return buf_append(buf, s, strlen(s));
}

int buf_printf(struct buf *buf, const char *format, ...)
{
	char *text = NULL;
	va_list args;
	int n, r;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	if (n < 0)
		return -ENOMEM;
	r = buf_append(buf, text, (size_t)n);
	if (buf->secret)
		secret_wipe(text, (size_t)n);
	free(text);
	return r;
}

void buf_consume(struct buf *buf, size_t n)
{
	if (n > buf->len)
		n = buf->len;
	if (buf->secret && n)
		secret_wipe(buf->data + buf->start, n);
	buf->start += (uint32_t)n;
	buf->len -= (uint32_t)n;
	if (!buf->len)
		buf->start = 0;
}

void buf_clear(struct buf *buf)
{
	buf_consume(buf, buf->len);
}

void buf_truncate(struct buf *buf, size_t len)
{
	if (len >= buf->len)
		return;
	if (buf->secret)
		secret_wipe(buf->data + buf->start + len, buf->len - len);
	buf->len = (uint32_t)len;
	if (!buf->len)
		buf->start = 0;
}

int buf_move(struct buf *to, struct buf *from)
{
	int r = buf_append_view(to, buf_view(from));

	if (r < 0)
		return r;
	buf_clear(from);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * A growable byte queue with a hard limit: append at the end, consume at the front.
 * A zeroed struct buf is a valid empty buffer without a limit of its own; it allocates on first
 * use. Bytes that leave a buffer whose `secret` is set (grown, consumed, freed) are overwritten.
 */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include "base/view.h"

#define BUF_MAX_BYTES (1u << 30)

struct buf {
	char *data;     /* allocation, owned */
	uint32_t start; /* first byte not consumed */
	uint32_t len;   /* bytes held */
	uint32_t cap;
	uint32_t limit : 31; /* most bytes ever held; 0 = BUF_MAX_BYTES */
	bool secret : 1;
};

void buf_init(struct buf *buf, size_t limit_bytes, bool secret);
/* Frees the memory (wiped if secret); the buffer stays usable and keeps limit and secret. */
void buf_fini(struct buf *buf);

static inline struct view buf_view(const struct buf *buf)
{
	return view_make(buf->data ? buf->data + buf->start : "", buf->len);
}

/* Bytes that still fit under the limit. */
size_t buf_room(const struct buf *buf);

/* Makes room for n more bytes at the end. Returns 0, -ENOBUFS over the limit, or -ENOMEM. */
MUST_USE int buf_reserve(struct buf *buf, size_t n);
/* Where reserved bytes go; then buf_commit() says how many were written. */
char *buf_tail(struct buf *buf);
void buf_commit(struct buf *buf, size_t n);

/* All or nothing. Return 0, -ENOBUFS or -ENOMEM. */
MUST_USE int buf_append(struct buf *buf, const void *data, size_t len);
MUST_USE int buf_append_view(struct buf *buf, struct view v);
MUST_USE int buf_append_str(struct buf *buf, const char *s);
MUST_USE int buf_printf(struct buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);

/* Drops n bytes (at most len) from the front. */
void buf_consume(struct buf *buf, size_t n);
void buf_clear(struct buf *buf);
/* Drops bytes from the end until at most len are left. */
void buf_truncate(struct buf *buf, size_t len);
/* Moves the whole content of from to the end of to. Returns 0 or an error of buf_append(). */
MUST_USE int buf_move(struct buf *to, struct buf *from);

#endif

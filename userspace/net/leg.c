// SPDX-License-Identifier: Apache-2.0
#include "net/leg.h"
#include "base/secret.h"

#include <errno.h>

#define DROP_BYTES 4096
/* The longest read by way of the stack. */
#define FIRST_BYTES 8192
/* A longer read may have been cut where one record of TLS ends, and more may be waiting. */
#define SHORT_BYTES 4096

void leg_init(struct leg *leg, size_t in_limit, size_t out_limit)
{
	*leg = (struct leg){ 0 };
	buf_init(&leg->in, in_limit, true);
	buf_init(&leg->out, out_limit, true);
}

static void forget_wants(struct leg *leg)
{
	leg->read_want = leg->write_want = 0;
	leg->dry = false;
}

int leg_open(struct leg *leg, struct loop *loop, int fd, uint32_t epoll_events, loop_watch_fn *fn)
{
	int r = loop_watch_add(loop, &leg->watch, fd, epoll_events, fn);

	if (r < 0)
		return r;
	stream_init_plain(&leg->stream, fd);
	forget_wants(leg);
	return 0;
}

void leg_close(struct leg *leg)
{
	loop_watch_forget(&leg->watch);
	stream_close(&leg->stream);
	buf_fini(&leg->in);
	buf_fini(&leg->out);
	forget_wants(leg);
}

void leg_move(struct leg *from, struct leg *to, loop_watch_fn *fn)
{
	loop_watch_move(&from->watch, &to->watch, fn);
	to->stream = from->stream;
	to->read_want = from->read_want;
	to->write_want = from->write_want;
	to->dry = from->dry;
	from->stream = (struct stream){ 0 };
	forget_wants(from);
}

ssize_t leg_read_bytes(struct leg *leg, void *data, size_t len, size_t *spent)
{
	ssize_t n = stream_read(&leg->stream, data, len);

	leg->read_want = n == -EAGAIN ? leg->stream.want : 0;
	leg->dry = n < SHORT_BYTES && n < (ssize_t)len && !stream_pending(&leg->stream);
	if (n > 0)
		*spent += stream_read_cost(&leg->stream, n);
	return n;
}

/* To a buffer that has no memory yet: it gets as much as there is, not as there might be. */
static ssize_t read_first(struct leg *leg, struct buf *buf, size_t want, size_t *spent)
{
	char scratch[FIRST_BYTES] UNINITIALIZED;
	ssize_t n = leg_read_bytes(leg, scratch, want, spent);
	int r;

	if (n <= 0)
		return n;
	r = buf_append(buf, scratch, (size_t)n);
	secret_wipe(scratch, (size_t)n);
	return r < 0 ? r : n;
}

ssize_t leg_read(struct leg *leg, struct buf *buf, size_t max, size_t *spent)
{
	size_t want = MIN(buf_room(buf), max);
	ssize_t n;
	int r;

	if (!want)
		return -ENOBUFS;
	if (!buf->data && want <= FIRST_BYTES)
		return read_first(leg, buf, want, spent);
	r = buf_reserve(buf, want);
	if (r < 0)
		return r;
	n = leg_read_bytes(leg, buf_tail(buf), want, spent);
	if (n > 0)
		buf_commit(buf, (size_t)n);
	return n;
}

ssize_t leg_drop(struct leg *leg, size_t *spent)
{
	char scratch[DROP_BYTES] UNINITIALIZED; /* may be told a password that came too late */
	ssize_t n = leg_read_bytes(leg, scratch, sizeof(scratch), spent);

	if (n > 0)
		secret_wipe(scratch, (size_t)n);
	return n;
}

int leg_flush(struct leg *leg)
{
	while (leg->out.len) {
		struct view v = buf_view(&leg->out);
		ssize_t n = stream_write(&leg->stream, v.data, v.len);

		leg->write_want = n == -EAGAIN ? leg->stream.want : 0;
		if (n == -EAGAIN)
			return 0;
		if (n < 0)
			return (int)n;
		buf_consume(&leg->out, (size_t)n);
	}
	if (!leg->out_stays)
		buf_fini(&leg->out);
	return 0;
}

int leg_shutdown(struct leg *leg)
{
	int r = stream_shutdown(&leg->stream);

	leg->write_want = r == -EAGAIN ? leg->stream.want : 0;
	return r;
}

uint32_t leg_events(const struct leg *leg, bool read, bool write)
{
	uint32_t events = 0;

	if (read)
		events |= leg->read_want ? leg->read_want : EPOLLIN;
	if (write)
		events |= leg->write_want ? leg->write_want : EPOLLOUT;
	return events;
}

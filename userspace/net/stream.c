// SPDX-License-Identifier: Apache-2.0
/* Streams: dispatch, and the plain one. */
#include "net/stream.h"
#include "base/fd.h"
#include "net/sock.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t plain_read(struct stream *stream, void *data, size_t len)
{
	ssize_t n = sock_recv(stream->fd, data, len);

	stream->drained = n < (ssize_t)len;
	if (n < 0)
		stream->want = EPOLLIN;
	return n;
}

static ssize_t plain_write(struct stream *stream, const void *data, size_t len)
{
	ssize_t n = sock_send(stream->fd, data, len);

	if (n < 0)
		stream->want = EPOLLOUT;
	return n;
}

static int plain_shutdown(struct stream *stream)
{
	if (shutdown(stream->fd, SHUT_WR) < 0 && errno != ENOTCONN)
		return -errno;
	return 0;
}

static bool plain_pending(const struct stream *stream)
{
	(void)stream;
	return false;
}

static void plain_close(struct stream *stream)
{
	(void)stream;
}

static const struct stream_ops plain_ops = {
	.read = plain_read,
	.write = plain_write,
	.shutdown = plain_shutdown,
	.cut = plain_shutdown,
	.pending = plain_pending,
	.close = plain_close,
};

void stream_init_plain(struct stream *stream, int fd)
{
	*stream = (struct stream){ .ops = &plain_ops, .fd = fd };
}

void stream_close(struct stream *stream)
{
	if (!stream->ops)
		return;
	stream->ops->close(stream);
	fd_closep(&stream->fd);
	stream->ops = NULL;
	stream->layer = NULL;
}

ssize_t stream_read(struct stream *stream, void *data, size_t len)
{
	stream->work = 0;
	stream->drained = false;
	return stream->ops->read(stream, data, len);
}

ssize_t stream_write(struct stream *stream, const void *data, size_t len)
{
	return stream->ops->write(stream, data, len);
}

int stream_shutdown(struct stream *stream)
{
	return stream->ops->shutdown(stream);
}

int stream_cut(struct stream *stream)
{
	return stream->ops->cut(stream);
}

bool stream_pending(const struct stream *stream)
{
	return stream->ops->pending(stream);
}

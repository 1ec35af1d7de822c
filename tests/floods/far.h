/* SPDX-License-Identifier: Apache-2.0 */
/* What the attackers and the talkers share: a blocking TLS end over the project's own streams. */
#ifndef TESTS_FLOODS_FAR_H
#define TESTS_FLOODS_FAR_H

#include "tls/openssl.h"
#include "tls_peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define WAIT_MS 10000

static inline bool far_wait(const struct stream *stream, uint32_t events)
{
	struct pollfd pfd = { .fd = stream->fd, .events = (short)events };

	return poll(&pfd, 1, WAIT_MS) > 0;
}

static inline bool far_handshake(struct stream *stream)
{
	int r;

	while ((r = tls_stream_handshake(stream)) == -EAGAIN) {
		if (!far_wait(stream, stream->want))
			return false;
	}
	return r == 0;
}

/* To the loopback address, plain yet. */
static inline bool far_connect(struct stream *stream, uint16_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return false;
	stream_init_plain(stream, fd);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 && errno != EINPROGRESS)
		return false;
	return far_wait(stream, POLLOUT);
}

#endif

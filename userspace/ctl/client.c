// SPDX-License-Identifier: Apache-2.0
/*
 * One request to the admin API, over the same TLS layer as the router's. It blocks, on purpose and
 * unlike all of the router: homingctl is a command, with nothing to do while it waits for its
 * answer, and one request reads from top to bottom where a loop would need states. Who wants more
 * at once (drain) has threads. The sockets are non-blocking all the same, and poll(2) waits for
 * them, so that a deadline holds for all but the look-up of a name (getaddrinfo).
 */
#include "ctl/client.h"
#include "base/buf.h"
#include "base/clock.h"
#include "net/sock.h"
#include "tls/tls.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#define ANSWER_BYTES (64 * 1024 * 1024)

struct call {
	struct stream stream;
	uint64_t deadline_ms;
	char *error;
	size_t error_size;
};

static int fail(struct call *call, const char *what, const char *detail)
{
	snprintf(call->error, call->error_size, "%s%s%s", what, detail && *detail ? ": " : "",
		detail ? detail : "");
	return -1;
}

/* Waits for epoll-style events on the stream. */
static int wait_for(struct call *call, uint32_t events)
{
	struct pollfd pfd = { .fd = call->stream.fd };
	uint64_t now = clock_mono_ms();
	int n;

	pfd.events = (short)((events & EPOLLIN ? POLLIN : 0) | (events & EPOLLOUT ? POLLOUT : 0));
	if (now >= call->deadline_ms)
		return fail(call, "timed out", NULL);
	n = poll(&pfd, 1, (int)(call->deadline_ms - now));
	if (n == 0)
		return fail(call, "timed out", NULL);
	return n < 0 && errno != EINTR ? fail(call, "poll", strerror(errno)) : 0;
}

static int connect_to(struct call *call, const struct addrinfo *info)
{
	struct sockaddr_storage storage = { 0 };
	struct addr addr;
	int fd, r;

	memcpy(&storage, info->ai_addr, info->ai_addrlen);
	if (addr_from_sockaddr(&storage, &addr) < 0)
		return fail(call, "cannot connect", "unknown address family");
	fd = sock_connect_start(&addr, NULL);
	if (fd < 0)
		return fail(call, "cannot connect", strerror(-fd));
	sock_keep_alive(fd);
	stream_init_plain(&call->stream, fd);
	r = wait_for(call, EPOLLOUT);
	if (r == 0) {
		r = sock_error(fd);
		if (r < 0)
			r = fail(call, "cannot connect", strerror(-r));
	}
	if (r < 0)
		stream_close(&call->stream);
	return r;
}

static int dial_unix(struct call *call, const char *path)
{
	int fd = sock_connect_unix(path);

	if (fd < 0)
		return fail(call, path, strerror(-fd));
	stream_init_plain(&call->stream, fd);
	return 0;
}

static int dial(struct call *call, const struct ctl_target *target)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *infos;
	int r = getaddrinfo(target->host, target->port, &hints, &infos);

	if (r)
		return fail(call, target->host, gai_strerror(r));
	for (const struct addrinfo *info = infos; info; info = info->ai_next) {
		r = connect_to(call, info);
		if (r == 0)
			break;
	}
	freeaddrinfo(infos);
	return r;
}

static int new_client(
	const struct ctl_target *target, struct tls_client **ret_client, char error[TLS_ERROR_SIZE])
{
	struct tls_client_params params = { .server_name = target->host,
		.allow_invalid = target->insecure,
		.pin = target->pin,
		.pin_count = target->pin_count,
		.ca_path = target->ca_path,
		.alpn = "http/1.1" };

	return tls_client_new(&params, ret_client, error);
}

int ctl_target_prepare(struct ctl_target *target, char *error, size_t error_size)
{
	char text[TLS_ERROR_SIZE];

	if (target->socket || target->tls || new_client(target, &target->tls, text) == 0)
		return 0;
	snprintf(error, error_size, "TLS: %s", text);
	return -1;
}

void ctl_target_release(struct ctl_target *target)
{
	tls_client_unref(target->tls);
	target->tls = NULL;
}

static int start_tls(struct call *call, const struct ctl_target *target)
{
	char error[TLS_ERROR_SIZE];
	struct tls_client *client;
	int r;

	if (target->tls)
		client = tls_client_ref(target->tls);
	else if (new_client(target, &client, error) < 0)
		return fail(call, "TLS", error);
	r = tls_stream_connect(&call->stream, client);
	tls_client_unref(client);
	if (r < 0)
		return fail(call, "TLS", "cannot start");
	while ((r = tls_stream_handshake(&call->stream)) == -EAGAIN) {
		if (wait_for(call, call->stream.want) < 0)
			return -1;
	}
	return r < 0 ? fail(call, "TLS", tls_stream_error(&call->stream)) : 0;
}

static int send_all(struct call *call, struct buf *out)
{
	while (out->len) {
		struct view v = buf_view(out);
		ssize_t n = stream_write(&call->stream, v.data, v.len);

		if (n == -EAGAIN) {
			if (wait_for(call, call->stream.want) < 0)
				return -1;
			continue;
		}
		if (n < 0)
			return fail(call, "cannot send", strerror((int)-n));
		buf_consume(out, (size_t)n);
	}
	return 0;
}

static int read_all(struct call *call, struct buf *in)
{
	for (;;) {
		ssize_t n;

		if (buf_reserve(in, 16384) < 0)
			return fail(call, "answer is too large", NULL);
		n = stream_read(&call->stream, buf_tail(in), 16384);
		if (n == -EAGAIN) {
			if (wait_for(call, call->stream.want) < 0)
				return -1;
			continue;
		}
		if (n == STREAM_EOF)
			return 0;
		if (n < 0)
			return fail(call, "connection lost", strerror((int)-n));
		buf_commit(in, (size_t)n);
	}
}

static int take_answer(struct call *call, struct buf *in, struct ctl_response *ret_response)
{
	struct view text = buf_view(in);
	const char *end = text.len ? memmem(text.data, text.len, "\r\n\r\n", 4) : NULL;
	uint64_t status;

	if (!end || text.len < 12 || !view_starts(text, VIEW_LIT("HTTP/1.1 ")) ||
		view_to_u64(view_make(text.data + 9, 3), &status) < 0)
		return fail(call, "not an answer of the admin API", NULL);
	ret_response->status = (int)status;
	ret_response->body = view_dup(view_skip(text, (size_t)(end - text.data) + 4));
	return ret_response->body ? 0 : fail(call, "out of memory", NULL);
}

int ctl_request(const struct ctl_target *target, const char *method, const char *path,
	struct ctl_response *ret_response, char *error, size_t error_size)
{
	struct call call = { .deadline_ms = clock_mono_ms() + target->timeout_s * 1000ull,
		.error = error,
		.error_size = error_size };
	struct buf out, in;
	int r = target->socket ? dial_unix(&call, target->socket) : dial(&call, target);

	buf_init(&out, 0, true);
	buf_init(&in, ANSWER_BYTES, false);
	if (r == 0 && !target->socket)
		r = start_tls(&call, target);
	if (r == 0 &&
		buf_printf(&out, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: homingctl\r\n", method,
			path, target->socket ? "localhost" : target->host) < 0)
		r = fail(&call, "out of memory", NULL);
	if (r == 0 && target->token &&
		buf_printf(&out, "Authorization: Bearer %s\r\n", target->token) < 0)
		r = fail(&call, "out of memory", NULL);
	if (r == 0 && buf_append(&out, "\r\n", 2) < 0)
		r = fail(&call, "out of memory", NULL);
	if (r == 0)
		r = send_all(&call, &out);
	if (r == 0)
		r = read_all(&call, &in);
	if (r == 0)
		r = take_answer(&call, &in, ret_response);
	stream_close(&call.stream);
	buf_fini(&out);
	buf_fini(&in);
	return r;
}

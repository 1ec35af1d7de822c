// SPDX-License-Identifier: Apache-2.0
/* After a call of up() or failed() nothing is touched: the owner may have gone. */
#include "net/connect.h"
#include "net/sock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

static void fail(struct connect *connect, int outcome)
{
	loop_timer_del(connect->loop, &connect->timer);
	connect->ops->failed(connect, outcome);
}

static void done(struct connect *connect)
{
	connect->phase = CONNECT_UP;
	connect->ops->up(connect);
}

static void tls_progress(struct connect *connect)
{
	int r = connect->ops->secure(connect);

	if (r == -EAGAIN) {
		if (leg_watch(connect->leg, connect->leg->stream.want) < 0)
			fail(connect, CONNECT_OURS);
	} else if (r != 0) {
		fail(connect, r);
	} else {
		connect->leg->stream.want = 0;
		done(connect);
	}
}

void connect_secure(struct connect *connect)
{
	connect->phase = CONNECT_TLS;
	tls_progress(connect);
}

static void preamble_progress(struct connect *connect)
{
	struct leg *leg = connect->leg;
	int r = leg_flush(leg);

	if (r < 0) {
		fail(connect, r);
	} else if (leg->out.len) {
		if (leg_watch(leg, leg_events(leg, false, true)) < 0)
			fail(connect, CONNECT_OURS);
	} else if (connect->tls_first) {
		connect_secure(connect);
	} else {
		done(connect);
	}
}

static void opened(struct connect *connect)
{
	loop_timer_del(connect->loop, &connect->timer);
	connect->phase = CONNECT_PREAMBLE;
	if (!connect->brief)
		sock_keep_alive(connect->leg->stream.fd);
	if (connect->ops->preamble && connect->ops->preamble(connect) < 0)
		fail(connect, CONNECT_OURS);
	else
		preamble_progress(connect);
}

void connect_event(struct connect *connect, uint32_t epoll_events)
{
	int r;

	/* Errors show up in the calls below. */
	switch (connect->phase) {
	case CONNECT_OPEN:
		r = epoll_events & (EPOLLERR | EPOLLHUP) ? sock_error(connect->leg->stream.fd) : 0;
		if (r < 0)
			fail(connect, r);
		else
			opened(connect);
		break;
	case CONNECT_PREAMBLE:
		preamble_progress(connect);
		break;
	case CONNECT_TLS:
		tls_progress(connect);
		break;
	default:
		break;
	}
}

/* Its time is over; unless it has answered, and we were too busy to see. */
static void on_slow(struct timer *timer)
{
	struct connect *connect = container_of(timer, struct connect, timer);
	struct pollfd answer = { .fd = connect->leg->stream.fd, .events = POLLOUT };

	if (poll(&answer, 1, 0) == 1)
		connect_event(connect, (uint32_t)answer.revents);
	else
		fail(connect, CONNECT_SLOW);
}

/* fd: as sock_connect_start() returns it. Returns 0, or how it failed. */
static int await_open(struct connect *connect, int fd, uint64_t limit_ms)
{
	int r = fd;

	if (fd >= 0) {
		r = leg_open(connect->leg, connect->loop, fd, EPOLLOUT, connect->fn);
		if (r < 0)
			close(fd);
	}
	if (r == 0 && limit_ms)
		loop_timer_set(connect->loop, &connect->timer, limit_ms, on_slow);
	return r;
}

static int try_next(struct connect *connect)
{
	const struct addr *addr = &connect->addrs[connect->addr_next++];
	uint64_t limit_ms = 0;
	int r = 0;

	leg_close(connect->leg);
	connect->phase = CONNECT_OPEN;
	connect->source = (struct addr){ 0 };
	if (connect->ops->address)
		r = connect->ops->address(connect, addr, &connect->source, &limit_ms);
	return r ? r : await_open(connect, sock_connect_start(addr, &connect->source), limit_ms);
}

void connect_next(struct connect *connect)
{
	int r = try_next(connect);

	if (r != 0)
		fail(connect, r);
}

static void on_failure_due(struct timer *timer)
{
	struct connect *connect = container_of(timer, struct connect, timer);

	fail(connect, connect->failure);
}

void connect_start_addrs(struct connect *connect, const struct addr *addrs, size_t count)
{
	connect_stop(connect);
	connect->addr_next = 0;
	connect->addr_count = MIN(count, (size_t)RESOLVE_MAX_ADDRS);
	memcpy(connect->addrs, addrs, connect->addr_count * sizeof(*addrs));
	connect_next(connect);
}

static void on_resolved(void *arg, int status, const struct addr *addrs, size_t count)
{
	struct connect *connect = arg;

	connect->query = NULL;
	if (status < 0)
		fail(connect, status);
	else
		connect_start_addrs(connect, addrs, count);
}

void connect_start(struct connect *connect, const char *host, uint16_t port)
{
	connect_stop(connect);
	connect->addr_next = connect->addr_count = 0;
	connect->phase = CONNECT_RESOLVE;
	if (resolve_known(connect->resolver, host, port, connect->addrs, &connect->addr_count)) {
		connect->failure = try_next(connect);
		if (connect->failure)
			loop_timer_set(connect->loop, &connect->timer, 0, on_failure_due);
		return;
	}
	if (resolve_start(connect->resolver, host, port, on_resolved, connect, &connect->query) < 0)
		fail(connect, CONNECT_OURS);
}

void connect_start_unix(struct connect *connect, const char *path)
{
	int r;

	connect_stop(connect);
	connect->addr_next = connect->addr_count = 0;
	connect->phase = CONNECT_OPEN;
	leg_close(connect->leg);
	r = await_open(connect, sock_connect_unix(path), 0);
	if (r != 0)
		fail(connect, r);
}

void connect_start_other(struct connect *connect)
{
	connect_stop(connect);
	connect->addr_next = connect->addr_count = 0;
	connect->phase = CONNECT_OPEN;
	leg_close(connect->leg);
}

void connect_made(struct connect *connect)
{
	done(connect);
}

void connect_stop(struct connect *connect)
{
	if (connect->phase == CONNECT_IDLE)
		return;
	resolve_cancel(connect->query);
	connect->query = NULL;
	loop_timer_del(connect->loop, &connect->timer);
	connect->phase = CONNECT_IDLE;
}

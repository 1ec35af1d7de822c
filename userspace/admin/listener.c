// SPDX-License-Identifier: Apache-2.0
/*
 * Connections of the admin listener. Each is in one state with one time limit (ADM-4), which begins
 * when its turn ends in a new state; the limits on their number (ADM-5) make thousands of half-open
 * ones harmless. Files need each other in one direction:
 *
 *     endpoints.c -> answers_*.c -> drains.c, pending.c, params.c, oplog.c
 *     listener.c -> dispatch.c -> params.c, response.c, lockout.c
 */
#include "admin/connection.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/sock.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_CONNS 64
#define MAX_PER_ADDRESS 16
#define HEAD_BYTES 16384
#define MAX_FIELDS 64
#define BODY_BYTES 65536
#define READ_BYTES 4096
#define INPUT_MS 10000
#define SEND_MS 30000
#define LINGER_MS 2000
#define PAUSE_MS 100
/* Of one connection before others get their turn. */
#define TURN_STEPS 16
#define TURN_READ_BYTES 32768

/* Probes of load balancers ask for the health paths without a host; see admin_dispatch(). */
static const struct http_limits head_limits = { HEAD_BYTES, MAX_FIELDS, true };
static const struct tls_alpn admin_alpn = { .id = "http/1.1", .required = true };

static void conn_run(struct admin_conn *conn);

static void conn_close(struct admin_conn *conn)
{
	admin_forget_pending(conn);
	loop_timer_del(conn->listener->params.loop, &conn->timer);
	loop_timer_del(conn->listener->params.loop, &conn->turn);
	leg_close(&conn->leg);
	tls_server_unref(conn->tls);
	list_del(&conn->link);
	conn->listener->conn_count--;
	free(conn);
}

/* ---- time ---- */

static void on_timeout(struct timer *timer);

/* Its state's limit begins. */
static void start_limit(struct admin_conn *conn)
{
	static const uint64_t limits[] = { [ADMIN_TLS] = INPUT_MS,
		[ADMIN_HEAD] = INPUT_MS,
		[ADMIN_BODY] = INPUT_MS,
		[ADMIN_SEND] = SEND_MS,
		[ADMIN_LINGER] = LINGER_MS };
	static_assert(ARRAY_SIZE(limits) == ADMIN_STATES, "a limit for each but waiting");

	conn->limited = conn->state;
	if (conn->state == ADMIN_WAIT) /* the mapping has its own limit */
		loop_timer_del(conn->listener->params.loop, &conn->timer);
	else
		loop_timer_set(
			conn->listener->params.loop, &conn->timer, limits[conn->state], on_timeout);
}

static void on_timeout(struct timer *timer)
{
	struct admin_conn *conn = container_of(timer, struct admin_conn, timer);

	if (conn->state == ADMIN_HEAD || conn->state == ADMIN_BODY) {
		admin_error(conn, 408, "request timeout");
		conn_run(conn);
	} else {
		conn_close(conn);
	}
}

/* ---- states ---- */

static void refuse_head(struct admin_conn *conn, int status)
{
	static const struct {
		int status;
		const char *text;
	} texts[] = { { 400, "bad request" }, { 405, "method not allowed" }, { 417, "bad request" },
		{ 431, "head too large" }, { 505, "version not supported" } };

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		if (texts[i].status == status) {
			admin_error(conn, status, texts[i].text);
			return;
		}
	}
	admin_error(conn, 400, "bad request");
}

/* Each returns false when nothing more can be done now, or when the connection is gone. */

static bool run_tls(struct admin_conn *conn)
{
	int r = tls_stream_handshake(&conn->leg.stream);

	if (r == -EAGAIN)
		return false;
	if (r < 0) {
		conn_close(conn);
		return false;
	}
	conn->leg.stream.want = 0;
	tls_stream_read_ahead(&conn->leg.stream, true);
	conn->state = ADMIN_HEAD;
	return true;
}

/* Returns bytes, 0 when none now, or -1 when the connection is gone. */
static ssize_t read_some(struct admin_conn *conn)
{
	ssize_t n = leg_read(&conn->leg, &conn->leg.in, READ_BYTES, &conn->spent);

	if (n == -EAGAIN)
		return 0;
	if (n <= 0) {
		conn_close(conn);
		return -1;
	}
	return n;
}

static void head_done(struct admin_conn *conn)
{
	conn->is_head = view_eq(conn->head.method, VIEW_LIT("HEAD"));
	if (conn->head.framing == HTTP_CHUNKED)
		admin_error(conn, 411, "length required");
	else if (conn->head.framing == HTTP_COUNTED && conn->head.content_length > BODY_BYTES)
		admin_error(conn, 413, "body too large");
	else if (conn->head.framing == HTTP_COUNTED && conn->head.content_length) {
		conn->body_left = conn->head.content_length;
		conn->state = ADMIN_BODY;
	} else {
		conn->state = ADMIN_WAIT;
		admin_dispatch(conn);
	}
}

static bool run_head(struct admin_conn *conn)
{
	ssize_t n = read_some(conn);
	int r;

	if (n <= 0)
		return false;
	r = http_head_parse(&conn->head, buf_view(&conn->leg.in), &head_limits);
	if (r == HTTP_HEAD_DONE)
		head_done(conn);
	else if (r != HTTP_HEAD_MORE)
		refuse_head(conn, r);
	return true;
}

/* The body is read and ignored, but the head's views point into the same buffer: it stays. */
static bool run_body(struct admin_conn *conn)
{
	if (conn->leg.in.len - conn->head.length < conn->body_left)
		return read_some(conn) > 0;
	/* Reallocation has moved the head: it is parsed again, once. */
	memset(&conn->head, 0, sizeof(conn->head));
	if (http_head_parse(&conn->head, buf_view(&conn->leg.in), &head_limits) != HTTP_HEAD_DONE) {
		conn_close(conn);
		return false;
	}
	conn->state = ADMIN_WAIT;
	admin_dispatch(conn);
	return true;
}

static bool run_send(struct admin_conn *conn)
{
	int r = leg_flush(&conn->leg);

	if (r == 0 && conn->leg.out.len)
		return false;
	if (r == 0)
		r = leg_shutdown(&conn->leg);
	if (r == -EAGAIN)
		return false;
	if (r < 0) {
		conn_close(conn);
		return false;
	}
	conn->leg.read_want = 0;
	conn->state = ADMIN_LINGER;
	return true;
}

/* Unread input at close would reset the connection and could lose the answer. Who does not stop
 * sending is not read on, but not closed before LINGER_MS either. */
static bool run_linger(struct admin_conn *conn)
{
	ssize_t n = leg_drop(&conn->leg, &conn->spent);

	if (n == -EAGAIN)
		return false;
	if (n <= 0)
		conn_close(conn);
	return n > 0;
}

static bool run_once(struct admin_conn *conn)
{
	switch (conn->state) {
	case ADMIN_TLS:
		return run_tls(conn);
	case ADMIN_HEAD:
		return run_head(conn);
	case ADMIN_BODY:
		return run_body(conn);
	case ADMIN_SEND:
		return run_send(conn);
	case ADMIN_LINGER:
		return run_linger(conn);
	default:
		return false;
	}
}

/* What it waits for in its state, and for how long. */
static void await(struct admin_conn *conn)
{
	uint32_t events;

	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): callers ask is_alive() before */
	if (conn->limited != conn->state)
		start_limit(conn);
	switch (conn->state) {
	case ADMIN_TLS:
		events = conn->leg.stream.want;
		break;
	case ADMIN_SEND:
		events = leg_events(&conn->leg, false, true);
		break;
	case ADMIN_WAIT:
		events = EPOLLRDHUP; /* a client that left */
		break;
	default:
		events = leg_events(&conn->leg, !timer_armed(&conn->turn), false);
	}
	if (leg_watch(&conn->leg, events) < 0)
		conn_close(conn);
}

static bool is_alive(struct admin_listener *listener, const struct admin_conn *conn)
{
	list_for_each (node, &listener->conns) {
		if (list_entry(node, struct admin_conn, link) == conn)
			return true;
	}
	return false;
}

/* Who sends on though the answer was given is not heard any more, and closed at the limit: before,
 * it would be a reset. */
static uint64_t pause_ms(const struct admin_conn *conn)
{
	return conn->state == ADMIN_LINGER ? LINGER_MS : leg_pause_ms(conn->spent, TURN_READ_BYTES);
}

static void on_turn(struct timer *timer)
{
	conn_run(container_of(timer, struct admin_conn, turn));
}

static void conn_run(struct admin_conn *conn)
{
	struct admin_listener *listener = conn->listener;

	conn->spent = 0;
	for (unsigned steps = 0; run_once(conn); steps++) {
		if (steps == TURN_STEPS || conn->spent >= TURN_READ_BYTES) {
			loop_timer_set(listener->params.loop, &conn->turn, pause_ms(conn), on_turn);
			break;
		}
	}
	if (is_alive(listener, conn))
		await(conn);
}

static void on_conn(struct loop_watch *watch, uint32_t epoll_events)
{
	struct admin_conn *conn = container_of(watch, struct admin_conn, leg.watch);
	bool is_gone = epoll_events & (EPOLLHUP | EPOLLERR);

	if (conn->state == ADMIN_WAIT && (is_gone || epoll_events & EPOLLRDHUP))
		conn_close(conn);
	else if (!timer_armed(&conn->turn)) /* else it has had this turn */
		conn_run(conn);
	else if (conn->state == ADMIN_LINGER && is_gone) /* epoll would not stop telling */
		conn_close(conn);
}

/* ---- accept ---- */

static unsigned count_address(struct admin_listener *listener, const struct addr *peer)
{
	struct addr key, other;
	unsigned count = 0;

	addr_limit_key(peer, &key);
	list_for_each (node, &listener->conns) {
		addr_limit_key(&list_entry(node, struct admin_conn, link)->peer, &other);
		count += addr_eq_ip(&key, &other);
	}
	return count;
}

static void open_conn(struct admin_listener *listener, int fd, const struct addr *peer, uid_t uid)
{
	struct admin_conn *conn;

	if (listener->conn_count >= MAX_CONNS ||
		(!admin_is_local(listener) && count_address(listener, peer) >= MAX_PER_ADDRESS)) {
		close(fd);
		return;
	}
	conn = calloc(1, sizeof(*conn));
	if (!conn) {
		close(fd);
		return;
	}
	conn->listener = listener;
	conn->peer = *peer;
	conn->uid = uid;
	leg_init(&conn->leg, HEAD_BYTES + BODY_BYTES + 1, 0);
	list_add_tail(&listener->conns, &conn->link);
	listener->conn_count++;
	if (!admin_is_local(listener))
		conn->tls = tls_server_ref(listener->params.tls);
	if (leg_open(&conn->leg, listener->params.loop, fd, EPOLLIN, on_conn) < 0) {
		close(fd);
		conn_close(conn);
		return;
	}
	if (conn->tls && tls_stream_accept(&conn->leg.stream, conn->tls, &admin_alpn) < 0) {
		conn_close(conn);
		return;
	}
	conn->leg.stream.want = EPOLLIN;
	conn->state = admin_is_local(listener) ? ADMIN_HEAD : ADMIN_TLS;
	start_limit(conn);
}

static void on_resume(struct timer *timer)
{
	struct admin_listener *listener = container_of(timer, struct admin_listener, resume_timer);

	if (loop_watch_set(&listener->watch, EPOLLIN) < 0)
		log_event(LOGL_ERROR, "listener_lost", "listener", "admin", NULL);
}

/* ADM-9a: root and the service user, and with a group of its own whoever the kernel let through;
 * -EACCES: somebody else, closed. */
static int accept_local(const struct admin_listener *listener, uid_t *ret_uid)
{
	int fd = sock_accept_unix(listener->listen_fd, ret_uid);

	if (fd < 0 || *ret_uid == 0 || *ret_uid == geteuid() || listener->params.for_group)
		return fd;
	close(fd);
	log_event_limited(LOGL_WARN, "admin_denied", "socket", "client", "local", NULL);
	return -EACCES;
}

static void on_connection(struct loop_watch *watch, uint32_t epoll_events)
{
	struct admin_listener *listener = container_of(watch, struct admin_listener, watch);
	struct addr peer = { 0 };
	uid_t uid = 0;

	(void)epoll_events;
	for (int i = 0; i < MAX_CONNS; i++) {
		int fd = admin_is_local(listener) ? accept_local(listener, &uid)
						  : sock_accept(listener->listen_fd, &peer);

		if (fd == -EAGAIN)
			return;
		if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS || fd == -ENOMEM) {
			log_event_limited(
				LOGL_WARN, "accept_paused", "admin", "listener", "admin", NULL);
			if (loop_watch_set(&listener->watch, 0) == 0)
				loop_timer_set(listener->params.loop, &listener->resume_timer,
					PAUSE_MS, on_resume);
			return;
		}
		if (fd >= 0)
			open_conn(listener, fd, &peer, uid);
	}
}

int admin_listener_new(const struct admin_params *params, struct admin_listener **ret_listener)
{
	struct admin_listener *listener = calloc(1, sizeof(*listener));
	int r = -ENOMEM;

	if (!listener) {
		close(params->listen_fd);
		return r;
	}
	listener->params = *params;
	listener->params.tls = params->tls ? tls_server_ref(params->tls) : NULL;
	memcpy(listener->token_sha256, params->token_sha256, TLS_SHA256_SIZE);
	listener->listen_fd = params->listen_fd;
	list_init(&listener->conns);
	r = lockout_new(params->lockout_threshold, params->lockout_ms, &listener->lockout);
	if (r == 0)
		r = loop_watch_add(params->loop, &listener->watch, listener->listen_fd, EPOLLIN,
			on_connection);
	if (r < 0) {
		admin_listener_free(listener);
		return r;
	}
	*ret_listener = listener;
	return 0;
}

bool admin_listener_busy(const struct admin_listener *listener)
{
	if (!listener)
		return false;
	list_for_each (node, &listener->conns) {
		enum admin_state state = list_entry(node, struct admin_conn, link)->state;

		if (state == ADMIN_WAIT || state == ADMIN_SEND)
			return true;
	}
	return false;
}

void admin_listener_set(struct admin_listener *listener, const struct admin_settings *settings)
{
	tls_server_unref(listener->params.tls);
	listener->params.tls = tls_server_ref(settings->tls);
	if (!settings->token_sha256)
		return;
	memcpy(listener->token_sha256, settings->token_sha256, TLS_SHA256_SIZE);
	listener->params.lockout_threshold = settings->lockout_threshold;
	listener->params.lockout_ms = settings->lockout_ms;
	lockout_set(listener->lockout, settings->lockout_threshold, settings->lockout_ms);
}

void admin_listener_free(struct admin_listener *listener)
{
	if (!listener)
		return;
	while (!list_empty(&listener->conns))
		conn_close(list_entry(listener->conns.next, struct admin_conn, link));
	loop_watch_del(&listener->watch);
	loop_timer_del(listener->params.loop, &listener->resume_timer);
	close(listener->listen_fd);
	lockout_free(listener->lockout);
	tls_server_unref(listener->params.tls);
	free(listener);
}

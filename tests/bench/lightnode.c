// SPDX-License-Identifier: Apache-2.0
/*
 * A light mail node for load tests: thousands of connections on one epoll loop, with the net/ and
 * tls/ of the router below. It accepts every login and holds no mail: message N of any mailbox has
 * N bytes. Prints its port. IMAP, beside what clients need (UID FETCH, IDLE, NOOP, any other gets
 * OK):
 *     BULK bytes size   sends bytes in writes of size        CHECK: with content that says where in
 *     PUSH bytes        takes them                           the stream it is
 *     NOTIFY count rate sends count notifications, rate a second, to those that idle, in turn; each
 *                       names the time, CLOCK_MONOTONIC in ns, as HIGHESTMODSEQ
 *     HANDSHAKES        says how many were full and how many resumed; also in submission
 * All answer at the end. Where TLS is on, a connection may also be plain, and is then not greeted.
 * usage: lightnode ADDRESS:PORT imap|submission plain | CERT KEY [tickets=0]
 */
#include "lightnode.h"
#include "net/sock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define TLS_HANDSHAKE_BYTE 22

struct loop node_loop;
bool node_submission;
unsigned long node_handshakes[2];
static struct loop_watch listen_watch;
static SSL_CTX *tls_ctx;
static int listener;

void conn_close(struct conn *conn)
{
	idle_leave(conn);
	notify_free(conn);
	loop_watch_del(&conn->watch);
	stream_close(&conn->stream);
	buf_fini(&conn->part);
	free(conn);
}

bool conn_say(struct conn *conn, const char *text)
{
	size_t len = strlen(text);

	return stream_write(&conn->stream, text, len) == (ssize_t)len;
}

bool conn_sayf(struct conn *conn, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return conn_say(conn, text);
}

/* ---- long answers ---- */

/* The bytes of one part, which begins at `start` of the answer, that fall into [at, at + room). */
static size_t copy_part(char *to, size_t room, uint64_t at, uint64_t start, const char *part)
{
	size_t len = strlen(part), skip = (size_t)(at - start), n;

	if (at < start || skip >= len)
		return 0;
	n = MIN(room, len - skip);
	memcpy(to, part + skip, n);
	return n;
}

static void fill_body(char *to, size_t len, uint64_t at, bool numbered)
{
	if (!numbered)
		memset(to, 'x', len);
	for (size_t n; numbered && len; to += n, at += n, len -= n) {
		uint64_t word = at & ~(uint64_t)7;

		n = MIN(8 - (size_t)(at & 7), len);
		memcpy(to, (const char *)&word + (at & 7), n);
	}
}

/* Puts what comes next into `to`, always the same for the same a->sent: after a write that would
 * have blocked it is made again. Returns how much. */
static size_t compose(const struct answer *a, char *to, size_t room)
{
	uint64_t head = strlen(a->head), at = a->sent;
	size_t len = copy_part(to, room, at, 0, a->head), n;

	at += len;
	if (at >= head && at < head + a->body) {
		n = (size_t)MIN((uint64_t)(room - len), head + a->body - at);
		fill_body(to + len, n, at - head, a->numbered);
		len += n;
		at += n;
	}
	return len + copy_part(to + len, room - len, at, head + a->body, a->tail);
}

/* The next bytes to write, in *ret_data. A body is made once. */
static size_t next_bytes(const struct answer *a, const char **ret_data)
{
	static char block[PEER_SCRATCH], body[PEER_SCRATCH];
	uint64_t head = strlen(a->head);

	if (!body[0])
		memset(body, 'x', sizeof(body));
	*ret_data = body;
	if (!a->numbered && a->sent >= head && a->sent + a->write_size <= head + a->body)
		return a->write_size;
	*ret_data = block;
	return compose(a, block, a->write_size);
}

static bool send_answer(struct conn *conn)
{
	struct answer *a = &conn->answer;
	uint64_t total = strlen(a->head) + a->body + strlen(a->tail);

	while (a->sent < total) {
		const char *data;
		size_t len = next_bytes(a, &data);
		ssize_t n = stream_write(&conn->stream, data, len);

		if (n == -EAGAIN)
			return loop_watch_set(&conn->watch, EPOLLOUT) == 0;
		if (n < 0)
			return false;
		a->sent += (uint64_t)n;
	}
	conn->answering = false;
	return loop_watch_set(&conn->watch, EPOLLIN) == 0;
}

bool conn_send_answer(struct conn *conn)
{
	conn->answering = true;
	conn->answer.sent = 0;
	return send_answer(conn);
}

/* ---- input ---- */

static bool take_push(struct conn *conn, struct view *data)
{
	uint64_t n = MIN(conn->push_left, (uint64_t)data->len);

	conn->push_left -= n;
	*data = view_skip(*data, n);
	return conn->push_left || conn_say(conn, "b OK PUSH\r\n");
}

static bool take_data(struct conn *conn, struct view *data)
{
	const char *line;

	while (data->len) {
		size_t literal = (size_t)MIN(conn->swallow, (uint64_t)data->len);

		conn->swallow -= literal;
		*data = view_skip(*data, literal);
		if (conn->push_left) {
			if (!take_push(conn, data))
				return false;
			continue;
		}
		if (!peer_take_line(data, &line))
			break;
		if (conn->answering ||
			!talk_line(conn, line)) /* no commands behind a long answer */
			return false;
	}
	return peer_keep(&conn->part, *data) == 0;
}

/* 0: TLS is on the stream. 1: the client does not begin a handshake, and stays plain. */
static int begin_tls(struct conn *conn)
{
	unsigned char first;
	ssize_t n = recv(conn->stream.fd, &first, 1, MSG_PEEK);
	SSL *ssl;

	if (n <= 0)
		return n < 0 ? -errno : -ENODATA;
	if (first != TLS_HANDSHAKE_BYTE)
		return 1;
	ssl = SSL_new(tls_ctx);
	if (!ssl)
		return -ENOMEM;
	SSL_set_accept_state(ssl);
	return peer_tls_attach(&conn->stream, ssl);
}

/* 0 ready, -EAGAIN not yet, or another error. */
static int become_ready(struct conn *conn)
{
	int r = 0;

	if (tls_ctx && !stream_is_tls(&conn->stream)) {
		r = begin_tls(conn);
		conn->ready = r > 0;
		if (r != 0)
			return MIN(r, 0);
	}
	r = tls_ctx ? tls_stream_handshake(&conn->stream) : 0;
	if (r == -EAGAIN && loop_watch_set(&conn->watch, conn->stream.want) < 0)
		return -EBADF;
	if (r < 0)
		return r;
	conn->ready = true;
	if (tls_ctx)
		node_handshakes[tls_stream_resumed(&conn->stream)]++;
	return loop_watch_set(&conn->watch, EPOLLIN) == 0 && talk_greet(conn) ? 0 : -EPIPE;
}

/* False: the connection is over. */
static bool progress(struct conn *conn)
{
	struct view data;
	bool more = true;

	if (!conn->ready) {
		int r = become_ready(conn);

		if (r < 0)
			return r == -EAGAIN;
	}
	if (conn->answering && !send_answer(conn))
		return false;
	while (more && !conn->answering) {
		ssize_t n = peer_read(&conn->stream, &conn->part, &data, &more);

		if (n <= 0)
			return n == -EAGAIN;
		if (!take_data(conn, &data))
			return false;
		more = more || conn->push_left;
	}
	return true;
}

static void on_conn(struct loop_watch *watch, uint32_t events)
{
	struct conn *conn = container_of(watch, struct conn, watch);

	(void)events;
	if (!progress(conn))
		conn_close(conn);
}

static void on_accept(struct loop_watch *watch, uint32_t events)
{
	struct addr peer;
	int fd;

	(void)watch;
	(void)events;
	while ((fd = sock_accept(listener, &peer)) >= 0) {
		struct conn *conn = calloc(1, sizeof(*conn));

		if (!conn) {
			close(fd);
			continue;
		}
		stream_init_plain(&conn->stream, fd);
		buf_init(&conn->part, PEER_LINE_MAX, false);
		if (loop_watch_add(&node_loop, &conn->watch, fd, EPOLLIN, on_conn) < 0 ||
			!progress(conn))
			conn_close(conn);
	}
}

/* ---- start ---- */

static bool start_tls(const char *cert, const char *key, size_t tickets)
{
	static const unsigned char context[] = "light";

	tls_ctx = peer_tls_context(TLS_server_method());
	return tls_ctx && SSL_CTX_use_certificate_chain_file(tls_ctx, cert) == 1 &&
		SSL_CTX_use_PrivateKey_file(tls_ctx, key, SSL_FILETYPE_PEM) == 1 &&
		SSL_CTX_set_session_id_context(tls_ctx, context, sizeof(context) - 1) == 1 &&
		SSL_CTX_set_num_tickets(tls_ctx, tickets) == 1;
}

int main(int argc, char **argv)
{
	bool plain = argc == 4 && strcmp(argv[3], "plain") == 0;
	bool no_tickets = argc == 6 && strcmp(argv[5], "tickets=0") == 0;
	struct addr addr;

	if ((argc != 5 && !plain && !no_tickets) || addr_parse(view_str(argv[1]), &addr) < 0 ||
		(strcmp(argv[2], "imap") != 0 && strcmp(argv[2], "submission") != 0)) {
		fprintf(stderr,
			"usage: lightnode ADDRESS:PORT imap|submission plain\n"
			"       lightnode ADDRESS:PORT imap|submission CERT KEY [tickets=0]\n");
		return 2;
	}
	node_submission = strcmp(argv[2], "submission") == 0;
	peer_process_init();
	listener = sock_listen(&addr, 0, 4096);
	if (listener < 0 || sock_local(listener, &addr) < 0 ||
		(!plain && !start_tls(argv[3], argv[4], no_tickets ? 0 : 1)) ||
		loop_init(&node_loop) < 0 ||
		loop_watch_add(&node_loop, &listen_watch, listener, EPOLLIN, on_accept) < 0) {
		fprintf(stderr, "lightnode: cannot start\n");
		return 1;
	}
	printf("%u\n", addr_port(&addr));
	fflush(stdout);
	return loop_run(&node_loop) < 0;
}

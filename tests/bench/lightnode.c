// SPDX-License-Identifier: Apache-2.0
/*
 * A light IMAP node for load tests: implicit TLS with a certificate of its own, thousands of
 * connections on one epoll loop, with the tls/ and net/ of the router below. Prints its port. Beside
 * what any IMAP command gets: "BULK bytes size" sends bytes in writes of size, "PUSH bytes" takes
 * them; both answer at the end. "CHECK bytes size" is BULK with content: every 8 bytes say where in the
 * stream they are.
 * usage: lightnode ADDRESS:PORT CERT KEY | lightnode ADDRESS:PORT plain
 */
#include "base/buf.h"
#include "loop/loop.h"
#include "net/sock.h"
#include "tls/tls.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

struct conn {
	struct stream stream;
	struct loop_watch watch;
	struct buf in;
	bool ready;
	uint64_t bulk_sent, bulk_left, push_left;
	size_t bulk_size;
	bool numbered;
};

static struct loop loop;
static struct loop_watch listen_watch;
static struct tls_server *server;
static int listener;

static void conn_close(struct conn *conn)
{
	loop_watch_del(&conn->watch);
	stream_close(&conn->stream);
	buf_fini(&conn->in);
	free(conn);
}

/* Small answers on an idle connection fit the socket's buffer; one that does not ends it. */
static bool say(struct conn *conn, const char *text)
{
	size_t len = strlen(text);

	return stream_write(&conn->stream, text, len) == (ssize_t)len;
}

static bool send_bulk(struct conn *conn)
{
	static char block[262144 + 16];

	while (conn->bulk_left) {
		size_t want = MIN((uint64_t)conn->bulk_size, conn->bulk_left);
		size_t skip = conn->numbered ? conn->bulk_sent % 8 : 0;
		ssize_t n;

		for (size_t i = 0; conn->numbered && i < want + 8; i += 8)
			memcpy(block + i, &(uint64_t){ conn->bulk_sent - skip + i }, 8);
		n = stream_write(&conn->stream, block + skip, want);

		if (n == -EAGAIN)
			return loop_watch_set(&conn->watch, EPOLLOUT) == 0;
		if (n < 0)
			return false;
		conn->bulk_left -= (uint64_t)n;
		conn->bulk_sent += (uint64_t)n;
	}
	conn->bulk_size = 0;
	return loop_watch_set(&conn->watch, EPOLLIN) == 0 && say(conn, "b OK BULK\r\n");
}

static bool answer(struct conn *conn, const char *line)
{
	char tag[64], command[32] = "", reply[256];
	unsigned long bytes = 0, size = 0;

	if (sscanf(line, "%63s %31s %lu %lu", tag, command, &bytes, &size) < 1)
		return false;
	if (strcmp(command, "BULK") == 0 || strcmp(command, "CHECK") == 0) {
		conn->numbered = command[0] == 'C';
		conn->bulk_sent = 0;
		conn->bulk_left = bytes;
		conn->bulk_size = size;
		return size > 0 && size <= 262144 && send_bulk(conn);
	}
	if (strcmp(command, "PUSH") == 0) {
		conn->push_left = bytes;
		return true;
	}
	snprintf(reply, sizeof(reply), "%s OK %s done\r\n", tag, command);
	return say(conn, reply);
}

static bool take_lines(struct conn *conn)
{
	for (;;) {
		struct view v = buf_view(&conn->in);
		uint64_t pushed = MIN(conn->push_left, (uint64_t)v.len);
		const char *newline;

		if (pushed) {
			conn->push_left -= pushed;
			buf_consume(&conn->in, pushed);
			if (!conn->push_left && !say(conn, "b OK PUSH\r\n"))
				return false;
			continue;
		}
		newline = v.len ? memchr(v.data, '\n', v.len) : NULL;
		char line[1024];

		if (!newline)
			break;
		snprintf(line, sizeof(line), "%.*s", (int)(newline - v.data), v.data);
		buf_consume(&conn->in, (size_t)(newline - v.data) + 1);
		if (!answer(conn, line))
			return false;
	}
	if (!conn->in.len)
		buf_fini(&conn->in);
	return true;
}

static bool progress(struct conn *conn)
{
	static char data[65536];
	ssize_t n;
	int r;

	if (!conn->ready) {
		r = server ? tls_stream_handshake(&conn->stream) : 0;
		if (r == -EAGAIN)
			return loop_watch_set(&conn->watch, conn->stream.want) == 0;
		if (r < 0 || loop_watch_set(&conn->watch, EPOLLIN) < 0)
			return false;
		conn->ready = true;
		if (!say(conn, "* OK [CAPABILITY IMAP4rev1 SASL-IR] light\r\n"))
			return false;
	}
	if (conn->bulk_size)
		return send_bulk(conn);
	while ((n = stream_read(&conn->stream, data, sizeof(data))) > 0) {
		if (buf_append(&conn->in, data, (size_t)n) < 0 || !take_lines(conn))
			return false;
	}
	return n == -EAGAIN;
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
		buf_init(&conn->in, 2 * 65536, false);
		if (loop_watch_add(&loop, &conn->watch, fd, EPOLLIN, on_conn) < 0 ||
			(server && tls_stream_accept(&conn->stream, server, NULL) < 0) ||
			(!server && !progress(conn)))
			conn_close(conn);
	}
}

int main(int argc, char **argv)
{
	struct tls_policy policy = { 0 };
	struct tls_cert_params cert = { .name = "light", .is_default = true };
	char error[TLS_ERROR_SIZE];
	struct addr addr;

	bool plain = argc == 3 && strcmp(argv[2], "plain") == 0;
	struct rlimit files;

	if ((argc != 4 && !plain) || addr_parse(view_str(argv[1]), &addr) < 0) {
		fprintf(stderr, "usage: lightnode ADDRESS:PORT CERT KEY|plain\n");
		return 2;
	}
	cert.cert_path = argv[2];
	cert.key_path = plain ? NULL : argv[3];
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGPIPE, SIG_IGN);
	listener = sock_listen(&addr, false, 4096);
	if (listener < 0 || sock_local(listener, &addr) < 0 || tls_process_init() < 0 ||
		(!plain && tls_server_new(&cert, 1, &policy, &server, error) < 0) ||
		loop_init(&loop) < 0 ||
		loop_watch_add(&loop, &listen_watch, listener, EPOLLIN, on_accept) < 0) {
		fprintf(stderr, "lightnode: cannot start\n");
		return 1;
	}
	printf("%u\n", addr_port(&addr));
	fflush(stdout);
	return loop_run(&loop) < 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Opens COUNT logged-in IMAP sessions over TLS, at most 64 logins at once, prints "ready N" and
 * waits for a line on standard input; then sends NOOP on all of them and prints "answered N".
 * usage: idleload ADDRESS:PORT COUNT [plain]      plain: without TLS
 */
#include "base/buf.h"
#include "base/clock.h"
#include "loop/loop.h"
#include "net/sock.h"
#include "tls/tls.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define AT_ONCE 64
#define LIMIT_MS 300000

/* Several sessions each, as people have them. */
#define ACCOUNTS 1000

enum state { CONNECTING, HANDSHAKE, GREETING, LOGIN, IDLE, NOOP, ANSWERED, FAILED };

struct conn {
	struct stream stream;
	struct loop_watch watch;
	struct buf in;
	enum state state;
	unsigned number;
};

static struct loop loop;
static struct tls_client *client;
static struct addr target;
static struct conn *conns;
static bool plain;
static unsigned count, started, busy, idle, answered, failed;

static void start_more(void);

static void fail(struct conn *conn)
{
	if (conn->state < IDLE)
		busy--;
	conn->state = FAILED;
	failed++;
	loop_watch_del(&conn->watch);
	stream_close(&conn->stream);
}

static bool say(struct conn *conn, const char *text)
{
	size_t len = strlen(text);

	return stream_write(&conn->stream, text, len) == (ssize_t)len;
}

static bool on_line(struct conn *conn, const char *line)
{
	char login[64];

	switch (conn->state) {
	case GREETING:
		conn->state = LOGIN;
		snprintf(login, sizeof(login), "a LOGIN user%u@example.com secret\r\n",
			conn->number % ACCOUNTS);
		return strncmp(line, "* OK", 4) == 0 && say(conn, login);
	case LOGIN:
		conn->state = IDLE;
		busy--;
		idle++;
		return strncmp(line, "a OK", 4) == 0;
	case NOOP:
		conn->state = ANSWERED;
		answered++;
		return strncmp(line, "b OK", 4) == 0;
	default:
		return false;
	}
}

static bool take_input(struct conn *conn)
{
	static char data[4096];
	ssize_t n;

	while ((n = stream_read(&conn->stream, data, sizeof(data))) > 0) {
		if (buf_append(&conn->in, data, (size_t)n) < 0)
			return false;
		for (;;) {
			struct view v = buf_view(&conn->in);
			const char *newline = v.len ? memchr(v.data, '\n', v.len) : NULL;
			char line[1024];

			if (!newline)
				break;
			snprintf(line, sizeof(line), "%.*s", (int)(newline - v.data), v.data);
			buf_consume(&conn->in, (size_t)(newline - v.data) + 1);
			if (!on_line(conn, line))
				return false;
		}
		if (!conn->in.len)
			buf_fini(&conn->in);
	}
	return n == -EAGAIN;
}

static bool progress(struct conn *conn)
{
	int r;

	if (conn->state == CONNECTING) {
		if (sock_error(conn->stream.fd) < 0 ||
			(!plain && tls_stream_connect(&conn->stream, client) < 0))
			return false;
		conn->state = HANDSHAKE;
	}
	if (conn->state == HANDSHAKE) {
		r = plain ? 0 : tls_stream_handshake(&conn->stream);
		if (r == -EAGAIN)
			return loop_watch_set(&conn->watch, conn->stream.want) == 0;
		if (r < 0 || loop_watch_set(&conn->watch, EPOLLIN) < 0)
			return false;
		conn->state = GREETING;
	}
	return take_input(conn);
}

static void on_conn(struct loop_watch *watch, uint32_t events)
{
	struct conn *conn = container_of(watch, struct conn, watch);

	(void)events;
	if (!progress(conn))
		fail(conn);
	start_more();
}

static void start_more(void)
{
	while (busy < AT_ONCE && started < count) {
		struct conn *conn = &conns[started];
		int fd = sock_connect_start(&target, NULL);

		conn->number = started++;
		busy++;
		if (fd < 0) {
			busy--;
			failed++;
			conn->state = FAILED;
			continue;
		}
		stream_init_plain(&conn->stream, fd);
		buf_init(&conn->in, 65536, false);
		if (loop_watch_add(&loop, &conn->watch, fd, EPOLLOUT, on_conn) < 0)
			fail(conn);
	}
}

static bool run_until(unsigned *counter)
{
	uint64_t end = clock_mono_ms() + LIMIT_MS;

	while (*counter + failed < count && clock_mono_ms() < end) {
		if (loop_run_once(&loop, 1000) < 0)
			return false;
	}
	return *counter == count;
}

int main(int argc, char **argv)
{
	struct tls_client_params params = { .server_name = "localhost", .allow_invalid = true };
	char error[TLS_ERROR_SIZE];
	struct rlimit files;
	bool ok;

	if (argc == 4 && strcmp(argv[3], "plain") == 0)
		plain = argc-- == 4;
	if (argc != 3 || addr_parse(view_str(argv[1]), &target) < 0)
		return 2;
	count = (unsigned)atoi(argv[2]);
	conns = calloc(count, sizeof(*conns));
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGPIPE, SIG_IGN);
	if (!conns || loop_init(&loop) < 0 || tls_client_new(&params, &client, error) < 0)
		return 1;
	start_more();
	ok = run_until(&idle);
	printf("ready %u failed %u\n", idle, failed);
	fflush(stdout);
	if (getchar() == EOF || !ok)
		return 1;
	for (unsigned i = 0; i < count; i++) {
		conns[i].state = NOOP;
		if (!say(&conns[i], "b NOOP\r\n"))
			fail(&conns[i]);
	}
	ok = run_until(&answered);
	printf("answered %u failed %u\n", answered, failed);
	return !ok;
}

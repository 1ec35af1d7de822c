// SPDX-License-Identifier: Apache-2.0
/*
 * One logged-in IMAP session to a lightnode, plain or over TLS, that does on request what a relay is
 * measured by. Commands on standard input, one answer line each:
 *     ping N           N round trips one after the other:  p50 and p99 in us, seconds
 *     bulk BYTES SIZE  the node sends BYTES in writes (TLS: records) of SIZE:  bytes, seconds
 *     check BYTES SIZE the same with content that says where it belongs; every byte is compared
 *     push BYTES SIZE  the other way; the node answers when all has arrived
 * usage: relayload ADDRESS:PORT plain|tls
 */
#include "net/sock.h"
#include "tls/tls.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>

#define CHUNK 262144

static struct stream stream;
static char chunk[CHUNK];
static char line[512];
static size_t kept; /* bytes of `chunk` that were read beyond the last line */

static void die(const char *what)
{
	fprintf(stderr, "relayload: %s\n", what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void wait_for(uint32_t want)
{
	struct pollfd p = { .fd = stream.fd, .events = want & EPOLLOUT ? POLLOUT : POLLIN };

	if (poll(&p, 1, 60000) != 1)
		die("nothing for 60 s");
}

static size_t take(char *to, size_t size)
{
	ssize_t n;

	while ((n = stream_read(&stream, to, size)) == -EAGAIN)
		wait_for(stream.want ? stream.want : EPOLLIN);
	if (n <= 0)
		die("the connection has ended");
	return (size_t)n;
}

static void say(const char *data, size_t len)
{
	while (len) {
		ssize_t n = stream_write(&stream, data, len);

		if (n == -EAGAIN) {
			wait_for(stream.want ? stream.want : EPOLLOUT);
			continue;
		}
		if (n < 0)
			die("cannot send");
		data += n;
		len -= (size_t)n;
	}
}

/* One line into `line`. */
static void take_line(void)
{
	char *newline;

	while (!(newline = kept ? memchr(chunk, '\n', kept) : NULL))
		kept += take(chunk + kept, sizeof(chunk) - kept);
	*newline = '\0';
	snprintf(line, sizeof(line), "%.500s", chunk);
	kept -= (size_t)(newline + 1 - chunk);
	memmove(chunk, newline + 1, kept);
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void ping(unsigned long n)
{
	uint64_t *took = calloc(n, sizeof(*took)), start = now_ns();

	if (!took || !n)
		die("ping");
	for (unsigned long i = 0; i < n; i++) {
		uint64_t at = now_ns();

		say("p NOOP\r\n", 8);
		take_line();
		took[i] = now_ns() - at;
	}
	start = now_ns() - start;
	qsort(took, n, sizeof(*took), compare);
	printf("%.1f %.1f %.6f\n", (double)took[n / 2] / 1000, (double)took[n * 99 / 100] / 1000,
		(double)start / 1e9);
	free(took);
}

static void compare_numbered(unsigned long at, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t word = (at + i) & ~7ul;

		if (data[i] != (char)(word >> 8 * ((at + i) & 7)))
			die("wrong byte");
	}
}

static void bulk(const char *name, unsigned long bytes, unsigned long size)
{
	uint64_t start = now_ns();
	unsigned long got = 0;
	char command[96];

	snprintf(command, sizeof(command), "b %s %lu %lu\r\n", name, bytes, size);
	say(command, strlen(command));
	while (got < bytes) {
		size_t n = kept ? kept : take(chunk, MIN(sizeof(chunk), bytes - got));

		kept = 0;
		if (name[0] == 'C')
			compare_numbered(got, chunk, n);
		got += n;
	}
	take_line();
	if (strncmp(line, "b OK", 4) != 0)
		die("not the end of the bulk");
	printf("%lu %.6f\n", bytes, (double)(now_ns() - start) / 1e9);
}

static void push(unsigned long bytes, unsigned long size)
{
	static char block[CHUNK];
	uint64_t start = now_ns();
	char command[96];

	if (!size || size > sizeof(block))
		die("push");
	snprintf(command, sizeof(command), "b PUSH %lu\r\n", bytes);
	say(command, strlen(command));
	for (unsigned long left = bytes; left;) {
		unsigned long n = MIN(left, size);

		say(block, n);
		left -= n;
	}
	take_line();
	if (strncmp(line, "b OK", 4) != 0)
		die("not the end of the push");
	printf("%lu %.6f\n", bytes, (double)(now_ns() - start) / 1e9);
}

int main(int argc, char **argv)
{
	struct tls_client_params params = { .server_name = "localhost", .allow_invalid = true };
	struct tls_client *client = NULL;
	char error[TLS_ERROR_SIZE], command[128];
	unsigned long a = 0, b = 0;
	struct addr target;
	bool tls;
	int fd, r;

	if (argc != 3 || addr_parse(view_str(argv[1]), &target) < 0)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	tls = strcmp(argv[2], "tls") == 0;
	fd = sock_connect_start(&target, NULL);
	if (fd < 0 || (tls && tls_client_new(&params, &client, error) < 0))
		die("cannot connect");
	stream_init_plain(&stream, fd);
	wait_for(EPOLLOUT);
	if (sock_error(fd) < 0 || (tls && tls_stream_connect(&stream, client) < 0))
		die("cannot connect");
	while (tls && (r = tls_stream_handshake(&stream)) != 0) {
		if (r != -EAGAIN)
			die("handshake");
		wait_for(stream.want);
	}
	take_line();
	say("a LOGIN load@example.com secret\r\n", 33);
	take_line();
	if (strncmp(line, "a OK", 4) != 0)
		die("login");
	puts("ready");
	fflush(stdout);
	while (fgets(command, sizeof(command), stdin)) {
		if (sscanf(command, "ping %lu", &a) == 1)
			ping(a);
		else if (sscanf(command, "bulk %lu %lu", &a, &b) == 2)
			bulk("BULK", a, b);
		else if (sscanf(command, "check %lu %lu", &a, &b) == 2)
			bulk("CHECK", a, b);
		else if (sscanf(command, "push %lu %lu", &a, &b) == 2)
			push(a, b);
		else
			die("what?");
		fflush(stdout);
	}
	return 0;
}

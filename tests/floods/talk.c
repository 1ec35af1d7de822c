// SPDX-License-Identifier: Apache-2.0
/*
 * An IMAP client or node that puts KeyUpdates between what it says.
 * usage: talk client PORT COUNT ROUNDS   ROUNDS times: COUNT KeyUpdates, a NOOP, its answer
 *        talk login PORT COUNT ROUNDS    likewise, after a login
 *        talk node CERT KEY COUNT        COUNT before the greeting and each answer; any login is
 *                                        accepted. Prints its port first, serves until killed.
 * A client prints how many answers it got, and whether the connection was ended.
 */
#include "far.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>

static bool say(struct stream *stream, const char *text)
{
	for (size_t len = strlen(text); len;) {
		ssize_t n = stream_write(stream, text, len);

		if (n == -EAGAIN && far_wait(stream, stream->want))
			continue;
		if (n <= 0)
			return false;
		text += n;
		len -= (size_t)n;
	}
	return true;
}

/* One line without its CRLF; false at the end. */
static bool hear(struct stream *stream, char *line, size_t size)
{
	for (size_t len = 0; len + 1 < size;) {
		ssize_t n = stream_read(stream, line + len, 1);

		if (n == -EAGAIN && far_wait(stream, stream->want))
			continue;
		if (n <= 0)
			return false;
		if (line[len] == '\n') {
			line[len] = '\0';
			return true;
		}
		if (line[len] != '\r')
			len++;
	}
	return false;
}

static bool change_keys(struct stream *stream, int count)
{
	struct tls_layer *layer = stream->layer;

	if (tls_wire_flush(layer) < 0) /* tickets come first */
		return false;
	for (int i = 0; i < count; i++) {
		if (!peer_updates(layer->ssl, SSL_KEY_UPDATE_NOT_REQUESTED))
			return false;
	}
	return true;
}

static int run_client(uint16_t port, int count, int rounds, bool login)
{
	struct tls_client_params params = { .allow_invalid = true };
	char error[TLS_ERROR_SIZE], line[4096];
	struct tls_client *client;
	struct stream stream;
	int answers = 0;

	if (tls_client_new(&params, &client, error) < 0 || !far_connect(&stream, port) ||
		tls_stream_connect(&stream, client) < 0 || !far_handshake(&stream) ||
		!hear(&stream, line, sizeof(line)))
		return 1;
	if (login &&
		(!say(&stream, "l LOGIN alice pw\r\n") || !hear(&stream, line, sizeof(line)) ||
			strncmp(line, "l OK", 4) != 0))
		return 1;
	while (answers < rounds && change_keys(&stream, count) && say(&stream, "a NOOP\r\n") &&
		hear(&stream, line, sizeof(line)) && strncmp(line, "a OK", 4) == 0)
		answers++;
	printf("answers=%d ended=%d\n", answers, answers < rounds);
	stream_close(&stream);
	tls_client_unref(client);
	return 0;
}

/* ---- the node ---- */

static void serve(struct stream *stream, int count)
{
	char line[8192], answer[256];

	if (!change_keys(stream, count) ||
		!say(stream, "* OK [CAPABILITY IMAP4rev1 SASL-IR] here\r\n"))
		return;
	while (hear(stream, line, sizeof(line))) {
		snprintf(answer, sizeof(answer), "%.*s OK done\r\n", (int)strcspn(line, " "), line);
		if (!change_keys(stream, count) || !say(stream, answer))
			return;
	}
}

static int run_node(const char *cert, const char *key, int count)
{
	struct tls_cert_params params = {
		.name = "node", .cert_path = cert, .key_path = key, .is_default = true
	};
	static const struct tls_alpn none = { 0 };
	struct tls_policy policy = { 0 };
	struct sockaddr_in at = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	char error[TLS_ERROR_SIZE];
	struct tls_server *server;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (tls_process_init() < 0 || tls_server_new(&params, 1, &policy, &server, error) < 0 ||
		bind(fd, (struct sockaddr *)&at, sizeof(at)) < 0 || listen(fd, 16) < 0 ||
		getsockname(fd, (struct sockaddr *)&at, &len) < 0)
		return 1;
	printf("%d\n", ntohs(at.sin_port));
	fflush(stdout);
	for (;;) {
		int conn = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
		struct stream stream;

		if (conn < 0)
			return 1;
		stream_init_plain(&stream, conn);
		if (tls_stream_accept(&stream, server, &none) == 0 && far_handshake(&stream))
			serve(&stream, count);
		stream_close(&stream);
	}
}

int main(int argc, char **argv)
{
	signal(SIGPIPE, SIG_IGN);
	if (argc != 5)
		return 2;
	if (strcmp(argv[1], "node") == 0)
		return run_node(argv[2], argv[3], atoi(argv[4]));
	return run_client((uint16_t)atoi(argv[2]), atoi(argv[3]), atoi(argv[4]),
		strcmp(argv[1], "login") == 0);
}

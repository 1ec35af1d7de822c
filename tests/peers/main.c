// SPDX-License-Identifier: Apache-2.0
/*
 *	peer node CERTIFICATE KEY   listens, one port a suite, and prints them; ends with its input,
 *	                            when all sessions are over
 *	peer client PORT SESSIONS   plans from its input, so many at once; ends when all are done
 *
 * A client's line has its own plan, a tabulator, and the node's.
 */
#include "peer.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fcntl.h>

static struct sockaddr_in loopback(int port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons((uint16_t)port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

static void set_nonblocking(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

static void start(void *(*run)(void *), void *arg)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, arg) != 0)
		abort();
	pthread_detach(thread);
}

/* ---- node ---- */

static atomic_int running; /* sessions */

/* A socket, which listens or was accepted, and the only suite there. */
struct port {
	int fd;
	const struct suite *suite;
};

static void *serve(void *arg)
{
	struct port accepted = *(struct port *)arg;
	struct plan plan = { .suite = accepted.suite };

	free(arg);
	session_run(accepted.fd, true, &plan, "");
	running--;
	return NULL;
}

static void *accept_all(void *arg)
{
	struct port *port = arg;

	for (;;) {
		struct port *accepted = calloc(1, sizeof(*accepted));
		int fd = accept(port->fd, NULL, NULL);

		if (!accepted || fd < 0)
			abort();
		set_nonblocking(fd);
		*accepted = (struct port){ fd, port->suite };
		running++;
		start(serve, accepted);
	}
	return NULL;
}

static int listen_all(void)
{
	static struct port ports[SUITES];
	char byte;

	for (int i = 0; i < SUITES; i++) {
		struct sockaddr_in address = loopback(0);
		socklen_t len = sizeof(address);
		int fd = socket(AF_INET, SOCK_STREAM, 0);

		if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) < 0 ||
			listen(fd, 512) < 0 ||
			getsockname(fd, (struct sockaddr *)&address, &len) < 0)
			return 1;
		ports[i] = (struct port){ fd, &suites[i] };
		printf("%s %d\n", suites[i].name, ntohs(address.sin_port));
		start(accept_all, &ports[i]);
	}
	fflush(stdout);
	if (read(0, &byte, 1) < 0)
		return 1;
	while (running) /* each of them is patient for a while only */
		usleep(10000);
	return 0;
}

/* ---- client ---- */

static int client_port;

static void run_line(char *line)
{
	char *tab = strchr(line, '\t');
	struct sockaddr_in address = loopback(client_port);
	struct plan plan;
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (!tab || fd < 0)
		abort();
	*tab++ = '\0';
	tab[strcspn(tab, "\n")] = '\0';
	if (plan_parse(line, &plan) < 0 || !plan.suite ||
		connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
		printf("n=%u role=client error=connect\n", plan.number);
		fflush(stdout);
		close(fd);
		return;
	}
	set_nonblocking(fd);
	session_run(fd, false, &plan, tab);
}

static void *run_lines(void *arg)
{
	char *line = NULL;
	size_t size = 0;

	while (getline(&line, &size, stdin) > 0) /* which locks the stream */
		run_line(line);
	free(line);
	return arg;
}

static int run_sessions(int sessions)
{
	pthread_t threads[64];

	if (sessions < 1 || sessions > 64)
		return 2;
	for (int i = 0; i < sessions; i++) {
		if (pthread_create(&threads[i], NULL, run_lines, NULL) != 0)
			return 1;
	}
	for (int i = 0; i < sessions; i++)
		pthread_join(threads[i], NULL);
	return 0;
}

int main(int argc, char **argv)
{
	bool is_node = argc == 4 && strcmp(argv[1], "node") == 0;

	signal(SIGPIPE, SIG_IGN);
	if (!is_node && (argc != 4 || strcmp(argv[1], "client") != 0)) {
		fprintf(stderr, "usage: %s node CERTIFICATE KEY | client PORT SESSIONS\n", argv[0]);
		return 2;
	}
	if (library_init(is_node ? argv[2] : NULL, is_node ? argv[3] : NULL) < 0) {
		fprintf(stderr, "%s cannot be set up\n", library_name);
		return 1;
	}
	if (is_node)
		return listen_all();
	client_port = atoi(argv[2]);
	return run_sessions(atoi(argv[3]));
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Guesses IMAP passwords as fast as it is let: many connections, one login each that the router
 * cannot read, which counts as a guess and needs no node. Who is refused begins anew at once.
 *
 * usage: guesser ADDRESS:PORT one|network|balancer SOURCE CONNECTIONS SECONDS
 * one: all from SOURCE. network: each from another address of the /64 that SOURCE is in, which must
 * be local as a whole. balancer: from SOURCE, with a PROXY header that tells of one client.
 * Prints answered=N refused=N.
 */
#include "base/clock.h"
#include "base/view.h"
#include "net/addr.h"
#include "net/sock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECTIONS_MAX 1024
#define GUESS "a LOGIN\r\n"
#define TOLD "PROXY TCP4 203.0.113.77 192.0.2.1 40000 143\r\n"

enum way { ONE, NETWORK, BALANCER };

struct guess {
	int fd;
	bool told, greeted;
};

static struct guess guesses[CONNECTIONS_MAX];
static struct addr target, source;
static enum way way;
static int epoll_fd;
static unsigned long answered, refused, number;

/* The next address of the /64. */
static struct addr next_source(void)
{
	struct addr from = source;
	uint32_t low = htonl((uint32_t)++number);

	if (way == NETWORK)
		memcpy(&from.in6.sin6_addr.s6_addr[12], &low, sizeof(low));
	return from;
}

static void begin(struct guess *guess)
{
	struct addr from = next_source();
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = guess };

	guess->told = guess->greeted = false;
	guess->fd = sock_connect_start(&target, &from);
	if (guess->fd < 0) {
		refused++;
		return;
	}
	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, guess->fd, &event) < 0)
		abort();
}

static void over(struct guess *guess, unsigned long *counter)
{
	sock_abort_on_close(guess->fd); /* no port stays behind */
	close(guess->fd);
	guess->fd = -1;
	++*counter;
}

static void on_event(struct guess *guess, uint32_t events)
{
	char answer[512];
	ssize_t n;

	if (events & EPOLLOUT && way == BALANCER && !guess->told) {
		guess->told = true;
		(void)!send(guess->fd, TOLD, strlen(TOLD), MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	n = recv(guess->fd, answer, sizeof(answer), MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return;
	if (n <= 0) {
		over(guess, &refused);
	} else if (guess->greeted) {
		over(guess, &answered);
	} else {
		guess->greeted = true;
		if (send(guess->fd, GUESS, strlen(GUESS), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			over(guess, &refused);
	}
}

static void run(int count, double seconds)
{
	struct epoll_event events[64];
	uint64_t end_ms = clock_mono_ms() + (uint64_t)(seconds * 1000);

	for (int i = 0; i < count; i++)
		guesses[i].fd = -1;
	while (clock_mono_ms() < end_ms) {
		int n;

		for (int i = 0; i < count; i++) {
			if (guesses[i].fd < 0)
				begin(&guesses[i]);
		}
		n = epoll_wait(epoll_fd, events, 64, 10);
		for (int i = 0; i < n; i++)
			on_event(events[i].data.ptr, events[i].events);
	}
	printf("answered=%lu refused=%lu\n", answered, refused);
}

int main(int argc, char **argv)
{
	if (argc != 6 || addr_parse(view_str(argv[1]), &target) < 0 ||
		addr_parse_ip(view_str(argv[3]), 0, &source) < 0 || atoi(argv[4]) < 1 ||
		atoi(argv[4]) > CONNECTIONS_MAX) {
		fprintf(stderr,
			"usage: guesser ADDRESS:PORT one|network|balancer SOURCE "
			"CONNECTIONS SECONDS\n");
		return 2;
	}
	way = strcmp(argv[2], "network") == 0      ? NETWORK
		: strcmp(argv[2], "balancer") == 0 ? BALANCER
						   : ONE;
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	run(atoi(argv[4]), strtod(argv[5], NULL));
	return 0;
}

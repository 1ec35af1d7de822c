// SPDX-License-Identifier: Apache-2.0
/*
 * Preloaded into a router, pins how often it wakes up: a wait for events begins PAUSE_US after the
 * one before began, or later, so that routers of different speed find the same number of records
 * that have come meanwhile. The sleep is on nobody's account but for its two system calls, which
 * are the same for all.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND_NS 1000000000ll

static long long pause_ns;
static __thread long long begin_ns; /* of the last wait */

__attribute__((constructor)) static void start(void)
{
	const char *text = getenv("PAUSE_US");

	pause_ns = text ? atoll(text) * 1000 : 0;
	prctl(PR_SET_TIMERSLACK, 1); /* threads that are made later have it too */
}

static long long now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * SECOND_NS + ts.tv_nsec;
}

static void pin(void)
{
	long long until = begin_ns + pause_ns;
	struct timespec ts = { until / SECOND_NS, until % SECOND_NS };

	if (!pause_ns)
		return;
	if (now() < until)
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	begin_ns = now();
}

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
	pin();
	return (int)syscall(SYS_epoll_pwait, fd, events, max, timeout_ms, NULL, 8);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Preloaded into a router, makes its monotonic time pass FASTTIME times as fast, so that a limit of
 * a minute can be seen in seconds: clock_gettime() tells more, epoll_wait() and timers wait less.
 * Nothing else knows of it. It must not call anything that the router's own allocator or locks are
 * behind.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000ll

static long long factor = 1, begin;

static long long now(clockid_t id)
{
	struct timespec ts;

	syscall(SYS_clock_gettime, id, &ts);
	return ts.tv_sec * SECOND + ts.tv_nsec;
}

__attribute__((constructor)) static void start(void)
{
	const char *text = getenv("FASTTIME");

	begin = now(CLOCK_MONOTONIC);
	factor = text ? atoi(text) : 1;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	long long t;

	if (id != CLOCK_MONOTONIC)
		return (int)syscall(SYS_clock_gettime, id, ts);
	t = begin + (now(id) - begin) * factor;
	ts->tv_sec = t / SECOND;
	ts->tv_nsec = t % SECOND;
	return 0;
}

int epoll_wait(int fd, struct epoll_event *events, int max, int timeout_ms)
{
	/* Rounded up: a wait that ends too early would only be begun anew. */
	int wait = timeout_ms > 0 ? (int)((timeout_ms + factor - 1) / factor) : timeout_ms;

	return (int)syscall(SYS_epoll_pwait, fd, events, max, wait, NULL, 8);
}

/* At a moment of the router's clock. Others are left as they are. */
int timerfd_settime(int fd, int flags, const struct itimerspec *at, struct itimerspec *before)
{
	struct itimerspec real = *at;
	long long t = at->it_value.tv_sec * SECOND + at->it_value.tv_nsec;

	if ((flags & TFD_TIMER_ABSTIME) && t) {
		t = begin + (t - begin + factor - 1) / factor;
		real.it_value = (struct timespec){ t / SECOND, t % SECOND };
	}
	return (int)syscall(SYS_timerfd_settime, fd, flags, &real, before);
}

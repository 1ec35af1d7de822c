// SPDX-License-Identifier: Apache-2.0
/* Preloaded into a router: a client that sends "stuckN" makes the thread that reads it busy for N
 * seconds, within the call. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

ssize_t recv(int fd, void *data, size_t len, int flags)
{
	ssize_t n = syscall(SYS_recvfrom, fd, data, len, flags, NULL, NULL);
	char *at = n > 5 ? memmem(data, (size_t)n, "stuck", 5) : NULL;

	if (at) {
		struct timespec now, end;

		clock_gettime(CLOCK_MONOTONIC, &end);
		end.tv_sec += at[5] - '0';
		do
			clock_gettime(CLOCK_MONOTONIC, &now);
		while (now.tv_sec < end.tv_sec);
	}
	return n;
}

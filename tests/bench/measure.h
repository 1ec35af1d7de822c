// SPDX-License-Identifier: Apache-2.0
/* What benchmarks of one process need: a thread's time on the CPU, and numbers at random. */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include "base/compiler.h"

#include <stdint.h>
#include <time.h>

/* Seconds that this thread has run. */
static inline double thread_cpu_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* xorshift64*; a seed is not 0. */
static inline uint64_t next_random(uint64_t *seed)
{
	*seed ^= *seed >> 12;
	*seed ^= *seed << 25;
	*seed ^= *seed >> 27;
	return *seed * 0x2545f4914f6cdd1dull;
}

#endif

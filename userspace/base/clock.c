// SPDX-License-Identifier: Apache-2.0
/* Clocks. */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_ms(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

uint64_t clock_mono_ms(void)
{
	return read_ms(CLOCK_MONOTONIC);
}

uint64_t clock_mono_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t clock_real_ms(void)
{
	return read_ms(CLOCK_REALTIME);
}

const char *clock_format_rfc3339(uint64_t real_ms, bool with_ms, char text[CLOCK_TEXT_SIZE])
{
	time_t seconds = (time_t)(real_ms / 1000);
	struct tm tm;
	size_t n;

	(void)gmtime_r(&seconds, &tm);
	n = strftime(text, CLOCK_TEXT_SIZE, "%Y-%m-%dT%H:%M:%S", &tm);
	if (with_ms)
		snprintf(text + n, CLOCK_TEXT_SIZE - n, ".%03uZ", (unsigned)(real_ms % 1000));
	else
		snprintf(text + n, CLOCK_TEXT_SIZE - n, "Z");
	return text;
}

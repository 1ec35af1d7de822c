// SPDX-License-Identifier: Apache-2.0
/* Time that stands still until a test moves it. Included by one file of a program: its definitions
 * take the place of base/clock.c, which the linker then leaves out. */
#ifndef TESTS_FAKE_CLOCK_H
#define TESTS_FAKE_CLOCK_H

#include "base/clock.h"

#include <stdatomic.h>
#include <stdio.h>

static _Atomic uint64_t fake_now_ms = 1000000;

uint64_t clock_mono_ms(void)
{
	return atomic_load(&fake_now_ms);
}

uint64_t clock_mono_ns(void)
{
	return atomic_load(&fake_now_ms) * 1000000;
}

uint64_t clock_real_ms(void)
{
	return atomic_load(&fake_now_ms);
}

const char *clock_format_rfc3339(uint64_t real_ms, bool with_ms, char text[CLOCK_TEXT_SIZE])
{
	(void)with_ms;
	snprintf(text, CLOCK_TEXT_SIZE, "%llu", (unsigned long long)real_ms);
	return text;
}

#endif

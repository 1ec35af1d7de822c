// SPDX-License-Identifier: Apache-2.0
/* Monotonic time for deadlines, wall time for logs. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include "base/compiler.h"

#include <stdbool.h>

/* Milliseconds of CLOCK_MONOTONIC. */
uint64_t clock_mono_ms(void);
/* Nanoseconds of it. */
uint64_t clock_mono_ns(void);
/* Milliseconds since 1970-01-01 UTC. */
uint64_t clock_real_ms(void);
/* RFC 3339 UTC with milliseconds, e.g. 2026-01-31T10:00:00.123Z; without them if !with_ms. */
#define CLOCK_TEXT_SIZE 32
const char *clock_format_rfc3339(uint64_t real_ms, bool with_ms, char text[CLOCK_TEXT_SIZE]);

#endif

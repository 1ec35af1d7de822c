// SPDX-License-Identifier: Apache-2.0
/* Durations counted by size: 0.001 0.005 0.01 0.05 0.1 0.5 1 5 10 seconds, then any. Atomic; zeroed
 * is empty. */
#ifndef BASE_HISTOGRAM_H
#define BASE_HISTOGRAM_H

#include "base/compiler.h"

#include <stdatomic.h>
#include <stdint.h>

#define HISTOGRAM_BOUNDS 9
extern const uint32_t histogram_bounds_ms[HISTOGRAM_BOUNDS]; /* inclusive */

struct histogram {
	atomic_uint_fast64_t counts[HISTOGRAM_BOUNDS + 1]; /* not cumulative */
	atomic_uint_fast64_t sum_ms;
};

void histogram_observe(struct histogram *histogram, uint64_t ms);
/* Appends the bucket, sum and count lines of a Prometheus histogram. labels: "" or
 * "name=\"value\"," with the comma. Returns 0 or an error of buf_append(). */
struct buf;
MUST_USE int histogram_print(
	const struct histogram *histogram, const char *name, const char *labels, struct buf *out);

#endif

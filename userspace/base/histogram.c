// SPDX-License-Identifier: Apache-2.0
#include "base/histogram.h"
#include "base/buf.h"

const uint32_t histogram_bounds_ms[HISTOGRAM_BOUNDS] = { 1, 5, 10, 50, 100, 500, 1000, 5000,
	10000 };

void histogram_observe(struct histogram *histogram, uint64_t ms)
{
	int i = 0;

	while (i < HISTOGRAM_BOUNDS && ms > histogram_bounds_ms[i])
		i++;
	atomic_fetch_add(&histogram->counts[i], 1);
	atomic_fetch_add(&histogram->sum_ms, ms);
}

int histogram_print(
	const struct histogram *histogram, const char *name, const char *labels, struct buf *out)
{
	unsigned long long sum = 0;
	int len = (int)strlen(labels), r = 0;

	for (int i = 0; r == 0 && i < HISTOGRAM_BOUNDS; i++) {
		sum += (unsigned long long)atomic_load(&histogram->counts[i]);
		r = buf_printf(out, "%s_bucket{%sle=\"%g\"} %llu\n", name, labels,
			histogram_bounds_ms[i] / 1000.0, sum);
	}
	sum += (unsigned long long)atomic_load(&histogram->counts[HISTOGRAM_BOUNDS]);
	if (r == 0)
		r = buf_printf(out, "%s_bucket{%sle=\"+Inf\"} %llu\n", name, labels, sum);
	if (len) /* without its comma */
		len--;
	if (r == 0)
		r = buf_printf(out, "%s_sum{%.*s} %.3f\n%s_count{%.*s} %llu\n", name, len, labels,
			(double)atomic_load(&histogram->sum_ms) / 1000, name, len, labels, sum);
	return r;
}

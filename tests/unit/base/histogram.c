// SPDX-License-Identifier: Apache-2.0
/* Durations by size, as Prometheus reads them: bounds include, counts add up, seconds. */
#include "unit.h"

#include "base/buf.h"
#include "base/histogram.h"

static void expect(const struct histogram *histogram, const char *labels, const char *text)
{
	struct buf out = { 0 };

	assert_int_equal(histogram_print(histogram, "d", labels, &out), 0);
	if (!view_eq(buf_view(&out), view_str(text)))
		fail_msg("%.*s", (int)out.len, buf_view(&out).data);
	buf_fini(&out);
}

static void test_bounds_include_and_counts_add_up(void **state)
{
	static const uint64_t ms[] = { 0, 1, 2, 5, 6, 500, 10000, 10001, 60000 };
	struct histogram histogram = { 0 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(ms); i++)
		histogram_observe(&histogram, ms[i]);
	expect(&histogram, "n=\"x\",",
		"d_bucket{n=\"x\",le=\"0.001\"} 2\nd_bucket{n=\"x\",le=\"0.005\"} 4\n"
		"d_bucket{n=\"x\",le=\"0.01\"} 5\nd_bucket{n=\"x\",le=\"0.05\"} 5\n"
		"d_bucket{n=\"x\",le=\"0.1\"} 5\nd_bucket{n=\"x\",le=\"0.5\"} 6\n"
		"d_bucket{n=\"x\",le=\"1\"} 6\nd_bucket{n=\"x\",le=\"5\"} 6\n"
		"d_bucket{n=\"x\",le=\"10\"} 7\nd_bucket{n=\"x\",le=\"+Inf\"} 9\n"
		"d_sum{n=\"x\"} 80.515\nd_count{n=\"x\"} 9\n");
}

static void test_an_empty_one_without_labels(void **state)
{
	static const char tail[] = "d_sum{} 0.000\nd_count{} 0\n";
	struct histogram histogram = { 0 };
	struct buf out = { 0 };

	(void)state;
	assert_int_equal(histogram_print(&histogram, "d", "", &out), 0);
	assert_true(view_starts(buf_view(&out), VIEW_LIT("d_bucket{le=\"0.001\"} 0\n")));
	assert_non_null(memmem(buf_view(&out).data, out.len, tail, strlen(tail)));
	buf_fini(&out);
}

static void test_a_full_buffer(void **state)
{
	struct histogram histogram = { 0 };
	struct buf out;

	(void)state;
	buf_init(&out, 100, false);
	assert_true(histogram_print(&histogram, "d", "", &out) < 0);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bounds_include_and_counts_add_up),
		cmocka_unit_test(test_an_empty_one_without_labels),
		cmocka_unit_test(test_a_full_buffer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* Buffers: their bound, and what of a secret stays behind. */
#include "unit.h"

#include "base/buf.h"

#include <errno.h>

static void test_buf_limit_and_order(void **state)
{
	struct buf buf;

	(void)state;
	for (int secret = 0; secret < 2; secret++) {
		buf_init(&buf, 1000, secret);
		for (int i = 0; i < 100; i++)
			assert_int_equal(buf_printf(&buf, "%03d,", i), 0);
		buf_consume(&buf, 40);
		assert_memory_equal(buf_view(&buf).data, "010,011,", 8);
		assert_int_equal(buf_append(&buf, "x", 1), 0);
		assert_int_equal(buf_room(&buf), 1000 - 361);
		assert_int_equal(buf_printf(&buf, "%0*d", 640, 7), -ENOBUFS);
		assert_int_equal(buf_printf(&buf, "%0*d", 639, 7), 0);
		assert_int_equal(buf_append(&buf, "x", 1), -ENOBUFS);
		assert_memory_equal(buf_view(&buf).data, "010,011,", 8);
		buf_fini(&buf);
		buf_fini(&buf);
	}
}

static void test_buf_wipes(void **state)
{
	struct buf buf;
	char *data;

	(void)state;
	buf_init(&buf, 0, true);
	assert_int_equal(buf_append_str(&buf, "password"), 0);
	data = buf.data;
	buf_consume(&buf, 4);
	assert_memory_equal(data, "\0\0\0\0word", 8);
	buf_clear(&buf);
	assert_memory_equal(data, "\0\0\0\0\0\0\0\0", 8);
	buf_fini(&buf);
}

static void test_buf_truncate(void **state)
{
	(void)state;
	for (int secret = 0; secret < 2; secret++) {
		struct buf buf;

		buf_init(&buf, 0, secret);
		buf_truncate(&buf, 0);
		assert_int_equal(buf_append_str(&buf, "abcdef"), 0);
		buf_consume(&buf, 2);
		buf_truncate(&buf, 4);
		assert_int_equal(buf.len, 4);
		buf_truncate(&buf, 3);
		assert_true(view_eq(buf_view(&buf), VIEW_LIT("cde")));
		assert_int_equal(buf.data[5], secret ? 0 : 'f');
		assert_int_equal(buf_append_str(&buf, "x"), 0);
		assert_true(view_eq(buf_view(&buf), VIEW_LIT("cdex")));
		buf_truncate(&buf, 0);
		assert_int_equal(buf.len, 0);
		buf_fini(&buf);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buf_limit_and_order),
		cmocka_unit_test(test_buf_wipes),
		cmocka_unit_test(test_buf_truncate),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

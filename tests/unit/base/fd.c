// SPDX-License-Identifier: Apache-2.0
/* Descriptors and whole files. */
#include "unit.h"

#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

static void test_a_descriptor_has_one_owner(void **state)
{
	int fd = open("/dev/null", O_RDONLY), taken, closed;

	(void)state;
	assert_true(fd >= 0);
	taken = take_fd(&fd);
	assert_int_equal(fd, -1);
	closed = taken;
	errno = EPIPE;
	fd_closep(&fd); /* there is none */
	fd_closep(&taken);
	assert_int_equal(errno, EPIPE);
	assert_int_equal(taken, -1);
	assert_int_equal(fcntl(closed, F_GETFD), -1);
}

/* Of each size around those at which memory grows, and around the limit. */
static void test_whole_files_up_to_a_limit(void **state)
{
	static const size_t sizes[] = { 0, 1, 4095, 4096, 4097, 9999, 10000, 10001, 20000 };
	static char bytes[20000];
	char path[] = "/tmp/homing-fd-XXXXXX", *text;
	int fd = mkstemp(path);
	size_t len;

	(void)state;
	assert_true(fd >= 0);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)(i % 251);
	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		int r;

		assert_int_equal(ftruncate(fd, 0), 0);
		assert_int_equal(pwrite(fd, bytes, sizes[i], 0), sizes[i]);
		r = fd_read_file(path, 10000, &text, &len);
		assert_int_equal(r, sizes[i] > 10000 ? -EFBIG : 0);
		if (r != 0)
			continue;
		assert_int_equal(len, sizes[i]);
		assert_memory_equal(text, bytes, len);
		assert_int_equal(text[len], '\0');
		free(text);
	}
	close(fd);
	unlink(path);
	assert_int_equal(fd_read_file(path, 10000, &text, &len), -ENOENT);
}

static void test_random_bytes(void **state)
{
	unsigned char first[1000] = { 0 }, second[1000] = { 0 };

	(void)state;
	assert_int_equal(fd_random(first, sizeof(first)), 0);
	assert_int_equal(fd_random(second, sizeof(second)), 0);
	assert_memory_not_equal(first, second, sizeof(first));
	assert_memory_not_equal(first + 900, first + 800, 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_descriptor_has_one_owner),
		cmocka_unit_test(test_whole_files_up_to_a_limit),
		cmocka_unit_test(test_random_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

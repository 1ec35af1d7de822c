// SPDX-License-Identifier: Apache-2.0
/* Log lines: quoting, a reader that is too slow, limits. */
#include "unit.h"

#include "base/log.h"

#include <fcntl.h>
#include <unistd.h>

static void read_line(int fd, char *line, size_t size)
{
	ssize_t n = read(fd, line, size - 1);

	assert_true(n > 0);
	line[n] = '\0';
}

/* Whatever the bytes, one event is one line and nothing in it is unquoted. */
static void test_log_every_byte(void **state)
{
	char line[LOG_LINE_BYTES + 1], value[2] = { 0 };
	struct log_line log;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	log_set_fd(fds[1]);
	for (int c = 1; c < 256; c++) {
		value[0] = (char)c;
		log_start(&log, LOGL_INFO, "m");
		log_str(&log, "k", value);
		log_end(&log);
		read_line(fds[0], line, sizeof(line));
		assert_ptr_equal(strchr(line, '\n'), line + strlen(line) - 1);
		for (char *p = line; *p != '\n'; p++)
			assert_true(*p >= 0x20 && *p < 0x7f);
		if (c <= 0x20 || c >= 0x7f || strchr("\"=\\", c))
			assert_non_null(strstr(line, " k=\""));
	}
	log_event(LOGL_INFO, "m", "a", "x\ny", "b", "", NULL);
	read_line(fds[0], line, sizeof(line));
	assert_non_null(strstr(line, " a=\"x\\ny\" b=\"\"\n"));
	log_set_fd(2);
	close(fds[0]);
	close(fds[1]);
}

static void test_log_full_pipe_drops_and_says_so(void **state)
{
	static char line[1 << 20];
	uint64_t before = log_dropped();
	int fds[2];
	ssize_t n;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	log_set_fd(fds[1]);
	for (int i = 0; i < 5000; i++) /* would block for ever if it blocked at all */
		log_event(
			LOGL_INFO, "filling", "k", "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv", NULL);
	assert_true(log_dropped() > before);
	n = read(fds[0], line, sizeof(line) - 1);
	assert_true(n > 0);
	log_event(LOGL_INFO, "again", NULL);
	n = read(fds[0], line, sizeof(line) - 1);
	line[n > 0 ? n : 0] = '\0';
	assert_non_null(strstr(line, "msg=log_dropped lines="));
	log_set_fd(2);
	close(fds[0]);
	close(fds[1]);
}

static void test_SES_91_limited(void **state)
{
	static char text[65536];
	int fds[2];
	ssize_t n;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	log_set_fd(fds[1]);
	for (int i = 0; i < 10; i++)
		log_event_limited(LOGL_WARN, "same", "node1", "node", "node1", NULL);
	log_event_limited(LOGL_WARN, "same", "node2", "node", "node2", NULL);
	n = read(fds[0], text, sizeof(text) - 1);
	text[n] = '\0';
	assert_non_null(strstr(text, "node=node1\n"));
	assert_non_null(strstr(text, "node=node2\n"));
	assert_null(strstr(strstr(text, "node=node1") + 1, "node=node1"));
	log_set_fd(2);
	close(fds[0]);
	close(fds[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_log_every_byte),
		cmocka_unit_test(test_log_full_pipe_drops_and_says_so),
		cmocka_unit_test(test_SES_91_limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

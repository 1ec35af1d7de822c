// SPDX-License-Identifier: Apache-2.0
/* Buffers, views, log quoting, hash. */
#include "unit.h"

#include "base/buf.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

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

static void test_utf8(void **state)
{
	static const struct {
		const char *bytes;
		bool ok;
	} cases[] = { { "", true }, { "abc", true }, { "\xc3\xa4", true }, { "\xe2\x82\xac", true },
		{ "\xf0\x9f\x98\x80", true }, { "\xc0\xaf", false }, { "\xe0\x80\x80", false },
		{ "\xed\xa0\x80", false }, { "\xf4\x90\x80\x80", false }, { "\xc3", false },
		{ "\x80", false }, { "\xff", false }, { "\xf0\x9f\x98", false } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(view_is_utf8(view_str(cases[i].bytes)), cases[i].ok);
}

static void test_percent(void **state)
{
	static const struct {
		const char *in, *out, *rest; /* rest: from the escape that is none */
	} cases[] = { { "", "", "" }, { "plain +", "plain +", "" }, { "%41%6a%6A", "Ajj", "" },
		{ "a%25b%2541", "a%b%41", "" }, { "%ff\xff", "\xff\xff", "" }, { "%", "", "%" },
		{ "x%4", "x", "%4" }, { "x%4g1", "x", "%4g1" }, { "%g4", "", "%g4" },
		{ "%%41", "", "%%41" }, { "%+1", "", "%+1" } };
	struct view nul = VIEW_LIT("%00z");

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct view v = view_str(cases[i].in);
		char out[16];
		size_t n = 0;
		int c = 0;

		while (v.len && (c = view_take_percent(&v)) >= 0)
			out[n++] = (char)c;
		assert_true(view_eq(view_make(out, n), view_str(cases[i].out)));
		assert_true(view_eq(v, view_str(cases[i].rest)));
		assert_int_equal(c < 0 ? c : 0, *cases[i].rest ? -EINVAL : 0);
	}
	assert_int_equal(view_take_percent(&nul), 0);
	assert_true(view_eq(nul, VIEW_LIT("z")));
}

static void test_to_u64(void **state)
{
	uint64_t n = 7;

	(void)state;
	assert_int_equal(view_to_u64(VIEW_LIT("18446744073709551615"), &n), 0);
	assert_true(n == UINT64_MAX);
	assert_int_equal(view_to_u64(VIEW_LIT("18446744073709551616"), &n), -ERANGE);
	assert_int_equal(view_to_u64(VIEW_LIT(""), &n), -EINVAL);
	assert_int_equal(view_to_u64(VIEW_LIT("+1"), &n), -EINVAL);
	assert_true(n == UINT64_MAX);
}

static void read_line(int fd, char *line, size_t size)
{
	ssize_t n = read(fd, line, size - 1);

	assert_true(n > 0);
	line[n] = '\0';
}

/* SEC #44: whatever the bytes, one event is one line and nothing in it is unquoted. */
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

static void test_secret_equal(void **state)
{
	(void)state;
	assert_int_equal(secret_equal("abc", "abc", 3), 1);
	assert_int_equal(secret_equal("abc", "abd", 3), 0);
	assert_int_equal(secret_equal("", "", 0), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buf_limit_and_order),
		cmocka_unit_test(test_buf_wipes),
		cmocka_unit_test(test_buf_truncate),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_to_u64),
		cmocka_unit_test(test_percent),
		cmocka_unit_test(test_log_every_byte),
		cmocka_unit_test(test_log_full_pipe_drops_and_says_so),
		cmocka_unit_test(test_SES_91_limited),
		cmocka_unit_test(test_secret_equal),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

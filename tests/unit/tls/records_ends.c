// SPDX-License-Identifier: Apache-2.0
/* Our end of a connection: behind all that waits, and as OpenSSL hears it (REC-34). */
#include "unit/records_pair.h"

static void shut_on(struct fixture *f)
{
	int r = stream_shutdown(&f->near);

	assert_true(r == 0 || r == -EAGAIN);
}

/* Our end waits until all is sent, and then comes behind it. */
static void shut_blocked(struct fixture *f)
{
	static unsigned char data[65536], text[RECORD_BYTES_MAX];
	size_t heard = 0;
	int size = 4096;

	by_hand(f);
	setsockopt(f->near.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	assert_int_equal(stream_write(&f->near, data, sizeof(data)), -EAGAIN);
	assert_int_equal(stream_shutdown(&f->near), -EAGAIN);
	assert_int_equal(f->near.want, EPOLLOUT);
	f->between = shut_on;
	while (heard < sizeof(data))
		heard += hear(f, text).len;
	assert_int_equal(heard, sizeof(data));
	expect_alert(f, 1, RECORD_CLOSE_NOTIFY);
	assert_int_equal(recv(f->far.fd, data, 1, 0), 0);
}

/* A socket that has no room for close_notify alone: FIN waits for it. */
static void shut_full(struct fixture *f)
{
	char junk[1024] = { 0 };
	size_t sent = 0;
	ssize_t n;

	by_hand(f);
	while ((n = send(f->near.fd, junk, sizeof(junk), MSG_NOSIGNAL)) > 0 ||
		(n = send(f->near.fd, junk, 1, MSG_NOSIGNAL)) > 0)
		sent += (size_t)n;
	assert_int_equal(stream_shutdown(&f->near), -EAGAIN);
	assert_int_equal(f->near.want, EPOLLOUT);
	while (sent) {
		n = recv(f->far.fd, junk, MIN(sizeof(junk), sent), 0);
		assert_true(n > 0);
		sent -= (size_t)n;
	}
	expect_silence(f);
	assert_int_equal(stream_shutdown(&f->near), 0);
	expect_alert(f, 1, RECORD_CLOSE_NOTIFY);
	assert_int_equal(recv(f->far.fd, junk, 1, 0), 0);
}

static void test_an_end_behind_what_waits(void **state)
{
	(void)state;
	for_each_kind(shut_blocked);
	for_each_kind(shut_full);
}

static void end_with_openssl(struct fixture *f)
{
	char byte;

	assert_int_equal(stream_shutdown(&f->near), 0);
	assert_int_equal(stream_read(&f->far, &byte, 1), STREAM_EOF);
	pass(&f->far, &f->near, "more");
	assert_int_equal(stream_shutdown(&f->far), 0);
	assert_int_equal(stream_read(&f->near, &byte, 1), STREAM_EOF);
	teardown(f);
	setup(f, f->kind, f->near_is_server);
	assert_int_equal(stream_shutdown(&f->far), 0);
	assert_int_equal(stream_read(&f->near, &byte, 1), STREAM_EOF);
	pass(&f->near, &f->far, "more");
	assert_int_equal(stream_shutdown(&f->near), 0);
	assert_int_equal(stream_read(&f->far, &byte, 1), STREAM_EOF);
	teardown(f);
	setup(f, f->kind, f->near_is_server);
	assert_int_equal(stream_cut(&f->near), 0);
	assert_int_equal(stream_read(&f->far, &byte, 1), -ECONNABORTED);
}

static void test_ends_as_openssl_hears_them(void **state)
{
	(void)state;
	for_each_kind(end_with_openssl);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_end_behind_what_waits),
		cmocka_unit_test(test_ends_as_openssl_hears_them),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

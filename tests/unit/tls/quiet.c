// SPDX-License-Identifier: Apache-2.0
/* What a peer may send without data, and how much of it one read takes. */
#include "unit/tls_pair.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

static struct tls_client *client;

/* near is the one that is tried: a server's, or a client's as towards nodes. */
struct fixture {
	struct stream near, far;
	struct record_state write; /* far's, for records that OpenSSL does not make */
};

static ssize_t take(struct fixture *f)
{
	char data[2048];

	return stream_read(&f->near, data, sizeof(data));
}

static void setup(struct fixture *f, bool near_is_server, int version)
{
	int size = 1 << 22;

	memset(f, 0, sizeof(*f));
	tls_pair_connect(&f->near, &f->far, near_is_server, client);
	setsockopt(f->far.fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size));
	SSL_set_max_proto_version(ssl_of(&f->near), version);
	tls_stream_read_ahead(&f->near, true);
	tls_pair_shake_hands(&f->near, &f->far);
	/* A server's tickets come before its first data, and count. */
	if (!near_is_server) {
		assert_int_equal(stream_write(&f->far, "*", 1), 1);
		assert_int_equal(take(f), 1);
	}
}

static void teardown(struct fixture *f)
{
	stream_close(&f->near);
	stream_close(&f->far);
}

static void change_keys(struct fixture *f, int count, int type)
{
	SSL *ssl = ssl_of(&f->far);

	for (int i = 0; i < count; i++) {
		assert_true(peer_updates(ssl, type));
	}
}

/* From now on far's records are made one by one. */
static void take_keys(struct fixture *f)
{
	struct record_state states[2];
	struct record_keys keys;
	char byte;

	assert_int_equal(stream_write(&f->near, "x", 1), 1);
	assert_int_equal(stream_read(&f->far, &byte, 1), 1);
	tls_keys_prepare(&f->far);
	assert_int_equal(tls_keys_export(&f->far, &keys), 0);
	assert_int_equal(record_states_init(states, &keys), 0);
	f->write = states[RECORD_WRITE];
}

static void put_record(
	struct fixture *f, unsigned char type, const void *data, size_t len, size_t padding)
{
	static unsigned char record[RECORD_MAX + 512];
	int n = record_seal(&f->write, type, data, len, padding, record);

	assert_int_equal(send(f->far.fd, record, (size_t)n, 0), n);
}

static int unread(const struct fixture *f)
{
	int n = 0;

	assert_int_equal(ioctl(f->near.fd, FIONREAD, &n), 0);
	return n;
}

/* ---- tests ---- */

static void test_key_updates_with_data_between_go_on(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct fixture f;
		char back[4];

		setup(&f, side, TLS1_3_VERSION);
		for (int i = 0; i < 20; i++) {
			change_keys(&f, RECORD_QUIET_MAX, i & 1);
			assert_int_equal(stream_write(&f.far, "data", 4), 4);
			assert_int_equal(take(&f), 4);
			assert_true(f.near.work >= RECORD_QUIET_MAX * 1024);
			assert_int_equal(stream_write(&f.near, "back", 4), 4);
			assert_int_equal(stream_read(&f.far, back, 4), 4);
		}
		teardown(&f);
	}
}

static void test_33_key_updates_without_data_end_it(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct fixture f;

		setup(&f, side, TLS1_3_VERSION);
		change_keys(&f, RECORD_QUIET_MAX, SSL_KEY_UPDATE_NOT_REQUESTED);
		assert_int_equal(take(&f), -EAGAIN); /* in several reads as in one */
		change_keys(&f, 1, SSL_KEY_UPDATE_NOT_REQUESTED);
		assert_int_equal(stream_write(&f.far, "data", 4), 4);
		assert_int_equal(take(&f), -EPROTO);
		assert_string_equal(
			tls_stream_error(&f.near), "too many TLS messages without data");
		assert_int_equal(take(&f), -EPROTO);
		assert_int_equal(stream_write(&f.near, "x", 1), -EPIPE);
		teardown(&f);
	}
}

static void test_refused_renegotiations_end_it(void **state)
{
	static const unsigned char hello[] = { 1, 0, 0, 0 };
	struct fixture f;

	(void)state;
	setup(&f, true, TLS1_2_VERSION);
	take_keys(&f);
	if (PEER_RENEGOTIATION_ENDS) {
		put_record(&f, RECORD_HANDSHAKE, hello, sizeof(hello), 0);
		assert_int_equal(take(&f), -EPROTO);
		assert_string_equal(tls_stream_error(&f.near), "no renegotiation");
		teardown(&f);
		return;
	}
	for (int i = 0; i < RECORD_QUIET_MAX; i++)
		put_record(&f, RECORD_HANDSHAKE, hello, sizeof(hello), 0);
	assert_int_equal(take(&f), -EAGAIN);
	put_record(&f, RECORD_DATA, "data", 4, 0);
	assert_int_equal(take(&f), 4);
	for (int i = 0; i <= RECORD_QUIET_MAX; i++)
		put_record(&f, RECORD_HANDSHAKE, hello, sizeof(hello), 0);
	assert_int_equal(take(&f), -EPROTO);
	assert_string_equal(tls_stream_error(&f.near), "too many TLS messages without data");
	teardown(&f);
}

static void test_one_read_takes_64_kib_of_the_socket(void **state)
{
	struct fixture f;
	int before, left;

	(void)state;
	setup(&f, true, TLS1_3_VERSION);
	take_keys(&f);
	for (int i = 0; i < 12; i++) /* nothing but padding */
		put_record(&f, RECORD_DATA, "", 0, 16000);
	put_record(&f, RECORD_DATA, "data", 4, 0);
	before = unread(&f);
	assert_int_equal(take(&f), -EAGAIN);
	assert_int_equal(f.near.want, EPOLLIN);
	left = unread(&f);
	assert_int_equal(before - left, TLS_READ_BUDGET);
	while (left) { /* what is left, epoll tells */
		ssize_t n = take(&f);

		if (n != -EAGAIN) {
			assert_int_equal(n, 4);
			break;
		}
		assert_true(unread(&f) < left);
		left = unread(&f);
	}
	assert_int_equal(take(&f), -EAGAIN);
	teardown(&f);
}

/* A peer that asks for answers and takes none. */
static void test_answers_that_nobody_takes_are_bounded(void **state)
{
	struct fixture f;
	struct tls_layer *layer;
	char junk[4096] = { 0 };
	int rounds = 0;

	(void)state;
	setup(&f, true, TLS1_3_VERSION);
	layer = tls_stream_layer(&f.near);
	while (send(f.near.fd, junk, sizeof(junk), MSG_DONTWAIT) > 0 ||
		send(f.near.fd, junk, 1, MSG_DONTWAIT) > 0)
		;
	assert_true(tls_library_settle(layer));
	assert_true(layer->held.len > 0); /* the tickets */
	for (; rounds < 200; rounds++) {
		change_keys(&f, RECORD_QUIET_MAX, SSL_KEY_UPDATE_REQUESTED);
		assert_int_equal(stream_write(&f.far, "data", 4), 4);
		if (take(&f) != 4)
			break;
		assert_true(layer->held.len <= TLS_HELD_BYTES + 64);
	}
	if (PEER_ANSWERS_ITSELF) { /* one, until something is sent */
		assert_int_equal(rounds, 200);
		teardown(&f);
		return;
	}
	assert_true(rounds < 200);
	assert_int_equal(f.near.want, EPOLLOUT);
	assert_int_equal(take(&f), -EAGAIN);
	assert_true(layer->held.len <= TLS_HELD_BYTES + 64);
	teardown(&f);
}

static char letter(size_t at)
{
	return (char)('a' + at % 23);
}

/* As far as it goes now; *at letters have gone before. */
static void write_letters(struct stream *to, size_t *at, size_t total)
{
	char data[8000];
	ssize_t n = 0;

	while (*at < total && n >= 0) {
		size_t len = MIN(sizeof(data), total - *at);

		for (size_t i = 0; i < len; i++)
			data[i] = letter(*at + i);
		n = stream_write(to, data, len);
		*at += n > 0 ? (size_t)n : 0;
	}
	assert_true(n >= 0 || n == -EAGAIN);
}

static void read_letters(struct stream *from, size_t *at)
{
	char data[8000];
	ssize_t n;

	while ((n = stream_read(from, data, sizeof(data))) > 0) {
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(data[i], letter(*at + (size_t)i));
		*at += (size_t)n;
	}
	assert_int_equal(n, -EAGAIN);
}

/* OpenSSL would answer at once, into a record that is half written, and fail. */
static void test_an_answer_waits_for_the_record_before_it(void **state)
{
	enum { TOTAL = 24 << 20 };

	(void)state;
	for (int side = 0; side < 2; side++) {
		struct fixture f;
		size_t written = 0, got = 0, back = 0, taken = 0;
		int asked = 0;

		setup(&f, side, TLS1_3_VERSION);
		while (got < TOTAL) {
			write_letters(&f.near, &written, TOTAL);
			change_keys(&f, 2, SSL_KEY_UPDATE_REQUESTED);
			asked += written < TOTAL;
			write_letters(&f.far, &back, back + 100);
			read_letters(&f.near, &taken); /* while the write waits */
			read_letters(&f.far, &got);
		}
		assert_int_equal(written, got);
		assert_int_equal(taken, back);
		assert_true(asked > 1);
		/* the end waits for nothing, and is said once */
		assert_int_equal(stream_shutdown(&f.near), 0);
		assert_int_equal(stream_read(&f.far, &(char){ 0 }, 1), STREAM_EOF);
		teardown(&f);
	}
}

/* The end behind a record that the socket does not take. */
static void test_an_end_waits_for_the_record_before_it(void **state)
{
	enum { TOTAL = 24 << 20 };
	struct fixture f;
	size_t written = 0, got = 0;
	char byte;
	int r;

	(void)state;
	setup(&f, true, TLS1_3_VERSION);
	write_letters(&f.near, &written, TOTAL);
	assert_true(written < TOTAL);
	while ((r = stream_shutdown(&f.near)) == -EAGAIN) {
		assert_int_equal(f.near.want, EPOLLOUT);
		read_letters(&f.far, &got);
	}
	assert_int_equal(r, 0);
	while ((r = (int)stream_read(&f.far, &byte, 1)) > 0)
		assert_int_equal(byte, letter(got++));
	assert_int_equal(r, STREAM_EOF);
	/* what was not taken is known: at most a record is sent beyond it */
	assert_true(got >= written && got <= written + 8000);
	teardown(&f);
}

static int group_setup(void **state)
{
	if (tls_pair_setup(state) < 0)
		return -1;
	client = tls_pair_client();
	return 0;
}

static int group_teardown(void **state)
{
	tls_client_unref(client);
	return tls_pair_teardown(state);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_key_updates_with_data_between_go_on),
		cmocka_unit_test(test_33_key_updates_without_data_end_it),
		cmocka_unit_test(test_refused_renegotiations_end_it),
		cmocka_unit_test(test_one_read_takes_64_kib_of_the_socket),
		cmocka_unit_test(test_answers_that_nobody_takes_are_bounded),
		cmocka_unit_test(test_an_answer_waits_for_the_record_before_it),
		cmocka_unit_test(test_an_end_waits_for_the_record_before_it),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

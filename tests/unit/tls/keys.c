// SPDX-License-Identifier: Apache-2.0
/* What tls_keys_export() tells opens OpenSSL's records and makes such as it opens; what OpenSSL
 * owes at that moment; and what has no keys that could be told. */
#include "unit/tls_pair.h"

#include "tls/records.h"

#include <errno.h>

/* near's keys are told; far is OpenSSL to the end. */
struct fixture {
	struct stream near, far;
	struct tls_client *client;
	struct record_keys keys;
};

static void pass(struct stream *from, struct stream *to)
{
	char data[16];

	assert_int_equal(stream_write(from, "hello", 5), 5);
	assert_int_equal(stream_read(to, data, sizeof(data)), 5);
	assert_memory_equal(data, "hello", 5);
}

/* Nothing has been sent: either end can still be told its suite. Nothing is resumed, because each
 * connection has a client of its own. */
static void begin(struct fixture *f, bool near_is_server)
{
	memset(f, 0, sizeof(*f));
	f->client = tls_pair_client();
	tls_pair_connect(&f->near, &f->far, near_is_server, f->client);
}

static void shake_hands(struct fixture *f)
{
	tls_pair_shake_hands(&f->near, &f->far);
	/* so that numbers are above 0, and a server's tickets have been read */
	for (int i = 0; i < 3; i++) {
		pass(&f->near, &f->far);
		pass(&f->far, &f->near);
	}
}

static void setup(struct fixture *f, const struct kind *kind, bool near_is_server)
{
	begin(f, near_is_server);
	only_suite(ssl_of(near_is_server ? &f->far : &f->near), kind);
	shake_hands(f);
}

static void teardown(struct fixture *f)
{
	stream_close(&f->near);
	stream_close(&f->far);
	tls_client_unref(f->client);
}

static void open_of_far(struct fixture *f, const char *text)
{
	unsigned char record[256], data[256];
	struct record_state states[2];
	struct record_text got;
	ssize_t n;

	assert_int_equal(stream_write(&f->far, text, strlen(text)), strlen(text));
	n = recv(f->near.fd, record, sizeof(record), 0);
	assert_true(n > 0);
	assert_int_equal(record_states_init(states, &f->keys), 0);
	assert_int_equal(record_open(&states[RECORD_READ], record, (size_t)n, data, &got), 0);
	f->keys.seq[RECORD_READ]++;
	assert_int_equal(got.type, RECORD_DATA);
	assert_int_equal(got.len, strlen(text));
	assert_memory_equal(data, text, got.len);
}

static void seal_for_far(struct fixture *f, const char *text)
{
	unsigned char record[256];
	struct record_state states[2];
	char got[64];
	int n;

	assert_int_equal(record_states_init(states, &f->keys), 0);
	n = record_seal(&states[RECORD_WRITE], RECORD_DATA, text, strlen(text), 0, record);
	f->keys.seq[RECORD_WRITE]++;
	assert_true(n > 0);
	assert_int_equal(send(f->near.fd, record, (size_t)n, 0), n);
	assert_int_equal(stream_read(&f->far, got, sizeof(got)), strlen(text));
	assert_memory_equal(got, text, strlen(text));
}

static void exchange(struct fixture *f)
{
	for (int i = 0; i < 3; i++) {
		open_of_far(f, "what OpenSSL has sealed");
		seal_for_far(f, "what it opens");
	}
}

static void try_kind(const struct kind *kind, bool near_is_server)
{
	struct fixture f;

	setup(&f, kind, near_is_server);
	tls_keys_prepare(&f.near);
	assert_int_equal(tls_keys_export(&f.near, &f.keys), 0);
	assert_int_equal(f.keys.cipher, kind->cipher);
	assert_int_equal(f.keys.is_server, near_is_server);
	exchange(&f);
	if (kind->version == TLS1_3_VERSION) { /* what far says next has its next key */
		SSL *ssl = ssl_of(&f.far);
		unsigned char record[256];

		assert_true(peer_updates(ssl, SSL_KEY_UPDATE_NOT_REQUESTED));
		assert_true(recv(f.near.fd, record, sizeof(record), 0) > 0);
		assert_int_equal(record_keys_update(&f.keys, RECORD_READ), 0);
		exchange(&f);
	}
	teardown(&f);
}

static void test_exported_keys_fit_openssl(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		try_kind(&kinds[i], true);
		try_kind(&kinds[i], false);
	}
}

/* Half a record, and what is written but not sent: not yet. */
static void test_not_within_a_record(void **state)
{
	char data[16];
	struct fixture f;
	unsigned char record[256];
	ssize_t n;

	(void)state;
	setup(&f, &kinds[0], true);
	tls_keys_prepare(&f.near);
	assert_int_equal(stream_write(&f.far, "hello", 5), 5);
	n = recv(f.near.fd, record, sizeof(record), 0);
	assert_true(n > 8);
	assert_int_equal(send(f.far.fd, record, 8, 0), 8);
	assert_int_equal(stream_read(&f.near, data, sizeof(data)), -EAGAIN);
	assert_int_equal(tls_keys_export(&f.near, &f.keys), TLS_KEYS_NOT_YET);
	assert_int_equal(send(f.far.fd, record + 8, (size_t)n - 8, 0), n - 8);
	assert_int_equal(stream_read(&f.near, data, 2), 2);
	assert_int_equal(tls_keys_export(&f.near, &f.keys), TLS_KEYS_NOT_YET);
	assert_int_equal(stream_read(&f.near, data, sizeof(data)), 3);
	assert_int_equal(tls_keys_export(&f.near, &f.keys), 0);
	exchange(&f);
	teardown(&f);
}

/* Of the next record. */
static uint64_t number_of(const struct stream *stream, enum record_direction direction)
{
	struct record_keys keys = { .version = RECORD_TLS_1_3 };

	assert_int_equal(tls_library_export(tls_stream_layer(stream), &keys), 0);
	return keys.seq[direction];
}

/* far asks near for another key, and says something. */
static void ask_for_update(struct fixture *f)
{
	assert_int_equal(SSL_key_update(ssl_of(&f->far), SSL_KEY_UPDATE_REQUESTED), 1);
	assert_int_equal(stream_write(&f->far, "hello", 5), 5);
}

/* The answer to a KeyUpdate is due when OpenSSL goes: it goes before the next bytes. A library that
 * has made it already sends it then. */
static void test_an_answer_that_is_due_is_taken_over(void **state)
{
	char data[16];
	struct fixture f;

	(void)state;
	for (int role = 0; role < 2; role++) {
		setup(&f, &kinds[0], role);
		ask_for_update(&f);
		assert_int_equal(stream_read(&f.near, data, sizeof(data)), 5);
		assert_int_equal(tls_keys_export(&f.near, &f.keys), TLS_KEYS_NOT_YET);
		assert_int_equal(tls_records_take(&f.near), 0);
		assert_int_equal(
			tls_records_connection(&f.near)->answer_owed, !PEER_ANSWERS_ITSELF);
		pass(&f.near, &f.far);
		assert_false(tls_records_connection(&f.near)->answer_owed);
		assert_int_equal(number_of(&f.far, RECORD_READ), 1); /* of its new key */
		pass(&f.far, &f.near);
		pass(&f.near, &f.far);
		teardown(&f);
	}
}

/* OpenSSL answers while it reads, also behind our own end of stream, where nothing can be sent any
 * more; what the peer says is read all the same. */
static void test_a_key_update_behind_our_end(void **state)
{
	char data[16];
	struct fixture f;

	(void)state;
	for (int role = 0; role < 2; role++) {
		setup(&f, &kinds[0], role);
		assert_int_equal(stream_shutdown(&f.near), 0);
		for (int i = 0; i < 3; i++) {
			ask_for_update(&f);
			assert_int_equal(stream_read(&f.near, data, sizeof(data)), 5);
		}
		teardown(&f);
	}
}

/* The same where the socket takes nothing any more: of an answer, and of a change of our own. */
static void test_a_socket_that_takes_nothing_is_read(void **state)
{
	char data[16];
	struct fixture f;

	(void)state;
	for (int role = 0; role < 4; role++) {
		setup(&f, &kinds[0], role & 1);
		shutdown(f.near.fd, SHUT_WR);
		if (role & 2) {
			assert_int_equal(
				SSL_key_update(ssl_of(&f.near), SSL_KEY_UPDATE_REQUESTED), 1);
			assert_int_equal(stream_write(&f.near, "hello", 5), -EPIPE);
		}
		for (int i = 0; i < 3; i++) {
			ask_for_update(&f);
			assert_int_equal(stream_read(&f.near, data, sizeof(data)), 5);
		}
		assert_int_equal(stream_write(&f.near, "hello", 5), -EPIPE);
		if (role & 1)
			assert_int_equal(stream_shutdown(&f.far), 0);
		else
			assert_int_equal(stream_cut(&f.far), 0);
		assert_int_equal(stream_read(&f.near, data, sizeof(data)),
			role & 1 ? STREAM_EOF : -ECONNABORTED);
		teardown(&f);
	}
}

/* Nodes are offered all that OpenSSL has, and what record/ does not have stays there. */
static void test_a_node_with_another_suite(void **state)
{
	static const char *const suites[] = { "ECDHE-ECDSA-AES128-SHA256",
		"ECDHE-ECDSA-AES256-SHA" };

	int tried = 0;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(suites); i++) {
		const struct kind kind = { suites[i], TLS1_2_VERSION };
		struct fixture f;

		begin(&f, false);
		if (SSL_set_cipher_list(ssl_of(&f.far), suites[i]) != 1) { /* not of this library */
			teardown(&f);
			continue;
		}
		tried++;
		only_suite(ssl_of(&f.far), &kind);
		shake_hands(&f);
		assert_int_equal(tls_records_take(&f.near), -ENOTSUP);
		assert_int_equal(tls_keys_export(&f.near, &f.keys), -ENOTSUP);
		pass(&f.near, &f.far);
		pass(&f.far, &f.near);
		teardown(&f);
	}
	assert_true(tried > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_exported_keys_fit_openssl),
		cmocka_unit_test(test_not_within_a_record),
		cmocka_unit_test(test_an_answer_that_is_due_is_taken_over),
		cmocka_unit_test(test_a_key_update_behind_our_end),
		cmocka_unit_test(test_a_socket_that_takes_nothing_is_read),
		cmocka_unit_test(test_a_node_with_another_suite),
	};

	return cmocka_run_group_tests(tests, tls_pair_setup, tls_pair_teardown);
}

// SPDX-License-Identifier: Apache-2.0
/* All there is of a connection, from the keys of its handshake on. */
#include "unit.h"

#include "record/connection.h"

#include <errno.h>

static struct record_keys keys_of(int version, int cipher, bool is_server)
{
	struct record_keys keys = { .version = (enum record_version)version,
		.cipher = (enum record_cipher)cipher,
		.is_server = is_server,
		.secret_len = version == RECORD_TLS_1_2 || cipher == RECORD_AES_256_GCM ? 48 : 32,
		.seq = { 5, 7 } };

	memset(keys.secret[0], 0xc1, keys.secret_len);
	memset(keys.secret[1], 0x5e, keys.secret_len);
	return keys;
}

static void test_as_the_handshake_left_it(void **state)
{
	(void)state;
	for (int i = 0; i < 2 * RECORD_VERSIONS * RECORD_CIPHERS; i++) {
		bool is_server = i % 2, is_13 = i / 2 % 2 == RECORD_TLS_1_3;
		struct record_keys keys = keys_of(i / 2 % 2, i / 4, is_server);
		struct record_connection connection;

		assert_int_equal(record_connection_init(&connection, &keys), 0);
		assert_int_equal(connection.states[RECORD_READ].seq, 5);
		assert_int_equal(connection.states[RECORD_WRITE].seq, 7);
		assert_int_equal(connection.peer.version, keys.version);
		assert_int_equal(connection.peer.is_client, is_server);
		assert_int_equal(connection.peer.payload_max, RECORD_MAX);
		assert_int_equal(connection.in, RECORD_IN_OPEN);
		assert_int_equal(connection.out, RECORD_OUT_OPEN);
		for (size_t k = 0; is_13 && k < keys.secret_len; k++) {
			assert_int_equal(
				connection.secret[RECORD_READ][k], is_server ? 0xc1 : 0x5e);
			assert_int_equal(
				connection.secret[RECORD_WRITE][k], is_server ? 0x5e : 0xc1);
		}
		keys.payload_max = 512;
		record_connection_wipe(&connection);
		assert_int_equal(record_connection_init(&connection, &keys), 0);
		assert_int_equal(connection.peer.payload_max, 512);
		record_connection_wipe(&connection);
	}
}

/* What one end seals the other one opens, and nobody else. */
static void test_two_ends(void **state)
{
	(void)state;
	for (int i = 0; i < RECORD_VERSIONS * RECORD_CIPHERS; i++) {
		struct record_keys keys[2] = { keys_of(i % 2, i / 2, false),
			keys_of(i % 2, i / 2, true) };
		struct record_connection ends[2];
		unsigned char record[64], text[64];
		struct record_text got;

		for (int e = 0; e < 2; e++) {
			keys[e].seq[RECORD_READ] = keys[e].seq[RECORD_WRITE] = 3;
			assert_int_equal(record_connection_init(&ends[e], &keys[e]), 0);
		}
		for (int e = 0; e < 2; e++) {
			int n = record_seal(
				&ends[e].states[RECORD_WRITE], RECORD_DATA, "hello", 5, 0, record);

			assert_true(n > 0);
			assert_int_equal(record_open(&ends[e].states[RECORD_READ], record,
						 (size_t)n, text, &got),
				-EBADMSG);
			assert_int_equal(record_open(&ends[!e].states[RECORD_READ], record,
						 (size_t)n, text, &got),
				0);
		}
		record_connection_wipe(&ends[0]);
		record_connection_wipe(&ends[1]);
	}
}

static void test_nothing_is_left(void **state)
{
	static const struct record_connection zero;
	struct record_keys keys = keys_of(RECORD_TLS_1_3, RECORD_AES_256_GCM, true);
	struct record_connection connection;

	(void)state;
	assert_int_equal(record_connection_init(&connection, &keys), 0);
	assert_memory_not_equal(&connection, &zero, sizeof(zero));
	record_connection_wipe(&connection);
	assert_memory_equal(&connection, &zero, sizeof(zero));
	record_connection_wipe(&connection);
}

/* Bytes of another process's: what would be out of bounds is no connection. */
static void test_what_is_resumed(void **state)
{
	struct record_keys keys = keys_of(RECORD_TLS_1_3, RECORD_AES_128_GCM, true);
	struct record_connection good, bad, got;

	(void)state;
	assert_int_equal(record_connection_init(&good, &keys), 0);
	good.states[RECORD_READ].keyed = good.states[RECORD_WRITE].keyed = 9;
	assert_int_equal(record_connection_resume(&got, &good), 0);
	assert_int_equal(got.states[RECORD_READ].keyed, 0);
	assert_int_equal(got.states[RECORD_WRITE].keyed, 0);
	assert_memory_equal(got.states[RECORD_READ].key, good.states[RECORD_READ].key, 32);
	assert_memory_equal(got.secret, good.secret, sizeof(good.secret));
#define REFUSED(field, value)                                                      \
	do {                                                                       \
		bad = good;                                                        \
		bad.field = value;                                                 \
		memset(&got, 0x5a, sizeof(got));                                   \
		assert_int_equal(record_connection_resume(&got, &bad), -EINVAL);   \
		assert_int_equal(got.states[0].seq, UINT64_C(0x5a5a5a5a5a5a5a5a)); \
	} while (0)
	REFUSED(states[RECORD_READ].direction, RECORD_WRITE);
	REFUSED(states[RECORD_WRITE].direction, 2);
	REFUSED(states[RECORD_READ].version, RECORD_TLS_1_2);
	REFUSED(states[RECORD_WRITE].version, 2);
	REFUSED(peer.version, RECORD_TLS_1_2);
	REFUSED(states[RECORD_READ].cipher, RECORD_CHACHA20_POLY1305);
	REFUSED(states[RECORD_WRITE].cipher, RECORD_CIPHERS);
	REFUSED(peer.payload_max, 0);
	REFUSED(peer.payload_max, RECORD_MAX + 1);
	REFUSED(peer.begun_len, 5);
	REFUSED(in, 3);
	REFUSED(out, 3);
#undef REFUSED
	bad = good;
	bad.states[0].cipher = bad.states[1].cipher = RECORD_CIPHERS;
	assert_int_equal(record_connection_resume(&got, &bad), -EINVAL);
}

static void test_worn(void **state)
{
	(void)state;
	for (int i = 0; i < RECORD_VERSIONS * RECORD_CIPHERS; i++) {
		struct record_keys keys = keys_of(i % 2, i / 2, false);
		uint64_t end = i / 2 == RECORD_CHACHA20_POLY1305 ? UINT64_MAX - 512 : RECORD_END_AT;
		struct record_connection connection;

		assert_int_equal(record_connection_init(&connection, &keys), 0);
		for (int d = RECORD_READ; d <= RECORD_WRITE; d++) {
			connection.states[d].seq = end - 1;
			assert_false(record_connection_is_worn(&connection));
			connection.states[d].seq = end;
			assert_int_equal(
				record_connection_is_worn(&connection), i % 2 == RECORD_TLS_1_2);
			connection.states[d].seq = 0;
		}
		record_connection_wipe(&connection);
	}
	assert_true(RECORD_END_AT < UINT64_C(1) << 24);
	assert_true(RECORD_LAST < UINT64_C(1) << 24);
	assert_true(RECORD_UPDATE_AT < UINT64_C(1) << 23);
}

static void test_alerts(void **state)
{
	(void)state;
	assert_int_equal(record_alert_for(-EBADMSG), RECORD_BAD_RECORD_MAC);
	assert_int_equal(record_alert_for(-EMSGSIZE), RECORD_RECORD_OVERFLOW);
	assert_int_equal(record_alert_for(-EPROTO), RECORD_UNEXPECTED_MESSAGE);
	assert_int_equal(record_alert_for(-EIO), RECORD_INTERNAL_ERROR);
	assert_int_equal(record_alert_for(-ENOMEM), RECORD_INTERNAL_ERROR);
	assert_int_equal(record_alert_for(-ECONNRESET), -1);
	assert_int_equal(record_alert_for(-EKEYEXPIRED), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_the_handshake_left_it),
		cmocka_unit_test(test_two_ends),
		cmocka_unit_test(test_nothing_is_left),
		cmocka_unit_test(test_what_is_resumed),
		cmocka_unit_test(test_worn),
		cmocka_unit_test(test_alerts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

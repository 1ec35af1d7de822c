// SPDX-License-Identifier: Apache-2.0
/* A connection that goes to another host as bytes. */
#include "unit.h"

#include "record/connection.h"

#include <errno.h>

/* A client's end and its server's, some records after their handshake. */
struct ends {
	struct record_connection client, server;
};

static void make_ends(struct ends *ends, int version, int cipher)
{
	struct record_keys keys = { .version = (enum record_version)version,
		.cipher = (enum record_cipher)cipher,
		.secret_len = version == RECORD_TLS_1_2 || cipher == RECORD_AES_256_GCM ? 48 : 32,
		.seq = { 3, 3 } };

	memset(keys.secret[0], 0xc1, keys.secret_len);
	memset(keys.secret[1], 0x5e, keys.secret_len);
	assert_int_equal(record_connection_init(&ends->client, &keys), 0);
	keys.is_server = true;
	keys.payload_max = 1024;
	assert_int_equal(record_connection_init(&ends->server, &keys), 0);
}

static void drop_ends(struct ends *ends)
{
	record_connection_wipe(&ends->client);
	record_connection_wipe(&ends->server);
}

static void send_one(struct record_connection *from, struct record_connection *to)
{
	unsigned char record[64], text[64];
	struct record_text got;
	int n = record_seal(&from->states[RECORD_WRITE], RECORD_DATA, "hello", 5, 0, record);

	assert_true(n > 0);
	assert_int_equal(record_open(&to->states[RECORD_READ], record, (size_t)n, text, &got), 0);
	assert_int_equal(got.len, 5);
	assert_memory_equal(text, "hello", 5);
}

static void change_keys(struct record_connection *from, struct record_connection *to)
{
	assert_int_equal(
		record_state_update(&from->states[RECORD_WRITE], from->secret[RECORD_WRITE]), 0);
	assert_int_equal(record_state_update(&to->states[RECORD_READ], to->secret[RECORD_READ]), 0);
}

/* HND-31: both directions go on with the next numbers, and keys still change afterwards. */
static void test_goes_on(void **state)
{
	(void)state;
	for (int i = 0; i < RECORD_VERSIONS * RECORD_CIPHERS; i++) {
		struct ends ends;
		struct record_connection other;
		unsigned char bytes[RECORD_PACKED_BYTES];

		make_ends(&ends, i % 2, i / 2);
		send_one(&ends.client, &ends.server);
		send_one(&ends.server, &ends.client);
		send_one(&ends.server, &ends.client);
		if (i % 2 == RECORD_TLS_1_3)
			change_keys(&ends.client, &ends.server);
		assert_int_equal(record_connection_pack(&ends.server, bytes), 0);
		assert_int_equal(record_connection_unpack(bytes, &other), 0);
		assert_int_equal(other.peer.payload_max, 1024);
		assert_int_equal(other.states[RECORD_WRITE].seq, 5);
		send_one(&ends.client, &other);
		send_one(&other, &ends.client);
		if (i % 2 == RECORD_TLS_1_3) {
			change_keys(&ends.client, &other);
			change_keys(&other, &ends.client);
			send_one(&ends.client, &other);
			send_one(&other, &ends.client);
		}
		record_connection_wipe(&other);
		drop_ends(&ends);
	}
}

/* All that is known of the peer goes with it. */
static void test_peer(void **state)
{
	struct ends ends;
	struct record_connection other;
	unsigned char bytes[RECORD_PACKED_BYTES];

	(void)state;
	make_ends(&ends, RECORD_TLS_1_3, RECORD_AES_256_GCM);
	for (int bits = 0; bits < 16; bits++) {
		struct record_connection *from = &ends.server;

		if (bits % 4 == 2) /* an end is not told of before it has come */
			continue;
		from->in = bits & 1 ? RECORD_IN_CLOSED : RECORD_IN_OPEN;
		from->untold = bits & 2;
		from->answer_owed = bits & 4;
		from->peer.told_no = bits & 8 ? 1 : 0;
		from->peer.quiet = 17;
		from->peer.paid = 1000;
		from->peer.begun_len = 3;
		memcpy(from->peer.begun, "\x18\0\0", 3);
		assert_int_equal(record_connection_pack(from, bytes), 0);
		assert_int_equal(record_connection_unpack(bytes, &other), 0);
		assert_int_equal(other.in, from->in);
		assert_int_equal(other.untold, from->untold);
		assert_int_equal(other.answer_owed, from->answer_owed);
		assert_memory_equal(&other.peer, &from->peer, sizeof(other.peer));
		assert_memory_equal(other.secret, from->secret, sizeof(other.secret));
		record_connection_wipe(&other);
	}
	drop_ends(&ends);
}

/* Only what has a future is handed on. */
static void test_not_handed_on(void **state)
{
	struct ends ends;
	unsigned char bytes[RECORD_PACKED_BYTES];

	(void)state;
	make_ends(&ends, RECORD_TLS_1_2, RECORD_AES_128_GCM);
	assert_int_equal(record_connection_pack(&ends.client, bytes), -ENOTSUP);
	ends.server.in = RECORD_IN_FAILED;
	assert_int_equal(record_connection_pack(&ends.server, bytes), -ENOTSUP);
	ends.server.in = RECORD_IN_OPEN;
	ends.server.out = RECORD_OUT_CLOSED;
	assert_int_equal(record_connection_pack(&ends.server, bytes), -ENOTSUP);
	drop_ends(&ends);
}

/* TLS 1.2: the keys, and of the master secret nothing. */
static void test_no_master_secret(void **state)
{
	struct ends ends;
	unsigned char bytes[RECORD_PACKED_BYTES];

	(void)state;
	make_ends(&ends, RECORD_TLS_1_2, RECORD_CHACHA20_POLY1305);
	assert_int_equal(record_connection_pack(&ends.server, bytes), 0);
	for (size_t i = 0; i + 8 < sizeof(bytes); i++)
		assert_memory_not_equal(bytes + i, "\xc1\xc1\xc1\xc1\xc1\xc1\xc1\xc1", 8);
	drop_ends(&ends);
}

static void test_garbage(void **state)
{
	static const struct {
		unsigned at;
		unsigned char byte;
	} faults[] = { { 0, 2 }, { 1, 2 }, { 1, 5 }, { 2, 0x12 }, { 3, 0 }, { 3, 4 }, { 4, 0x7f },
		{ 6, 16 }, { 6, 255 }, { 7, RECORD_QUIET_MAX + 1 }, { 8, 255 }, { 10, 5 } };
	struct ends ends;
	struct record_connection other = { .full = 77 };
	unsigned char bytes[RECORD_PACKED_BYTES], wrong[RECORD_PACKED_BYTES];

	(void)state;
	make_ends(&ends, RECORD_TLS_1_3, RECORD_AES_128_GCM);
	assert_int_equal(record_connection_pack(&ends.server, bytes), 0);
	for (size_t i = 0; i < ARRAY_SIZE(faults); i++) {
		memcpy(wrong, bytes, sizeof(bytes));
		wrong[faults[i].at] = faults[i].byte;
		assert_int_equal(record_connection_unpack(wrong, &other), -EINVAL);
	}
	memcpy(wrong, bytes, sizeof(bytes));
	wrong[6] = 2; /* an end that has not come is still to be told */
	assert_int_equal(record_connection_unpack(wrong, &other), -EINVAL);
	memcpy(wrong, bytes, sizeof(bytes));
	wrong[1] = 3; /* TLS 1.2, and an answer to a KeyUpdate is owed */
	wrong[6] = 4;
	assert_int_equal(record_connection_unpack(wrong, &other), -EINVAL);
	memcpy(wrong, bytes, sizeof(bytes));
	memset(wrong + 4, 0, 2); /* records of nothing */
	assert_int_equal(record_connection_unpack(wrong, &other), -EINVAL);
	assert_int_equal(other.full, 77);
	drop_ends(&ends);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_goes_on),
		cmocka_unit_test(test_peer),
		cmocka_unit_test(test_not_handed_on),
		cmocka_unit_test(test_no_master_secret),
		cmocka_unit_test(test_garbage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

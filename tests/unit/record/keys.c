// SPDX-License-Identifier: Apache-2.0
/* Keys and records beside the trace of RFC 8448 section 3 (TLS_AES_128_GCM_SHA256). */
#include "unit.h"

#include "hex.h"
#include "record/record.h"

static struct record_keys trace_keys(void)
{
	struct record_keys keys = { .version = RECORD_TLS_1_3, .cipher = RECORD_AES_128_GCM };

	keys.secret_len = unhex(
		"9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5", keys.secret[0]);
	unhex("a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643", keys.secret[1]);
	return keys;
}

static void expect_key(const struct record_keys *keys, enum record_direction direction,
	const char *key, const char *iv)
{
	struct record_state states[2];
	unsigned char want[32];

	assert_int_equal(record_states_init(states, keys), 0);
	assert_memory_equal(states[direction].key, want, unhex(key, want));
	assert_memory_equal(states[direction].iv, want, unhex(iv, want));
}

static void test_traffic_keys(void **state)
{
	struct record_keys keys = trace_keys();

	(void)state;
	for (int server = 0; server < 2; server++) {
		keys.is_server = server;
		expect_key(&keys, server ? RECORD_READ : RECORD_WRITE,
			"17422dda596ed5d9acd890e3c63f5051", "5b78923dee08579033e523d9");
		expect_key(&keys, server ? RECORD_WRITE : RECORD_READ,
			"9f02283b6c9c07efc26bb9f2ac92e356", "cf782b88dd83549aadf1e984");
	}
}

static void test_record(void **state)
{
	struct record_keys keys = trace_keys();
	unsigned char data[50], record[128], want[128];
	struct record_state states[2];
	size_t len = unhex("1703030043a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b"
			   "9819a8a5b46b395bd54a9a20441e2b62974e1f5a6292a2977014bd1e3deae63aee"
			   "bb21694915e4",
		want);

	(void)state;
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)i;
	assert_int_equal(record_states_init(states, &keys), 0);
	assert_int_equal(
		record_seal(&states[RECORD_WRITE], RECORD_DATA, data, sizeof(data), 0, record),
		len);
	assert_memory_equal(record, want, len);
	assert_int_equal(len, sizeof(data) + record_overhead(keys.version, keys.cipher));
	/* another number, other bytes */
	assert_int_equal(
		record_seal(&states[RECORD_WRITE], RECORD_DATA, data, sizeof(data), 0, record),
		len);
	assert_memory_not_equal(record + 5, want + 5, len - 5);
}

/* Only the direction's own secret, and its numbers from 0. */
static void test_update(void **state)
{
	struct record_keys keys = trace_keys(), before = keys;
	unsigned char next[RECORD_SECRET_MAX];

	(void)state;
	keys.seq[RECORD_READ] = keys.seq[RECORD_WRITE] = 7;
	memcpy(next, keys.secret[0], sizeof(next));
	assert_int_equal(record_next_secret(keys.cipher, next, keys.secret_len), 0);
	assert_int_equal(record_keys_update(&keys, RECORD_WRITE), 0);
	assert_memory_equal(keys.secret[0], next, keys.secret_len);
	assert_memory_not_equal(keys.secret[0], before.secret[0], keys.secret_len);
	assert_memory_equal(keys.secret[1], before.secret[1], keys.secret_len);
	assert_int_equal(keys.seq[RECORD_WRITE], 0);
	assert_int_equal(keys.seq[RECORD_READ], 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_traffic_keys),
		cmocka_unit_test(test_record),
		cmocka_unit_test(test_update),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

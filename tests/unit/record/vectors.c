// SPDX-License-Identifier: Apache-2.0
/* Keys, nonces (REC-35) and records beside what another implementation has made: Python's HMAC for
 * keys; PyCryptodome and the `cryptography` package, which agree, for records. */
#include "unit.h"

#include "hex.h"
#include "record/record.h"

/* Bytes that nobody could mistake for others. */
static void fill(unsigned char *ret, size_t len, int first)
{
	for (size_t i = 0; i < len; i++)
		ret[i] = (unsigned char)((size_t)first + 7 * i);
}

/* ---- records ---- */

/* The key is fill(16 + cipher), the IV fill(200 + cipher). */
static const struct vector {
	enum record_version version;
	enum record_cipher cipher;
	uint64_t seq;
	unsigned char type;
	size_t padding;
	const char *data, *record;
} vectors[] = {
	{ RECORD_TLS_1_2, RECORD_AES_128_GCM, UINT64_C(0x0), 23, 0, "68656c6c6f",
		"170303001d0000000000000000ddb0c11f2614f5e4911f1594de908ced808b25"
		"b06d" },
	{ RECORD_TLS_1_2, RECORD_AES_128_GCM, UINT64_C(0x1), 21, 0, "0100",
		"150303001a00000000000000010d19806e9255e929cfd0403b8575058d7463" },
	{ RECORD_TLS_1_2, RECORD_AES_128_GCM, UINT64_C(0xabcdef), 22, 0,
		"0910171e252c333a41484f565d646b727980878e",
		"160303002c0000000000abcdef7b1594a8c8bb2d564d37aed00377615566f1b4"
		"e368b70a903ef2c8b0c5b695cfdf7d6e80" },
	{ RECORD_TLS_1_2, RECORD_AES_128_GCM, UINT64_C(0x123456), 23, 0,
		"4d545b626970777e858c939aa1a8afb6bdc4cbd2d9e0e7eef5fc030a11181f26"
		"2d",
		"170303003900000000001234569cc02b67fb2f2f840a8694fd58ab7e4aac64c8"
		"e9ed3aa164a79e2ddc17d6e71f348d268664a2d7853856a99e9334c72013" },
	{ RECORD_TLS_1_2, RECORD_AES_128_GCM, UINT64_C(0x2), 23, 0, "",
		"1703030018000000000000000283be362d09e77c70a44b7f6c52a0e6dc" },
	{ RECORD_TLS_1_2, RECORD_AES_256_GCM, UINT64_C(0x0), 23, 0, "68656c6c6f",
		"170303001d0000000000000000df1a50b18fb8542065e0b572fba9e54db5a08c"
		"a250" },
	{ RECORD_TLS_1_2, RECORD_AES_256_GCM, UINT64_C(0x1), 21, 0, "0100",
		"150303001a0000000000000001f07fa9dd40f54c9798fd1f608f812add226f" },
	{ RECORD_TLS_1_2, RECORD_AES_256_GCM, UINT64_C(0xabcdef), 22, 0,
		"0910171e252c333a41484f565d646b727980878e",
		"160303002c0000000000abcdef59a8ccf4f29120427873055bec980f89ac87a5"
		"3772479783b03ddf9d5067a885c62ca30c" },
	{ RECORD_TLS_1_2, RECORD_AES_256_GCM, UINT64_C(0x123456), 23, 0,
		"4d545b626970777e858c939aa1a8afb6bdc4cbd2d9e0e7eef5fc030a11181f26"
		"2d",
		"1703030039000000000012345678999d4bf6d2596999af1f7c1cc183db60199b"
		"a47bf2434b2fa1b4a71daf09f0285f871f67328acd30f05106858ce6ae1d" },
	{ RECORD_TLS_1_2, RECORD_AES_256_GCM, UINT64_C(0x2), 23, 0, "",
		"17030300180000000000000002b333994f172c1a05ba4bc9e207071717" },
	{ RECORD_TLS_1_2, RECORD_CHACHA20_POLY1305, UINT64_C(0x0), 23, 0, "68656c6c6f",
		"1703030015cca110995ebb6d5b9df989ba3c410f7955993cb216" },
	{ RECORD_TLS_1_2, RECORD_CHACHA20_POLY1305, UINT64_C(0x1), 21, 0, "0100",
		"15030300129d59a9ef660f9c752e255c1315da347bd705" },
	{ RECORD_TLS_1_2, RECORD_CHACHA20_POLY1305, UINT64_C(0xabcdef), 22, 0,
		"0910171e252c333a41484f565d646b727980878e",
		"160303002487a51843b4823259c2a72bc4430c9969a0b9771f8b6c37eb45f4d5"
		"8219c47d9ebc380711" },
	{ RECORD_TLS_1_2, RECORD_CHACHA20_POLY1305, UINT64_C(0x102030405060708), 23, 0,
		"4d545b626970777e858c939aa1a8afb6bdc4cbd2d9e0e7eef5fc030a11181f26"
		"2d",
		"1703030031b00d9864299795038011cdaeed3aeb0c54f14e0bb5e59df65f399c"
		"045c1e08398c3f553641d71d461b5dcb2c50d7a1a07e" },
	{ RECORD_TLS_1_2, RECORD_CHACHA20_POLY1305, UINT64_C(0x2), 23, 0, "",
		"170303001059bf5095170553ad2e4a16524ef79e9e" },
	{ RECORD_TLS_1_3, RECORD_AES_128_GCM, UINT64_C(0x0), 23, 0, "68656c6c6f",
		"170303001635c3a9a83c97717819466dba8f291fb57e794ec90720" },
	{ RECORD_TLS_1_3, RECORD_AES_128_GCM, UINT64_C(0x1), 21, 0, "0100",
		"1703030013417eda156fcfce320b55f3adc687c6c6af05c0" },
	{ RECORD_TLS_1_3, RECORD_AES_128_GCM, UINT64_C(0xabcdef), 22, 0,
		"0910171e252c333a41484f565d646b727980878e",
		"1703030025e61858ae6ba1fde7da7ce6b39eefd6cec3607ce4f6fef97938cc89"
		"f6c87a3b2520003c78d1" },
	{ RECORD_TLS_1_3, RECORD_AES_128_GCM, UINT64_C(0x123456), 23, 5,
		"4d545b626970777e858c939aa1a8afb6bdc4cbd2d9e0e7eef5fc030a11181f26"
		"2d",
		"17030300372a58cf0b17f9daac920f51311a5fa5a689334b5ee136755676e534"
		"82a6be856ebcf9246968b025cf78d8380af115c0a1ac564a3f54c886" },
	{ RECORD_TLS_1_3, RECORD_AES_128_GCM, UINT64_C(0x2), 23, 0, "",
		"17030300117b211ebadf7fbaedf38d9bc02e5f248480" },
	{ RECORD_TLS_1_3, RECORD_AES_256_GCM, UINT64_C(0x0), 23, 0, "68656c6c6f",
		"1703030016181cd2b7411420f968b75f7e256eb23f46efc80f8857" },
	{ RECORD_TLS_1_3, RECORD_AES_256_GCM, UINT64_C(0x1), 21, 0, "0100",
		"1703030013b6251851d9befe0975b844028001c9974c0b9f" },
	{ RECORD_TLS_1_3, RECORD_AES_256_GCM, UINT64_C(0xabcdef), 22, 0,
		"0910171e252c333a41484f565d646b727980878e",
		"17030300254319d83104e49c6f4e8cd1de8d80b6c3efadcc30e1d906b092980f"
		"6d95a6799dce9c1fa5a1" },
	{ RECORD_TLS_1_3, RECORD_AES_256_GCM, UINT64_C(0x123456), 23, 5,
		"4d545b626970777e858c939aa1a8afb6bdc4cbd2d9e0e7eef5fc030a11181f26"
		"2d",
		"17030300371f8c21f4e5c0c1065cc623a0e127943f32ceaab7689481a49ba7bb"
		"315bb0b4c7b015fa15c8ed49893ac4628a8cf041be49517d222b1691" },
	{ RECORD_TLS_1_3, RECORD_AES_256_GCM, UINT64_C(0x2), 23, 0, "",
		"1703030011e62e4e854bbbf6f109630122f430c7d6a9" },
	{ RECORD_TLS_1_3, RECORD_CHACHA20_POLY1305, UINT64_C(0x0), 23, 0, "68656c6c6f",
		"1703030016cca110995e8909f3c06e3e7aa0b8397d457e9ed30a2d" },
	{ RECORD_TLS_1_3, RECORD_CHACHA20_POLY1305, UINT64_C(0x1), 21, 0, "0100",
		"17030300139d591b548d2623dad4d7f8dd2e6aa301c9ad44" },
	{ RECORD_TLS_1_3, RECORD_CHACHA20_POLY1305, UINT64_C(0xabcdef), 22, 0,
		"0910171e252c333a41484f565d646b727980878e",
		"170303002587a51843b4823259c2a72bc4430c9969a0b9771f8242297a25b818"
		"5d0ceb91ff0255c9692a" },
	{ RECORD_TLS_1_3, RECORD_CHACHA20_POLY1305, UINT64_C(0x102030405060708), 23, 5,
		"4d545b626970777e858c939aa1a8afb6bdc4cbd2d9e0e7eef5fc030a11181f26"
		"2d",
		"1703030037b00d9864299795038011cdaeed3aeb0c54f14e0bb5e59df65f399c"
		"045c1e08398c2ad26120e851930027ee4474a70d2e5ba745e7164af2" },
	{ RECORD_TLS_1_3, RECORD_CHACHA20_POLY1305, UINT64_C(0x2), 23, 0, "",
		"17030300116225063624148c5d84a99da5459e5a4ff3" },
};

static struct record_state state_of(const struct vector *v, enum record_direction direction)
{
	struct record_state state = { .seq = v->seq,
		.version = (uint8_t)v->version,
		.cipher = (uint8_t)v->cipher,
		.direction = (uint8_t)direction };
	bool has_salt = v->version == RECORD_TLS_1_2 && v->cipher != RECORD_CHACHA20_POLY1305;

	fill(state.key, v->cipher == RECORD_AES_128_GCM ? 16 : 32, 16 + (int)v->cipher);
	fill(state.iv, has_salt ? 4 : 12, 200 + (int)v->cipher);
	return state;
}

static void test_sealing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct record_state write = state_of(v, RECORD_WRITE);
		unsigned char data[64], want[128], got[128];
		size_t len = unhex(v->data, data), n = unhex(v->record, want);

		assert_int_equal(record_seal(&write, v->type, data, len, v->padding, got), n);
		assert_memory_equal(got, want, n);
		assert_int_equal(write.seq, v->seq + 1);
		record_state_wipe(&write);
	}
}

static void test_opening(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		const struct vector *v = &vectors[i];
		struct record_state read = state_of(v, RECORD_READ);
		unsigned char data[64], record[128], got[128];
		size_t len = unhex(v->data, data), n = unhex(v->record, record);
		struct record_text text;

		assert_int_equal(record_length(&read, record), n);
		assert_int_equal(record_open(&read, record, n, got, &text), 0);
		assert_int_equal(text.type, v->type);
		assert_int_equal(text.len, len);
		assert_memory_equal(got, data, len);
		assert_int_equal(read.seq, v->seq + 1);
		record_state_wipe(&read);
	}
}

static void test_numbers(void **state)
{
	static const unsigned char want[] = { 0, 0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde };
	unsigned char got[8];

	(void)state;
	record_put_number(got, UINT64_C(0x123456789abcde));
	assert_memory_equal(got, want, sizeof(want));
}

/* ---- keys ---- */

/* Master secret fill(1) of 48 bytes, randoms fill(100) and fill(50): RFC 5246 section 6.3. */
static const struct {
	enum record_cipher cipher;
	int side; /* 0 the client's */
	const char *key, *iv;
} key_blocks[] = {
	{ RECORD_AES_128_GCM, 0, "1b30ac6a2faf2793b669aa94d8fd8b9c", "836314e1" },
	{ RECORD_AES_128_GCM, 1, "bdaf989645a7bda934f8436fac0943ca", "2522c261" },
	{ RECORD_AES_256_GCM, 0, "6d5e8930b989c5c9ae2ba5df682ce68adddf6d8efb8f966d39f79b16bc6c4772",
		"baf801f9" },
	{ RECORD_AES_256_GCM, 1, "921c99a9ee162388c019f4d4db72bdc76c1166e80b05b6fc0b273c02e73cb9eb",
		"e22344ca" },
	{ RECORD_CHACHA20_POLY1305, 0,
		"1b30ac6a2faf2793b669aa94d8fd8b9cbdaf989645a7bda934f8436fac0943ca",
		"23f82666cfbcffac1ffee427" },
	{ RECORD_CHACHA20_POLY1305, 1,
		"836314e12522c26126e61f8b1c0d874af0630909ed4c6bd20153da70c1b72329",
		"ac27f99d5b21b0152e6063aa" },
};

static void test_key_blocks(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(key_blocks); i++) {
		struct record_keys keys = {
			.version = RECORD_TLS_1_2, .cipher = key_blocks[i].cipher, .secret_len = 48
		};

		fill(keys.secret[0], 48, 1);
		fill(keys.random[0], 32, 100);
		fill(keys.random[1], 32, 50);
		for (int server = 0; server < 2; server++) {
			int d = key_blocks[i].side == server ? RECORD_WRITE : RECORD_READ;
			struct record_state states[2];
			unsigned char want[32];

			keys.is_server = server;
			assert_int_equal(record_states_init(states, &keys), 0);
			assert_memory_equal(states[d].key, want, unhex(key_blocks[i].key, want));
			assert_memory_equal(states[d].iv, want, unhex(key_blocks[i].iv, want));
		}
	}
}

/* From fill(3) on, over two changes of keys: RFC 8446 sections 7.2 and 7.3. */
static const struct {
	enum record_cipher cipher;
	int changes;
	const char *secret, *key, *iv;
} generations[] = {
	{ RECORD_AES_128_GCM, 0, "030a11181f262d343b424950575e656c737a81888f969da4abb2b9c0c7ced5dc",
		"f19d4713ae9208920d792915006e07d7", "3578e8c2ea91353509a3d18f" },
	{ RECORD_AES_128_GCM, 1, "6b77c5ae24b12651a4fac1c8c98463aa57c8125a9ac47de638d8d9d71261d29f",
		"9d9365a3266fe51a5e341958ee13adfe", "1ccd5621773ccb5b904c5287" },
	{ RECORD_AES_128_GCM, 2, "e51fa03f2bb8ce8d7764c28f63f02e8a3e64a6d1e435843f8f1d54c6ed48b386",
		"6f00ab5eb3d78c7382f0a8b156417a08", "d67a5171d934669d204d998d" },
	{ RECORD_AES_256_GCM, 0,
		"030a11181f262d343b424950575e656c737a81888f969da4abb2b9c0c7ced5dce3eaf1f8ff060d141b"
		"222930373e454c",
		"93e6e59ef9595a628df7aa164ccfe91dd735e9960fb065f7ef8ace064fec8110",
		"56cb24b5cf79fcc221ef63fc" },
	{ RECORD_AES_256_GCM, 1,
		"c11e815764ab846d271fd2aca0eef96df4fe009645b6986cb08341e1ab762fabf3834241e8597a14ac"
		"beab3fa0d46387",
		"55682730bf3e092bb315d890feea06e13b4904e40bc1f0ebbba5b68ab9caf18d",
		"f7face3acb410cbd3a56f02f" },
	{ RECORD_AES_256_GCM, 2,
		"be58ac1659c6471308f24a62310d68ca8728984e7d6247c39faa6b4b06fcce27b0ee25d28260ccab14"
		"32e599ba159604",
		"b7654816b3475a87d554e11bf28918dc7dcd49ff0eb115128a3d6a46a9eaccf6",
		"21b2d58b54f98112f2e53f40" },
	{ RECORD_CHACHA20_POLY1305, 0,
		"030a11181f262d343b424950575e656c737a81888f969da4abb2b9c0c7ced5dc",
		"9f690586b437c6259a10ff4b127e00c3d5ff80cf80e824d16c0269fa17f475ce",
		"3578e8c2ea91353509a3d18f" },
	{ RECORD_CHACHA20_POLY1305, 1,
		"6b77c5ae24b12651a4fac1c8c98463aa57c8125a9ac47de638d8d9d71261d29f",
		"58fc9f8404b26903fc8a3ee4a83cd521774a07b2df84d4178e163f11e7b6c22a",
		"1ccd5621773ccb5b904c5287" },
	{ RECORD_CHACHA20_POLY1305, 2,
		"e51fa03f2bb8ce8d7764c28f63f02e8a3e64a6d1e435843f8f1d54c6ed48b386",
		"6fde50fbf181800977ccdf5de8084b41f54e41348ab931c820a4e0690ea4659d",
		"d67a5171d934669d204d998d" },
};

static void expect_state(const struct record_state *state, size_t i)
{
	unsigned char want[RECORD_SECRET_MAX];
	size_t n = unhex(generations[i].key, want);

	assert_memory_equal(state->key, want, n);
	n = unhex(generations[i].iv, want);
	assert_memory_equal(state->iv, want, n);
}

static void test_changes_of_keys(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(generations); i++) {
		size_t len = generations[i].cipher == RECORD_AES_256_GCM ? 48 : 32;
		struct record_keys keys = { .version = RECORD_TLS_1_3,
			.cipher = generations[i].cipher,
			.secret_len = len };
		unsigned char secret[RECORD_SECRET_MAX], want[RECORD_SECRET_MAX];
		struct record_state states[2];

		fill(keys.secret[0], len, 3);
		memcpy(secret, keys.secret[0], len);
		assert_int_equal(record_states_init(states, &keys), 0);
		for (int k = 0; k < generations[i].changes; k++) {
			states[RECORD_WRITE].seq = 99;
			assert_int_equal(record_state_update(&states[RECORD_WRITE], secret), 0);
			assert_int_equal(states[RECORD_WRITE].seq, 0);
			assert_int_equal(record_keys_update(&keys, RECORD_WRITE), 0);
		}
		assert_int_equal(len, unhex(generations[i].secret, want));
		assert_memory_equal(secret, want, len);
		assert_memory_equal(keys.secret[0], want, len);
		expect_state(&states[RECORD_WRITE], i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sealing),
		cmocka_unit_test(test_opening),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_key_blocks),
		cmocka_unit_test(test_changes_of_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

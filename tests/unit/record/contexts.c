// SPDX-License-Identifier: Apache-2.0
/* A thread's contexts: whose key one has is never in doubt, and a key that is done with is gone. */
#include "unit.h"

#include "record/contexts.h"

#include <pthread.h>

/* More than a thread has contexts for. */
#define MANY 100

struct pair {
	struct record_state write, read;
	unsigned char secret[RECORD_SECRET_MAX];
};

static void make_pair(struct pair *ret_pair, int cipher, unsigned char which)
{
	struct record_keys keys = { .version = RECORD_TLS_1_3,
		.cipher = (enum record_cipher)cipher,
		.secret_len = cipher == RECORD_AES_256_GCM ? 48 : 32 };
	struct record_state states[2];

	memset(keys.secret[0], which, keys.secret_len);
	memcpy(ret_pair->secret, keys.secret[0], sizeof(ret_pair->secret));
	assert_int_equal(record_states_init(states, &keys), 0);
	ret_pair->write = states[RECORD_WRITE];
	keys.is_server = true;
	assert_int_equal(record_states_init(states, &keys), 0);
	ret_pair->read = states[RECORD_READ];
}

static void say(struct record_state *write, struct record_state *read)
{
	unsigned char record[64], text[64];
	struct record_text got;
	int n = record_seal(write, RECORD_DATA, "hello", 5, 0, record);

	assert_true(n > 0);
	assert_int_equal(record_open(read, record, (size_t)n, text, &got), 0);
	assert_int_equal(got.len, 5);
	assert_memory_equal(text, "hello", 5);
}

/* In turns, and in other turns, so that most find their place taken. */
static void test_more_states_than_contexts(void **state)
{
	static struct pair pairs[MANY];

	(void)state;
	for (int c = 0; c < RECORD_CIPHERS; c++) {
		for (int i = 0; i < MANY; i++)
			make_pair(&pairs[i], c, (unsigned char)(i + 1));
		for (int i = 0; i < 10 * MANY; i++) {
			struct pair *pair = &pairs[i * 37 % MANY];

			say(&pair->write, &pair->read);
			if (i % 3 == 0)
				say(&pair->write, &pair->read);
		}
		for (int i = 0; i < MANY; i++) {
			record_state_wipe(&pairs[i].write);
			record_state_wipe(&pairs[i].read);
		}
	}
}

/* A state that has moved goes on; the place that it had is not another one's by that. */
static void test_a_copy_goes_on(void **state)
{
	(void)state;
	for (int c = 0; c < RECORD_CIPHERS; c++) {
		struct pair first, second, moved;

		make_pair(&first, c, 1);
		make_pair(&second, c, 2);
		say(&first.write, &first.read);
		moved = first;
		say(&moved.write, &moved.read);
		say(&second.write, &second.read);
		say(&moved.write, &moved.read);
		/* other keys for the copy: what it was copied from keeps its own */
		first = moved;
		assert_int_equal(record_state_update(&moved.write, moved.secret), 0);
		assert_int_equal(moved.write.seq, 0);
		assert_int_equal(moved.write.keyed, 0);
		say(&second.write, &second.read);
		say(&first.write, &first.read);
		record_state_wipe(&first.write);
		record_state_wipe(&second.write);
		assert_int_equal(first.write.keyed, 0);
	}
}

/* REC-36: of a wiped state nothing is left, neither there nor in its context. */
static void test_a_key_that_is_done_with(void **state)
{
	static const struct record_state zero;

	(void)state;
	for (int c = 0; c < RECORD_CIPHERS; c++) {
		unsigned char nonce[12] = { 0 }, with[16], without[16], text[16] = { 0 };
		struct pair pair;
		struct record_aead *aead;

		make_pair(&pair, c, 3);
		aead = record_context(&pair.write);
		assert_non_null(aead);
		assert_ptr_equal(record_context(&pair.write), aead);
		assert_int_equal(record_aead_begin(aead, nonce, NULL), 0);
		assert_int_equal(record_aead_update(aead, with, text, sizeof(text)), 0);
		record_state_wipe(&pair.write);
		assert_memory_equal(&pair.write, &zero, sizeof(zero));
		assert_int_equal(record_aead_begin(aead, nonce, NULL), 0);
		assert_int_equal(record_aead_update(aead, without, text, sizeof(text)), 0);
		assert_memory_not_equal(with, without, sizeof(with));
		record_state_wipe(&pair.write); /* twice does no harm */
	}
}

static void *say_in_thread(void *arg)
{
	struct pair *pairs = arg;

	for (int i = 0; i < MANY; i++)
		say(&pairs[i].write, &pairs[i].read);
	return NULL;
}

/* States go from thread to thread, and each thread has contexts of its own. */
static void test_states_move_between_threads(void **state)
{
	static struct pair pairs[2][MANY];
	pthread_t threads[2];

	(void)state;
	for (int i = 0; i < MANY; i++) {
		make_pair(&pairs[0][i], i % RECORD_CIPHERS, (unsigned char)i);
		make_pair(&pairs[1][i], i % RECORD_CIPHERS, (unsigned char)(i + MANY));
	}
	for (int round = 0; round < 4; round++) {
		for (int t = 0; t < 2; t++)
			assert_int_equal(pthread_create(&threads[t], NULL, say_in_thread,
						 pairs[(t + round) % 2]),
				0);
		for (int t = 0; t < 2; t++)
			assert_int_equal(pthread_join(threads[t], NULL), 0);
		say_in_thread(pairs[0]);
	}
}

static void test_hmac(void **state)
{
	/* RFC 4231 section 4.3 */
	static const unsigned char sha256[] = { 0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e };
	static const unsigned char sha384[] = { 0xaf, 0x45, 0xd2, 0xe3, 0x76, 0x48, 0x40, 0x31 };
	const unsigned char *data = (const unsigned char *)"what do ya want for nothing?";
	unsigned char got[EVP_MAX_MD_SIZE];

	(void)state;
	for (int c = 0; c < RECORD_CIPHERS; c++) {
		for (int i = 0; i < 2; i++) {
			assert_int_equal(record_hmac((enum record_cipher)c,
						 (const unsigned char *)"Jefe", 4, data, 28, got),
				0);
			assert_memory_equal(got, c == RECORD_AES_256_GCM ? sha384 : sha256, 8);
			record_hmac_forget((enum record_cipher)c);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_more_states_than_contexts),
		cmocka_unit_test(test_a_copy_goes_on),
		cmocka_unit_test(test_a_key_that_is_done_with),
		cmocka_unit_test(test_states_move_between_threads),
		cmocka_unit_test(test_hmac),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

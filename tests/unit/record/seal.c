// SPDX-License-Identifier: Apache-2.0
/* What has been sealed opens, and nothing else does. */
#include "unit.h"

#include "record/record.h"

#include <errno.h>

#define ROOM 64

/* The writer's state, and the one that opens what it writes. */
struct fixture {
	struct record_keys keys;
	struct record_state write, read;
};

static struct fixture setup(int version, int cipher)
{
	struct fixture f = { .keys = { .version = (enum record_version)version,
				     .cipher = (enum record_cipher)cipher,
				     .secret_len = 48 } };
	struct record_state states[2];

	for (size_t i = 0; i < RECORD_SECRET_MAX; i++)
		f.keys.secret[0][i] = (unsigned char)(i * 7 + 1);
	assert_int_equal(record_states_init(states, &f.keys), 0);
	f.write = states[RECORD_WRITE];
	f.keys.is_server = true;
	assert_int_equal(record_states_init(states, &f.keys), 0);
	f.read = states[RECORD_READ];
	return f;
}

/* With a state of its own, so that the fixture's stays where it is; in memory that ends where the
 * text may. */
static int open_at(const struct fixture *f, uint64_t seq, const unsigned char *record, size_t len,
	unsigned char **ret_data, struct record_text *ret_text)
{
	struct record_state read = f->read;
	size_t room = len > RECORD_HEADER_BYTES ? len - RECORD_HEADER_BYTES : 0;
	unsigned char *data = malloc(room + !room);
	int r;

	assert_non_null(data);
	read.seq = seq;
	memset(data, 0xee, room);
	r = record_open(&read, record, len, data, ret_text);
	assert_int_equal(read.seq, r == 0 ? seq + 1 : seq);
	for (size_t i = 0; r < 0 && i < room; i++)
		assert_true(data[i] == 0 || data[i] == 0xee); /* nothing of it is left */
	if (r == 0 && ret_data)
		*ret_data = data;
	else
		free(data);
	return r;
}

/* Each version with each cipher. */
static void for_each_kind(void (*fn)(const struct fixture *f))
{
	for (int v = 0; v < RECORD_VERSIONS; v++) {
		for (int c = 0; c < RECORD_CIPHERS; c++) {
			struct fixture f = setup(v, c);

			fn(&f);
		}
	}
}

/* A record in memory that ends where the record does. Freed by the caller. */
static unsigned char *make_record(const struct fixture *f, uint64_t seq, unsigned char type,
	const void *data, size_t len, size_t padding, size_t *ret_len)
{
	unsigned char *room = malloc(len + padding + ROOM), *record;
	struct record_state write = f->write;
	int n;

	assert_non_null(room);
	write.seq = seq;
	n = record_seal(&write, type, data, len, padding, room);
	assert_int_equal(write.seq, seq + 1);
	assert_true(n > 0);
	record = malloc((size_t)n);
	assert_non_null(record);
	memcpy(record, room, (size_t)n);
	free(room);
	*ret_len = (size_t)n;
	return record;
}

static void expect_text(const struct fixture *f, const void *data, size_t len, size_t padding)
{
	struct record_text text;
	size_t n;
	unsigned char *record = make_record(f, 77, RECORD_HANDSHAKE, data, len, padding, &n);
	unsigned char *got = NULL;

	assert_int_equal(n, len + padding + record_overhead(f->keys.version, f->keys.cipher));
	assert_int_equal(open_at(f, 77, record, n, &got, &text), 0);
	assert_int_equal(text.type, RECORD_HANDSHAKE);
	assert_int_equal(text.len, len);
	assert_memory_equal(got, data, len);
	free(got);
	free(record);
}

static void open_lengths(const struct fixture *f)
{
	static const size_t lengths[] = { 0, 1, 2, 15, 16, 17, 300, 1023, 1024, 1025,
		RECORD_MAX - 1, RECORD_MAX };
	static unsigned char data[RECORD_MAX];
	bool may_pad = f->keys.version == RECORD_TLS_1_3;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 5); /* zeros at the end of some */
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		expect_text(f, data, lengths[i], 0);
		if (may_pad && lengths[i] <= 300) {
			expect_text(f, data, lengths[i], 1);
			expect_text(f, data, lengths[i], RECORD_MAX - lengths[i]);
		}
	}
}

static void test_what_was_sealed_opens(void **state)
{
	(void)state;
	for_each_kind(open_lengths);
}

static void change_each_bit(const struct fixture *f)
{
	size_t len;
	unsigned char *record = make_record(f, 1, RECORD_DATA, "hello", 5, 0, &len);
	unsigned char *copy = malloc(len);
	struct record_text text;

	assert_non_null(copy);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		memcpy(copy, record, len);
		copy[bit / 8] ^= (unsigned char)(1 << bit % 8);
		assert_true(open_at(f, 1, copy, len, NULL, &text) < 0);
	}
	assert_int_equal(open_at(f, 1, record, len, NULL, &text), 0);
	free(copy);
	free(record);
}

static void test_every_bit_counts(void **state)
{
	(void)state;
	for_each_kind(change_each_bit);
}

/* Another number, another key, the other direction's. */
static void open_with_others(const struct fixture *f)
{
	struct fixture other = *f;
	struct record_text text;
	size_t len;
	unsigned char *record;

	for (int i = 0; i < 3; i++) {
		record = make_record(f, 1, RECORD_DATA, "hello", 5, 0, &len);
		other = *f;
		if (i == 1)
			other.read.key[0] ^= 1;
		if (i == 2) {
			struct record_state states[2];

			assert_int_equal(record_states_init(states, &other.keys), 0);
			memcpy(other.read.key, states[RECORD_WRITE].key, sizeof(other.read.key));
			memcpy(other.read.iv, states[RECORD_WRITE].iv, sizeof(other.read.iv));
		}
		assert_int_equal(
			open_at(&other, i == 0 ? 2 : 1, record, len, NULL, &text), -EBADMSG);
		free(record);
	}
}

static void test_only_its_key_and_number_open_it(void **state)
{
	(void)state;
	for_each_kind(open_with_others);
}

/* Lengths that are not the record's, and every piece of it. */
static void open_pieces(const struct fixture *f)
{
	struct record_text text;
	size_t len;
	unsigned char *record = make_record(f, 1, RECORD_DATA, "hello", 5, 0, &len);

	for (size_t n = 0; n < len; n++) {
		unsigned char *piece = malloc(n + !n);

		assert_non_null(piece);
		memcpy(piece, record, n);
		assert_int_equal(open_at(f, 1, piece, n, NULL, &text), -EPROTO);
		if (n >= 5) { /* a header that fits the piece */
			piece[3] = 0;
			piece[4] = (unsigned char)(n - 5);
			assert_true(open_at(f, 1, piece, n, NULL, &text) < 0);
		}
		free(piece);
	}
	free(record);
}

static void test_pieces_do_not_open(void **state)
{
	(void)state;
	for_each_kind(open_pieces);
}

static void open_too_long(const struct fixture *f)
{
	static unsigned char data[RECORD_MAX + 1];
	struct record_text text;
	size_t len;
	unsigned char *record;

	memset(data, 'x', sizeof(data));
	record = make_record(f, 1, RECORD_DATA, data, sizeof(data), 0, &len);
	assert_int_equal(open_at(f, 1, record, len, NULL, &text), -EMSGSIZE);
	free(record);
}

static void test_more_than_a_record_holds(void **state)
{
	(void)state;
	for_each_kind(open_too_long);
}

/* RFC 8446 section 5.4: nothing but zeros; and a type outside that is not data. */
static void test_no_content_type(void **state)
{
	static const unsigned char zeros[40];

	(void)state;
	for (int c = 0; c < RECORD_CIPHERS; c++) {
		struct fixture f = setup(RECORD_TLS_1_3, c);
		struct record_text text;
		size_t len;
		unsigned char *record = make_record(&f, 1, 0, zeros, sizeof(zeros), 0, &len);

		assert_int_equal(open_at(&f, 1, record, len, NULL, &text), -EPROTO);
		free(record);
		record = make_record(&f, 1, RECORD_DATA, "hello", 5, 0, &len);
		record[0] = RECORD_HANDSHAKE;
		assert_int_equal(open_at(&f, 1, record, len, NULL, &text), -EPROTO);
		free(record);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_was_sealed_opens),
		cmocka_unit_test(test_every_bit_counts),
		cmocka_unit_test(test_only_its_key_and_number_open_it),
		cmocka_unit_test(test_pieces_do_not_open),
		cmocka_unit_test(test_more_than_a_record_holds),
		cmocka_unit_test(test_no_content_type),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

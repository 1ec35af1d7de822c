// SPDX-License-Identifier: Apache-2.0
/* What a peer may not send, and what of its records is delivered before it (REC-30, REC-31). */
#include "unit/records_pair.h"

/* In one segment with what is good before it. */
static void put_behind(struct fixture *f, const char *good, const void *bad, size_t len)
{
	unsigned char out[2 * RECORD_BYTES_MAX];
	size_t n = make_record(f, RECORD_DATA, good, strlen(good), 0, out);

	memcpy(out + n, bad, len);
	send_raw(f, out, n + len);
}

static int alert_of_flip(const struct fixture *f, const unsigned char *record, size_t len)
{
	size_t body = (size_t)record[3] << 8 | record[4];

	if (record[1] != 3 || record[2] != 3)
		return RECORD_UNEXPECTED_MESSAGE;
	if (f->is_13 ? record[0] != RECORD_DATA
		     : record[0] < RECORD_ALERT || record[0] > RECORD_DATA)
		return RECORD_UNEXPECTED_MESSAGE;
	if (body > RECORD_MAX + (f->is_13 ? 256u : 2048u))
		return RECORD_RECORD_OVERFLOW;
	return body + RECORD_HEADER_BYTES > len ? -1 : RECORD_BAD_RECORD_MAC;
}

/* Near, as good as new, is sent a record with one bit changed behind a good one. */
static void flip(const struct kind *kind, bool server, size_t bit, size_t *ret_len)
{
	unsigned char both[128], *bad;
	struct fixture f;
	int alert;

	setup(&f, kind, server);
	by_hand(&f);
	bad = both + make_record(&f, RECORD_DATA, "first", 5, 0, both);
	*ret_len = make_record(&f, RECORD_DATA, "hello", 5, 0, bad);
	bad[bit / 8] ^= (unsigned char)(1 << bit % 8);
	send_raw(&f, both, (size_t)(bad - both) + *ret_len);
	expect_text(&f, "first");
	alert = alert_of_flip(&f, bad, *ret_len);
	if (alert >= 0) {
		expect_refused(&f, alert);
	} else { /* it waits for more, which does not come */
		char data[64];

		expect_nothing(&f);
		assert_int_equal(shutdown(f.far.fd, SHUT_WR), 0);
		wait_for(&f.near, POLLIN);
		assert_int_equal(take(&f, data, sizeof(data)), -ECONNABORTED);
	}
	teardown(&f);
}

static void test_every_bit_of_a_record(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		size_t len = RECORD_HEADER_BYTES;

		for (size_t bit = 0; bit < 8 * len; bit++)
			flip(&kinds[i], bit % 2, bit, &len);
	}
}

static void cut_anywhere(struct fixture *f)
{
	unsigned char records[256];
	size_t len;

	by_hand(f);
	len = make_record(f, RECORD_DATA, "first", 5, 0, records);
	for (size_t at = 0; at < len; at++) {
		expect_nothing(f);
		send_raw(f, records + at, 1);
	}
	expect_text(f, "first");
	for (size_t cut = 1;; cut++) {
		len = make_record(f, RECORD_DATA, "one", 3, 0, records);
		len += make_record(f, RECORD_DATA, "two", 3, 0, records + len);
		if (cut >= len)
			break;
		send_raw(f, records, cut);
		if (cut < len / 2)
			expect_nothing(f);
		else
			expect_text(f, "one");
		send_raw(f, records + cut, len - cut);
		expect_text(f, cut < len / 2 ? "onetwo" : "two");
	}
}

static void test_records_in_pieces(void **state)
{
	(void)state;
	for_each_kind(cut_anywhere);
}

/* The socket ends within a record, at each place. */
static void test_a_record_that_ends_too_early(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i += 3) {
		size_t len = RECORD_HEADER_BYTES;

		for (size_t cut = 0; cut < len; cut++) {
			unsigned char record[64];
			struct fixture f;
			char data[64];

			setup(&f, &kinds[i], cut % 2);
			by_hand(&f);
			put(&f, RECORD_DATA, "first", 5, 0);
			len = make_record(&f, RECORD_DATA, "hello", 5, 0, record);
			if (cut)
				send_raw(&f, record, cut);
			assert_int_equal(shutdown(f.far.fd, SHUT_WR), 0);
			expect_text(&f, "first");
			assert_int_equal(take(&f, data, sizeof(data)), -ECONNABORTED);
			assert_int_equal(take(&f, data, sizeof(data)), -ECONNABORTED);
			teardown(&f);
		}
	}
}

static void double_it(struct fixture *f)
{
	unsigned char record[64];
	size_t len;

	by_hand(f);
	len = make_record(f, RECORD_DATA, "hello", 5, 0, record);
	send_raw(f, record, len);
	expect_text(f, "hello");
	put(f, RECORD_DATA, "more", 4, 0);
	expect_text(f, "more");
	put_behind(f, "good", record, len); /* long after */
	expect_text(f, "good");
	expect_refused(f, RECORD_BAD_RECORD_MAC);
	assert_string_equal(tls_records_error(&f->near), "bad record mac");
}

static void double_at_once(struct fixture *f)
{
	unsigned char twice[256];
	size_t len;

	by_hand(f);
	len = make_record(f, RECORD_DATA, "hello", 5, 0, twice);
	memcpy(twice + len, twice, len);
	send_raw(f, twice, 2 * len);
	expect_text(f, "hello");
	expect_refused(f, RECORD_BAD_RECORD_MAC);
}

static void swap_two(struct fixture *f)
{
	unsigned char first[64], both[128];
	size_t len, n;

	by_hand(f);
	len = make_record(f, RECORD_DATA, "first", 5, 0, first);
	n = make_record(f, RECORD_DATA, "second", 6, 0, both);
	memcpy(both + n, first, len);
	send_raw(f, both, n + len);
	expect_refused(f, RECORD_BAD_RECORD_MAC);
}

static void leave_one_out(struct fixture *f)
{
	unsigned char record[64];

	by_hand(f);
	put(f, RECORD_DATA, "first", 5, 0);
	make_record(f, RECORD_DATA, "lost", 4, 0, record);
	put(f, RECORD_DATA, "third", 5, 0);
	expect_text(f, "first");
	expect_refused(f, RECORD_BAD_RECORD_MAC);
}

/* What near itself has sent comes back. */
static void reflect(struct fixture *f)
{
	unsigned char record[256];
	ssize_t n;

	by_hand(f);
	assert_int_equal(stream_write(&f->near, "hello", 5), 5);
	wait_for(&f->far, POLLIN);
	n = recv(f->far.fd, record, sizeof(record), 0);
	assert_true(n > 0);
	f->hand.states[RECORD_READ].seq++;
	send_raw(f, record, (size_t)n);
	expect_refused(f, RECORD_BAD_RECORD_MAC);
}

static void test_each_record_once_and_in_its_place(void **state)
{
	(void)state;
	for_each_kind(double_it);
	for_each_kind(double_at_once);
	for_each_kind(swap_two);
	for_each_kind(leave_one_out);
	for_each_kind(reflect);
}

/* A record too short for its tag looks like one with a wrong tag. */
static void too_short(struct fixture *f)
{
	const unsigned char empty[] = { RECORD_DATA, 3, 3, 0, 0 };
	unsigned char brief[] = { RECORD_DATA, 3, 3, 0, 15, [19] = 0 };

	by_hand(f);
	put_behind(f, "good", f->near_is_server ? empty : brief,
		f->near_is_server ? sizeof(empty) : sizeof(brief));
	expect_text(f, "good");
	expect_refused(f, RECORD_BAD_RECORD_MAC);
}

static void test_too_short_for_a_tag(void **state)
{
	(void)state;
	for_each_kind(too_short);
}

/* The header tells, before anything else is there. */
static void too_long(struct fixture *f)
{
	unsigned body = RECORD_MAX + (f->is_13 ? 256 : 2048) + 1;
	const unsigned char header[] = { RECORD_DATA, 3, 3, (unsigned char)(body >> 8),
		(unsigned char)body };

	by_hand(f);
	put_behind(f, "good", header, sizeof(header));
	expect_text(f, "good");
	expect_refused(f, RECORD_RECORD_OVERFLOW);
	assert_string_equal(tls_records_error(&f->near), "record overflow");
}

/* As long as it may be, it is waited for. */
static void longest(struct fixture *f)
{
	unsigned body = RECORD_MAX + (f->is_13 ? 256 : 2048);
	unsigned char *record = calloc(1, RECORD_HEADER_BYTES + body);

	assert_non_null(record);
	memcpy(record,
		(unsigned char[]){
			RECORD_DATA, 3, 3, (unsigned char)(body >> 8), (unsigned char)body },
		RECORD_HEADER_BYTES);
	by_hand(f);
	send_raw(f, record, RECORD_HEADER_BYTES + body - 1);
	expect_nothing(f);
	send_raw(f, record, 1);
	expect_refused(f, RECORD_BAD_RECORD_MAC);
	free(record);
}

/* Its text is, and its tag is right. */
static void too_much_text(struct fixture *f)
{
	static const char data[RECORD_MAX + 1];

	by_hand(f);
	put(f, RECORD_DATA, "good", 4, 0);
	put(f, RECORD_DATA, data, sizeof(data), 0);
	expect_text(f, "good");
	expect_refused(f, RECORD_RECORD_OVERFLOW);
}

static void test_too_long(void **state)
{
	(void)state;
	for_each_kind(too_long);
	for_each_kind(longest);
	for_each_kind(too_much_text);
}

/* RFC 8446 section 5.4. */
static void only_zeros(struct fixture *f)
{
	static const char zeros[40];

	if (!f->is_13)
		return;
	by_hand(f);
	put(f, RECORD_DATA, "good", 4, 0);
	put(f, 0, zeros, f->near_is_server ? sizeof(zeros) : 0, 0);
	expect_text(f, "good");
	expect_refused(f, RECORD_UNEXPECTED_MESSAGE);
	assert_string_equal(tls_records_error(&f->near), "unexpected message");
}

static void test_nothing_but_zeros(void **state)
{
	(void)state;
	for_each_kind(only_zeros);
}

/* Types inside (TLS 1.3) or sealed outside (TLS 1.2) that nobody sends now. */
static void test_types(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i += 2) {
		for (int type = 0; type < 256; type++) {
			bool sealed = kinds[i].version == TLS1_3_VERSION && type != 0;
			struct fixture f;

			if ((type >= RECORD_ALERT && type <= RECORD_DATA) ||
				(type > 30 && type % 16))
				continue;
			setup(&f, &kinds[i], type % 2);
			by_hand(&f);
			put(&f, RECORD_DATA, "good", 4, 0);
			put(&f, (unsigned char)type, "\1", sealed, 0);
			expect_text(&f, "good");
			expect_refused(&f, RECORD_UNEXPECTED_MESSAGE);
			teardown(&f);
		}
	}
}

/* Outside, in the clear or not. */
static void test_outer_types(void **state)
{
	static const struct {
		unsigned char record[16];
		size_t len;
		int alert_12;
	} clear[] = {
		{ { 20, 3, 3, 0, 1, 1 }, 6, RECORD_UNEXPECTED_MESSAGE },
		{ { 21, 3, 3, 0, 2, 1, 0 }, 7, RECORD_BAD_RECORD_MAC }, /* close_notify */
		{ { 21, 3, 3, 0, 2, 2, 40 }, 7, RECORD_BAD_RECORD_MAC },
		{ { 22, 3, 3, 0, 4, 0, 0, 0, 0 }, 9, RECORD_BAD_RECORD_MAC },
		{ { 24, 3, 3, 0, 3, 1, 0, 1 }, 8, RECORD_UNEXPECTED_MESSAGE },
		{ "A LOGOUT\r\n", 10, RECORD_UNEXPECTED_MESSAGE },
		{ { 23, 3, 1, 0, 16 }, 5, RECORD_UNEXPECTED_MESSAGE },
		{ { 0x80, 0x2e, 1, 3, 3 }, 5, RECORD_UNEXPECTED_MESSAGE },
	};

	(void)state;
	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		for (size_t i = 0; i < ARRAY_SIZE(clear); i++) {
			struct fixture f;

			setup(&f, &kinds[k], i % 2);
			by_hand(&f);
			put_behind(&f, "good", clear[i].record, clear[i].len);
			expect_text(&f, "good");
			expect_refused(&f, f.is_13 ? RECORD_UNEXPECTED_MESSAGE : clear[i].alert_12);
			teardown(&f);
		}
	}
}

/* Whatever is good behind it. */
static void nothing_behind(struct fixture *f)
{
	unsigned char out[256];
	char data[64];
	size_t n;

	by_hand(f);
	n = make_record(f, RECORD_DATA, "first", 5, 0, out);
	n += make_record(f, RECORD_DATA, "hello", 5, 0, out + n);
	out[n - 1] ^= 1;
	f->hand.states[RECORD_WRITE].seq--; /* as if it had not been there */
	n += make_record(f, RECORD_DATA, "third", 5, 0, out + n);
	send_raw(f, out, n);
	expect_text(f, "first");
	assert_true(stream_pending(&f->near)); /* the reader is to hear of it */
	expect_refused(f, RECORD_BAD_RECORD_MAC);
	put(f, RECORD_DATA, "fourth", 6, 0);
	assert_int_equal(take(f, data, sizeof(data)), -EPROTO);
	expect_silence(f);
}

static void test_nothing_is_read_behind_a_bad_record(void **state)
{
	(void)state;
	for_each_kind(nothing_behind);
}

/* A reader with little room: what was opened before it is delivered all the same. */
static void little_room(struct fixture *f)
{
	unsigned char out[256];
	char data[4];
	size_t n;

	by_hand(f);
	n = make_record(f, RECORD_DATA, "hello", 5, 0, out);
	n += make_record(f, RECORD_DATA, "world", 5, 0, out + n);
	out[n - 1] ^= 1;
	send_raw(f, out, n);
	wait_for(&f->near, POLLIN);
	assert_int_equal(stream_read(&f->near, data, 4), 4);
	assert_memory_equal(data, "hell", 4);
	assert_true(stream_pending(&f->near));
	assert_int_equal(stream_read(&f->near, data, 4), 1);
	assert_memory_equal(data, "o", 1);
	assert_true(stream_pending(&f->near));
	expect_refused(f, RECORD_BAD_RECORD_MAC);
}

static void test_a_bad_record_and_little_room(void **state)
{
	(void)state;
	for_each_kind(little_room);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_bit_of_a_record),
		cmocka_unit_test(test_records_in_pieces),
		cmocka_unit_test(test_a_record_that_ends_too_early),
		cmocka_unit_test(test_each_record_once_and_in_its_place),
		cmocka_unit_test(test_too_short_for_a_tag),
		cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_nothing_but_zeros),
		cmocka_unit_test(test_types),
		cmocka_unit_test(test_outer_types),
		cmocka_unit_test(test_nothing_is_read_behind_a_bad_record),
		cmocka_unit_test(test_a_bad_record_and_little_room),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

// SPDX-License-Identifier: Apache-2.0
/* A peer that asks for other keys of ours: when the answer comes, and how often it may ask (REC-31,
 * REC-32). */
#include "unit/records_pair.h"

#include "record/post.h"

/* Tickets that a server holds back until it says something do not hold back the answer. */
static void test_an_answer_comes_behind_held_tickets(void **state)
{
	enum { TICKET = 4 };
	static unsigned char text[RECORD_BYTES_MAX];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct record_text got;
		struct fixture f;
		int tickets = 0;

		if (kinds[i].version != TLS1_3_VERSION)
			continue;
		shake_hands(&f, &kinds[i], true);
		assert_int_equal(tls_records_take(&f.near), 0);
		by_hand(&f);
		put_update(&f, true);
		expect_silence(&f);
		expect_nothing(&f);
		while ((got = hear(&f, text)).type == RECORD_HANDSHAKE && text[0] == TICKET)
			tickets++;
		assert_true(tickets > 0);
		assert_int_equal(got.type, RECORD_HANDSHAKE);
		assert_int_equal(got.len, sizeof(record_key_update));
		assert_memory_equal(text, record_key_update, sizeof(record_key_update));
		next_key(&f, RECORD_READ);
		expect_silence(&f);
		assert_int_equal(stream_write(&f.near, "back", 4), 4);
		expect_record(&f, RECORD_DATA, "back", 4);
		teardown(&f);
	}
}

/* A peer that asks with each record that it reads, as Java's does, while much is on its way to it:
 * what it has been sent pays for that, and no more. */
static void asks_per_record(struct fixture *f)
{
	enum { SENT = 100 };

	if (!f->is_13)
		return;
	by_hand(f);
	for (int i = 0; i < SENT; i++) {
		assert_int_equal(stream_write(&f->near, "data", 4), 4);
		expect_record(f, RECORD_DATA, "data", 4);
	}
	for (int i = 0; i < SENT + RECORD_QUIET_MAX; i++) {
		put_update(f, true);
		expect_nothing(f);
		expect_record(f, RECORD_HANDSHAKE, record_key_update, sizeof(record_key_update));
		next_key(f, RECORD_READ);
	}
	put_update(f, true);
	expect_refused(f, RECORD_UNEXPECTED_MESSAGE);
}

static void test_a_reader_that_asks_with_each_record(void **state)
{
	(void)state;
	for_each_kind(asks_per_record);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_an_answer_comes_behind_held_tickets),
		cmocka_unit_test(test_a_reader_that_asks_with_each_record),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

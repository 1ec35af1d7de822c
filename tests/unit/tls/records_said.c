// SPDX-License-Identifier: Apache-2.0
/* What a peer says beside data, what is answered, and how a connection ends (REC-31 to REC-34). */
#include "unit/records_pair.h"

#include "record/post.h"

static const unsigned char ticket[] = { 4, 0, 0, 20, [23] = 0 };
static const unsigned char request[] = { 24, 0, 0, 1, 1 }; /* a KeyUpdate that wants an answer */
static const unsigned char canceled[] = { 1, RECORD_USER_CANCELED };

/* ---- changes of keys ---- */

static void update_alone(struct fixture *f)
{
	if (!f->is_13)
		return;
	by_hand(f);
	for (int i = 0; i < 3; i++) {
		put_update(f, false);
		expect_nothing(f);
		expect_silence(f);
		put(f, RECORD_DATA, "hello", 5, 0);
		expect_text(f, "hello");
		assert_int_equal(stream_write(&f->near, "back", 4), 4);
		expect_record(f, RECORD_DATA, "back", 4);
	}
}

/* The answer has the old key, and is there without a write. */
static void update_requested(struct fixture *f)
{
	if (!f->is_13)
		return;
	by_hand(f);
	for (int i = 0; i < 3; i++) {
		put_update(f, true);
		expect_nothing(f);
		assert_true(f->near.work >= RECORD_MESSAGE_COST);
		expect_record(f, RECORD_HANDSHAKE, record_key_update, sizeof(record_key_update));
		next_key(f, RECORD_READ);
		put(f, RECORD_DATA, "hello", 5, 0);
		expect_text(f, "hello");
		assert_int_equal(stream_write(&f->near, "back", 4), 4);
		expect_record(f, RECORD_DATA, "back", 4);
		expect_silence(f);
	}
}

/* What is sealed with the old key behind it is not taken. */
static void update_not_kept(struct fixture *f)
{
	const unsigned char update[] = { 24, 0, 0, 1, 0 };

	if (!f->is_13)
		return;
	by_hand(f);
	put(f, RECORD_HANDSHAKE, update, sizeof(update), 0);
	put(f, RECORD_DATA, "hello", 5, 0);
	expect_refused(f, RECORD_BAD_RECORD_MAC);
}

static void test_a_key_update_changes_the_peers_key(void **state)
{
	(void)state;
	for_each_kind(update_alone);
	for_each_kind(update_requested);
	for_each_kind(update_not_kept);
}

/* Data before and behind it in one segment is one read's. */
static void update_within(struct fixture *f)
{
	unsigned char out[256];
	size_t n;

	if (!f->is_13)
		return;
	by_hand(f);
	n = make_record(f, RECORD_DATA, "before ", 7, 0, out);
	n += make_record(f, RECORD_HANDSHAKE, request, sizeof(request), 9, out + n);
	next_key(f, RECORD_WRITE);
	n += make_record(f, RECORD_DATA, "behind", 6, 3, out + n);
	send_raw(f, out, n);
	expect_text(f, "before behind");
	expect_record(f, RECORD_HANDSHAKE, record_key_update, sizeof(record_key_update));
}

static void test_a_key_update_between_data(void **state)
{
	(void)state;
	for_each_kind(update_within);
}

/* Each is one more request, and there is one answer (RFC 8446 section 4.6.3). */
static void many_requests(struct fixture *f)
{
	unsigned char out[1024];
	size_t n = 0;

	if (!f->is_13)
		return;
	by_hand(f);
	for (int i = 0; i < 10; i++) {
		n += make_record(f, RECORD_HANDSHAKE, request, sizeof(request), 0, out + n);
		next_key(f, RECORD_WRITE);
	}
	send_raw(f, out, n);
	expect_nothing(f);
	expect_record(f, RECORD_HANDSHAKE, record_key_update, sizeof(record_key_update));
	next_key(f, RECORD_READ);
	expect_silence(f);
	assert_int_equal(stream_write(&f->near, "back", 4), 4);
	expect_record(f, RECORD_DATA, "back", 4);
}

/* As much as the socket takes. */
static size_t write_on(struct fixture *f, size_t written, size_t total)
{
	static const char data[1 << 20];

	while (written < total) {
		ssize_t n = stream_write(&f->near, data, total - written);

		if (n == -EAGAIN) {
			assert_int_equal(f->near.want, EPOLLOUT);
			break;
		}
		assert_in_range(n, 1, total - written);
		written += (size_t)n;
	}
	return written;
}

/* With a socket that takes nothing they add up to one answer, which comes behind what is owed. */
static void many_requests_blocked(struct fixture *f)
{
	static unsigned char text[RECORD_BYTES_MAX];
	size_t total = 1 << 20, written, blocked_at, heard = 0;
	int updates = 0;

	if (!f->is_13)
		return;
	by_hand(f);
	blocked_at = written = write_on(f, 0, total);
	assert_true(written < total);
	for (int i = 0; i < 5; i++) {
		put_update(f, true);
		put(f, RECORD_DATA, "hello", 5, 0);
		expect_text(f, "hello");
	}
	while (heard < total) {
		struct record_text got = hear(f, text);

		if (got.type == RECORD_HANDSHAKE) {
			assert_memory_equal(text, record_key_update, 5);
			assert_true(heard > blocked_at);
			next_key(f, RECORD_READ);
			updates++;
		} else {
			heard += got.len;
		}
		written = write_on(f, written, total);
	}
	assert_int_equal(updates, 1);
}

static void test_many_requests_owe_one_answer(void **state)
{
	(void)state;
	for_each_kind(many_requests);
	for_each_kind(many_requests_blocked);
}

/* The message, and whether it is refused. */
static void say(struct fixture *f, const unsigned char *message, size_t len, bool refused)
{
	by_hand(f);
	put(f, RECORD_DATA, "good", 4, 0);
	put(f, RECORD_HANDSHAKE, message, len, 0);
	expect_text(f, "good");
	if (refused)
		expect_refused(f, RECORD_UNEXPECTED_MESSAGE);
	else
		expect_nothing(f);
}

static void test_key_updates_that_are_none(void **state)
{
	static const unsigned char wrong[][11] = {
		{ 6, 24, 0, 0, 1, 0, 0 },               /* does not end its record */
		{ 10, 24, 0, 0, 1, 0, 24, 0, 0, 1, 0 }, /* nor does this one */
		{ 5, 24, 0, 0, 1, 2 },                  /* neither yes nor no */
		{ 5, 24, 0, 0, 0, 0 },
		{ 6, 24, 0, 0, 2, 0, 0 },
		{ 6, 24, 1, 0, 1, 0, 0 },
	};

	(void)state;
	for (int k = 0; k < 3; k++) {
		for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
			struct fixture f;

			setup(&f, &kinds[k], i % 2);
			say(&f, wrong[i] + 1, wrong[i][0], true);
			teardown(&f);
		}
	}
}

/* Over records, at each place; and nothing else may come between. */
static void test_a_key_update_in_pieces(void **state)
{
	(void)state;
	for (size_t cut = 1; cut < sizeof(request); cut++) {
		for (int role = 0; role < 2; role++) {
			struct fixture f;

			setup(&f, &kinds[cut % 3], role);
			say(&f, request, cut, false);
			put(&f, RECORD_HANDSHAKE, request + cut, sizeof(request) - cut, 0);
			next_key(&f, RECORD_WRITE);
			put(&f, RECORD_DATA, "hello", 5, 0);
			expect_text(&f, "hello");
			expect_record(&f, RECORD_HANDSHAKE, record_key_update, 5);
			teardown(&f);
			setup(&f, &kinds[cut % 3], role);
			say(&f, request, cut, false);
			put(&f, RECORD_DATA, "hello", role ? 5 : 0, 0);
			expect_refused(&f, RECORD_UNEXPECTED_MESSAGE);
			teardown(&f);
		}
	}
}

/* ---- tickets ---- */

static void tickets(struct fixture *f)
{
	unsigned char both[sizeof(ticket) + sizeof(request)];

	if (!f->is_13)
		return;
	memcpy(both, ticket, sizeof(ticket));
	memcpy(both + sizeof(ticket), request, sizeof(request));
	if (f->near_is_server) {
		say(f, ticket, sizeof(ticket), true);
		return;
	}
	say(f, ticket, sizeof(ticket), false);
	for (size_t cut = 1; cut < sizeof(ticket); cut++) {
		put(f, RECORD_HANDSHAKE, ticket, cut, 0);
		put(f, RECORD_HANDSHAKE, ticket + cut, sizeof(ticket) - cut, 0);
		put(f, RECORD_DATA, "hello", 5, 0);
		expect_text(f, "hello");
	}
	put(f, RECORD_HANDSHAKE, both, sizeof(both), 0); /* a change of keys behind it */
	next_key(f, RECORD_WRITE);
	put(f, RECORD_DATA, "hello", 5, 0);
	expect_text(f, "hello");
	expect_record(f, RECORD_HANDSHAKE, record_key_update, 5);
	next_key(f, RECORD_READ);
	expect_silence(f);
	put(f, RECORD_HANDSHAKE, ticket, 10, 0);
	put(f, RECORD_DATA, "hello within", 12, 0);
	expect_refused(f, RECORD_UNEXPECTED_MESSAGE);
}

static void test_tickets_are_a_nodes(void **state)
{
	(void)state;
	for_each_kind(tickets);
}

/* An alert or an empty record does not come within a message either (RFC 8446 section 5.1). */
static void test_nothing_comes_within_a_message(void **state)
{
	(void)state;
	for (int i = 0; i < 3; i++) {
		struct fixture f;

		setup(&f, &kinds[i], false);
		say(&f, ticket, i + 3, false);
		if (i == 0)
			put(&f, RECORD_ALERT, canceled, sizeof(canceled), 0);
		else if (i == 1)
			put(&f, RECORD_ALERT, record_close_notify, 2, 0);
		else
			put(&f, RECORD_DATA, "", 0, 0);
		expect_refused(&f, RECORD_UNEXPECTED_MESSAGE);
		teardown(&f);
	}
}

static void test_other_messages(void **state)
{
	static const unsigned char types[] = { 0, 1, 2, 5, 8, 11, 13, 15, 20, 23, 25, 254 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		for (int role = 0; role < 2; role++) {
			const unsigned char message[] = { types[i], 0, 0, 1, 0 };
			struct fixture f;

			setup(&f, &kinds[i % 3], role);
			say(&f, message, i % 2 ? sizeof(message) : 4, true);
			teardown(&f);
		}
	}
}

/* TLS 1.2: an attempt to renegotiate is refused, once (RFC 5246 section 7.2.2). */
static void renegotiate(struct fixture *f)
{
	const unsigned char hello[] = { f->near_is_server, 0, 0, 0 };

	if (f->is_13)
		return;
	by_hand(f);
	put(f, RECORD_HANDSHAKE, hello, sizeof(hello), 0);
	expect_nothing(f);
	expect_alert(f, 1, RECORD_NO_RENEGOTIATION);
	put(f, RECORD_DATA, "hello", 5, 0);
	expect_text(f, "hello");
	assert_int_equal(stream_write(&f->near, "back", 4), 4);
	expect_record(f, RECORD_DATA, "back", 4);
	put(f, RECORD_DATA, "last", 4, 0);
	put(f, RECORD_HANDSHAKE, hello, sizeof(hello), 0);
	expect_text(f, "last");
	expect_refused(f, RECORD_UNEXPECTED_MESSAGE);
}

static void test_renegotiation_is_refused_once(void **state)
{
	(void)state;
	for_each_kind(renegotiate);
}

/* ---- nothing but talk ---- */

static void put_quiet(struct fixture *f, int i)
{
	switch (f->is_13 ? i % 4 : i % 2) {
	case 0:
		put(f, RECORD_DATA, "", 0, f->is_13 ? (size_t)i * 50 : 0);
		break;
	case 1:
		put(f, RECORD_ALERT, canceled, sizeof(canceled), 0);
		break;
	case 2:
		put_update(f, false);
		break;
	case 3:
		if (!f->near_is_server)
			put(f, RECORD_HANDSHAKE, ticket, sizeof(ticket), 0);
		else
			put_update(f, false);
		break;
	}
}

/* Whether they come one by one or together. */
static void quiet_records(struct fixture *f)
{
	by_hand(f);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < RECORD_QUIET_MAX; i++) {
			put_quiet(f, i);
			if (round == 1)
				expect_nothing(f);
		}
		if (round < 2) {
			put(f, RECORD_DATA, "x", 1, 0);
			expect_text(f, "x");
		}
	}
	expect_nothing(f);
	expect_silence(f);
	put(f, RECORD_DATA, "", 0, 0);
	expect_refused(f, RECORD_UNEXPECTED_MESSAGE);
}

static void test_32_records_without_data(void **state)
{
	(void)state;
	for_each_kind(quiet_records);
}

/* ---- padding ---- */

static void pad(struct fixture *f)
{
	static const size_t lengths[] = { 1, 2, 15, 16, 255, 256, 4096, RECORD_MAX - 5 };
	unsigned char zeros[] = { 'a', 0, 0 };
	char data[8];

	if (!f->is_13)
		return;
	by_hand(f);
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
		put(f, RECORD_DATA, "hello", 5, lengths[i]);
		expect_text(f, "hello");
	}
	put(f, RECORD_DATA, zeros, sizeof(zeros), 7); /* zeros of the data are not padding */
	assert_int_equal(take(f, data, sizeof(data)), 3);
	assert_memory_equal(data, zeros, 3);
	put(f, RECORD_DATA, "hello", 5, RECORD_MAX - 4);
	expect_refused(f, RECORD_RECORD_OVERFLOW);
}

static void test_padding_of_any_length(void **state)
{
	(void)state;
	for_each_kind(pad);
}

/* ---- ends ---- */

static void close_cleanly(struct fixture *f)
{
	char data[64];

	by_hand(f);
	put(f, RECORD_DATA, "last", 4, 0);
	put(f, RECORD_ALERT, record_close_notify, 2, 0);
	put(f, RECORD_DATA, "behind", 6, 0); /* nobody hears it */
	send_raw(f, "rubbish", 7);
	expect_text(f, "last");
	assert_true(stream_pending(&f->near));
	assert_int_equal(take(f, data, sizeof(data)), STREAM_EOF);
	assert_false(stream_pending(&f->near));
	assert_int_equal(take(f, data, sizeof(data)), STREAM_EOF);
	assert_string_equal(tls_records_error(&f->near), "");
	expect_silence(f); /* ours is not ended by it */
	assert_int_equal(stream_write(&f->near, "back", 4), 4);
	expect_record(f, RECORD_DATA, "back", 4);
	assert_int_equal(stream_shutdown(&f->near), 0);
	expect_alert(f, 1, RECORD_CLOSE_NOTIFY);
	assert_int_equal(recv(f->far.fd, data, sizeof(data), 0), 0);
	assert_int_equal(stream_write(&f->near, "x", 1), -EPIPE);
	assert_int_equal(stream_shutdown(&f->near), 0);
}

/* Our end first; the peer goes on. */
static void half_close(struct fixture *f)
{
	char data[64];

	by_hand(f);
	assert_int_equal(stream_shutdown(&f->near), 0);
	expect_alert(f, 1, RECORD_CLOSE_NOTIFY);
	assert_int_equal(recv(f->far.fd, data, sizeof(data), 0), 0);
	assert_int_equal(stream_write(&f->near, "x", 1), -EPIPE);
	put(f, RECORD_DATA, "hello", 5, 0);
	expect_text(f, "hello");
	if (f->is_13) { /* which asks for what cannot be had any more */
		put_update(f, true);
		expect_nothing(f);
		put(f, RECORD_DATA, "hello", 5, 0);
		expect_text(f, "hello");
	}
	put(f, RECORD_ALERT, record_close_notify, 2, 0);
	assert_int_equal(take(f, data, sizeof(data)), STREAM_EOF);
}

/* Without close_notify. */
static void cut_short(struct fixture *f)
{
	char data[64];

	by_hand(f);
	put(f, RECORD_DATA, "hello", 5, 0);
	assert_int_equal(shutdown(f->far.fd, SHUT_WR), 0);
	expect_text(f, "hello");
	assert_int_equal(take(f, data, sizeof(data)), -ECONNABORTED);
	assert_int_equal(stream_write(&f->near, "back", 4), 4);
	expect_record(f, RECORD_DATA, "back", 4);
	assert_int_equal(stream_cut(&f->near), 0);
	assert_int_equal(recv(f->far.fd, data, sizeof(data), 0), 0);
	assert_int_equal(stream_write(&f->near, "x", 1), -EPIPE);
}

static void test_ends(void **state)
{
	(void)state;
	for_each_kind(close_cleanly);
	for_each_kind(half_close);
	for_each_kind(cut_short);
}

static void user_cancels(struct fixture *f)
{
	char data[64];

	by_hand(f);
	put(f, RECORD_ALERT, canceled, sizeof(canceled), 0);
	put(f, RECORD_DATA, "hello", 5, 0);
	expect_text(f, "hello");
	put(f, RECORD_ALERT, canceled, sizeof(canceled), 0);
	put(f, RECORD_ALERT, record_close_notify, 2, 0);
	assert_int_equal(take(f, data, sizeof(data)), STREAM_EOF);
	expect_silence(f);
}

/* Another one ends it, whatever its level says, and is not answered. */
static void other_alert(struct fixture *f)
{
	unsigned char alert[] = { f->near_is_server ? 1 : 2, (unsigned char)(f->is_13 ? 20 : 80) };
	char data[64];

	by_hand(f);
	put(f, RECORD_DATA, "last", 4, 0);
	put(f, RECORD_ALERT, alert, sizeof(alert), 0);
	put(f, RECORD_DATA, "behind", 6, 0);
	expect_text(f, "last");
	assert_int_equal(take(f, data, sizeof(data)), -EPROTO);
	assert_int_equal(take(f, data, sizeof(data)), -EPROTO);
	assert_string_equal(tls_records_error(&f->near), "the peer has sent an alert");
	expect_silence(f);
}

static void bad_alert(struct fixture *f)
{
	const unsigned char alert[] = { 1, 0, 0 };

	by_hand(f);
	put(f, RECORD_ALERT, alert, f->near_is_server ? 3 : 1, 0);
	expect_refused(f, RECORD_UNEXPECTED_MESSAGE);
}

static void test_alerts(void **state)
{
	(void)state;
	for_each_kind(user_cancels);
	for_each_kind(other_alert);
	for_each_kind(bad_alert);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_key_update_changes_the_peers_key),
		cmocka_unit_test(test_a_key_update_between_data),
		cmocka_unit_test(test_many_requests_owe_one_answer),
		cmocka_unit_test(test_key_updates_that_are_none),
		cmocka_unit_test(test_a_key_update_in_pieces),
		cmocka_unit_test(test_tickets_are_a_nodes),
		cmocka_unit_test(test_nothing_comes_within_a_message),
		cmocka_unit_test(test_other_messages),
		cmocka_unit_test(test_renegotiation_is_refused_once),
		cmocka_unit_test(test_32_records_without_data),
		cmocka_unit_test(test_padding_of_any_length),
		cmocka_unit_test(test_ends),
		cmocka_unit_test(test_alerts),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

// SPDX-License-Identifier: Apache-2.0
/* A stream of records stops at a boundary, where another record layer goes on: here one that is
 * made of the connection alone, as kernel TLS is. What were read or sealed before it and not handed
 * on, or read beyond it, would be missing then. */
#include "unit/records_flow.h"

#include "record/post.h"
#include "tls/keys.h"

#include <sys/ioctl.h>

/* What was seen since the program began. */
static struct {
	int boundaries, waits;
} seen;

static int unread(const struct stream *stream)
{
	int n = -1;

	assert_int_equal(ioctl(stream->fd, FIONREAD, &n), 0);
	return n;
}

/* The stream ends, and one that knows its connection goes on. */
static void take_over(struct stream *stream, const struct record_connection *connection)
{
	struct tls_records_state state = { .connection = *connection };

	tls_records_detach(stream);
	assert_false(stream_is_tls(stream));
	assert_int_equal(
		tls_records_resume(stream, view_make((const char *)&state, sizeof(state))), 0);
}

/* Returns whether it stands at a boundary; then it has been taken over. */
static bool try_to_stop(struct fixture *f)
{
	struct record_connection connection;
	int r = tls_records_stop(&f->near, &connection);

	if (r == TLS_KEYS_NOT_YET) {
		seen.waits++;
		return false;
	}
	assert_int_equal(r, 0);
	seen.boundaries++;
	take_over(&f->near, &connection);
	return true;
}

/* ---- every byte ---- */

static void exchange_and_stop(struct fixture *f)
{
	uint32_t seed = (uint32_t)(f->kind - kinds) * 2 + f->near_is_server + 99;
	struct flow flows[2] = {
		{ .from = &f->near, .to = &f->far, .total = 1500000 },
		{ .from = &f->far, .to = &f->near, .total = 1500000 },
	};
	int size = 4096; /* so that records are cut */
	bool stops = false;

	setsockopt(f->near.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(f->far.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	for (int i = 0; flows[0].read < flows[0].total || flows[1].read < flows[1].total; i++) {
		assert_in_range(i, 0, 5000000);
		flow_step(f, flows, &seed);
		stops |= draw(&seed, 20) == 1;
		if (stops && draw(&seed, 60) == 1) {
			tls_records_go_on(&f->near);
			stops = false;
		}
		stops = stops && !try_to_stop(f);
	}
}

static void test_REC_21_every_byte_wherever_it_stops(void **state)
{
	(void)state;
	memset(&seen, 0, sizeof(seen));
	for_each_kind(exchange_and_stop);
	assert_true(seen.boundaries > 150);
	assert_true(seen.waits > 3000);
}

/* ---- what is read ---- */

/* Half a record has been read; the rest comes together with another one. */
static void begin_record(struct fixture *f, unsigned char *rest, size_t *ret_len, size_t read)
{
	unsigned char record[64];
	size_t len = make_record(f, RECORD_DATA, "first", 5, 0, record);

	memcpy(rest, record + read, len - read);
	*ret_len = len - read;
	*ret_len += make_record(f, RECORD_DATA, "second", 6, 0, rest + *ret_len);
	send_raw(f, record, read);
	expect_nothing(f);
	assert_int_equal(unread(&f->near), 0);
}

static void reads_no_further(struct fixture *f)
{
	by_hand(f);
	for (size_t read = 1; read < 12; read += 4) {
		struct record_connection connection;
		unsigned char rest[128];
		size_t len;

		begin_record(f, rest, &len, read);
		assert_int_equal(tls_records_stop(&f->near, &connection), TLS_KEYS_NOT_YET);
		send_raw(f, rest, len);
		expect_text(f, "first");
		assert_int_equal(unread(&f->near),
			6 +
				record_overhead((enum record_version)f->hand.peer.version,
					(enum record_cipher)f->hand.states[0].cipher));
		assert_int_equal(tls_records_stop(&f->near, &connection), 0);
		take_over(&f->near, &connection);
		expect_text(f, "second");
	}
}

static void test_REC_21_nothing_of_the_next_record_is_read(void **state)
{
	(void)state;
	for_each_kind(reads_no_further);
}

static void reads_ahead_again(struct fixture *f)
{
	struct record_connection connection;
	unsigned char rest[128];
	char text[64];
	size_t len;

	by_hand(f);
	begin_record(f, rest, &len, 9);
	assert_int_equal(tls_records_stop(&f->near, &connection), TLS_KEYS_NOT_YET);
	tls_records_go_on(&f->near);
	send_raw(f, rest, len);
	wait_for(&f->near, POLLIN);
	assert_int_equal(stream_read(&f->near, text, sizeof(text)), 11);
	assert_memory_equal(text, "firstsecond", 11);
}

static void test_who_goes_on_reads_all_there_is(void **state)
{
	(void)state;
	for_each_kind(reads_ahead_again);
}

/* Text for which its reader had no room. */
static void waits_for_the_reader(struct fixture *f)
{
	struct record_connection connection;
	char text[8];

	by_hand(f);
	put(f, RECORD_DATA, "text", 4, 0);
	wait_for(&f->near, POLLIN);
	assert_int_equal(stream_read(&f->near, text, 3), 3);
	assert_int_equal(tls_records_stop(&f->near, &connection), TLS_KEYS_NOT_YET);
	assert_int_equal(stream_read(&f->near, text, 3), 1);
	assert_int_equal(tls_records_stop(&f->near, &connection), 0);
	record_connection_wipe(&connection);
}

static void test_what_is_opened_is_read_first(void **state)
{
	(void)state;
	for_each_kind(waits_for_the_reader);
}

/* ---- what is owed ---- */

/* The answer to a request for other keys goes out under the old one, and the next layer has the new
 * one. */
static void answers_first(struct fixture *f)
{
	struct record_connection connection;

	if (!f->is_13)
		return;
	by_hand(f);
	near_connection(f)->answer_owed = true;
	assert_int_equal(tls_records_stop(&f->near, &connection), 0);
	expect_record(f, RECORD_HANDSHAKE, record_key_update, 5);
	next_key(f, RECORD_READ);
	take_over(&f->near, &connection);
	assert_int_equal(stream_write(&f->near, "back", 4), 4);
	expect_record(f, RECORD_DATA, "back", 4);
}

static void test_an_answer_is_sent_first(void **state)
{
	(void)state;
	for_each_kind(answers_first);
}

static int stopped;

static void stop_once_more(struct fixture *f)
{
	struct record_connection connection;

	if (stopped == 0)
		return;
	stopped = tls_records_stop(&f->near, &connection);
	if (stopped == 0)
		take_over(&f->near, &connection);
}

/* Sealed records that no writer repeats, more than the socket takes. */
static void resume_with_sealed(struct fixture *f, unsigned records, const char text[2000])
{
	struct buf bytes = { .secret = true };
	struct tls_records_state state;
	int size = 4096;

	setsockopt(f->near.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(f->far.fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	assert_int_equal(tls_records_give(&f->near, &bytes), 0);
	memcpy(&state, buf_view(&bytes).data, sizeof(state));
	for (unsigned i = 0; i < records; i++) {
		unsigned char record[2000 + RECORD_OVERHEAD_MAX];
		int n = record_seal(
			&state.connection.states[RECORD_WRITE], RECORD_DATA, text, 2000, 0, record);

		assert_true(n > 0);
		assert_int_equal(buf_append(&bytes, record, (size_t)n), 0);
		state.unsent += (uint32_t)n;
	}
	memcpy(bytes.data + bytes.start, &state, sizeof(state));
	assert_int_equal(tls_records_resume(&f->near, buf_view(&bytes)), 0);
	buf_fini(&bytes);
}

static void sends_first(struct fixture *f)
{
	enum { RECORDS = 100 };
	char text[2000];

	memset(text, 't', sizeof(text));
	by_hand(f);
	resume_with_sealed(f, RECORDS, text);
	stopped = TLS_KEYS_NOT_YET;
	stop_once_more(f);
	assert_int_equal(stopped, TLS_KEYS_NOT_YET);
	f->between = stop_once_more;
	for (int i = 0; i < RECORDS; i++)
		expect_record(f, RECORD_DATA, text, sizeof(text));
	assert_int_equal(stopped, 0);
	f->between = NULL;
	assert_int_equal(stream_write(&f->near, "behind", 6), 6);
	expect_record(f, RECORD_DATA, "behind", 6);
}

static void test_what_is_sealed_is_sent_first(void **state)
{
	(void)state;
	for_each_kind(sends_first);
}

/* ---- what goes nowhere ---- */

static void expect_refusal(struct fixture *f)
{
	struct record_connection connection;

	assert_int_equal(tls_records_stop(&f->near, &connection), -ENOTSUP);
	assert_non_null(tls_records_connection(&f->near));
}

static void ends_stay(struct fixture *f)
{
	struct record_connection connection;
	char byte;

	by_hand(f);
	put(f, RECORD_ALERT, record_close_notify, sizeof(record_close_notify), 0);
	assert_int_equal(tls_records_stop(&f->near, &connection), 0); /* it has not been read */
	record_connection_wipe(&connection);
	wait_for(&f->near, POLLIN);
	assert_int_equal(stream_read(&f->near, &byte, 1), STREAM_EOF);
	expect_refusal(f);
}

static void own_end_stays(struct fixture *f)
{
	assert_int_equal(stream_shutdown(&f->near), 0);
	expect_refusal(f);
}

static void worn_keys_stay(struct fixture *f)
{
	if (f->is_13 || f->kind->cipher == RECORD_CHACHA20_POLY1305)
		return;
	near_connection(f)->states[RECORD_READ].seq = RECORD_END_AT;
	expect_refusal(f);
}

static void test_an_end_and_worn_keys_stay(void **state)
{
	(void)state;
	for_each_kind(ends_stay);
	for_each_kind(own_end_stays);
	for_each_kind(worn_keys_stay);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_REC_21_every_byte_wherever_it_stops),
		cmocka_unit_test(test_REC_21_nothing_of_the_next_record_is_read),
		cmocka_unit_test(test_who_goes_on_reads_all_there_is),
		cmocka_unit_test(test_what_is_opened_is_read_first),
		cmocka_unit_test(test_an_answer_is_sent_first),
		cmocka_unit_test(test_what_is_sealed_is_sent_first),
		cmocka_unit_test(test_an_end_and_worn_keys_stay),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

// SPDX-License-Identifier: Apache-2.0
/* A stream of records as bytes: what it was is wiped and freed, and another one goes on from a copy
 * of those bytes on the same socket, with OpenSSL at the other end or by hand. Whatever of a
 * connection were not plain data would be missing then. */
#include "unit/records_flow.h"

#include "record/post.h"

#include <unistd.h>

/* What waited when near moved, since the program began. */
static struct {
	int moves, part, unsent, opened, owed, answers;
} seen;

static void note(const struct tls_records_state *state, size_t len)
{
	assert_int_equal(len, sizeof(*state) + state->part + state->unsent + state->opened);
	seen.moves++;
	seen.part += state->part != 0;
	seen.unsent += state->unsent != 0;
	seen.opened += state->opened != 0;
	seen.owed += state->owed != 0;
	seen.answers += state->connection.answer_owed;
}

/* Its bytes, in memory of their own; freed by the caller. The stream has no TLS any more. */
static char *give(struct stream *stream, size_t *ret_len)
{
	struct buf bytes = { .secret = true };
	char *copy;

	assert_int_equal(tls_records_give(stream, &bytes), 0);
	assert_false(stream_is_tls(stream));
	assert_null(tls_records_connection(stream));
	copy = malloc(bytes.len);
	assert_non_null(copy);
	memcpy(copy, bytes.data + bytes.start, bytes.len);
	*ret_len = bytes.len;
	buf_fini(&bytes);
	return copy;
}

/* The same socket under another descriptor, and another stream. */
static void move(struct fixture *f)
{
	struct tls_records_state head;
	size_t len;
	char *bytes = give(&f->near, &len);
	int fd = dup(f->near.fd);

	assert_true(fd >= 0);
	memcpy(&head, bytes, sizeof(head));
	note(&head, len);
	stream_close(&f->near);
	memset(&f->near, 0xa5, sizeof(f->near));
	stream_init_plain(&f->near, fd);
	assert_int_equal(tls_records_resume(&f->near, view_make(bytes, len)), 0);
	free(bytes);
}

/* ---- in the middle of it ---- */

static void exchange_and_move(struct fixture *f)
{
	uint32_t seed = (uint32_t)(f->kind - kinds) * 2 + f->near_is_server + 77;
	struct flow flows[2] = {
		{ .from = &f->near, .to = &f->far, .total = 300000 },
		{ .from = &f->far, .to = &f->near, .total = 300000 },
	};
	int size = 4096; /* so that records are cut */

	setsockopt(f->near.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(f->far.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	for (int i = 0; flows[0].read < flows[0].total || flows[1].read < flows[1].total; i++) {
		assert_in_range(i, 0, 1000000);
		flow_step(f, flows, &seed);
		if (draw(&seed, 3) == 1)
			move(f);
	}
}

static void test_REC_13_every_byte_whenever_it_moves(void **state)
{
	(void)state;
	memset(&seen, 0, sizeof(seen));
	for_each_kind(exchange_and_move);
	/* all of it was there to be lost */
	assert_true(seen.moves > 1000);
	assert_true(seen.part > 200);
	assert_true(seen.unsent > 200);
	assert_true(seen.opened > 200);
	assert_true(seen.owed > 200);
	assert_true(seen.answers > 10);
}

/* Bytes both ways, keys changed both ways, half a record read. */
static void after_an_update(struct fixture *f)
{
	unsigned char record[64];
	size_t len;

	by_hand(f);
	if (f->is_13) {
		put_update(f, true);
		expect_nothing(f);
		expect_record(f, RECORD_HANDSHAKE, record_key_update, 5);
		next_key(f, RECORD_READ);
	}
	len = make_record(f, RECORD_DATA, "hello", 5, 0, record);
	send_raw(f, record, 9);
	expect_nothing(f);
	move(f);
	send_raw(f, record + 9, len - 9);
	expect_text(f, "hello");
	assert_int_equal(stream_write(&f->near, "back", 4), 4);
	expect_record(f, RECORD_DATA, "back", 4);
	if (!f->is_13)
		return;
	put_update(f, true);
	expect_nothing(f);
	expect_record(f, RECORD_HANDSHAKE, record_key_update, 5);
	next_key(f, RECORD_READ);
	move(f);
	put(f, RECORD_DATA, "again", 5, 0);
	expect_text(f, "again");
	assert_int_equal(stream_write(&f->near, "back", 4), 4);
	expect_record(f, RECORD_DATA, "back", 4);
}

static void test_REC_13_behind_a_change_of_keys(void **state)
{
	(void)state;
	for_each_kind(after_an_update);
}

/* ---- what is counted, and what is owed ---- */

static void quiet(struct fixture *f)
{
	by_hand(f);
	for (int i = 0; i < RECORD_QUIET_MAX; i++) {
		put(f, RECORD_DATA, "", 0, 0);
		expect_nothing(f);
		if (i == 20)
			move(f);
	}
	move(f);
	put(f, RECORD_DATA, "", 0, 0);
	expect_refused(f, RECORD_UNEXPECTED_MESSAGE);
}

static void ticket_in_pieces(struct fixture *f)
{
	static const unsigned char ticket[] = { 4, 0, 0, 20, [23] = 0 };

	if (!f->is_13 || f->near_is_server)
		return;
	by_hand(f);
	put(f, RECORD_HANDSHAKE, ticket, 3, 0);
	expect_nothing(f);
	move(f);
	put(f, RECORD_HANDSHAKE, ticket + 3, 8, 0);
	expect_nothing(f);
	move(f);
	put(f, RECORD_HANDSHAKE, ticket + 11, 13, 0);
	put(f, RECORD_DATA, "hello", 5, 0);
	expect_text(f, "hello");
}

static void second_renegotiation(struct fixture *f)
{
	static const unsigned char hello[] = { 0, 0, 0, 0 };

	if (f->is_13)
		return;
	by_hand(f);
	put(f, RECORD_HANDSHAKE, hello, sizeof(hello), 0);
	expect_nothing(f);
	expect_alert(f, 1, RECORD_NO_RENEGOTIATION);
	move(f);
	put(f, RECORD_HANDSHAKE, hello, sizeof(hello), 0);
	expect_refused(f, RECORD_UNEXPECTED_MESSAGE);
}

static void small_payload(struct fixture *f)
{
	static const char data[700];

	by_hand(f);
	near_connection(f)->peer.payload_max = 512;
	move(f);
	assert_int_equal(stream_write(&f->near, data, sizeof(data)), sizeof(data));
	expect_record(f, RECORD_DATA, data, 512);
	expect_record(f, RECORD_DATA, data, sizeof(data) - 512);
}

static void test_REC_13_counts_go_on(void **state)
{
	(void)state;
	for_each_kind(quiet);
	for_each_kind(ticket_in_pieces);
	for_each_kind(second_renegotiation);
	for_each_kind(small_payload);
}

/* The end has been read with the last data, but the reader has not been told. */
static void ended(struct fixture *f)
{
	char byte;

	by_hand(f);
	put(f, RECORD_DATA, "last", 4, 0);
	put(f, RECORD_ALERT, record_close_notify, 2, 0);
	expect_text(f, "last");
	move(f);
	assert_true(stream_pending(&f->near));
	assert_int_equal(take(f, &byte, 1), STREAM_EOF);
	move(f);
	assert_false(stream_pending(&f->near));
	assert_int_equal(take(f, &byte, 1), STREAM_EOF);
	assert_int_equal(stream_write(&f->near, "back", 4), 4);
	expect_record(f, RECORD_DATA, "back", 4);
	assert_int_equal(stream_shutdown(&f->near), 0);
	move(f);
	assert_int_equal(stream_write(&f->near, "x", 1), -EPIPE);
	expect_alert(f, 1, RECORD_CLOSE_NOTIFY);
	assert_int_equal(recv(f->far.fd, &byte, 1, 0), 0);
}

/* What cannot be opened came behind data: the peer gets its alert from who goes on. */
static void failed(struct fixture *f)
{
	unsigned char record[64];
	size_t len;

	by_hand(f);
	put(f, RECORD_DATA, "last", 4, 0);
	len = make_record(f, RECORD_DATA, "hello", 5, 0, record);
	record[len - 1] ^= 1;
	send_raw(f, record, len);
	expect_text(f, "last");
	move(f);
	assert_true(stream_pending(&f->near));
	expect_refused(f, RECORD_BAD_RECORD_MAC);
	move(f);
	assert_int_equal(stream_write(&f->near, "x", 1), -EPIPE);
	assert_string_equal(tls_records_error(&f->near), "bad record mac");
}

/* close_notify waits behind data that the socket does not take. */
static void end_blocked(struct fixture *f)
{
	static unsigned char text[RECORD_BYTES_MAX];
	static const char data[65536];
	struct record_text got = { 0 };
	size_t written = 0, heard = 0;
	ssize_t n;
	int r;

	by_hand(f);
	do {
		n = stream_write(&f->near, data, sizeof(data));
		written += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	assert_int_equal(n, -EAGAIN);
	move(f);
	assert_int_equal(stream_shutdown(&f->near), -EAGAIN);
	move(f);
	while (got.type != RECORD_ALERT) {
		r = stream_shutdown(&f->near);
		assert_true(r == 0 || r == -EAGAIN);
		move(f);
		got = hear(f, text);
		heard += got.type == RECORD_DATA ? got.len : 0;
	}
	assert_true(heard >= written && heard <= written + sizeof(data));
	assert_int_equal(text[1], RECORD_CLOSE_NOTIFY);
	assert_int_equal(recv(f->far.fd, text, 1, 0), 0);
}

static void test_REC_13_ends_go_on(void **state)
{
	(void)state;
	for_each_kind(ended);
	for_each_kind(failed);
	for_each_kind(end_blocked);
}

/* ---- what is given ---- */

/* By what contexts.c knows a key is this process's own: in another one the number may be that of
 * another key. */
static void in_another_process(struct fixture *f)
{
	struct fixture other;
	struct tls_records_state head;
	char *bytes;
	size_t len;

	setup(&other, f->kind, f->near_is_server);
	pass(&other.near, &other.far, "x");
	pass(&other.far, &other.near, "x");
	bytes = give(&f->near, &len);
	memcpy(&head, bytes, sizeof(head));
	for (int d = 0; d < 2; d++) {
		assert_true(near_connection(&other)->states[d].keyed);
		head.connection.states[d].keyed = near_connection(&other)->states[d].keyed;
		head.connection.states[d].slot = near_connection(&other)->states[d].slot;
	}
	memcpy(bytes, &head, sizeof(head));
	assert_int_equal(tls_records_resume(&f->near, view_make(bytes, len)), 0);
	free(bytes);
	pass(&f->near, &f->far, "near");
	pass(&f->far, &f->near, "far");
	pass(&other.near, &other.far, "near");
	pass(&other.far, &other.near, "far");
	teardown(&other);
}

static void test_a_process_knows_only_its_own_keys(void **state)
{
	(void)state;
	for_each_kind(in_another_process);
}

/* A state with something of everything behind it, cut and prolonged. */
static void test_REC_13_what_is_no_state(void **state)
{
	struct tls_records_state head;
	struct fixture f;
	char *bytes;
	size_t len;

	(void)state;
	setup(&f, &kinds[0], true);
	by_hand(&f);
	put(&f, RECORD_DATA, "hello", 5, 0);
	send_raw(&f, "\x17\x03\x03", 3);
	assert_int_equal(take(&f, (char *)&head, 2), 2);
	bytes = give(&f.near, &len);
	memcpy(&head, bytes, sizeof(head));
	assert_true(head.part && head.opened);
	bytes = realloc(bytes, len + 1);
	assert_non_null(bytes);
	bytes[len] = 0;
	for (size_t n = 0; n <= len + 1; n++) {
		if (n != len)
			assert_int_equal(tls_records_resume(&f.near, view_make(bytes, n)), -EINVAL);
		assert_false(stream_is_tls(&f.near));
	}
	head.owed = 65537;
	memcpy(bytes, &head, sizeof(head));
	assert_int_equal(tls_records_resume(&f.near, view_make(bytes, len)), -EINVAL);
	head.owed = 0;
	memcpy(bytes, &head, sizeof(head));
	assert_int_equal(tls_records_resume(&f.near, view_make(bytes, len)), 0);
	assert_int_equal(tls_records_resume(&f.near, view_make(bytes, len)), -ENOTSUP);
	expect_text(&f, "llo");
	free(bytes);
	teardown(&f);
}

/* Then it goes on where it is. */
static void test_what_cannot_be_given(void **state)
{
	struct buf to = { .limit = 100 };
	struct fixture f;

	(void)state;
	setup(&f, &kinds[0], true);
	assert_int_equal(tls_records_give(&f.far, &to), -ENOTSUP);
	assert_int_equal(tls_records_give(&f.near, &to), -ENOBUFS);
	assert_int_equal(to.len, 0);
	assert_non_null(tls_records_connection(&f.near));
	pass(&f.near, &f.far, "on");
	pass(&f.far, &f.near, "on");
	teardown(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_REC_13_every_byte_whenever_it_moves),
		cmocka_unit_test(test_REC_13_behind_a_change_of_keys),
		cmocka_unit_test(test_REC_13_counts_go_on),
		cmocka_unit_test(test_REC_13_ends_go_on),
		cmocka_unit_test(test_a_process_knows_only_its_own_keys),
		cmocka_unit_test(test_REC_13_what_is_no_state),
		cmocka_unit_test(test_what_cannot_be_given),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

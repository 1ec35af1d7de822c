// SPDX-License-Identifier: Apache-2.0
/* A stream that has left OpenSSL, with OpenSSL at its other end: every byte, the switch itself, and
 * keys that have been used enough. */
#include "unit/records_flow.h"

#include "record/post.h"

#include <sys/ioctl.h>

/* ---- data ---- */

static void exchange(struct fixture *f)
{
	uint32_t seed = (uint32_t)(f->kind - kinds) * 2 + f->near_is_server;
	struct flow flows[2] = {
		{ .from = &f->near, .to = &f->far, .total = 700000 },
		{ .from = &f->far, .to = &f->near, .total = 700000 },
	};

	for (int i = 0; flows[0].read < flows[0].total || flows[1].read < flows[1].total; i++) {
		assert_in_range(i, 0, 1000000);
		flow_step(f, flows, &seed);
	}
}

static void test_every_byte_both_ways(void **state)
{
	(void)state;
	for_each_kind(exchange);
}

/* One at a time, and what is pending is told. */
static void byte_by_byte(struct fixture *f)
{
	char byte;

	for (int i = 0; i < 3; i++)
		assert_int_equal(stream_write(&f->far, "hello", 5), 5);
	for (int i = 0; i < 15; i++) {
		assert_int_equal(stream_read(&f->near, &byte, 1), 1);
		assert_int_equal(byte, "hello"[i % 5]);
		assert_int_equal(stream_pending(&f->near), i < 14);
	}
	assert_int_equal(stream_read(&f->near, &byte, 1), -EAGAIN);
	assert_int_equal(f->near.want, EPOLLIN);
}

static void test_a_reader_of_single_bytes(void **state)
{
	(void)state;
	for_each_kind(byte_by_byte);
}

/* REC-11: what is there together is read at once, and what is written at once leaves in full
 * records. */
static void put_together(struct fixture *f)
{
	static char data[65536];
	char piece[300] = { 0 };

	for (int i = 0; i < 100; i++)
		assert_int_equal(stream_write(&f->far, piece, sizeof(piece)), sizeof(piece));
	assert_int_equal(stream_read(&f->near, data, sizeof(data)), 100 * sizeof(piece));
	by_hand(f);
	memset(data, 'd', sizeof(data));
	assert_int_equal(stream_write(&f->near, data, 40000), 40000);
	expect_record(f, RECORD_DATA, data, RECORD_MAX);
	expect_record(f, RECORD_DATA, data, RECORD_MAX);
	expect_record(f, RECORD_DATA, data, 40000 - 2 * RECORD_MAX);
	expect_silence(f);
}

static void test_records_together(void **state)
{
	(void)state;
	for_each_kind(put_together);
}

/* ---- a socket that takes little ---- */

/* Bytes of near's that have left it. */
static size_t sent_by_near(const struct fixture *f, size_t received)
{
	int n = 0;

	assert_int_equal(ioctl(f->far.fd, FIONREAD, &n), 0);
	return received + (size_t)n;
}

/* Of total bytes, those whose records are whole in the first `sent` bytes. All records are full but
 * for the last one of each 64 KiB or 128 records: so much is one write's. */
static size_t whole(const struct fixture *f, size_t sent, size_t total, size_t full)
{
	const struct record_state *state = &f->hand.states[RECORD_READ];
	size_t overhead = record_overhead(
		(enum record_version)state->version, (enum record_cipher)state->cipher);
	size_t at = 0, one = MIN((size_t)65536, 128 * full);

	while (at < total) {
		size_t n = MIN(MIN(full, total - at), one - at % one);

		if (sent < n + overhead)
			break;
		sent -= n + overhead;
		at += n;
	}
	return at;
}

static void expect_all(struct fixture *f, const unsigned char *wire, size_t len, size_t total)
{
	static unsigned char text[RECORD_BYTES_MAX];
	struct record_text got;
	uint32_t at = 0;

	for (size_t i = 0; i < len;) {
		int n = record_length(&f->hand.states[RECORD_READ], wire + i);

		assert_true(n > 0);
		assert_int_equal(
			record_open(&f->hand.states[RECORD_READ], wire + i, (size_t)n, text, &got),
			0);
		for (size_t k = 0; k < got.len; k++, at++)
			assert_int_equal(text[k], pattern(at));
		i += (size_t)n;
	}
	assert_int_equal(at, total);
}

static void write_blocked_in(struct fixture *f, size_t full)
{
	enum { TOTAL = 200000 };
	unsigned char *data = malloc(TOTAL), *wire = malloc(2 * TOTAL);
	size_t written = 0, received = 0;
	int size = 4096, again = 0;

	assert_true(data && wire);
	for (uint32_t i = 0; i < TOTAL; i++)
		data[i] = pattern(i);
	by_hand(f);
	near_connection(f)->peer.payload_max = (uint16_t)full;
	setsockopt(f->near.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	while (written < TOTAL) {
		ssize_t n = stream_write(&f->near, data + written, TOTAL - written);

		again += n == -EAGAIN;
		if (n < 0)
			assert_int_equal(n, -EAGAIN);
		else
			written += (size_t)n;
		assert_int_equal(written, whole(f, sent_by_near(f, received), TOTAL, full));
		n = recv(f->far.fd, wire + received, 1700, 0);
		received += n > 0 ? (size_t)n : 0;
	}
	assert_true(again > 10);
	for (ssize_t n = 1; n > 0; received += n > 0 ? (size_t)n : 0)
		n = recv(f->far.fd, wire + received, 2 * TOTAL - received, 0);
	expect_all(f, wire, received, TOTAL);
	free(data);
	free(wire);
}

static void write_blocked(struct fixture *f)
{
	static const uint16_t sizes[] = { RECORD_MAX, 64, 512, 1000, 4096 };

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		write_blocked_in(f, sizes[i]);
		teardown(f);
		setup(f, f->kind, f->near_is_server);
	}
}

static void test_a_write_counts_what_is_sent(void **state)
{
	(void)state;
	for_each_kind(write_blocked);
}

/* ---- with OpenSSL ---- */

/* What OpenSSL gets when far has sent what cannot be opened. */
static void refuse_openssl(struct fixture *f)
{
	char byte;

	send_raw(f, (unsigned char[]){ RECORD_DATA, 3, 3, 0, 17, [21] = 0 }, 22);
	assert_int_equal(stream_read(&f->near, &byte, 1), -EPROTO);
	assert_int_equal(stream_read(&f->far, &byte, 1), -EPROTO);
	assert_non_null(strstr(tls_stream_error(&f->far), "alert bad_record_mac"));
}

static void test_openssl_hears_why(void **state)
{
	(void)state;
	for_each_kind(refuse_openssl);
}

/* ---- the switch ---- */

/* REC-20: some of a record read, whole ones and the beginning of another one not. */
static void take_in_the_middle(const struct kind *kind, bool server, bool ends)
{
	unsigned char last[64];
	struct fixture f;
	char data[64];
	size_t len;

	shake_hands(&f, kind, server);
	pass(&f.near, &f.far, "near");
	pass(&f.far, &f.near, "far");
	by_hand(&f);
	tls_stream_read_ahead(&f.near, true);
	put(&f, RECORD_DATA, "first", 5, 0);
	put(&f, RECORD_DATA, "second", 6, 0);
	if (f.is_13)
		put_update(&f, true);
	put(&f, RECORD_DATA, "third", 5, 0);
	if (ends)
		put(&f, RECORD_ALERT, record_close_notify, 2, 0);
	len = make_record(&f, RECORD_DATA, "fourth", 6, 0, last);
	send_raw(&f, last, 7);
	assert_int_equal(stream_read(&f.near, data, 3), 3);
	assert_int_equal(tls_records_take(&f.near), 0);
	assert_true(stream_pending(&f.near));
	expect_text(&f, "st");
	expect_text(&f, "secondthird");
	if (f.is_13) {
		expect_record(&f, RECORD_HANDSHAKE, record_key_update, 5);
		next_key(&f, RECORD_READ);
	}
	send_raw(&f, last + 7, len - 7);
	if (ends)
		assert_int_equal(take(&f, data, sizeof(data)), STREAM_EOF);
	else
		expect_text(&f, "fourth");
	assert_int_equal(stream_write(&f.near, "back", 4), 4);
	expect_record(&f, RECORD_DATA, "back", 4);
	teardown(&f);
}

static void test_the_switch_loses_nothing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		for (int j = 0; j < 4; j++)
			take_in_the_middle(&kinds[i], j % 2, j / 2);
	}
}

/* A server's tickets that nobody has read yet go with its first bytes, or its end. */
static void test_held_tickets_go_first(void **state)
{
	(void)state;
	for (size_t i = 0; i < 3; i++) {
		for (int ends = 0; ends < 2; ends++) {
			struct tls_client *usual = clients[i];
			struct fixture f;
			char byte;

			clients[i] = tls_pair_client(); /* who has no tickets yet */
			shake_hands(&f, &kinds[i], true);
			assert_true(tls_library_settle(tls_stream_layer(&f.near)));
			assert_true(tls_stream_layer(&f.near)->held.len > 0);
			assert_int_equal(tls_records_take(&f.near), 0);
			assert_int_equal(stream_read(&f.far, &byte, 1), -EAGAIN);
			if (ends) {
				assert_int_equal(stream_shutdown(&f.near), 0);
				assert_int_equal(stream_read(&f.far, &byte, 1), STREAM_EOF);
			} else {
				pass(&f.near, &f.far, "hello");
				pass(&f.far, &f.near, "hello");
			}
			teardown(&f);
			shake_hands(&f, &kinds[i], true);
			assert_true(tls_stream_resumed(&f.far));
			teardown(&f);
			tls_client_unref(clients[i]);
			clients[i] = usual;
		}
	}
}

/* RFC 8446 section 5.1: a node's ticket whose beginning, be it a byte of its header, came with one
 * record, and the rest with another one. before: a whole one is in front of it. */
static void take_within_a_ticket(const struct kind *kind, size_t cut, bool before, size_t padding)
{
	static const unsigned char ticket[] = { 4, 0, 0, 15, 0, 0, 14, 16, 1, 2, 3, 4, 1, 0, 0, 1,
		't', 0, 0 };
	unsigned char out[2 * sizeof(ticket)];
	size_t len = before ? sizeof(ticket) : 0;
	struct fixture f;
	char data[64];

	shake_hands(&f, kind, false);
	pass(&f.near, &f.far, "near");
	pass(&f.far, &f.near, "far");
	by_hand(&f);
	memcpy(out, ticket, sizeof(ticket));
	memcpy(out + len, ticket, cut);
	put(&f, RECORD_HANDSHAKE, out, len + cut, padding);
	expect_nothing(&f);
	assert_int_equal(tls_records_take(&f.near), cut ? TLS_KEYS_NOT_YET : 0);
	if (cut) {
		put(&f, RECORD_HANDSHAKE, ticket + cut, sizeof(ticket) - cut, 0);
		put(&f, RECORD_DATA, "behind", 6, 0);
		assert_int_equal(take(&f, data, sizeof(data)), 6);
		assert_memory_equal(data, "behind", 6);
		assert_int_equal(tls_records_take(&f.near), 0);
	}
	put(&f, RECORD_DATA, "hello", 5, 0);
	expect_text(&f, "hello");
	assert_int_equal(stream_write(&f.near, "back", 4), 4);
	expect_record(&f, RECORD_DATA, "back", 4);
	teardown(&f);
}

static void test_REC_20_no_switch_within_a_message(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].version != TLS1_3_VERSION)
			continue;
		for (size_t cut = 1; cut < 19; cut++) {
			take_within_a_ticket(&kinds[i], cut, false, 0);
			take_within_a_ticket(&kinds[i], cut, true, 0);
			take_within_a_ticket(&kinds[i], cut, true, 7);
		}
		take_within_a_ticket(&kinds[i], 0, true, 0);
	}
}

/* Within a record of ours, or before the handshake is over, it has to wait; on a stream that is not
 * OpenSSL's there is nothing to take. */
static void test_when_it_cannot_be_taken(void **state)
{
	static char data[1 << 20];
	struct fixture f;
	int size = 4096;
	ssize_t n;

	(void)state;
	shake_hands(&f, &kinds[0], true);
	pass(&f.near, &f.far, "near");
	setsockopt(f.near.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	do {
		n = stream_write(&f.near, data, sizeof(data));
	} while (n > 0);
	assert_int_equal(n, -EAGAIN);
	assert_int_equal(tls_records_take(&f.near), TLS_KEYS_NOT_YET);
	assert_null(tls_records_connection(&f.near));
	assert_false(tls_records_are_worn(&f.near));
	teardown(&f);
	setup(&f, &kinds[0], true);
	assert_int_equal(tls_records_take(&f.near), -ENOTSUP);
	pass(&f.near, &f.far, "on");
	pass(&f.far, &f.near, "on");
	teardown(&f);
}

/* REC-2: of a cipher that failed its trial OpenSSL keeps the leg, and the others lose nothing. */
static void test_a_cipher_that_failed_stays_with_openssl(void **state)
{
	(void)state;
	for (int failed = 0; failed < RECORD_CIPHERS; failed++) {
		tls_prefer_ciphers((BIT(RECORD_CIPHERS) - 1) & ~BIT(failed));
		for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
			int r = (int)kinds[i].cipher == failed ? -ENOTSUP : 0;
			struct fixture f;

			shake_hands(&f, &kinds[i], true);
			pass(&f.near, &f.far, "near");
			assert_int_equal(tls_records_take(&f.near), r);
			assert_int_equal(tls_records_connection(&f.near) == NULL, r != 0);
			pass(&f.far, &f.near, "on");
			pass(&f.near, &f.far, "on");
			teardown(&f);
		}
	}
	tls_prefer_ciphers(BIT(RECORD_CIPHERS) - 1);
}

/* REC-22, RFC 6066 section 4: what a client has asked for holds after the switch. */
static void small_records(struct fixture *f)
{
	char data[1500];

	by_hand(f);
	memset(data, 'd', sizeof(data));
	assert_int_equal(stream_write(&f->near, data, sizeof(data)), sizeof(data));
	expect_record(f, RECORD_DATA, data, 512);
	expect_record(f, RECORD_DATA, data, 512);
	expect_record(f, RECORD_DATA, data, sizeof(data) - 1024);
	expect_silence(f);
}

static void test_a_peer_that_wants_small_records(void **state)
{
	(void)state;
	if (!PEER_HAS_FRAGMENTS)
		skip();
	max_fragment = 1; /* 512 bytes */
	for_each_kind(small_records);
	max_fragment = 0;
}

/* ---- keys that have been used ---- */

/* Both ends have sent so many records in one direction. */
static void set_number(struct fixture *f, enum record_direction direction, uint64_t number)
{
	near_connection(f)->states[direction].seq = number;
	f->hand.states[direction == RECORD_READ ? RECORD_WRITE : RECORD_READ].seq = number;
}

/* TLS 1.3 with AES-GCM: a KeyUpdate of ours under the old key, and the next key (RFC 8446 section
 * 5.5). */
static void change_in_time(struct fixture *f)
{
	static const char data[65536];
	bool due = f->is_13 && f->kind->cipher != RECORD_CHACHA20_POLY1305;

	by_hand(f);
	set_number(f, RECORD_WRITE, RECORD_UPDATE_AT - 1);
	assert_int_equal(stream_write(&f->near, "last", 4), 4);
	expect_record(f, RECORD_DATA, "last", 4);
	assert_int_equal(stream_write(&f->near, "first", 5), 5);
	if (due) {
		expect_record(f, RECORD_HANDSHAKE, record_key_update, sizeof(record_key_update));
		next_key(f, RECORD_READ);
	}
	expect_record(f, RECORD_DATA, "first", 5);
	assert_int_equal(
		near_connection(f)->states[RECORD_WRITE].seq, due ? 1 : RECORD_UPDATE_AT + 1);
	expect_silence(f);
	if (!due)
		return;
	set_number(f, RECORD_WRITE, RECORD_UPDATE_AT - 1);
	near_connection(f)->peer.payload_max = 512;
	assert_int_equal(stream_write(&f->near, data, sizeof(data)), sizeof(data));
	assert_true(near_connection(f)->states[RECORD_WRITE].seq < UINT64_C(1) << 23);
}

static void test_our_key_update_comes_in_time(void **state)
{
	(void)state;
	for_each_kind(change_in_time);
}

/* TLS 1.2 cannot change keys: it comes to its end, which can still be said. */
static void wear(struct fixture *f)
{
	bool chacha = f->kind->cipher == RECORD_CHACHA20_POLY1305;
	uint64_t end = chacha ? UINT64_MAX - 512 : RECORD_END_AT;
	char byte;

	by_hand(f);
	assert_false(tls_records_are_worn(&f->near));
	if (f->is_13) {
		near_connection(f)->states[RECORD_READ].seq = RECORD_LAST;
		near_connection(f)->states[RECORD_WRITE].seq = RECORD_UPDATE_AT;
		assert_false(tls_records_are_worn(&f->near));
		return;
	}
	set_number(f, RECORD_READ, end - 1);
	assert_false(tls_records_are_worn(&f->near));
	put(f, RECORD_DATA, "x", 1, 0);
	expect_text(f, "x");
	assert_true(tls_records_are_worn(&f->near));
	set_number(f, RECORD_READ, 7);
	set_number(f, RECORD_WRITE, end - 1);
	assert_false(tls_records_are_worn(&f->near));
	assert_int_equal(stream_write(&f->near, "y", 1), 1);
	assert_true(tls_records_are_worn(&f->near));
	assert_int_equal(stream_write(&f->near, "z", 1), 1);
	expect_record(f, RECORD_DATA, "y", 1);
	expect_record(f, RECORD_DATA, "z", 1);
	assert_int_equal(stream_shutdown(&f->near), 0);
	expect_alert(f, 1, RECORD_CLOSE_NOTIFY);
	assert_int_equal(recv(f->far.fd, &byte, 1, 0), 0);
}

static void test_keys_of_tls_12_wear(void **state)
{
	(void)state;
	for_each_kind(wear);
}

/* At the last number nothing is sealed or opened any more, whatever comes. */
static void use_up(struct fixture *f)
{
	bool chacha = f->kind->cipher == RECORD_CHACHA20_POLY1305;
	uint64_t last = chacha ? UINT64_MAX : RECORD_LAST, last_read = last;
	char byte;

	if (f->is_13) /* ours would change before; the peer's numbers are its own affair */
		last_read = UINT64_MAX;
	by_hand(f);
	near_connection(f)->states[RECORD_READ].seq = last_read;
	f->hand.states[RECORD_WRITE].seq = 9;
	put(f, RECORD_DATA, "x", 1, 0);
	assert_int_equal(take(f, &byte, 1), -EKEYEXPIRED);
	assert_string_equal(tls_records_error(&f->near), "the keys are used up");
	assert_int_equal(take(f, &byte, 1), -EKEYEXPIRED);
	assert_int_equal(near_connection(f)->states[RECORD_READ].seq, last_read);
	near_connection(f)->states[RECORD_WRITE].seq = last;
	assert_int_equal(stream_write(&f->near, "y", 1), -EKEYEXPIRED);
	assert_int_equal(stream_write(&f->near, "y", 1), -EPIPE);
	assert_int_equal(near_connection(f)->states[RECORD_WRITE].seq, last);
	expect_silence(f);
}

static void test_numbers_do_not_wrap(void **state)
{
	(void)state;
	for_each_kind(use_up);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_byte_both_ways),
		cmocka_unit_test(test_a_reader_of_single_bytes),
		cmocka_unit_test(test_records_together),
		cmocka_unit_test(test_a_write_counts_what_is_sent),
		cmocka_unit_test(test_openssl_hears_why),
		cmocka_unit_test(test_the_switch_loses_nothing),
		cmocka_unit_test(test_held_tickets_go_first),
		cmocka_unit_test(test_REC_20_no_switch_within_a_message),
		cmocka_unit_test(test_when_it_cannot_be_taken),
		cmocka_unit_test(test_a_cipher_that_failed_stays_with_openssl),
		cmocka_unit_test(test_our_key_update_comes_in_time),
		cmocka_unit_test(test_keys_of_tls_12_wear),
		cmocka_unit_test(test_numbers_do_not_wrap),
		/* the last, because clients resume what they have asked for */
		cmocka_unit_test(test_a_peer_that_wants_small_records),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

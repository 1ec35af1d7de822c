// SPDX-License-Identifier: Apache-2.0
/*
 * What kernel TLS must get right beside plain data: padded records, key updates from either side,
 * tickets that come after the switch, every kind of end, and the switch itself in the middle of
 * traffic. The far ends are OpenSSL's. Runs where the kernel has TLS, that is, mostly in a virtual
 * machine; elsewhere it says so and fails.
 */
#include "spliced.h"

static void test_records_of_one_byte_and_of_16_kib(void **state)
{
	static char big[100000], got[100000];
	struct fixture f;

	(void)state;
	setup(&f);
	for (int i = 0; i < 300; i++)
		pass(&f, i & 1, i % 7 ? "x" : "yz");
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 31 >> 3);
	for (int side = 0; side < 2; side++) {
		give(&f, side, big, sizeof(big));
		assert_int_equal(take(&f, !side, got, sizeof(got), NULL), sizeof(got));
		assert_memory_equal(got, big, sizeof(big));
	}
	teardown(&f);
}

static size_t pad_all(SSL *ssl, int type, size_t len, void *arg)
{
	(void)ssl;
	(void)type;
	(void)arg;
	return len % 3 ? 40 + len % 100 : 0;
}

static void test_padded_records(void **state)
{
	struct fixture f;

	(void)state;
	setup(&f);
	for (int side = 0; side < 2; side++) {
		peer_pads(ssl_of(&f, side), pad_all, NULL);
		for (int i = 0; i < 60; i++) {
			char text[64];

			snprintf(text, sizeof(text), "record %d %.*s", i, i % 20,
				"....................");
			pass(&f, side, text);
		}
	}
	teardown(&f);
}

/* Several key updates, asked for in return or not, with data before and after. */
static void test_key_updates(void **state)
{
	for (int side = 0; side < 2; side++) {
		struct fixture f;
		ssize_t last;
		char c;

		(void)state;
		setup(&f);
		for (int i = 0; i < 5; i++) {
			pass(&f, side, "before");
			pass(&f, !side, "other way");
			int type = i & 1 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;

			assert_true(peer_updates(ssl_of(&f, side), type));
			if (!kernel.ktls.rekey)
				break;
			pass(&f, side, "after");
			pass(&f, !side, "other way");
		}
		if (!kernel.ktls.rekey) { /* a clean end, named */
			assert_int_equal(take(&f, side, &c, 1, &last), 0);
			assert_int_equal(last, STREAM_EOF);
			assert_int_equal(take(&f, !side, &c, 1, &last), 0);
			assert_int_equal(last, STREAM_EOF);
			run_until_done(&f);
			assert_int_equal(f.end, RELAY_END_KEY_UPDATE);
		}
		teardown(&f);
	}
}

/* Records that have been sent to a peer pay for changes of its keys without data between (REC-31),
 * and for no more than these. */
static void test_REC_31_key_updates_are_paid_for_by_data(void **state)
{
	enum { PAID = 50 };

	(void)state;
	for (int one_more = 0; kernel.ktls.rekey && one_more < 2; one_more++) {
		struct fixture f;
		ssize_t last;
		char c;

		setup(&f);
		pass(&f, 0, "data that counts anew");
		for (int i = 0; i < PAID; i++)
			pass(&f, 1, "paid");
		for (int i = 0; i < RECORD_QUIET_MAX + PAID + one_more; i++) {
			assert_true(peer_updates(ssl_of(&f, 0), SSL_KEY_UPDATE_NOT_REQUESTED));
		}
		if (!one_more) {
			pass(&f, 0, "after");
			pass(&f, 1, "other way");
		} else {
			take(&f, 1, &c, 1, &last);
			run_until_done(&f);
			assert_int_equal(f.end, RELAY_END_CLIENT_ERROR);
		}
		teardown(&f);
	}
}

/* What the peer sent right before its key update still arrives. */
static void test_data_before_a_key_update_arrives(void **state)
{
	static char big[50000], got[50000];
	struct fixture f;

	(void)state;
	setup(&f);
	memset(big, 'b', sizeof(big));
	assert_int_equal(stream_write(&f.far[0], big, 16384), 16384);
	assert_true(peer_updates(ssl_of(&f, 0), SSL_KEY_UPDATE_NOT_REQUESTED));
	assert_int_equal(take(&f, 1, got, 16384, NULL), 16384);
	assert_memory_equal(got, big, 16384);
	teardown(&f);
}

/* Data and the key update behind it are there in one read: the kernel opens both, gives the data
 * alone, and epoll says nothing of the rest. */
static void test_a_key_update_in_one_read_with_data(void **state)
{
	static const int kinds[] = { SSL_KEY_UPDATE_NOT_REQUESTED, SSL_KEY_UPDATE_REQUESTED };

	(void)state;
	for (int i = 0; i < 4; i++) {
		int side = i & 1;
		struct fixture f;
		char got[8];

		setup(&f);
		assert_int_equal(stream_write(&f.far[side], "before", 6), 6);
		assert_true(peer_updates(ssl_of(&f, side), kinds[i / 2]));
		usleep(20000); /* the relay has not looked yet */
		assert_int_equal(take(&f, !side, got, 6, NULL), 6);
		assert_memory_equal(got, "before", 6);
		if (kernel.ktls.rekey) {
			pass(&f, side, "after");
			pass(&f, !side, "other way");
		} else {
			run_until_done(&f);
			assert_int_equal(f.end, RELAY_END_KEY_UPDATE);
		}
		teardown(&f);
	}
}

static void test_tickets_after_the_switch(void **state)
{
	struct fixture f;

	(void)state;
	if (!PEER_HAS_TICKETS)
		skip_because("AWS-LC: a peer cannot send a ticket whenever it likes");
	setup(&f);
	for (int i = 0; i < 3; i++) { /* the node is the server of its leg */
		assert_true(peer_makes_ticket(ssl_of(&f, 1)));
		pass(&f, 1, "with a ticket before it");
	}
	pass(&f, 0, "and back");
	teardown(&f);
}

/* A node's, because it alone may send tickets. */
static void test_messages_without_data_end_it(void **state)
{
	struct fixture f;

	(void)state;
	if (!PEER_HAS_TICKETS)
		skip_because("AWS-LC: a peer cannot send a ticket whenever it likes");
	setup(&f);
	pass(&f, 1, "the handshake's own tickets go first");
	for (int round = 0; round < 3; round++) { /* as many as are allowed, with data between */
		for (int i = 0; i < 32; i++) {
			assert_true(peer_makes_ticket(ssl_of(&f, 1)));
			assert_int_equal(SSL_do_handshake(ssl_of(&f, 1)), 1);
		}
		pass(&f, 1, "behind many tickets");
	}
	for (int i = 0; i < 33; i++) {
		assert_true(peer_makes_ticket(ssl_of(&f, 1)));
		assert_int_equal(SSL_do_handshake(ssl_of(&f, 1)), 1);
	}
	run_until_done(&f);
	assert_int_equal(f.end, RELAY_END_NODE_ERROR);
	teardown(&f);
}

static void test_clean_end_both_orders(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct fixture f;
		ssize_t last;
		char c;

		setup(&f);
		pass(&f, side, "last words");
		assert_int_equal(stream_shutdown(&f.far[side]), 0); /* close_notify and FIN */
		assert_int_equal(take(&f, !side, &c, 1, &last), 0);
		assert_int_equal(last, STREAM_EOF);
		pass(&f, !side, "the other direction goes on");
		assert_int_equal(stream_shutdown(&f.far[!side]), 0);
		assert_int_equal(take(&f, side, &c, 1, &last), 0);
		assert_int_equal(last, STREAM_EOF);
		run_until_done(&f);
		assert_int_equal(f.end, side ? RELAY_END_NODE_EOF : RELAY_END_CLIENT_EOF);
		teardown(&f);
	}
}

/* close_notify alone is the end of a direction; nobody has to send FIN. */
static void test_close_notify_without_fin(void **state)
{
	struct fixture f;
	ssize_t last;
	char c;

	(void)state;
	setup(&f);
	assert_int_equal(SSL_shutdown(ssl_of(&f, 0)), 0);
	assert_int_equal(take(&f, 1, &c, 1, &last), 0);
	assert_int_equal(last, STREAM_EOF);
	teardown(&f);
}

static void test_truncation_is_never_a_clean_end(void **state)
{
	(void)state;
	for (int side = 0; side < 2; side++) {
		struct fixture f;
		ssize_t last;
		char c;

		setup(&f);
		pass(&f, side, "said before");
		shutdown(f.far[side].fd, SHUT_WR); /* FIN, no close_notify */
		assert_int_equal(take(&f, !side, &c, 1, &last), 0);
		assert_int_equal(last, -ECONNABORTED);
		teardown(&f);
	}
}

static void test_garbage_ends_the_session(void **state)
{
	static const char garbage[] = "this is not a record at all, and long enough";
	struct fixture f;
	ssize_t last;
	char c;

	(void)state;
	setup(&f);
	assert_int_equal(
		send(f.far[0].fd, garbage, sizeof(garbage), MSG_NOSIGNAL), sizeof(garbage));
	assert_int_equal(take(&f, 1, &c, 1, &last), 0);
	assert_int_equal(last, -ECONNABORTED); /* no clean end for the node */
	run_until_done(&f);
	assert_int_equal(f.end, RELAY_END_CLIENT_ERROR);
	teardown(&f);
}

/* Plaintext that OpenSSL has read and a record that has half arrived: the switch waits. */
static void test_switch_waits_for_a_record_boundary(void **state)
{
	char record[4096], got[64];
	struct fixture f;
	ssize_t n;
	BIO *memory = BIO_new(BIO_s_mem());

	(void)state;
	connect_both(&f);
	SSL_set0_wbio(ssl_of(&f, 0), memory);
	assert_int_equal(stream_write(&f.far[0], "split record", 12), 12);
	n = BIO_read(memory, record, sizeof(record));
	assert_true(n > 20);
	assert_int_equal(send(f.far[0].fd, record, 9, MSG_NOSIGNAL), 9);
	usleep(20000);
	assert_int_equal(stream_read(&f.near[0], got, sizeof(got)), -EAGAIN); /* has the header */
	start_relay(&f);
	assert_int_equal(
		relay_path_of(f.relay, RELAY_UP), on_records ? RELAY_PATH_RECORD : RELAY_PATH_COPY);
	assert_int_equal(send(f.far[0].fd, record + 9, (size_t)n - 9, MSG_NOSIGNAL), n - 9);
	assert_int_equal(take(&f, 1, got, 12, NULL), 12);
	assert_memory_equal(got, "split record", 12);
	assert_int_equal(relay_path_of(f.relay, RELAY_UP), RELAY_PATH_KTLS);
	SSL_set0_wbio(ssl_of(&f, 0), BIO_new_socket(f.far[0].fd, BIO_NOCLOSE));
	pass(&f, 0, "goes on");
	pass(&f, 1, "goes on");
	teardown(&f);
}

/* Ciphertext that is queued in the socket when the switch happens. */
static void test_ciphertext_queued_at_the_switch(void **state)
{
	char got[64];
	struct fixture f;

	(void)state;
	connect_both(&f);
	assert_int_equal(stream_write(&f.far[0], "early up", 8), 8);
	assert_int_equal(stream_write(&f.far[1], "early down", 10), 10);
	usleep(20000);
	start_relay(&f);
	assert_int_equal(take(&f, 1, got, 8, NULL), 8);
	assert_memory_equal(got, "early up", 8);
	assert_int_equal(take(&f, 0, got, 10, NULL), 10);
	assert_memory_equal(got, "early down", 10);
	assert_int_equal(relay_path_of(f.relay, RELAY_UP), RELAY_PATH_KTLS);
	teardown(&f);
}

/* The end of stream must not overtake what the kernel's TLS still holds: where the peer's window
 * and the send buffer are small a record does not fit, and its rest waits outside of TCP. */
static void end_behind_data(int from, bool cut)
{
	static char big[16384], got[16384];
	int smallest = 1;

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 17 >> 2);
	for (size_t size = 4000; size <= sizeof(big); size += 2476) {
		struct fixture f;
		ssize_t last;

		connect_both(&f);
		setsockopt(f.near[!from].fd, SOL_SOCKET, SO_SNDBUF, &smallest, sizeof(smallest));
		start_relay(&f);
		give(&f, from, big, size);
		assert_int_equal(cut ? stream_cut(&f.far[from]) : stream_shutdown(&f.far[from]), 0);
		for (int i = 0; i < 20; i++) /* nobody reads yet */
			assert_int_equal(loop_run_once(&f.loop, 1), 0);
		assert_int_equal(take(&f, !from, got, size, NULL), size);
		assert_memory_equal(got, big, size);
		assert_int_equal(take(&f, !from, got, 1, &last), 0);
		assert_int_equal(last, cut ? -ECONNABORTED : STREAM_EOF);
		teardown(&f);
	}
}

static void test_end_does_not_overtake_data(void **state)
{
	(void)state;
	far_window = 4096;
	end_behind_data(0, false);
	end_behind_data(1, false);
	far_window = 0;
}

static void test_a_cut_does_not_overtake_data(void **state)
{
	(void)state;
	far_window = 4096;
	end_behind_data(1, true);
	far_window = 0;
}

/* The client says all of it and ends; the node ends in the middle of a record, and has read
 * nothing yet. */
static void end_in_half_a_record(struct fixture *f, char *big, size_t len)
{
	static const char half[] = "\x17\x03\x03\x00\x40 and no more";
	ssize_t last;
	char byte;

	for (size_t i = 0; i < len; i++)
		big[i] = (char)(i * 11 >> 3);
	far_window = 4096;
	setup(f);
	far_window = 0;
	give(f, 0, big, len);
	assert_int_equal(stream_shutdown(&f->far[0]), 0);
	assert_int_equal(send(f->far[1].fd, half, sizeof(half), MSG_NOSIGNAL), sizeof(half));
	assert_int_equal(shutdown(f->far[1].fd, SHUT_WR), 0);
	assert_int_equal(take(f, 0, &byte, 1, &last), 0);
	assert_int_equal(last, -ECONNABORTED);
	for (int i = 0; i < 20; i++)
		assert_int_equal(loop_run_once(&f->loop, 1), 0);
}

/* The kernel keeps the piece, and a socket with unread bytes is reset when it is closed: not before
 * the node, which reads slowly, has what was sent to it. */
static void test_half_a_record_at_the_end_costs_the_other_direction_nothing(void **state)
{
	static char big[60000], got[60000];
	struct fixture f;
	ssize_t last;

	(void)state;
	end_in_half_a_record(&f, big, sizeof(big));
	assert_int_equal(take(&f, 1, got, sizeof(got), NULL), sizeof(got));
	assert_memory_equal(got, big, sizeof(big));
	assert_int_equal(take(&f, 1, got, 1, &last), 0);
	assert_int_equal(last, STREAM_EOF);
	run_until_done(&f);
	assert_int_equal(f.end, RELAY_END_TRUNCATED);
	teardown(&f);
}

/* However long that takes: a node that goes on reading makes progress. */
static void test_who_reads_on_after_half_a_record_gets_all(void **state)
{
	static char big[120000], got[120000];
	uint64_t start = clock_mono_ms();
	struct fixture f;
	ssize_t n = 1;

	(void)state;
	owed_ms = 1000;
	end_in_half_a_record(&f, big, sizeof(big));
	for (size_t at = 0; n > 0 || n == -EAGAIN; at += n > 0 ? (size_t)n : 0) {
		for (uint64_t until = clock_mono_ms() + 20; clock_mono_ms() < until;)
			assert_int_equal(loop_run_once(&f.loop, 5), 0);
		n = stream_read(&f.far[1], got + at, MIN(sizeof(got) - at, (size_t)800));
		if (n <= 0 && n != -EAGAIN)
			assert_int_equal(at, sizeof(got));
	}
	assert_int_equal(n, STREAM_EOF);
	assert_memory_equal(got, big, sizeof(big));
	assert_true(clock_mono_ms() - start > 2 * owed_ms);
	run_until_done(&f);
	owed_ms = 5000;
	assert_int_equal(f.end, RELAY_END_TRUNCATED);
	teardown(&f);
}

/* And one that stops is given up, without being asked after all the time. */
static void test_who_stops_after_half_a_record_is_given_up(void **state)
{
	static char big[120000];
	uint64_t start;
	struct fixture f;
	int turns = 0;

	(void)state;
	owed_ms = 1000;
	end_in_half_a_record(&f, big, sizeof(big));
	start = clock_mono_ms();
	for (; !f.done && clock_mono_ms() < start + 10000; turns++)
		assert_int_equal(loop_run_once(&f.loop, 1000), 0);
	owed_ms = 5000;
	assert_true(f.done);
	assert_in_range(clock_mono_ms() - start, 800, 3000);
	assert_in_range(turns, 1, 25);
	teardown(&f);
}

/* ---- short records for who asks for them ---- */

struct sizes {
	size_t count, most; /* of records that have come, without their header */
};

static void on_message(
	int is_write, int version, int type, const void *data, size_t len, SSL *ssl, void *arg)
{
	const unsigned char *header = data;
	struct sizes *sizes = arg;

	(void)version;
	(void)ssl;
	if (is_write || type != SSL3_RT_HEADER || len < 5)
		return;
	sizes->count++;
	sizes->most = MAX(sizes->most, (size_t)header[3] << 8 | header[4]);
}

static void receive_short_records(enum record_version version, uint8_t code)
{
	static char big[50000], got[50000];
	size_t limit = 256u << code;
	struct sizes sizes = { 0, 0 };
	char error[TLS_ERROR_SIZE];
	struct fixture f;

	use_suite(version, RECORD_AES_128_GCM);
	assert_int_equal(tls_client_new(&(struct tls_client_params){ .allow_invalid = true },
				 &asking_client, error),
		0);
	fragment_code = code;
	setup(&f);
	fragment_code = 0;
	SSL_set_msg_callback(ssl_of(&f, 0), on_message);
	SSL_set_msg_callback_arg(ssl_of(&f, 0), &sizes);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)(i * 13 >> 4);
	give(&f, 1, big, sizeof(big));
	assert_int_equal(take(&f, 0, got, sizeof(got), NULL), sizeof(got));
	assert_memory_equal(got, big, sizeof(big));
	assert_in_range(sizes.count, sizeof(big) / limit, sizeof(big));
	assert_int_equal(sizes.most,
		limit + record_overhead(version, RECORD_AES_128_GCM) - RECORD_HEADER_BYTES);
	pass(&f, 0, "goes on");
	teardown(&f);
	tls_client_unref(asking_client);
}

static void test_REC_22_max_fragment_length(void **state)
{
	(void)state;
	if (!PEER_HAS_FRAGMENTS)
		skip_because("AWS-LC: a client cannot ask for shorter records");
	for (uint8_t code = 1; code <= 4; code++) {
		receive_short_records(RECORD_TLS_1_3, code);
		if (kernel.ktls.usable[RECORD_TLS_1_2][RECORD_AES_128_GCM])
			receive_short_records(RECORD_TLS_1_2, code);
	}
	use_suite(RECORD_TLS_1_3, RECORD_AES_128_GCM);
}

/* ---- every version and cipher ---- */

static void test_every_version_and_cipher(void **state)
{
	(void)state;
	for (int v = 0; v < RECORD_VERSIONS; v++) {
		for (int c = 0; c < RECORD_CIPHERS; c++) {
			struct fixture f;
			ssize_t last;
			char byte;

			if (!kernel.ktls.usable[v][c])
				continue;
			use_suite((enum record_version)v, (enum record_cipher)c);
			setup(&f);
			for (int i = 0; i < 10; i++)
				pass(&f, i & 1, "hello on this cipher");
			assert_int_equal(stream_shutdown(&f.far[0]), 0);
			assert_int_equal(take(&f, 1, &byte, 1, &last), 0);
			assert_int_equal(last, STREAM_EOF);
			teardown(&f);
		}
	}
	use_suite(RECORD_TLS_1_3, RECORD_AES_128_GCM);
}

static int group_setup(void **state)
{
	static struct relay_probe probe;
	char error[TLS_ERROR_SIZE];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(tls_process_init(), 0);
	relay_probe(&probe, &kernel, "not loaded");
	use_suite(RECORD_TLS_1_3, RECORD_AES_128_GCM);
	if (tls_client_new(&(struct tls_client_params){ .allow_invalid = true }, &client, error) <
		0)
		return -1;
	return kernel.ktls.usable[RECORD_TLS_1_3][RECORD_AES_128_GCM] ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_records_of_one_byte_and_of_16_kib),
		cmocka_unit_test(test_padded_records),
		cmocka_unit_test(test_key_updates),
		cmocka_unit_test(test_REC_31_key_updates_are_paid_for_by_data),
		cmocka_unit_test(test_data_before_a_key_update_arrives),
		cmocka_unit_test(test_a_key_update_in_one_read_with_data),
		cmocka_unit_test(test_tickets_after_the_switch),
		cmocka_unit_test(test_messages_without_data_end_it),
		cmocka_unit_test(test_clean_end_both_orders),
		cmocka_unit_test(test_close_notify_without_fin),
		cmocka_unit_test(test_truncation_is_never_a_clean_end),
		cmocka_unit_test(test_garbage_ends_the_session),
		cmocka_unit_test(test_switch_waits_for_a_record_boundary),
		cmocka_unit_test(test_ciphertext_queued_at_the_switch),
		cmocka_unit_test(test_end_does_not_overtake_data),
		cmocka_unit_test(test_a_cut_does_not_overtake_data),
		cmocka_unit_test(test_half_a_record_at_the_end_costs_the_other_direction_nothing),
		cmocka_unit_test(test_who_reads_on_after_half_a_record_gets_all),
		cmocka_unit_test(test_who_stops_after_half_a_record_is_given_up),
		cmocka_unit_test(test_REC_22_max_fragment_length),
		cmocka_unit_test(test_every_version_and_cipher),
	};

	int failed = cmocka_run_group_tests_name("from OpenSSL", tests, group_setup, NULL);

	on_records = true;
	return failed + cmocka_run_group_tests_name("from records", tests, group_setup, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* What a peer may say beside data after the handshake, and how much of it. */
#include "unit.h"

#include "record/post.h"

#include <errno.h>

static int said(struct record_peer *peer, int type, const void *data, size_t len)
{
	return record_peer_said(peer, type, data, len);
}

static void test_alerts(void **state)
{
	static const unsigned char closed[] = { 1, 0 }, canceled[] = { 1, 90 }, fatal[] = { 2, 20 };
	struct record_peer peer = { .version = RECORD_TLS_1_3 };

	(void)state;
	for (int v = 0; v < RECORD_VERSIONS; v++) {
		peer.version = (uint8_t)v;
		assert_int_equal(said(&peer, RECORD_ALERT, closed, 2), RECORD_END);
		assert_int_equal(said(&peer, RECORD_ALERT, canceled, 2), RECORD_GO_ON);
		assert_int_equal(said(&peer, RECORD_ALERT, fatal, 2), -ECONNRESET);
		assert_int_equal(said(&peer, RECORD_ALERT, fatal, 1), -EPROTO);
	}
	assert_int_equal(said(&peer, RECORD_ALERT, record_close_notify, 2), RECORD_END);
}

static void test_key_update_ends_its_record(void **state)
{
	static const unsigned char asks[] = { 24, 0, 0, 1, 1 }, wrong[] = { 24, 0, 0, 1, 2 };
	static const unsigned char two[] = { 24, 0, 0, 1, 0, 24, 0, 0, 1, 0 };
	static const unsigned char behind[] = { 4, 0, 0, 1, 9, 24, 0, 0, 1, 1 };
	struct record_peer peer = { .version = RECORD_TLS_1_3 };

	(void)state;
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, record_key_update, 5), RECORD_KEY_UPDATE);
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, asks, 5), RECORD_KEY_UPDATE_REQUESTED);
	assert_int_equal(
		said(&peer, RECORD_HANDSHAKE, behind, sizeof(behind)), RECORD_KEY_UPDATE_REQUESTED);
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, wrong, 5), -EPROTO);
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, two, sizeof(two)), -EPROTO);
	peer = (struct record_peer){ .version = RECORD_TLS_1_3 };
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, asks, 4), RECORD_GO_ON);
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, asks + 4, 1), RECORD_KEY_UPDATE_REQUESTED);
}

/* TLS 1.2: it is told no, once (RFC 5246 section 7.4.1). */
static void test_renegotiation_is_refused(void **state)
{
	static const unsigned char hello[] = { 1, 0, 0, 1, 0 };
	struct record_peer peer = { .version = RECORD_TLS_1_2 };

	(void)state;
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, hello, 5), RECORD_RENEGOTIATION);
	assert_int_equal(record_peer_data(&peer), 0);
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, hello, 5), -EPROTO);
}

static void test_a_client_sends_no_tickets(void **state)
{
	static const unsigned char ticket[] = { 4, 0, 0, 1, 0 };
	struct record_peer peer = { .version = RECORD_TLS_1_3, .is_client = true };

	(void)state;
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, record_key_update, 5), RECORD_KEY_UPDATE);
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, ticket, 5), -EPROTO);
}

/* RFC 8446 section 5.1: nothing comes between the pieces of a message. */
static void test_no_data_within_a_message(void **state)
{
	static const unsigned char ticket[] = { 4, 0, 0, 2, 0, 0 };

	(void)state;
	for (size_t cut = 1; cut < sizeof(ticket); cut++) {
		struct record_peer peer = { .version = RECORD_TLS_1_3 };

		assert_int_equal(said(&peer, RECORD_HANDSHAKE, ticket, cut), RECORD_GO_ON);
		assert_int_equal(record_peer_data(&peer), -EPROTO);
		assert_int_equal(said(&peer, RECORD_DATA, "", 0), -EPROTO);
		assert_int_equal(said(&peer, RECORD_ALERT, record_close_notify, 2), -EPROTO);
	}
}

/* A ticket in pieces over records, at each place. */
static void test_tickets_in_pieces(void **state)
{
	unsigned char ticket[44] = { 4, 0, 0, 40 };

	(void)state;
	for (size_t cut = 1; cut <= sizeof(ticket); cut++) {
		struct record_peer peer = { .version = RECORD_TLS_1_3 };

		assert_int_equal(said(&peer, RECORD_HANDSHAKE, ticket, cut), RECORD_GO_ON);
		assert_int_equal(peer.ticket_rest, cut < 4 ? 0 : sizeof(ticket) - cut);
		if (cut < sizeof(ticket))
			assert_int_equal(
				said(&peer, RECORD_HANDSHAKE, ticket + cut, sizeof(ticket) - cut),
				RECORD_GO_ON);
		assert_int_equal(peer.ticket_rest, 0);
		assert_int_equal(
			said(&peer, RECORD_HANDSHAKE, record_key_update, 5), RECORD_KEY_UPDATE);
	}
}

static void test_other_messages_are_refused(void **state)
{
	(void)state;
	for (int type = 0; type < 256; type++) {
		unsigned char message[5] = { (unsigned char)type, 0, 0, 1, 0 };
		struct record_peer peer = { .version = RECORD_TLS_1_3 };
		int r = said(&peer, RECORD_HANDSHAKE, message, sizeof(message));

		assert_int_equal(r,
			type == 4            ? RECORD_GO_ON
				: type == 24 ? RECORD_KEY_UPDATE
					     : -EPROTO);
		peer = (struct record_peer){ .version = RECORD_TLS_1_3 };
		r = said(&peer, type, message, sizeof(message));
		assert_int_equal(r, -EPROTO);
	}
}

/* RFC 8446 section 5.1: of messages and alerts there are no empty pieces. */
static void test_empty_pieces_are_refused(void **state)
{
	struct record_peer peer = { .version = RECORD_TLS_1_3 };

	(void)state;
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, "", 0), -EPROTO);
	assert_int_equal(said(&peer, RECORD_ALERT, "", 0), -EPROTO);
	assert_int_equal(said(&peer, RECORD_DATA, "", 0), RECORD_GO_ON);
}

static void test_not_for_ever(void **state)
{
	static const unsigned char ticket[] = { 4, 0, 0, 0 };
	unsigned char many[4 * (RECORD_QUIET_MAX + 1)];
	struct record_peer peer = { .version = RECORD_TLS_1_3 };

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < RECORD_QUIET_MAX; i++)
			assert_int_equal(said(&peer, RECORD_DATA, "", 0), RECORD_GO_ON);
		assert_int_equal(record_peer_data(&peer), 0);
	}
	for (int i = 0; i < RECORD_QUIET_MAX; i++)
		assert_int_equal(said(&peer, RECORD_DATA, "", 0), RECORD_GO_ON);
	assert_int_equal(said(&peer, RECORD_DATA, "", 0), -EPROTO);
	for (size_t i = 0; i < sizeof(many); i++)
		many[i] = ticket[i % 4];
	assert_int_equal(record_peer_data(&peer), 0);
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, many, sizeof(many) - 4), RECORD_GO_ON);
	assert_int_equal(record_peer_data(&peer), 0);
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, many, sizeof(many)), -EPROTO);
}

/* A KeyUpdate for each record of data that was sent, at most RECORD_PAID_MAX, beside 32 of
 * anything; nothing else is paid for. */
static void test_key_updates_are_paid_for(void **state)
{
	static const int sent[] = { 0, 1, 100, RECORD_PAID_MAX, RECORD_PAID_MAX + 1, 5000 };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(sent); i++) {
		struct record_peer peer = { .version = RECORD_TLS_1_3 };
		int paid = MIN(sent[i], RECORD_PAID_MAX);

		for (int k = 0; k < sent[i]; k++)
			record_peer_pay(&peer);
		for (int k = 0; k < RECORD_QUIET_MAX; k++)
			assert_int_equal(said(&peer, RECORD_DATA, "", 0), RECORD_GO_ON);
		for (int k = 0; k < paid; k++)
			assert_int_equal(said(&peer, RECORD_HANDSHAKE, record_key_update, 5),
				RECORD_KEY_UPDATE);
		assert_int_equal(said(&peer, RECORD_HANDSHAKE, record_key_update, 5), -EPROTO);
		assert_int_equal(record_peer_data(&peer), 0);
		for (int k = 0; k < RECORD_QUIET_MAX; k++)
			assert_int_equal(said(&peer, RECORD_HANDSHAKE, record_key_update, 5),
				RECORD_KEY_UPDATE);
		record_peer_pay(&peer);
		assert_int_equal(said(&peer, RECORD_DATA, "", 0), -EPROTO);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alerts),
		cmocka_unit_test(test_key_update_ends_its_record),
		cmocka_unit_test(test_renegotiation_is_refused),
		cmocka_unit_test(test_a_client_sends_no_tickets),
		cmocka_unit_test(test_no_data_within_a_message),
		cmocka_unit_test(test_tickets_in_pieces),
		cmocka_unit_test(test_other_messages_are_refused),
		cmocka_unit_test(test_empty_pieces_are_refused),
		cmocka_unit_test(test_not_for_ever),
		cmocka_unit_test(test_key_updates_are_paid_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* What a peer may say beside data after the handshake, and how much of it. */
#include "unit.h"

#include "record/post.h"

#include <errno.h>

static int said(struct record_peer *peer, int type, const void *data, size_t len)
{
	return record_peer_said(peer, RECORD_TLS_1_3, type, data, len);
}

static void test_alerts(void **state)
{
	static const unsigned char closed[] = { 1, 0 }, canceled[] = { 1, 90 }, fatal[] = { 2, 20 };
	struct record_peer peer = { 0 };

	(void)state;
	for (int v = 0; v < RECORD_VERSIONS; v++) {
		enum record_version version = (enum record_version)v;

		assert_int_equal(
			record_peer_said(&peer, version, RECORD_ALERT, closed, 2), RECORD_END);
		assert_int_equal(
			record_peer_said(&peer, version, RECORD_ALERT, canceled, 2), RECORD_GO_ON);
		assert_int_equal(
			record_peer_said(&peer, version, RECORD_ALERT, fatal, 2), -ECONNRESET);
		assert_int_equal(record_peer_said(&peer, version, RECORD_ALERT, fatal, 1), -EPROTO);
	}
	assert_int_equal(said(&peer, RECORD_ALERT, record_close_notify, 2), RECORD_END);
}

static void test_key_update_ends_its_record(void **state)
{
	static const unsigned char asks[] = { 24, 0, 0, 1, 1 }, wrong[] = { 24, 0, 0, 1, 2 };
	static const unsigned char two[] = { 24, 0, 0, 1, 0, 24, 0, 0, 1, 0 };
	static const unsigned char behind[] = { 4, 0, 0, 1, 9, 24, 0, 0, 1, 1 };
	struct record_peer peer = { 0 };

	(void)state;
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, record_key_update, 5), RECORD_KEY_UPDATE);
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, asks, 5), RECORD_KEY_UPDATE_REQUESTED);
	assert_int_equal(
		said(&peer, RECORD_HANDSHAKE, behind, sizeof(behind)), RECORD_KEY_UPDATE_REQUESTED);
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, wrong, 5), -EPROTO);
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, two, sizeof(two)), -EPROTO);
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, asks, 4), -EPROTO);
	assert_int_equal(
		record_peer_said(&peer, RECORD_TLS_1_2, RECORD_HANDSHAKE, asks, 5), -EPROTO);
}

/* A ticket in pieces over records, at each place. */
static void test_tickets_in_pieces(void **state)
{
	unsigned char ticket[44] = { 4, 0, 0, 40 };

	(void)state;
	for (size_t cut = 4; cut <= sizeof(ticket); cut++) {
		struct record_peer peer = { 0 };

		assert_int_equal(said(&peer, RECORD_HANDSHAKE, ticket, cut), RECORD_GO_ON);
		assert_int_equal(peer.ticket_rest, sizeof(ticket) - cut);
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
		struct record_peer peer = { 0 };
		int r = said(&peer, RECORD_HANDSHAKE, message, sizeof(message));

		assert_int_equal(r,
			type == 4            ? RECORD_GO_ON
				: type == 24 ? RECORD_KEY_UPDATE
					     : -EPROTO);
		peer = (struct record_peer){ 0 };
		r = said(&peer, type, message, sizeof(message));
		assert_int_equal(r, -EPROTO);
	}
}

static void test_not_for_ever(void **state)
{
	static const unsigned char ticket[] = { 4, 0, 0, 0 };
	unsigned char many[4 * (RECORD_QUIET_MAX + 1)];
	struct record_peer peer = { 0 };

	(void)state;
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < RECORD_QUIET_MAX; i++)
			assert_int_equal(said(&peer, RECORD_DATA, "", 0), RECORD_GO_ON);
		record_peer_data(&peer);
	}
	for (int i = 0; i < RECORD_QUIET_MAX; i++)
		assert_int_equal(said(&peer, RECORD_DATA, "", 0), RECORD_GO_ON);
	assert_int_equal(said(&peer, RECORD_DATA, "", 0), -EPROTO);
	for (size_t i = 0; i < sizeof(many); i++)
		many[i] = ticket[i % 4];
	record_peer_data(&peer);
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, many, sizeof(many) - 4), RECORD_GO_ON);
	record_peer_data(&peer);
	assert_int_equal(said(&peer, RECORD_HANDSHAKE, many, sizeof(many)), -EPROTO);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_alerts),
		cmocka_unit_test(test_key_update_ends_its_record),
		cmocka_unit_test(test_tickets_in_pieces),
		cmocka_unit_test(test_other_messages_are_refused),
		cmocka_unit_test(test_not_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* A leg that is watched for edges: what an event has announced is read to its end, or is asked for
 * again; whatever the records are like that hold it. */
#include "unit/relayed.h"

#include <sys/socket.h>

static struct fixture *client, *node;

static uint32_t watched(const struct session *s, int leg)
{
	return s->relay->watches[leg].events;
}

/* The client's far end makes records by hand; it has said enough to be watched for edges. */
static void begin(struct session *s)
{
	int room = 16 << 20;

	prepare(s);
	client = &s->ends[RELAY_CLIENT];
	node = &s->ends[RELAY_NODE];
	setup(client, &kinds[0], true);
	setup(node, &kinds[1], false);
	by_hand(client);
	assert_int_equal(
		setsockopt(client->far.fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)), 0);
	start_new(s, RELAY_MODE_RECORD);
	for (int i = 0; i < RELAY_EDGE_EVENTS; i++) {
		assert_false(watched(s, RELAY_CLIENT) & EPOLLET);
		put(client, RECORD_DATA, "hello", 5, 0);
		expect_at_node(s, "hello", 5);
	}
	assert_true(watched(s, RELAY_CLIENT) & EPOLLET);
	assert_int_equal(watched(s, RELAY_NODE), EPOLLIN); /* it has not said anything */
}

/* Records that are there before the relay looks, of 10 bytes each and as long as can be. */
struct crowd {
	unsigned char bytes[40 * RECORD_BYTES_MAX];
	size_t len;
};

static void add(struct crowd *crowd, const char *text)
{
	size_t len = strlen(text);

	crowd->len += make_record(
		client, RECORD_DATA, text, len, RECORD_MAX - len, crowd->bytes + crowd->len);
}

/* One read takes two of these, and has twenty bytes then. */
static void test_short_texts_of_long_records(void **state)
{
	static struct crowd crowd;
	char want[101] = "";
	struct session s;

	(void)state;
	begin(&s);
	crowd.len = 0;
	for (int i = 0; i < 10; i++) {
		add(&crowd, "ten bytes.");
		strcat(want, "ten bytes.");
	}
	send_raw(client, crowd.bytes, crowd.len);
	expect_at_node(&s, want, 100);
	assert_true(watched(&s, RELAY_CLIENT) & EPOLLET);
	put(client, RECORD_DATA, "hello", 5, 0);
	expect_at_node(&s, "hello", 5);
	finish(&s);
}

/* A read gives up before it has come to the data. */
static void test_records_without_data(void **state)
{
	static struct crowd crowd;
	struct session s;

	(void)state;
	begin(&s);
	crowd.len = 0;
	for (int i = 0; i < RECORD_QUIET_MAX; i++)
		add(&crowd, "");
	for (int i = 0; i < 5; i++)
		add(&crowd, "data");
	send_raw(client, crowd.bytes, crowd.len);
	expect_at_node(&s, "datadatadatadatadata", 20);
	put(client, RECORD_DATA, "hello", 5, 0);
	expect_at_node(&s, "hello", 5);
	finish(&s);
}

/* Records that have a byte each, and are as long as can be: a turn takes no more of them than if
 * they were full. (It is two of them: of the event, and of the turn behind it.) */
static void test_padding_counts(void **state)
{
	static unsigned char record[RECORD_BYTES_MAX];
	char got[100];
	struct session s;
	size_t sent = 0, taken = 0;

	(void)state;
	begin(&s);
	for (; sent < 400; sent++) {
		size_t len = make_record(client, RECORD_DATA, "x", 1, RECORD_MAX - 1, record);

		send_raw(client, record, len);
	}
	for (int turn = 0; taken < sent; turn++) {
		ssize_t n;

		assert_in_range(turn, 0, 500);
		assert_int_equal(loop_run_once(&s.loop, 10), 0);
		while ((n = stream_read(&node->far, got, sizeof(got))) > 0)
			taken += (size_t)n;
		assert_int_equal(n, -EAGAIN);
		if (turn == 0)
			assert_in_range(taken, 1, 2 * RELAY_TURN_BYTES / RECORD_MAX);
	}
	finish(&s);
}

/* A record in pieces: each is an edge. */
static void test_a_record_in_pieces(void **state)
{
	unsigned char record[100];
	struct session s;
	size_t len;

	(void)state;
	begin(&s);
	len = make_record(client, RECORD_DATA, "hello", 5, 0, record);
	for (size_t i = 0; i + 1 < len; i++) {
		send_raw(client, record + i, 1);
		assert_int_equal(loop_run_once(&s.loop, 10), 0);
	}
	send_raw(client, record + len - 1, 1);
	expect_at_node(&s, "hello", 5);
	finish(&s);
}

/* The end that comes with data, and the one that comes behind it. */
static void test_the_end_is_seen(void **state)
{
	(void)state;
	for (int later = 0; later < 2; later++) {
		struct session s;
		ssize_t n = -EAGAIN;
		char byte;

		begin(&s);
		put(client, RECORD_DATA, "hello", 5, 0);
		if (later)
			expect_at_node(&s, "hello", 5);
		shutdown(client->far.fd, SHUT_WR);
		if (!later)
			expect_at_node(&s, "hello", 5);
		for (int i = 0; n == -EAGAIN; i++) {
			assert_in_range(i, 0, 500);
			assert_int_equal(loop_run_once(&s.loop, 10), 0);
			n = stream_read(&node->far, &byte, 1);
		}
		assert_int_equal(n, -ECONNABORTED);
		finish(&s);
	}
}

/* The target takes no more, and then does: what has come meanwhile is no new edge. */
static void test_a_target_that_stalls(void **state)
{
	static char text[RECORD_MAX], got[sizeof(text)];
	struct session s;
	size_t sent = 0, have = 0;

	(void)state;
	begin(&s);
	memset(text, 'x', sizeof(text));
	for (int i = 0; i < 100; i++) {
		put(client, RECORD_DATA, text, sizeof(text), 0);
		sent += sizeof(text);
		assert_int_equal(loop_run_once(&s.loop, 0), 0);
	}
	assert_int_not_equal(s.relay->io[RELAY_UP].pending.len, 0);
	for (int i = 0; have < sent; i++) {
		ssize_t n = stream_read(&node->far, got, sizeof(got));

		assert_in_range(i, 0, 5000);
		assert_true(n > 0 || n == -EAGAIN);
		have += n > 0 ? (size_t)n : 0;
		assert_int_equal(loop_run_once(&s.loop, n > 0 ? 0 : 10), 0);
	}
	put(client, RECORD_DATA, "hello", 5, 0);
	expect_at_node(&s, "hello", 5);
	finish(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_short_texts_of_long_records),
		cmocka_unit_test(test_records_without_data),
		cmocka_unit_test(test_padding_counts),
		cmocka_unit_test(test_a_record_in_pieces),
		cmocka_unit_test(test_the_end_is_seen),
		cmocka_unit_test(test_a_target_that_stalls),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}

// SPDX-License-Identifier: Apache-2.0
/* A connection whose near end has left OpenSSL. Its far end is OpenSSL's to the end, or, from
 * by_hand() on, makes and reads records one by one. */
#ifndef TESTS_UNIT_RECORDS_PAIR_H
#define TESTS_UNIT_RECORDS_PAIR_H

#include "unit/tls_pair.h"

#include "tls/records.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

struct fixture {
	const struct kind *kind;
	bool is_13;
	bool near_is_server;
	struct stream near, far;
	struct record_connection hand;      /* far's, from by_hand() on */
	void (*between)(struct fixture *f); /* what near does while far hears a record; or NULL */
};

static uint8_t max_fragment; /* what clients ask for (RFC 6066 section 4); 0: nothing */
static struct tls_client *clients[ARRAY_SIZE(kinds)]; /* what it resumes is of its kind */

static inline void wait_for(const struct stream *stream, short events)
{
	struct pollfd poll_fd = { .fd = stream->fd, .events = events };

	assert_int_equal(poll(&poll_fd, 1, 5000), 1);
}

/* Reads until len bytes are there, whatever it takes. */
static inline void read_all(struct stream *stream, void *data, size_t len)
{
	for (size_t got = 0; got < len;) {
		ssize_t n = stream_read(stream, (char *)data + got, len - got);

		if (n == -EAGAIN) {
			assert_false(stream_pending(stream));
			wait_for(stream, POLLIN);
			continue;
		}
		assert_true(n > 0);
		got += (size_t)n;
	}
}

static inline void expect_data(struct stream *stream, const void *want, size_t len)
{
	char *got = malloc(len);

	assert_non_null(got);
	read_all(stream, got, len);
	assert_memory_equal(got, want, len);
	free(got);
}

static inline void pass(struct stream *from, struct stream *to, const char *text)
{
	assert_int_equal(stream_write(from, text, strlen(text)), strlen(text));
	expect_data(to, text, strlen(text));
}

/* Both ends have OpenSSL, and the handshake is over; nothing has been said yet. */
static inline void shake_hands(struct fixture *f, const struct kind *kind, bool near_is_server)
{
	SSL *client;

	memset(f, 0, sizeof(*f));
	f->kind = kind;
	f->is_13 = kind->version == TLS1_3_VERSION;
	f->near_is_server = near_is_server;
	tls_pair_connect(&f->near, &f->far, near_is_server, clients[kind - kinds]);
	client = ssl_of(near_is_server ? &f->far : &f->near);
	only_suite(client, kind);
	if (max_fragment) {
		assert_true(peer_asks_for_fragments(client, max_fragment));
		assert_int_equal(SSL_set_session(client, NULL), 1);
	}
	tls_pair_shake_hands(&f->near, &f->far);
}

/* And then near has none. A server's tickets have been read. */
static inline void setup(struct fixture *f, const struct kind *kind, bool near_is_server)
{
	shake_hands(f, kind, near_is_server);
	pass(&f->near, &f->far, "near");
	pass(&f->far, &f->near, "far");
	assert_int_equal(tls_records_take(&f->near), 0);
	assert_non_null(tls_records_connection(&f->near));
}

static inline void teardown(struct fixture *f)
{
	record_connection_wipe(&f->hand);
	stream_close(&f->near);
	stream_close(&f->far);
}

/* Each version with each cipher, near in each role. */
static inline void for_each_kind(void (*fn)(struct fixture *f))
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		for (int server = 0; server < 2; server++) {
			struct fixture f;

			setup(&f, &kinds[i], server);
			fn(&f);
			teardown(&f);
		}
	}
}

/* What a test may change: numbers of records. */
static inline struct record_connection *near_connection(struct fixture *f)
{
	return (struct record_connection *)tls_records_connection(&f->near);
}

/* ---- far by hand ---- */

static inline void by_hand(struct fixture *f)
{
	struct record_keys keys;

	tls_keys_prepare(&f->far);
	assert_int_equal(tls_keys_export(&f->far, &keys), 0);
	assert_int_equal(record_connection_init(&f->hand, &keys), 0);
}

/* A record of far's; its length. */
static inline size_t make_record(struct fixture *f, unsigned char type, const void *data,
	size_t len, size_t padding, unsigned char *ret)
{
	int n = record_seal(&f->hand.states[RECORD_WRITE], type, data, len, padding, ret);

	assert_true(n > 0);
	return (size_t)n;
}

static inline void send_raw(struct fixture *f, const void *data, size_t len)
{
	assert_int_equal(send(f->far.fd, data, len, MSG_NOSIGNAL), len);
}

static inline void put(
	struct fixture *f, unsigned char type, const void *data, size_t len, size_t padding)
{
	static unsigned char record[2 * RECORD_BYTES_MAX];

	send_raw(f, record, make_record(f, type, data, len, padding, record));
}

/* Far's next records have its next key. */
static inline void next_key(struct fixture *f, enum record_direction direction)
{
	assert_int_equal(
		record_state_update(&f->hand.states[direction], f->hand.secret[direction]), 0);
}

/* A KeyUpdate of far's. */
static inline void put_update(struct fixture *f, bool asks)
{
	const unsigned char message[] = { 24, 0, 0, 1, asks };

	put(f, RECORD_HANDSHAKE, message, sizeof(message), 0);
	next_key(f, RECORD_WRITE);
}

/* One record of near's, opened; text has room for a record. */
static inline struct record_text hear(struct fixture *f, unsigned char *text)
{
	static unsigned char record[RECORD_BYTES_MAX];
	struct record_text got;
	size_t have = 0;
	int want = RECORD_HEADER_BYTES;

	while (have < (size_t)want) {
		ssize_t n;

		if (f->between)
			f->between(f);
		wait_for(&f->far, POLLIN);
		n = recv(f->far.fd, record + have, (size_t)want - have, 0);
		assert_true(n > 0);
		have += (size_t)n;
		if (have == RECORD_HEADER_BYTES)
			want = record_length(&f->hand.states[RECORD_READ], record);
		assert_true(want > 0);
	}
	assert_int_equal(record_open(&f->hand.states[RECORD_READ], record, have, text, &got), 0);
	return got;
}

static inline void expect_record(
	struct fixture *f, unsigned char type, const void *data, size_t len)
{
	static unsigned char text[RECORD_BYTES_MAX];
	struct record_text got = hear(f, text);

	assert_int_equal(got.type, type);
	assert_int_equal(got.len, len);
	assert_memory_equal(text, data, len);
}

static inline void expect_alert(struct fixture *f, unsigned char level, unsigned char description)
{
	const unsigned char alert[] = { level, description };

	expect_record(f, RECORD_ALERT, alert, sizeof(alert));
}

/* Nothing of near's is on its way. */
static inline void expect_silence(struct fixture *f)
{
	char byte;

	assert_int_equal(recv(f->far.fd, &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
}

/* ---- near ---- */

static inline ssize_t take(struct fixture *f, char *data, size_t room)
{
	return stream_read(&f->near, data, room);
}

/* Near reads nothing, and has nothing to say. */
static inline void expect_nothing(struct fixture *f)
{
	char data[64];

	assert_int_equal(take(f, data, sizeof(data)), -EAGAIN);
}

static inline void expect_text(struct fixture *f, const char *text)
{
	char data[RECORD_MAX];

	assert_int_equal(take(f, data, sizeof(data)), strlen(text));
	assert_memory_equal(data, text, strlen(text));
}

/* Near refuses what it has been sent: not a byte of it, one alert, and then nothing any more. */
static inline void expect_refused(struct fixture *f, int alert)
{
	char data[64];

	memset(data, 0x5a, sizeof(data));
	assert_int_equal(take(f, data, sizeof(data)), -EPROTO);
	for (size_t i = 0; i < sizeof(data) && alert == RECORD_BAD_RECORD_MAC; i++)
		assert_true(data[i] == 0x5a || data[i] == 0);
	assert_null(memmem(data, sizeof(data), "hello", 5));
	assert_string_not_equal(tls_records_error(&f->near), "");
	assert_false(stream_pending(&f->near));
	expect_alert(f, 2, (unsigned char)alert);
	assert_int_equal(take(f, data, sizeof(data)), -EPROTO);
	assert_int_equal(stream_write(&f->near, "x", 1), -EPIPE);
	expect_silence(f);
}

/* ---- the program ---- */

static inline int group_setup(void **state)
{
	if (tls_pair_setup(state) < 0)
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		clients[i] = tls_pair_client();
	return 0;
}

static inline int group_teardown(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		tls_client_unref(clients[i]);
	return tls_pair_teardown(state);
}

#endif

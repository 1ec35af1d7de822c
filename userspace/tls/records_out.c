// SPDX-License-Identifier: Apache-2.0
/* What we say on records: data, alerts, changes of keys, the end; and what waits in between. */
#include "tls/records_inside.h"
#include "net/sock.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* The most records of one write: with the smallest payload of RFC 6066 section 4, 512, that is the
 * same. A peer that wants still smaller ones (RFC 8449) takes more writes. */
#define WRITE_RECORDS 128
#define SEALED_BYTES (RECORDS_WRITE_BYTES + WRITE_RECORDS * RECORD_OVERHEAD_MAX)
/* Waiting control records up to this go out with the next data. */
#define AHEAD_BYTES 16384

/* The thread's. Text is in it only while it is being sealed. */
static _Thread_local unsigned char sealed[AHEAD_BYTES + SEALED_BYTES + 2 * RECORD_BYTES_MAX];

/* ---- what waits ---- */

const struct rest *records_rest(const struct records *records)
{
	static const struct rest nothing;

	return records->rest ? records->rest : &nothing;
}

struct rest *records_make_rest(struct records *records)
{
	if (!records->rest) {
		records->rest = calloc(1, sizeof(*records->rest));
		if (records->rest)
			records->rest->opened.secret = true;
	}
	return records->rest;
}

void records_drop_rest(struct records *records)
{
	struct rest *rest = records->rest;

	if (!rest || rest->part.len || rest->unsent.len || rest->opened.len || rest->owed ||
		rest->stops)
		return;
	buf_fini(&rest->part);
	buf_fini(&rest->unsent);
	buf_fini(&rest->opened);
	free(rest);
	records->rest = NULL;
}

static int keep_unsent(struct records *records, const unsigned char *data, size_t len)
{
	struct rest *rest = records_make_rest(records);

	return rest ? buf_append(&rest->unsent, data, len) : -ENOMEM;
}

/* ---- sending ---- */

/* Returns 0 when all is sent, -EAGAIN or -errno. */
static int flush_unsent(struct stream *stream, struct records *records)
{
	int r = records->rest ? sock_send_buf(stream->fd, &records->rest->unsent) : 0;

	if (r == -EAGAIN)
		stream->want = EPOLLOUT;
	return r;
}

/* What stands in `sealed`. What the socket does not take waits. Returns 0 or -errno. */
static int send_sealed(struct stream *stream, struct records *records, size_t len)
{
	ssize_t n = sock_send(stream->fd, sealed, len);

	if (n < 0 && n != -EAGAIN)
		return (int)n;
	n = MAX(n, (ssize_t)0);
	return (size_t)n == len ? 0 : keep_unsent(records, sealed + n, len - (size_t)n);
}

/* A record that is not data, behind what waits. Returns its length in `sealed` at `at`, or -EIO. */
static int seal_control(struct records *records, size_t at, unsigned char type,
	const unsigned char *data, size_t len)
{
	return record_seal(
		&records->connection.states[RECORD_WRITE], type, data, len, 0, sealed + at);
}

/* Our KeyUpdate goes out under the old key, then it changes (RFC 8446 section 4.6.3). Returns as
 * seal_control(). */
static int seal_update(struct records *records, size_t at)
{
	struct record_connection *connection = &records->connection;
	int n = seal_control(
		records, at, RECORD_HANDSHAKE, record_key_update, sizeof(record_key_update));
	int r = n < 0 ? n
		      : record_state_update(&connection->states[RECORD_WRITE],
				connection->secret[RECORD_WRITE]);

	connection->answer_owed = false;
	return r < 0 ? r : n;
}

void records_send_alert(
	struct stream *stream, struct records *records, unsigned char level, int description)
{
	unsigned char alert[2] = { level, (unsigned char)description };
	int n;

	if (records->connection.out != RECORD_OUT_OPEN)
		return;
	n = seal_control(records, 0, RECORD_ALERT, alert, sizeof(alert));
	if (n > 0 && flush_unsent(stream, records) == 0)
		(void)!send_sealed(stream, records, (size_t)n);
	else if (n > 0)
		(void)!keep_unsent(records, sealed, (size_t)n);
}

void records_send_answer(struct stream *stream, struct records *records)
{
	int n;

	/* what waits goes before it: also tickets that have been held back */
	if (records->connection.out != RECORD_OUT_OPEN || flush_unsent(stream, records) < 0)
		return;
	n = seal_update(records, 0);
	if (n < 0 || send_sealed(stream, records, (size_t)n) < 0)
		records->connection.out = RECORD_OUT_SHUT; /* keys are out of step */
}

void records_flush(struct stream *stream, struct records *records)
{
	if (records->connection.answer_owed)
		records_send_answer(stream, records);
	else
		(void)!flush_unsent(stream, records); /* an error is the next write's */
}

/* ---- writing ---- */

/* Payload of the data records that are not sent in full, given that they end with unsent: all but
 * the last one are full ones. */
static uint32_t still_owed(const struct records *records, const struct rest *rest)
{
	const struct record_state *state = &records->connection.states[RECORD_WRITE];
	size_t overhead = record_overhead(
		(enum record_version)state->version, (enum record_cipher)state->cipher);
	size_t full = records->connection.peer.payload_max, left = rest->unsent.len;
	size_t last = rest->owed % full ? rest->owed % full : full;

	if (!left || !rest->owed)
		return 0;
	if (left <= last + overhead)
		return (uint32_t)last;
	left = (left - last - overhead + full + overhead - 1) / (full + overhead);
	return MIN((uint32_t)(last + left * full), rest->owed);
}

/* Bytes of the write whose records are sent now, or -EAGAIN. */
static ssize_t pay(struct stream *stream, struct records *records)
{
	struct rest *rest = records->rest;
	uint32_t owed = still_owed(records, rest), n = rest->owed - owed;

	rest->owed = owed;
	records_drop_rest(records);
	if (n)
		return n;
	stream->want = EPOLLOUT;
	return -EAGAIN;
}

/* Into `sealed`: what waits, our KeyUpdate if one is due, and as much of data as goes into one
 * write. Returns bytes, or -EIO or -EKEYEXPIRED; *ret_taken: of data. */
static ssize_t seal_all(
	struct records *records, const unsigned char *data, size_t len, size_t *ret_taken)
{
	struct record_connection *connection = &records->connection;
	struct record_state *state = &connection->states[RECORD_WRITE];
	struct view waits = buf_view(&records_rest(records)->unsent);
	size_t at = waits.len, taken = 0, full = connection->peer.payload_max;
	int n;

	memcpy(sealed, waits.data, waits.len);
	if (connection->answer_owed ||
		(state->version == RECORD_TLS_1_3 && record_state_is_worn(state))) {
		n = seal_update(records, at);
		if (n < 0)
			return n;
		at += (size_t)n;
	}
	len = MIN(len, MIN((size_t)RECORDS_WRITE_BYTES, WRITE_RECORDS * full));
	while (taken < len) {
		size_t piece = MIN(len - taken, full);

		n = record_seal(state, RECORD_DATA, data + taken, piece, 0, sealed + at);
		if (n < 0)
			return n;
		at += (size_t)n;
		taken += piece;
		record_peer_pay(&connection->peer);
	}
	if (records->rest)
		buf_clear(&records->rest->unsent);
	*ret_taken = taken;
	return (ssize_t)at;
}

/* What waits from before. Returns 0 when a write may seal more; what it has to return instead:
 * bytes that are sent now, -EAGAIN or -errno. */
static ssize_t write_rest(struct stream *stream, struct records *records)
{
	int r;

	if (!records_rest(records)->owed && records_rest(records)->unsent.len <= AHEAD_BYTES)
		return 0;
	r = flush_unsent(stream, records);
	if (r < 0 && r != -EAGAIN)
		return r;
	return records->rest->owed || r < 0 ? pay(stream, records) : 0;
}

ssize_t records_write(struct stream *stream, const void *data, size_t len)
{
	struct records *records = stream->layer;
	size_t taken;
	ssize_t n;
	int r;

	if (records->connection.out != RECORD_OUT_OPEN)
		return -EPIPE;
	n = write_rest(stream, records);
	if (n != 0)
		return n;
	n = seal_all(records, data, len, &taken);
	r = n < 0 ? (int)n : send_sealed(stream, records, (size_t)n);
	if (r < 0) { /* numbers are used up that the peer will never see */
		records->connection.out = RECORD_OUT_SHUT;
		return r;
	}
	if (!records_rest(records)->unsent.len) {
		records_drop_rest(records);
		return (ssize_t)taken;
	}
	records->rest->owed = (uint32_t)taken;
	return pay(stream, records);
}

/* A write has returned its count only when the socket had the whole record. */
int records_cut(struct stream *stream)
{
	struct records *records = stream->layer;

	records->connection.out = RECORD_OUT_SHUT;
	if (records->rest)
		records->rest->owed = 0;
	return shutdown(stream->fd, SHUT_WR) < 0 && errno != ENOTCONN ? -errno : 0;
}

int records_shutdown(struct stream *stream)
{
	struct records *records = stream->layer;
	int n, r;

	if (records->connection.out == RECORD_OUT_OPEN) {
		r = flush_unsent(stream, records);
		if (r < 0)
			return r;
		n = seal_control(
			records, 0, RECORD_ALERT, record_close_notify, sizeof(record_close_notify));
		r = n < 0 ? n : send_sealed(stream, records, (size_t)n);
		if (r < 0)
			return r;
		records->connection.out = RECORD_OUT_CLOSED;
	}
	if (records->connection.out == RECORD_OUT_CLOSED) {
		r = flush_unsent(stream, records);
		if (r < 0)
			return r;
	}
	return records_cut(stream);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * See records.h. A read opens all whole records of one recv() straight into the reader's buffer; a
 * write seals into the thread's buffer and sends all of it at once. What is neither here nor there
 * has memory of the connection's own, for as long as it lasts: the beginning of a record, what the
 * socket does not take, and text for which the reader had no room.
 */
#include "tls/records.h"
#include "base/buf.h"
#include "base/secret.h"
#include "tls/openssl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* What one read takes from the socket: four full records, or so many bytes of smaller ones. */
#define READ_BYTES (4 * (RECORD_MAX + RECORD_OVERHEAD_MAX))
/* What one write takes of its caller's. */
#define WRITE_BYTES 65536
/* And at most so many records: with the smallest payload of RFC 6066 section 4, 512, that is the
 * same. A peer that wants still smaller ones (RFC 8449) takes more writes. */
#define WRITE_RECORDS 128
#define SEALED_BYTES (WRITE_BYTES + WRITE_RECORDS * RECORD_OVERHEAD_MAX)
/* Waiting control records up to this go out with the next data. */
#define AHEAD_BYTES 16384
/* Calls of recv() for records without data, in one read. */
#define READ_ROUNDS 16
/* A record, in bytes that take as long to open. */
#define RECORD_COST 512
/* A change of keys and its answer, likewise. */
#define UPDATE_COST (4 * RECORD_MESSAGE_COST)
/* What one read may take beside its bytes once it has some: 64 KiB may be 2,400 changes of keys,
 * 32 of them between data. The rest waits. */
#define READ_WORK 262144
/* The smallest text of a peer that fills its records, for which reads end where its records do. */
#define FULL_BYTES 4096

/* What waits. */
struct rest {
	struct buf part;   /* read, and not opened: mostly the beginning of a record */
	struct buf unsent; /* sealed, and not taken by the socket */
	struct buf opened; /* text that the reader has not taken */
	uint32_t owed;     /* payload of the data records in unsent; their writer repeats it */
};

struct records {
	struct record_connection connection;
	struct rest *rest; /* NULL: nothing waits */
};

/* The thread's: what is read, and what is to be sent. Only the second one ever has text in it, and
 * not between calls. */
static _Thread_local unsigned char received[READ_BYTES + RECORD_BYTES_MAX];
static _Thread_local unsigned char sealed[AHEAD_BYTES + SEALED_BYTES + 2 * RECORD_BYTES_MAX];

/* ---- what waits ---- */

static const struct rest *rest_of(const struct records *records)
{
	static const struct rest nothing;

	return records->rest ? records->rest : &nothing;
}

/* To put something into it. NULL: no memory. */
static struct rest *make_rest(struct records *records)
{
	if (!records->rest) {
		records->rest = calloc(1, sizeof(*records->rest));
		if (records->rest)
			records->rest->opened.secret = true;
	}
	return records->rest;
}

/* An idle connection has none. */
static void drop_empty_rest(struct records *records)
{
	struct rest *rest = records->rest;

	if (!rest || rest->part.len || rest->unsent.len || rest->opened.len || rest->owed)
		return;
	buf_fini(&rest->part);
	buf_fini(&rest->unsent);
	buf_fini(&rest->opened);
	free(rest);
	records->rest = NULL;
}

static int keep_unsent(struct records *records, const unsigned char *data, size_t len)
{
	struct rest *rest = make_rest(records);

	return rest ? buf_append(&rest->unsent, data, len) : -ENOMEM;
}

/* ---- sending ---- */

static ssize_t send_some(struct stream *stream, const void *data, size_t len)
{
	for (;;) {
		ssize_t n = send(stream->fd, data, len, MSG_NOSIGNAL);

		if (n >= 0)
			return n;
		if (errno == EAGAIN)
			stream->want = EPOLLOUT;
		if (errno != EINTR)
			return -errno;
	}
}

/* Returns 0 when all is sent, -EAGAIN or -errno. */
static int flush_unsent(struct stream *stream, struct records *records)
{
	while (rest_of(records)->unsent.len) {
		struct view v = buf_view(&records->rest->unsent);
		ssize_t n = send_some(stream, v.data, v.len);

		if (n < 0)
			return (int)n;
		buf_consume(&records->rest->unsent, (size_t)n);
	}
	return 0;
}

/* What stands in `sealed`. What the socket does not take waits. Returns 0 or -errno. */
static int send_sealed(struct stream *stream, struct records *records, size_t len)
{
	ssize_t n = send_some(stream, sealed, len);

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

/* An alert, if it can be said at all, and now as far as it goes. */
static void send_alert(
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

/* The answer to a request for other keys, if nothing is before it. */
static void send_answer(struct stream *stream, struct records *records)
{
	int n;

	if (rest_of(records)->unsent.len || records->connection.out != RECORD_OUT_OPEN)
		return;
	n = seal_update(records, 0);
	if (n < 0 || send_sealed(stream, records, (size_t)n) < 0)
		records->connection.out = RECORD_OUT_SHUT; /* keys are out of step */
}

/* ---- reading ---- */

/* The peer cannot be listened to any more. Its data goes first. */
static void fail(struct records *records, int error)
{
	records->connection.in = RECORD_IN_FAILED;
	records->connection.error = (uint8_t)-error;
	records->connection.untold = true;
}

static ssize_t end_of_input(struct stream *stream, struct records *records)
{
	struct record_connection *connection = &records->connection;
	bool untold = connection->untold;
	int error = -connection->error;

	connection->untold = false;
	if (connection->in == RECORD_IN_CLOSED)
		return STREAM_EOF;
	if (untold && record_alert_for(error) >= 0) {
		send_alert(stream, records, 2, record_alert_for(error));
		connection->out = RECORD_OUT_SHUT;
	}
	return error == -EKEYEXPIRED ? error : -EPROTO;
}

/* One opened record that is not data. Returns false when nothing is read behind it. */
static bool on_message(struct stream *stream, struct records *records,
	const struct record_text *text, const unsigned char *data)
{
	struct record_connection *connection = &records->connection;
	int r = record_peer_said(&connection->peer, text->type, data, text->len);

	if (text->type == RECORD_HANDSHAKE)
		stream_add_work(stream, UPDATE_COST);
	switch (r) {
	case RECORD_END:
		connection->in = RECORD_IN_CLOSED;
		connection->untold = true;
		return false;
	case RECORD_KEY_UPDATE_REQUESTED:
		connection->answer_owed = true;
		/* fall through */
	case RECORD_KEY_UPDATE:
		r = record_state_update(
			&connection->states[RECORD_READ], connection->secret[RECORD_READ]);
		break;
	case RECORD_RENEGOTIATION:
		send_alert(stream, records, 1, RECORD_NO_RENEGOTIATION);
		break;
	default:
		break;
	}
	if (r < 0)
		fail(records, r);
	return r >= 0;
}

/* The length of a whole record at the front of len bytes; 0 if there is none; -errno. */
static int whole_record(const struct records *records, const unsigned char *data, size_t len)
{
	int n;

	if (len < RECORD_HEADER_BYTES)
		return 0;
	n = record_length(&records->connection.states[RECORD_READ], data);
	return n > 0 && (size_t)n > len ? 0 : n;
}

/* One record of n bytes for which the reader may not have room: by way of `sealed`. Returns bytes
 * given to the reader. */
static size_t open_aside(struct stream *stream, struct records *records,
	const unsigned char *record, size_t n, unsigned char *to, size_t room)
{
	struct record_connection *connection = &records->connection;
	struct record_text text;
	size_t given = 0;
	int r = record_open(&connection->states[RECORD_READ], record, n, sealed, &text);

	if (r == 0 && text.type == RECORD_DATA && text.len) {
		r = record_peer_data(&connection->peer);
		given = MIN(text.len, room);
		if (r == 0 && given < text.len)
			r = make_rest(records) ? buf_append(&records->rest->opened, sealed + given,
							 text.len - given)
					       : -ENOMEM;
		if (r == 0)
			memcpy(to, sealed, given);
		secret_wipe(sealed, text.len);
	} else if (r == 0) {
		on_message(stream, records, &text, sealed);
	}
	if (r < 0)
		fail(records, r);
	return r < 0 ? 0 : given;
}

/* One record of n bytes, to a reader who has room for any text of it. Returns bytes. */
static size_t open_to(struct stream *stream, struct records *records, const unsigned char *record,
	size_t n, unsigned char *to)
{
	struct record_connection *connection = &records->connection;
	struct record_text text;
	int r = record_open(&connection->states[RECORD_READ], record, n, to, &text);

	if (r == 0 && text.type == RECORD_DATA && text.len) {
		r = record_peer_data(&connection->peer);
		if (r == 0)
			return text.len;
		secret_wipe(to, text.len);
	} else if (r == 0) {
		on_message(stream, records, &text, to);
		return 0;
	}
	fail(records, r);
	return 0;
}

/* All whole records in `received`, or those for which there is room. Returns bytes of text;
 * *ret_used: of what was received. */
static size_t open_all(struct stream *stream, struct records *records, size_t len,
	unsigned char *to, size_t room, size_t *ret_used)
{
	size_t at = 0, given = 0;

	while (records->connection.in == RECORD_IN_OPEN && !rest_of(records)->opened.len &&
		!(given && stream->work >= READ_WORK)) {
		int n = whole_record(records, received + at, len - at);

		if (n < 0)
			fail(records, n);
		if (n <= 0)
			break;
		if ((size_t)n - RECORD_HEADER_BYTES <= room - given) {
			given += open_to(stream, records, received + at, (size_t)n, to + given);
		} else {
			size_t least = (size_t)n > RECORD_OVERHEAD_MAX
				? (size_t)n - RECORD_OVERHEAD_MAX
				: 0;

			/* behind text it waits, unless it fits: the reader comes again */
			if (given && least > room - given)
				break;
			given += open_aside(stream, records, received + at, (size_t)n, to + given,
				room - given);
		}
		at += (size_t)n;
		stream_add_work(stream, RECORD_COST);
		records->connection.full = n > FULL_BYTES ? (uint16_t)n : 0;
	}
	*ret_used = at;
	return given;
}

/* What one recv() asks for, behind `have` bytes: as many records as the reader has room for; if
 * they are as long as the last one, it ends where a record does. */
static size_t wanted(const struct records *records, size_t have, size_t room)
{
	size_t most = MIN(MAX(room / RECORD_MAX, (size_t)1) * (RECORD_MAX + RECORD_OVERHEAD_MAX),
		(size_t)READ_BYTES);

	if (records->connection.full && most >= records->connection.full)
		most -= most % records->connection.full;
	/* the record that has begun is always finished */
	return have < most ? most - have : RECORD_BYTES_MAX;
}

/* Puts what there is into `received`. Returns bytes, STREAM_EOF or -errno. */
static ssize_t receive(struct stream *stream, struct records *records, size_t room)
{
	struct view part = buf_view(&rest_of(records)->part);
	ssize_t n;

	memcpy(received, part.data, part.len);
	if (whole_record(records, received, part.len) != 0)
		return (ssize_t)part.len;
	do {
		n = recv(stream->fd, received + part.len, wanted(records, part.len, room), 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0) {
		stream->want = EPOLLIN;
		return -errno;
	}
	return n ? n + (ssize_t)part.len : STREAM_EOF;
}

/* What was received and not used. 0 or -ENOMEM. */
static int keep_part(struct records *records, size_t used, size_t len)
{
	if (records->rest)
		buf_clear(&records->rest->part);
	if (used == len)
		return 0;
	return make_rest(records) ? buf_append(&records->rest->part, received + used, len - used)
				  : -ENOMEM;
}

static ssize_t take_opened(struct records *records, void *data, size_t len)
{
	struct view v = buf_view(&records->rest->opened);
	size_t n = MIN(v.len, len);

	memcpy(data, v.data, n);
	buf_consume(&records->rest->opened, n);
	drop_empty_rest(records);
	return (ssize_t)n;
}

static ssize_t records_read(struct stream *stream, void *data, size_t len)
{
	struct records *records = stream->layer;
	struct record_connection *connection = &records->connection;

	if (rest_of(records)->opened.len)
		return take_opened(records, data, len);
	for (int round = 0; connection->in == RECORD_IN_OPEN && round < READ_ROUNDS; round++) {
		size_t used, given;
		ssize_t n = receive(stream, records, len);

		if (n == STREAM_EOF) /* no close_notify */
			return -ECONNABORTED;
		if (n < 0)
			return n;
		given = open_all(stream, records, (size_t)n, data, len, &used);
		if (keep_part(records, used, (size_t)n) < 0)
			fail(records, -ENOMEM);
		if (connection->answer_owed)
			send_answer(stream, records);
		drop_empty_rest(records);
		if (given)
			return (ssize_t)given;
	}
	if (connection->in != RECORD_IN_OPEN)
		return end_of_input(stream, records);
	stream->want = EPOLLIN;
	return -EAGAIN;
}

static bool records_pending(const struct stream *stream)
{
	const struct records *records = stream->layer;
	struct view part = buf_view(&rest_of(records)->part);

	return rest_of(records)->opened.len || records->connection.untold ||
		(records->connection.in == RECORD_IN_OPEN &&
			whole_record(records, (const unsigned char *)part.data, part.len) != 0);
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
	drop_empty_rest(records);
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
	struct view waits = buf_view(&rest_of(records)->unsent);
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
	len = MIN(len, MIN((size_t)WRITE_BYTES, WRITE_RECORDS * full));
	while (taken < len) {
		size_t piece = MIN(len - taken, full);

		n = record_seal(state, RECORD_DATA, data + taken, piece, 0, sealed + at);
		if (n < 0)
			return n;
		at += (size_t)n;
		taken += piece;
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

	if (!rest_of(records)->owed && rest_of(records)->unsent.len <= AHEAD_BYTES)
		return 0;
	r = flush_unsent(stream, records);
	if (r < 0 && r != -EAGAIN)
		return r;
	return records->rest->owed || r < 0 ? pay(stream, records) : 0;
}

static ssize_t records_write(struct stream *stream, const void *data, size_t len)
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
	if (!rest_of(records)->unsent.len) {
		drop_empty_rest(records);
		return (ssize_t)taken;
	}
	records->rest->owed = (uint32_t)taken;
	return pay(stream, records);
}

/* A write has returned its count only when the socket had the whole record. */
static int records_cut(struct stream *stream)
{
	struct records *records = stream->layer;

	records->connection.out = RECORD_OUT_SHUT;
	if (records->rest)
		records->rest->owed = 0;
	return shutdown(stream->fd, SHUT_WR) < 0 && errno != ENOTCONN ? -errno : 0;
}

static int records_shutdown(struct stream *stream)
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

/* ---- the stream ---- */

static void free_records(struct records *records)
{
	record_connection_wipe(&records->connection);
	if (records->rest) {
		buf_fini(&records->rest->part);
		buf_fini(&records->rest->unsent);
		buf_fini(&records->rest->opened);
		free(records->rest);
	}
	free(records);
}

static void records_close(struct stream *stream)
{
	free_records(stream->layer);
	stream->layer = NULL;
}

static const struct stream_ops records_ops = {
	.read = records_read,
	.write = records_write,
	.shutdown = records_shutdown,
	.cut = records_cut,
	.pending = records_pending,
	.close = records_close,
};

static const struct records *records_of(const struct stream *stream)
{
	return stream->ops == &records_ops ? stream->layer : NULL;
}

const struct record_connection *tls_records_connection(const struct stream *stream)
{
	const struct records *records = records_of(stream);

	return records ? &records->connection : NULL;
}

bool tls_records_are_worn(const struct stream *stream)
{
	const struct records *records = records_of(stream);

	return records && record_connection_is_worn(&records->connection);
}

const char *tls_records_error(const struct stream *stream)
{
	const struct records *records = records_of(stream);

	if (!records || records->connection.in != RECORD_IN_FAILED)
		return "";
	switch (records->connection.error) {
	case EBADMSG:
		return "bad record mac";
	case EMSGSIZE:
		return "record overflow";
	case ECONNRESET:
		return "the peer has sent an alert";
	case EKEYEXPIRED:
		return "the keys are used up";
	case EPROTO:
		return "unexpected message";
	default:
		return "internal error";
	}
}

/* ---- from OpenSSL ---- */

/* What OpenSSL has opened goes first, then what it has not been given. */
static int take_rest(struct records *records, struct tls_layer *layer)
{
	size_t opened = (size_t)SSL_pending(layer->ssl), n;
	struct rest *rest;

	if (!layer->raw.len && !layer->held.len && !opened)
		return 0;
	rest = make_rest(records);
	if (!rest || buf_reserve(&rest->opened, opened) < 0 ||
		buf_append_view(&rest->part, buf_view(&layer->raw)) < 0)
		return -ENOMEM;
	while (opened) {
		if (SSL_read_ex(layer->ssl, buf_tail(&rest->opened), opened, &n) != 1)
			return -EIO;
		buf_commit(&rest->opened, n);
		opened -= n;
	}
	rest->unsent = layer->held;
	rest->unsent.limit = 0;
	layer->held = (struct buf){ 0 };
	return 0;
}

int tls_records_take(struct stream *stream)
{
	struct tls_layer *layer = tls_stream_layer(stream);
	struct records *records;
	struct record_keys keys;
	int r = tls_keys_export_as_is(stream, &keys);

	if (r != 0)
		return r;
	records = calloc(1, sizeof(*records));
	r = records ? record_connection_init(&records->connection, &keys) : -ENOMEM;
	secret_wipe(&keys, sizeof(keys));
	if (r == 0) {
		records->connection.answer_owed = tls_answer_is_due(layer);
		r = take_rest(records, layer);
	}
	if (r != 0) {
		if (records)
			free_records(records);
		return r;
	}
	tls_stream_detach(stream);
	stream->ops = &records_ops;
	stream->layer = records;
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * See records.h. A read opens all whole records of one recv() straight into the reader's buffer; a
 * write seals into the thread's buffer and sends all of it at once. What is neither here nor there
 * has memory of the connection's own, for as long as it lasts: the beginning of a record, what the
 * socket does not take, and text for which the reader had no room.
 */
#include "tls/records_inside.h"
#include "base/secret.h"
#include "net/sock.h"
#include "tls/openssl.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

/* What one read takes from the socket: four full records, or so many bytes of smaller ones. */
#define READ_BYTES (4 * (RECORD_MAX + RECORD_OVERHEAD_MAX))
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

/* The thread's: what is read, and the text of a record for which a reader has no room, which is not
 * there between calls. */
static _Thread_local unsigned char received[READ_BYTES + RECORD_BYTES_MAX];
static _Thread_local unsigned char aside[RECORD_BYTES_MAX];

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
		records_send_alert(stream, records, 2, record_alert_for(error));
		connection->out = RECORD_OUT_SHUT;
	}
	return error == -EKEYEXPIRED ? error : -EPROTO;
}

/* One opened record that is not data. */
static void on_message(struct stream *stream, struct records *records,
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
		break;
	case RECORD_KEY_UPDATE_REQUESTED:
		connection->answer_owed = true;
		/* fall through */
	case RECORD_KEY_UPDATE:
		r = record_state_update(
			&connection->states[RECORD_READ], connection->secret[RECORD_READ]);
		break;
	case RECORD_RENEGOTIATION:
		records_send_alert(stream, records, 1, RECORD_NO_RENEGOTIATION);
		break;
	default:
		break;
	}
	if (r < 0)
		fail(records, r);
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

/* Opens one record of n bytes into `to`, which has room for any text of it, and judges it. Returns
 * bytes of data that are there now. */
static size_t open_to(struct stream *stream, struct records *records, const unsigned char *record,
	size_t n, unsigned char *to)
{
	struct record_connection *connection = &records->connection;
	struct record_text text;
	int r = record_open(&connection->states[RECORD_READ], record, n, to, &text);

	if (r == 0 && (text.type != RECORD_DATA || !text.len)) {
		on_message(stream, records, &text, to);
		return 0;
	}
	if (r == 0) {
		r = record_peer_data(&connection->peer);
		if (r == 0)
			return text.len;
		secret_wipe(to, text.len);
	}
	fail(records, r);
	return 0;
}

/* The same for a reader who may not have room: by way of `aside`. What he has no room for waits. */
static size_t open_aside(struct stream *stream, struct records *records,
	const unsigned char *record, size_t n, unsigned char *to, size_t room)
{
	size_t len = open_to(stream, records, record, n, aside), given = MIN(len, room);
	int r = 0;

	if (given < len)
		r = records_make_rest(records)
			? buf_append(&records->rest->opened, aside + given, len - given)
			: -ENOMEM;
	if (r < 0)
		fail(records, r);
	else
		memcpy(to, aside, given);
	secret_wipe(aside, len);
	return r < 0 ? 0 : given;
}

/* All whole records in `received`, or those for which there is room. Returns bytes of text;
 * *ret_used: of what was received. */
static size_t open_all(struct stream *stream, struct records *records, size_t len,
	unsigned char *to, size_t room, size_t *ret_used)
{
	size_t at = 0, given = 0, before;

	while (records->connection.in == RECORD_IN_OPEN && !records_rest(records)->opened.len &&
		!(given && stream->work >= READ_WORK)) {
		int n = whole_record(records, received + at, len - at);

		if (n < 0)
			fail(records, n);
		if (n <= 0)
			break;
		before = given;
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
		/* padding (RFC 8446 section 5.4) is opened as text is */
		stream_add_work(stream, RECORD_COST + (size_t)n - (given - before));
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

/* The same for who stops at the next boundary: of the record that is due its header, then the
 * rest. */
static size_t missing(const struct records *records, size_t have)
{
	int n = have < RECORD_HEADER_BYTES
		? RECORD_HEADER_BYTES
		: record_length(&records->connection.states[RECORD_READ], received);

	return (size_t)n - have; /* no whole one is there, nor what is no record */
}

/* Puts what there is into `received`. Returns bytes, STREAM_EOF or -errno. */
static ssize_t receive(struct stream *stream, struct records *records, size_t room)
{
	struct view part = buf_view(&records_rest(records)->part);
	size_t want;
	ssize_t n;

	memcpy(received, part.data, part.len);
	stream->drained = false;
	if (whole_record(records, received, part.len) != 0)
		return (ssize_t)part.len;
	want = records_rest(records)->stops ? missing(records, part.len)
					    : wanted(records, part.len, room);
	n = sock_recv(stream->fd, received + part.len, want);
	stream->drained = n < (ssize_t)want;
	if (n < 0) {
		stream->want = EPOLLIN;
		return n;
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
	return records_make_rest(records)
		? buf_append(&records->rest->part, received + used, len - used)
		: -ENOMEM;
}

static ssize_t take_opened(struct records *records, void *data, size_t len)
{
	struct view v = buf_view(&records->rest->opened);
	size_t n = MIN(v.len, len);

	memcpy(data, v.data, n);
	buf_consume(&records->rest->opened, n);
	records_drop_rest(records);
	return (ssize_t)n;
}

static ssize_t records_read(struct stream *stream, void *data, size_t len)
{
	struct records *records = stream->layer;
	struct record_connection *connection = &records->connection;

	if (records_rest(records)->opened.len)
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
			records_send_answer(stream, records);
		records_drop_rest(records);
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
	struct view part = buf_view(&records_rest(records)->part);

	return records_rest(records)->opened.len || records->connection.untold ||
		(records->connection.in == RECORD_IN_OPEN &&
			whole_record(records, (const unsigned char *)part.data, part.len) != 0);
}

/* ---- the stream ---- */

static void free_records(struct records *records)
{
	if (!records)
		return;
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
	rest = records_make_rest(records);
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

bool tls_records_may_take(const struct stream *stream)
{
	const struct tls_layer *layer = tls_stream_layer(stream);
	enum record_cipher cipher;

	return layer && layer->phase == TLS_FLOWS && SSL_version(layer->ssl) >= TLS1_2_VERSION &&
		tls_find_cipher(layer->ssl, &cipher) == 0 && tls_is_preferred(cipher);
}

int tls_records_take(struct stream *stream)
{
	struct tls_layer *layer = tls_stream_layer(stream);
	struct records *records;
	struct record_keys keys;
	int r = tls_keys_export_as_is(stream, &keys);

	if (r != 0)
		return r;
	if (!tls_is_preferred(keys.cipher)) {
		secret_wipe(&keys, sizeof(keys));
		return -ENOTSUP;
	}
	records = calloc(1, sizeof(*records));
	r = records ? record_connection_init(&records->connection, &keys) : -ENOMEM;
	secret_wipe(&keys, sizeof(keys));
	if (r == 0) {
		records->connection.answer_owed = tls_answer_is_due(layer);
		r = take_rest(records, layer);
	}
	if (r != 0) {
		free_records(records);
		return r;
	}
	tls_stream_detach(stream);
	stream->ops = &records_ops;
	stream->layer = records;
	return 0;
}

/* ---- to the kernel ---- */

int tls_records_stop(struct stream *stream, struct record_connection *ret_connection)
{
	struct records *records = stream->layer;
	struct record_connection *connection = &records->connection;
	const struct rest *rest;

	records_flush(stream, records);
	if (connection->in != RECORD_IN_OPEN || connection->out != RECORD_OUT_OPEN ||
		record_connection_is_worn(connection))
		return -ENOTSUP;
	rest = records_rest(records);
	if (connection->answer_owed || rest->part.len || rest->unsent.len || rest->opened.len ||
		rest->owed) {
		if (records_make_rest(records))
			records->rest->stops = true;
		return TLS_KEYS_NOT_YET;
	}
	*ret_connection = *connection;
	return 0;
}

void tls_records_go_on(struct stream *stream)
{
	struct records *records = stream->layer;

	if (records->rest)
		records->rest->stops = false;
	records_drop_rest(records);
}

void tls_records_detach(struct stream *stream)
{
	records_close(stream);
	stream_init_plain(stream, stream->fd);
}

/* ---- as bytes ---- */

int tls_records_give(struct stream *stream, struct buf *to)
{
	struct records *records = stream->ops == &records_ops ? stream->layer : NULL;
	const struct rest *rest;
	struct tls_records_state state;
	int r;

	if (!records)
		return -ENOTSUP;
	rest = records_rest(records);
	state = (struct tls_records_state){ records->connection, rest->part.len, rest->unsent.len,
		rest->opened.len, rest->owed };
	/* with room for all of it the others do not fail */
	r = buf_reserve(to, sizeof(state) + rest->part.len + rest->unsent.len + rest->opened.len);
	if (r == 0)
		r = buf_append(to, &state, sizeof(state));
	if (r == 0)
		r = buf_append_view(to, buf_view(&rest->part));
	if (r == 0)
		r = buf_append_view(to, buf_view(&rest->unsent));
	if (r == 0)
		r = buf_append_view(to, buf_view(&rest->opened));
	secret_wipe(&state, sizeof(state));
	if (r < 0)
		return r;
	tls_records_detach(stream);
	return 0;
}

/* The header of a state that is whole; -EINVAL. */
static int read_state(struct view bytes, struct tls_records_state *ret_state)
{
	if (bytes.len < sizeof(*ret_state))
		return -EINVAL;
	memcpy(ret_state, bytes.data, sizeof(*ret_state));
	return (uint64_t)ret_state->part + ret_state->unsent + ret_state->opened ==
				bytes.len - sizeof(*ret_state) &&
			ret_state->part <= sizeof(received) &&
			ret_state->owed <= RECORDS_WRITE_BYTES
		? 0
		: -EINVAL;
}

/* at: the first of those bytes. */
static int put_rest(struct records *records, const struct tls_records_state *state, const char *at)
{
	struct rest *rest;

	if (!state->part && !state->unsent && !state->opened && !state->owed)
		return 0;
	rest = records_make_rest(records);
	if (!rest || buf_append(&rest->part, at, state->part) < 0 ||
		buf_append(&rest->unsent, at + state->part, state->unsent) < 0 ||
		buf_append(&rest->opened, at + state->part + state->unsent, state->opened) < 0)
		return -ENOMEM;
	rest->owed = state->owed;
	return 0;
}

int tls_records_resume(struct stream *stream, struct view bytes)
{
	struct tls_records_state state;
	struct records *records;
	int r;

	if (stream_is_tls(stream))
		return -ENOTSUP;
	r = read_state(bytes, &state);
	records = r == 0 ? calloc(1, sizeof(*records)) : NULL;
	if (records) {
		r = record_connection_resume(&records->connection, &state.connection);
		if (r == 0)
			r = put_rest(records, &state, bytes.data + sizeof(state));
	} else if (r == 0) {
		r = -ENOMEM;
	}
	secret_wipe(&state, sizeof(state));
	if (r < 0) {
		free_records(records);
		return r;
	}
	stream->ops = &records_ops;
	stream->layer = records;
	return 0;
}

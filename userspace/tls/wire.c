// SPDX-License-Identifier: Apache-2.0
/*
 * The socket below OpenSSL, as a BIO of ours, because OpenSSL's own makes a system call of
 * everything. During a handshake, and while something is in layer->held, what OpenSSL writes is
 * collected there and goes out with one send(): all messages of a flight, and session tickets
 * together with the greeting that follows. While something is held during a handshake the peer
 * waits for us, so the socket is not asked. Without a bound here OpenSSL would read on for as long
 * as messages without data arrive.
 *
 * What is read goes to OpenSSL record by record, and only when a record is whole. So between two
 * calls it never stands in the middle of one, and its read-ahead buffer, which it moves to the
 * front for each record, never holds a second one.
 */
#include "net/sock.h"
#include "tls/openssl.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

/* What the socket does not take is held, so OpenSSL never waits with half a record. If it did, and
 * the peer asked for new keys meanwhile, its answer would fail the connection
 * (SSL_R_BAD_LENGTH). */
static int wire_write(BIO *bio, const char *data, int len)
{
	struct tls_layer *layer = BIO_get_data(bio);
	bool flows = layer->phase >= TLS_FLOWS;
	ssize_t n = 0;

	BIO_clear_retry_flags(bio);
	/* Behind our end of stream, and to a socket that takes nothing any more, nothing is sent.
	 * If OpenSSL heard of it, it would not read on either: it answers KeyUpdates as it reads,
	 * and what the peer has said is still there. */
	if (layer->out == TLS_OUT_SHUT || layer->phase > TLS_FLOWS)
		return len;
	if (flows && layer->held.len > TLS_HELD_BYTES) {
		BIO_set_retry_write(bio);
		return -1;
	}
	if (flows && !layer->held.len && !layer->gathers)
		n = sock_send(layer->fd, data, (size_t)len);
	if (n < 0 && n != -EAGAIN) {
		layer->unsendable = (uint8_t)-n;
		tls_layer_fail(layer, TLS_BROKEN, "");
		return len;
	}
	n = MAX(n, (ssize_t)0);
	return buf_append(&layer->held, data + n, (size_t)(len - n)) == 0 ? len : -1;
}

/* Bytes that OpenSSL may have of len bytes: the first record, once it is whole, or all of what does
 * not look like one, which it will refuse. 0: not yet; *ret_missing: what is to be read first. */
static size_t whole_record(const unsigned char *data, size_t len, size_t *ret_missing)
{
	size_t body;

	*ret_missing = RECORD_HEADER_BYTES - MIN(len, (size_t)RECORD_HEADER_BYTES);
	if (len && (data[0] < SSL3_RT_CHANGE_CIPHER_SPEC || data[0] > SSL3_RT_APPLICATION_DATA))
		return len;
	if (len < RECORD_HEADER_BYTES)
		return 0;
	body = (size_t)data[3] << 8 | data[4];
	if (data[1] != SSL3_VERSION_MAJOR || body > SSL3_RT_MAX_ENCRYPTED_LENGTH)
		return len;
	*ret_missing = RECORD_HEADER_BYTES + body - MIN(len, RECORD_HEADER_BYTES + body);
	return *ret_missing ? 0 : RECORD_HEADER_BYTES + body;
}

/* ---- where it is read into ---- */

/* With this much a record that has begun never moves before it is whole. */
#define WIDE_BYTES (TLS_AHEAD_BYTES + RECORD_BYTES_MAX)

/* The thread's, for whoever reads next: to allocate this much for each read costs more than the
 * read. Ciphertext only. */
static _Thread_local char *wide;
static pthread_key_t thread_key;
static bool have_key;

static int widen(struct buf *raw)
{
	char *data;

	if (raw->cap == WIDE_BYTES) {
		if (raw->len)
			memmove(raw->data, raw->data + raw->start, raw->len);
		raw->start = 0;
		return 0;
	}
	data = wide ? wide : malloc(WIDE_BYTES);
	if (!data)
		return -ENOMEM;
	if (wide)
		pthread_setspecific(thread_key, NULL);
	wide = NULL;
	if (raw->len)
		memcpy(data, raw->data + raw->start, raw->len);
	free(raw->data);
	*raw = (struct buf){ .data = data, .len = raw->len, .cap = WIDE_BYTES };
	return 0;
}

/* Nothing more is read now. What is left has as much memory as it needs. */
static void narrow(struct buf *raw)
{
	struct buf rest = { 0 };

	if (raw->cap != WIDE_BYTES || (raw->len && buf_append_view(&rest, buf_view(raw)) < 0))
		return;
	if (wide || !have_key || pthread_setspecific(thread_key, raw->data) != 0)
		free(raw->data);
	else
		wide = raw->data;
	*raw = rest;
}

/* ---- reading ---- */

/* Once from the socket. Returns bytes, 0 at the end, or -errno. */
static ssize_t receive(struct tls_layer *layer, char *data, size_t len)
{
	ssize_t n = sock_recv(layer->fd, data, MIN(len, (size_t)layer->budget));

	if (n < 0)
		return n;
	layer->budget -= (uint32_t)n;
	if (n == 0 && layer->in == TLS_IN_OPEN)
		layer->in = TLS_IN_CUT;
	return n;
}

/* To raw, behind what is there. As receive(). */
static ssize_t fill(struct tls_layer *layer, size_t missing)
{
	size_t want = layer->ahead ? MAX(missing, (size_t)TLS_AHEAD_BYTES) : missing;
	ssize_t n;
	int r = widen(&layer->raw);

	if (r < 0)
		return r;
	n = receive(layer, buf_tail(&layer->raw), MIN(want, WIDE_BYTES - (size_t)layer->raw.len));
	if (n > 0)
		buf_commit(&layer->raw, (size_t)n);
	return n;
}

/* To OpenSSL's memory, behind what is in raw, which is no whole record; what comes behind the first
 * record goes to raw. Long records are not copied so. Returns the record's length, or 0 with all of
 * it in raw and *ret_n as receive() said. */
static size_t pass_through(struct tls_layer *layer, char *data, size_t len, ssize_t *ret_n)
{
	struct view rest = buf_view(&layer->raw);
	size_t whole, missing, total;

	memcpy(data, rest.data, rest.len);
	*ret_n = receive(layer, data + rest.len, MIN(len, (size_t)WIDE_BYTES) - rest.len);
	if (*ret_n <= 0)
		return 0;
	total = rest.len + (size_t)*ret_n;
	whole = whole_record((const unsigned char *)data, total, &missing);
	if (whole == total) {
		buf_clear(&layer->raw);
		return whole;
	}
	if (widen(&layer->raw) < 0) {
		*ret_n = -ENOMEM;
		return 0;
	}
	memcpy(layer->raw.data, data + whole, total - whole);
	layer->raw.len = (uint32_t)(total - whole);
	return whole;
}

/* What the calls before have left in the socket, epoll tells again. */
static bool may_receive(const struct tls_layer *layer)
{
	return layer->budget && (layer->phase >= TLS_FLOWS || !layer->held.len);
}

/* Returns bytes of a whole record that OpenSSL has now, 0 at the end, or -errno. */
static ssize_t next_piece(struct tls_layer *layer, char *data, size_t len)
{
	ssize_t n = 0;

	while (!layer->passing) {
		struct view v = buf_view(&layer->raw);
		size_t missing, whole;

		layer->passing =
			(uint32_t)whole_record((const unsigned char *)v.data, v.len, &missing);
		if (layer->passing)
			break;
		if (!may_receive(layer))
			return -EAGAIN;
		if (layer->ahead && len >= RECORD_MAX && v.len + missing < len) {
			whole = pass_through(layer, data, len, &n);
			if (whole)
				return (ssize_t)whole;
		} else {
			n = fill(layer, missing);
		}
		if (n <= 0)
			return n;
	}
	len = MIN(len, (size_t)layer->passing);
	memcpy(data, buf_view(&layer->raw).data, len);
	buf_consume(&layer->raw, len);
	layer->passing -= (uint32_t)len;
	return (ssize_t)len;
}

static int wire_read(BIO *bio, char *data, int len)
{
	struct tls_layer *layer = BIO_get_data(bio);
	ssize_t n;

	BIO_clear_retry_flags(bio);
	if (layer->phase == TLS_FLOODED)
		return -1;
	n = next_piece(layer, data, (size_t)len);
	if (n == -EAGAIN)
		BIO_set_retry_read(bio);
	if (n <= 0 || !layer->raw.len)
		narrow(&layer->raw);
	errno = n < 0 ? (int)-n : 0;
	return n < 0 ? -1 : (int)n;
}

static long wire_ctrl(BIO *bio, int command, long number, void *pointer)
{
	(void)number;
	(void)pointer;
	switch (command) {
	case BIO_CTRL_EOF:
		return ((struct tls_layer *)BIO_get_data(bio))->in != TLS_IN_OPEN;
	case BIO_CTRL_FLUSH: /* tls_wire_flush() does it */
		return 1;
	default:
		return 0;
	}
}

static BIO_METHOD *method;

static void make_method(void)
{
	have_key = pthread_key_create(&thread_key, free) == 0;
	method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket");
	if (method &&
		(BIO_meth_set_write(method, wire_write) != 1 ||
			BIO_meth_set_read(method, wire_read) != 1 ||
			BIO_meth_set_ctrl(method, wire_ctrl) != 1)) {
		BIO_meth_free(method);
		method = NULL;
	}
}

int tls_wire_attach(struct tls_layer *layer)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	BIO *bio;

	pthread_once(&once, make_method);
	bio = method ? BIO_new(method) : NULL;
	if (!bio)
		return -ENOMEM;
	BIO_set_data(bio, layer);
	BIO_set_init(bio, 1);
	SSL_set_bio(layer->ssl, bio, bio);
	return 0;
}

int tls_wire_flush(struct tls_layer *layer)
{
	int r = sock_send_buf(layer->fd, &layer->held);

	if (r == 0)
		buf_fini(&layer->held);
	return r;
}

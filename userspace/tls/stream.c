// SPDX-License-Identifier: Apache-2.0
/*
 * TLS as a stream layer. OpenSSL reads and writes the socket through our BIO (wire.c). The error
 * queue is per thread and shared by all its connections, so it is emptied before every call.
 * Closing without close_notify is told apart from a clean end (-ECONNABORTED), because a truncated
 * mail must not look complete (SES-84).
 */
#include "tls/openssl.h"
#include "base/secret.h"
#include "tls/library.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* A record, in bytes that take as long to decrypt. */
#define RECORD_COST 512

static void note_error(struct tls_layer *layer)
{
	char reason[TLS_REASON_SIZE], text[sizeof(layer->error)];

	if (tls_is_refusal())
		snprintf(text, sizeof(text), "certificate refused: %s", tls_verdict(layer->ssl));
	else
		snprintf(text, sizeof(text), "%s", *tls_take_error(reason) ? reason : "TLS error");
	tls_layer_fail(layer, TLS_REFUSED, text);
	ERR_clear_error();
}

static void begin(struct tls_layer *layer)
{
	ERR_clear_error();
	tls_memory_tidy(false);
	errno = 0;
	layer->budget = TLS_READ_BUDGET;
	layer->messages = layer->records = 0;
}

/* After a call that returned r: -EAGAIN with stream->want, 0 for a clean end, or -errno. */
static int map_result(struct stream *stream, struct tls_layer *layer, int r, int saved_errno)
{
	if (tls_library_is_cut(layer, r, saved_errno))
		return -ECONNABORTED;
	switch (SSL_get_error(layer->ssl, r)) {
	case SSL_ERROR_WANT_READ:
		stream->want = EPOLLIN;
		return -EAGAIN;
	case SSL_ERROR_WANT_WRITE:
		stream->want = EPOLLOUT;
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return layer->in == TLS_IN_CLOSED ? STREAM_EOF : -ECONNABORTED;
	case SSL_ERROR_SYSCALL:
		tls_layer_fail(layer, TLS_BROKEN, "");
		ERR_clear_error();
		return saved_errno ? -saved_errno : -ECONNABORTED;
	default:
		note_error(layer);
		return -EPROTO;
	}
}

/* Returns 0 when nothing is held any more, -EAGAIN with stream->want, or -errno. */
static int flush_held(struct stream *stream)
{
	int r = tls_wire_flush(stream->layer);

	if (r == -EAGAIN)
		stream->want = EPOLLOUT;
	return r;
}

static ssize_t layer_read(struct stream *stream, void *data, size_t len)
{
	struct tls_layer *layer = stream->layer;
	size_t n = 0;
	int r;

	if (layer->phase < TLS_FLOWS) {
		stream->want = EPOLLIN;
		return -EAGAIN;
	}
	/* Tickets: nobody waits for them. But a peer that takes nothing and asks for answers to
	 * KeyUpdate is not read for ever. */
	if (flush_held(stream) == -EAGAIN && layer->held.len > TLS_HELD_BYTES)
		return -EAGAIN;
	begin(layer);
	r = SSL_read_ex(layer->ssl, data, len, &n);
	stream_add_work(
		stream, layer->messages * RECORD_MESSAGE_COST + layer->records * RECORD_COST);
	if (layer->phase == TLS_FLOODED) {
		ERR_clear_error();
		return -EPROTO;
	}
	if (r <= 0)
		return map_result(stream, layer, r, errno);
	layer->quiet_records = layer->quiet_messages = 0;
	tls_library_read(layer);
	tls_layer_check(layer);
	return (ssize_t)n;
}

/* The records of a write that could not all be sent: it is repeated until they are. */
static ssize_t pay_owed(struct stream *stream, struct tls_layer *layer)
{
	size_t n = layer->owed;
	int r = flush_held(stream);

	if (r < 0)
		return r;
	layer->owed = 0;
	layer->out = TLS_OUT_OPEN;
	tls_layer_check(layer);
	return (ssize_t)n;
}

static ssize_t layer_write(struct stream *stream, const void *data, size_t len)
{
	struct tls_layer *layer = stream->layer;
	size_t n = 0;
	int r;

	if (layer->phase < TLS_FLOWS) {
		stream->want = EPOLLIN;
		return -EAGAIN;
	}
	if (layer->phase > TLS_FLOWS || layer->out == TLS_OUT_SHUT)
		return -EPIPE;
	if (layer->out == TLS_OUT_OWED)
		return pay_owed(stream, layer);
	if (layer->held.len > TLS_HELD_BYTES) { /* else OpenSSL would wait with half a record */
		r = flush_held(stream);
		if (r < 0)
			return r;
	}
	begin(layer);
	r = SSL_write_ex(layer->ssl, data, len, &n); /* tickets go with the first bytes */
	if (r <= 0) {
		layer->out = TLS_OUT_BLOCKED;
		r = map_result(stream, layer, r, errno);
		return r == STREAM_EOF ? -EPIPE : r;
	}
	layer->out = TLS_OUT_OPEN;
	if (layer->unsendable)
		return -layer->unsendable;
	if (!layer->held.len)
		return (ssize_t)n;
	layer->out = TLS_OUT_OWED;
	layer->owed = n;
	return pay_owed(stream, layer);
}

/* A write has returned its count only when the socket had the whole record. */
static int layer_cut(struct stream *stream)
{
	struct tls_layer *layer = stream->layer;

	layer->out = TLS_OUT_SHUT;
	layer->owed = 0;
	tls_layer_check(layer);
	return shutdown(stream->fd, SHUT_WR) < 0 && errno != ENOTCONN ? -errno : 0;
}

/* close_notify, once; the peer's may come later. Returns 0, or as map_result(). */
static int say_end(struct stream *stream, struct tls_layer *layer)
{
	int r;

	if (SSL_get_shutdown(layer->ssl) & SSL_SENT_SHUTDOWN)
		return 0;
	begin(layer);
	r = SSL_shutdown(layer->ssl);
	return r < 0 ? map_result(stream, layer, r, errno) : 0;
}

static int layer_shutdown(struct stream *stream)
{
	struct tls_layer *layer = stream->layer;
	int r;

	if (layer->phase == TLS_FLOWS && layer->out != TLS_OUT_SHUT) {
		r = flush_held(stream);
		if (r < 0)
			return r;
		r = say_end(stream, layer);
		if (r == 0)
			r = flush_held(stream);
		if (r == -EAGAIN)
			return r;
	}
	return layer_cut(stream);
}

static bool layer_pending(const struct stream *stream)
{
	const struct tls_layer *layer = stream->layer;

	/* also the beginning of a record: the rest of it is mostly there */
	return SSL_has_pending(layer->ssl) || layer->raw.len;
}

static void layer_close(struct stream *stream)
{
	struct tls_layer *layer = stream->layer;

	/* Without this OpenSSL marks the session as not resumable, also after a mere truncation. */
	if (layer->phase == TLS_FLOWS || layer->phase == TLS_BROKEN)
		SSL_set_shutdown(layer->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	tls_free_wiped(layer->ssl);
	ERR_clear_error();
	tls_client_unref(layer->client);
	tls_auth_unref(layer->auth);
	buf_fini(&layer->held);
	buf_fini(&layer->raw);
	secret_wipe(layer->secret, sizeof(layer->secret));
	free(layer);
	stream->layer = NULL;
}

static const struct stream_ops tls_ops = {
	.read = layer_read,
	.write = layer_write,
	.shutdown = layer_shutdown,
	.cut = layer_cut,
	.pending = layer_pending,
	.close = layer_close,
};

int tls_stream_attach(
	struct stream *stream, SSL *ssl, struct tls_client *client, const struct tls_alpn *alpn)
{
	struct tls_layer *layer = calloc(1, sizeof(*layer));

	if (layer) {
		layer->ssl = ssl;
		layer->fd = stream->fd;
	}
	if (!layer || tls_wire_attach(layer) < 0) {
		free(layer);
		SSL_free(ssl);
		return -ENOMEM;
	}
	layer->client = client;
	layer->alpn = alpn;
	SSL_set_app_data(ssl, layer);
	stream->ops = &tls_ops;
	stream->layer = layer;
	return 0;
}

struct tls_layer *tls_stream_layer(const struct stream *stream)
{
	return stream->ops == &tls_ops ? stream->layer : NULL;
}

void tls_stream_detach(struct stream *stream)
{
	int fd = stream->fd;

	layer_close(stream);
	stream_init_plain(stream, fd);
}

int tls_stream_accept(struct stream *stream, struct tls_server *server, const struct tls_alpn *alpn)
{
	SSL *ssl;
	int r = tls_server_ssl(server, &ssl);

	return r < 0 ? r : tls_stream_attach(stream, ssl, NULL, alpn);
}

int tls_stream_demand(struct stream *stream, struct tls_auth *auth)
{
	struct tls_layer *layer = stream->layer;
	int r = tls_auth_apply(auth, layer->ssl);

	if (r == 0)
		layer->auth = tls_auth_ref(auth);
	return r;
}

int tls_stream_connect(struct stream *stream, struct tls_client *client)
{
	SSL *ssl;
	int r = tls_client_ssl(client, &ssl);

	if (r == 0)
		r = tls_stream_attach(stream, ssl, client, NULL);
	if (r == 0)
		tls_client_ref(client);
	return r;
}

/* One call of OpenSSL, and what it wants to say. Returns 0 when it is done, or as map_result(). */
static int shake(struct stream *stream, struct tls_layer *layer)
{
	int r, sent;

	begin(layer);
	tls_derive_forget();
	r = SSL_do_handshake(layer->ssl);
	tls_memory_tidy(false);
	tls_derive_take(layer);
	if (r == 1 && SSL_is_server(layer->ssl) && SSL_version(layer->ssl) == TLS1_3_VERSION)
		/* only tickets: they may wait */
		return tls_library_settle(layer) ? 0 : -EIO;
	if (r == 1) {
		r = 0;
	} else {
		r = map_result(stream, layer, r, errno);
		if (r == STREAM_EOF) /* close_notify in the middle of it */
			r = -ECONNABORTED;
	}
	sent = flush_held(stream); /* of a failed one: the alert */
	return r == 0 || r == -EAGAIN ? (sent < 0 ? sent : r) : r;
}

int tls_stream_handshake(struct stream *stream)
{
	struct tls_layer *layer = stream->layer;
	char error[TLS_ERROR_SIZE];
	int r;

	if (layer->phase >= TLS_FLOWS)
		return 0;
	if (layer->phase == TLS_UNSHAKEN)
		return -EPROTO;
	r = flush_held(stream);
	if (r == 0)
		r = shake(stream, layer);
	tls_layer_check(layer);
	if (r < 0)
		return r;
	if ((layer->client && tls_client_verify(layer->client, layer->ssl, error) < 0) ||
		(layer->auth && tls_auth_verify(layer->auth, layer->ssl, error) < 0)) {
		tls_layer_fail(layer, TLS_REFUSED, error);
		return -EPROTO;
	}
	layer->phase = TLS_FLOWS;
	/* What a client sends holds its credential. Not in the handshake, which has none: OpenSSL
	 * wipes its whole buffer, 16 KiB, as often as it has to wait. */
	if (!layer->client)
		tls_stream_wipe_read(stream, true);
	return 0;
}

void tls_stream_read_ahead(struct stream *stream, bool on)
{
	struct tls_layer *layer = stream->layer;

	layer->ahead = on;
	SSL_set_read_ahead(layer->ssl, on);
}

void tls_stream_wipe_read(struct stream *stream, bool on)
{
	const struct tls_layer *layer = stream->layer;

	tls_library_wipe_read(layer->ssl, on);
}

const char *tls_stream_error(const struct stream *stream)
{
	const struct tls_layer *layer = tls_stream_layer(stream);

	return layer ? layer->error : "";
}

uint16_t tls_stream_wire_version(const struct stream *stream)
{
	const struct tls_layer *layer = tls_stream_layer(stream);

	return layer ? (uint16_t)SSL_version(layer->ssl) : 0;
}

uint16_t tls_stream_suite(const struct stream *stream)
{
	const struct tls_layer *layer = tls_stream_layer(stream);
	const SSL_CIPHER *cipher = layer ? SSL_get_current_cipher(layer->ssl) : NULL;

	return cipher ? SSL_CIPHER_get_protocol_id(cipher) : 0;
}

bool tls_stream_agreed(const struct stream *stream, const char *alpn_id)
{
	const struct tls_layer *layer = tls_stream_layer(stream);
	const unsigned char *id = NULL;
	unsigned len = 0;

	if (layer)
		SSL_get0_alpn_selected(layer->ssl, &id, &len);
	return len && view_eq(view_make((const char *)id, len), view_str(alpn_id));
}

const char *tls_stream_version(const struct stream *stream)
{
	const struct tls_layer *layer = tls_stream_layer(stream);

	return layer ? SSL_get_version(layer->ssl) : "-";
}

const char *tls_stream_cipher(const struct stream *stream)
{
	const struct tls_layer *layer = tls_stream_layer(stream);
	const SSL_CIPHER *cipher = layer ? SSL_get_current_cipher(layer->ssl) : NULL;

	return cipher ? SSL_CIPHER_standard_name(cipher) : "-";
}

bool tls_stream_resumed(const struct stream *stream)
{
	const struct tls_layer *layer = tls_stream_layer(stream);

	return layer && SSL_session_reused(layer->ssl);
}

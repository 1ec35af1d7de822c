// SPDX-License-Identifier: Apache-2.0
/*
 * The socket below OpenSSL, as a BIO of ours, because OpenSSL's own makes a system call of
 * everything. While layer->holding is set, what OpenSSL writes is collected in layer->held and goes
 * out with one send(): all messages of a flight, and session tickets together with the greeting
 * that follows. While something is held during a handshake the peer waits for us, so the socket is
 * not asked. Without a bound here OpenSSL would read on for as long as messages without data
 * arrive.
 */
#include "tls/openssl.h"

#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>

static int wire_write(BIO *bio, const char *data, int len)
{
	struct tls_layer *layer = BIO_get_data(bio);
	ssize_t n;

	BIO_clear_retry_flags(bio);
	if (layer->holding && layer->phase >= TLS_FLOWS && layer->held.len > TLS_HELD_BYTES) {
		BIO_set_retry_write(bio);
		return -1;
	}
	if (layer->holding)
		return buf_append(&layer->held, data, (size_t)len) == 0 ? len : -1;
	do {
		n = send(layer->fd, data, (size_t)len, MSG_NOSIGNAL);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		BIO_set_retry_write(bio);
	return (int)n;
}

static int wire_read(BIO *bio, char *data, int len)
{
	struct tls_layer *layer = BIO_get_data(bio);
	ssize_t n;

	BIO_clear_retry_flags(bio);
	if (layer->phase == TLS_FLOODED)
		return -1;
	/* OpenSSL asks only when it has used up what it had, so what is left is in the socket. */
	if (!layer->budget || (layer->phase < TLS_FLOWS && layer->held.len)) {
		BIO_set_retry_read(bio);
		return -1;
	}
	do {
		n = recv(layer->fd, data, MIN((size_t)len, (size_t)layer->budget), 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0 && errno == EAGAIN)
		BIO_set_retry_read(bio);
	if (n > 0)
		layer->budget -= (uint32_t)n;
	if (n == 0 && layer->in == TLS_IN_OPEN)
		layer->in = TLS_IN_CUT;
	return (int)n;
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
	while (layer->held.len) {
		struct view v = buf_view(&layer->held);
		ssize_t n = send(layer->fd, v.data, v.len, MSG_NOSIGNAL);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0)
			buf_consume(&layer->held, (size_t)n);
	}
	buf_fini(&layer->held);
	return 0;
}

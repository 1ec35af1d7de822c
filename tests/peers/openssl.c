// SPDX-License-Identifier: Apache-2.0
/* OpenSSL, as others use it: its own BIO, its own buffers. Block padding, fragments as small as
 * they may be, and tickets as large as they may be, so that they come in pieces. */
#include "peer.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>

static SSL_CTX *context;

const char library_name[] = "OpenSSL";

struct connection {
	struct outcome *outcome;
	SSL *ssl;
	bool closed;  /* the peer has sent close_notify */
	bool has_due; /* a message of ours is being sent */
};

static const char *const names[] = {
	[AES_128_GCM] = "ECDHE-ECDSA-AES128-GCM-SHA256:TLS_AES_128_GCM_SHA256",
	[AES_256_GCM] = "ECDHE-ECDSA-AES256-GCM-SHA384:TLS_AES_256_GCM_SHA384",
	[CHACHA20_POLY1305] = "ECDHE-ECDSA-CHACHA20-POLY1305:TLS_CHACHA20_POLY1305_SHA256",
};

/* What a ticket holds beside the session: it is then longer than a small fragment. */
static int fill_ticket(SSL *ssl, void *arg)
{
	static unsigned char filling[3000];

	(void)arg;
	return SSL_SESSION_set1_ticket_appdata(SSL_get_session(ssl), filling, sizeof(filling));
}

static SSL_TICKET_RETURN read_ticket(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
	size_t name_len, SSL_TICKET_STATUS status, void *arg)
{
	(void)ssl;
	(void)session;
	(void)name;
	(void)name_len;
	(void)arg;
	return status == SSL_TICKET_SUCCESS || status == SSL_TICKET_SUCCESS_RENEW
		? SSL_TICKET_RETURN_USE_RENEW
		: SSL_TICKET_RETURN_IGNORE_RENEW;
}

int library_init(const char *certificate, const char *key)
{
	context = SSL_CTX_new(TLS_method());
	if (!context)
		return -1;
	SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE);
	/* else a connection that has seen one says no close_notify any more */
	SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_session_ticket_cb(context, fill_ticket, read_ticket, NULL);
	if (!certificate)
		return 0;
	return SSL_CTX_use_certificate_chain_file(context, certificate) == 1 &&
			SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1
		? 0
		: -1;
}

/* Counts the peer's KeyUpdates, and knows its end from a mere FIN. */
static void on_message(int is_write, int version, int content_type, const void *data, size_t len,
	SSL *ssl, void *arg)
{
	struct connection *connection = arg;

	(void)version;
	(void)ssl;
	if (!is_write && content_type == SSL3_RT_HANDSHAKE && len &&
		*(const unsigned char *)data == SSL3_MT_KEY_UPDATE)
		connection->outcome->answers++;
	if (!is_write && content_type == SSL3_RT_ALERT && len == 2 &&
		((const unsigned char *)data)[1] == SSL_AD_CLOSE_NOTIFY)
		connection->closed = true;
}

void library_follow(struct connection *connection, const struct plan *plan)
{
	if (plan->limit)
		SSL_set_max_send_fragment(connection->ssl, plan->limit);
	if (plan->padding)
		SSL_set_block_padding(connection->ssl, plan->padding);
}

/* RFC 6066 section 4: a client asks. */
static void ask_limit(SSL *ssl, unsigned limit)
{
	int code = limit <= 512 ? TLSEXT_max_fragment_length_512
		: limit <= 1024 ? TLSEXT_max_fragment_length_1024
		: limit <= 2048 ? TLSEXT_max_fragment_length_2048
				: TLSEXT_max_fragment_length_4096;

	SSL_set_tlsext_max_fragment_length(ssl, (uint8_t)code);
}

struct connection *library_open(
	int fd, bool is_node, const struct plan *plan, struct outcome *outcome)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	int version = plan->suite->is_13 ? TLS1_3_VERSION : TLS1_2_VERSION;
	const char *both = names[plan->suite->cipher], *colon = strchr(both, ':');
	char name[64];

	snprintf(name, sizeof(name), "%.*s", (int)(colon - both), both);
	connection->outcome = outcome;
	connection->ssl = SSL_new(context);
	SSL_set_min_proto_version(connection->ssl, version);
	SSL_set_max_proto_version(connection->ssl, version);
	SSL_set_cipher_list(connection->ssl, name);
	SSL_set_ciphersuites(connection->ssl, colon + 1);
	SSL_set_msg_callback(connection->ssl, on_message);
	SSL_set_msg_callback_arg(connection->ssl, connection);
	SSL_set_fd(connection->ssl, fd);
	if (is_node) {
		SSL_set_accept_state(connection->ssl);
		return connection;
	}
	SSL_set_connect_state(connection->ssl);
	if (plan->limit)
		ask_limit(connection->ssl, plan->limit);
	if (plan->padding)
		SSL_set_block_padding(connection->ssl, plan->padding);
	return connection;
}

static int result_of(struct connection *connection, int r)
{
	int why = SSL_get_error(connection->ssl, r), error = errno;
	unsigned long code = ERR_peek_error();

	ERR_clear_error();
	switch (why) {
	case SSL_ERROR_WANT_READ:
	case SSL_ERROR_WANT_WRITE:
		return -EAGAIN;
	case SSL_ERROR_ZERO_RETURN:
		return connection->closed ? 0 : -ECONNABORTED;
	case SSL_ERROR_SYSCALL:
		return error == ECONNRESET || error == EPIPE ? -error : -ECONNRESET;
	}
	snprintf(connection->outcome->why, sizeof(connection->outcome->why), "%s",
		ERR_reason_error_string(code));
	return -EPROTO;
}

int library_handshake(struct connection *connection)
{
	int r = SSL_do_handshake(connection->ssl);

	if (r == 1)
		return 0;
	r = result_of(connection, r);
	return r ? r : -ECONNABORTED;
}

ssize_t library_read(struct connection *connection, void *data, size_t len)
{
	int n = SSL_read(connection->ssl, data, (int)len);

	return n > 0 ? n : result_of(connection, n);
}

ssize_t library_write(struct connection *connection, const void *data, size_t len)
{
	int n = SSL_write(connection->ssl, data, (int)len);

	return n > 0 ? n : result_of(connection, n);
}

/* What has been asked for goes out now. */
static int send_due(struct connection *connection, int asked)
{
	int r;

	if (asked != 1)
		return result_of(connection, 0);
	connection->has_due = true;
	r = SSL_do_handshake(connection->ssl);
	r = r == 1 ? 0 : result_of(connection, r);
	connection->has_due = r == -EAGAIN;
	return r;
}

int library_update(struct connection *connection, bool ask)
{
	int type = ask ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED;

	return send_due(
		connection, connection->has_due ? 1 : SSL_key_update(connection->ssl, type));
}

int library_ticket(struct connection *connection)
{
	return send_due(
		connection, connection->has_due ? 1 : SSL_new_session_ticket(connection->ssl));
}

int library_close_notify(struct connection *connection)
{
	int r = SSL_shutdown(connection->ssl);

	return r >= 0 ? 0 : result_of(connection, r);
}

void library_free(struct connection *connection)
{
	SSL_free(connection->ssl);
	free(connection);
}

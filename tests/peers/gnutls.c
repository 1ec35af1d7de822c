// SPDX-License-Identifier: Apache-2.0
/* GnuTLS: pads as much as is wanted; asks with record_size_limit and max_fragment_length at
 * once. */
#include "base/compiler.h"
#include "peer.h"

#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>

static gnutls_certificate_credentials_t credentials;
static gnutls_datum_t ticket_key;

const char library_name[] = "GnuTLS";

struct connection {
	struct outcome *outcome;
	gnutls_session_t session;
	size_t padding;
};

int library_init(const char *certificate, const char *key)
{
	if (gnutls_certificate_allocate_credentials(&credentials) < 0 ||
		gnutls_session_ticket_key_generate(&ticket_key) < 0)
		return -1;
	return !certificate ||
			gnutls_certificate_set_x509_key_file(
				credentials, certificate, key, GNUTLS_X509_FMT_PEM) >= 0
		? 0
		: -1;
}

/* Counts the peer's KeyUpdates. */
static int on_message(gnutls_session_t session, unsigned type, unsigned when, unsigned incoming,
	const gnutls_datum_t *message)
{
	struct connection *connection = gnutls_session_get_ptr(session);

	(void)when;
	(void)message;
	connection->outcome->answers += incoming && type == GNUTLS_HANDSHAKE_KEY_UPDATE;
	return 0;
}

void library_follow(struct connection *connection, const struct plan *plan)
{
	connection->padding = plan->padding;
}

struct connection *library_open(
	int fd, bool is_node, const struct plan *plan, struct outcome *outcome)
{
	static const char *const ciphers[] = {
		[AES_128_GCM] = "AES-128-GCM",
		[AES_256_GCM] = "AES-256-GCM",
		[CHACHA20_POLY1305] = "CHACHA20-POLY1305",
	};
	struct connection *connection = calloc(1, sizeof(*connection));
	char priority[128];

	connection->outcome = outcome;
	snprintf(priority, sizeof(priority), "NORMAL:-VERS-ALL:+VERS-TLS1.%d:-CIPHER-ALL:+%s",
		plan->suite->is_13 ? 3 : 2, ciphers[plan->suite->cipher]);
	if (gnutls_init(&connection->session,
		    (is_node ? GNUTLS_SERVER : GNUTLS_CLIENT) | GNUTLS_NONBLOCK |
			    GNUTLS_NO_SIGNAL) < 0 ||
		gnutls_priority_set_direct(connection->session, priority, NULL) < 0 ||
		gnutls_credentials_set(connection->session, GNUTLS_CRD_CERTIFICATE, credentials) <
			0)
		return NULL;
	gnutls_session_set_ptr(connection->session, connection);
	gnutls_transport_set_int(connection->session, fd);
	gnutls_handshake_set_hook_function(
		connection->session, GNUTLS_HANDSHAKE_KEY_UPDATE, GNUTLS_HOOK_POST, on_message);
	gnutls_handshake_set_timeout(connection->session, 0);
	if (is_node)
		gnutls_session_ticket_enable_server(connection->session, &ticket_key);
	else if (plan->limit)
		gnutls_record_set_max_size(connection->session, plan->limit);
	library_follow(connection, plan);
	return connection;
}

static int result_of(struct connection *connection, ssize_t r)
{
	switch (r) {
	case GNUTLS_E_AGAIN:
	case GNUTLS_E_INTERRUPTED:
		return -EAGAIN;
	case GNUTLS_E_PREMATURE_TERMINATION:
		return -ECONNABORTED;
	case GNUTLS_E_PULL_ERROR:
	case GNUTLS_E_PUSH_ERROR:
	case GNUTLS_E_SESSION_EOF:
		return -ECONNRESET;
	case GNUTLS_E_FATAL_ALERT_RECEIVED:
		snprintf(connection->outcome->why, sizeof(connection->outcome->why), "alert %s",
			gnutls_alert_get_name(gnutls_alert_get(connection->session)));
		return -EPROTO;
	default:
		snprintf(connection->outcome->why, sizeof(connection->outcome->why), "%s",
			gnutls_strerror((int)r));
		return -EPROTO;
	}
}

int library_handshake(struct connection *connection)
{
	int r = gnutls_handshake(connection->session);

	if (r < 0 && r != GNUTLS_E_FATAL_ALERT_RECEIVED && !gnutls_error_is_fatal(r))
		return -EAGAIN;
	return r < 0 ? result_of(connection, r) : 0;
}

ssize_t library_read(struct connection *connection, void *data, size_t len)
{
	ssize_t n = gnutls_record_recv(connection->session, data, len);

	return n >= 0 ? n : result_of(connection, n);
}

ssize_t library_write(struct connection *connection, const void *data, size_t len)
{
	size_t room = gnutls_record_get_max_size(connection->session);
	size_t padding = MIN(connection->padding, room / 2);
	ssize_t n;

	if (padding && gnutls_protocol_get_version(connection->session) == GNUTLS_TLS1_3)
		n = gnutls_record_send2(
			connection->session, data, MIN(len, room - padding - 1), padding, 0);
	else
		n = gnutls_record_send(connection->session, data, len);
	return n >= 0 ? n : result_of(connection, n);
}

int library_update(struct connection *connection, bool ask)
{
	int r = gnutls_session_key_update(connection->session, ask ? GNUTLS_KU_PEER : 0);

	return r < 0 ? result_of(connection, r) : 0;
}

int library_ticket(struct connection *connection)
{
	int r = gnutls_session_ticket_send(connection->session, 1, 0);

	return r < 0 ? result_of(connection, r) : 0;
}

int library_close_notify(struct connection *connection)
{
	int r = gnutls_bye(connection->session, GNUTLS_SHUT_WR);

	return r < 0 ? result_of(connection, r) : 0;
}

void library_free(struct connection *connection)
{
	gnutls_deinit(connection->session);
	free(connection);
}

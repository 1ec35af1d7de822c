// SPDX-License-Identifier: Apache-2.0
/* NSS, which Firefox and Thunderbird have: record_size_limit, KeyUpdates, tickets with as much of
 * the application's in them as it likes. */
#include "peer.h"

#include <errno.h>
#include <nss.h>
#include <pk11func.h>
#include <private/pprio.h>
#include <prerror.h>
#include <prio.h>
#include <ssl.h>
#include <sslexp.h>
#include <sslproto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of a ticket, which then takes two records. */
#define TOKEN_BYTES 20000

static CERTCertificate *node_certificate;
static SECKEYPrivateKey *node_key;

const char library_name[] = "NSS";

struct connection {
	struct outcome *outcome;
	PRFileDesc *socket;
	bool closed; /* the peer has sent close_notify */
	int alert;   /* another one of the peer's; -1: none */
};

int library_init(const char *directory, const char *name)
{
	if ((directory ? NSS_Init(directory) : NSS_NoDB_Init(NULL)) != SECSuccess ||
		NSS_SetDomesticPolicy() != SECSuccess)
		return -1;
	if (!directory)
		return 0;
	if (SSL_ConfigServerSessionIDCache(0, 0, 0, NULL) != SECSuccess)
		return -1;
	node_certificate = PK11_FindCertFromNickname(name, NULL);
	node_key = node_certificate ? PK11_FindKeyByAnyCert(node_certificate, NULL) : NULL;
	return node_key ? 0 : -1;
}

static SECStatus take_certificate(void *arg, PRFileDesc *socket, PRBool check, PRBool is_server)
{
	(void)arg;
	(void)socket;
	(void)check;
	(void)is_server;
	return SECSuccess;
}

static void on_alert(const PRFileDesc *socket, void *arg, const SSLAlert *alert)
{
	struct connection *connection = arg;

	(void)socket;
	if (alert->description == 0)
		connection->closed = true;
	else
		connection->alert = alert->description;
}

void library_follow(struct connection *connection, const struct plan *plan)
{
	(void)connection;
	(void)plan;
}

static void choose_suite(PRFileDesc *socket, const struct suite *suite)
{
	static const PRUint16 ids[2][CIPHERS] = {
		{ TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 },
		{ TLS_AES_128_GCM_SHA256, TLS_AES_256_GCM_SHA384, TLS_CHACHA20_POLY1305_SHA256 },
	};
	PRUint16 version = suite->is_13 ? SSL_LIBRARY_VERSION_TLS_1_3 : SSL_LIBRARY_VERSION_TLS_1_2;
	SSLVersionRange range = { version, version };

	SSL_VersionRangeSet(socket, &range);
	for (PRUint16 i = 0; i < SSL_NumImplementedCiphers; i++)
		SSL_CipherPrefSet(socket, SSL_ImplementedCiphers[i],
			SSL_ImplementedCiphers[i] == ids[suite->is_13][suite->cipher]);
}

struct connection *library_open(
	int fd, bool is_node, const struct plan *plan, struct outcome *outcome)
{
	struct connection *connection = calloc(1, sizeof(*connection));
	/* closed with the socket, while the descriptor is the caller's */
	PRFileDesc *tcp = PR_ImportTCPSocket(dup(fd));
	PRSocketOptionData nonblocking = { .option = PR_SockOpt_Nonblocking };

	nonblocking.value.non_blocking = PR_TRUE;
	connection->outcome = outcome;
	connection->alert = -1;
	if (PR_SetSocketOption(tcp, &nonblocking) != PR_SUCCESS)
		return NULL;
	connection->socket = SSL_ImportFD(NULL, tcp);
	choose_suite(connection->socket, plan->suite);
	SSL_OptionSet(connection->socket, SSL_HANDSHAKE_AS_SERVER, is_node);
	SSL_OptionSet(connection->socket, SSL_HANDSHAKE_AS_CLIENT, !is_node);
	SSL_OptionSet(connection->socket, SSL_NO_CACHE, !is_node);
	SSL_OptionSet(connection->socket, SSL_ENABLE_SESSION_TICKETS, PR_TRUE);
	if (!is_node && plan->limit)
		SSL_OptionSet(connection->socket, SSL_RECORD_SIZE_LIMIT, (PRIntn)plan->limit);
	SSL_AuthCertificateHook(connection->socket, take_certificate, NULL);
	SSL_AlertReceivedCallback(connection->socket, on_alert, connection);
	if (is_node &&
		SSL_ConfigServerCert(connection->socket, node_certificate, node_key, NULL, 0) !=
			SECSuccess)
		return NULL;
	if (!is_node)
		SSL_SetURL(connection->socket, "localhost");
	if (SSL_ResetHandshake(connection->socket, is_node) != SECSuccess)
		return NULL;
	return connection;
}

static int result_of(struct connection *connection)
{
	PRErrorCode code = PR_GetError();

	switch (code) {
	case PR_WOULD_BLOCK_ERROR:
		return -EAGAIN;
	case PR_CONNECT_RESET_ERROR:
	case PR_SOCKET_SHUTDOWN_ERROR:
		return -ECONNRESET;
	case PR_END_OF_FILE_ERROR:
		return -ECONNABORTED;
	default:
		snprintf(connection->outcome->why, sizeof(connection->outcome->why), "%s alert %d",
			PR_ErrorToName(code), connection->alert);
		return -EPROTO;
	}
}

int library_handshake(struct connection *connection)
{
	return SSL_ForceHandshake(connection->socket) == SECSuccess ? 0 : result_of(connection);
}

/* Epoch 3 is that of the first application data (RFC 9147 section 6.1). */
static int answers(PRFileDesc *socket)
{
	PRUint16 read_epoch = 0, write_epoch = 0;

	if (SSL_GetCurrentEpoch(socket, &read_epoch, &write_epoch) != SECSuccess)
		return -1;
	return read_epoch > 3 ? read_epoch - 3 : 0;
}

ssize_t library_read(struct connection *connection, void *data, size_t len)
{
	PRInt32 n = PR_Read(connection->socket, data, (PRInt32)len);

	connection->outcome->answers = answers(connection->socket);
	if (n == 0)
		return connection->closed ? 0 : -ECONNABORTED;
	return n > 0 ? n : result_of(connection);
}

ssize_t library_write(struct connection *connection, const void *data, size_t len)
{
	PRInt32 n = PR_Write(connection->socket, data, (PRInt32)len);

	return n > 0 ? n : n == 0 ? -EAGAIN : result_of(connection);
}

int library_update(struct connection *connection, bool ask)
{
	return SSL_KeyUpdate(connection->socket, ask) == SECSuccess ? 0 : result_of(connection);
}

int library_ticket(struct connection *connection)
{
	static const PRUint8 token[TOKEN_BYTES];

	return SSL_SendSessionTicket(connection->socket, token, sizeof(token)) == SECSuccess
		? 0
		: result_of(connection);
}

int library_close_notify(struct connection *connection)
{
	return PR_Shutdown(connection->socket, PR_SHUTDOWN_SEND) == PR_SUCCESS
		? 0
		: result_of(connection);
}

void library_free(struct connection *connection)
{
	PR_Close(connection->socket);
	free(connection);
}

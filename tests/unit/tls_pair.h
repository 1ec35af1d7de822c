// SPDX-License-Identifier: Apache-2.0
/* Two streams with OpenSSL at both ends of a socket pair: near, which a test tries as a server or
 * as a client towards nodes, and far. */
#ifndef TESTS_UNIT_TLS_PAIR_H
#define TESTS_UNIT_TLS_PAIR_H

#include "unit.h"

#include "tls/library.h"
#include "tls/openssl.h"
#include "tls_peer.h"

#include <signal.h>
#include <sys/socket.h>

static const struct kind {
	const char *suite; /* the only one of its version */
	int version;
	enum record_cipher cipher;
} kinds[] = {
	{ "TLS_AES_128_GCM_SHA256", TLS1_3_VERSION, RECORD_AES_128_GCM },
	{ "TLS_AES_256_GCM_SHA384", TLS1_3_VERSION, RECORD_AES_256_GCM },
	{ "TLS_CHACHA20_POLY1305_SHA256", TLS1_3_VERSION, RECORD_CHACHA20_POLY1305 },
	{ "ECDHE-ECDSA-AES128-GCM-SHA256", TLS1_2_VERSION, RECORD_AES_128_GCM },
	{ "ECDHE-ECDSA-AES256-GCM-SHA384", TLS1_2_VERSION, RECORD_AES_256_GCM },
	{ "ECDHE-ECDSA-CHACHA20-POLY1305", TLS1_2_VERSION, RECORD_CHACHA20_POLY1305 },
};

static struct tls_server *the_server;

static inline SSL *ssl_of(const struct stream *stream)
{
	return tls_stream_layer(stream)->ssl;
}

static inline void only_suite(SSL *ssl, const struct kind *kind)
{
	assert_int_equal(SSL_set_min_proto_version(ssl, kind->version), 1);
	assert_int_equal(SSL_set_max_proto_version(ssl, kind->version), 1);
	if (kind->version == TLS1_3_VERSION)
		assert_int_equal(SSL_set_ciphersuites(ssl, kind->suite), 1);
	else
		assert_int_equal(SSL_set_cipher_list(ssl, kind->suite), 1);
}

/* Freed by the caller. */
static inline struct tls_client *tls_pair_client(void)
{
	struct tls_client_params params = { .allow_invalid = true };
	char error[TLS_ERROR_SIZE];
	struct tls_client *client;

	assert_int_equal(tls_client_new(&params, &client, error), 0);
	return client;
}

/* Nothing of the handshake has been sent yet: what is to be set is set now. */
static inline void tls_pair_connect(
	struct stream *near, struct stream *far, bool near_is_server, struct tls_client *client)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
	stream_init_plain(near, fds[0]);
	stream_init_plain(far, fds[1]);
	assert_int_equal(tls_stream_accept(near_is_server ? near : far, the_server, NULL), 0);
	assert_int_equal(tls_stream_connect(near_is_server ? far : near, client), 0);
}

static inline void tls_pair_shake_hands(struct stream *near, struct stream *far)
{
	bool done[2] = { false, false };

	for (int i = 0; !done[0] || !done[1]; i++) {
		assert_in_range(i, 0, 20);
		done[0] = done[0] || tls_stream_handshake(near) == 0;
		done[1] = done[1] || tls_stream_handshake(far) == 0;
	}
}

/* ---- the program ---- */

static inline int tls_pair_setup(void **state)
{
	struct tls_policy policy = { 0 };
	char error[TLS_ERROR_SIZE];

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	if (tls_process_init() < 0)
		return -1;
	return tls_server_new(NULL, 0, &policy, &the_server, error);
}

static inline int tls_pair_teardown(void **state)
{
	(void)state;
	tls_server_unref(the_server);
	tls_process_fini();
	return 0;
}

#endif

// SPDX-License-Identifier: Apache-2.0
/* What a peer does that a test makes of the library itself, where OpenSSL and AWS-LC differ. */
#ifndef TESTS_TLS_PEER_H
#define TESTS_TLS_PEER_H

#include <openssl/ssl.h>

#ifdef OPENSSL_IS_AWSLC
/* A renegotiation that a client asks for ends its session; with OpenSSL it is refused. */
#define PEER_RENEGOTIATION_ENDS true
/* An answer to a KeyUpdate is made and sent by the library, also when the keys are taken. */
#define PEER_ANSWERS_ITSELF true
/* Whether a client can ask for shorter records (RFC 6066 section 4). */
#define PEER_HAS_FRAGMENTS false
/* Whether a server can send a ticket whenever it likes, and any peer padding. */
#define PEER_HAS_TICKETS false

static inline bool peer_asks_for_fragments(SSL *ssl, uint8_t code)
{
	(void)ssl;
	(void)code;
	return false;
}

/* Of TLS 1.3; it goes with the next write. */
static inline bool peer_makes_ticket(SSL *ssl)
{
	(void)ssl;
	return false;
}

static inline void peer_pads(SSL *ssl, size_t (*pad)(SSL *, int, size_t, void *), void *arg)
{
	(void)ssl;
	(void)pad;
	(void)arg;
}

/* A KeyUpdate, and it is sent if it can be. */
static inline bool peer_updates(SSL *ssl, int type)
{
	return SSL_key_update(ssl, type) == 1 && SSL_write(ssl, "", 0) == 0;
}
#else
#define PEER_RENEGOTIATION_ENDS false
#define PEER_ANSWERS_ITSELF false
#define PEER_HAS_FRAGMENTS true
#define PEER_HAS_TICKETS true

static inline bool peer_asks_for_fragments(SSL *ssl, uint8_t code)
{
	return SSL_set_tlsext_max_fragment_length(ssl, code) == 1;
}

static inline bool peer_makes_ticket(SSL *ssl)
{
	return SSL_new_session_ticket(ssl) == 1;
}

static inline void peer_pads(SSL *ssl, size_t (*pad)(SSL *, int, size_t, void *), void *arg)
{
	SSL_set_record_padding_callback_arg(ssl, arg);
	SSL_set_record_padding_callback(ssl, pad);
}

static inline bool peer_updates(SSL *ssl, int type)
{
	return SSL_key_update(ssl, type) == 1 && SSL_do_handshake(ssl) == 1;
}
#endif

#endif

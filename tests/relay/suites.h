// SPDX-License-Identifier: Apache-2.0
/*
 * TLS servers that know one suite each, with a certificate of their own, and clients. A session is
 * resumed with what it began with, so there is a client for each code of max_fragment_length (RFC
 * 6066 section 4), 0 for none, and one for servers whose suite OpenSSL alone has.
 */
#ifndef TESTS_RELAY_SUITES_H
#define TESTS_RELAY_SUITES_H

#include "record/record.h"
#include "tls/tls.h"

/* As tls_server_new(). */
static inline int suites_server(enum record_version version, enum record_cipher cipher,
	struct tls_server **ret_server, char error[TLS_ERROR_SIZE])
{
	static const char *const names[RECORD_VERSIONS][RECORD_CIPHERS] = {
		{ "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
			"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
			"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" },
		{ "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
			"TLS_CHACHA20_POLY1305_SHA256" },
	};
	const char *disabled[2 * RECORD_CIPHERS] = { 0 };
	struct tls_policy policy = { .disabled_suites = disabled, .ignore_client_order = true };
	int n = 0;

	for (int i = 0; i < RECORD_CIPHERS; i++) {
		if (i != (int)cipher)
			disabled[n++] = names[version][i];
	}
	for (int i = 0; version == RECORD_TLS_1_2 && i < RECORD_CIPHERS; i++)
		disabled[n++] = names[RECORD_TLS_1_3][i];
	return tls_server_new(NULL, 0, &policy, ret_server, error);
}

#define SUITES_CODES 5
#define SUITES_OTHER SUITES_CODES

struct suites {
	struct tls_server *servers[RECORD_VERSIONS][RECORD_CIPHERS];
	struct tls_client *clients[SUITES_CODES + 1];
};

/* Returns 0 or -errno. */
static inline int suites_init(struct suites *suites)
{
	static const struct tls_client_params params = { .allow_invalid = true };
	char error[TLS_ERROR_SIZE];
	int r = 0;

	for (int i = 0; r == 0 && i < RECORD_VERSIONS * RECORD_CIPHERS; i++) {
		int v = i / RECORD_CIPHERS, c = i % RECORD_CIPHERS;

		r = suites_server((enum record_version)v, (enum record_cipher)c,
			&suites->servers[v][c], error);
	}
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(suites->clients); i++)
		r = tls_client_new(&params, &suites->clients[i], error);
	return r;
}

static inline void suites_fini(struct suites *suites)
{
	for (int i = 0; i < RECORD_VERSIONS * RECORD_CIPHERS; i++)
		tls_server_unref(suites->servers[i / RECORD_CIPHERS][i % RECORD_CIPHERS]);
	for (size_t i = 0; i < ARRAY_SIZE(suites->clients); i++)
		tls_client_unref(suites->clients[i]);
}

#endif

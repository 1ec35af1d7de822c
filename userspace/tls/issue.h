// SPDX-License-Identifier: Apache-2.0
/*
 * A small authority of one's own: its certificate, and certificates that it signs, with P-256 keys.
 * For connections of which both ends belong to the same operator.
 */
#ifndef TLS_ISSUE_H
#define TLS_ISSUE_H

#include "tls/tls.h"

/* PEM; both owned, free with tls_pair_free(). */
struct tls_pair {
	char *cert, *key;
};

/* name: common name, at most 64 bytes; days: from now. error gets a text on failure. Each returns 0
 * or -errno. */
MUST_USE int tls_make_authority(
	const char *name, unsigned days, struct tls_pair *ret_pair, char error[TLS_ERROR_SIZE]);
/* name: the common name, and the one name that the certificate is for (DNS name or IP address).
 * is_server: good for servers alone, else for clients alone. */
MUST_USE int tls_make_signed(const struct tls_pair *authority, const char *name, bool is_server,
	unsigned days, struct tls_pair *ret_pair, char error[TLS_ERROR_SIZE]);
/* The key is wiped. Zeroed: left alone. */
void tls_pair_free(struct tls_pair *pair);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * OpenSSL gives an SSL back to the heap as it is, with both traffic secrets of TLS 1.3 and the
 * exporter's in it. So that piece is wiped (REC-36). A session that it writes into a ticket, or
 * reads from one, leaves its master secret in what it was made of: of everything that is freed
 * while it does, nothing stays. What else has keys (sessions, contexts of ciphers and digests)
 * OpenSSL wipes itself, and credentials as soon as they have been read (tls_stream_wipe_read()).
 * Newer releases leave the IVs, which without a key tell nothing.
 */
#include "base/secret.h"
#include "tls/openssl.h"

#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

static _Thread_local const void *leaving; /* the SSL that is being freed */
static _Thread_local bool tidy;           /* all of it */

/* Nothing for nothing, as OpenSSL's own. */
static void *get(size_t size, const char *file, int line)
{
	(void)file;
	(void)line;
	return size ? malloc(size) : NULL;
}

static void put(void *memory, const char *file, int line)
{
	(void)file;
	(void)line;
	if (memory && (tidy || memory == leaving))
		secret_wipe(memory, malloc_usable_size(memory));
	free(memory);
}

/* realloc() may leave the old piece as it is. */
static void *move(void *memory, size_t size)
{
	void *other = malloc(size);

	if (!other)
		return NULL;
	memcpy(other, memory, MIN(size, malloc_usable_size(memory)));
	put(memory, NULL, 0);
	return other;
}

static void *change(void *memory, size_t size, const char *file, int line)
{
	if (memory && !size) {
		put(memory, file, line);
		return NULL;
	}
	if (memory && tidy)
		return move(memory, size);
	return size ? realloc(memory, size) : NULL;
}

/* Possible only before OpenSSL has taken any memory. */
__attribute__((constructor)) static void take_over(void)
{
	(void)CRYPTO_set_mem_functions(get, change, put);
}

void tls_memory_tidy(bool on)
{
	tidy = on;
}

void tls_free_wiped(SSL *ssl)
{
	leaving = ssl;
	SSL_free(ssl);
	leaving = NULL;
}

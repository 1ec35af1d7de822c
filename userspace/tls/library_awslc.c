// SPDX-License-Identifier: Apache-2.0
/*
 * See library.h: AWS-LC. All memory that it gives back it has wiped (OPENSSL_free()), so nothing of
 * what memory_openssl.c does is needed; and traffic secrets and record numbers can be asked for,
 * so nothing is followed (derive_openssl.c).
 */
#include "tls/library.h"
#include "base/secret.h"

#include <errno.h>
#include <malloc.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* As OpenSSL has them on Debian: security level 2 (SSL_CTX_set_security_level(3)). */
#define LEAST_RSA_BITS 2048
#define LEAST_EC_BITS 224

const char *tls_library_name(void)
{
	return "AWS-LC " AWSLC_VERSION_NUMBER_STRING;
}

const char *tls_library_reason(int reason)
{
	/* of a client's, for that alert alone */
	return reason == SSL_R_HANDSHAKE_FAILURE_ON_CLIENT_HELLO ? "alert handshake_failure" : NULL;
}

/* ---- contexts ---- */

static int index_of_order = -1;

SSL_CTX *tls_library_context(const SSL_METHOD *method, bool secrets)
{
	(void)secrets;
	return SSL_CTX_new(method);
}

/* Buffers are released when idle, no compression and no renegotiation, as ever. */
void tls_library_options(SSL_CTX *ctx, bool secrets)
{
	(void)ctx;
	(void)secrets;
}

/* What a context has at index_of_order. */
struct order {
	bool ours;
	char suites[256]; /* with colons between them */
};

static void free_order(
	void *parent, void *order, CRYPTO_EX_DATA *data, int index, long number, void *pointer)
{
	(void)parent;
	(void)data;
	(void)index;
	(void)number;
	(void)pointer;
	free(order);
}

int tls_library_init(void)
{
	if (index_of_order < 0)
		index_of_order = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, free_order);
	return index_of_order < 0 ? -EIO : 0;
}

/* The position of a suite in the list, from 0; -1: it is not there. */
static int find_suite(const char *list, const char *name)
{
	size_t len = strlen(name);

	for (int i = 0; *list; i++) {
		size_t n = strcspn(list, ":");

		if (n == len && memcmp(list, name, n) == 0)
			return i;
		list += n + (list[n] == ':');
	}
	return -1;
}

/* The best of ours that the client has too, alone: by itself the library goes by the client's order
 * in TLS 1.3, and without instructions for AES by neither's. */
static enum ssl_select_cert_result_t on_hello(const SSL_CLIENT_HELLO *hello)
{
	const struct order *order =
		SSL_CTX_get_ex_data(SSL_get_SSL_CTX(hello->ssl), index_of_order);
	const char *best = NULL;
	int best_place = -1;

	for (size_t i = 0; order && i + 1 < hello->cipher_suites_len; i += 2) {
		const SSL_CIPHER *suite = SSL_get_cipher_by_value(
			(uint16_t)(hello->cipher_suites[i] << 8 | hello->cipher_suites[i + 1]));
		const char *name = suite ? SSL_CIPHER_standard_name(suite) : "";
		int place = find_suite(order->suites, name);

		if (place < 0 || (best && (!order->ours || place >= best_place)))
			continue;
		best = name;
		best_place = place;
	}
	return !best || SSL_set_ciphersuites(hello->ssl, best) == 1 ? ssl_select_cert_success
								    : ssl_select_cert_error;
}

int tls_library_suites13(SSL_CTX *ctx, const char *tls13, bool our_order)
{
	struct order *order;

	if (!*tls13)
		return 0;
	if (SSL_CTX_set_ciphersuites(ctx, tls13) != 1)
		return -EINVAL;
	if (!our_order && EVP_has_aes_hardware())
		return 0;
	order = calloc(1, sizeof(*order));
	if (!order || SSL_CTX_set_ex_data(ctx, index_of_order, order) != 1) {
		free(order);
		return -EINVAL;
	}
	order->ours = our_order;
	snprintf(order->suites, sizeof(order->suites), "%s", tls13);
	SSL_CTX_set_select_certificate_cb(ctx, on_hello);
	return 0;
}

const char *tls_library_default_suites(void)
{
	return "ALL";
}

/* The library's own name for it is not Debian's. */
const char *tls_library_trust_file(void)
{
	const char *file = getenv(X509_get_default_cert_file_env());

	return file ? file : "/etc/ssl/certs/ca-certificates.crt";
}

int tls_library_trust_system(SSL_CTX *ctx)
{
	if (SSL_CTX_set_default_verify_paths(ctx) != 1)
		return -EINVAL;
	if (!getenv(X509_get_default_cert_file_env()))
		(void)SSL_CTX_load_verify_locations(ctx, tls_library_trust_file(), NULL);
	ERR_clear_error(); /* who has no file may have the directory */
	return 0;
}

static tls_ticket_key_fn *find_key;

static int on_ticket(
	SSL *ssl, uint8_t *name, uint8_t *iv, EVP_CIPHER_CTX *cipher, HMAC_CTX *mac, int encrypt)
{
	struct tls_ticket_key key;
	int r = find_key(ssl, name, iv, encrypt, &key);

	if (r > 0 &&
		(EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key.aes, iv, encrypt) != 1 ||
			HMAC_Init_ex(mac, key.hmac, sizeof(key.hmac), EVP_sha256(), NULL) != 1))
		r = -1;
	secret_wipe(&key, sizeof(key));
	return r;
}

void tls_library_tickets(SSL_CTX *ctx, tls_ticket_key_fn *find)
{
	find_key = find;
	SSL_CTX_set_tlsext_ticket_key_cb(ctx, on_ticket);
}

/* ---- connections ---- */

void tls_library_client(SSL *ssl)
{
	SSL_set_renegotiate_mode(ssl, ssl_renegotiate_ignore);
}

/* No callback has the content type of a record of TLS 1.3: until data comes, each may be the
 * beginning of a message. */
unsigned char tls_library_heard(
	SSL *ssl, struct tls_layer *layer, bool is_write, int type, const unsigned char *data)
{
	(void)layer;
	(void)is_write;
	if (type != SSL3_RT_HEADER || SSL_version(ssl) != TLS1_3_VERSION)
		return 0;
	return data[0] == SSL3_RT_APPLICATION_DATA ? SSL3_RT_HANDSHAKE : data[0];
}

void tls_library_read(struct tls_layer *layer)
{
	layer->unheard = 0;
}

bool tls_library_is_cut(const struct tls_layer *layer, int r, int saved_errno)
{
	return SSL_get_error(layer->ssl, r) == SSL_ERROR_SYSCALL && !saved_errno &&
		layer->in == TLS_IN_CUT;
}

/* Tickets and answers to KeyUpdate are sealed as soon as they are made, and wait for a write; one
 * without bytes sends them and nothing else. */
bool tls_library_settle(struct tls_layer *layer)
{
	bool sent;

	layer->gathers = true;
	sent = SSL_write(layer->ssl, "", 0) == 0;
	layer->gathers = false;
	ERR_clear_error();
	return sent;
}

int tls_library_export(const struct tls_layer *layer, struct record_keys *keys)
{
	int reads = record_owner(keys->is_server, RECORD_READ);
	size_t len[2] = { RECORD_SECRET_MAX, RECORD_SECRET_MAX };

	keys->seq[RECORD_READ] = SSL_get_read_sequence(layer->ssl);
	keys->seq[RECORD_WRITE] = SSL_get_write_sequence(layer->ssl);
	if (keys->version != RECORD_TLS_1_3)
		return 0;
	if (SSL_get_read_traffic_secret(layer->ssl, keys->secret[reads], &len[0]) != 1 ||
		SSL_get_write_traffic_secret(layer->ssl, keys->secret[!reads], &len[1]) != 1 ||
		len[0] != len[1]) {
		ERR_clear_error();
		return -EINVAL;
	}
	keys->secret_len = len[0];
	return 0;
}

void tls_library_free(void *memory);
/* Called in place of free() by libssl, for the memory that records are read into and written from:
 * which it gives back as soon as nothing is in it (see the Makefile). */
void tls_library_free(void *memory)
{
	if (memory)
		secret_wipe(memory, malloc_usable_size(memory));
	free(memory);
}

void tls_library_wipe_read(SSL *ssl, bool on)
{
	(void)ssl;
	(void)on; /* as ever */
}

X509 *tls_library_peer(const SSL *ssl)
{
	X509 *leaf = SSL_get_peer_certificate(ssl);

	X509_free(leaf); /* the session has it too */
	return leaf;
}

SSL_SESSION *tls_library_keep(SSL_SESSION *session)
{
	return SSL_SESSION_up_ref(session) == 1 ? session : NULL;
}

void tls_library_demand_strength(X509_STORE_CTX *check, const SSL *ssl)
{
	(void)check;
	(void)ssl; /* there are no levels of security */
}

static bool is_strong(X509 *cert)
{
	EVP_PKEY *key = X509_get_pubkey(cert);
	int digest = NID_undef, r = 0;

	if (key)
		r = EVP_PKEY_bits(key) >=
			(EVP_PKEY_id(key) == EVP_PKEY_RSA ? LEAST_RSA_BITS : LEAST_EC_BITS);
	EVP_PKEY_free(key);
	if (OBJ_find_sigid_algs(X509_get_signature_nid(cert), &digest, NULL) == 1 &&
		(digest == NID_md5 || digest == NID_sha1))
		return false;
	return r;
}

/* The chain but for the authority's own signature, which nobody needs to trust. */
bool tls_library_is_strong(X509_STORE_CTX *check)
{
	STACK_OF(X509) *chain = X509_STORE_CTX_get0_chain(check);

	for (size_t i = 0; i + 1 < sk_X509_num(chain); i++) {
		if (!is_strong(sk_X509_value(chain, i)))
			return false;
	}
	return true;
}

/* ---- what OpenSSL needs and AWS-LC does by itself ---- */

void tls_free_wiped(SSL *ssl)
{
	SSL_free(ssl);
}

void tls_memory_tidy(bool on)
{
	(void)on;
}

void tls_derive_forget(void)
{
}

void tls_derive_take(struct tls_layer *layer)
{
	(void)layer;
}

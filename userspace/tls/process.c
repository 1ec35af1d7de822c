// SPDX-License-Identifier: Apache-2.0
/*
 * Secrets that outlive a reload: ticket keys and the self-signed certificate. A new ticket key
 * every hour; the two before it still open tickets, so that a ticket lives 2 h (SES-12). All
 * contexts and threads share them.
 */
#include "tls/openssl.h"
#include "base/clock.h"
#include "base/secret.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <pthread.h>

#define ROTATE_MS (3600 * 1000ull)
#define KEYS 3 /* the newest, and those of the last two hours */

struct ticket_key {
	unsigned char name[16], aes[32], hmac[32];
	uint64_t made_ms; /* 0: none */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ticket_key keys[KEYS];
static X509 *self_signed;
static EVP_PKEY *self_signed_key;

X509 *tls_self_signed_cert(void)
{
	return self_signed;
}

EVP_PKEY *tls_self_signed_key(void)
{
	return self_signed_key;
}

static int make_key(struct ticket_key *key)
{
	if (RAND_bytes(key->name, sizeof(key->name)) != 1 ||
		RAND_priv_bytes(key->aes, sizeof(key->aes)) != 1 ||
		RAND_priv_bytes(key->hmac, sizeof(key->hmac)) != 1)
		return -EIO;
	key->made_ms = clock_mono_ms() + 1;
	return 0;
}

/* Under the lock. On failure the old key stays. */
static void rotate(void)
{
	struct ticket_key fresh;

	if (clock_mono_ms() < keys[0].made_ms + ROTATE_MS || make_key(&fresh) < 0)
		return;
	secret_wipe(&keys[KEYS - 1], sizeof(keys[0]));
	for (int i = KEYS - 1; i > 0; i--)
		keys[i] = keys[i - 1];
	keys[0] = fresh;
	secret_wipe(&fresh, sizeof(fresh));
}

static int find_key(const unsigned char name[16], struct ticket_key *ret_key)
{
	for (int i = 0; i < KEYS; i++) {
		if (keys[i].made_ms && secret_equal(keys[i].name, name, sizeof(keys[i].name)) &&
			clock_mono_ms() < keys[i].made_ms + 2 * ROTATE_MS) {
			*ret_key = keys[i];
			return i;
		}
	}
	return -1;
}

static int start_crypto(const struct ticket_key *key, unsigned char iv[EVP_MAX_IV_LENGTH],
	EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(
			OSSL_MAC_PARAM_KEY, (void *)key->hmac, sizeof(key->hmac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA256", 0),
		OSSL_PARAM_construct_end(),
	};

	if (EVP_CipherInit_ex(cipher, EVP_aes_256_cbc(), NULL, key->aes, iv, encrypt) != 1 ||
		EVP_MAC_CTX_set_params(mac, params) != 1)
		return -1;
	return 1;
}

/* OpenSSL's contract: 1 go on, 2 go on and renew the ticket, 0 unknown ticket, -1 failure. */
static int on_ticket(SSL *ssl, unsigned char name[16], unsigned char iv[EVP_MAX_IV_LENGTH],
	EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int encrypt)
{
	struct ticket_key key = { 0 };
	int which = 0, r;

	tls_memory_tidy(true);
	pthread_mutex_lock(&lock);
	rotate();
	if (encrypt)
		key = keys[0];
	else
		which = find_key(name, &key);
	pthread_mutex_unlock(&lock);
	if (which < 0)
		return 0;
	if (encrypt) {
		memcpy(name, key.name, sizeof(key.name));
		if (RAND_bytes(iv, EVP_CIPHER_get_iv_length(EVP_aes_256_cbc())) != 1)
			return -1;
	}
	r = start_crypto(&key, iv, cipher, mac, encrypt);
	secret_wipe(&key, sizeof(key));
	/* A client uses a ticket of TLS 1.3 once (RFC 8446 appendix C.4): it needs a new one each
	 * time. */
	return r == 1 && !encrypt && (which > 0 || SSL_version(ssl) == TLS1_3_VERSION) ? 2 : r;
}

void tls_tickets_install(SSL_CTX *ctx)
{
	static const unsigned char context[] = "homing";

	SSL_CTX_set_session_id_context(ctx, context, sizeof(context) - 1);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, on_ticket);
	SSL_CTX_set_num_tickets(ctx, 2);
	SSL_CTX_set_timeout(ctx, 7200);
	SSL_CTX_set_max_early_data(ctx, 0);
}

static int sign_self(X509 *cert, EVP_PKEY *key)
{
	X509_NAME *name = X509_get_subject_name(cert);
	X509_EXTENSION *san =
		X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "DNS:localhost");
	unsigned char serial[8];
	int ok = san && RAND_bytes(serial, sizeof(serial)) == 1;
	BIGNUM *number = ok ? BN_bin2bn(serial, sizeof(serial), NULL) : NULL;

	ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert)) &&
		X509_set_version(cert, X509_VERSION_3) == 1 &&
		X509_gmtime_adj(X509_getm_notBefore(cert), -3600) &&
		X509_time_adj_ex(X509_getm_notAfter(cert), 3650, 0, NULL) &&
		X509_set_pubkey(cert, key) == 1 &&
		X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
			(const unsigned char *)"localhost", -1, -1, 0) == 1 &&
		X509_set_issuer_name(cert, name) == 1 && X509_add_ext(cert, san, -1) == 1 &&
		X509_sign(cert, key, EVP_sha256()) > 0;
	BN_free(number);
	X509_EXTENSION_free(san);
	return ok ? 0 : -EIO;
}

int tls_process_init(void)
{
	int r = make_key(&keys[0]);

	self_signed_key = EVP_EC_gen("P-256");
	self_signed = X509_new();
	if (r == 0)
		r = self_signed_key && self_signed ? sign_self(self_signed, self_signed_key)
						   : -ENOMEM;
	if (r < 0)
		tls_process_fini();
	return r;
}

void tls_process_fini(void)
{
	X509_free(self_signed);
	EVP_PKEY_free(self_signed_key);
	self_signed = NULL;
	self_signed_key = NULL;
	secret_wipe(keys, sizeof(keys));
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Secrets that outlive a reload: ticket keys and the self-signed certificate. A new ticket key
 * every hour; the two before it still open tickets, so that a ticket lives 2 h (SES-12). All
 * contexts and threads share them.
 */
#include "tls/library.h"
#include "tls/openssl.h"
#include "base/clock.h"
#include "base/secret.h"

#include <errno.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <pthread.h>

#define ROTATE_MS (3600 * 1000ull)
#define TICKET_IV_BYTES 16 /* AES's block */
#define KEYS 3             /* the newest, and those of the last two hours */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct tls_ticket_key keys[KEYS];
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

static int make_key(struct tls_ticket_key *key)
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
	struct tls_ticket_key fresh;

	if (clock_mono_ms() < keys[0].made_ms + ROTATE_MS || make_key(&fresh) < 0)
		return;
	secret_wipe(&keys[KEYS - 1], sizeof(keys[0]));
	for (int i = KEYS - 1; i > 0; i--)
		keys[i] = keys[i - 1];
	keys[0] = fresh;
	secret_wipe(&fresh, sizeof(fresh));
}

static int find_key(const unsigned char name[16], struct tls_ticket_key *ret_key)
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

static int ticket_key(SSL *ssl, unsigned char name[16], unsigned char *iv, bool encrypt,
	struct tls_ticket_key *ret_key)
{
	int which = 0;

	tls_memory_tidy(true);
	*ret_key = (struct tls_ticket_key){ 0 };
	pthread_mutex_lock(&lock);
	rotate();
	if (encrypt)
		*ret_key = keys[0];
	else
		which = find_key(name, ret_key);
	pthread_mutex_unlock(&lock);
	if (which < 0)
		return 0;
	if (encrypt) {
		memcpy(name, ret_key->name, sizeof(ret_key->name));
		return RAND_bytes(iv, TICKET_IV_BYTES) == 1 ? 1 : -1;
	}
	/* A client uses a ticket of TLS 1.3 once (RFC 8446 appendix C.4): it needs a new one each
	 * time. */
	return which > 0 || SSL_version(ssl) == TLS1_3_VERSION ? 2 : 1;
}

void tls_tickets_install(SSL_CTX *ctx)
{
	static const unsigned char context[] = "homing";

	SSL_CTX_set_session_id_context(ctx, context, sizeof(context) - 1);
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	tls_library_tickets(ctx, ticket_key);
	SSL_CTX_set_num_tickets(ctx, 2);
	SSL_CTX_set_timeout(ctx, 7200);
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
	int r = tls_library_init();

	if (r == 0)
		r = make_key(&keys[0]);

	self_signed_key = tls_key_new();
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

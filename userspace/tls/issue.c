// SPDX-License-Identifier: Apache-2.0
#include "tls/issue.h"
#include "base/secret.h"
#include "net/addr.h"
#include "tls/openssl.h"

#include <errno.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERIAL_BYTES 16
#define DAY_SECONDS 86400L
/* Clocks of two hosts may differ. */
#define EARLIER_SECONDS 3600L

EVP_PKEY *tls_key_new(void)
{
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
	EVP_PKEY *key = NULL;

	if (ctx && EVP_PKEY_keygen_init(ctx) == 1 &&
		EVP_PKEY_CTX_set_ec_paramgen_curve_nid(ctx, NID_X9_62_prime256v1) == 1)
		(void)EVP_PKEY_keygen(ctx, &key);
	EVP_PKEY_CTX_free(ctx);
	return key;
}

/* Positive, and never the same (RFC 5280 section 4.1.2.2). */
static bool set_serial(X509 *cert)
{
	unsigned char bytes[SERIAL_BYTES];
	BIGNUM *number;
	bool ok;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] = (bytes[0] & 0x7f) | 1;
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
	BN_free(number);
	return ok;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *extension;
	bool ok;

	X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	ok = extension && X509_add_ext(cert, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return ok;
}

static bool fill(X509 *cert, X509 *issuer, EVP_PKEY *key, const char *name, unsigned days)
{
	X509_NAME *subject = X509_get_subject_name(cert);

	return X509_set_version(cert, X509_VERSION_3) == 1 && set_serial(cert) &&
		X509_gmtime_adj(X509_getm_notBefore(cert), -EARLIER_SECONDS) &&
		X509_gmtime_adj(X509_getm_notAfter(cert), (long)days * DAY_SECONDS) &&
		X509_set_pubkey(cert, key) == 1 &&
		X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8,
			(const unsigned char *)name, -1, -1, 0) == 1 &&
		X509_set_issuer_name(cert, X509_get_subject_name(issuer)) == 1;
}

static bool extend_authority(X509 *cert)
{
	return add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") &&
		add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") &&
		add_extension(cert, cert, NID_subject_key_identifier, "hash");
}

static bool extend_signed(X509 *cert, X509 *issuer, const char *name, bool is_server)
{
	char names[300];
	struct addr addr;

	snprintf(names, sizeof(names), "%s:%.250s",
		addr_parse_ip(view_str(name), 0, &addr) == 0 ? "IP" : "DNS", name);
	return add_extension(cert, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
		add_extension(cert, issuer, NID_key_usage, "critical,digitalSignature") &&
		add_extension(
			cert, issuer, NID_ext_key_usage, is_server ? "serverAuth" : "clientAuth") &&
		add_extension(cert, issuer, NID_subject_key_identifier, "hash") &&
		add_extension(cert, issuer, NID_authority_key_identifier, "keyid") &&
		add_extension(cert, issuer, NID_subject_alt_name, names);
}

/* ---- PEM ---- */

/* What has been written to a memory BIO, as a string; the BIO is freed, wiped. */
static char *take_text(BIO *bio)
{
	char *data = NULL, *text = NULL;
	long len = bio ? BIO_get_mem_data(bio, &data) : 0;

	if (len > 0)
		text = view_dup(view_make(data, (size_t)len));
	if (data)
		secret_wipe(data, (size_t)len);
	BIO_free(bio);
	return text;
}

static int to_pem(X509 *cert, EVP_PKEY *key, struct tls_pair *ret_pair)
{
	BIO *bio = BIO_new(BIO_s_mem());

	*ret_pair = (struct tls_pair){ 0 };
	if (bio && PEM_write_bio_X509(bio, cert) == 1)
		ret_pair->cert = take_text(bio);
	else
		BIO_free(bio);
	bio = BIO_new(BIO_s_mem());
	if (bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1)
		ret_pair->key = take_text(bio);
	else
		BIO_free(bio);
	if (ret_pair->cert && ret_pair->key)
		return 0;
	tls_pair_free(ret_pair);
	return -ENOMEM;
}

void tls_pair_free(struct tls_pair *pair)
{
	if (pair->key)
		secret_wipe(pair->key, strlen(pair->key));
	free(pair->cert);
	free(pair->key);
	*pair = (struct tls_pair){ 0 };
}

static X509 *read_cert(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *cert = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return cert;
}

static EVP_PKEY *read_key(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL) : NULL;

	BIO_free(bio);
	return key;
}

/* ---- both ---- */

int tls_make_authority(
	const char *name, unsigned days, struct tls_pair *ret_pair, char error[TLS_ERROR_SIZE])
{
	CLEANUP(pkey_freep) EVP_PKEY *key = tls_key_new();
	CLEANUP(x509_freep) X509 *cert = X509_new();

	if (!key || !cert || !fill(cert, cert, key, name, days) || !extend_authority(cert) ||
		!X509_sign(cert, key, EVP_sha256()))
		return tls_fault(error, "cannot make a certificate");
	return to_pem(cert, key, ret_pair) < 0 ? tls_fault(error, "out of memory") : 0;
}

int tls_make_signed(const struct tls_pair *authority, const char *name, bool is_server,
	unsigned days, struct tls_pair *ret_pair, char error[TLS_ERROR_SIZE])
{
	CLEANUP(x509_freep) X509 *issuer = read_cert(authority->cert);
	CLEANUP(pkey_freep) EVP_PKEY *issuer_key = read_key(authority->key);
	CLEANUP(pkey_freep) EVP_PKEY *key = tls_key_new();
	CLEANUP(x509_freep) X509 *cert = X509_new();

	if (!issuer || !issuer_key || X509_check_private_key(issuer, issuer_key) != 1)
		return tls_fault(error, "the authority's certificate and key cannot be used");
	if (!key || !cert || !fill(cert, issuer, key, name, days) ||
		!extend_signed(cert, issuer, name, is_server) ||
		!X509_sign(cert, issuer_key, EVP_sha256()))
		return tls_fault(error, "cannot make a certificate");
	return to_pem(cert, key, ret_pair) < 0 ? tls_fault(error, "out of memory") : 0;
}

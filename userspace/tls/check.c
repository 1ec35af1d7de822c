// SPDX-License-Identifier: Apache-2.0
/* Reading certificates and keys, and everything that can be wrong with them (CFG-20 to CFG-24). */
#include "tls/openssl.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A signature of 2048 bits takes 0.5 ms, of 3072 2.5 ms, of 4096 5 ms (docs/security.md). */
#define CHEAP_RSA_BITS 2048

static void finding(tls_finding_fn *report, void *arg, bool error, const char *cert,
	const char *field, const char *text, const char *detail)
{
	struct tls_finding f = { .error = error, .cert = cert, .field = field };

	snprintf(f.text, sizeof(f.text), "%.190s%.180s", text, detail ? detail : "");
	if (report)
		report(arg, &f);
}

/* Encrypted keys are refused, never asked for on a terminal. */
static int no_password(char *buf, int size, int writing, void *arg)
{
	(void)buf;
	(void)size;
	(void)writing;
	(void)arg;
	return -1;
}

static X509 *read_leaf(const char *path)
{
	BIO *bio = BIO_new_file(path, "r");
	X509 *leaf = bio ? PEM_read_bio_X509(bio, NULL, no_password, NULL) : NULL;

	BIO_free(bio);
	return leaf;
}

int tls_file_sha256(const char *path, unsigned char ret_digest[TLS_SHA256_SIZE])
{
	CLEANUP(x509_freep) X509 *leaf = read_leaf(path);
	unsigned char *der = NULL;
	int len = leaf ? i2d_X509(leaf, &der) : -1;

	ERR_clear_error();
	if (len <= 0)
		return -EINVAL;
	tls_sha256(view_make((const char *)der, (size_t)len), ret_digest);
	OPENSSL_free(der);
	return 0;
}

static EVP_PKEY *read_key(const char *path)
{
	BIO *bio = BIO_new_file(path, "r");
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL) : NULL;

	BIO_free(bio);
	return key;
}

#define EXPIRES_SOON_DAYS 14

/* CFG-24, OPS-15. */
static void check_dates(const char *name, X509 *leaf, tls_finding_fn *report, void *arg)
{
	const ASN1_TIME *end = X509_get0_notAfter(leaf);
	int days = 0, seconds = 0;
	char date[32] = "", text[64];
	struct tm tm;

	if (ASN1_TIME_to_tm(end, &tm) == 1)
		(void)strftime(date, sizeof(date), "%Y-%m-%d", &tm);
	if (X509_cmp_current_time(end) < 0) {
		finding(report, arg, false, name, "cert", "the certificate has expired on ", date);
	} else if (X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0) {
		finding(report, arg, false, name, "cert", "the certificate is not valid yet", NULL);
	} else if (ASN1_TIME_diff(&days, &seconds, NULL, end) == 1 && days < EXPIRES_SOON_DAYS) {
		snprintf(text, sizeof(text), "the certificate expires in %d day%s, on ", days,
			days == 1 ? "" : "s");
		finding(report, arg, false, name, "cert", text, date);
	}
}

/* A signature is made for every hello, before anything is known of who sent it. */
static void check_key_cost(const char *name, EVP_PKEY *key, tls_finding_fn *report, void *arg)
{
	if (EVP_PKEY_base_id(key) == EVP_PKEY_RSA && EVP_PKEY_bits(key) > CHEAP_RSA_BITS)
		finding(report, arg, false, name, "key",
			"an RSA key of more than 2048 bits lets any client spend 10 times the CPU "
			"time with each message; an ECDSA P-256 key costs the least",
			NULL);
}

/* Says why a file could not be used. Returns -EINVAL. */
static int refuse(tls_finding_fn *report, void *arg, const struct tls_cert_params *params,
	const char *field, const char *path, const char *what)
{
	FILE *file = fopen(path, "re");
	char text[TLS_ERROR_SIZE];

	if (file) {
		(void)fclose(file); /* was only opened */
		finding(report, arg, true, params->name, field, what, path);
	} else {
		snprintf(text, sizeof(text), "cannot read \"%.140s\": %s", path, strerror(errno));
		finding(report, arg, true, params->name, field, text, NULL);
	}
	ERR_clear_error();
	return -EINVAL;
}

int tls_cert_load(const struct tls_cert_params *params, SSL_CTX *ctx, X509 **ret_leaf,
	tls_finding_fn *report, void *arg)
{
	CLEANUP(x509_freep) X509 *leaf = read_leaf(params->cert_path);
	CLEANUP(pkey_freep) EVP_PKEY *key = read_key(params->key_path);
	int r = 0;

	ERR_clear_error();
	if (!leaf)
		r = refuse(
			report, arg, params, "cert", params->cert_path, "no PEM certificate in ");
	if (!key)
		r = refuse(report, arg, params, "key", params->key_path,
			"no usable (PEM, not encrypted) private key in ");
	if (r < 0)
		return r;
	if (X509_check_private_key(leaf, key) != 1)
		return refuse(report, arg, params, "key", params->key_path,
			"the key does not match the certificate: ");
	check_dates(params->name, leaf, report, arg);
	check_key_cost(params->name, key, report, arg);
	if (ctx &&
		(SSL_CTX_use_certificate_chain_file(ctx, params->cert_path) != 1 ||
			SSL_CTX_use_PrivateKey(ctx, key) != 1))
		return refuse(report, arg, params, "cert", params->cert_path, "cannot use ");
	*ret_leaf = leaf;
	leaf = NULL;
	return 0;
}

/* ---- names ---- */

void tls_names_free(char **names)
{
	for (char **name = names; name && *name; name++)
		free(*name);
	free(names);
}

static bool add_name(char ***names, size_t *count, struct view name)
{
	char **grown = realloc(*names, (*count + 2) * sizeof(*grown)), *copy = view_dup(name);

	if (grown)
		*names = grown;
	if (!grown || !copy) {
		free(copy);
		return false;
	}
	for (char *p = copy; *p; p++)
		*p = ascii_lower(*p);
	grown[(*count)++] = copy;
	grown[*count] = NULL;
	return true;
}

static bool add_sans(char ***names, size_t *count, X509 *leaf)
{
	GENERAL_NAMES *sans = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	bool ok = true;

	for (int i = 0; ok && i < (int)sk_GENERAL_NAME_num(sans); i++) {
		const GENERAL_NAME *san = sk_GENERAL_NAME_value(sans, i);

		if (san->type == GEN_DNS)
			ok = add_name(names, count,
				view_make((const char *)ASN1_STRING_get0_data(san->d.dNSName),
					(size_t)ASN1_STRING_length(san->d.dNSName)));
	}
	GENERAL_NAMES_free(sans);
	return ok;
}

char **tls_cert_names(const struct tls_cert_params *params, X509 *leaf)
{
	char **names = calloc(1, sizeof(*names)), cn[256];
	size_t count = 0;
	bool ok = names != NULL;

	for (const char *const *s = params->subjects; ok && s && *s; s++)
		ok = add_name(&names, &count, view_str(*s));
	if (ok && !count)
		ok = add_sans(&names, &count, leaf);
	if (ok && !count &&
		X509_NAME_get_text_by_NID(
			X509_get_subject_name(leaf), NID_commonName, cn, sizeof(cn)) > 0)
		ok = add_name(&names, &count, view_str(cn));
	if (ok)
		return names;
	tls_names_free(names);
	return NULL;
}

/* ---- the whole set ---- */

bool tls_cert_is_rsa(X509 *leaf)
{
	const EVP_PKEY *key = X509_get0_pubkey(leaf);

	return key && EVP_PKEY_base_id(key) == EVP_PKEY_RSA;
}

static bool has_begun(X509 *leaf)
{
	return X509_cmp_current_time(X509_get0_notBefore(leaf)) < 0;
}

bool tls_cert_is_better(X509 *leaf, X509 *than)
{
	int days, seconds;

	if (has_begun(leaf) != has_begun(than))
		return has_begun(leaf);
	return ASN1_TIME_diff(
		       &days, &seconds, X509_get0_notAfter(than), X509_get0_notAfter(leaf)) == 1 &&
		(days > 0 || seconds > 0);
}

static bool subject_ok(const char *subject)
{
	struct view v = view_str(subject);
	size_t label = 0;

	if (view_eq(v, VIEW_LIT("*")))
		return true;
	if (view_starts(v, VIEW_LIT("*.")))
		v = view_skip(v, 2);
	if (!v.len || v.len > 253)
		return false;
	for (size_t i = 0; i <= v.len; i++) {
		char c = i < v.len ? ascii_lower(v.data[i]) : '.';

		if (c == '.') {
			if (!label || label > 63)
				return false;
			label = 0;
		} else if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
			c == '_') {
			label++;
		} else {
			return false;
		}
	}
	return true;
}

static bool is_default(const struct tls_cert_params *cert)
{
	for (const char *const *s = cert->subjects; s && *s; s++) {
		if (strcmp(*s, "*") == 0)
			return true;
	}
	return cert->is_default;
}

struct taken {
	char **names;
	const char *cert;
	X509 *leaf;
	bool is_default;
};

static const char *shared_name(const struct taken *a, const struct taken *b)
{
	for (char **name = a->names; name && *name; name++) {
		for (char **other = b->names; other && *other; other++) {
			if (strcmp(*name, *other) == 0 && strcmp(*name, "*") != 0)
				return *name;
		}
	}
	return NULL;
}

static bool side_by_side(const struct taken *a, const struct taken *b)
{
	return tls_cert_is_rsa(a->leaf) != tls_cert_is_rsa(b->leaf) && shared_name(a, b);
}

/* CFG-23: of two certificates of one kind one is served; two of different kinds are one default. */
static int check_shared(const struct tls_cert_params *cert, const struct taken *earlier,
	size_t earlier_count, tls_finding_fn *report, void *arg)
{
	const struct taken *now = &earlier[earlier_count];
	int r = 0;

	for (size_t i = 0; i < earlier_count; i++) {
		const char *name = earlier[i].leaf ? shared_name(now, &earlier[i]) : NULL;
		char text[192];

		if (!earlier[i].leaf || side_by_side(now, &earlier[i]))
			continue;
		if (now->is_default && earlier[i].is_default) {
			finding(report, arg, true, cert->name, "default",
				"another certificate is the default already", NULL);
			r = -EINVAL;
		}
		if (!name)
			continue;
		snprintf(text, sizeof(text),
			"another certificate has this name too; \"%.64s\" is served, which lasts "
			"longer or is the first of equals: ",
			tls_cert_is_better(now->leaf, earlier[i].leaf) ? now->cert
								       : earlier[i].cert);
		finding(report, arg, false, cert->name,
			cert->subjects && *cert->subjects ? "subjects" : "cert", text, name);
	}
	return r;
}

static int check_subjects(const struct tls_cert_params *cert, tls_finding_fn *report, void *arg)
{
	int r = 0;

	for (const char *const *s = cert->subjects; s && *s; s++) {
		if (subject_ok(*s))
			continue;
		finding(report, arg, true, cert->name, "subjects",
			"not a hostname, \"*.\" + hostname or \"*\": ", *s);
		r = -EINVAL;
	}
	return r;
}

int tls_check(const struct tls_cert_params *certs, size_t cert_count,
	const struct tls_policy *policy, tls_finding_fn *report, void *arg)
{
	struct taken *taken = calloc(cert_count + 1, sizeof(*taken));
	char tls12[512], tls13[256];
	int r = tls_suites_build(policy, tls12, tls13, report, arg);

	if (!taken)
		return -ENOMEM;
	if (tls_groups_check(policy->groups, "groups", report, arg) < 0)
		r = -EINVAL;
	for (size_t i = 0; i < cert_count; i++) {
		taken[i] = (struct taken){ .cert = certs[i].name,
			.is_default = is_default(&certs[i]) };
		if (check_subjects(&certs[i], report, arg) < 0)
			r = -EINVAL;
		if (tls_cert_load(&certs[i], NULL, &taken[i].leaf, report, arg) < 0) {
			r = -EINVAL;
			continue;
		}
		taken[i].names = tls_cert_names(&certs[i], taken[i].leaf);
		if (check_shared(&certs[i], taken, i, report, arg) < 0)
			r = -EINVAL;
	}
	for (size_t i = 0; i < cert_count; i++) {
		tls_names_free(taken[i].names);
		X509_free(taken[i].leaf);
	}
	free(taken);
	return r;
}

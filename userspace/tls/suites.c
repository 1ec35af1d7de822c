// SPDX-License-Identifier: Apache-2.0
/* Cipher suites of CFG-25: IANA names to OpenSSL's, minus what the configuration disables. */
#include "tls/library.h"
#include "tls/openssl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct suite {
	const char *iana, *openssl;
	bool tls13;
	enum record_cipher cipher;
} suites[] = {
	{ "TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", true, RECORD_AES_256_GCM },
	{ "TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", true, RECORD_AES_128_GCM },
	{ "TLS_CHACHA20_POLY1305_SHA256", "TLS_CHACHA20_POLY1305_SHA256", true,
		RECORD_CHACHA20_POLY1305 },
	{ "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384", false,
		RECORD_AES_256_GCM },
	{ "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384", false,
		RECORD_AES_256_GCM },
	{ "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "ECDHE-ECDSA-AES128-GCM-SHA256", false,
		RECORD_AES_128_GCM },
	{ "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256", false,
		RECORD_AES_128_GCM },
	{ "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305", false,
		RECORD_CHACHA20_POLY1305 },
	{ "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305", false,
		RECORD_CHACHA20_POLY1305 },
};

static bool names_suite(const char *name, const struct suite *suite)
{
	if (view_eq_nocase(view_str(name), view_str(suite->iana)))
		return true;
	return suite->tls13 && view_starts_nocase(view_str(name), VIEW_LIT("TLS13_")) &&
		view_eq_nocase(view_str(name + 6), view_str(suite->iana + 4));
}

static void finding(tls_finding_fn *report, void *arg, const char *text, const char *name)
{
	struct tls_finding f = { .error = true, .field = "disable_cipher_suites" };

	snprintf(f.text, sizeof(f.text), "%s%.64s", text, name);
	if (report)
		report(arg, &f);
}

static bool is_disabled(const struct tls_policy *policy, const struct suite *suite)
{
	for (const char *const *name = policy->disabled_suites; name && *name; name++) {
		if (names_suite(*name, suite))
			return true;
	}
	return false;
}

static bool all_known(const struct tls_policy *policy, tls_finding_fn *report, void *arg)
{
	bool ok = true;

	for (const char *const *name = policy->disabled_suites; name && *name; name++) {
		bool known = false;

		for (size_t i = 0; i < ARRAY_SIZE(suites) && !known; i++)
			known = names_suite(*name, &suites[i]);
		if (!known)
			finding(report, arg, "unknown cipher suite: ", *name);
		ok &= known;
	}
	return ok;
}

static unsigned preferred_ciphers = BIT(RECORD_CIPHERS) - 1;

void tls_prefer_ciphers(unsigned mask)
{
	preferred_ciphers = mask;
}

bool tls_is_preferred(enum record_cipher cipher)
{
	return (preferred_ciphers & BIT(cipher)) != 0;
}

static void append(char *list, const char *name)
{
	if (*list)
		strcat(list, ":");
	strcat(list, name);
}

int tls_suites_build(const struct tls_policy *policy, char tls12[512], char tls13[256],
	tls_finding_fn *report, void *arg)
{
	bool ok = all_known(policy, report, arg);

	*tls12 = *tls13 = '\0';
	for (int preferred = 1; preferred >= 0; preferred--) {
		for (size_t i = 0; i < ARRAY_SIZE(suites); i++) {
			if (tls_is_preferred(suites[i].cipher) == preferred &&
				!is_disabled(policy, &suites[i]))
				append(suites[i].tls13 ? tls13 : tls12, suites[i].openssl);
		}
	}
	if (!*tls13 && (policy->tls13_only || !*tls12)) {
		finding(report, arg, "no cipher suite is left", "");
		ok = false;
	}
	return ok ? 0 : -EINVAL;
}

void tls_client_suites(SSL_CTX *ctx)
{
	static const struct tls_policy all = { 0 };
	char tls12[512], tls13[256];

	if (tls_suites_build(&all, tls12, tls13, NULL, NULL) < 0)
		return;
	SSL_CTX_set_ciphersuites(ctx, tls13);
	/* its word DEFAULT counts at the front of a list only */
	if (strlen(tls12) + strlen(tls_library_default_suites()) + 2 <= sizeof(tls12)) {
		append(tls12, tls_library_default_suites());
		SSL_CTX_set_cipher_list(ctx, tls12);
	}
}

SSL_CTX *tls_context_new(const SSL_METHOD *method)
{
	return tls_library_context(method, preferred_ciphers != 0);
}

void tls_context_common(SSL_CTX *ctx)
{
	tls_library_options(ctx, preferred_ciphers != 0);
	SSL_CTX_set_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
	SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
	tls_follow(ctx);
}

int tls_policy_apply(SSL_CTX *ctx, const struct tls_policy *policy)
{
	char tls12[512], tls13[256];

	if (tls_suites_build(policy, tls12, tls13, NULL, NULL) < 0)
		return -EINVAL;
	tls_context_common(ctx);
	if (!policy->ignore_client_order)
		SSL_CTX_clear_options(ctx, SSL_OP_CIPHER_SERVER_PREFERENCE);
	if (SSL_CTX_set_min_proto_version(
		    ctx, policy->tls13_only || !*tls12 ? TLS1_3_VERSION : TLS1_2_VERSION) != 1 ||
		SSL_CTX_set_max_proto_version(ctx, *tls13 ? TLS1_3_VERSION : TLS1_2_VERSION) != 1)
		return -EINVAL;
	if (tls_groups_apply(ctx, policy->groups, true) < 0)
		return -EINVAL;
	if (*tls12 && SSL_CTX_set_cipher_list(ctx, tls12) != 1)
		return -EINVAL;
	return tls_library_suites13(ctx, tls13, policy->ignore_client_order);
}

const char *tls_suite_name(uint16_t suite)
{
	/* Those whose sessions can be handed over. */
	static const struct {
		uint16_t number;
		const char *name;
	} names[] = {
		{ 0x1301, "TLS_AES_128_GCM_SHA256" },
		{ 0x1302, "TLS_AES_256_GCM_SHA384" },
		{ 0x1303, "TLS_CHACHA20_POLY1305_SHA256" },
		{ 0xc02b, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256" },
		{ 0xc02c, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" },
		{ 0xc02f, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256" },
		{ 0xc030, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384" },
		{ 0xcca8, "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256" },
		{ 0xcca9, "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" },
		{ 0x009e, "TLS_DHE_RSA_WITH_AES_128_GCM_SHA256" },
		{ 0x009f, "TLS_DHE_RSA_WITH_AES_256_GCM_SHA384" },
		{ 0xccaa, "TLS_DHE_RSA_WITH_CHACHA20_POLY1305_SHA256" },
		{ 0x009c, "TLS_RSA_WITH_AES_128_GCM_SHA256" },
		{ 0x009d, "TLS_RSA_WITH_AES_256_GCM_SHA384" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (names[i].number == suite)
			return names[i].name;
	}
	return "-";
}

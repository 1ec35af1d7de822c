// SPDX-License-Identifier: Apache-2.0
/*
 * What has gone wrong, in our words: libraries have texts of their own for the same thing, and
 * others in other releases. Only what is in no table here is called as the library calls it.
 */
#include "tls/library.h"
#include "tls/openssl.h"

#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>

/* The reason of an error that the peer's alert has made is its number and this much more. */
#define ALERTS_FROM 1000

/* RFC 8446 section 6, RFC 5246 section 7.2. */
static const struct {
	int alert;
	const char *name;
} alerts[] = {
	{ 0, "close_notify" },
	{ 10, "unexpected_message" },
	{ 20, "bad_record_mac" },
	{ 22, "record_overflow" },
	{ 40, "handshake_failure" },
	{ 42, "bad_certificate" },
	{ 43, "unsupported_certificate" },
	{ 44, "certificate_revoked" },
	{ 45, "certificate_expired" },
	{ 46, "certificate_unknown" },
	{ 47, "illegal_parameter" },
	{ 48, "unknown_ca" },
	{ 49, "access_denied" },
	{ 50, "decode_error" },
	{ 51, "decrypt_error" },
	{ 70, "protocol_version" },
	{ 71, "insufficient_security" },
	{ 80, "internal_error" },
	{ 86, "inappropriate_fallback" },
	{ 90, "user_canceled" },
	{ 100, "no_renegotiation" },
	{ 109, "missing_extension" },
	{ 110, "unsupported_extension" },
	{ 112, "unrecognized_name" },
	{ 113, "bad_certificate_status_response" },
	{ 115, "unknown_psk_identity" },
	{ 116, "certificate_required" },
	{ 120, "no_application_protocol" },
};

static const struct {
	int reason;
	const char *text;
} reasons[] = {
	{ SSL_R_WRONG_VERSION_NUMBER, "wrong version number" },
	{ SSL_R_UNSUPPORTED_PROTOCOL, "no version of TLS in common" },
	{ SSL_R_NO_SHARED_CIPHER, "no cipher suite in common" },
	{ SSL_R_HTTP_REQUEST, "HTTP in clear" },
	{ SSL_R_CERTIFICATE_VERIFY_FAILED, "certificate refused" },
	{ SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, "the peer has shown no certificate" },
	{ SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, "bad record mac" },
	{ SSL_R_UNEXPECTED_MESSAGE, "unexpected message" },
	{ SSL_R_NO_RENEGOTIATION, "no renegotiation" },
};

/* Why a certificate is refused (RFC 5280 section 6). */
static const struct {
	long code;
	const char *text;
} verdicts[] = {
	{ X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "self-signed certificate" },
	{ X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "self-signed certificate in certificate chain" },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "unable to get local issuer certificate" },
	{ X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "unable to get issuer certificate" },
	{ X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "unable to verify the first certificate" },
	{ X509_V_ERR_CERT_NOT_YET_VALID, "certificate is not yet valid" },
	{ X509_V_ERR_CERT_HAS_EXPIRED, "certificate has expired" },
	{ X509_V_ERR_CERT_SIGNATURE_FAILURE, "certificate signature failure" },
	{ X509_V_ERR_CERT_REVOKED, "certificate revoked" },
	{ X509_V_ERR_INVALID_CA, "invalid CA certificate" },
	{ X509_V_ERR_INVALID_PURPOSE, "unsuitable certificate purpose" },
	{ X509_V_ERR_PATH_LENGTH_EXCEEDED, "path length constraint exceeded" },
	{ X509_V_ERR_HOSTNAME_MISMATCH, "hostname mismatch" },
	{ X509_V_ERR_IP_ADDRESS_MISMATCH, "IP address mismatch" },
};

/* As the library has it, with blanks and in lower case. */
static void copy_text(char *text, size_t size, const char *from)
{
	size_t n = 0;

	for (; n < size - 1 && from[n]; n++)
		text[n] = from[n] == '_' ? ' ' : ascii_lower(from[n]);
	text[n] = '\0';
}

/* Our words for a reason of libssl's; NULL: there are none. */
static const char *find_reason(int reason)
{
	for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
		if (reasons[i].reason == reason)
			return reasons[i].text;
	}
	return tls_library_reason(reason);
}

static const char *find_alert(int alert)
{
	for (size_t i = 0; i < ARRAY_SIZE(alerts); i++) {
		if (alerts[i].alert == alert)
			return alerts[i].name;
	}
	return NULL;
}

static void describe(char *text, size_t size, unsigned long code)
{
	bool is_ssl = ERR_GET_LIB(code) == ERR_LIB_SSL;
	int reason = ERR_GET_REASON(code);
	const char *ours = is_ssl ? find_reason(reason) : NULL;
	const char *alert = is_ssl ? find_alert(reason - ALERTS_FROM) : NULL;
	const char *theirs = ERR_reason_error_string(code);

	if (ours)
		snprintf(text, size, "%s", ours);
	else if (alert)
		snprintf(text, size, "alert %s", alert);
	else
		copy_text(text, size, theirs ? theirs : "");
}

const char *tls_verdict(const SSL *ssl)
{
	long code = SSL_get_verify_result(ssl);

	for (size_t i = 0; i < ARRAY_SIZE(verdicts); i++) {
		if (verdicts[i].code == code)
			return verdicts[i].text;
	}
	return X509_verify_cert_error_string(code);
}

bool tls_is_refusal(void)
{
	unsigned long code = ERR_peek_last_error();

	return ERR_GET_LIB(code) == ERR_LIB_SSL &&
		ERR_GET_REASON(code) == SSL_R_CERTIFICATE_VERIFY_FAILED;
}

const char *tls_take_error(char text[TLS_REASON_SIZE])
{
	unsigned long code = ERR_peek_last_error();

	*text = '\0';
	if (code)
		describe(text, TLS_REASON_SIZE, code);
	ERR_clear_error();
	return text;
}

int tls_fault(char error[TLS_ERROR_SIZE], const char *what)
{
	char reason[TLS_REASON_SIZE];

	tls_take_error(reason);
	snprintf(error, TLS_ERROR_SIZE, "%s%s%s", what, *reason ? ": " : "", reason);
	return -EIO;
}

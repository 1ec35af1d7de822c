// SPDX-License-Identifier: Apache-2.0
/*
 * What has gone wrong, in our words: libraries have texts of their own for the same thing, and
 * others in other releases. Only what is in no table here is called as the library calls it.
 */
#include "tls/openssl.h"

#include <openssl/err.h>
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

/* As the library has it, with blanks and in lower case. */
static void copy_text(char *text, size_t size, const char *from)
{
	size_t n = 0;

	for (; from[n] && n < size - 1; n++)
		text[n] = from[n] == '_' ? ' ' : ascii_lower(from[n]);
	text[n] = '\0';
}

static void describe(char *text, size_t size, unsigned long code)
{
	int reason = ERR_GET_REASON(code);
	const char *theirs = ERR_reason_error_string(code);

	for (size_t i = 0; ERR_GET_LIB(code) == ERR_LIB_SSL && i < ARRAY_SIZE(reasons); i++) {
		if (reasons[i].reason == reason) {
			snprintf(text, size, "%s", reasons[i].text);
			return;
		}
	}
	for (size_t i = 0; ERR_GET_LIB(code) == ERR_LIB_SSL && i < ARRAY_SIZE(alerts); i++) {
		if (alerts[i].alert == reason - ALERTS_FROM) {
			snprintf(text, size, "alert %s", alerts[i].name);
			return;
		}
	}
	copy_text(text, size, theirs ? theirs : "");
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

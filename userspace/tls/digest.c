// SPDX-License-Identifier: Apache-2.0
/* SHA-256: pins, redacted accounts, token digests. */
#include "tls/openssl.h"

#include <errno.h>
#include <openssl/evp.h>

void tls_sha256(struct view data, unsigned char ret_digest[TLS_SHA256_SIZE])
{
	unsigned int len = TLS_SHA256_SIZE;

	/* Cannot fail with the default provider and a buffer of this size. */
	(void)!EVP_Digest(data.data, data.len, ret_digest, &len, EVP_sha256(), NULL);
}

int tls_parse_sha256(struct view text, unsigned char ret_digest[TLS_SHA256_SIZE])
{
	unsigned char digest[TLS_SHA256_SIZE] = { 0 };
	size_t n = 0;

	for (size_t i = 0; i < text.len; i++) {
		int value = hex_digit(text.data[i]);

		if (text.data[i] == ':')
			continue;
		if (value < 0 || n == 2 * TLS_SHA256_SIZE)
			return -EINVAL;
		digest[n / 2] = (unsigned char)(digest[n / 2] << 4 | value);
		n++;
	}
	if (n != 2 * TLS_SHA256_SIZE)
		return -EINVAL;
	memcpy(ret_digest, digest, sizeof(digest));
	return 0;
}

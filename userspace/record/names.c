// SPDX-License-Identifier: Apache-2.0
/* What versions and ciphers are called, by libcrypto too. */
#include "record/record.h"

#include <assert.h>

const char *record_version_name(enum record_version version)
{
	static const char *const names[] = {
		[RECORD_TLS_1_2] = "TLSv1.2",
		[RECORD_TLS_1_3] = "TLSv1.3",
	};

	static_assert(ARRAY_SIZE(names) == RECORD_VERSIONS, "a name for each");
	return names[version];
}

const char *record_cipher_name(enum record_cipher cipher)
{
	static const char *const names[] = {
		[RECORD_AES_128_GCM] = "AES-128-GCM",
		[RECORD_AES_256_GCM] = "AES-256-GCM",
		[RECORD_CHACHA20_POLY1305] = "CHACHA20-POLY1305",
	};

	static_assert(ARRAY_SIZE(names) == RECORD_CIPHERS, "a name for each");
	return names[cipher];
}

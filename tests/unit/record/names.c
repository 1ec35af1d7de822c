// SPDX-License-Identifier: Apache-2.0
/* libcrypto knows the ciphers by these names. */
#include "unit.h"

#include "record/record.h"

#include <openssl/evp.h>

static void test_names(void **state)
{
	static const struct {
		const char *name;
		int key_len;
	} want[] = {
		[RECORD_AES_128_GCM] = { "AES-128-GCM", 16 },
		[RECORD_AES_256_GCM] = { "AES-256-GCM", 32 },
		[RECORD_CHACHA20_POLY1305] = { "CHACHA20-POLY1305", 32 },
	};

	(void)state;
	for (int c = 0; c < RECORD_CIPHERS; c++) {
		const EVP_CIPHER *cipher =
			EVP_get_cipherbyname(record_cipher_name((enum record_cipher)c));

		assert_string_equal(record_cipher_name((enum record_cipher)c), want[c].name);
		assert_non_null(cipher);
		assert_int_equal(EVP_CIPHER_key_length(cipher), want[c].key_len);
		assert_int_equal(EVP_CIPHER_iv_length(cipher), 12);
	}
	assert_string_equal(record_version_name(RECORD_TLS_1_2), "TLSv1.2");
	assert_string_equal(record_version_name(RECORD_TLS_1_3), "TLSv1.3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* The secrets of TLS 1.3 as a connection has them are those of OpenSSL's key log, whether they were
 * seen when they were derived or, where that cannot be, told by the key log itself. */
#include "unit/tls_pair.h"

#include <openssl/core_dispatch.h>
#include <openssl/provider.h>
#include <sys/wait.h>
#include <unistd.h>

static char told[2][2 * RECORD_SECRET_MAX + 1]; /* client's, server's, in hexadecimal */

static void on_line(const SSL *ssl, const char *line)
{
	(void)ssl;
	(void)!sscanf(line, "CLIENT_TRAFFIC_SECRET_0 %*s %96s", told[0]);
	(void)!sscanf(line, "SERVER_TRAFFIC_SECRET_0 %*s %96s", told[1]);
}

static void check_secrets(const struct stream *stream)
{
	const struct tls_layer *layer = tls_stream_layer(stream);

	assert_int_equal(2 * layer->secret_len, strlen(told[0]));
	for (int i = 0; i < 2; i++) {
		for (size_t n = 0; n < layer->secret_len; n++) {
			char hex[3];

			snprintf(hex, sizeof(hex), "%02x", layer->secret[i][n]);
			assert_memory_equal(hex, told[i] + 2 * n, 2);
		}
	}
}

/* Both ends in one thread: neither gets what the other's handshake has derived. The key log of a
 * context of its own tells what is right. */
static void secrets_are_right(const struct kind *kind)
{
	struct tls_client *client = tls_pair_client();
	struct stream near, far;

	tls_pair_connect(&near, &far, true, client);
	only_suite(ssl_of(&far), kind);
	if (tls_derive_properties())
		SSL_CTX_set_keylog_callback(SSL_get_SSL_CTX(ssl_of(&far)), on_line);
	tls_pair_shake_hands(&near, &far);
	if (!tls_derive_properties()) { /* near's is the one that is tried */
		for (int i = 0; i < 2; i++)
			assert_memory_equal(tls_stream_layer(&near)->secret[i],
				tls_stream_layer(&far)->secret[i], RECORD_SECRET_MAX);
		assert_true(tls_stream_layer(&near)->secret_len >= 32);
	} else {
		check_secrets(&near);
		check_secrets(&far);
	}
	stream_close(&near);
	stream_close(&far);
	tls_client_unref(client);
}

static void test_all_suites(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (kinds[i].version == TLS1_3_VERSION)
			secrets_are_right(&kinds[i]);
	}
}

static void test_chosen(void **state)
{
	(void)state;
	assert_non_null(tls_derive_properties());
}

static void test_not_chosen(void **state)
{
	(void)state;
	assert_null(tls_derive_properties());
}

/* What one connection has derived is not the next one's. */
static void test_forgotten(void **state)
{
	struct tls_layer layer = { 0 };
	static const struct tls_layer nothing;

	(void)state;
	test_all_suites(NULL);
	tls_derive_take(&layer);
	assert_memory_equal(&layer, &nothing, sizeof(layer));
}

/* A provider of our name that has nothing. */
static int start_other(const OSSL_CORE_HANDLE *core, const OSSL_DISPATCH *in,
	const OSSL_DISPATCH **ret_out, void **ret_provider)
{
	static const OSSL_DISPATCH none[] = { { 0, NULL } };

	(void)in;
	*ret_out = none;
	*ret_provider = (void *)core;
	return 1;
}

static int with_key_log(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_chosen),
		cmocka_unit_test(test_all_suites),
	};

	if (OSSL_PROVIDER_add_builtin(NULL, "hm", start_other) != 1)
		return 1;
	return cmocka_run_group_tests_name("key log", tests, tls_pair_setup, tls_pair_teardown);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_chosen),
		cmocka_unit_test(test_all_suites),
		cmocka_unit_test(test_forgotten),
	};
	pid_t child = fork(); /* before OpenSSL is asked for anything */
	int status;

	if (child == 0)
		return with_key_log();
	if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
		return 1;
	return cmocka_run_group_tests(tests, tls_pair_setup, tls_pair_teardown);
}

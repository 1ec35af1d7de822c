// SPDX-License-Identifier: Apache-2.0
/* How a connection fails: forward only, and what is told of it. */
#include "unit.h"

#include "tls/layer.h"

static void test_a_handshake_that_fails(void **state)
{
	static const enum tls_phase how[] = { TLS_BROKEN, TLS_REFUSED, TLS_FLOODED };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(how); i++) {
		struct tls_layer layer = { .phase = TLS_SHAKING };

		tls_layer_fail(&layer, how[i], "certificate refused");
		assert_int_equal(layer.phase, TLS_UNSHAKEN);
		assert_string_equal(layer.error, "certificate refused");
		tls_layer_fail(&layer, how[i], "");
		assert_int_equal(layer.phase, TLS_UNSHAKEN);
		assert_string_equal(layer.error, "certificate refused");
		tls_layer_check(&layer);
	}
}

static void test_forward_only(void **state)
{
	(void)state;
	for (int from = TLS_FLOWS; from <= TLS_FLOODED; from++) {
		for (int how = TLS_BROKEN; how <= TLS_FLOODED; how++) {
			struct tls_layer layer = { .phase = (uint8_t)from };

			tls_layer_fail(&layer, (enum tls_phase)how, "why");
			assert_int_equal(layer.phase, from > how ? from : how);
		}
	}
}

static void test_a_broken_socket_has_no_text(void **state)
{
	struct tls_layer layer = { .phase = TLS_FLOWS };

	(void)state;
	tls_layer_fail(&layer, TLS_BROKEN, "");
	assert_int_equal(layer.phase, TLS_BROKEN);
	assert_string_equal(layer.error, "");
	tls_layer_check(&layer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_handshake_that_fails),
		cmocka_unit_test(test_forward_only),
		cmocka_unit_test(test_a_broken_socket_has_no_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

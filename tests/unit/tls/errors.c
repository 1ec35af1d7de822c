// SPDX-License-Identifier: Apache-2.0
/* What has gone wrong is told in our words, whatever library it has gone wrong in (LIB-4). */
#include "unit/tls_pair.h"

#include <errno.h>
#include <openssl/err.h>

struct fixture {
	struct stream near, far;
	struct tls_client *client;
};

static void begin(struct fixture *f)
{
	f->client = tls_pair_client();
	tls_pair_connect(&f->near, &f->far, true, f->client);
}

static void teardown(struct fixture *f)
{
	stream_close(&f->near);
	stream_close(&f->far);
	tls_client_unref(f->client);
}

/* Both have failed in the end. */
static void shake_in_vain(struct fixture *f, const char *server, const char *client)
{
	int r[2] = { -EAGAIN, -EAGAIN };

	for (int i = 0; r[0] == -EAGAIN || r[1] == -EAGAIN; i++) {
		assert_in_range(i, 0, 20);
		if (r[0] == -EAGAIN)
			r[0] = tls_stream_handshake(&f->far);
		if (r[1] == -EAGAIN)
			r[1] = tls_stream_handshake(&f->near);
	}
	assert_int_equal(r[0], -EPROTO);
	assert_int_equal(r[1], -EPROTO);
	assert_string_equal(tls_stream_error(&f->near), server);
	assert_string_equal(tls_stream_error(&f->far), client);
	assert_int_equal(ERR_peek_error(), 0);
	teardown(f);
}

static void test_LIB_4_no_version_in_common(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	assert_int_equal(SSL_set_min_proto_version(ssl_of(&f.near), TLS1_3_VERSION), 1);
	assert_int_equal(SSL_set_max_proto_version(ssl_of(&f.far), TLS1_2_VERSION), 1);
	shake_in_vain(&f, "no version of TLS in common", "alert protocol_version");
}

static void test_LIB_4_no_suite_in_common(void **state)
{
	struct fixture f;

	(void)state;
	begin(&f);
	only_suite(ssl_of(&f.near), &kinds[3]);
	only_suite(ssl_of(&f.far), &kinds[4]);
	shake_in_vain(&f, "no cipher suite in common", "alert handshake_failure");
}

/* What a server in clear says first, and what a client in clear does. */
static void in_clear(const char *text, bool to_server, const char *want)
{
	struct stream *to;
	struct fixture f;

	begin(&f);
	to = to_server ? &f.near : &f.far;
	assert_int_equal(tls_stream_handshake(&f.far), -EAGAIN);
	if (to_server) { /* in place of the hello */
		char hello[4096];

		assert_true(recv(f.near.fd, hello, sizeof(hello), 0) > 0);
	}
	assert_int_equal(
		send(to_server ? f.far.fd : f.near.fd, text, strlen(text), 0), strlen(text));
	assert_int_equal(tls_stream_handshake(to), -EPROTO);
	assert_string_equal(tls_stream_error(to), want);
	teardown(&f);
}

static void test_LIB_4_in_clear(void **state)
{
	(void)state;
	in_clear("* OK ready, and something more\r\n", false, "wrong version number");
	in_clear("GET / HTTP/1.1\r\nHost: x\r\n\r\n", true, "HTTP in clear");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_LIB_4_no_version_in_common),
		cmocka_unit_test(test_LIB_4_no_suite_in_common),
		cmocka_unit_test(test_LIB_4_in_clear),
	};

	return cmocka_run_group_tests(tests, tls_pair_setup, tls_pair_teardown);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * What anybody can make the router compute before having shown anything: CPU time of one step, and
 * per KiB of what has to be sent for it. The table of docs/security.md. Everything runs in this
 * process, over socket pairs; what the kernel needs for a connection comes on top.
 */
#include "base/compiler.h"
#include "identity/token.h"
#include "measure.h"
#include "net/proxyhdr.h"
#include "proto/http_head.h"
#include "proto/proto.h"
#include "tls/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SECONDS 0.4
#define PSK_EXTENSION 41

static char dir[] = "/tmp/homing-hello-XXXXXX";

static void die(const char *what)
{
	fprintf(stderr, "hello: %s failed\n", what);
	exit(1);
}

static void print(const char *what, size_t bytes, double seconds)
{
	printf("| %s | %zu | %.3f | %.2f |\n", what, bytes, seconds * 1e3,
		seconds * 1e3 * 1024 / (double)bytes);
}

/* ---- TLS ---- */

/* A server whose certificate has a key of this kind; NULL: the router's own, P-256. */
static struct tls_server *new_server(const char *const *groups, EVP_PKEY *key)
{
	struct tls_policy policy = { .groups = groups };
	struct tls_cert_params cert = { .name = "bench", .is_default = true };
	char path[sizeof(dir) + 8], error[TLS_ERROR_SIZE];
	struct tls_server *server;
	X509 *x509 = X509_new();
	FILE *file;

	snprintf(path, sizeof(path), "%s/c.pem", dir);
	cert.cert_path = cert.key_path = path;
	if (key) {
		file = fopen(path, "w");
		X509_gmtime_adj(X509_getm_notBefore(x509), -3600);
		X509_gmtime_adj(X509_getm_notAfter(x509), 86400);
		X509_NAME_add_entry_by_txt(X509_get_subject_name(x509), "CN", MBSTRING_ASC,
			(const unsigned char *)"bench", -1, -1, 0);
		X509_set_pubkey(x509, key);
		if (!file || !X509_sign(x509, key, EVP_sha256()) || !PEM_write_X509(file, x509) ||
			!PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) ||
			fclose(file) != 0)
			die("writing a certificate");
	}
	if (tls_server_new(&cert, key ? 1 : 0, &policy, &server, error) < 0)
		die(error);
	if (key)
		unlink(path);
	X509_free(x509);
	return server;
}

/* One connection: the hellos are given one by one; what the server does with them is timed. */
static double serve(
	struct tls_server *server, const struct view *hellos, size_t count, bool refused)
{
	struct stream stream;
	int fds[2], r = 0;
	double start, used;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) < 0)
		die("socketpair");
	start = thread_cpu_s();
	stream_init_plain(&stream, fds[0]);
	if (tls_stream_accept(&stream, server, NULL) < 0)
		die("accepting");
	for (size_t i = 0; i < count; i++) {
		used = thread_cpu_s();
		if (write(fds[1], hellos[i].data, hellos[i].len) != (ssize_t)hellos[i].len)
			die("writing");
		start += thread_cpu_s() - used;
		r = tls_stream_handshake(&stream);
	}
	if (r !=
		(refused ? -EPROTO
			 : -EAGAIN)) /* EAGAIN: it has answered and waits for the client */
		die(*tls_stream_error(&stream) ? tls_stream_error(&stream) : "a refusal");
	stream_close(&stream);
	used = thread_cpu_s() - start;
	close(fds[1]);
	return used;
}

static void measure_tls(const char *what, struct tls_server *server, const struct view *hellos,
	size_t count, bool refused)
{
	double start = thread_cpu_s(), used = 0;
	size_t bytes = 0, rounds = 0;

	for (size_t i = 0; i < count; i++)
		bytes += hellos[i].len;
	for (; thread_cpu_s() - start < SECONDS || rounds < 10; rounds++)
		used += serve(server, hellos, count, refused);
	print(what, bytes, used / (double)rounds);
}

/* What a client says; the group of its key share is the first. False: the library lacks one. */
static bool make_hello(const char *groups, int version, unsigned char hello[16384], size_t *ret_len)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
	bool ok = SSL_CTX_set1_groups_list(ctx, groups) == 1;
	SSL *ssl;
	int n;

	SSL_CTX_set_min_proto_version(ctx, version);
	SSL_CTX_set_max_proto_version(ctx, version);
	SSL_CTX_set_ciphersuites(ctx, "TLS_AES_128_GCM_SHA256");
	SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM");
	ssl = SSL_new(ctx);
	SSL_set_bio(ssl, in, out);
	SSL_set_connect_state(ssl);
	SSL_do_handshake(ssl);
	n = BIO_read(out, hello, 16384);
	*ret_len = n > 0 ? (size_t)n : 0;
	SSL_free(ssl);
	SSL_CTX_free(ctx);
	return ok && n > 0;
}

static void group_rows(void)
{
	static const char *const all[] = { "X25519MLKEM768", "X25519", "P-256", "P-384", "P-521",
		"X448" };
	unsigned char hello[16384];
	char what[96];
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
		const char *const only[] = { all[i], NULL };
		struct view view;
		struct tls_server *server;

		if (!make_hello(all[i], TLS1_3_VERSION, hello, &len))
			continue;
		server = new_server(only, NULL);
		view = view_make((const char *)hello, len);
		snprintf(what, sizeof(what), "hello, TLS 1.3, %s, P-256 certificate", all[i]);
		measure_tls(what, server, &view, 1, false);
		tls_server_unref(server);
	}
}

static void refused_row(void)
{
	struct tls_server *server = new_server(NULL, NULL);
	unsigned char hello[16384];
	struct view view;
	size_t len;

	if (!make_hello("ffdhe8192", TLS1_3_VERSION, hello, &len))
		return;
	view = view_make((const char *)hello, len);
	measure_tls("hello, TLS 1.3, ffdhe8192 (refused)", server, &view, 1, true);
	if (!make_hello("X25519:P-256", TLS1_2_VERSION, hello, &len))
		return;
	view = view_make((const char *)hello, len);
	measure_tls("hello, TLS 1.2, X25519, P-256 certificate", server, &view, 1, false);
	tls_server_unref(server);
}

/* The first share is of a group that the server does not take: it asks for another. */
static void retry_row(void)
{
	struct tls_server *server = new_server(NULL, NULL);
	unsigned char first[16384], second[16384];
	struct view views[2];
	size_t len[2];

	if (!make_hello("P-384:X25519", TLS1_3_VERSION, first, &len[0]) ||
		!make_hello("X25519", TLS1_3_VERSION, second, &len[1]))
		return;
	views[0] = view_make((const char *)first, len[0]);
	views[1] = view_make((const char *)second, len[1]);
	measure_tls("two hellos, TLS 1.3: another group is asked for", server, views, 2, false);
	tls_server_unref(server);
}

static void key_rows(void)
{
	static const struct {
		const char *what, *curve;
		unsigned bits;
	} kinds[] = { { "P-384", "P-384", 0 }, { "P-521", "P-521", 0 }, { "RSA-2048", NULL, 2048 },
		{ "RSA-3072", NULL, 3072 }, { "RSA-4096", NULL, 4096 } };
	unsigned char hello[16384];
	char what[96];
	size_t len;

	if (!make_hello("X25519", TLS1_3_VERSION, hello, &len))
		die("X25519");
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		EVP_PKEY *key =
			kinds[i].curve ? EVP_EC_gen(kinds[i].curve) : EVP_RSA_gen(kinds[i].bits);
		struct view view = view_make((const char *)hello, len);
		struct tls_server *server = new_server(NULL, key);

		snprintf(what, sizeof(what), "hello, TLS 1.3, X25519, %s certificate",
			kinds[i].what);
		measure_tls(what, server, &view, 1, false);
		tls_server_unref(server);
		EVP_PKEY_free(key);
	}
}

static void put16(unsigned char *at, size_t value)
{
	at[0] = (unsigned char)(value >> 8);
	at[1] = (unsigned char)value;
}

/* Adds identities that decrypt to nothing, each as long as a ticket, to a hello that ends in its
 * extensions (RFC 8446 section 4.2.11). */
static size_t add_identities(unsigned char *hello, size_t len, size_t count, size_t size)
{
	size_t one = 2 + size + 4, binder = 33, at = len;
	size_t identities = count * one, binders = count * binder;
	size_t body = 2 + identities + 2 + binders, extensions = 0;

	put16(hello + at, PSK_EXTENSION);
	put16(hello + at + 2, body);
	put16(hello + at + 4, identities);
	at += 6;
	for (size_t i = 0; i < count; i++, at += one) {
		put16(hello + at, size);
		memset(hello + at + 2, 0x5a, size + 4);
	}
	put16(hello + at, binders);
	at += 2;
	for (size_t i = 0; i < count; i++, at += binder) {
		hello[at] = 32;
		memset(hello + at + 1, 0x5a, 32);
	}
	put16(hello + 3, at - 5);
	put16(hello + 7, at - 9);
	/* version, random, session id, suites, compressions */
	extensions = 5 + 4 + 2 + 32;
	extensions += 1u + hello[extensions];
	extensions += 2u + (size_t)(hello[extensions] << 8 | hello[extensions + 1]);
	extensions += 1u + hello[extensions];
	put16(hello + extensions, at - extensions - 2);
	return at;
}

static void ticket_rows(void)
{
	static const struct {
		const char *what;
		size_t count, size;
	} rows[] = { { "hello, TLS 1.3, X25519, one ticket that is none", 1, 192 },
		{ "hello, TLS 1.3, X25519, 300 identities of one byte", 300, 1 } };
	struct tls_server *server = new_server(NULL, NULL);
	unsigned char hello[16384 * 2];
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct view view;

		if (!make_hello("X25519", TLS1_3_VERSION, hello, &len))
			die("X25519");
		len = add_identities(hello, len, rows[i].count, rows[i].size);
		view = view_make((const char *)hello, len);
		measure_tls(rows[i].what, server, &view, 1, false);
	}
	tls_server_unref(server);
}

/* ---- what is parsed ---- */

typedef void step_fn(struct view in);

static void measure(const char *what, struct view in, step_fn *step)
{
	double start = thread_cpu_s(), used;
	size_t rounds = 0;

	do {
		for (int i = 0; i < 20; i++)
			step(in);
		rounds += 20;
		used = thread_cpu_s() - start;
	} while (used < SECONDS / 2);
	print(what, in.len, used / (double)rounds);
}

static void proxy_step(struct view in)
{
	struct proxyhdr header;

	(void)!proxyhdr_parse(in, &header);
}

static void head_step(struct view in)
{
	static const struct http_limits limits = { 65536, HTTP_MAX_FIELDS, false };
	static struct http_head head;

	memset(&head, 0, sizeof(head));
	(void)!http_head_parse(&head, in, &limits);
}

static void imap_step(struct view in)
{
	static const enum sasl_mech mechs[] = { SASL_PLAIN, SASL_LOGIN, SASL_OAUTHBEARER,
		SASL_XOAUTH2 };
	static const struct front_params params = { .host = "mx.example",
		.banner = "ready",
		.capabilities = "IMAP4rev1",
		.client = "192.0.2.1",
		.mechs = mechs,
		.mech_count = ARRAY_SIZE(mechs),
		.permit_auth = true,
		.max_attempts = 1000 };
	struct front *front;
	struct buf out;
	size_t consumed;

	buf_init(&out, 0, false);
	if (imap_front_ops.create(&params, &front) < 0)
		die("a front");
	while (in.len && imap_front_ops.input(front, in, &consumed, &out) == PROTO_AGAIN)
		in = view_skip(in, consumed);
	imap_front_ops.free(front);
	buf_fini(&out);
}

static void token_step(struct view in)
{
	struct buf login;

	buf_init(&login, 256, false);
	(void)!identity_token("email", in, &login);
	buf_fini(&login);
}

static void repeat(char *text, size_t size, const char *begin, const char *unit, const char *end)
{
	size_t n = (size_t)snprintf(text, size, "%s", begin);

	while (n + strlen(unit) + strlen(end) < size)
		n += (size_t)snprintf(text + n, size - n, "%s", unit);
	snprintf(text + n, size - n, "%s", end);
}

static void parse_rows(void)
{
	static char text[65536];
	static unsigned char proxy[1024] = "\r\n\r\n\0\r\nQUIT\n\x21\x11";
	size_t n = 0;

	put16(proxy + 14, sizeof(proxy) - 16);
	for (size_t at = 28; at + 3 <= sizeof(proxy); at += 3)
		proxy[at] = 0x04; /* "no operation", empty */
	measure("PROXY header, version 2, full of empty TLVs",
		view_make((const char *)proxy, sizeof(proxy)), proxy_step);
	snprintf(text, sizeof(text), "PROXY TCP6 2001:db8::1 2001:db8::2 49152 993\r\n");
	measure("PROXY header, version 1", view_str(text), proxy_step);
	n = (size_t)snprintf(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\n");
	for (int i = 0; i < HTTP_MAX_FIELDS - 1; i++)
		n += (size_t)snprintf(text + n, sizeof(text) - n, "a:\r\n");
	snprintf(text + n, sizeof(text) - n, "\r\n");
	measure("HTTP head of 100 empty fields", view_str(text), head_step);
	repeat(text, sizeof(text), "GET / HTTP/1.1\r\nHost: a\r\nA: ", "b", "\r\n\r\n");
	measure("HTTP head of 64 KiB, one field", view_str(text), head_step);
	repeat(text, 16384, "", "a CAPABILITY\r\n", "");
	measure("IMAP, CAPABILITY again and again", view_str(text), imap_step);
	repeat(text, 16384, "", "a LOGIN {1+}\r\n", "");
	measure("IMAP, literals", view_str(text), imap_step);
	repeat(text, 12288, "e30.", "W1tb", ".e30"); /* [[[[[[... */
	measure("bearer token, a JWT of brackets", view_str(text), token_step);
	repeat(text, 12288, "e30.eyJhIjowLCJi", "IjowLCJi", "IjowfQ.e30");
	measure("bearer token, a JWT of many claims", view_str(text), token_step);
}

int main(void)
{
	if (tls_process_init() < 0 || !mkdtemp(dir))
		die("setting up");
	printf("%s\n\n| what is sent | bytes | CPU ms | ms per KiB |\n|---|---|---|---|\n",
		OpenSSL_version(OPENSSL_VERSION));
	group_rows();
	refused_row();
	retry_row();
	key_rows();
	ticket_rows();
	parse_rows();
	rmdir(dir);
	tls_process_fini();
	return 0;
}

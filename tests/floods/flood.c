// SPDX-License-Identifier: Apache-2.0
/*
 * Attackers: each connection sends as fast as the router takes it, drops what comes back, and
 * begins anew when it is closed. They leave the processors to the others: a real attacker has a
 * machine of his own.
 * usage: flood PORT KIND SECONDS CONNECTIONS
 * KIND is a row of the table below. Prints how many connections there were and the bytes sent.
 */
#include "base/clock.h"
#include "record/connection.h"
#include "far.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>

#define BLOCK_BYTES 65536
#define RECORD_ROOM 512

struct attacker {
	struct stream stream;
	struct record_connection connection; /* of TLS */
	unsigned char block[BLOCK_BYTES + RECORD_MAX + RECORD_ROOM];
	size_t len;     /* of what is to be sent */
	size_t text_at; /* in the text that is sent over and over */
};

static void seal(struct attacker *a, unsigned char type, const void *data, size_t len)
{
	int n = record_seal(
		&a->connection.states[RECORD_WRITE], type, data, len, 0, a->block + a->len);

	if (n < 0)
		abort();
	a->len += (size_t)n;
}

static void seal_key_update(struct attacker *a)
{
	static const unsigned char requested[] = { 24, 0, 0, 1, 1 };

	seal(a, RECORD_HANDSHAKE, requested, sizeof(requested));
	if (record_state_update(
		    &a->connection.states[RECORD_WRITE], a->connection.secret[RECORD_WRITE]) < 0)
		abort();
}

/* ---- what a block is made of ---- */

static void fill_key_updates(struct attacker *a, const char *text)
{
	(void)text;
	while (a->len < BLOCK_BYTES / 8)
		seal_key_update(a);
}

/* As many between data as are allowed. */
static void fill_paid_key_updates(struct attacker *a, const char *text)
{
	while (a->len < BLOCK_BYTES / 8) {
		for (int i = 0; i < RECORD_QUIET_MAX; i++)
			seal_key_update(a);
		seal(a, RECORD_DATA, text, 1);
	}
}

/* The head of a ClientHello, which TLS 1.2 refuses with a warning. */
static void fill_renegotiations(struct attacker *a, const char *text)
{
	static const unsigned char hello[] = { 1, 0, 0, 0 };

	(void)text;
	while (a->len < BLOCK_BYTES)
		seal(a, RECORD_HANDSHAKE, hello, sizeof(hello));
}

static void fill_empty_records(struct attacker *a, const char *text)
{
	while (a->len < BLOCK_BYTES) {
		for (int i = 0; i < 30; i++)
			seal(a, RECORD_DATA, "", 0);
		seal(a, RECORD_DATA, text, strlen(text));
	}
}

static void put_text(struct attacker *a, const char *text, char *to, size_t len)
{
	size_t whole = strlen(text);

	for (size_t i = 0; i < len; i++)
		to[i] = text[a->text_at++ % whole];
}

static void fill_bytes(struct attacker *a, const char *text)
{
	char byte;

	while (a->len < BLOCK_BYTES) {
		put_text(a, text, &byte, 1);
		seal(a, RECORD_DATA, &byte, 1);
	}
}

static void fill_text(struct attacker *a, const char *text)
{
	char data[RECORD_MAX];

	while (a->len < BLOCK_BYTES) {
		put_text(a, text, data, sizeof(data));
		seal(a, RECORD_DATA, data, sizeof(data));
	}
}

static void fill_plain(struct attacker *a, const char *text)
{
	put_text(a, text, (char *)a->block, BLOCK_BYTES);
	a->len = BLOCK_BYTES;
}

#define LINES_8 "X: 1\r\nX: 1\r\nX: 1\r\nX: 1\r\nX: 1\r\nX: 1\r\nX: 1\r\nX: 1\r\n"
#define LINES_64 LINES_8 LINES_8 LINES_8 LINES_8 LINES_8 LINES_8 LINES_8 LINES_8
#define HEAD(line) line " HTTP/1.1\r\nHost: router.test\r\n" LINES_8 LINES_8 LINES_8 LINES_8

static const struct kind {
	const char *name;
	int version; /* of TLS; 0: none */
	const char *alpn;
	void (*fill)(struct attacker *a, const char *text);
	const char *text;
	bool login; /* first: what follows is the session's */
} kinds[] = {
	{ "keyupdate", TLS1_3_VERSION, NULL, fill_key_updates, "" },
	{ "keyupdate-paid", TLS1_3_VERSION, NULL, fill_paid_key_updates, "x" },
	{ "renegotiation", TLS1_2_VERSION, NULL, fill_renegotiations, "" },
	{ "empty", TLS1_2_VERSION, NULL, fill_empty_records, "a NOOP\r\n" },
	{ "bytes", TLS1_3_VERSION, NULL, fill_bytes, "a NOOP\r\n" },
	{ "commands", TLS1_3_VERSION, NULL, fill_text, "a x\r\n" },
	{ "session-keyupdate", TLS1_3_VERSION, NULL, fill_key_updates, "", true },
	{ "session-keyupdate-paid", TLS1_3_VERSION, NULL, fill_paid_key_updates, "\n", true },
	{ "session-renegotiation", TLS1_2_VERSION, NULL, fill_renegotiations, "", true },
	{ "session-empty", TLS1_2_VERSION, NULL, fill_empty_records, "a NOOP\r\n", true },
	{ "session-bytes", TLS1_3_VERSION, NULL, fill_bytes, "a NOOP\r\n", true },
	{ "commands-plain", 0, NULL, fill_plain, "a x\r\n" },
	{ "admin-keyupdate", TLS1_3_VERSION, "http/1.1", fill_key_updates, "" },
	/* A long head, and a body behind it that comes byte by byte. */
	{ "admin-body", TLS1_3_VERSION, "http/1.1", fill_bytes,
		HEAD("POST /v1/reload") "Content-Length: 65536\r\n\r\n" LINES_64 },
	{ "admin-head", TLS1_3_VERSION, "http/1.1", fill_bytes,
		"GET / HTTP/1.1\r\n" LINES_64 LINES_64 },
	{ "head", TLS1_3_VERSION, "http/1.1", fill_bytes, "GET / HTTP/1.1\r\n" LINES_64 LINES_64 },
	{ "heads", TLS1_3_VERSION, "http/1.1", fill_text, HEAD("GET /") "\r\n" },
};

/* ---- a connection ---- */

static struct tls_client *client;

/* With the node's answer the router relays. */
static bool log_in(struct stream *stream)
{
	static const char line[] = "l LOGIN alice pw\r\n", ok[] = "l OK";
	char heard[4096];
	size_t len = 0;

	if (stream_write(stream, line, strlen(line)) != (ssize_t)strlen(line))
		return false;
	while (!memmem(heard, len, ok, strlen(ok)) && len < sizeof(heard)) {
		ssize_t n = stream_read(stream, heard + len, sizeof(heard) - len);

		if (n == -EAGAIN && far_wait(stream, POLLIN))
			continue;
		if (n <= 0)
			return false;
		len += (size_t)n;
	}
	return true;
}

static bool encrypt(struct attacker *a, const struct kind *kind)
{
	struct tls_layer *layer;
	struct record_keys keys;
	int r;

	if (tls_stream_connect(&a->stream, client) < 0)
		return false;
	layer = a->stream.layer;
	SSL_set_min_proto_version(layer->ssl, kind->version);
	SSL_set_max_proto_version(layer->ssl, kind->version);
	if (!far_handshake(&a->stream) || (kind->login && !log_in(&a->stream)))
		return false;
	/* Tickets and a greeting come first: nothing may be half read. */
	while ((r = tls_keys_export(&a->stream, &keys)) == TLS_KEYS_NOT_YET) {
		char junk[4096];

		if (stream_read(&a->stream, junk, sizeof(junk)) == STREAM_EOF ||
			!far_wait(&a->stream, POLLIN))
			return false;
	}
	return r == 0 && record_connection_init(&a->connection, &keys) == 0;
}

static void drain(struct attacker *a, bool *ret_gone)
{
	static char junk[262144];
	ssize_t n;

	while ((n = recv(a->stream.fd, junk, sizeof(junk), MSG_DONTWAIT)) > 0)
		;
	*ret_gone = n == 0 || errno != EAGAIN;
}

/* Until the time is over or the router has had enough. Returns the bytes sent. */
static uint64_t attack(struct attacker *a, const struct kind *kind, uint64_t end_ms)
{
	uint64_t sent = 0;
	size_t at = 0;
	bool gone = false;

	while (!gone && clock_mono_ms() < end_ms) {
		struct pollfd pfd = { .fd = a->stream.fd, .events = POLLIN | POLLOUT };
		ssize_t n;

		if (at == a->len) {
			at = a->len = 0;
			kind->fill(a, kind->text);
		}
		n = send(a->stream.fd, a->block + at, a->len - at, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			at += (size_t)n;
			sent += (uint64_t)n;
		} else if (errno != EAGAIN) {
			break;
		} else {
			poll(&pfd, 1, 10);
		}
		drain(a, &gone);
	}
	return sent;
}

static void run(uint16_t port, const struct kind *kind, uint64_t end_ms, uint64_t count[2])
{
	struct attacker *a = calloc(1, sizeof(*a));

	while (a && clock_mono_ms() < end_ms) {
		*a = (struct attacker){ 0 };
		if (far_connect(&a->stream, port) && (!kind->version || encrypt(a, kind))) {
			count[0]++;
			count[1] += attack(a, kind, end_ms);
		}
		stream_close(&a->stream);
	}
	free(a);
}

static const struct kind *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (strcmp(kinds[i].name, name) == 0)
			return &kinds[i];
	}
	return NULL;
}

int main(int argc, char **argv)
{
	const struct kind *kind = argc == 5 ? find(argv[2]) : NULL;
	struct tls_client_params params = { .allow_invalid = true };
	uint64_t end_ms, (*counts)[2], all[2] = { 0 };
	char error[TLS_ERROR_SIZE];
	int children;

	if (!kind)
		return 2;
	children = atoi(argv[4]);
	end_ms = clock_mono_ms() + (uint64_t)(atof(argv[3]) * 1000);
	params.alpn = kind->alpn;
	counts = mmap(NULL, sizeof(*counts) * (size_t)children, PROT_READ | PROT_WRITE,
		MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	signal(SIGPIPE, SIG_IGN);
	(void)!nice(10);
	if (counts == MAP_FAILED || tls_client_new(&params, &client, error) < 0)
		return 1;
	for (int i = 0; i < children; i++) {
		if (fork() == 0) {
			run((uint16_t)atoi(argv[1]), kind, end_ms, counts[i]);
			_exit(0);
		}
	}
	while (wait(NULL) > 0)
		;
	for (int i = 0; i < children; i++) {
		all[0] += counts[i][0];
		all[1] += counts[i][1];
	}
	printf("connections=%llu bytes=%llu\n", (unsigned long long)all[0],
		(unsigned long long)all[1]);
	return 0;
}

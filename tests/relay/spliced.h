// SPDX-License-Identifier: Apache-2.0
/* A relay between two far ends of OpenSSL, both legs with TLS, OpenSSL's too or on records; kernel
 * TLS is to carry it. */
#ifndef TESTS_RELAY_SPLICED_H
#define TESTS_RELAY_SPLICED_H

#include "unit.h"

#include "base/clock.h"
#include "net/sock.h"
#include "relay/probe.h"
#include "tls/openssl.h"
#include "tls_peer.h"
#include "handed.h"
#include "suites.h"
#include "unit/tcp_pair.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

static struct relay_kernel kernel;
static bool on_records; /* what the relay is given, in place of OpenSSL's streams */
static struct tls_server *server;
static struct tls_client *client;

struct fixture {
	struct loop loop;
	struct relay_engine engine;
	struct relay *relay;
	struct stream far[2]; /* client, node: OpenSSL */
	struct stream near[2];
	bool done;
	enum relay_end end;
};

static void on_done(struct relay *relay, void *arg, enum relay_end end)
{
	struct fixture *f = arg;

	(void)relay;
	f->done = true;
	f->end = end;
}

/* Of the far ends, in bytes; 0: the kernel's choice. Only before the connection is made does it
 * keep the near end's segments small. */
static int far_window;

/* No progress for that long while a closed side is owed bytes. */
static uint64_t owed_ms = 5000;

/* Of max_fragment_length, which the client asks for, and who it is then: a session is resumed with
 * what it has begun with. 0: it does not ask. */
static uint8_t fragment_code;
static struct tls_client *asking_client;

static int connect_far(const struct addr *addr)
{
	int fd;

	if (!far_window)
		return sock_connect_start(addr, NULL);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &far_window, sizeof(far_window)), 0);
	assert_int_equal(connect(fd, &addr->sa, sizeof(addr->in)), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static void make_pair(int fds[2])
{
	struct addr addr;
	int listener = tcp_pair_listen("127.0.0.1:0", &addr);

	fds[0] = connect_far(&addr);
	fds[1] = tcp_pair_accept(listener);
}

static void use_suite(enum record_version version, enum record_cipher cipher)
{
	char error[TLS_ERROR_SIZE];

	tls_server_unref(server);
	assert_int_equal(suites_server(version, cipher, &server, error), 0);
}

static SSL *ssl_of(struct fixture *f, int leg)
{
	return tls_stream_layer(&f->far[leg])->ssl;
}

/* Both legs with TLS, handshakes done, not yet spliced. */
static void connect_both(struct fixture *f)
{
	memset(f, 0, sizeof(*f));
	assert_int_equal(loop_init(&f->loop), 0);
	assert_int_equal(relay_engine_init(&f->engine, &f->loop, &kernel, 0), 0);
	for (int leg = 0; leg < 2; leg++) {
		bool done[2] = { false, false };
		int fds[2];

		make_pair(fds);
		stream_init_plain(&f->far[leg], fds[0]);
		stream_init_plain(&f->near[leg], fds[1]);
		assert_int_equal(
			tls_stream_accept(leg ? &f->far[leg] : &f->near[leg], server, NULL), 0);
		assert_int_equal(tls_stream_connect(leg ? &f->near[leg] : &f->far[leg],
					 !leg && fragment_code ? asking_client : client),
			0);
		if (!leg && fragment_code)
			assert_true(peer_asks_for_fragments(ssl_of(f, leg), fragment_code));
		while (!done[0] || !done[1]) {
			done[0] |= tls_stream_handshake(&f->far[leg]) == 0;
			done[1] |= tls_stream_handshake(&f->near[leg]) == 0;
		}
	}
}

static void start_relay(struct fixture *f)
{
	struct relay_params params = {
		.engine = &f->engine,
		.settings = { .mode = RELAY_MODE_KTLS },
		.protocol = "test",
		.idle_ms = 60000,
		.owed_ms = owed_ms,
		.done = on_done,
		.arg = f,
	};
	struct buf early[2] = { { 0 }, { 0 } };

	for (int leg = 0; on_records && leg < 2; leg++)
		assert_int_equal(handed_take(&f->near[leg]), 0);
	assert_int_equal(relay_start(&params, f->near, early, &f->relay), 0);
}

static void setup(struct fixture *f)
{
	connect_both(f);
	start_relay(f);
	assert_int_equal(relay_path_of(f->relay, RELAY_UP), RELAY_PATH_KTLS);
	assert_int_equal(relay_path_of(f->relay, RELAY_DOWN), RELAY_PATH_KTLS);
}

static void teardown(struct fixture *f)
{
	relay_free(f->relay);
	relay_engine_fini(&f->engine);
	for (int i = 0; i < 2; i++) {
		stream_close(&f->far[i]);
		stream_close(&f->near[i]);
	}
	loop_fini(&f->loop);
}

/* Reads len bytes at a far end, or fewer at its end; returns how many. *ret_last: what the last
 * read said. */
static size_t take(struct fixture *f, int leg, char *data, size_t len, ssize_t *ret_last)
{
	uint64_t limit = clock_mono_ms() + 30000;
	size_t got = 0;
	ssize_t n = -EAGAIN;

	while (got < len && clock_mono_ms() < limit) {
		assert_int_equal(loop_run_once(&f->loop, 1), 0);
		n = stream_read(&f->far[leg], data + got, len - got);
		if (n > 0)
			got += (size_t)n;
		else if (n != -EAGAIN)
			break;
	}
	if (ret_last)
		*ret_last = n;
	return got;
}

static void give(struct fixture *f, int leg, const char *data, size_t len)
{
	uint64_t limit = clock_mono_ms() + 30000;

	while (len && clock_mono_ms() < limit) {
		ssize_t n = stream_write(&f->far[leg], data, len);

		assert_true(n > 0 || n == -EAGAIN);
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
		assert_int_equal(loop_run_once(&f->loop, 0), 0);
	}
	assert_int_equal(len, 0);
}

static void pass(struct fixture *f, int from, const char *text)
{
	char got[65536];
	size_t len = strlen(text);

	give(f, from, text, len);
	assert_int_equal(take(f, !from, got, len, NULL), len);
	assert_memory_equal(got, text, len);
}

static void run_until_done(struct fixture *f)
{
	uint64_t limit = clock_mono_ms() + 30000;

	while (!f->done && clock_mono_ms() < limit)
		assert_int_equal(loop_run_once(&f->loop, 5), 0);
	assert_true(f->done);
}

#endif

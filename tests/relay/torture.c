// SPDX-License-Identifier: Apache-2.0
/*
 * Random sessions through the relay, many at once, each byte compared. Every session draws legs
 * (plain or TLS with a version and cipher), amounts, chunk sizes, the order of half closes, slow
 * readers, and sometimes peers that reset or vanish. The path that carried the bytes is checked
 * too: a silent fall-back to copy is a failure.
 * usage: torture PATH SESSIONS [SEED]      PATH: copy, ktls, sockmap, bypass,
 *        bypass-anyway (also where the kernel's FIONREAD is wrong: nothing here asks it)
 * Prints what it did, and exits 0 if nothing was lost.
 */
#include "base/clock.h"
#include "net/sock.h"
#include "relay/probe.h"
#include "tls/openssl.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define AT_ONCE 48
/* Without a byte: a socket with a tiny buffer drops what does not fit, and TCP repeats it ever more
 * slowly. That may take minutes, whoever relays. */
#define SESSION_LIMIT_MS 180000
#define RESET_LIMIT_MS 10000

enum ending { END_CLEAN, END_RESET, END_VANISH, END_CLOSE };

/* One far end: a client or a node. */
struct far {
	struct stream stream;
	size_t total, sent, got;
	size_t retry; /* bytes of a write that has to be repeated */
	uint32_t key; /* of the bytes it sends */
	enum ending ending;
	bool waits; /* ends its direction only after it has seen the other's end */
	bool slow, shut, eof, truncated, gone;
	bool failed, unwritable;
};

struct trial {
	unsigned number;
	struct relay *relay;
	struct stream near[2]; /* until the relay has them */
	struct far far[2];     /* client, node */
	bool tls[2], handshaken, started, done, path_seen;
	enum relay_end end;
	uint64_t started_ms, moved_ms;
	size_t moved; /* bytes, until moved_ms */
	char what[128];
};

static struct loop loop;
static struct relay_kernel kernel;
static struct relay_engine engine;
static enum relay_path wanted;
static struct tls_server *servers[RECORD_VERSIONS][RECORD_CIPHERS];
static struct tls_client *client;
static unsigned elsewhere;
static unsigned finished, faults, resets, lost_resets, truncations;
static uint64_t bytes_moved;

static uint32_t random_below(uint32_t n)
{
	return n ? (uint32_t)random() % n : 0;
}

static unsigned char byte_at(uint32_t key, size_t at)
{
	return (unsigned char)((key + at) * 2654435761u >> 13 ^ at >> 16);
}

static void fault(struct trial *trial, const char *text)
{
	faults++;
	printf("session %u (%s): %s; up %zu of %zu, down %zu of %zu, %s %d\n", trial->number,
		trial->what, text, trial->far[1].got, trial->far[0].sent, trial->far[0].got,
		trial->far[1].sent, trial->done ? "ended" : "running", trial->end);
	for (int leg = 0; leg < 2; leg++) {
		struct far *far = &trial->far[leg];

		printf("    %s: total %zu ending %d waits %d slow %d shut %d eof %d truncated %d "
		       "failed "
		       "%d %s\n",
			leg ? "node" : "client", far->total, far->ending, far->waits, far->slow,
			far->shut, far->eof, far->truncated, far->failed,
			tls_stream_error(&far->stream));
	}
}

/* ---- set up ---- */

static void make_servers(void)
{
	static const char *const names[RECORD_VERSIONS][RECORD_CIPHERS] = {
		{ "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
			"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
			"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" },
		{ "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
			"TLS_CHACHA20_POLY1305_SHA256" },
	};
	char error[TLS_ERROR_SIZE];

	for (int v = 0; v < RECORD_VERSIONS; v++) {
		for (int c = 0; c < RECORD_CIPHERS; c++) {
			const char *disabled[6] = { 0 };
			struct tls_policy policy = { .disabled_suites = disabled,
				.ignore_client_order = true };
			int n = 0;

			for (int i = 0; i < RECORD_CIPHERS; i++) {
				if (i != c)
					disabled[n++] = names[v][i];
			}
			for (int i = 0; v == RECORD_TLS_1_2 && i < RECORD_CIPHERS; i++)
				disabled[n++] = names[RECORD_TLS_1_3][i];
			if (tls_server_new(NULL, 0, &policy, &servers[v][c], error) < 0)
				abort();
		}
	}
	if (tls_client_new(&(struct tls_client_params){ .allow_invalid = true }, &client, error) <
		0)
		abort();
}

static void make_pair(int fds[2])
{
	static int listener = -1;
	static struct addr addr;
	struct addr peer;

	if (listener < 0) {
		if (addr_parse(VIEW_LIT("127.0.0.1:0"), &addr) < 0)
			abort();
		listener = sock_listen(&addr, 0, 128);
		if (listener < 0 || sock_local(listener, &addr) < 0)
			abort();
	}
	fds[0] = sock_connect_start(&addr, NULL);
	do {
		fds[1] = sock_accept(listener, &peer);
	} while (fds[1] == -EAGAIN);
	if (fds[0] < 0 || fds[1] < 0) {
		perror("pair");
		exit(2);
	}
}

/* Sockets that are no longer ESTABLISHED it does not take. */
static bool by_program(void)
{
	return wanted == RELAY_PATH_SOCKMAP || wanted == RELAY_PATH_BYPASS;
}

static bool draw_tls(void)
{
	return by_program() ? false : random_below(4) != 0;
}

static void draw_cipher(enum record_version *version, enum record_cipher *cipher)
{
	do {
		*version = (enum record_version)random_below(RECORD_VERSIONS);
		*cipher = (enum record_cipher)random_below(RECORD_CIPHERS);
	} while (wanted == RELAY_PATH_KTLS && !kernel.ktls.usable[*version][*cipher]);
}

static void put_tls(struct trial *trial, int leg)
{
	enum record_version version;
	enum record_cipher cipher;
	struct stream *server = leg ? &trial->far[leg].stream : &trial->near[leg];
	struct stream *peer = leg ? &trial->near[leg] : &trial->far[leg].stream;
	size_t len = strlen(trial->what);

	draw_cipher(&version, &cipher);
	snprintf(trial->what + len, sizeof(trial->what) - len, "%s %s %s, ",
		leg ? "node" : "client", record_version_name(version), record_cipher_name(cipher));
	if (tls_stream_accept(server, servers[version][cipher], NULL) < 0 ||
		tls_stream_connect(peer, client) < 0)
		abort();
}

static void draw_far(struct far *far)
{
	static const uint32_t amounts[] = { 0, 1, 100, 3000, 60000, 400000 };

	far->total = random_below(amounts[random_below(ARRAY_SIZE(amounts))] + 1);
	far->key = (uint32_t)random();
	far->slow = random_below(8) == 0;
	far->waits = random_below(3) == 0;
	far->ending = random_below(12) == 0 ? END_RESET
		: random_below(12) == 0     ? END_VANISH
					    : END_CLEAN;
}

static void begin(struct trial *trial, unsigned number)
{
	*trial = (struct trial){ .number = number, .started_ms = clock_mono_ms() };
	trial->moved_ms = trial->started_ms;
	do {
		for (int leg = 0; leg < 2; leg++)
			trial->tls[leg] = draw_tls();
	} while (wanted == RELAY_PATH_KTLS && !trial->tls[0] && !trial->tls[1]);
	for (int leg = 0; leg < 2; leg++) {
		int fds[2], small = 8192 << random_below(4), never = 0;

		make_pair(fds);
		for (int i = 0; i < 2 && random_below(3) == 0; i++) {
			setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
			setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
		}
		/* ... and that of any when nothing moves for that long: here never */
		(void)!setsockopt(fds[0], IPPROTO_TCP, TCP_USER_TIMEOUT, &never, sizeof(never));
		stream_init_plain(&trial->far[leg].stream, fds[0]);
		stream_init_plain(&trial->near[leg], fds[1]);
		draw_far(&trial->far[leg]);
		if (trial->tls[leg])
			put_tls(trial, leg);
	}
	for (int leg = 0; leg < 2; leg++) {
		/* The rest of a closed socket is given up when its reader is slow enough. */
		if (trial->far[leg].ending == END_CLEAN && !trial->far[!leg].total &&
			!trial->tls[leg] && !trial->far[!leg].slow)
			trial->far[leg].ending = END_CLOSE;
	}
	if (trial->far[0].waits && trial->far[1].waits)
		trial->far[random_below(2)].waits = false;
}

/* ---- the relay ---- */

static void on_done(struct relay *relay, void *arg, enum relay_end end)
{
	struct trial *trial = arg;

	bytes_moved += relay_bytes(relay, RELAY_UP) + relay_bytes(relay, RELAY_DOWN);
	if (relay_path_of(relay, RELAY_DOWN) == wanted)
		trial->path_seen = true;
	trial->done = true;
	trial->end = end;
}

static bool shake_hands(struct trial *trial)
{
	bool all = true;

	for (int leg = 0; leg < 2; leg++) {
		struct stream *ends[] = { &trial->far[leg].stream, &trial->near[leg] };

		for (int i = 0; trial->tls[leg] && i < 2; i++) {
			int r = tls_stream_handshake(ends[i]);

			if (r < 0 && r != -EAGAIN) {
				printf("handshake: %s\n", tls_stream_error(ends[i]));
				abort();
			}
			all &= r == 0;
		}
	}
	return all;
}

static void splice(struct trial *trial)
{
	struct relay_params params = {
		.engine = &engine,
		.settings = { .mode = wanted == RELAY_PATH_COPY ? RELAY_MODE_COPY : RELAY_MODE_AUTO,
			.backlog_limit = 65536u << random_below(3),
			.bulk_rate = random_below(2) ? 0 : 1 << 20,
			.stall_ms = 2000,
			.same_host = wanted == RELAY_PATH_BYPASS },
		.session = trial->number,
		.protocol = "torture",
		.idle_ms = SESSION_LIMIT_MS,
		.owed_ms = SESSION_LIMIT_MS,
		.done = on_done,
		.arg = trial,
	};
	struct buf early[2] = { { 0 }, { 0 } };

	if (relay_start(&params, trial->near, early, &trial->relay) < 0)
		abort();
	trial->started = true;
}

/* ---- the far ends ---- */

static void far_send(struct far *far)
{
	char data[20000];

	while (far->sent < far->total && !far->gone) {
		uint32_t most = random_below(3) ? 400 : sizeof(data);
		size_t len = MIN(
			MAX((size_t)random_below(most) + 1, far->retry), far->total - far->sent);
		ssize_t n;

		for (size_t i = 0; i < len; i++)
			data[i] = (char)byte_at(far->key, far->sent + i);
		n = stream_write(&far->stream, data, len);
		far->retry = n == -EAGAIN ? len : 0;
		if (n == -EAGAIN)
			return;
		if (n < 0) {
			far->unwritable = true;
			far->total = far->sent;
			return;
		}
		far->sent += (size_t)n;
		if (far->slow && random_below(4) == 0)
			return;
	}
}

static void far_end(struct far *far)
{
	int r;

	if (far->shut || far->gone || far->sent < far->total || (far->waits && !far->eof))
		return;
	if (far->ending == END_RESET) {
		sock_abort_on_close(far->stream.fd);
		stream_close(&far->stream);
		far->gone = far->shut = true;
		resets++;
		return;
	}
	if (far->ending == END_CLOSE) { /* with its last byte; nothing is coming */
		stream_close(&far->stream);
		far->gone = far->shut = far->eof = true;
		return;
	}
	if (far->ending == END_VANISH) { /* FIN, on TLS without close_notify */
		shutdown(far->stream.fd, SHUT_WR);
		far->shut = true;
		return;
	}
	r = stream_shutdown(&far->stream);
	if (r == -EAGAIN)
		return;
	far->unwritable |= r < 0;
	far->shut = true;
}

static void far_receive(struct trial *trial, int leg)
{
	struct far *far = &trial->far[leg], *peer = &trial->far[!leg];
	char data[30000];

	for (int turns = 0; !far->eof && !far->gone && !far->failed && turns < 8; turns++) {
		size_t most = far->slow ? 1 + random_below(500) : sizeof(data);
		ssize_t n;

		if (far->slow && random_below(3))
			return;
		n = stream_read(&far->stream, data, most);
		if (n == -EAGAIN)
			return;
		if (n == STREAM_EOF || n == -ECONNABORTED) {
			far->eof = true;
			far->truncated = n != STREAM_EOF;
			return;
		}
		if (n < 0) {
			far->failed = true;
			return;
		}
		for (ssize_t i = 0; i < n; i++) {
			if (data[i] != (char)byte_at(peer->key, far->got + (size_t)i)) {
				fault(trial, "a byte is wrong");
				far->failed = true;
				return;
			}
		}
		far->got += (size_t)n;
	}
}

/* ---- verdict ---- */

static bool had_reset(const struct trial *trial)
{
	return trial->far[0].ending == END_RESET || trial->far[1].ending == END_RESET;
}

/* What came in one direction, at the far end that received it. */
static void judge_direction(struct trial *trial, int leg)
{
	struct far *far = &trial->far[leg], *peer = &trial->far[!leg];
	bool truncated = peer->ending == END_VANISH && trial->tls[!leg];

	if (far->got > peer->sent && !peer->unwritable)
		fault(trial, "more bytes than were sent");
	if (far->failed || !far->eof)
		fault(trial, leg ? "the node saw no end" : "the client saw no end");
	else if (far->got < peer->sent)
		fault(trial, leg ? "bytes up are missing" : "bytes down are missing");
	else if (trial->tls[leg] && truncated && !far->truncated)
		fault(trial, "a truncation was reported as a clean end");
	else if (trial->tls[leg] && !truncated && far->truncated && !peer->unwritable &&
		!(peer->eof && peer->truncated))
		fault(trial, "a clean end was reported as a truncation");
	truncations += truncated;
}

static void judge(struct trial *trial)
{
	/* A peer that ends or resets at once is not ESTABLISHED any more when it is spliced. */
	if (!trial->path_seen && by_program())
		elsewhere++;
	else if (!trial->path_seen)
		fault(trial, "the bytes took another path");
	for (int leg = 0; leg < 2; leg++) {
		/* What came before a reset was right; how much of it is nobody's promise. */
		if (!had_reset(trial))
			judge_direction(trial, leg);
	}
}

static void end(struct trial *trial)
{
	judge(trial);
	relay_free(trial->relay);
	for (int i = 0; i < 2; i++) {
		stream_close(&trial->far[i].stream);
		stream_close(&trial->near[i]);
	}
	trial->relay = NULL;
	finished++;
}

static bool is_over(const struct far *far)
{
	return far->eof || far->failed;
}

/* Neither far end has sent or got a byte for so long. */
static bool stands_still(struct trial *trial)
{
	uint64_t now = clock_mono_ms();
	size_t moved = 0;

	for (int leg = 0; leg < 2; leg++)
		moved += trial->far[leg].sent + trial->far[leg].got;
	if (moved != trial->moved)
		trial->moved_ms = now;
	trial->moved = moved;
	return now - trial->moved_ms > SESSION_LIMIT_MS;
}

/* Returns true when it is over. */
static bool step(struct trial *trial)
{
	if (!trial->handshaken) {
		trial->handshaken = shake_hands(trial);
		if (!trial->handshaken)
			return false;
	}
	if (!trial->started) {
		/* sometimes bytes are there before the relay is */
		for (int leg = 0; leg < 2 && random_below(2); leg++)
			far_send(&trial->far[leg]);
		splice(trial);
	}
	if (!trial->done && relay_path_of(trial->relay, RELAY_DOWN) == wanted)
		trial->path_seen = true;
	for (int leg = 0; leg < 2; leg++) {
		far_send(&trial->far[leg]);
		far_end(&trial->far[leg]);
		far_receive(trial, leg);
	}
	if (trial->done &&
		(had_reset(trial) || (is_over(&trial->far[0]) && is_over(&trial->far[1]))))
		return true;
	/* A reset that overtakes dropped data is not acted on by TCP, and nobody repeats it: such a
	 * connection stays up until its keepalive, whoever relays it. */
	if (had_reset(trial) && clock_mono_ms() - trial->started_ms > RESET_LIMIT_MS) {
		lost_resets++;
		return true;
	}
	if (stands_still(trial)) {
		fault(trial, trial->done ? "the far ends hang" : "the relay hangs");
		return true;
	}
	return false;
}

static void run_all(unsigned count)
{
	static struct trial trials[AT_ONCE];
	unsigned started = 0;

	while (finished < count) {
		for (unsigned i = 0; i < AT_ONCE; i++) {
			struct trial *trial = &trials[i];

			if (!trial->number) {
				if (started == count)
					continue;
				begin(trial, ++started);
			}
			if (step(trial)) {
				end(trial);
				trial->number = 0;
			}
		}
		if (loop_run_once(&loop, 0) < 0)
			abort();
	}
}

/* False where this kernel is refused. */
static bool load_bypass(struct relay_probe *probe, bool anyway)
{
	char error[BPFCTL_ERROR_SIZE] = "";

	if (kernel.bpfctl && bpfctl_bypass_load(kernel.bpfctl, 512, &kernel.bypass, error) < 0)
		kernel.bypass = NULL;
	relay_probe_bypass(probe, &kernel, error);
	for (size_t i = 0; i < probe->row_count; i++)
		printf("%s: %s %s\n", probe->rows[i].name, probe->rows[i].ok ? "yes" : "no",
			probe->rows[i].reason);
	kernel.same_host |= anyway && kernel.bypass;
	return kernel.same_host;
}

int main(int argc, char **argv)
{
	struct bpfctl_params params = { .workers = 1, .max_flows = 1024 };
	char error[BPFCTL_ERROR_SIZE] = "";
	struct relay_probe probe;
	unsigned count, seed = argc > 3 ? (unsigned)atoi(argv[3]) : (unsigned)time(NULL);
	uint64_t start = clock_mono_ms();
	bool anyway;

	if (argc < 3)
		return 2;
	count = (unsigned)atoi(argv[2]);
	anyway = strcmp(argv[1], "bypass-anyway") == 0;
	if (anyway)
		wanted = RELAY_PATH_BYPASS;
	for (int i = RELAY_PATH_COPY; i < RELAY_PATHS; i++) {
		if (strcmp(argv[1], relay_path_name((enum relay_path)i)) == 0)
			wanted = (enum relay_path)i;
	}
	signal(SIGPIPE, SIG_IGN);
	srandom(seed);
	if (!wanted || tls_process_init() < 0 || loop_init(&loop) < 0)
		return 2;
	if (bpfctl_load(&params, &kernel.bpfctl, error) < 0)
		kernel.bpfctl = NULL;
	relay_probe(&probe, &kernel, error);
	if (wanted == RELAY_PATH_BYPASS && !load_bypass(&probe, anyway))
		return 3;
	make_servers();
	if (relay_engine_init(&engine, &loop, &kernel, 0) < 0)
		return 2;
	run_all(count);
	relay_engine_fini(&engine);
	if (elsewhere > kernel.refused + resets || elsewhere * 10 > finished) {
		printf("%u sessions took another path\n", elsewhere);
		faults++;
	}
	if (lost_resets * 20 > resets + 40) { /* chance has its say in few sessions */
		printf("too many resets went unnoticed\n");
		faults++;
	}
	printf("%s: %u sessions, %llu bytes, %u resets (%u lost), %u truncations, %u faults, seed "
	       "%u, "
	       "%.1f s; valve: backlog %llu bulk %llu back %llu, stalls %llu, refused %llu\n",
		argv[1], finished, (unsigned long long)bytes_moved, resets, lost_resets,
		truncations, faults, seed, (double)(clock_mono_ms() - start) / 1000,
		(unsigned long long)kernel.demotions_backlog,
		(unsigned long long)kernel.demotions_bulk, (unsigned long long)kernel.resumes,
		(unsigned long long)kernel.stalls, (unsigned long long)kernel.refused);
	for (int v = 0; v < RECORD_VERSIONS; v++) {
		for (int c = 0; c < RECORD_CIPHERS; c++)
			tls_server_unref(servers[v][c]);
	}
	tls_client_unref(client);
	tls_process_fini();
	bpfctl_free(kernel.bpfctl);
	loop_fini(&loop);
	return faults ? 1 : 0;
}

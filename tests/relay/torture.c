// SPDX-License-Identifier: Apache-2.0
/*
 * Random sessions through the relay, many at once, each byte compared. Every session draws legs
 * (plain or TLS with a version and cipher), amounts, chunk sizes, the order of half closes, slow
 * and stalled readers, and sometimes peers that reset, vanish or are closed at once; on TLS also
 * the sizes of records, padding, max_fragment_length, changes of keys and tickets (far.h). Of each
 * leg it is checked what moves it: a silent fall-back to OpenSSL is a failure.
 * usage: torture PATH SESSIONS [SEED]      PATH: copy, record, ktls, sockmap, bypass,
 *        bypass-anyway (also where the kernel's FIONREAD is wrong: nothing here asks it)
 * On record, some nodes have a suite that OpenSSL alone can do: one leg is copied then.
 * Prints what it did, and exits 0 if nothing was lost, 3 where this kernel does not have the path.
 */
#include "base/clock.h"
#include "relay/frame.h"
#include "relay/ktls_stream.h"
#include "relay/probe.h"
#include "arming.h"
#include "far.h"
#include "handed.h"
#include "suites.h"

#include <assert.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#define AT_ONCE 48
/* Without a byte: a socket with a tiny buffer drops what does not fit, and TCP repeats it ever more
 * slowly. That may take minutes, whoever relays. */
#define SESSION_LIMIT_MS 180000
#define RESET_LIMIT_MS 10000

struct trial {
	unsigned number;
	struct relay *relay;
	struct stream near[2]; /* until the relay has them */
	struct far far[2];     /* client, node */
	struct buf early[2];   /* likewise */
	bool tls[2], other_suite, hasty, rushed, excused, talks_on, handshaken, started, done,
		path_seen;
	enum relay_path paths[2]; /* what has to move each leg; NONE: plain */
	enum relay_end end;
	uint64_t reset_ms, moved_ms, spliced_ms;
	size_t moved; /* bytes, until moved_ms */
	char what[128];
};

static struct loop loop;
static struct relay_kernel kernel;
static struct relay_engine engine;
static enum relay_path wanted;
static struct suites suites;
static unsigned elsewhere, early_ends, late, mixed, limited, garbage, alerts;
static unsigned finished, faults, resets, lost_resets, truncations;
static uint64_t bytes_moved;

static void fault(struct trial *trial, const char *text)
{
	faults++;
	printf("session %u (%s%s): %s; up %zu of %zu, down %zu of %zu, %s %d\n", trial->number,
		trial->what, trial->hasty ? "hasty" : "", text, trial->far[1].got,
		trial->far[0].sent, trial->far[0].got, trial->far[1].sent,
		trial->done ? "ended" : "running", trial->end);
	far_print("client", &trial->far[0]);
	far_print("node", &trial->far[1]);
}

/* ---- set up ---- */

/* Sockets that are no longer ESTABLISHED it does not take. */
static bool by_program(void)
{
	return wanted == RELAY_PATH_SOCKMAP || wanted == RELAY_PATH_BYPASS;
}

static bool needs_tls(void)
{
	return wanted == RELAY_PATH_RECORD || wanted == RELAY_PATH_KTLS;
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
	bool other_suite = leg && trial->other_suite;
	unsigned code = leg ? 0 : random_below(4) ? 0 : 1 + random_below(SUITES_CODES - 1);
	size_t len = strlen(trial->what);

	draw_cipher(&version, &cipher);
	snprintf(trial->what + len, sizeof(trial->what) - len, "%s %s %s %u, ",
		leg ? "node" : "client", record_version_name(version),
		other_suite ? "CBC" : record_cipher_name(cipher), code);
	if (tls_stream_accept(server, suites.servers[version][cipher], NULL) < 0 ||
		tls_stream_connect(peer, suites.clients[other_suite ? SUITES_OTHER : code]) < 0)
		abort();
	if (code && PEER_HAS_FRAGMENTS && !peer_asks_for_fragments(ssl_of(peer), (uint8_t)code))
		abort();
	if (other_suite &&
		(SSL_set_cipher_list(ssl_of(server), "ECDHE-ECDSA-AES128-SHA") != 1 ||
			SSL_set_max_proto_version(ssl_of(server), TLS1_2_VERSION) != 1))
		abort();
	far_draw_records(&trial->far[leg]);
	limited += code != 0;
	tls_stream_read_ahead(&trial->near[leg], trial->rushed && random_below(4) != 0);
}

static void draw_legs(struct trial *trial)
{
	do {
		for (int leg = 0; leg < 2; leg++)
			trial->tls[leg] = draw_tls();
	} while (needs_tls() && !trial->tls[0] && !trial->tls[1]);
	trial->other_suite = wanted == RELAY_PATH_RECORD && trial->tls[0] && trial->tls[1] &&
		random_below(6) == 0;
}

static void put_leg(struct trial *trial, int leg)
{
	int fds[2], small = 8192 << random_below(4), never = 0;

	far_make_pair(fds);
	for (int i = 0; i < 4 && random_below(3) == 0; i++)
		setsockopt(fds[i / 2], SOL_SOCKET, i & 1 ? SO_RCVBUF : SO_SNDBUF, &small,
			sizeof(small));
	/* ... and that of any when nothing moves for that long: here never */
	(void)!setsockopt(fds[0], IPPROTO_TCP, TCP_USER_TIMEOUT, &never, sizeof(never));
	stream_init_plain(&trial->far[leg].stream, fds[0]);
	stream_init_plain(&trial->near[leg], fds[1]);
	far_draw(&trial->far[leg]);
	if (trial->tls[leg])
		put_tls(trial, leg);
}

/* Whether it may be closed with its last byte: what a closed socket is sent is answered with a
 * reset, and TLS has a last word to say. The rest of a closed socket is given up when its reader is
 * slow enough. */
static bool may_close(const struct trial *trial, int leg)
{
	const struct far *far = &trial->far[leg], *peer = &trial->far[!leg];

	if (far->ending != FAR_CLEAN || peer->slow || peer->stall)
		return false;
	return trial->tls[leg] ? far->waits && needs_tls() : !peer->total;
}

/* Ends that are not for every path and every leg. */
static void draw_endings(struct trial *trial)
{
	if (trial->far[0].waits && trial->far[1].waits)
		trial->far[random_below(2)].waits = false;
	for (int leg = 0; leg < 2; leg++) {
		struct far *far = &trial->far[leg], *peer = &trial->far[!leg];

		if (may_close(trial, leg))
			far->ending = FAR_CLOSE;
		if (far->ending == FAR_VANISH && trial->tls[leg] && random_below(3) == 0)
			far->ending = FAR_SPLIT;
		if (far->ending == FAR_CLEAN && peer->ending == FAR_CLEAN &&
			wanted == RELAY_PATH_RECORD && trial->tls[leg] && random_below(16) == 0)
			far->ending = FAR_GARBAGE;
	}
}

static void begin(struct trial *trial, unsigned number)
{
	*trial = (struct trial){ .number = number, .moved_ms = clock_mono_ms() };
	trial->rushed = wanted != RELAY_PATH_KTLS || random_below(5) == 0;
	draw_legs(trial);
	for (int leg = 0; leg < 2; leg++)
		put_leg(trial, leg);
	draw_endings(trial);
	trial->hasty = trial->rushed && random_below(3) == 0;
	trial->far[random_below(2)].answers = random_below(3) == 0;
}

/* ---- the relay ---- */

static void on_done(struct relay *relay, void *arg, enum relay_end end)
{
	struct trial *trial = arg;

	bytes_moved += relay_bytes(relay, RELAY_UP) + relay_bytes(relay, RELAY_DOWN);
	if (wanted != RELAY_PATH_RECORD) /* else it was so from the beginning */
		trial->path_seen |= relay_path_of(relay, RELAY_DOWN) == wanted;
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
				printf("session %u (%s): handshake: %s\n", trial->number,
					trial->what, tls_stream_error(ends[i]));
				abort();
			}
			all &= r == 0;
			/* together with the end of its handshake */
			if (i == 0 && r == 0 && trial->hasty)
				far_send(&trial->far[leg], &trial->far[!leg]);
		}
	}
	return all;
}

/* What has to move each leg, and what the far ends do now that they have a version. */
static void after_handshake(struct trial *trial)
{
	enum record_cipher cipher;

	for (int leg = 0; leg < 2; leg++) {
		if (!trial->tls[leg])
			continue;
		trial->paths[leg] = tls_find_cipher(ssl_of(&trial->near[leg]), &cipher) == 0
			? wanted
			: RELAY_PATH_COPY;
		far_draw_tls(&trial->far[leg], wanted != RELAY_PATH_KTLS || kernel.ktls.rekey);
	}
	if (trial->other_suite !=
		(trial->paths[0] != trial->paths[1] && trial->tls[0] && trial->tls[1]))
		fault(trial, "the suites are not those that were drawn");
	mixed += trial->other_suite;
}

static enum relay_path path_of_leg(const struct stream *leg)
{
	if (!stream_is_tls(leg))
		return RELAY_PATH_NONE;
	if (ktls_stream_is(leg))
		return RELAY_PATH_KTLS;
	return tls_records_connection(leg) ? RELAY_PATH_RECORD : RELAY_PATH_COPY;
}

/* While it runs: whether what has to move the bytes does. */
static void look_at_path(struct trial *trial)
{
	const struct relay *relay = trial->relay;
	enum relay_path path = relay_path_of(relay, RELAY_DOWN), wants = wanted;

	if (trial->path_seen || trial->done)
		return;
	if (trial->tls[0] || trial->tls[1]) {
		for (int leg = 0; leg < 2; leg++) {
			if (path_of_leg(&relay->legs[leg]) != trial->paths[leg])
				return;
		}
		wants = trial->other_suite ? RELAY_PATH_COPY : wanted;
	}
	trial->path_seen = path == wants && relay_path_of(relay, RELAY_UP) == wants;
}

/* What came before the splice: read in part, whole, or not at all. */
static void read_early(struct trial *trial)
{
	char data[3000];

	for (int leg = 0; trial->rushed && leg < 2; leg++) {
		while (random_below(3) == 0) {
			ssize_t n = stream_read(&trial->near[leg], data,
				1 + random_below(random_below(2) ? 20 : sizeof(data)));

			if (n <= 0 || buf_append(&trial->early[leg], data, (size_t)n) < 0)
				break;
		}
	}
}

static void splice(struct trial *trial)
{
	enum arming arming = by_program() ? arming_draw() : ARMS_AT_ONCE;
	static const enum relay_mode modes[RELAY_PATHS] = {
		[RELAY_PATH_COPY] = RELAY_MODE_COPY,
		[RELAY_PATH_KTLS] = RELAY_MODE_KTLS,
	};
	struct relay_params params = {
		.engine = &engine,
		.settings = { .mode = modes[wanted],
			.backlog_limit = 65536u << random_below(3),
			.bulk_rate = random_below(2) ? 0 : 1 << 20,
			.arm_ms = arming_ms(arming, SESSION_LIMIT_MS),
			.stall_ms = 2000,
			.same_host = wanted == RELAY_PATH_BYPASS },
		.session = trial->number,
		.protocol = "torture",
		.idle_ms = SESSION_LIMIT_MS,
		.owed_ms = SESSION_LIMIT_MS,
		.done = on_done,
		.arg = trial,
	};

	static_assert(RELAY_MODE_AUTO == 0, "the mode of the others");
	if (relay_start(&params, trial->near, trial->early, &trial->relay) < 0)
		abort();
	trial->started = true;
	trial->talks_on = arming == ARMS_SOON;
	trial->spliced_ms = clock_mono_ms();
	trial->excused = by_program() && arming_may_do_without(trial->relay);
	look_at_path(trial);
	late += !trial->path_seen;
}

/* ---- verdict ---- */

static bool had_reset(const struct trial *t)
{
	return t->far[0].ending == FAR_RESET || t->far[1].ending == FAR_RESET;
}

/* What came in one direction, at the far end that received it. */
static void judge_direction(struct trial *trial, int leg)
{
	struct far *far = &trial->far[leg], *peer = &trial->far[!leg];
	bool truncated = far_cuts(peer) && trial->tls[!leg];

	if (far->wrong)
		fault(trial, "a byte is wrong");
	if (far->ending == FAR_CLOSE) /* it has not looked */
		return;
	if (far->got > peer->sent && !peer->unwritable)
		fault(trial, "more bytes than were sent");
	if (far->ending == FAR_GARBAGE) { /* it is not listened to, and hears why */
		alerts += strstr(tls_stream_error(&far->stream), "bad_record_mac") != NULL;
		return;
	}
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
	/* A peer that ends or resets at once is not ESTABLISHED any more when it is spliced. The
	 * kernel waits for a moment at which nothing is read that it would have to know. */
	if (!trial->path_seen && (by_program() || (wanted == RELAY_PATH_KTLS && trial->rushed)))
		*(trial->excused ? &early_ends : &elsewhere) += 1;
	else if (!trial->path_seen)
		fault(trial, "the bytes took another path");
	for (int leg = 0; leg < 2; leg++) {
		/* What came before a reset was right; how much of it is nobody's promise. */
		if (!had_reset(trial))
			judge_direction(trial, leg);
		else if (trial->far[leg].wrong)
			fault(trial, "a byte is wrong");
		garbage += trial->far[leg].ending == FAR_GARBAGE;
	}
}

static void end(struct trial *trial)
{
	judge(trial);
	relay_free(trial->relay);
	for (int i = 0; i < 2; i++) {
		stream_close(&trial->far[i].stream);
		stream_close(&trial->near[i]);
		buf_fini(&trial->early[i]);
		resets += trial->far[i].ending == FAR_RESET && trial->far[i].gone;
	}
	trial->relay = NULL;
	finished++;
}

/* A far end has reset its connection: for how long is counted from the first time it is asked. */
static bool was_reset(struct trial *trial)
{
	bool was = false;

	for (int leg = 0; leg < 2; leg++)
		was |= trial->far[leg].ending == FAR_RESET && trial->far[leg].gone;
	if (was && !trial->reset_ms)
		trial->reset_ms = clock_mono_ms();
	return was;
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

/* Handshakes, what is said before the splice, the splice. False when it is not yet done. */
static bool start(struct trial *trial)
{
	if (!trial->handshaken) {
		trial->handshaken = shake_hands(trial);
		if (!trial->handshaken)
			return false;
		after_handshake(trial);
	}
	/* sometimes bytes are there before the relay is */
	for (int leg = 0; leg < 2 && random_below(2); leg++)
		far_send(&trial->far[leg], &trial->far[!leg]);
	for (int leg = 0; needs_tls() && leg < 2; leg++) {
		if (trial->tls[leg] && random_below(3) == 0) /* as an agent has it */
			(void)!handed_take(&trial->near[leg]);
	}
	read_early(trial);
	splice(trial);
	return true;
}

/* Returns true when it is over. */
static bool step(struct trial *trial)
{
	if (!trial->started && !start(trial))
		return false;
	look_at_path(trial);
	trial->talks_on &=
		!trial->path_seen && clock_mono_ms() - trial->spliced_ms < ARMING_TALK_MS;
	for (int leg = 0; leg < 2; leg++) {
		if (!trial->talks_on || random_below(16) == 0)
			far_send(&trial->far[leg], &trial->far[!leg]);
		if (!trial->talks_on)
			far_end(&trial->far[leg]);
		far_receive(&trial->far[leg], &trial->far[!leg]);
	}
	if (trial->done &&
		(had_reset(trial) || (far_is_over(&trial->far[0]) && far_is_over(&trial->far[1]))))
		return true;
	/* A reset that overtakes dropped data is not acted on by TCP, and nobody repeats it: such a
	 * connection stays up until its keepalive, whoever relays it. */
	if (was_reset(trial) && clock_mono_ms() - trial->reset_ms > RESET_LIMIT_MS) {
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

/* Of all sessions together. */
static void judge_all(unsigned count)
{
	if ((by_program() && elsewhere > kernel.refused + resets) || elsewhere * 10 > finished) {
		printf("%u sessions took another path\n", elsewhere);
		faults++;
	}
	if (early_ends * 2 > finished + 100) {
		printf("%u sessions ended before the program had them\n", early_ends);
		faults++;
	}
	if (lost_resets * 20 > resets + 40) { /* chance has its say in few sessions */
		printf("too many resets went unnoticed\n");
		faults++;
	}
	if (needs_tls() && count >= 100 && !handed_packed) {
		printf("no leg was one of an agent\n");
		faults++;
	}
	if (wanted != RELAY_PATH_RECORD)
		return;
	if (late * 100 > count + 200) {
		printf("%u sessions were not on record at once\n", late);
		faults++;
	}
	if (count >= 500 && (!mixed || !limited || (garbage && !alerts))) {
		printf("%u of two paths, %u with short records, %u alerts for %u with garbage\n",
			mixed, limited, alerts, garbage);
		faults++;
	}
}

static void report(const char *name, unsigned seed, uint64_t start_ms)
{
	printf("%s: %u sessions, %llu bytes, %u resets (%u lost), %u truncations, %u faults, seed "
	       "%u, %.1f s; %u packed, %u late, %u too short, %u mixed, %u short, %u garbage; "
	       "valve: backlog %llu bulk %llu back %llu, stalls %llu, refused %llu\n",
		name, finished, (unsigned long long)bytes_moved, resets, lost_resets, truncations,
		faults, seed, (double)(clock_mono_ms() - start_ms) / 1000, handed_packed, late,
		early_ends, mixed, limited, garbage, (unsigned long long)kernel.demotions_backlog,
		(unsigned long long)kernel.demotions_bulk, (unsigned long long)kernel.resumes,
		(unsigned long long)kernel.stalls, (unsigned long long)kernel.refused);
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
	setvbuf(stdout, NULL, _IOLBF, 0);
	srandom(seed);
	if (!wanted || tls_process_init() < 0 || loop_init(&loop) < 0)
		return 2;
	if (bpfctl_load(&params, &kernel.bpfctl, error) < 0)
		kernel.bpfctl = NULL;
	relay_probe(&probe, &kernel, error);
	if (wanted == RELAY_PATH_KTLS && !kernel.ktls.usable[RECORD_TLS_1_2][RECORD_AES_128_GCM])
		return 3; /* which every kernel TLS has */
	if (wanted == RELAY_PATH_BYPASS && !load_bypass(&probe, anyway))
		return 3;
	if (suites_init(&suites) < 0)
		return 2;
	far_make_words();
	if (relay_engine_init(&engine, &loop, &kernel, 0) < 0)
		return 2;
	run_all(count);
	relay_engine_fini(&engine);
	judge_all(count);
	report(argv[1], seed, start);
	suites_fini(&suites);
	tls_process_fini();
	bpfctl_free(kernel.bpfctl);
	loop_fini(&loop);
	return faults ? 1 : 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * See probe.h. Records are tried against themselves. Kernel TLS is tried against itself and
 * against records made by OpenSSL's ciphers in user space; sockmap is tried with the very relay
 * that will use it.
 */
#include "relay/probe.h"
#include "base/clock.h"
#include "record/post.h"
#include "relay/trial.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DATA_BYTES 40000
/* Of the valve's sockets: as they come they hold megabytes until a sender is stopped. */
#define VALVE_BUFFER_BYTES 65536

void probe_add_row(struct relay_probe *probe, const char *name, int r, const char *reason)
{
	struct probe_row *row = &probe->rows[probe->row_count];

	if (probe->row_count == PROBE_ROWS_MAX)
		return;
	probe->row_count++;
	*row = (struct probe_row){ .ok = r >= 0 };
	snprintf(row->name, sizeof(row->name), "%s", name);
	if (r < 0)
		snprintf(row->reason, sizeof(row->reason), "%s%s%s", reason,
			*reason && r != -EPROTO ? ": " : "", r != -EPROTO ? strerror(-r) : "");
}

/* ---- records ---- */

/* Both ends of one made-up connection. */
static void make_keys(
	struct record_keys keys[2], enum record_version version, enum record_cipher cipher)
{
	for (int i = 0; i < 2; i++) {
		keys[i] = (struct record_keys){ .version = version, .cipher = cipher };
		keys[i].is_server = i == 1;
		keys[i].seq[RECORD_READ] = keys[i].seq[RECORD_WRITE] = 3;
		keys[i].secret_len =
			version == RECORD_TLS_1_3 && cipher != RECORD_AES_256_GCM ? 32 : 48;
		for (size_t k = 0; k < RECORD_SECRET_MAX; k++) {
			keys[i].secret[0][k] = trial_pattern(k);
			keys[i].secret[1][k] = trial_pattern(k + 100);
		}
	}
}

/* One record from one end to the other. */
static int try_record(enum record_version version, enum record_cipher cipher)
{
	struct record_keys keys[2];
	struct record_state ends[2][2] = { 0 };
	unsigned char record[sizeof(record_key_update) + RECORD_OVERHEAD_MAX];
	unsigned char text[sizeof(record)] = { 0 };
	struct record_text got = { 0 };
	int r, n = 0;

	make_keys(keys, version, cipher);
	r = record_states_init(ends[0], &keys[0]);
	if (r == 0)
		r = record_states_init(ends[1], &keys[1]);
	if (r == 0)
		r = n = record_seal(&ends[0][RECORD_WRITE], RECORD_DATA, record_key_update,
			sizeof(record_key_update), 0, record);
	if (r > 0)
		r = record_open(&ends[1][RECORD_READ], record, (size_t)n, text, &got);
	if (r == 0 &&
		(got.type != RECORD_DATA || got.len != sizeof(record_key_update) ||
			memcmp(text, record_key_update, got.len) != 0))
		r = -EPROTO;
	for (int i = 0; i < 4; i++)
		record_state_wipe(&ends[i / 2][i % 2]);
	return r;
}

static void probe_record(struct relay_probe *probe, struct relay_kernel *kernel)
{
	for (int c = 0; c < RECORD_CIPHERS; c++) {
		enum record_cipher cipher = (enum record_cipher)c;
		int r = try_record(RECORD_TLS_1_3, cipher);
		char name[48];

		if (r == 0)
			r = try_record(RECORD_TLS_1_2, cipher);
		kernel->records[c] = r == 0;
		snprintf(name, sizeof(name), "record %s", record_cipher_name(cipher));
		probe_add_row(probe, name, r, r == -EIO ? "OpenSSL does not have it" : "");
	}
}

/* ---- kernel TLS ---- */

static ssize_t recv_soon(int fd, void *data, size_t len, int *ret_type)
{
	uint64_t end = clock_mono_ms() + TRIAL_PATIENCE_MS;
	ssize_t n;

	while ((n = ktls_recv(fd, data, len, ret_type)) == -EAGAIN && clock_mono_ms() < end) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		poll(&p, 1, 100);
	}
	return n;
}

/* Exactly len bytes of data records with the pattern from `at` on. */
static int expect_data(int fd, size_t at, size_t len)
{
	unsigned char data[4096];

	while (len) {
		int type = -1;
		ssize_t n = recv_soon(fd, data, MIN(len, sizeof(data)), &type);

		if (n < 0)
			return (int)n;
		if (n == 0 || (type >= 0 && type != RECORD_DATA))
			return -EPROTO;
		for (ssize_t i = 0; i < n; i++) {
			if (data[i] != trial_pattern(at + (size_t)i))
				return -EPROTO;
		}
		at += (size_t)n;
		len -= (size_t)n;
	}
	return 0;
}

static int send_data(int fd, size_t at, size_t len)
{
	unsigned char data[DATA_BYTES];
	ssize_t n;

	for (size_t i = 0; i < len; i++)
		data[i] = trial_pattern(at + i);
	n = send(fd, data, len, MSG_NOSIGNAL);
	if (n < 0)
		return -errno;
	return (size_t)n == len ? 0 : -EPROTO;
}

static int set_keys(int fd, const struct record_keys *keys, enum record_direction direction)
{
	struct record_state states[2];
	int r = record_states_init(states, keys);

	if (r == 0)
		r = ktls_set_keys(fd, &states[direction]);
	for (int d = 0; d < 2; d++)
		record_state_wipe(&states[d]);
	return r;
}

static int try_exchange(int fds[2], struct record_keys keys[2])
{
	unsigned char data[16];
	int r = 0, type = -1;
	ssize_t n;

	for (int i = 0; r == 0 && i < 2; i++) {
		r = ktls_attach(fds[i]);
		if (r == 0)
			r = set_keys(fds[i], &keys[i], RECORD_READ);
		if (r == 0)
			r = set_keys(fds[i], &keys[i], RECORD_WRITE);
	}
	for (int i = 0; r == 0 && i < 2; i++) {
		r = send_data(fds[i], 0, DATA_BYTES);
		if (r == 0)
			r = expect_data(fds[!i], 0, DATA_BYTES);
	}
	if (r < 0)
		return r;
	n = ktls_send_record(
		fds[0], RECORD_ALERT, record_close_notify, sizeof(record_close_notify));
	if (n < 0)
		return (int)n;
	n = recv_soon(fds[1], data, sizeof(data), &type);
	if (n < 0)
		return (int)n;
	return n == 2 && type == RECORD_ALERT && data[1] == 0 ? 0 : -EPROTO;
}

static void probe_cipher(struct relay_probe *probe, struct relay_kernel *kernel,
	enum record_version version, enum record_cipher cipher)
{
	struct record_keys keys[2];
	char name[48];
	uint64_t number;
	int fds[2], r = trial_pair(fds);

	if (r == 0) {
		make_keys(keys, version, cipher);
		r = try_exchange(fds, keys);
		if (r == 0)
			r = ktls_next_number(fds[0], cipher, &number);
		trial_close_pair(fds);
	}
	kernel->ktls.usable[version][cipher] = r == 0;
	snprintf(name, sizeof(name), "ktls %s %s", record_version_name(version),
		record_cipher_name(cipher));
	probe_add_row(probe, name, r, r == -EPROTO ? "wrong bytes" : "");
}

/* TLS_RX_EXPECT_NO_PAD with records that are padded all the same. */
static int try_padded(int fds[2])
{
	static const size_t paddings[] = { 40, 0, 40, 200, 40, 1, 16000, 0 };
	unsigned char data[100], record[RECORD_MAX + 256];
	struct record_state states[2] = { 0 };
	struct record_keys keys[2];
	size_t at = 0;
	int r;

	make_keys(keys, RECORD_TLS_1_3, RECORD_AES_128_GCM);
	r = record_states_init(states, &keys[0]);
	if (r == 0)
		r = ktls_attach(fds[1]);
	if (r == 0)
		r = set_keys(fds[1], &keys[1], RECORD_READ);
	if (r == 0)
		r = ktls_expect_no_pad(fds[1]);
	for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(paddings); i++, at += sizeof(data)) {
		for (size_t k = 0; k < sizeof(data); k++)
			data[k] = trial_pattern(at + k);
		r = record_seal(&states[RECORD_WRITE], RECORD_DATA, data, sizeof(data), paddings[i],
			record);
		if (r > 0 && send(fds[0], record, (size_t)r, MSG_NOSIGNAL) != r)
			r = -EIO;
	}
	for (int d = 0; d < 2; d++)
		record_state_wipe(&states[d]);
	return r < 0 ? r : expect_data(fds[1], 0, at);
}

static int try_rekey(int fds[2])
{
	unsigned char data[16];
	struct record_keys keys[2];
	int r = 0, type = -1;
	ssize_t n;

	make_keys(keys, RECORD_TLS_1_3, RECORD_AES_128_GCM);
	for (int i = 0; r == 0 && i < 2; i++) {
		r = ktls_attach(fds[i]);
		if (r == 0)
			r = set_keys(fds[i], &keys[i], i ? RECORD_READ : RECORD_WRITE);
	}
	if (r == 0)
		r = send_data(fds[0], 0, 1000);
	if (r < 0)
		return r;
	n = ktls_send_record(
		fds[0], RECORD_HANDSHAKE, record_key_update, sizeof(record_key_update));
	if (n < 0)
		return (int)n;
	r = record_keys_update(&keys[0], RECORD_WRITE);
	if (r == 0)
		r = set_keys(fds[0], &keys[0], RECORD_WRITE);
	if (r == 0)
		r = send_data(fds[0], 1000, 1000);
	if (r == 0)
		r = expect_data(fds[1], 0, 1000);
	if (r < 0)
		return r;
	n = recv_soon(fds[1], data, sizeof(data), &type);
	if (n != sizeof(record_key_update) || type != RECORD_HANDSHAKE ||
		data[0] != record_key_update[0])
		return n < 0 ? (int)n : -EPROTO;
	r = record_keys_update(&keys[1], RECORD_READ);
	if (r == 0)
		r = set_keys(fds[1], &keys[1], RECORD_READ);
	return r < 0 ? r : expect_data(fds[1], 1000, 1000);
}

static int on_pair(int (*try)(int fds[2]))
{
	int fds[2], r = trial_pair(fds);

	if (r == 0) {
		r = try(fds);
		trial_close_pair(fds);
	}
	return r;
}

static int try_attach(int fds[2])
{
	return ktls_attach(fds[0]);
}

static void probe_ktls(struct relay_probe *probe, struct relay_kernel *kernel)
{
	int r = on_pair(try_attach);

	if (r < 0) { /* one row says it all */
		probe_add_row(probe, "ktls", r, "no kernel TLS (modprobe tls)");
		return;
	}
	for (int v = RECORD_VERSIONS - 1; v >= 0; v--) {
		for (int c = 0; c < RECORD_CIPHERS; c++)
			probe_cipher(probe, kernel, (enum record_version)v, (enum record_cipher)c);
	}
	if (!kernel->ktls.usable[RECORD_TLS_1_3][RECORD_AES_128_GCM])
		return;
	r = on_pair(try_padded);
	kernel->ktls.no_pad = r == 0;
	probe_add_row(probe, "ktls padded records with NO_PAD", r,
		r == -EPROTO ? "padded records are corrupted" : "");
	r = on_pair(try_rekey);
	kernel->ktls.rekey = r == 0;
	probe_add_row(probe, "ktls key update", r, "");
}

/* ---- sockmap ---- */

/* Queued bytes, both directions, half close, what is owed. */
static int try_redirect(struct trial *trial)
{
	uint64_t end = clock_mono_ms() + TRIAL_PATIENCE_MS;
	bool shut[2] = { false, false };

	while (!trial->done && trial_turn(trial, end)) {
		for (int side = 0; side < 2; side++) {
			trial_send(trial, side, DATA_BYTES);
			trial_receive(trial, side, SIZE_MAX);
			/* the node answers the client's end with its own */
			if (trial->sent[side] == DATA_BYTES && !shut[side] &&
				(side == 0 || trial->ended[0])) {
				shutdown(trial->far[side], SHUT_WR);
				shut[side] = true;
			}
		}
	}
	if (trial->failed)
		return -EPROTO;
	if (!trial->done)
		return -ETIMEDOUT;
	return trial->ended[0] && trial->ended[1] && trial->got[0] == DATA_BYTES &&
			trial->got[1] == DATA_BYTES
		? 0
		: -EPROTO;
}

/* A reader that does not read stops the sender; then every byte arrives. */
static int try_valve(struct trial *trial)
{
	uint64_t end = clock_mono_ms() + 2 * TRIAL_PATIENCE_MS;
	size_t last = 0, most = 64u << 20;
	int quiet = 0;

	while (quiet < 5 && trial->sent[0] < most && trial_turn(trial, end)) {
		trial_send(trial, 0, most);
		quiet = trial->sent[0] == last ? quiet + 1 : 0;
		last = trial->sent[0];
	}
	if (trial->sent[0] == most)
		return -ENOBUFS;
	shutdown(trial->far[0], SHUT_WR);
	while (!trial->ended[0] && trial_turn(trial, end))
		trial_receive(trial, 0, SIZE_MAX);
	if (!trial->ended[0] && !trial->failed)
		return -ETIMEDOUT;
	return !trial->failed && trial->got[0] == trial->sent[0] ? 0 : -EPROTO;
}

static int run_trial(const struct trial_params *params, int (*try)(struct trial *))
{
	struct trial trial;
	int r = trial_start(&trial, params);

	if (r == 0 && relay_path_of(trial.relay, RELAY_UP) != RELAY_PATH_SOCKMAP)
		r = -EOPNOTSUPP;
	if (r == 0)
		r = try(&trial);
	trial_end(&trial);
	return r;
}

static void probe_sockmap(
	struct relay_probe *probe, struct relay_kernel *kernel, const char *bpf_error)
{
	char queued[11];
	int redirect, valve;

	if (!kernel->bpfctl) {
		probe_add_row(probe, "bpf program", -EPROTO, bpf_error);
		return;
	}
	probe_add_row(probe, "bpf program", 0, "");
	for (size_t i = 0; i < sizeof(queued) - 1; i++)
		queued[i] = (char)trial_pattern(i); /* 1, 8, 15 ...: no NUL */
	queued[sizeof(queued) - 1] = '\0';
	kernel->sockmap = true; /* relay_start() shall use it */
	redirect = run_trial(
		&(struct trial_params){ .kernel = kernel, .queued = queued }, try_redirect);
	probe_add_row(probe, "sockmap redirect, queued bytes, half close", redirect,
		redirect == -EPROTO ? "bytes were lost or changed" : "");
	valve = redirect == 0 ? run_trial(&(struct trial_params){ .kernel = kernel,
						  .queued = "",
						  .buffer_bytes = VALVE_BUFFER_BYTES },
					try_valve)
			      : -ECANCELED;
	probe_add_row(probe, "sockmap valve, drain", valve,
		valve == -EPROTO            ? "bytes were lost or changed"
			: valve == -ENOBUFS ? "a sender is not stopped"
					    : "");
	kernel->sockmap = redirect == 0 && valve == 0;
}

/* ---- handoff ---- */

/* A session that is handed over leaves records, and becomes two plain legs with bytes queued: both
 * have been tried. */
static void probe_handoff(struct relay_probe *probe, const struct relay_kernel *kernel)
{
	int r = kernel->sockmap && relay_probe_ciphers(kernel) ? 0 : -EPROTO;

	probe_add_row(probe, "handoff ends in sockmap", r,
		kernel->sockmap ? "no cipher of record: no session can be handed over"
				: "no sockmap: it ends in copy");
}

void relay_probe(struct relay_probe *ret_probe, struct relay_kernel *kernel, const char *bpf_error)
{
	*ret_probe = (struct relay_probe){ 0 };
	probe_sockmap(ret_probe, kernel, bpf_error);
	probe_record(ret_probe, kernel);
	probe_handoff(ret_probe, kernel);
	probe_ktls(ret_probe, kernel);
	atomic_store(&kernel->demotions_backlog, 0); /* the trials' own */
}

unsigned relay_probe_ciphers(const struct relay_kernel *kernel)
{
	unsigned mask = 0;

	for (int c = 0; c < RECORD_CIPHERS; c++) {
		if (kernel->records[c])
			mask |= BIT(c);
	}
	return mask;
}

// SPDX-License-Identifier: Apache-2.0
/* See trial.h. */
#include "relay/trial.h"
#include "base/clock.h"
#include "base/fd.h"
#include "net/sock.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

unsigned char trial_pattern(size_t at)
{
	return (unsigned char)(1 + at * 7 + (at >> 8) * 13);
}

int trial_pair(int ret_fds[2])
{
	CLEANUP(fd_closep) int listener = -1;
	struct addr addr;
	uint64_t end = clock_mono_ms() + TRIAL_PATIENCE_MS;
	int r = addr_parse(VIEW_LIT("127.0.0.1:0"), &addr);

	listener = r < 0 ? r : sock_listen(&addr, 0, 1);
	if (listener < 0)
		return listener;
	r = sock_local(listener, &addr);
	if (r < 0)
		return r;
	ret_fds[0] = sock_connect_start(&addr, NULL);
	if (ret_fds[0] < 0)
		return ret_fds[0];
	do {
		struct pollfd p = { .fd = listener, .events = POLLIN };

		poll(&p, 1, 100);
		ret_fds[1] = sock_accept(listener, &addr);
	} while (ret_fds[1] == -EAGAIN && clock_mono_ms() < end);
	if (ret_fds[1] < 0) {
		close(ret_fds[0]);
		return ret_fds[1];
	}
	return 0;
}

void trial_close_pair(int fds[2])
{
	fd_closep(&fds[0]);
	fd_closep(&fds[1]);
}

/* ---- start, end ---- */

static void on_trial_done(struct relay *relay, void *arg, enum relay_end end)
{
	struct trial *trial = arg;

	(void)relay;
	(void)end;
	trial->done = true;
}

static void set_buffers(const int fds[2], int bytes)
{
	for (int i = 0; bytes && i < 2; i++) {
		(void)!setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
		(void)!setsockopt(fds[i], SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes));
	}
}

static int make_legs(
	struct trial *trial, const struct trial_params *params, struct stream ret_legs[2])
{
	int pair[2], r = 0;

	for (int i = 0; r == 0 && i < 2; i++) {
		r = trial_pair(pair);
		if (r < 0)
			break;
		set_buffers(pair, params->buffer_bytes);
		trial->far[i] = pair[0];
		stream_init_plain(&ret_legs[i], pair[1]);
	}
	if (r == 0)
		trial->cookie = bpfctl_cookie(ret_legs[RELAY_NODE].fd);
	if (r == 0 && params->occupied)
		r = bpfctl_bypass_occupy(
			params->kernel->bypass, trial->cookie, ret_legs[RELAY_NODE].fd);
	return r > 0 ? -ENOENT : r;
}

static int start_relay(
	struct trial *trial, const struct trial_params *params, struct stream legs[2])
{
	struct relay_params relay = {
		.engine = &trial->engine,
		.settings = { .mode = RELAY_MODE_SOCKMAP,
			.backlog_limit = 65536,
			.stall_ms = 1000,
			.same_host = params->same_host },
		.protocol = "probe",
		.idle_ms = 60000,
		.owed_ms = TRIAL_PATIENCE_MS,
		.done = on_trial_done,
		.arg = trial,
	};
	struct buf early[2] = { { 0 }, { 0 } };

	trial->sent[0] = strlen(params->queued);
	if (send(trial->far[0], params->queued, strlen(params->queued), MSG_NOSIGNAL) < 0)
		return -errno;
	return relay_start(&relay, legs, early, &trial->relay);
}

int trial_start(struct trial *ret_trial, const struct trial_params *params)
{
	struct stream legs[2] = { { 0 }, { 0 } };
	int r;

	*ret_trial = (struct trial){ .far = { -1, -1 }, .at = params->at };
	r = loop_init(&ret_trial->loop);
	if (r == 0)
		r = relay_engine_init(&ret_trial->engine, &ret_trial->loop, params->kernel, 0);
	if (r == 0)
		r = make_legs(ret_trial, params, legs);
	if (r == 0)
		r = start_relay(ret_trial, params, legs);
	for (int i = 0; r < 0 && i < 2; i++)
		stream_close(&legs[i]);
	return r;
}

void trial_end(struct trial *trial)
{
	relay_free(trial->relay);
	relay_engine_fini(&trial->engine);
	trial_close_pair(trial->far);
	loop_fini(&trial->loop);
}

/* ---- bytes ---- */

unsigned char trial_byte(const struct trial *trial, int side, size_t at)
{
	return trial_pattern(trial->at + at + (size_t)side * 1000);
}

void trial_send(struct trial *trial, int side, size_t up_to)
{
	unsigned char data[16384];

	while (trial->sent[side] < up_to) {
		size_t len = MIN(sizeof(data), up_to - trial->sent[side]);
		ssize_t n;

		for (size_t i = 0; i < len; i++)
			data[i] = trial_byte(trial, side, trial->sent[side] + i);
		n = send(trial->far[side], data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n <= 0)
			return;
		trial->sent[side] += (size_t)n;
	}
}

void trial_receive(struct trial *trial, int side, size_t most)
{
	unsigned char data[16384];
	ssize_t n = 0;

	while (most) {
		n = recv(trial->far[!side], data, MIN(sizeof(data), most), MSG_DONTWAIT);
		if (n <= 0)
			break;
		for (ssize_t i = 0; i < n; i++)
			trial->failed |=
				data[i] != trial_byte(trial, side, trial->got[side] + (size_t)i);
		trial->got[side] += (size_t)n;
		most -= (size_t)n;
	}
	trial->ended[side] |= most && n == 0;
	trial->failed |= n < 0 && errno != EAGAIN;
}

bool trial_turn(struct trial *trial, uint64_t end_ms)
{
	return loop_run_once(&trial->loop, 1) == 0 && clock_mono_ms() < end_ms && !trial->failed;
}

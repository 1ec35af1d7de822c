// SPDX-License-Identifier: Apache-2.0
/*
 * Whether nodes on this host may bypass the router (GRD-23). Their sockets get a program that they
 * do not know of, so what is tried is what they would notice: bytes and their order, that a full
 * client makes them wait and wakes them again, however they wait, and what their socket says of
 * bytes that have come (FIONREAD is 0 on some kernels, and programs believe it). Senders are
 * threads, because some of them block.
 */
#include "relay/trial.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

/* Small, so that little has to be sent until the client is full. */
#define BUFFER_BYTES 65536
#define SENDER_BYTES (1536 * 1024)
#define PIECE_BYTES 20000
#define CORKED_BYTES 700
/* A node that is told of room finds some, but for a race now and then. */
#define SPINS_MAX 200
/* Turns without progress after which the sender waits for the reader. */
#define QUIET_TURNS 15

/* ---- senders ---- */

struct sender {
	struct trial *trial;
	int (*send)(struct sender *sender, const char *data);
	atomic_size_t sent;
	atomic_bool done;
	int error; /* 0 or -errno, when it is done */
};

/* What one call takes of the rest, or -errno (-EAGAIN: ask again later). */
static int send_piece(struct sender *sender, const char *data, size_t most)
{
	size_t at = atomic_load(&sender->sent);
	ssize_t n = send(sender->trial->far[RELAY_NODE], data + at, MIN(most, SENDER_BYTES - at),
		MSG_NOSIGNAL);

	if (n < 0)
		return -errno;
	atomic_fetch_add(&sender->sent, (size_t)n);
	return 0;
}

static bool has_more(const struct sender *sender)
{
	return atomic_load(&sender->sent) < SENDER_BYTES;
}

static int set_blocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0 ? -errno : 0;
}

static int send_blocking(struct sender *sender, const char *data)
{
	int r = set_blocking(sender->trial->far[RELAY_NODE]);

	while (r == 0 && has_more(sender))
		r = send_piece(sender, data, PIECE_BYTES);
	return r;
}

static int send_polling(struct sender *sender, const char *data)
{
	struct pollfd p = { .fd = sender->trial->far[RELAY_NODE], .events = POLLOUT };
	int r = 0, spins = 0;

	while ((r == 0 || r == -EAGAIN) && has_more(sender)) {
		r = send_piece(sender, data, PIECE_BYTES);
		if (r != -EAGAIN)
			continue;
		if (++spins > SPINS_MAX)
			return -ELOOP;
		if (poll(&p, 1, TRIAL_PATIENCE_MS) != 1)
			return -ETIMEDOUT;
	}
	return r;
}

/* Is told of room once, when there was none before. */
static int send_by_edges(struct sender *sender, const char *data)
{
	struct epoll_event event = { .events = EPOLLOUT | EPOLLET };
	int r = 0, epoll = epoll_create1(EPOLL_CLOEXEC);

	if (epoll < 0)
		return -errno;
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, sender->trial->far[RELAY_NODE], &event) < 0)
		r = -errno;
	while ((r == 0 || r == -EAGAIN) && has_more(sender)) {
		r = send_piece(sender, data, PIECE_BYTES);
		if (r == -EAGAIN && epoll_wait(epoll, &event, 1, TRIAL_PATIENCE_MS) != 1)
			r = -ETIMEDOUT;
	}
	close(epoll);
	return r;
}

static int send_file(struct sender *sender, const char *data)
{
	int r = set_blocking(sender->trial->far[RELAY_NODE]);
	int file = memfd_create("trial", MFD_CLOEXEC);

	if (file < 0)
		return -errno;
	if (r == 0 && write(file, data, SENDER_BYTES) != SENDER_BYTES)
		r = -EIO;
	for (off_t at = 0; r == 0 && has_more(sender);) {
		ssize_t n = sendfile(
			sender->trial->far[RELAY_NODE], file, &at, SENDER_BYTES - (size_t)at);

		if (n <= 0)
			r = n < 0 ? -errno : -EIO;
		else
			atomic_fetch_add(&sender->sent, (size_t)n);
	}
	close(file);
	return r;
}

static int set_cork(int fd, int on)
{
	return setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof(on)) < 0 ? -errno : 0;
}

static int send_corked(struct sender *sender, const char *data)
{
	int fd = sender->trial->far[RELAY_NODE], r = set_blocking(fd);

	while (r == 0 && has_more(sender)) {
		r = set_cork(fd, 1);
		for (int i = 0; r == 0 && i < 20 && has_more(sender); i++)
			r = send_piece(sender, data, CORKED_BYTES);
		if (r == 0)
			r = set_cork(fd, 0);
	}
	return r;
}

static void *run_sender(void *arg)
{
	struct sender *sender = arg;
	char *data = malloc(SENDER_BYTES);

	for (size_t i = 0; data && i < SENDER_BYTES; i++)
		data[i] = (char)trial_byte(sender->trial, RELAY_NODE, i);
	sender->error = data ? sender->send(sender, data) : -ENOMEM;
	if (sender->error == 0 && shutdown(sender->trial->far[RELAY_NODE], SHUT_WR) < 0)
		sender->error = -errno;
	free(data);
	atomic_store(&sender->done, true);
	return NULL;
}

/* ---- a slow reader ---- */

/* The client reads nothing until the sender stands still, then bit by bit. */
static void read_slowly(struct sender *sender, uint64_t end)
{
	struct trial *trial = sender->trial;
	size_t last = 0, now;
	int quiet = 0;

	while (quiet < QUIET_TURNS && !atomic_load(&sender->done) && trial_turn(trial, end)) {
		now = atomic_load(&sender->sent);
		quiet = now == last ? quiet + 1 : 0;
		last = now;
	}
	while (!trial->ended[RELAY_NODE] && trial_turn(trial, end))
		trial_receive(trial, RELAY_NODE, PIECE_BYTES);
}

/* Both ways must have been taken, or nothing was tried. */
static int check_row(struct relay_kernel *kernel, uint64_t cookie)
{
	struct hm_flow row;
	int r = bpfctl_flow_get(kernel->bpfctl, cookie, &row);

	return r < 0 ? r : row.redirected && row.passed ? 0 : -ENODATA;
}

static int try_sender(struct relay_kernel *kernel, struct trial *trial,
	int (*send_all)(struct sender *sender, const char *data))
{
	struct sender sender = { .trial = trial, .send = send_all };
	uint64_t end = clock_mono_ms() + 2 * TRIAL_PATIENCE_MS;
	pthread_t thread;
	int r = pthread_create(&thread, NULL, run_sender, &sender);

	if (r)
		return -r;
	read_slowly(&sender, end);
	r = check_row(kernel, trial->cookie);
	if (!trial->ended[RELAY_NODE]) /* it may be waiting for what never comes */
		shutdown(trial->far[RELAY_NODE], SHUT_RDWR);
	pthread_join(thread, NULL);
	if (trial->failed)
		return -EPROTO;
	if (!trial->ended[RELAY_NODE])
		return -ETIMEDOUT;
	if (sender.error < 0)
		return sender.error;
	return trial->got[RELAY_NODE] == SENDER_BYTES ? r : -EPROTO;
}

/* ---- what is tried ---- */

static int start(struct relay_kernel *kernel, struct trial *trial, size_t at, bool occupied)
{
	struct trial_params params = {
		.kernel = kernel,
		.queued = "",
		.buffer_bytes = BUFFER_BYTES,
		.same_host = true,
		.occupied = occupied,
		.at = at,
	};

	return trial_start(trial, &params);
}

static bool is_bypassed(const struct trial *trial)
{
	return relay_path_of(trial->relay, RELAY_DOWN) == RELAY_PATH_BYPASS;
}

#define SMALL_BYTES 1000

/* What came for a node is there for whoever asks how much it is. */
static int try_fionread(struct trial *trial)
{
	uint64_t end = clock_mono_ms() + TRIAL_PATIENCE_MS;
	struct pollfd p = { .fd = trial->far[RELAY_NODE], .events = POLLIN };
	int unread = 0;

	trial_send(trial, RELAY_CLIENT, SMALL_BYTES);
	while (poll(&p, 1, 0) != 1) {
		if (!trial_turn(trial, end))
			return -ETIMEDOUT;
	}
	if (ioctl(trial->far[RELAY_NODE], FIONREAD, &unread) < 0)
		return -errno;
	return unread > 0 ? 0 : -ENODEV;
}

/* Two sessions at once: each has its own bytes, both ways. */
static int try_two(struct trial trials[2])
{
	uint64_t end = clock_mono_ms() + TRIAL_PATIENCE_MS;

	for (int i = 0; i < 2; i++) {
		for (int side = 0; side < 2; side++)
			trial_send(&trials[i], side, SMALL_BYTES * (size_t)(i + 1));
	}
	for (int i = 0; i < 2; i++) {
		size_t all = SMALL_BYTES * (size_t)(i + 1);

		while (trials[i].got[0] < all || trials[i].got[1] < all) {
			if (!trial_turn(&trials[i], end))
				return trials[i].failed ? -EPROTO : -ETIMEDOUT;
			for (int side = 0; side < 2; side++)
				trial_receive(&trials[i], side, SIZE_MAX);
		}
	}
	return 0;
}

/* fionread: what came of that alone. */
static int try_pair(struct relay_kernel *kernel, int *ret_fionread)
{
	struct trial trials[2];
	int r = start(kernel, &trials[0], 0, false), second = start(kernel, &trials[1], 77, false);

	*ret_fionread = 0;
	if (r == 0)
		r = second;
	if (r == 0 && (!is_bypassed(&trials[0]) || !is_bypassed(&trials[1])))
		r = -EOPNOTSUPP;
	for (int i = 0; r == 0 && i < 2 && (i == 0 || *ret_fionread == 0); i++)
		*ret_fionread = try_fionread(&trials[i]);
	if (r == 0)
		r = try_two(trials);
	for (int i = 0; i < 2; i++)
		trial_end(&trials[i]);
	return r;
}

/* Somebody else's program has the node's socket: then it keeps it, and we have the old path. */
static int try_occupied(struct relay_kernel *kernel)
{
	struct trial trial;
	int r = start(kernel, &trial, 0, true);
	uint64_t end = clock_mono_ms() + TRIAL_PATIENCE_MS;

	if (r == 0 && relay_path_of(trial.relay, RELAY_DOWN) != RELAY_PATH_SOCKMAP)
		r = -EBUSY;
	if (r == 0)
		trial_send(&trial, RELAY_NODE, SMALL_BYTES);
	while (r == 0 && trial.got[RELAY_NODE] < SMALL_BYTES) {
		trial_receive(&trial, RELAY_NODE, SIZE_MAX);
		if (!trial_turn(&trial, end))
			r = trial.failed ? -EPROTO : -ETIMEDOUT;
	}
	trial_end(&trial);
	return r;
}

static const struct {
	const char *name;
	int (*send)(struct sender *sender, const char *data);
} senders[] = {
	{ "blocking", send_blocking },
	{ "polling", send_polling },
	{ "edge-triggered", send_by_edges },
	{ "sendfile", send_file },
	{ "corked", send_corked },
};

/* name: of the sender with which it went wrong. */
static int try_senders(struct relay_kernel *kernel, const char **ret_name)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(senders); i++) {
		struct trial trial;

		*ret_name = senders[i].name;
		r = start(kernel, &trial, i * 100, false);
		if (r == 0)
			r = try_sender(kernel, &trial, senders[i].send);
		trial_end(&trial);
	}
	return r;
}

/* A row with what came out. */
static void add(struct relay_probe *probe, const char *name, int r)
{
	const char *why = r == -EPROTO ? "bytes were lost or changed"
		: r == -ENODATA        ? "the client was never full, or nothing was redirected"
		: r == -ELOOP          ? "told of room where there is none"
		: r == -EBUSY          ? "taken from the program that had it"
		: r == -ETIMEDOUT      ? "the node or its bytes hang"
		: r == -ENODEV         ? "0, although bytes are there"
				       : "";

	probe_add_row(probe, name, *why ? -EPROTO : r, why);
}

void relay_probe_bypass(struct relay_probe *probe, struct relay_kernel *kernel, const char *error)
{
	const char *sender;
	char name[48];
	int two, fionread, slow, occupied;

	if (!kernel->sockmap || !kernel->bypass) {
		probe_add_row(
			probe, "bypass", -EPROTO, kernel->sockmap ? error : "there is no sockmap");
		return;
	}
	kernel->same_host = true; /* relay_start() shall use it */
	two = try_pair(kernel, &fionread);
	add(probe, "bypass two nodes", two);
	if (two == 0) {
		add(probe, "bypass FIONREAD at a node", fionread);
		slow = try_senders(kernel, &sender);
		snprintf(name, sizeof(name), "bypass slow reader%s%s", slow < 0 ? ", " : "",
			slow < 0 ? sender : "");
		add(probe, name, slow);
		occupied = try_occupied(kernel);
		add(probe, "bypass leaves a taken socket alone", occupied);
		kernel->same_host = fionread == 0 && slow == 0 && occupied == 0;
	} else {
		kernel->same_host = false;
	}
	atomic_store(&kernel->demotions_backlog, 0); /* the trials' own */
}

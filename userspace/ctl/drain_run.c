// SPDX-License-Identifier: Apache-2.0
/*
 * Moving many accounts: worker threads that each take one account, go through the steps of a move,
 * and take the next when the rate allows it. An account that was begun is finished, whatever
 * happens meanwhile; its delay is taken back last, even where everything before has failed.
 */
#include "ctl/drain.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* At once; a router takes 16 connections of one address. */
#define WORKERS_MAX 8u
#define FAILURES_IN_ROW 5
#define ATTEMPTS 4
#define PATIENCE_US 50000 /* between two looks whether it is to stop */

static uint64_t now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* The order of `move`. Returns EXIT_OK, or another with what is wrong. */
static int move_account(
	struct drain *drain, const char *account, const char *node, char error[CTL_ERROR_BYTES])
{
	char text[CTL_ERROR_BYTES];
	int code = drain_step(drain, MOVE_HOLD, account, node, 2, error), released;

	if (code == EXIT_OK)
		code = drain_step(drain, MOVE_WRITE, account, node, 2, error);
	if (code == EXIT_OK) /* from here on there is no way back */
		code = drain_step(drain, MOVE_DROP, account, node, ATTEMPTS, error);
	if (code == EXIT_OK)
		code = drain_step(drain, MOVE_KICK, account, node, ATTEMPTS, error);
	released = drain_step(drain, MOVE_RELEASE, account, node, ATTEMPTS, text);
	if (released != EXIT_OK && code == EXIT_OK)
		snprintf(error, CTL_ERROR_BYTES, "logins wait for up to %.10s s: %.200s",
			drain->hold, text);
	return code == EXIT_OK ? released : code;
}

static void note(struct drain *drain, const char *account, int code, const char *error)
{
	struct drain_failure *failures;

	if (code == EXIT_OK) {
		drain->moved++;
		drain->in_row = 0;
		return;
	}
	drain->broken |= ++drain->in_row >= FAILURES_IN_ROW;
	failures = realloc(drain->failures, (drain->failure_count + 1) * sizeof(*failures));
	if (!failures) {
		drain->broken = true;
		return;
	}
	drain->failures = failures;
	failures[drain->failure_count] = (struct drain_failure){ .account = strdup(account) };
	snprintf(failures[drain->failure_count].error, CTL_ERROR_BYTES, "%s", error);
	drain->failure_count++;
}

/* The next account and its node once its time has come; NULL: there is none, or it is to stop. */
static const char *take_account(struct drain *drain, const char **ret_node)
{
	const char *account = NULL;
	uint64_t now, at = 0;

	pthread_mutex_lock(&drain->lock);
	now = now_us();
	if (drain->next < drain->accounts->count && !drain->broken && !drain_is_stopped(drain)) {
		account = drain->accounts->names[drain->next++];
		*ret_node = drain->targets.names[drain->turn++ % drain->targets.count];
		at = drain->next_at_us > now ? drain->next_at_us : now;
		drain->next_at_us = at + 1000000 / drain->rate;
	}
	pthread_mutex_unlock(&drain->lock);
	for (; account && !drain_is_stopped(drain) && now < at; now = now_us())
		usleep((useconds_t)MIN(at - now, (uint64_t)PATIENCE_US));
	return drain_is_stopped(drain) ? NULL : account;
}

static void *work(void *arg)
{
	struct drain *drain = arg;
	const char *account, *node = NULL;

	while ((account = take_account(drain, &node))) {
		char error[CTL_ERROR_BYTES] = "";
		int code = move_account(drain, account, node, error);

		pthread_mutex_lock(&drain->lock);
		note(drain, account, code, error);
		pthread_mutex_unlock(&drain->lock);
	}
	return NULL;
}

/* ---- progress ---- */

struct progress {
	uint64_t start_us;
	size_t moved_before;
	bool terminal;
	unsigned ticks;
};

static void show(struct drain *drain, struct progress *progress, bool last)
{
	double seconds = (double)(now_us() - progress->start_us) / 1e6, rate;
	size_t moved, failed, left;

	pthread_mutex_lock(&drain->lock);
	moved = drain->moved - progress->moved_before;
	failed = drain->failure_count;
	left = drain->accounts->count - drain->next;
	pthread_mutex_unlock(&drain->lock);
	rate = seconds > 0 ? (double)moved / seconds : 0;
	if (progress->terminal)
		ctl_put_raw(stderr, "\r");
	fprintf(stderr, "%s: %zu of %zu moved, %zu failed, %.1f/s, about %.0f s left%s",
		drain->node, moved, drain->accounts->count, failed, rate,
		(double)left / (rate > 0.1 ? rate : drain->rate),
		!progress->terminal ? "\n"
			: last      ? "    \n"
				    : "    ");
	fflush(stderr);
}

/* Signals go to the main thread, which waits here for the workers. */
static void watch(struct drain *drain, const atomic_uint *running, size_t moved_before)
{
	struct progress progress = { .start_us = now_us(),
		.moved_before = moved_before,
		.terminal = isatty(STDERR_FILENO) };

	while (atomic_load(running)) {
		poll(NULL, 0, 50);
		if (++progress.ticks % (progress.terminal ? 10 : 100) == 0)
			show(drain, &progress, false);
	}
	show(drain, &progress, true);
}

struct worker {
	struct drain *drain;
	atomic_uint *running;
	pthread_t thread;
};

static void *worker_main(void *arg)
{
	struct worker *worker = arg;

	work(worker->drain);
	atomic_fetch_sub(worker->running, 1);
	return NULL;
}

int drain_run(struct drain *drain, const struct drain_names *accounts)
{
	struct worker workers[WORKERS_MAX];
	size_t count = MIN(MIN((size_t)drain->rate, (size_t)WORKERS_MAX), accounts->count);
	atomic_uint running = 0;
	sigset_t set, before;
	unsigned started = 0;
	size_t moved_before = drain->moved;
	int r = 0;

	drain->accounts = accounts;
	drain->next = 0;
	drain->next_at_us = now_us();
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, &before);
	for (; r == 0 && started < count; started += r == 0) {
		workers[started] = (struct worker){ .drain = drain, .running = &running };
		atomic_fetch_add(&running, 1);
		r = -pthread_create(&workers[started].thread, NULL, worker_main, &workers[started]);
		if (r < 0)
			atomic_fetch_sub(&running, 1);
	}
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	watch(drain, &running, moved_before);
	for (unsigned i = 0; i < started; i++)
		pthread_join(workers[i].thread, NULL);
	return started ? 0 : r;
}

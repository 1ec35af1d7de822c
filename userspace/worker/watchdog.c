// SPDX-License-Identifier: Apache-2.0
#include "worker/watchdog.h"
#include "base/log.h"
#include "session/session.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define LOOPS_MAX 1025
#define STUCK_TICKS 3

struct watched {
	char name[WATCHDOG_NAME_SIZE];
	struct loop *loop;
	uint64_t pulse;
	uint64_t ticks; /* seconds for which it has been the same */
};

struct watchdog {
	struct router *router;
	uint64_t exit_ticks; /* 0: never */
	pthread_t thread;
	bool started, stop;
	pthread_mutex_t lock; /* of stop */
	pthread_cond_t wake;
	size_t count;
	struct watched watched[LOOPS_MAX];
};

static void say(const struct watchdog *watchdog, const struct watched *watched, const char *msg)
{
	uint64_t number = atomic_load_explicit(&watched->loop->subject, memory_order_relaxed);
	char id[SESSION_ID_SIZE] = "-";
	struct log_line line;

	if (number)
		session_format_number(watchdog->router->instance, number, id);
	log_start(&line, LOGL_ERROR, msg);
	log_str(&line, "thread", watched->name);
	log_int(&line, "seconds", (int64_t)watched->ticks);
	log_str(&line, "session", id);
	log_end_unlocked(&line);
}

static void look_at(struct watchdog *watchdog, struct watched *watched)
{
	uint64_t pulse = atomic_load_explicit(&watched->loop->pulse, memory_order_relaxed);
	bool working = pulse & 1;

	if (!working || pulse != watched->pulse) {
		watched->pulse = pulse;
		watched->ticks = 0;
		return;
	}
	watched->ticks++;
	if (watched->ticks == STUCK_TICKS) {
		atomic_fetch_add(&watchdog->router->metrics.stuck, 1);
		say(watchdog, watched, "stuck");
	}
	if (watchdog->exit_ticks && watched->ticks >= watchdog->exit_ticks) {
		say(watchdog, watched, "stuck_exit");
		abort();
	}
}

static void *run(void *arg)
{
	struct watchdog *watchdog = arg;
	struct timespec at;

	pthread_mutex_lock(&watchdog->lock);
	while (!watchdog->stop) {
		clock_gettime(CLOCK_MONOTONIC, &at);
		at.tv_sec++;
		if (pthread_cond_timedwait(&watchdog->wake, &watchdog->lock, &at) != ETIMEDOUT)
			continue;
		for (size_t i = 0; i < watchdog->count; i++)
			look_at(watchdog, &watchdog->watched[i]);
	}
	pthread_mutex_unlock(&watchdog->lock);
	return NULL;
}

int watchdog_new(struct router *router, uint64_t exit_after_ms, struct watchdog **ret_watchdog)
{
	struct watchdog *watchdog = calloc(1, sizeof(*watchdog));
	pthread_condattr_t attr;

	if (!watchdog)
		return -ENOMEM;
	watchdog->router = router;
	watchdog->exit_ticks = (exit_after_ms + 999) / 1000;
	pthread_mutex_init(&watchdog->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&watchdog->wake, &attr);
	pthread_condattr_destroy(&attr);
	*ret_watchdog = watchdog;
	return 0;
}

void watchdog_add(struct watchdog *watchdog, const char *name, struct loop *loop)
{
	struct watched *watched;

	if (!watchdog || watchdog->count == LOOPS_MAX)
		return;
	watched = &watchdog->watched[watchdog->count++];
	snprintf(watched->name, sizeof(watched->name), "%s", name);
	watched->loop = loop;
}

int watchdog_start(struct watchdog *watchdog)
{
	int r = pthread_create(&watchdog->thread, NULL, run, watchdog);

	watchdog->started = r == 0;
	return -r;
}

void watchdog_free(struct watchdog *watchdog)
{
	if (!watchdog)
		return;
	if (watchdog->started) {
		pthread_mutex_lock(&watchdog->lock);
		watchdog->stop = true;
		pthread_cond_signal(&watchdog->wake);
		pthread_mutex_unlock(&watchdog->lock);
		pthread_join(watchdog->thread, NULL);
	}
	pthread_cond_destroy(&watchdog->wake);
	pthread_mutex_destroy(&watchdog->lock);
	free(watchdog);
}

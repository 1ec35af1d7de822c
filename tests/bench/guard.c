// SPDX-License-Identifier: Apache-2.0
/*
 * What the guard costs a login, in nanoseconds of a thread's time: with nothing known, and with as
 * many bans, sources and networks as there may be; on one thread, and on several that do the same.
 * usage: guard [SECONDS [THREADS]]
 */
#include "base/clock.h"
#include "base/hash.h"
#include "guard_defaults.h"
#include "measure.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH 1000
#define BANS 65536
#define SOURCES 100000
#define NETS 1000

static struct guard *guard;
static atomic_bool stop;

struct worker {
	pthread_t thread;
	void (*once)(uint64_t *seed);
	uint64_t seed, count;
	double cpu_s;
};

static struct addr v4(uint32_t ip)
{
	return (struct addr){ .in = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(ip) } };
}

/* 11.0.0.0/8: nobody is banned there, and nothing is known of most. */
static struct addr honest(uint64_t *seed)
{
	return v4(0x0b000000u | (uint32_t)(next_random(seed) & 0xffffff));
}

static void nothing(uint64_t *seed)
{
	struct addr client = honest(seed);

	__asm__ volatile("" : : "r"(&client) : "memory");
}

static void check_and_note(uint64_t *seed)
{
	struct addr client = honest(seed);

	if (guard_check(guard, &client) == GUARD_PASS)
		guard_note(guard, &client, false, GUARD_GOOD_LOGIN, 0);
}

static void login(uint64_t *seed)
{
	struct addr client = honest(seed);

	if (guard_check(guard, &client) != GUARD_PASS)
		return;
	guard_note(guard, &client, false, GUARD_GOOD_LOGIN, 0);
	guard_session(guard, &client, 1);
	guard_session(guard, &client, -1);
}

static void refused(uint64_t *seed)
{
	struct addr client = honest(seed);

	if (guard_check(guard, &client) != GUARD_PASS)
		return;
	guard_penalty_ms(guard, &client);
	guard_note(guard, &client, false, GUARD_REFUSED, next_random(seed));
}

static void *work(void *arg)
{
	struct worker *worker = arg;

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		for (int i = 0; i < BATCH; i++)
			worker->once(&worker->seed);
		worker->count += BATCH;
	}
	worker->cpu_s = thread_cpu_s();
	return NULL;
}

static double measure(void (*once)(uint64_t *seed), unsigned threads, unsigned seconds)
{
	struct worker workers[64] = { 0 };
	double cpu_s = 0;
	uint64_t count = 0;

	atomic_store(&stop, false);
	for (unsigned i = 0; i < threads; i++) {
		workers[i].once = once;
		workers[i].seed = 0x9e3779b97f4a7c15ull * (i + 1);
		if (pthread_create(&workers[i].thread, NULL, work, &workers[i]) != 0)
			exit(1);
	}
	sleep(seconds);
	atomic_store(&stop, true);
	for (unsigned i = 0; i < threads; i++) {
		pthread_join(workers[i].thread, NULL);
		cpu_s += workers[i].cpu_s;
		count += workers[i].count;
	}
	return cpu_s * 1e9 / (double)count;
}

static void fill(void)
{
	struct guard_net *nets = calloc(NETS, sizeof(*nets));

	for (uint32_t i = 0; nets && i < NETS; i++)
		nets[i] = (struct guard_net){ { v4(0xc0000000u + (i << 8)), (uint8_t)(24 + i % 9) },
			GUARD_WHY_ALLOW };
	if (!nets || guard_set_never(guard, nets, NETS) < 0)
		exit(1);
	free(nets);
	for (uint32_t i = 0; i < BANS; i++) {
		struct guard_order order = { .net = { v4(0x0a000000u + i), 32 },
			.for_ms = HOUR,
			.origin = GUARD_SHARED,
			.reason = GUARD_FOR_ORDER };

		if (guard_ban(guard, &order, NULL) != 0)
			exit(1);
	}
	for (uint32_t i = 0; i < SOURCES; i++) {
		struct addr client = v4(0x0a800000u + i);

		guard_note(guard, &client, false, GUARD_REFUSED, 0);
	}
}

static void report(const char *state, unsigned threads, unsigned seconds)
{
	static const struct {
		const char *name;
		void (*once)(uint64_t *seed);
	} rows[] = { { "check and good login", check_and_note },
		{ "the same and its session", login }, { "refused login", refused } };
	double idle = measure(nothing, threads, 1);

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		printf("%-10s %u thread%s  %-26s %6.0f ns\n", state, threads,
			threads == 1 ? " " : "s", rows[i].name,
			measure(rows[i].once, threads, seconds) - idle);
}

int main(int argc, char **argv)
{
	struct guard_settings settings = guard_defaults;
	unsigned seconds = argc > 1 ? (unsigned)atoi(argv[1]) : 2;
	unsigned threads =
		argc > 2 ? (unsigned)atoi(argv[2]) : (unsigned)sysconf(_SC_NPROCESSORS_ONLN);

	threads = MIN(MAX(threads, 1u), 64u);
	settings.max_bans = BANS;
	settings.max_sources = SOURCES;
	if (hash_seed() < 0 || guard_new(&settings, &guard) < 0)
		return 1;
	report("empty", 1, seconds);
	fill();
	report("full", 1, seconds);
	if (threads > 1)
		report("full", threads, seconds);
	guard_free(guard);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * Lookups from several threads at once on a real store, which the caller may disturb meanwhile.
 * Account userN belongs to node1 or node2, as N is even or odd, and no answer may say otherwise.
 * The main thread is the control thread. Prints one line of what came back.
 * usage: askers URL POOL TIMEOUT_MS COUNT THREADS
 */
#include "base/clock.h"
#include "base/hash.h"
#include "mapping/mapping.h"
#include "tls/tls.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS_MAX 16
#define AT_ONCE 32

static struct mapping *mapping;
static struct loop control;
static unsigned count, thread_count; /* accounts in all */
static atomic_uint answers, mapped, wrong, twice, left;
static atomic_uchar *seen; /* by account */

struct asker {
	struct loop loop;
	pthread_t thread;
	unsigned number, waiting;
};

static _Thread_local struct asker *me;

static void take(uint64_t account, const struct mapping_answer *answer)
{
	bool is_mapped = answer->choice == MAPPING_MAPPED;

	atomic_fetch_add(&answers, 1);
	atomic_fetch_add(&mapped, is_mapped);
	if (!is_mapped)
		usleep(1000); /* a store that is away says so at once, to all that ask */
	if (is_mapped && strcmp(answer->destination, account % 2 ? "node2" : "node1") != 0)
		atomic_fetch_add(&wrong, 1);
	if (atomic_fetch_add(&seen[account], 1))
		atomic_fetch_add(&twice, 1);
}

static void on_reply(struct post *post)
{
	struct mapping_reply *reply = container_of(post, struct mapping_reply, post);

	me->waiting--;
	take(reply->cookie, &reply->answer);
	mapping_reply_free(reply);
}

static void *asker_main(void *arg)
{
	struct mapping_answer answer;
	char account[32];
	int r;

	me = arg;
	for (unsigned i = me->number; i < count; i += thread_count) {
		snprintf(account, sizeof(account), "user%u", i);
		r = mapping_lookup(
			mapping, view_str(account), &me->loop.mailbox, on_reply, i, &answer);
		if (r == MAPPING_PENDING)
			me->waiting++;
		else if (r == MAPPING_HIT)
			take(i, &answer);
		do {
			if (loop_run_once(&me->loop, me->waiting < AT_ONCE ? 0 : 1000) < 0)
				abort();
		} while (me->waiting >= AT_ONCE);
	}
	while (me->waiting) {
		if (loop_run_once(&me->loop, 1000) < 0)
			abort();
	}
	atomic_fetch_sub(&left, 1);
	return NULL;
}

static void on_tick(struct timer *timer)
{
	if (!atomic_load(&left))
		loop_stop(&control);
	else
		loop_timer_set(&control, timer, 10, on_tick);
}

static int open_store(const char *url, unsigned pool, uint64_t timeout_ms, struct store **ret_store)
{
	struct store_pg_params pg = { .url = url,
		.query = "SELECT node FROM account_nodes WHERE identifier = $1",
		.net.pool_size = pool,
		.net.timeout_ms = timeout_ms };
	struct store_redis_params redis = { .url = url,
		.key_prefix = "route:",
		.net.pool_size = pool,
		.net.timeout_ms = timeout_ms };
	char error[STORE_ERROR_BYTES];

	return strncmp(url, "redis", 5) == 0 ? store_redis_new(&redis, ret_store, error)
					     : store_pg_new(&pg, ret_store, error);
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "elsewhere", "node1", "node2", NULL };
	static struct asker askers[THREADS_MAX];
	struct mapping_params params = { .control = &control,
		.positive_ttl_ms = 60000,
		.stale_grace_ms = 60000,
		.max_entries = 1000,
		.default_destination = "elsewhere",
		.destinations = names };
	struct mapping_stats stats;
	struct timer tick = { 0 };

	if (argc != 6)
		return 2;
	count = (unsigned)atoi(argv[4]);
	thread_count = (unsigned)atoi(argv[5]);
	params.lookup_timeout_ms = (uint64_t)atoi(argv[3]);
	seen = calloc(count, sizeof(*seen));
	if (thread_count < 1 || thread_count > THREADS_MAX || !seen || tls_process_init() < 0 ||
		hash_seed() < 0 || loop_init(&control) < 0 ||
		open_store(argv[1], (unsigned)atoi(argv[2]), params.lookup_timeout_ms,
			&params.store) < 0 ||
		mapping_new(&params, &mapping) < 0)
		return 1;
	atomic_store(&left, thread_count);
	for (unsigned i = 0; i < thread_count; i++) {
		askers[i].number = i;
		if (loop_init(&askers[i].loop) < 0 ||
			pthread_create(&askers[i].thread, NULL, asker_main, &askers[i]) != 0)
			return 1;
	}
	loop_timer_set(&control, &tick, 10, on_tick);
	if (loop_run(&control) < 0)
		return 1;
	for (unsigned i = 0; i < thread_count; i++)
		pthread_join(askers[i].thread, NULL);
	mapping_stats(mapping, &stats);
	printf("answers %u mapped %u wrong %u twice %u queries %llu errors %llu\n",
		atomic_load(&answers), atomic_load(&mapped), atomic_load(&wrong),
		atomic_load(&twice), (unsigned long long)stats.store_queries,
		(unsigned long long)stats.store_errors);
	mapping_free(mapping);
	for (unsigned i = 0; i < thread_count; i++)
		loop_fini(&askers[i].loop);
	loop_fini(&control);
	free(seen);
	tls_process_fini();
	return 0;
}

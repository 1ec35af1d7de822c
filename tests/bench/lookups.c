// SPDX-License-Identifier: Apache-2.0
/*
 * Lookups per second at the mapping's interface, through a real store: IN_FLIGHT at once for
 * SECONDS, each of an account drawn at random, nothing cached (positive_ttl 0), so that each is a
 * query. Prints "LOOKUPS_PER_SECOND ERRORS CPU_SECONDS".
 * usage: lookups URL POOL ACCOUNTS IN_FLIGHT SECONDS
 */
#include "base/clock.h"
#include "base/hash.h"
#include "mapping/mapping.h"
#include "tls/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static struct mapping *mapping;
static struct loop loop;
static unsigned accounts, out;
static uint64_t answers, unmapped, seed = 88172645463325252ull, end_ms;

static void ask(void);

static void on_reply(struct post *post)
{
	struct mapping_reply *reply = container_of(post, struct mapping_reply, post);

	answers++;
	unmapped += reply->answer.choice != MAPPING_MAPPED;
	mapping_reply_free(reply);
	out--;
	if (clock_mono_ms() < end_ms)
		ask();
}

static void ask(void)
{
	struct mapping_answer answer;
	char account[64];

	seed ^= seed >> 12;
	seed ^= seed << 25;
	seed ^= seed >> 27;
	snprintf(account, sizeof(account), "user%012u",
		(unsigned)((seed * 0x2545f4914f6cdd1dull >> 20) % accounts));
	if (mapping_lookup(mapping, view_str(account), &loop.mailbox, on_reply, 0, &answer) ==
		MAPPING_PENDING)
		out++;
}

static int open_store(const char *url, unsigned pool, struct store **ret_store)
{
	struct store_pg_params pg = { .url = url,
		.query = "SELECT node FROM account_nodes WHERE identifier = $1",
		.net.pool_size = pool,
		.net.timeout_ms = 5000 };
	struct store_redis_params redis = {
		.url = url, .key_prefix = "route:", .net.pool_size = pool, .net.timeout_ms = 5000
	};
	char error[STORE_ERROR_BYTES];

	return strncmp(url, "redis", 5) == 0 ? store_redis_new(&redis, ret_store, error)
					     : store_pg_new(&pg, ret_store, error);
}

static double cpu_s(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
		(double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv)
{
	static const char *const names[] = { "node1", NULL };
	struct mapping_params params = { .control = &loop,
		.lookup_timeout_ms = 5000,
		.max_entries = 1000000,
		.default_destination = "node1",
		.destinations = names };
	struct mapping_stats stats;
	uint64_t start_ms;

	if (argc != 6)
		return 2;
	accounts = (unsigned)atoi(argv[3]);
	if (!accounts || tls_process_init() < 0 || hash_seed() < 0 || loop_init(&loop) < 0 ||
		open_store(argv[1], (unsigned)atoi(argv[2]), &params.store) < 0 ||
		mapping_new(&params, &mapping) < 0)
		return 1;
	start_ms = clock_mono_ms();
	end_ms = start_ms + (uint64_t)atoi(argv[5]) * 1000;
	for (int i = atoi(argv[4]); i > 0; i--)
		ask();
	while (out) {
		if (loop_run_once(&loop, 1000) < 0)
			return 1;
	}
	mapping_stats(mapping, &stats);
	printf("%.0f %llu %.1f\n",
		(double)answers * 1000 / (double)MAX(clock_mono_ms() - start_ms, (uint64_t)1),
		(unsigned long long)(stats.store_errors + unmapped), cpu_s());
	mapping_free(mapping);
	loop_fini(&loop);
	tls_process_fini();
	return 0;
}

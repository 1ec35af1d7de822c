// SPDX-License-Identifier: Apache-2.0
/*
 * Many lookups at once at the mapping's interface, on a real store: COUNT different accounts, or
 * COUNT times the same one. Prints one line of what came back.
 * usage: storm URL POOL TIMEOUT_MS COUNT different|same
 */
#include "base/clock.h"
#include "base/hash.h"
#include "mapping/mapping.h"
#include "tls/tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned answers, mapped;

static void on_reply(struct post *post)
{
	struct mapping_reply *reply = container_of(post, struct mapping_reply, post);

	answers++;
	mapped += reply->answer.choice == MAPPING_MAPPED;
	mapping_reply_free(reply);
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
	static const char *const names[] = { "node1", "node2", NULL };
	struct mapping_params params = { .positive_ttl_ms = 60000,
		.negative_ttl_ms = 60000,
		.stale_grace_ms = 60000,
		.max_entries = 1000000,
		.default_destination = "node1",
		.destinations = names };
	struct mapping_answer answer;
	struct mapping_stats stats;
	struct mapping *mapping;
	unsigned count, waiting = 0;
	struct loop loop;
	uint64_t start;
	char account[64];

	if (argc != 6)
		return 2;
	count = (unsigned)atoi(argv[4]);
	params.lookup_timeout_ms = (uint64_t)atoi(argv[3]);
	params.control = &loop;
	if (tls_process_init() < 0 || hash_seed() < 0 || loop_init(&loop) < 0 ||
		open_store(argv[1], (unsigned)atoi(argv[2]), params.lookup_timeout_ms,
			&params.store) < 0 ||
		mapping_new(&params, &mapping) < 0)
		return 1;
	start = clock_mono_ms();
	for (unsigned i = 0; i < count; i++) {
		snprintf(account, sizeof(account), "user%u", strcmp(argv[5], "same") == 0 ? 0 : i);
		waiting += mapping_lookup(mapping, view_str(account), &loop.mailbox, on_reply, i,
				   &answer) == MAPPING_PENDING;
	}
	while (answers < waiting && clock_mono_ms() - start < 60000) {
		if (loop_run_once(&loop, 1000) < 0)
			return 1;
	}
	mapping_stats(mapping, &stats);
	printf("answers %u mapped %u queries %llu errors %llu ms %llu\n", answers, mapped,
		(unsigned long long)stats.store_queries, (unsigned long long)stats.store_errors,
		(unsigned long long)(clock_mono_ms() - start));
	mapping_free(mapping);
	loop_fini(&loop);
	tls_process_fini();
	return answers == count ? 0 : 1;
}

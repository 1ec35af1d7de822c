// SPDX-License-Identifier: Apache-2.0
/*
 * The cache of mappings under load: a million entries, all workers reading at random while one more
 * thread writes. Prints hits per second of a core's time, so that what else runs on the machine
 * does not count, for the cache alone and through mapping_lookup(), and the memory that an entry
 * takes beyond its identifier.
 * usage: cache [ENTRIES [SECONDS [WORKERS]]]
 */
#include "base/clock.h"
#include "base/hash.h"
#include "mapping/cache.h"
#include "mapping/mapping.h"
#include "measure.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NAME_BYTES 64 /* a cache line */
#define BATCH 1000
#define AHEAD 8

static size_t entries = 1000000;
static unsigned seconds = 5, workers;
static char (*names)[NAME_BYTES];
static uint8_t *lens;
static struct cache *cache;
static struct mapping *mapping;
static struct loop loop;
static atomic_bool stop;

struct reader {
	pthread_t thread;
	uint64_t seed, hits, misses;
	double cpu_s;
	bool through_mapping;
};

static struct view name_at(uint64_t i)
{
	return view_make(names[i % entries], lens[i % entries]);
}

static void on_reply(struct post *post)
{
	mapping_reply_free(container_of(post, struct mapping_reply, post));
}

static bool look(const struct reader *reader, struct view name)
{
	struct mapping_answer answer;
	struct cache_answer got;

	if (!reader->through_mapping)
		return cache_get(cache, name, clock_mono_ms(), &got);
	return mapping_lookup(mapping, name, &loop.mailbox, on_reply, 0, &answer) == MAPPING_HIT;
}

/* Who asks has just read the name: it is brought near in time. */
static void *read_main(void *arg)
{
	struct reader *reader = arg;
	double start = thread_cpu_s();
	uint64_t ahead[AHEAD] = { 0 };

	while (!atomic_load(&stop)) {
		for (int i = 0; i < BATCH; i++) {
			uint64_t name = ahead[i % AHEAD], later = next_random(&reader->seed) >> 20;

			__builtin_prefetch(names[later % entries]);
			__builtin_prefetch(&lens[later % entries]);
			ahead[i % AHEAD] = later;
			if (look(reader, name_at(name)))
				reader->hits++;
			else
				reader->misses++;
		}
	}
	reader->cpu_s = thread_cpu_s() - start;
	return NULL;
}

/* What no cache of this size can be faster than but by chance: one access to memory whose address
 * comes from the one before. */
static double memory_ns(void)
{
	size_t count = entries * 100 / sizeof(uint64_t[8]), at = 0;
	static volatile size_t sink;
	uint64_t(*lines)[8] = aligned_alloc(64, count * sizeof(*lines)), seed = 4711;
	double start;

	if (!lines)
		return 0;
	for (size_t i = 0; i < count; i++)
		lines[i][0] = (next_random(&seed) >> 20) % count;
	start = thread_cpu_s();
	for (size_t i = 0; i < 2000000; i++)
		at = (lines[at][0] + i) % count;
	start = thread_cpu_s() - start;
	sink = at; /* or there would be nothing to compute */
	(void)sink;
	free(lines);
	return start / 2000000 * 1e9;
}

/* What a store's answers do: entries renewed all the time. */
static void *write_main(void *arg)
{
	uint64_t seed = 4711, *writes = arg;

	while (!atomic_load(&stop)) {
		struct view name = name_at(next_random(&seed) >> 20);

		cache_put(cache, name, cache_epoch(cache, name), CACHE_POSITIVE, 1, 3600000,
			clock_mono_ms());
		if (++*writes % 100 == 0)
			usleep(1000); /* a busy store: tens of thousands a second */
	}
	return NULL;
}

static void measure(const char *what, bool through_mapping)
{
	struct reader *readers = calloc(workers, sizeof(*readers));
	uint64_t writes = 0, hits = 0, misses = 0;
	double cpu_s = 0;
	pthread_t writer;

	atomic_store(&stop, false);
	for (unsigned i = 0; i < workers; i++) {
		readers[i].seed = 88172645463325252ull + i;
		readers[i].through_mapping = through_mapping;
		pthread_create(&readers[i].thread, NULL, read_main, &readers[i]);
	}
	pthread_create(&writer, NULL, write_main, &writes);
	sleep(seconds);
	atomic_store(&stop, true);
	pthread_join(writer, NULL);
	for (unsigned i = 0; i < workers; i++) {
		pthread_join(readers[i].thread, NULL);
		hits += readers[i].hits;
		misses += readers[i].misses;
		cpu_s += readers[i].cpu_s;
	}
	free(readers);
	printf("%-15s %.2f million hits per second and core (%u readers, %.0f writes per second, "
	       "%.2f %% misses)\n",
		what, (double)hits / cpu_s / 1e6, workers, (double)writes / seconds,
		100.0 * (double)misses / (double)(hits + misses));
}

static uint64_t fill(void)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < entries; i++) {
		bytes += lens[i];
		cache_put(cache, name_at(i), 0, CACHE_POSITIVE, (uint16_t)(i % 3), 3600000,
			clock_mono_ms());
	}
	return bytes;
}

/* Lookups that miss would have to ask; all are in the cache, which the mapping does not let us fill
 * but by a store that answers at once. */
static void answer(struct store *store, struct store_request *request)
{
	(void)store;
	request->result = STORE_FOUND;
	snprintf(request->value, sizeof(request->value), "node1");
	request->done(request);
}

static void free_nothing(struct store *store)
{
	(void)store;
}

static int fill_mapping(void)
{
	static const struct store_ops ops = {
		.name = "bench", .submit = answer, .free = free_nothing
	};
	static const char *const destinations[] = { "node1", NULL };
	static struct store store = { .ops = &ops };
	struct mapping_params params = { .control = &loop,
		.store = &store,
		.positive_ttl_ms = 3600000,
		.negative_ttl_ms = 3600000,
		.stale_grace_ms = 3600000,
		.lookup_timeout_ms = 60000,
		.max_entries = entries * 2,
		.default_destination = "node1",
		.destinations = destinations };
	struct mapping_answer got;

	if (loop_init(&loop) < 0 || mapping_new(&params, &mapping) < 0)
		return -1;
	for (size_t i = 0; i < entries; i++) {
		if (mapping_lookup(mapping, name_at(i), &loop.mailbox, on_reply, 0, &got) < 0 ||
			(i % BATCH == 0 && loop_run_once(&loop, 0) < 0))
			return -1;
	}
	while (mailbox_run(&loop.mailbox))
		;
	return 0;
}

int main(int argc, char **argv)
{
	struct mallinfo2 before, after;
	uint64_t bytes;

	workers = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
	if (argc > 1)
		entries = strtoull(argv[1], NULL, 10);
	if (argc > 2)
		seconds = (unsigned)atoi(argv[2]);
	if (argc > 3)
		workers = (unsigned)atoi(argv[3]);
	names = aligned_alloc(NAME_BYTES, entries * sizeof(*names));
	lens = calloc(entries, 1);
	if (!names || !lens || !seconds || !workers || hash_seed() < 0)
		return 1;
	for (size_t i = 0; i < entries; i++)
		lens[i] = (uint8_t)snprintf(names[i], NAME_BYTES, "user%zu@example.com", i);
	before = mallinfo2();
	if (cache_new(entries * 2, 3600000, &cache) < 0)
		return 1;
	bytes = fill();
	after = mallinfo2();
	printf("%zu entries, %.1f bytes each beyond the identifier\n", entries,
		(double)(after.uordblks + after.hblkhd - before.uordblks - before.hblkhd - bytes) /
			(double)entries);
	printf("a dependent access to memory of that size takes %.0f ns\n", memory_ns());
	measure("cache", false);
	if (fill_mapping() < 0)
		return 1;
	measure("mapping_lookup", true);
	mapping_free(mapping);
	mailbox_run(&loop.mailbox);
	loop_fini(&loop);
	cache_free(cache);
	free(lens);
	free(names);
	return 0;
}

// SPDX-License-Identifier: Apache-2.0
/*
 * New settings for a mapping that goes on answering (CFG-52): the table of names, the store, the
 * cache's bounds. All on the control thread; workers see names and default through atomics alone.
 * Freeing a store joins its thread, which may be waiting for a name server or a busy database: a
 * thread of its own does that, so that misses do not wait for a store nobody wants any more.
 */
#include "mapping/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- names ---- */

static int find(const struct mapping_names *names, size_t count, const char *name)
{
	for (size_t i = 0; i < count; i++) {
		if (strncmp(names->names[i], name, MAPPING_NAME_BYTES) == 0)
			return (int)i;
	}
	return -1;
}

static size_t count_new(const struct mapping_names *names, const char *const *destinations)
{
	size_t count = 0;

	for (; *destinations; destinations++)
		count += !names || find(names, names->count, *destinations) < 0;
	return count;
}

/* NULL without memory. */
static struct mapping_names *longer(
	struct mapping_names *names, const char *const *destinations, size_t more)
{
	size_t count = names ? names->count : 0;
	struct mapping_names *grown =
		calloc(1, sizeof(*grown) + (count + more) * sizeof(grown->names[0]));

	if (!grown)
		return NULL;
	grown->older = names;
	if (count)
		memcpy(grown->names, names->names, count * sizeof(grown->names[0]));
	for (; *destinations; destinations++) {
		if (find(grown, count, *destinations) < 0)
			snprintf(grown->names[count++], sizeof(grown->names[0]), "%.64s",
				*destinations);
	}
	grown->count = count;
	return grown;
}

int mapping_set_names(struct mapping *mapping, const struct mapping_params *params)
{
	struct mapping_names *names = atomic_load(&mapping->names);
	size_t more = count_new(names, params->destinations);
	struct mapping_names *next = more ? longer(names, params->destinations, more) : names;
	bool *declared = next ? calloc(next->count + 1, sizeof(*declared)) : NULL;
	int index = declared ? find(next, next->count, params->default_destination) : -1;

	if (index < 0 || next->count > UINT16_MAX) {
		free(declared);
		if (next != names)
			free(next);
		return index < 0 && declared ? -EINVAL : -ENOMEM;
	}
	for (const char *const *name = params->destinations; *name; name++)
		declared[find(next, next->count, *name)] = true;
	free(mapping->declared);
	mapping->declared = declared;
	atomic_store(&mapping->names, next);
	atomic_store(&mapping->default_index, (unsigned)index);
	return 0;
}

void mapping_names_free(struct mapping *mapping)
{
	struct mapping_names *names = atomic_load(&mapping->names), *older;

	for (; names; names = older) {
		older = names->older;
		free(names);
	}
	free(mapping->declared);
}

/* ---- stores ---- */

int mapping_use_new(struct mapping *mapping, const struct mapping_params *params)
{
	struct store_use *use = calloc(1, sizeof(*use));

	if (!use)
		return -ENOMEM;
	use->mapping = mapping;
	use->store = params->store;
	use->gone = params->store_gone;
	use->gone_arg = params->store_gone_arg;
	mapping->use = use;
	mapping->store = use->store;
	return 0;
}

static void use_free(struct store_use *use)
{
	list_del(&use->link);
	if (use->gone)
		use->gone(use->gone_arg);
	free(use);
}

static void on_reaped(struct post *post)
{
	struct store_use *use = container_of(post, struct store_use, reaped);

	if (!use->joined)
		pthread_join(use->reaper, NULL);
	use_free(use);
}

static void *reap(void *arg)
{
	struct store_use *use = arg;

	pthread_setname_np(pthread_self(), "store-reaper");
	store_free(use->store);
	use->store = NULL;
	mailbox_send(&use->mapping->control->mailbox, &use->reaped, on_reaped);
	return NULL;
}

/* Nothing is out any more. */
static void start_reaper(struct store_use *use)
{
	use->reaping = pthread_create(&use->reaper, NULL, reap, use) == 0;
	if (use->reaping)
		return;
	store_free(use->store);
	use_free(use);
}

static void retire(struct store_use *use)
{
	use->retired = true;
	list_add_tail(&use->mapping->retired, &use->link);
	if (!use->out)
		start_reaper(use);
}

void mapping_reap_store(
	struct mapping *mapping, struct store *store, void (*gone)(void *arg), void *arg)
{
	struct store_use *use = calloc(1, sizeof(*use));

	if (!use) {
		store_free(store);
		if (gone)
			gone(arg);
		return;
	}
	use->mapping = mapping;
	use->store = store;
	use->gone = gone;
	use->gone_arg = arg;
	retire(use);
}

void mapping_use_done(struct store_use *use)
{
	use->out--;
	if (use->retired && !use->out && !use->mapping->closing)
		start_reaper(use);
}

/* At the end nobody waits for anything: stores that still have requests are freed here, which
 * finishes those; reapers under way have reported. */
static void fini_retired(struct mapping *mapping)
{
	list_for_each (node, &mapping->retired) {
		struct store_use *use = list_entry(node, struct store_use, link);

		if (use->reaping && !use->joined) {
			pthread_join(use->reaper, NULL);
			use->joined = true;
		} else if (!use->reaping) {
			store_free(use->store);
			use->store = NULL;
		}
	}
}

/* Frees those whose last request has been answered; returns whether some are left. */
static bool sweep_retired(struct mapping *mapping)
{
	bool left = false;

	/* NOLINTNEXTLINE(clang-analyzer-unix.Malloc): the one before has left the list */
	list_for_each_safe (node, next, &mapping->retired) {
		struct store_use *use = list_entry(node, struct store_use, link);

		if (!use->reaping && !use->out)
			use_free(use);
		else
			left = true;
	}
	return left;
}

void mapping_use_fini(struct mapping *mapping)
{
	struct store_use *use = mapping->use;

	fini_retired(mapping);
	store_free(use->store);
	use->store = mapping->store = NULL;
	list_add_tail(&mapping->retired, &use->link);
	do { /* results, reapers, and askers that were on their way */
		mailbox_run(&mapping->control->mailbox);
	} while (sweep_retired(mapping));
	mapping->use = NULL;
}

/* ---- everything ---- */

/* The cache's entries of destinations that are no more. */
static void drop_gone(struct mapping *mapping, bool *gone)
{
	const struct mapping_names *names = atomic_load(&mapping->names);

	for (size_t i = 0; i < names->count; i++)
		gone[i] = !mapping->declared[i];
	cache_drop_destinations(mapping->cache, gone);
}

static void take_store(struct mapping *mapping, struct store_use *before)
{
	if (before == mapping->use)
		return;
	retire(before);
	atomic_store(&mapping->down_since_ms, 0); /* nothing is known of the new one */
	atomic_store(&mapping->store_refused, false);
	mapping->store_error[0] = '\0';
	mapping->probing = false;
	mapping_probe_store(mapping);
}

int mapping_reconfigure(
	struct mapping *mapping, const struct mapping_params *params, bool drop_cache)
{
	struct store_use *before = mapping->use;
	size_t count = atomic_load(&mapping->names)->count;
	bool *gone;
	int r = 0;

	gone = calloc(count + count_new(atomic_load(&mapping->names), params->destinations) + 1,
		sizeof(*gone));
	if (!gone)
		return -ENOMEM;
	if (params->store)
		r = mapping_use_new(mapping, params);
	if (r == 0)
		r = mapping_set_names(mapping, params);
	if (r < 0) {
		if (mapping->use != before)
			free(mapping->use);
		mapping->use = before;
		mapping->store = before->store;
		free(gone);
		return r;
	}
	mapping->params = *params;
	atomic_store(&mapping->no_guess, params->no_guess);
	if (drop_cache)
		cache_drop_all(mapping->cache);
	else
		drop_gone(mapping, gone);
	cache_configure(mapping->cache, params->max_entries, params->stale_grace_ms);
	take_store(mapping, before);
	free(gone);
	return 0;
}

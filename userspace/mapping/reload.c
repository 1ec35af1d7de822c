// SPDX-License-Identifier: Apache-2.0
/*
 * New settings for a mapping that goes on answering (CFG-52): the table of names, the store, the
 * cache's bounds. All on the control thread; workers see names and default through atomics alone.
 */
#include "mapping/core.h"

#include <errno.h>
#include <stdlib.h>

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
	mapping_use_retire(before);
	atomic_store(&mapping->down_since_ms, 0); /* nothing is known of the new one */
	atomic_store(&mapping->store_refused, false);
	mapping->store_error[0] = '\0';
	mapping->probing = false;
	mapping_probe_store(mapping);
}

/* What workers and the store's threads look at. Returns 0; or an error, and nothing has changed. */
static int take_params(struct mapping *mapping, const struct mapping_params *params)
{
	struct store_use *before = mapping->use;
	int r = params->store ? mapping_use_new(mapping, params) : 0;

	if (r == 0)
		r = mapping_set_names(mapping, params);
	if (r == 0) {
		mapping->params = *params;
		atomic_store(&mapping->no_guess, params->no_guess);
		return 0;
	}
	if (mapping->use != before)
		free(mapping->use);
	mapping->use = before;
	mapping->store = before->store;
	return r;
}

int mapping_reconfigure(
	struct mapping *mapping, const struct mapping_params *params, bool drop_cache)
{
	struct store_use *before = mapping->use;
	size_t count = atomic_load(&mapping->names)->count;
	bool *gone;
	int r;

	gone = calloc(count +
			mapping_names_missing(atomic_load(&mapping->names), params->destinations) +
			1,
		sizeof(*gone));
	if (!gone)
		return -ENOMEM;
	pthread_mutex_lock(&mapping->lock);
	r = take_params(mapping, params);
	pthread_mutex_unlock(&mapping->lock);
	if (r < 0) {
		free(gone);
		return r;
	}
	if (drop_cache)
		cache_drop_all(mapping->cache);
	else
		drop_gone(mapping, gone);
	cache_configure(mapping->cache, params->max_entries, params->stale_grace_ms);
	take_store(mapping, before);
	free(gone);
	return 0;
}

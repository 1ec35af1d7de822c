// SPDX-License-Identifier: Apache-2.0
/*
 * A store with what is asked of it: one serves, those that a reload replaced finish their queries
 * and go. Freeing a store joins its thread, which may be waiting for a name server or a busy
 * database: a thread of its own does that, so that misses do not wait for a store nobody wants any
 * more. All on the control thread.
 */
#include "mapping/core.h"

#include <errno.h>
#include <stdlib.h>

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

void mapping_use_retire(struct store_use *use)
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
	mapping_use_retire(use);
}

void mapping_use_done(struct store_use *use)
{
	struct mapping *mapping = use->mapping;
	bool last;

	pthread_mutex_lock(&mapping->lock);
	use->out--;
	last = use->retired && !use->out && !mapping->closing;
	pthread_mutex_unlock(&mapping->lock);
	if (last)
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

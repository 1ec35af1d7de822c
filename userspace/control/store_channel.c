// SPDX-License-Identifier: Apache-2.0
/* From a store's thread to the mapping, and from the mapping's events to the log. */
#include "control/store_channel.h"
#include "base/log.h"
#include "control/store_open.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct store_channel {
	pthread_mutex_t lock;
	struct config *config;   /* reference; whose rules the store's identifiers follow */
	struct config *opened;   /* reference; the store looks into it as long as it lives */
	struct mapping *mapping; /* NULL: not attached */
	bool up;                 /* subscribed */
	store_bans_fn *bans;     /* may be NULL */
	void *bans_arg;
};

/* ---- messages ---- */

/* MAP-100: what the store names is normalised as a login is; what cannot be an account is
 * nobody's. */
static void on_key(struct store_channel *channel, struct view identifier)
{
	struct identity identity;

	if (identity_account(&channel->config->identity_rules, identifier, &identity) < 0)
		log_event_limited(LOGL_WARN, "push", "", "text",
			"a message that names no account is ignored", NULL);
	else
		mapping_invalidate(channel->mapping, view_make(identity.account, identity.len));
}

static void on_message(
	struct store_channel *channel, enum store_push_event event, struct view identifier)
{
	switch (event) {
	case STORE_PUSH_UP:
		mapping_expire_all(channel->mapping);
		mapping_set_push(channel->mapping, MAPPING_PUSH_UP);
		log_event(LOGL_INFO, "push_up", NULL);
		break;
	case STORE_PUSH_DOWN:
		mapping_set_push(channel->mapping, MAPPING_PUSH_DOWN);
		log_event(LOGL_WARN, "push_lost", NULL);
		break;
	case STORE_PUSH_KEY:
		on_key(channel, identifier);
		break;
	case STORE_PUSH_ALL:
		mapping_invalidate_all(channel->mapping);
		break;
	case STORE_PUSH_BAN: /* assigns nobody */
		break;
	}
	if (channel->bans && (event == STORE_PUSH_UP || event == STORE_PUSH_BAN))
		channel->bans(channel->bans_arg, event, identifier);
}

/* Any thread: the store's. */
static void on_store_push(void *arg, enum store_push_event event, struct view identifier)
{
	struct store_channel *channel = arg;

	pthread_mutex_lock(&channel->lock);
	if (event == STORE_PUSH_UP || event == STORE_PUSH_DOWN)
		channel->up = event == STORE_PUSH_UP;
	if (channel->mapping)
		on_message(channel, event, identifier);
	pthread_mutex_unlock(&channel->lock);
}

/* ---- life ---- */

int store_channel_open(struct config *config, store_bans_fn *bans, void *bans_arg,
	struct store_channel **ret_channel, struct store **ret_store, char *error,
	size_t error_size)
{
	struct store_channel *channel = calloc(1, sizeof(*channel));
	int r;

	if (!channel)
		return -ENOMEM;
	pthread_mutex_init(&channel->lock, NULL);
	channel->config = config_ref(config);
	channel->opened = config_ref(config);
	channel->bans = bans;
	channel->bans_arg = bans_arg;
	r = store_open(config, on_store_push, channel, ret_store, error, error_size);
	if (r < 0)
		store_channel_free(channel);
	else
		*ret_channel = channel;
	return r;
}

void store_channel_free(void *arg)
{
	struct store_channel *channel = arg;

	if (!channel)
		return;
	pthread_mutex_destroy(&channel->lock);
	config_unref(channel->config);
	config_unref(channel->opened);
	free(channel);
}

void store_channel_attach(
	struct store_channel *channel, struct mapping *mapping, struct config *config)
{
	struct config *before;

	pthread_mutex_lock(&channel->lock);
	before = channel->config;
	channel->config = config_ref(config);
	channel->mapping = mapping;
	if (!store_has_push(config))
		mapping_set_push(mapping, MAPPING_PUSH_NONE);
	else
		mapping_set_push(mapping, channel->up ? MAPPING_PUSH_UP : MAPPING_PUSH_DOWN);
	pthread_mutex_unlock(&channel->lock);
	config_unref(before);
}

void store_channel_detach(struct store_channel *channel)
{
	if (!channel)
		return;
	pthread_mutex_lock(&channel->lock);
	channel->mapping = NULL;
	pthread_mutex_unlock(&channel->lock);
}

/* ---- the mapping ---- */

int store_mapping_params(const struct config *config, struct loop *control,
	struct mapping_params *ret_params, const char ***ret_names)
{
	const char **names = calloc(config->destination_count + 1, sizeof(*names));

	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < config->destination_count; i++)
		names[i] = config->destinations[i].name;
	*ret_params = (struct mapping_params){
		.control = control,
		.positive_ttl_ms = config->mapping.positive_ttl_ms,
		.negative_ttl_ms = config->mapping.negative_ttl_ms,
		.stale_grace_ms = config->mapping.stale_grace_ms,
		.lookup_timeout_ms = config->mapping.lookup_timeout_ms,
		.max_entries = (uint64_t)config->mapping.cache_max_entries,
		.no_guess = config->routing.on_store_failure == CONFIG_FAILURE_UNAVAILABLE,
		.default_destination = config->routing.default_destination,
		.destinations = names,
		.store_gone = store_channel_free,
	};
	*ret_names = names;
	return 0;
}

void store_log_event(void *arg, enum mapping_event event, const char *text, uint64_t outage_ms)
{
	struct log_line line;

	(void)arg;
	switch (event) {
	case MAPPING_STORE_LOST:
		log_event(LOGL_WARN, "store_lost", "error", text, NULL);
		break;
	case MAPPING_STORE_BACK:
		log_start(&line, LOGL_INFO, "store_back");
		log_int(&line, "outage_ms", (int64_t)outage_ms);
		log_end(&line);
		break;
	case MAPPING_UNKNOWN_DESTINATION:
		log_event_limited(
			LOGL_WARN, "unknown_destination", text, "destination", text, NULL);
		break;
	}
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The breaker. State of a node is UP (counting a streak) or DOWN (until a time), and while it is
 * down and the cooldown over, at most one probe is out. A client-attributed probe failure does
 * not start another cooldown by itself: the next session from another client address probes at
 * once, and only two such probes from different addresses do (SES-51).
 */
#include "node/health.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define SOURCES_MAX 1024

struct health {
	pthread_mutex_t lock;
	struct health_params params;
	unsigned failures;
	bool host_failure;
	bool down, probing;
	uint64_t down_until_ms;
	/* probe_client failed as a probe since the cooldown ended; it may not probe again before
	 * blamed_until_ms, or a node with one client would stay down for ever */
	bool probe_blamed;
	struct addr probe_client;
	uint64_t blamed_until_ms;
	struct addr *sources; /* distinct keys of the streak, allocated on demand */
	unsigned source_count, source_cap;
};

int health_new(const struct health_params *params, struct health **ret_health)
{
	struct health *health = calloc(1, sizeof(*health));

	if (!health)
		return -ENOMEM;
	pthread_mutex_init(&health->lock, NULL);
	health->params = *params;
	*ret_health = health;
	return 0;
}

void health_free(struct health *health)
{
	if (!health)
		return;
	pthread_mutex_destroy(&health->lock);
	free(health->sources);
	free(health);
}

void health_set_params(struct health *health, const struct health_params *params)
{
	pthread_mutex_lock(&health->lock);
	health->params = *params;
	pthread_mutex_unlock(&health->lock);
}

static void clear(struct health *health)
{
	health->failures = health->source_count = 0;
	health->host_failure = health->down = health->probe_blamed = false;
	free(health->sources);
	health->sources = NULL;
	health->source_cap = 0;
}

/* Adds a client to the streak; without memory it is not counted, which errs towards "up". */
static void add_source(struct health *health, const struct addr *key)
{
	struct addr *sources;
	unsigned cap;

	for (unsigned i = 0; i < health->source_count; i++) {
		if (addr_eq_ip(&health->sources[i], key))
			return;
	}
	if (health->source_count >= SOURCES_MAX)
		return;
	if (health->source_count == health->source_cap) {
		cap = health->source_cap ? health->source_cap * 2 : 8;
		sources = realloc(health->sources, cap * sizeof(*sources));
		if (!sources)
			return;
		health->sources = sources;
		health->source_cap = cap;
	}
	health->sources[health->source_count++] = *key;
}

static void go_down(struct health *health, uint64_t now_ms)
{
	health->down = true;
	health->probe_blamed = false;
	health->down_until_ms = now_ms + health->params.cooldown_ms;
}

static bool should_trip(const struct health *health)
{
	const struct health_params *params = &health->params;

	if (!params->down_threshold || health->failures < params->down_threshold)
		return false;
	return health->host_failure || !params->down_min_clients ||
		health->source_count >= params->down_min_clients;
}

enum health_gate health_enter(struct health *health, const struct addr *client, uint64_t now_ms)
{
	enum health_gate gate = HEALTH_ALLOW;
	struct addr key;

	addr_limit_key(client, &key);
	pthread_mutex_lock(&health->lock);
	if (health->down) {
		gate = HEALTH_REFUSE;
		if (now_ms >= health->down_until_ms && !health->probing &&
			!(health->probe_blamed && now_ms < health->blamed_until_ms &&
				addr_eq_ip(&key, &health->probe_client))) {
			health->probing = true;
			gate = HEALTH_PROBE;
		}
	}
	pthread_mutex_unlock(&health->lock);
	return gate;
}

static void probe_failed_by_client(struct health *health, const struct addr *key, uint64_t now_ms)
{
	if (health->probe_blamed && !addr_eq_ip(key, &health->probe_client)) {
		go_down(health, now_ms);
		return;
	}
	health->probe_blamed = true;
	health->probe_client = *key;
	health->blamed_until_ms = now_ms + health->params.cooldown_ms;
}

static enum health_change fail(struct health *health, enum health_event event, bool probe,
	const struct addr *key, uint64_t now_ms)
{
	health->failures++;
	add_source(health, key);
	if (event == HEALTH_FAIL_HOST)
		health->host_failure = true;
	if (health->down) {
		if (probe && event == HEALTH_FAIL_HOST)
			go_down(health, now_ms);
		else if (probe)
			probe_failed_by_client(health, key, now_ms);
		return HEALTH_SAME;
	}
	if (!should_trip(health))
		return HEALTH_SAME;
	go_down(health, now_ms);
	return HEALTH_WENT_DOWN;
}

enum health_change health_report(struct health *health, enum health_event event, bool probe,
	const struct addr *client, uint64_t now_ms)
{
	enum health_change change = HEALTH_SAME;
	struct addr key;

	addr_limit_key(client, &key);
	pthread_mutex_lock(&health->lock);
	if (probe)
		health->probing = false;
	if (event == HEALTH_SUCCESS) {
		change = health->down ? HEALTH_WENT_UP : HEALTH_SAME;
		clear(health);
	} else if (event != HEALTH_NONE) {
		change = fail(health, event, probe, &key, now_ms);
	}
	pthread_mutex_unlock(&health->lock);
	return change;
}

void health_status(struct health *health, uint64_t now_ms, struct health_status *ret_status)
{
	pthread_mutex_lock(&health->lock);
	*ret_status = (struct health_status){
		.consecutive_failures = health->failures,
		.failure_sources = health->source_count,
		.host_level_failure = health->host_failure,
		.down = health->down,
		.probing = health->probing,
		.down_for_ms = health->down && health->down_until_ms > now_ms
			? health->down_until_ms - now_ms
			: 0,
	};
	pthread_mutex_unlock(&health->lock);
}

void health_reset(struct health *health)
{
	pthread_mutex_lock(&health->lock);
	clear(health);
	health->probing = false;
	pthread_mutex_unlock(&health->lock);
}

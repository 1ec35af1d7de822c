// SPDX-License-Identifier: Apache-2.0
/* Destinations: references, source addresses, the split of the dial window. */
#include "node/node.h"

#include <errno.h>
#include <stdlib.h>

int node_new(const struct node_params *params, struct node **ret_node)
{
	struct node *node = calloc(1, sizeof(*node));
	int r = -ENOMEM;

	if (!node)
		return r;
	atomic_init(&node->references, 1);
	pthread_mutex_init(&node->failure_lock, NULL);
	node->name = view_dup(view_str(params->name));
	if (!node->name)
		goto fail;
	r = health_new(&params->health, &node->health);
	if (r == 0)
		r = health_new(&params->health, &node->agent);
	if (r < 0)
		goto fail;
	*ret_node = node;
	return 0;
fail:
	node_unref(node);
	return r;
}

struct node *node_ref(struct node *node)
{
	atomic_fetch_add(&node->references, 1);
	return node;
}

void node_unref(struct node *node)
{
	if (!node || atomic_fetch_sub(&node->references, 1) != 1)
		return;
	health_free(node->health);
	health_free(node->agent);
	pthread_mutex_destroy(&node->failure_lock);
	free(node->name);
	free(node);
}

const char *node_step_name(enum node_step step)
{
	static const char *const names[] = {
#define X(name, text) [NODE_STEP_##name] = text,
		NODE_STEPS(X)
#undef X
	};

	return names[step];
}

const char *node_keep_name(enum node_keep why)
{
	static const char *const names[] = {
#define X(name, text) [NODE_KEEP_##name] = text,
		NODE_KEEPS(X)
#undef X
	};

	return names[why];
}

const char *node_agent_name(enum node_agent state)
{
	static const char *const names[] = {
#define X(name, text) [NODE_AGENT_##name] = text,
		NODE_AGENTS(X)
#undef X
	};

	return names[state];
}

enum node_agent node_agent_state(struct node *node, uint64_t now_ms)
{
	uint64_t channels = atomic_load(&node->agent_channels);
	struct health_status status;

	if (!atomic_load(&node->has_agent))
		return NODE_AGENT_NONE;
	if (channels)
		return channels > atomic_load(&node->agent_draining) ? NODE_AGENT_UP
								     : NODE_AGENT_DRAINING;
	health_status(node->agent, now_ms, &status);
	if (status.down)
		return NODE_AGENT_DOWN;
	return atomic_load(&node->agent_rests_until_ms) > now_ms ? NODE_AGENT_RESTING
								 : NODE_AGENT_IDLE;
}

void node_note_failure(struct node *node, const struct node_failure *failure)
{
	atomic_fetch_add(&node->errors[failure->step], 1);
	pthread_mutex_lock(&node->failure_lock);
	node->failure = *failure;
	pthread_mutex_unlock(&node->failure_lock);
}

void node_last_failure(struct node *node, struct node_failure *ret_failure)
{
	pthread_mutex_lock(&node->failure_lock);
	*ret_failure = node->failure;
	pthread_mutex_unlock(&node->failure_lock);
}

void node_forget_failure(struct node *node)
{
	pthread_mutex_lock(&node->failure_lock);
	node->failure = (struct node_failure){ 0 };
	pthread_mutex_unlock(&node->failure_lock);
}

int node_source_next(struct node *node, const struct addr *sources, size_t count, int family,
	struct addr *ret_source)
{
	size_t of_family = 0, wanted;

	if (!count) {
		*ret_source = (struct addr){ 0 };
		return 0;
	}
	for (size_t i = 0; i < count; i++)
		of_family += sources[i].sa.sa_family == family;
	if (!of_family)
		return -EADDRNOTAVAIL;
	wanted = atomic_fetch_add(&node->next_source[family == AF_INET6], 1) % of_family;
	for (size_t i = 0; i < count; i++) {
		if (sources[i].sa.sa_family == family && wanted-- == 0) {
			*ret_source = sources[i];
			break;
		}
	}
	return 0;
}

uint64_t node_connect_budget_ms(uint64_t remaining_ms, bool others_left)
{
	uint64_t budget = others_left ? remaining_ms / 2 : remaining_ms;

	return budget ? budget : 1;
}

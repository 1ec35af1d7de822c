// SPDX-License-Identifier: Apache-2.0
#include "router/known.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- listeners ---- */

int listener_new(const char *name, struct listener **ret_listener)
{
	struct listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return -ENOMEM;
	atomic_init(&listener->references, 1);
	listener->name = strdup(name);
	if (!listener->name) {
		free(listener);
		return -ENOMEM;
	}
	*ret_listener = listener;
	return 0;
}

struct listener *listener_ref(struct listener *listener)
{
	atomic_fetch_add(&listener->references, 1);
	return listener;
}

void listener_unref(struct listener *listener)
{
	if (!listener || atomic_fetch_sub(&listener->references, 1) != 1)
		return;
	free(listener->name);
	free(listener);
}

/* ---- what is known ---- */

struct known_node *known_find_node(const struct known *known, const char *name)
{
	for (size_t i = 0; i < known->node_count; i++) {
		if (strcmp(known->nodes[i].node->name, name) == 0)
			return &known->nodes[i];
	}
	return NULL;
}

struct listener *known_find_listener(const struct known *known, const char *name)
{
	for (size_t i = 0; i < known->listener_count; i++) {
		if (strcmp(known->listeners[i]->name, name) == 0)
			return known->listeners[i];
	}
	return NULL;
}

int known_reserve(struct known *known, size_t nodes, size_t listeners)
{
	struct known_node *more_nodes =
		reallocarray(known->nodes, known->node_count + nodes + 1, sizeof(*more_nodes));
	struct listener **more_listeners;

	if (!more_nodes)
		return -ENOMEM;
	known->nodes = more_nodes;
	more_listeners = reallocarray(
		known->listeners, known->listener_count + listeners + 1, sizeof(*more_listeners));
	if (!more_listeners)
		return -ENOMEM;
	known->listeners = more_listeners;
	return 0;
}

void known_add_node(struct known *known, struct node *node, char *host)
{
	struct known_node *row = known_find_node(known, node->name);

	if (!row) {
		row = &known->nodes[known->node_count++];
		*row = (struct known_node){ .node = node_ref(node) };
	} else if (strcmp(row->host, host) != 0) {
		node_forget_failure(node);
		health_reset(node->agent);
		health_reset(node->health); /* what is known of another machine does not count */
	}
	free(row->host);
	row->host = host;
}

void known_add_listener(struct known *known, struct listener *listener)
{
	if (known_find_listener(known, listener->name) != listener)
		known->listeners[known->listener_count++] = listener_ref(listener);
}

void known_forget(struct known *known)
{
	for (size_t i = 0; i < known->node_count; i++) {
		node_unref(known->nodes[i].node);
		free(known->nodes[i].host);
	}
	for (size_t i = 0; i < known->listener_count; i++)
		listener_unref(known->listeners[i]);
	free(known->nodes);
	free(known->listeners);
	*known = (struct known){ 0 };
}

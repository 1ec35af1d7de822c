// SPDX-License-Identifier: Apache-2.0
/*
 * What outlives snapshots: nodes and listeners, by name, from the first snapshot that declares them
 * to the end of the process, and with them their counters and health. The lists are the control
 * thread's alone.
 */
#ifndef ROUTER_KNOWN_H
#define ROUTER_KNOWN_H

#include "node/node.h"

#include <stdatomic.h>

/* Counters of the listeners of one name. */
struct listener {
	atomic_uint references;
	char *name;
	atomic_uint_fast64_t active, accepted, rejected_limit;
};
/* Returns 0 or -ENOMEM. */
MUST_USE int listener_new(const char *name, struct listener **ret_listener);
struct listener *listener_ref(struct listener *listener);
void listener_unref(struct listener *listener); /* NULL is fine */

/* A node that was declared at any time, with the host it had last. */
struct known_node {
	struct node *node; /* reference */
	char *host;
};

/* Zeroed: nothing yet. */
struct known {
	struct known_node *nodes;
	size_t node_count;
	struct listener **listeners; /* references */
	size_t listener_count;
};

/* NULL: no such name. */
struct known_node *known_find_node(const struct known *known, const char *name);
struct listener *known_find_listener(const struct known *known, const char *name);
/* Room for so many more, so that adding them cannot fail. Returns 0 or -ENOMEM. */
MUST_USE int known_reserve(struct known *known, size_t nodes, size_t listeners);
/* After known_reserve(). Takes host over; another host than before: what was known of its health
 * does not count any more. */
void known_add_node(struct known *known, struct node *node, char *host);
void known_add_listener(struct known *known, struct listener *listener);
void known_forget(struct known *known);

#endif

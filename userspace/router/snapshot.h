// SPDX-License-Identifier: Apache-2.0
/*
 * A configuration with everything built from it. Snapshots are immutable and reference counted. A
 * reload builds the next one; each worker has a reference to the one it works with
 * (session_pool.snapshot), and each session to the one it began with.
 */
#ifndef ROUTER_SNAPSHOT_H
#define ROUTER_SNAPSHOT_H

#include "config/config.h"
#include "route/route.h"
#include "router/known.h"
#include "tls/tls.h"

struct node_legs {
	struct tls_client *tls[PROTOCOLS]; /* NULL on plain legs */
	/* Digest of what tls was made from: the next snapshot takes it over, with its sessions,
	 * only if that is the same (#33). */
	unsigned char trust[PROTOCOLS][TLS_SHA256_SIZE];
	/* To the agent beside the node, which all protocols share; NULL: there is none. */
	struct tls_client *agent;
	unsigned char agent_trust[TLS_SHA256_SIZE];
};

/* What a listener is as an agent: who may come, and, for each protocol that is handed over, the
 * listener as the sessions of that protocol see it. */
struct agent_listener {
	struct tls_auth *auth; /* reference */
	struct config_listener inner[PROTOCOLS_INTERACTIVE];
};

struct snapshot {
	atomic_uint references;
	struct config *config;          /* reference */
	struct tls_server *tls;         /* reference */
	size_t node_count;              /* one per config destination, same order */
	struct node **nodes;            /* references */
	struct node_legs *legs;         /* references */
	struct listener **listeners;    /* references; one per config listener, same order */
	struct agent_listener **agents; /* likewise; NULL where none is */
	char **hosts;                   /* of the nodes; router_adopt() takes them */
	struct addr *own_addrs;         /* what the listeners are bound to, port 0 replaced */
	size_t own_addr_count;
	struct route_table *routes; /* of config->http, by the same index */
};

/* What could not be built, and of which table of the configuration. */
struct build_error {
	char table[160];
	char text[256];
};

/* Builds everything that a configuration needs for serving, but sockets. What is there already is
 * taken over: nodes and listeners by name from what is known, TLS towards nodes where nothing of it
 * has changed from the snapshot before (NULL: there is none). Neither is changed. Control thread.
 * Returns 0 or -errno. */
MUST_USE int snapshot_new(const struct snapshot *before, const struct known *known,
	struct config *config, struct snapshot **ret_snapshot, struct build_error *ret_error);
struct snapshot *snapshot_ref(struct snapshot *snapshot);
void snapshot_unref(struct snapshot *snapshot);
/* Index of a destination, or -1. */
int snapshot_find(const struct snapshot *snapshot, const char *destination);

/* The settings that a snapshot has for a listener; NULL if it has none. */
const struct config_listener *snapshot_listener(
	const struct snapshot *snapshot, const struct listener *listener);
/* What it is as an agent; NULL if it is none. */
const struct agent_listener *snapshot_agent(
	const struct snapshot *snapshot, const struct listener *listener);
/* What the configuration says of the breakers. */
struct health_params snapshot_health(const struct config *config);

#endif

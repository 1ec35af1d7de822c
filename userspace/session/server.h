// SPDX-License-Identifier: Apache-2.0
/*
 * What all workers share: the configuration snapshot with everything built from it, listeners
 * with their counters, the mapping, the host's addresses. Snapshots are immutable and reference
 * counted; the rest lives from start to stop and is atomic or locked, or the control thread's
 * alone. A reload builds the next snapshot; each worker has a reference to the one it works with
 * (session_pool.snapshot), and each session to the one it began with.
 */
#ifndef SESSION_SERVER_H
#define SESSION_SERVER_H

#include "config/config.h"
#include "mapping/mapping.h"
#include "net/resolve.h"
#include "node/node.h"
#include "relay/probe.h"
#include "relay/relay.h"
#include "route/route.h"
#include "session/auth_events.h"
#include "session/holds.h"
#include "session/metrics.h"
#include "tls/tls.h"

#include <stdatomic.h>

struct node_legs {
	struct tls_client *tls[PROTOCOLS]; /* NULL on plain legs */
	/* Digest of what tls was made from: the next snapshot takes it over, with its sessions,
	 * only if that is the same (#33). */
	unsigned char trust[PROTOCOLS][TLS_SHA256_SIZE];
};

/* Counters of the listeners of one name. */
struct listener {
	atomic_uint references;
	char *name;
	atomic_uint_fast64_t active, accepted, rejected_limit;
};
struct listener *listener_ref(struct listener *listener);
void listener_unref(struct listener *listener); /* NULL is fine */

struct snapshot {
	atomic_uint references;
	struct config *config;       /* reference */
	struct tls_server *tls;      /* reference */
	size_t node_count;           /* one per config destination, same order */
	struct node **nodes;         /* references */
	struct node_legs *legs;      /* references */
	struct listener **listeners; /* references; one per config listener, same order */
	char **hosts;                /* of the nodes; server_adopt() takes them */
	struct addr *own_addrs;      /* what the listeners are bound to, port 0 replaced */
	size_t own_addr_count;
	struct route_table *routes; /* of config->http, by the same index */
};

struct server;

/* What could not be built, and of which table of the configuration. */
struct build_error {
	char table[160];
	char text[256];
};

/* Builds everything that a configuration needs for serving, but sockets. What the server knows
 * already is taken over: nodes and listeners by name, TLS towards nodes where nothing of it has
 * changed. The server is not changed. Control thread. Returns 0 or -errno. */
MUST_USE int snapshot_new(const struct server *server, struct config *config,
	struct snapshot **ret_snapshot, struct build_error *ret_error);
struct snapshot *snapshot_ref(struct snapshot *snapshot);
void snapshot_unref(struct snapshot *snapshot);
/* Index of a destination, or -1. */
int snapshot_find(const struct snapshot *snapshot, const char *destination);

/* The settings that a snapshot has for a listener; NULL if it has none. */
const struct config_listener *snapshot_listener(
	const struct snapshot *snapshot, const struct listener *listener);

/* A node that was declared at any time, with the host it had last. */
struct known_node {
	struct node *node; /* reference */
	char *host;
};

struct path_counters {
	atomic_uint_fast64_t active, started, bytes;
};

struct server {
	/* The control thread's alone: */
	struct snapshot *snapshot; /* the newest; reference */
	struct known_node *known_nodes;
	size_t known_node_count;
	struct listener **known_listeners; /* references */
	size_t known_listener_count;
	struct bound **bounds;          /* listen.c */
	struct listener **bound_owners; /* whose they are, same order; known ones */
	size_t bound_count;

	struct mapping *mapping;
	struct holds *holds; /* owned by the control thread, as the mapping */
	struct netlink_addrs *local_addrs;
	unsigned char instance[16];
	unsigned worker_count;
	struct addr admin_addr;
	atomic_bool draining;
	atomic_uint_fast64_t session_numbers;
	atomic_uint_fast64_t active, rejected_limit, auth_failed, held;
	atomic_uint_fast64_t regex_limited;         /* HTTP-51 */
	struct path_counters paths[RELAY_PATHS][2]; /* by enum relay_direction */
	struct session_metrics metrics;
	struct auth_events auth_events;
	struct bpfctl *bpfctl; /* owned; NULL: not usable */
	struct relay_kernel kernel;
	struct relay_probe probe;
};

/* Room for what a snapshot brings, so that server_adopt() cannot fail. Returns 0 or -ENOMEM. */
MUST_USE int server_reserve(struct server *server, const struct snapshot *snapshot);
/* After server_reserve(): makes a snapshot of snapshot_new() the newest; the reference is taken
 * over. Nodes and listeners it brings become known, health follows its settings and begins anew
 * where a host has changed. Control thread. */
void server_adopt(struct server *server, struct snapshot *snapshot);
/* Whether figures of it are shown: it is declared, or still has sessions. Control thread. */
bool server_shows_node(const struct server *server, const struct node *node);
bool server_shows_listener(const struct server *server, const struct listener *listener);
/* Drops the snapshot and all that is known. */
void server_forget(struct server *server);

/* True if addr is one of our own listeners (SES-60). Any thread. */
bool server_is_own_listener(
	const struct server *server, const struct snapshot *snapshot, const struct addr *addr);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * What all workers share: the configuration snapshot with everything built from it, listeners
 * with their counters, the mapping, the host's addresses. Snapshots are immutable and reference
 * counted; the rest lives from start to stop and is atomic or locked.
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
#include "session/holds.h"
#include "session/metrics.h"
#include "tls/tls.h"

#include <stdatomic.h>

struct node_legs {
	struct tls_client *tls[PROTOCOLS]; /* NULL on plain legs */
};

struct snapshot {
	atomic_uint references;
	struct config *config;  /* reference */
	struct tls_server *tls; /* reference */
	size_t node_count;      /* one per config destination, same order */
	struct node **nodes;
	struct node_legs *legs;
	struct route_table *routes; /* of config->http, by the same index */
};

/* Builds everything that a configuration needs for serving. error: text for the operator.
 * Returns 0 or -errno. */
MUST_USE int snapshot_new(
	struct config *config, struct snapshot **ret_snapshot, char *error, size_t error_size);
struct snapshot *snapshot_ref(struct snapshot *snapshot);
void snapshot_unref(struct snapshot *snapshot);
/* Index of a destination, or -1. */
int snapshot_find(const struct snapshot *snapshot, const char *destination);

/* One bound address of one listener; fds[i] belongs to worker i. */
struct listener_bind {
	struct addr addr; /* as bound: port 0 replaced */
	int *fds;
};

struct listener {
	const char *name;
	size_t index; /* in config->listeners */
	size_t bind_count;
	struct listener_bind *binds;
	atomic_uint_fast64_t active, accepted, rejected_limit;
};

struct path_counters {
	atomic_uint_fast64_t active, started, bytes;
};

struct server {
	struct snapshot *snapshot;
	struct mapping *mapping;
	struct holds *holds; /* owned by the control thread, as the mapping */
	struct netlink_addrs *local_addrs;
	unsigned char instance[16];
	unsigned worker_count;
	size_t listener_count;
	struct listener *listeners;
	struct addr admin_addr;
	atomic_bool draining;
	atomic_uint_fast64_t session_numbers;
	atomic_uint_fast64_t active, rejected_limit, auth_failed, held;
	atomic_uint_fast64_t regex_limited;         /* HTTP-51 */
	struct path_counters paths[RELAY_PATHS][2]; /* by enum relay_direction */
	struct session_metrics metrics;
	struct bpfctl *bpfctl; /* owned; NULL: not usable */
	struct relay_kernel kernel;
	struct relay_probe probe;
};

/* True if addr is one of our own listeners (SES-60). */
bool server_is_own_listener(const struct server *server, const struct addr *addr);

#endif

// SPDX-License-Identifier: Apache-2.0
/* Private to ctl/: what homingctl drain is made of. On top the command (drain.c); below it moving
 * many accounts at a time (drain_run.c) and asking the routers (drain_ask.c), side by side; both
 * take steps (drain_announce.c) and keep lists of names (drain_names.c). */
#ifndef CTL_DRAIN_H
#define CTL_DRAIN_H

#include "ctl/ctl.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---- drain_names.c ---- */

/* Names, each owned, that fit into memory: an account takes some forty bytes. */
struct drain_names {
	char **names;
	size_t count, cap;
};

MUST_USE int drain_names_add(struct drain_names *names, const char *name); /* 0 or -ENOMEM */
void drain_names_sort(struct drain_names *names);                          /* each once */
bool drain_names_has(const struct drain_names *names, const char *name);   /* sorted ones */
void drain_names_free(struct drain_names *names);

#define DRAIN_ID_BYTES 32

struct drain_failure {
	char *account;
	char error[CTL_ERROR_BYTES];
};

struct drain {
	struct ctl *ctl;
	const char *node, *hold;
	unsigned rate; /* accounts per second */
	struct drain_names targets;
	unsigned turn; /* of the next target */
	/* Set by SIGINT and SIGTERM; lock-free, as a signal handler needs it. */
	const atomic_bool *stop;

	/* What each router knows the drain by, "" if it does not: drain_announce.c. */
	pthread_mutex_t ids_lock;
	char ids[CTL_ROUTERS_MAX][DRAIN_ID_BYTES + 1];
	size_t announced; /* accounts */

	/* One pass; lock guards all of it while workers run. */
	pthread_mutex_t lock;
	const struct drain_names *accounts;
	size_t next;
	uint64_t next_at_us; /* when the next may begin, monotonic */
	unsigned in_row;     /* failures without a success between them */
	bool broken;         /* too many of those */
	size_t moved;
	struct drain_failure *failures;
	size_t failure_count;
};

/* To be stopped: nothing new is begun. Any thread. */
static inline bool drain_is_stopped(const struct drain *drain)
{
	return atomic_load(drain->stop);
}

/* ---- drain_ask.c ---- Each returns an exit code; what was wrong has been printed. */

/* The node and the targets are declared on every router, whose stores can list and be written;
 * without targets: all other nodes that none of them holds for down. */
int drain_check(struct drain *drain);
/* All accounts that the store assigns to the node now, sorted, once each. */
int drain_list(struct drain *drain, struct drain_names *ret_names);
/* Sessions on the node of accounts that are assigned elsewhere are ended, as after a move that was
 * interrupted. Then counts what is left of sessions on it, after a while at most. */
int drain_sweep(struct drain *drain, size_t *ret_sessions);

/* ---- drain_announce.c ---- */

/* Tells the routers what is to be drained, so that they need not log each step of each account. One
 * that takes no announcements is drained all the same. */
void drain_announce(struct drain *drain, size_t accounts);
void drain_announce_end(struct drain *drain);
/* A step on all routers, tried again up to `attempts` times each. Any thread. */
int drain_step(struct drain *drain, enum ctl_move_step step, const char *account, const char *node,
	unsigned attempts, char error[CTL_ERROR_BYTES]);

/* ---- drain_run.c ---- */

/* Moves accounts until all are done, it is to stop, or too many failures in a row. Adds to moved
 * and failures. Prints progress. Returns 0 or -errno (no thread). */
MUST_USE int drain_run(struct drain *drain, const struct drain_names *accounts);

#endif

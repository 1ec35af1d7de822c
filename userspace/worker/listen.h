// SPDX-License-Identifier: Apache-2.0
/*
 * The listening sockets: one per address and worker, bound by the control thread at start and for a
 * reload, then handed to the workers. An address that a reload keeps keeps its sockets, whatever
 * listener it belongs to afterwards (CFG-54).
 */
#ifndef WORKER_LISTEN_H
#define WORKER_LISTEN_H

#include "router/router.h"

/* One bound address. Workers know it as a mark by which they find their socket again. */
struct bound {
	struct addr wanted, addr; /* as configured; as bound: port 0 replaced */
	unsigned fd_count;
	int fds[]; /* one for each worker, owned until it is handed over (then -1) */
};

/* The addresses of a snapshot: those that are kept, and new ones that are bound already. */
struct listen_plan {
	struct listen_item {
		struct bound *bound;
		struct listener *listener; /* borrowed from the snapshot */
		bool fresh;
	} *items;
	size_t count;
	bool only_tried;                  /* nobody can connect; only to be discarded */
	struct bound **bounds, **dropped; /* room for what the switch needs */
	struct listener **owners;
};

/* Binds what the server has not bound yet and writes the snapshot's own_addrs. only_try: does not
 * listen there, since an address may be part of a wildcard that serves, and whoever connects would
 * be reset with the plan (GRD-32). On failure nothing stays bound. Returns 0 or -errno. Control
 * thread, as all of this. */
MUST_USE int listen_plan(const struct router *router, struct snapshot *snapshot, bool only_try,
	struct listen_plan *ret_plan, struct build_error *ret_error);
/* Closes what was bound for the plan. */
void listen_discard(struct listen_plan *plan);
/* The server's addresses are those of the plan from now on, which is emptied. Those that are
 * dropped are returned, NULL-terminated, to be freed with listen_free_dropped() once no worker
 * knows them any more. */
struct bound **listen_commit(struct router *router, struct listen_plan *plan);
void listen_free_dropped(struct bound **dropped); /* NULL is fine */
/* Gives the sockets to the user that will bind further ones, so that a wildcard address and one of
 * its addresses can take turns in a reload. As root. */
void listen_give_to(const struct listen_plan *plan, uid_t uid, gid_t gid);
/* All that is bound. */
void listen_close_all(struct router *router);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * One thread, one epoll loop, its own SO_REUSEPORT listening sockets, its sessions. Other threads
 * reach it through its mailbox alone (worker_shut_down, worker_kill).
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "worker/listen.h"
#include "session/session.h"

#include <pthread.h>

struct worker;

struct worker_socket {
	struct list_node link; /* worker->sockets */
	struct loop_staged staged;
	struct worker *worker;
	const struct bound *bound; /* whose socket it is; a mark, not looked into */
	struct listener *listener; /* of the worker's snapshot */
	int fd;                    /* owned */
	bool crowded;              /* more than one came at a time */
	uint64_t accepted_ms;      /* when somebody came last */
};

struct worker {
	struct router *router;
	unsigned index;
	pthread_t thread;
	bool started, joined;
	struct loop loop;
	struct session_pool pool;
	struct list_node sockets;
	struct timer resume_timer;
	bool paused, short_of_fds;
	bool reported_empty;
	struct post shutdown_post, kill_post, empty_post;
	struct mailbox *control;
	post_fn *on_empty; /* run by the control loop with empty_post */
};

/* control and on_empty: where and how a worker that shuts down reports that it is empty. Returns 0
 * or -errno. */
MUST_USE int worker_start(struct worker *worker, struct router *router, unsigned index,
	struct mailbox *control, post_fn *on_empty);
/* Any thread, once each: stop accepting and end what has not logged in; end everything and stop. */
void worker_shut_down(struct worker *worker);
void worker_kill(struct worker *worker);
/*
 * Something that the control thread wants done on a worker's thread. Embedded in its payload, which
 * belongs to the worker from worker_call() until done is called on the control loop.
 */
struct worker_call {
	struct post post;
	struct mailbox *reply_to;
	void (*run)(struct worker_call *call, struct session_pool *pool); /* NULL pool: it stops */
	void (*done)(struct worker_call *call);
};
/* Returns false, with nothing called, if the worker has stopped. */
MUST_USE bool worker_call(struct worker *worker, struct worker_call *call);

/*
 * A worker's share of a switch to another snapshot: in one step it stops accepting on addresses
 * that are gone, having accepted who was waiting there, and starts on new ones; new sessions begin
 * with the snapshot. Made before the switch, so that the switch cannot fail.
 */
struct worker_follow {
	struct worker_call call; /* run is set; done and arg are the sender's */
	void *arg;
	struct snapshot *snapshot;
	size_t count;
	struct worker_follow_item {
		const struct bound *bound;
		struct listener *listener;
		struct worker_socket *fresh; /* NULL: the worker has it */
	} items[];
};
/* Takes the worker's new sockets out of the plan. NULL without memory. */
struct worker_follow *worker_follow_new(
	unsigned worker, struct snapshot *snapshot, const struct listen_plan *plan);
void worker_follow_free(struct worker_follow *follow); /* NULL is fine */

/* LIB-9: how workers keep up with those who log in, all together. */
struct worker_load {
	uint64_t full_turns; /* used up their time, and left work */
	uint64_t waiting;    /* connections of logins with something to do, after the last turn */
	uint64_t oldest_ms;  /* for how long the oldest of them has been waiting */
};
/* Any thread. */
struct worker_load workers_load(const struct worker *workers, unsigned count);

/* After worker_kill(): waits for the thread. Its mailbox stays (closed) until worker_fini(), so
 * that whoever still answers a lookup may try to. */
void worker_join(struct worker *worker);
void worker_fini(struct worker *worker);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * One thread, one epoll loop, its own SO_REUSEPORT listening sockets, its sessions. Other threads
 * reach it through its mailbox alone (worker_drain, worker_kill).
 */
#ifndef WORKER_H
#define WORKER_H

#include "session/session.h"

#include <pthread.h>

struct worker;

/* Posted to the control loop when a draining worker has no session left, and again never. */
typedef void worker_empty_fn(struct worker *worker, void *arg);

struct worker_socket {
	struct loop_watch watch;
	struct worker *worker;
	struct listener *listener;
	int fd; /* owned */
};

struct worker {
	struct server *server;
	unsigned index;
	pthread_t thread;
	bool started, joined;
	struct loop loop;
	struct session_pool pool;
	struct worker_socket *sockets;
	size_t socket_count;
	struct timer resume_timer;
	bool paused, short_of_fds;
	bool reported_empty;
	struct post drain_post, kill_post, empty_post;
	struct mailbox *control;
	post_fn *on_empty; /* run by the control loop with empty_post */
};

/* control and on_empty: where and how an empty draining worker reports. Returns 0 or -errno. */
MUST_USE int worker_start(struct worker *worker, struct server *server, unsigned index,
	struct mailbox *control, post_fn *on_empty);
/* Any thread, once each: stop accepting and end what has not logged in; end everything and stop. */
void worker_drain(struct worker *worker);
void worker_kill(struct worker *worker);
/* After worker_kill(): waits for the thread. Its mailbox stays (closed) until worker_fini(), so
 * that whoever still answers a lookup may try to. */
void worker_join(struct worker *worker);
void worker_fini(struct worker *worker);

#endif

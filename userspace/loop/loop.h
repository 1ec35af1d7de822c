// SPDX-License-Identifier: Apache-2.0
/*
 * One epoll loop per thread. Epoll carries a handle (slot and generation), never a pointer: an
 * event for a watch that was removed in the same batch finds another generation and is dropped,
 * so a watch may be removed and its owner freed at any point, except by its own callback, which
 * uses loop_defer() when frames above still need the owner.
 * What carries a login has a stage and waits for its turn (stages.h): all the rest goes first.
 * Everything here belongs to the loop's thread, but its mailbox (post.h), which any thread may send
 * to, and what it says of itself in atomic numbers.
 */
#ifndef LOOP_LOOP_H
#define LOOP_LOOP_H

#include "base/compiler.h"
#include "base/list.h"
#include "loop/post.h"
#include "loop/timer.h"

#include <stdatomic.h>

#include <stdbool.h>
#include <sys/epoll.h>

struct loop_watch;
typedef void loop_watch_fn(struct loop_watch *watch, uint32_t epoll_events);

/* Embedded in its owner (container_of); zeroed = not watching. Does not own fd. */
struct loop_watch {
	loop_watch_fn *fn;
	struct loop *loop; /* NULL when not watching */
	uint32_t slot : 28;
	uint32_t stage : 4; /* enum loop_stage; not LOOP_AT_ONCE: it is that of a loop_staged */
	uint32_t events;
};

/* LIB-8: what is done first of the events of one wait, and in which order the rest: the nearer a
 * login is to its end, the sooner. */
enum loop_stage {
	LOOP_AT_ONCE,   /* a session after its login, and all that is no login */
	LOOP_ANSWER,    /* the node talks, or its answer goes to the client */
	LOOP_SECURE,    /* TLS to the node has begun */
	LOOP_DIAL,      /* connecting to it */
	LOOP_TALK,      /* the client's commands */
	LOOP_HANDSHAKE, /* the client's TLS has begun */
	LOOP_HELLO,     /* its first bytes, and what comes before them */
	LOOP_ACCEPT,
	LOOP_STAGES
};

/* A watch whose events wait for their turn, embedded in its owner. */
struct loop_staged {
	struct loop_watch watch;
	struct list_node ready; /* in its stage's list: something has happened */
	uint32_t events;        /* that */
	bool muted;             /* epoll has been told not to repeat it */
	uint64_t since_ms;      /* of loop->now_ms */
};

struct loop_deferred;
typedef void loop_deferred_fn(struct loop_deferred *deferred);
struct loop_deferred {
	struct loop_deferred *next;
	loop_deferred_fn *fn;
};

struct loop_slot {
	struct loop_watch *watch; /* NULL: free */
	uint32_t generation;
	union {
		int fd; /* the watch's */
		uint32_t next_free;
	};
};

/* See stages.h. */
struct loop_stages {
	struct list_node ready[LOOP_STAGES];
	uint32_t waiting;   /* in these lists, of all stages but LOOP_ACCEPT */
	uint64_t budget_ns; /* of one turn */
	uint64_t until_ns;  /* when that of this turn is used up */
	uint64_t now_ns;    /* when loop_has_time() was last asked */
	bool used_up;       /* it was, with work left */
	/* For other threads: turns that used up their budget; what waits since the last turn, and
	 * the time (as loop->now_ms) from which on the oldest of it does, 0: nothing. */
	atomic_uint_fast64_t full_turns, left, oldest_ms;
};

struct loop {
	int epoll_fd;
	bool stop;
	struct loop_slot *slots;
	uint32_t slot_count, first_free;
	uint64_t now_ms; /* monotonic, read once per batch */
	uint64_t turn;   /* batches within now_ms, before this one */
	struct timer_heap timers;
	int alarm_fd;      /* a timer of the kernel's: in a wait no later than the first of these */
	uint64_t alarm_ms; /* when it goes off */
	struct loop_watch alarm_watch;
	struct mailbox mailbox;
	struct loop_watch mailbox_watch;
	struct loop_deferred *deferred;
	/* NULL; or held by the loop's thread whenever it does not wait, so that another thread that
	 * holds it may do what is the loop's thread's alone, and ends with loop_guest_done(). Set
	 * before the loop runs, borrowed, locked by who calls loop_run(). */
	pthread_mutex_t *guard;
	struct loop_stages stages;
	/* For other threads to look at: odd while it works on a batch, another number each time
	 * that begins or ends; and what it works on, as loop_work_on() was told. */
	atomic_uint_fast64_t pulse, subject;
};

/* Notes what the caller works on until the end of the batch: a number of its own meaning, or 0. Any
 * thread may read it from loop->subject; one plain store. */
static inline void loop_work_on(struct loop *loop, uint64_t subject)
{
	atomic_store_explicit(&loop->subject, subject, memory_order_relaxed);
}

MUST_USE int loop_init(struct loop *loop);
/* Drops pending messages and deferred calls without running them. */
void loop_fini(struct loop *loop);

/* Runs until loop_stop(). Returns 0 or -errno. */
MUST_USE int loop_run(struct loop *loop);
/* One batch: waits at most max_wait_ms (-1 = until something happens). Returns 0 or -errno. */
MUST_USE int loop_run_once(struct loop *loop, int max_wait_ms);
void loop_stop(struct loop *loop);
/* Another thread, which holds the guard, has set timers: the loop wakes up in time for them. */
void loop_guest_done(struct loop *loop);

/* Starts watching fd (EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLET ...). Returns 0 or -errno. */
MUST_USE int loop_watch_add(
	struct loop *loop, struct loop_watch *watch, int fd, uint32_t events, loop_watch_fn *fn);
/* Changes the mask; no system call if it stays the same. Returns 0 or -errno. */
MUST_USE int loop_watch_set(struct loop_watch *watch, uint32_t events);
/* From now on it belongs to this stage: also what has happened already, and when it is removed and
 * added again. It may be watching or not. */
void loop_watch_set_stage(struct loop_staged *staged, enum loop_stage stage);
/* For who has a lot to do in one call: whether the budget of this turn's logins has some left. */
bool loop_has_time(struct loop *loop);
/* What it watches; -1: nothing. */
static inline int loop_watch_fd(const struct loop_watch *watch)
{
	return watch->loop ? watch->loop->slots[watch->slot].fd : -1;
}
/* What epoll carries of it. */
static inline uint64_t loop_watch_handle(const struct loop_watch *watch)
{
	return (uint64_t)watch->loop->slots[watch->slot].generation << 32 | watch->slot;
}
/* Call before closing the descriptor. A watch that is not watching is left alone. */
void loop_watch_del(struct loop_watch *watch);
/* Likewise, for a descriptor that is about to be closed and has no duplicate: no system call. */
void loop_watch_forget(struct loop_watch *watch);
/* From now on what happens on the descriptor goes to another watch, which takes over the mask; no
 * system call. `watch` is watching before and not after. */
void loop_watch_move(struct loop_watch *watch, struct loop_watch *to, loop_watch_fn *fn);

/* Runs fn at the end of the current batch, when no callback is on the stack. */
void loop_defer(struct loop *loop, struct loop_deferred *deferred, loop_deferred_fn *fn);

/* Arms (or re-arms) a timer to run once in_ms from now; 0 = in the next batch, which then does not
 * wait, in the order of arming not assured. Cannot fail. */
void loop_timer_set(struct loop *loop, struct timer *timer, uint64_t in_ms, timer_fn *fn);
void loop_timer_del(struct loop *loop, struct timer *timer);

#endif

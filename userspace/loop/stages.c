// SPDX-License-Identifier: Apache-2.0
#include "loop/stages.h"
#include "base/clock.h"

/* With one of each stage on top it is what a session may have to wait for: some handshakes' steps.
 * A turn costs a hundredth of that. */
#define BUDGET_NS 500000
/* So long sessions wait for logins: then epoll is asked again. */
#define LOOK_NS 150000
/* Above so many that wait, epoll is not to repeat itself. */
#define LOUD 128

void stages_init(struct loop_stages *stages)
{
	*stages = (struct loop_stages){ .budget_ns = BUDGET_NS };
	for (int i = 0; i < LOOP_STAGES; i++)
		list_init(&stages->ready[i]);
}

static void join(struct loop_staged *staged)
{
	struct loop_stages *stages = &staged->watch.loop->stages;

	list_add_tail(&stages->ready[staged->watch.stage], &staged->ready);
	stages->waiting += staged->watch.stage != LOOP_ACCEPT;
}

static void leave(struct loop_staged *staged)
{
	list_del(&staged->ready);
	staged->watch.loop->stages.waiting -= staged->watch.stage != LOOP_ACCEPT;
}

/* Muted, it is told of once more, and then when something new happens. Only what is in a list is
 * muted, so nothing is lost. */
static void set_muted(struct loop_staged *staged, bool muted)
{
	struct loop_watch *watch = &staged->watch;
	struct epoll_event event = { .events = watch->events | (muted ? (uint32_t)EPOLLET : 0) };

	if (staged->muted == muted)
		return;
	event.data.u64 = loop_watch_handle(watch);
	staged->muted = epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, loop_watch_fd(watch),
				&event) == 0 &&
		muted;
}

void stages_put(struct loop_watch *watch, uint32_t epoll_events)
{
	struct loop_staged *staged = container_of(watch, struct loop_staged, watch);

	staged->events = epoll_events;
	if (!list_linked(&staged->ready)) {
		staged->since_ms = watch->loop->now_ms;
		join(staged);
	} else if (watch->loop->stages.waiting > LOUD) {
		set_muted(staged, true);
	}
}

void stages_drop(struct loop_watch *watch)
{
	struct loop_staged *staged = container_of(watch, struct loop_staged, watch);

	if (!watch->stage)
		return;
	staged->muted = false;
	if (list_linked(&staged->ready))
		leave(staged);
}

void stages_leave(struct loop_watch *watch)
{
	if (watch->stage)
		set_muted(container_of(watch, struct loop_staged, watch), false);
	stages_drop(watch);
}

void stages_set(struct loop_watch *watch)
{
	container_of(watch, struct loop_staged, watch)->muted = false;
}

void loop_watch_set_stage(struct loop_staged *staged, enum loop_stage stage)
{
	bool was_ready = staged->watch.stage && list_linked(&staged->ready);

	if (staged->watch.stage == stage)
		return;
	if (was_ready)
		leave(staged);
	if (stage == LOOP_AT_ONCE)
		set_muted(staged, false);
	staged->watch.stage = stage;
	if (was_ready && stage != LOOP_AT_ONCE) /* else epoll tells it again */
		join(staged);
}

bool loop_has_time(struct loop *loop)
{
	struct loop_stages *stages = &loop->stages;

	stages->now_ns = clock_mono_ns();
	stages->used_up = stages->used_up || stages->now_ns >= stages->until_ns;
	return !stages->used_up;
}

/* Calls the first of a list. What has been asked for no more since it was told is left out; returns
 * whether anything was left. */
static bool run_first(struct list_node *ready)
{
	struct loop_staged *staged = list_entry(ready->next, struct loop_staged, ready);
	struct loop_watch *watch = &staged->watch;
	uint32_t events = staged->events & (watch->events | EPOLLERR | EPOLLHUP);

	leave(staged);
	set_muted(staged, false);
	if (events)
		watch->fn(watch, events);
	return events != 0;
}

static void tell(struct loop_stages *stages)
{
	uint64_t oldest_ms = stages->waiting ? UINT64_MAX : 0;

	for (int i = LOOP_AT_ONCE + 1; i < LOOP_ACCEPT; i++) {
		struct list_node *first = stages->ready[i].next;

		if (!list_empty(&stages->ready[i]))
			oldest_ms = MIN(
				oldest_ms, list_entry(first, struct loop_staged, ready)->since_ms);
	}
	atomic_store_explicit(&stages->oldest_ms, oldest_ms, memory_order_relaxed);
	atomic_store_explicit(&stages->left, stages->waiting, memory_order_relaxed);
	if (stages->used_up)
		atomic_fetch_add_explicit(&stages->full_turns, 1, memory_order_relaxed);
}

/* What sessions take then is none of the logins' time. Returns when it ended. */
static uint64_t look_meanwhile(
	struct loop_stages *stages, struct loop *loop, void (*look)(struct loop *loop))
{
	uint64_t began_ns = stages->now_ns;

	look(loop);
	stages->now_ns = clock_mono_ns();
	stages->until_ns += stages->now_ns - began_ns;
	return stages->now_ns;
}

void stages_run(struct loop *loop, void (*look)(struct loop *loop))
{
	struct loop_stages *stages = &loop->stages;
	uint64_t looked_ns;

	if (!stages_wait(stages)) {
		if (atomic_load_explicit(&stages->left, memory_order_relaxed))
			tell(stages); /* what was left is gone */
		return;
	}
	stages->used_up = false;
	looked_ns = clock_mono_ns();
	stages->until_ns = looked_ns + stages->budget_ns;
	for (int i = LOOP_AT_ONCE + 1; i < LOOP_STAGES; i++) {
		struct list_node *ready = &stages->ready[i];
		bool had_one = false;

		while (!list_empty(ready) && (loop_has_time(loop) || !had_one)) {
			if (stages->now_ns - looked_ns >= LOOK_NS) {
				looked_ns = look_meanwhile(stages, loop, look);
				if (list_empty(ready))
					break; /* a session has ended them all */
			}
			had_one |= run_first(ready);
		}
	}
	tell(stages);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * The epoll loop. A batch is: events, then what logins have to do, within their budget, then due
 * timers, then deferred calls. Slots are reused, and each reuse has a new generation, which is what
 * makes stale events harmless.
 */
#include "loop/loop.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/slots.h"
#include "loop/stages.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define BATCH_EVENTS 256
#define NO_SLOT UINT32_MAX

/* A timer's time is milliseconds and, below them, the batch within the millisecond: a timer for now
 * is due in the next batch, without a wait, and not in this one. */
#define TURN_BITS 16
#define NO_ALARM (UINT64_MAX >> TURN_BITS) /* ms of a timer that is not there */

static void on_mailbox(struct loop_watch *watch, uint32_t epoll_events)
{
	struct loop *loop = container_of(watch, struct loop, mailbox_watch);

	(void)epoll_events;
	mailbox_run(&loop->mailbox);
}

/* ---- the alarm ---- */

static void on_alarm(struct loop_watch *watch, uint32_t epoll_events)
{
	struct loop *loop = container_of(watch, struct loop, alarm_watch);

	(void)epoll_events;
	loop->alarm_ms = NO_ALARM; /* whatever our clock says */
}

/*
 * What wakes the loop for its first timer. A time given to epoll would be a timer that the kernel
 * makes and removes in each wait; this one stays, and is set again when a timer comes before it. So
 * it may go off when nothing is due any more, once. Nobody reads it: epoll tells each time anew.
 */
static int alarm_init(struct loop *loop)
{
	loop->alarm_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (loop->alarm_fd < 0)
		return -errno;
	return loop_watch_add(
		loop, &loop->alarm_watch, loop->alarm_fd, EPOLLIN | EPOLLET, on_alarm);
}

/* In time for at_ms. Returns 0 or -errno. */
static int alarm_set(struct loop *loop, uint64_t at_ms)
{
	struct itimerspec at = { .it_value = { .tv_sec = (time_t)(at_ms / 1000),
					 .tv_nsec = (long)(at_ms % 1000) * 1000000 } };

	if (at_ms >= loop->alarm_ms)
		return 0;
	if (timerfd_settime(loop->alarm_fd, TFD_TIMER_ABSTIME, &at, NULL) < 0)
		return -errno;
	loop->alarm_ms = at_ms;
	return 0;
}

/* ---- the loop ---- */

int loop_init(struct loop *loop)
{
	int r;

	*loop = (struct loop){ .first_free = NO_SLOT,
		.now_ms = clock_mono_ms(),
		.alarm_fd = -1,
		.alarm_ms = NO_ALARM };
	loop->mailbox.event_fd = -1;
	stages_init(&loop->stages);
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return -errno;
	r = alarm_init(loop);
	if (r == 0)
		r = mailbox_init(&loop->mailbox);
	if (r == 0)
		r = loop_watch_add(loop, &loop->mailbox_watch, loop->mailbox.event_fd,
			EPOLLIN | EPOLLET, on_mailbox);
	if (r < 0)
		loop_fini(loop);
	return r;
}

void loop_fini(struct loop *loop)
{
	if (loop->epoll_fd < 0)
		return;
	loop_watch_del(&loop->alarm_watch);
	loop_watch_del(&loop->mailbox_watch);
	mailbox_fini(&loop->mailbox);
	fd_closep(&loop->alarm_fd);
	close(loop->epoll_fd);
	loop->epoll_fd = -1;
	free(loop->slots);
	loop->slots = NULL;
	loop->slot_count = 0;
	loop->deferred = NULL;
}

static int slots_grow(struct loop *loop)
{
	uint32_t count = slots_more(loop->slot_count);
	struct loop_slot *slots = realloc(loop->slots, count * sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = loop->slot_count; i < count; i++)
		slots[i] = (struct loop_slot){ .next_free = i + 1 < count ? i + 1 : NO_SLOT };
	loop->first_free = loop->slot_count;
	loop->slots = slots;
	loop->slot_count = count;
	return 0;
}

int loop_watch_add(
	struct loop *loop, struct loop_watch *watch, int fd, uint32_t events, loop_watch_fn *fn)
{
	struct epoll_event event = { .events = events };
	struct loop_slot *slot;
	int r;

	if (loop->first_free == NO_SLOT) {
		r = slots_grow(loop);
		if (r < 0)
			return r;
	}
	*watch = (struct loop_watch){ .fn = fn,
		.loop = loop,
		.slot = loop->first_free,
		.stage = watch->stage,
		.events = events };
	slot = &loop->slots[watch->slot];
	event.data.u64 = loop_watch_handle(watch);
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		r = -errno;
		*watch = (struct loop_watch){ .stage = watch->stage };
		return r;
	}
	loop->first_free = slot->next_free;
	slot->fd = fd;
	slot->watch = watch;
	return 0;
}

int loop_watch_set(struct loop_watch *watch, uint32_t events)
{
	struct epoll_event event = { .events = events };

	if (events == watch->events)
		return 0;
	event.data.u64 = loop_watch_handle(watch);
	if (epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_MOD, loop_watch_fd(watch), &event) < 0)
		return -errno;
	watch->events = events;
	if (watch->stage)
		stages_set(watch);
	return 0;
}

void loop_watch_forget(struct loop_watch *watch)
{
	struct loop *loop = watch->loop;
	struct loop_slot *slot;

	if (!loop)
		return;
	stages_drop(watch);
	slot = &loop->slots[watch->slot];
	slot->watch = NULL;
	slot->generation++;
	slot->next_free = loop->first_free;
	loop->first_free = watch->slot;
	watch->loop = NULL;
	watch->fn = NULL;
}

void loop_watch_del(struct loop_watch *watch)
{
	if (watch->loop)
		epoll_ctl(watch->loop->epoll_fd, EPOLL_CTL_DEL, loop_watch_fd(watch), NULL);
	loop_watch_forget(watch);
}

void loop_watch_move(struct loop_watch *watch, struct loop_watch *to, loop_watch_fn *fn)
{
	stages_leave(watch);
	*to = *watch;
	to->stage = LOOP_AT_ONCE; /* it may be no part of a loop_staged */
	to->fn = fn;
	to->loop->slots[to->slot].watch = to;
	watch->loop = NULL;
	watch->fn = NULL;
}

void loop_defer(struct loop *loop, struct loop_deferred *deferred, loop_deferred_fn *fn)
{
	deferred->fn = fn;
	deferred->next = loop->deferred;
	loop->deferred = deferred;
}

static uint64_t now_of(const struct loop *loop)
{
	return (loop->now_ms << TURN_BITS) + loop->turn;
}

void loop_timer_set(struct loop *loop, struct timer *timer, uint64_t in_ms, timer_fn *fn)
{
	uint64_t at;

	if (in_ms == 0)
		at = now_of(loop) + 1;
	else
		at = (clock_mono_ms() + MIN(in_ms, UINT64_MAX >> (TURN_BITS + 1))) << TURN_BITS;
	timer_heap_add(&loop->timers, timer, at, fn);
}

void loop_timer_del(struct loop *loop, struct timer *timer)
{
	timer_heap_del(&loop->timers, timer);
}

void loop_guest_done(struct loop *loop)
{
	/* It fails only for a time that is none. */
	(void)!alarm_set(loop, timer_heap_first(&loop->timers) >> TURN_BITS);
}

void loop_stop(struct loop *loop)
{
	loop->stop = true;
}

static void run_deferred(struct loop *loop)
{
	while (loop->deferred) {
		struct loop_deferred *deferred = loop->deferred;

		loop->deferred = deferred->next;
		deferred->fn(deferred);
	}
}

/* Only this thread writes it. */
static void set_working(struct loop *loop, bool working)
{
	uint64_t pulse = atomic_load_explicit(&loop->pulse, memory_order_relaxed);

	if ((pulse & 1) != working)
		atomic_store_explicit(&loop->pulse, pulse + 1, memory_order_relaxed);
}

static void begin_batch(struct loop *loop)
{
	uint64_t now_ms = clock_mono_ms();

	set_working(loop, true);
	loop->turn = now_ms == loop->now_ms ? loop->turn + 1 : 0;
	loop->now_ms = now_ms;
}

/* What is not to be done at once is put where it waits. */
static void take_events(struct loop *loop, const struct epoll_event *events, int count)
{
	for (int i = 0; i < count; i++) {
		uint32_t slot = (uint32_t)events[i].data.u64;
		uint32_t generation = (uint32_t)(events[i].data.u64 >> 32);
		struct loop_watch *watch = loop->slots[slot].watch;

		if (!watch || loop->slots[slot].generation != generation)
			continue;
		if (watch->stage)
			stages_put(watch, events[i].events);
		else
			watch->fn(watch, events[i].events);
	}
}

static int wait_events(struct loop *loop, struct epoll_event events[BATCH_EVENTS], int max_wait_ms)
{
	int n, error;

	if (!loop->guard)
		return epoll_wait(loop->epoll_fd, events, BATCH_EVENTS, max_wait_ms);
	pthread_mutex_unlock(loop->guard);
	mailbox_wake_held(); /* whom the batch has answered: who is a guest next finds it free */
	n = epoll_wait(loop->epoll_fd, events, BATCH_EVENTS, max_wait_ms);
	error = errno;
	pthread_mutex_lock(loop->guard);
	mailbox_hold();
	errno = error;
	return n;
}

/* Takes what there is, waiting at most max_wait_ms. Epoll tells of what is still ready again and
 * again, in turns: where much waits, a session's event may stand behind all of that, until it has
 * been muted. Returns 0 or -errno. */
static int wait_for_events(struct loop *loop, int max_wait_ms)
{
	struct epoll_event events[BATCH_EVENTS] UNINITIALIZED;
	uint64_t seen = 0;
	int n = wait_events(loop, events, max_wait_ms);

	if (n < 0 && errno != EINTR)
		return -errno;
	begin_batch(loop);
	take_events(loop, events, n);
	while (n == BATCH_EVENTS && (seen += BATCH_EVENTS) <= loop->stages.waiting) {
		n = epoll_wait(loop->epoll_fd, events, BATCH_EVENTS, 0);
		take_events(loop, events, n);
	}
	return 0;
}

/* What has happened while logins have their turn. */
static void look(struct loop *loop)
{
	struct epoll_event events[BATCH_EVENTS] UNINITIALIZED;
	int n = epoll_wait(loop->epoll_fd, events, BATCH_EVENTS, 0);

	take_events(loop, events, n);
}

int loop_run_once(struct loop *loop, int max_wait_ms)
{
	uint64_t batch, first_ms = timer_heap_first(&loop->timers) >> TURN_BITS;
	bool goes_on = first_ms <= loop->now_ms || stages_wait(&loop->stages);
	struct timer *timer;
	timer_fn *timer_run;
	int r = goes_on ? 0 : alarm_set(loop, first_ms);

	if (r == 0)
		r = wait_for_events(loop, goes_on ? 0 : max_wait_ms);
	if (r < 0)
		return r;
	batch = now_of(loop);
	stages_run(loop, look);
	while ((timer = timer_heap_take_due(&loop->timers, batch, &timer_run)))
		timer_run(timer);
	run_deferred(loop);
	loop_work_on(loop, 0);
	set_working(loop, false);
	return 0;
}

int loop_run(struct loop *loop)
{
	int r = 0;

	while (!loop->stop && r == 0)
		r = loop_run_once(loop, -1);
	return r;
}

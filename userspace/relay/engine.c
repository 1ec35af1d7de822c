// SPDX-License-Identifier: Apache-2.0
/* The relays of one loop: how rows and events of the program find theirs, and what is done for all
 * of them once a second. */
#include "relay/frame.h"

#include <errno.h>

#define ROWS_AT_ONCE 512

static void on_row(void *arg, __u64 cookie, const struct hm_flow *flow)
{
	struct relay_engine *engine = arg;
	struct relay *relay = slots_find(&engine->relays, flow->handle);

	if (relay && relay->mover->row)
		relay->mover->row(relay, cookie, flow);
}

/* Rows of this scan that are not in the map yet. */
static _Thread_local struct {
	__u64 cookies[ROWS_AT_ONCE];
	struct hm_flow flows[ROWS_AT_ONCE];
	__u32 count;
} rows;

static void write_rows(struct relay_engine *engine)
{
	if (rows.count)
		bpfctl_flows_set(engine->kernel->bpfctl, rows.cookies, rows.flows, rows.count);
	rows.count = 0;
}

void relay_put_row(struct relay_engine *engine, __u64 cookie, const struct hm_flow *flow)
{
	rows.cookies[rows.count] = cookie;
	rows.flows[rows.count] = *flow;
	if (++rows.count == ROWS_AT_ONCE)
		write_rows(engine);
}

static void on_scan(struct timer *timer)
{
	struct relay_engine *engine = container_of(timer, struct relay_engine, scan_timer);

	/* A scan that fails is repeated in a second. */
	int r = engine->kernel->sockmap
		? bpfctl_scan(engine->kernel->bpfctl, engine->worker, on_row, engine)
		: 0;

	(void)r;
	engine->scans++;
	relay_scratch_wipe(); /* for threads whose sessions live long */
	for (uint32_t i = 0; i < engine->relays.count; i++) {
		struct relay *relay = engine->relays.slots[i].object;

		if (relay)
			relay->mover->scan(relay);
	}
	write_rows(engine);
	if (engine->active)
		loop_timer_set(engine->loop, timer, RELAY_SCAN_MS, on_scan);
}

static void on_event(void *arg, const struct hm_event *event)
{
	struct relay_engine *engine = arg;
	struct relay *relay = slots_find(&engine->relays, event->handle);

	if (relay && relay->mover->event)
		relay->mover->event(relay, event);
}

static void on_events(struct loop_watch *watch, uint32_t epoll_events)
{
	struct relay_engine *engine = container_of(watch, struct relay_engine, events_watch);

	(void)epoll_events;
	bpfctl_events_consume(engine->kernel->bpfctl, engine->worker, on_event, engine);
}

int relay_engine_init(struct relay_engine *engine, struct loop *loop, struct relay_kernel *kernel,
	unsigned worker)
{
	*engine = (struct relay_engine){ .kernel = kernel, .loop = loop, .worker = worker };
	slots_init(&engine->relays);
	if (!kernel->bpfctl)
		return 0;
	return loop_watch_add(loop, &engine->events_watch, bpfctl_events_fd(kernel->bpfctl, worker),
		EPOLLIN, on_events);
}

void relay_engine_fini(struct relay_engine *engine)
{
	relay_scratch_wipe();
	if (!engine->loop)
		return;
	loop_watch_del(&engine->events_watch);
	loop_timer_del(engine->loop, &engine->scan_timer);
	slots_fini(&engine->relays);
}

int relay_register(struct relay *relay)
{
	struct relay_engine *engine = relay->engine;

	if (!engine->kernel->bpfctl)
		return 0;
	if (slots_add(&engine->relays, relay, &relay->handle) < 0)
		return -ENOMEM;
	engine->active++;
	if (!timer_armed(&engine->scan_timer))
		loop_timer_set(engine->loop, &engine->scan_timer, RELAY_SCAN_MS, on_scan);
	return 0;
}

void relay_unregister(struct relay *relay)
{
	struct relay_engine *engine = relay->engine;

	if (!relay->handle)
		return;
	slots_remove(&engine->relays, relay->handle);
	engine->active--;
	relay->handle = 0;
}

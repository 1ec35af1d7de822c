// SPDX-License-Identifier: Apache-2.0
/* Dispatch to a session's data path, the names of the paths, and the engine of a loop. */
#include "relay/internal.h"
#include "base/list.h"
#include "base/secret.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define SCAN_MS 1000
#define NO_SLOT UINT32_MAX
#define ROWS_AT_ONCE 512

_Thread_local char relay_scratch[RELAY_SCRATCH_BYTES];
_Thread_local size_t relay_scratch_used;

/* Memory that a direction has done with, for the next one whose target blocks: bulk towards a slow
 * reader blocks at nearly every write. It is wiped and freed with the scratch buffer. */
static _Thread_local struct {
	char *data;
	uint32_t cap;
} spare;

static void wipe_and_free(char *data, size_t cap)
{
	secret_wipe(data, cap);
	free(data);
}

void relay_scratch_wipe(void)
{
	secret_wipe(relay_scratch, relay_scratch_used);
	relay_scratch_used = 0;
	wipe_and_free(spare.data, spare.cap);
	spare.data = NULL;
	spare.cap = 0;
}

int relay_keep_pending(struct buf *pending, const char *data, size_t len)
{
	if (!pending->data && len <= spare.cap) {
		pending->data = spare.data;
		pending->cap = spare.cap;
		spare.data = NULL;
		spare.cap = 0;
	}
	return buf_append(pending, data, len);
}

void relay_drop_pending(struct buf *pending)
{
	char *data = pending->data;
	uint32_t cap = pending->cap;

	*pending = (struct buf){ .limit = pending->limit };
	if (cap > spare.cap && cap <= RELAY_SCRATCH_BYTES) {
		wipe_and_free(spare.data, spare.cap);
		spare.data = data;
		spare.cap = cap;
	} else {
		wipe_and_free(data, cap);
	}
}

const char *relay_path_name(enum relay_path path)
{
	static const char *const names[RELAY_PATHS] = { "-", "copy", "ktls", "sockmap" };

	return names[path];
}

/* ---- the engine ---- */

static struct relay *find(struct relay_engine *engine, uint64_t handle)
{
	uint32_t slot = (uint32_t)handle;

	if (slot >= engine->slot_count || engine->slots[slot].generation != handle >> 32)
		return NULL;
	return engine->slots[slot].relay;
}

static void on_row(void *arg, __u64 cookie, const struct hm_flow *flow)
{
	struct relay *relay = find(arg, flow->handle);

	if (relay && relay->ops->row)
		relay->ops->row(relay, cookie, flow);
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

int relay_watch(struct loop *loop, struct loop_watch *from, struct loop_watch *to, int fd,
	loop_watch_fn *fn)
{
	if (!from || !from->loop)
		return loop_watch_add(loop, to, fd, 0, fn);
	loop_watch_move(from, to, fn);
	return 0;
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
	for (uint32_t i = 0; i < engine->slot_count; i++) {
		struct relay *relay = engine->slots[i].relay;

		if (relay)
			relay->ops->scan(relay);
	}
	write_rows(engine);
	if (engine->active)
		loop_timer_set(engine->loop, timer, SCAN_MS, on_scan);
}

static void on_event(void *arg, const struct hm_event *event)
{
	struct relay *relay = find(arg, event->handle);

	if (relay && relay->ops->event)
		relay->ops->event(relay, event);
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
	*engine = (struct relay_engine){
		.kernel = kernel, .loop = loop, .worker = worker, .first_free = NO_SLOT
	};
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
	free(engine->slots);
	engine->slots = NULL;
	engine->slot_count = 0;
}

static int grow(struct relay_engine *engine)
{
	uint32_t count = engine->slot_count ? 2 * engine->slot_count : 64;
	struct relay_slot *slots = reallocarray(engine->slots, count, sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = engine->slot_count; i < count; i++)
		slots[i] = (struct relay_slot){ .generation = 1,
			.next_free = i + 1 < count ? i + 1 : NO_SLOT };
	engine->first_free = engine->slot_count;
	engine->slots = slots;
	engine->slot_count = count;
	return 0;
}

int relay_register(struct relay *relay, struct relay_engine *engine)
{
	relay->engine = engine;
	if (!engine->kernel->bpfctl)
		return 0;
	if (engine->first_free == NO_SLOT && grow(engine) < 0)
		return -ENOMEM;
	relay->slot = engine->first_free;
	relay->registered = true;
	engine->first_free = engine->slots[relay->slot].next_free;
	engine->slots[relay->slot].relay = relay;
	engine->active++;
	if (!timer_armed(&engine->scan_timer))
		loop_timer_set(engine->loop, &engine->scan_timer, SCAN_MS, on_scan);
	return 0;
}

void relay_unregister(struct relay *relay)
{
	struct relay_engine *engine = relay->engine;

	if (!relay->registered)
		return;
	engine->slots[relay->slot].relay = NULL;
	engine->slots[relay->slot].generation++;
	engine->slots[relay->slot].next_free = engine->first_free;
	engine->first_free = relay->slot;
	engine->active--;
	relay->registered = false;
}

uint64_t relay_handle(const struct relay *relay)
{
	return (uint64_t)relay->engine->slots[relay->slot].generation << 32 | relay->slot;
}

void relay_fill_row(const struct relay *relay, uint64_t session, const char *protocol,
	enum relay_direction direction, struct hm_flow *ret_flow)
{
	*ret_flow = (struct hm_flow){
		.session = session,
		.handle = relay_handle(relay),
		.worker = relay->engine->worker,
		.direction = direction == RELAY_UP ? HM_UP : HM_DOWN,
	};
	snprintf(ret_flow->protocol, sizeof(ret_flow->protocol), "%s", protocol ? protocol : "");
}

/* ---- dispatch ---- */

int relay_start(const struct relay_params *params, struct stream legs[2], struct buf early[2],
	struct relay **ret_relay)
{
	enum relay_mode mode = params->settings.mode;
	bool plain = !stream_is_tls(&legs[RELAY_CLIENT]) && !stream_is_tls(&legs[RELAY_NODE]);

	if (plain && !params->one_way && params->engine->kernel->sockmap &&
		(mode == RELAY_MODE_AUTO || mode == RELAY_MODE_SOCKMAP))
		return relay_sockmap_start(params, legs, early, ret_relay);
	return relay_pump_start(params, legs, early, ret_relay);
}

void relay_stop(struct relay *relay, bool gracefully)
{
	relay->ops->stop(relay, gracefully);
}

void relay_free(struct relay *relay)
{
	if (relay)
		relay->ops->free(relay);
}

void relay_set_idle(struct relay *relay, uint64_t idle_ms)
{
	relay->ops->set_idle(relay, idle_ms);
}

uint64_t relay_bytes(const struct relay *relay, enum relay_direction direction)
{
	return relay->ops->bytes(relay, direction);
}

enum relay_path relay_path_of(const struct relay *relay, enum relay_direction direction)
{
	return relay->ops->path(relay, direction);
}

uint64_t relay_idle_ms(const struct relay *relay)
{
	return relay->ops->idle_ms(relay);
}

// SPDX-License-Identifier: Apache-2.0
/* The watch over a push channel: the proof that messages arrive, reconnects, a sign of life
 * after silence (MAP-103). */
#include "base/clock.h"
#include "base/fd.h"
#include "store/pool.h"

#include <stdio.h>

#define RECONNECT_FIRST_MS 1000
#define RECONNECT_LAST_MS 30000
#define SILENCE_MS 30000
#define PING_MS 10000

/* No account has a name in .invalid (RFC 2606). */
#define MARK_PREFIX "push-check-"
#define MARK_SUFFIX "@homing.invalid"

static void on_timer(struct timer *timer);

static void wait_ms(struct store_push *push, uint64_t ms)
{
	loop_timer_set(push->loop, &push->timer, ms, on_timer);
}

static void open_now(struct store_push *push)
{
	push->state = STORE_PUSH_OPENING;
	wait_ms(push, push->open_ms);
	push->driver->open(push);
}

static void on_timer(struct timer *timer)
{
	struct store_push *push = container_of(timer, struct store_push, timer);
	uint64_t silent = clock_mono_ms() - push->heard_ms;

	if (push->state == STORE_PUSH_CLOSED) {
		open_now(push);
	} else if (push->state == STORE_PUSH_OPENING || push->pinging) {
		store_push_lost(push);
	} else if (silent < SILENCE_MS) {
		wait_ms(push, SILENCE_MS - silent);
	} else {
		push->pinging = true;
		wait_ms(push, PING_MS);
		push->driver->ping(push);
	}
}

void store_push_init(struct store_push *push, const struct store_push_driver *driver,
	struct loop *loop, struct store_pool *pool, const struct store_net_params *params,
	const char *unproved)
{
	*push = (struct store_push){ .driver = driver,
		.loop = loop,
		.fn = params->push,
		.arg = params->push_arg,
		.open_ms = params->timeout_ms,
		.pool = pool,
		.warn = params->warn,
		.unproved = unproved };
}

void store_push_start(struct store_push *push)
{
	if (push->fn)
		wait_ms(push, 0);
}

void store_push_stop(struct store_push *push)
{
	if (!push->fn || !push->loop)
		return;
	loop_timer_del(push->loop, &push->timer);
	if (push->state != STORE_PUSH_CLOSED)
		push->driver->close(push);
	push->state = STORE_PUSH_CLOSED;
	push->proving = false;
}

void store_push_up(struct store_push *push)
{
	push->state = STORE_PUSH_OPEN;
	push->failures = 0;
	push->pinging = false;
	push->heard_ms = clock_mono_ms();
	wait_ms(push, SILENCE_MS);
	push->fn(push->arg, STORE_PUSH_UP, view_make("", 0));
}

static void on_announced(struct store_request *request)
{
	struct store_push *push = container_of(request, struct store_push, announce);

	push->announcing = false;
	if (!push->proving || request->result == STORE_DONE)
		return;
	if (request->result == STORE_ERROR && request->refused) {
		push->proving = false;
		store_push_up(push);
	} else {
		store_push_lost(push);
	}
}

void store_push_prove(struct store_push *push)
{
	uint64_t number;

	if (push->announcing || fd_random(&number, sizeof(number)) < 0) {
		store_push_lost(push); /* the one before is still out */
		return;
	}
	snprintf(push->mark, sizeof(push->mark), MARK_PREFIX "%016llx" MARK_SUFFIX,
		(unsigned long long)number);
	push->announce = (struct store_request){ .op = STORE_ANNOUNCE,
		.identifier = view_str(push->mark),
		.destination = view_make("", 0),
		.deadline_ms = clock_mono_ms() + push->open_ms,
		.done = on_announced };
	push->announcing = push->proving = true;
	store_pool_add(push->pool, &push->announce);
}

bool store_push_take_mark(struct store_push *push, struct view payload)
{
	size_t tail = strlen(MARK_SUFFIX);

	if (!view_starts(payload, VIEW_LIT(MARK_PREFIX)) || payload.len <= tail ||
		!view_eq(view_skip(payload, payload.len - tail), VIEW_LIT(MARK_SUFFIX)))
		return false;
	if (push->proving && view_eq(payload, view_str(push->mark))) {
		push->proving = false;
		store_push_up(push);
	}
	return true;
}

/* Everything was accepted and nothing came: worth a word, once. */
static void warn_unproved(struct store_push *push)
{
	if (!push->proving || push->announcing || push->announce.result != STORE_DONE ||
		push->pool->stopping || push->warned || !push->warn)
		return;
	push->warned = true;
	push->warn(push->arg, push->unproved);
}

void store_push_lost(struct store_push *push)
{
	bool was_up = push->state == STORE_PUSH_OPEN;
	uint64_t pause = (uint64_t)RECONNECT_FIRST_MS << MIN(push->failures, 8u);

	if (push->state == STORE_PUSH_CLOSED)
		return;
	warn_unproved(push);
	push->state = STORE_PUSH_CLOSED;
	push->pinging = push->proving = false;
	push->driver->close(push);
	push->failures++;
	wait_ms(push, MIN(pause, (uint64_t)RECONNECT_LAST_MS));
	if (was_up)
		push->fn(push->arg, STORE_PUSH_DOWN, view_make("", 0));
}

void store_push_heard(struct store_push *push)
{
	push->heard_ms = clock_mono_ms();
	if (!push->pinging)
		return;
	push->pinging = false;
	wait_ms(push, SILENCE_MS);
}

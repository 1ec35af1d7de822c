// SPDX-License-Identifier: Apache-2.0
/* The watch over a push channel: reconnects, and asks for a sign of life after silence (MAP-103). */
#include "base/clock.h"
#include "store/pool.h"

#define RECONNECT_FIRST_MS 1000
#define RECONNECT_LAST_MS 30000
#define SILENCE_MS 30000
#define PING_MS 10000

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

void store_push_lost(struct store_push *push)
{
	bool was_up = push->state == STORE_PUSH_OPEN;
	uint64_t pause = (uint64_t)RECONNECT_FIRST_MS << MIN(push->failures, 8u);

	if (push->state == STORE_PUSH_CLOSED)
		return;
	push->state = STORE_PUSH_CLOSED;
	push->pinging = false;
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

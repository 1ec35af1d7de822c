// SPDX-License-Identifier: Apache-2.0
#include "reach/reach.h"
#include "base/clock.h"

#include <errno.h>

/* One worker, one thread: answers of the mapping find them here, and a reach by its handle, because
 * it may be gone by then. */
static _Thread_local struct reaches *current;

void reaches_init(struct reaches *reaches, struct router *router, struct loop *loop)
{
	*reaches = (struct reaches){ .router = router, .loop = loop };
	slots_init(&reaches->slots);
	list_init(&reaches->waiting);
	current = reaches;
}

void reaches_fini(struct reaches *reaches)
{
	slots_fini(&reaches->slots);
	current = NULL;
}

/* ---- the lookup ---- */

static void finish(
	struct reach *reach, enum reach_outcome outcome, const struct mapping_answer *answer)
{
	reach_stop(reach);
	reach->ops->done(reach, outcome, answer);
}

static void got_answer(struct reach *reach, const struct mapping_answer *answer)
{
	finish(reach, answer->choice == MAPPING_UNAVAILABLE ? REACH_NO_STORE : REACH_FOUND, answer);
}

static void on_reply(struct post *post)
{
	struct mapping_reply *reply = container_of(post, struct mapping_reply, post);
	struct reach *reach = current ? slots_find(&current->slots, reply->cookie) : NULL;

	if (reach) {
		reach->from_loop = true;
		got_answer(reach, &reply->answer);
	}
	mapping_reply_free(reply);
}

/* A hit of the cache goes on at once on this thread; a miss comes back through the mailbox. */
static void look_up(struct reach *reach)
{
	struct reaches *reaches = reach->reaches;
	struct mapping_answer answer;
	int r;

	reach->phase = REACH_LOOKUP;
	r = slots_add(&reaches->slots, reach, &reach->handle);
	if (r < 0) {
		reach->phase = REACH_IDLE;
		finish(reach, REACH_FAILED, NULL);
		return;
	}
	reach->ops->phase(reach, REACH_LOOKUP);
	if (reach->phase != REACH_LOOKUP)
		return;
	r = mapping_lookup(reaches->router->mapping, view_str(reach->account),
		&reaches->loop->mailbox, on_reply, reach->handle, &answer);
	if (r < 0)
		finish(reach, REACH_FAILED, NULL);
	else if (r == MAPPING_HIT)
		got_answer(reach, &answer);
}

/* ---- the hold ---- */

static void leave_hold(struct reach *reach)
{
	holds_leave(reach->reaches->router->holds, view_str(reach->account), reach->client);
	list_del(&reach->link);
	loop_timer_del(reach->reaches->loop, &reach->timer);
	reach->phase = REACH_IDLE;
}

static void on_hold_over(struct timer *timer);

static void wait_until(struct reach *reach, uint64_t until_ms)
{
	uint64_t now = clock_mono_ms();

	loop_timer_set(reach->reaches->loop, &reach->timer, until_ms > now ? until_ms - now : 0,
		on_hold_over);
}

/* Its time has passed, or has been changed. */
static void look_again(struct reach *reach)
{
	uint64_t until = holds_until(reach->reaches->router->holds, view_str(reach->account));

	if (until) {
		wait_until(reach, until);
		return;
	}
	leave_hold(reach);
	reach->from_loop = true;
	look_up(reach);
}

static void on_hold_over(struct timer *timer)
{
	look_again(container_of(timer, struct reach, timer));
}

void reaches_holds_changed(struct reaches *reaches)
{
	list_for_each_safe (node, next, &reaches->waiting)
		look_again(list_entry(node, struct reach, link));
}

/* ---- entry ---- */

void reach_start(struct reach *reach, struct reaches *reaches, const struct reach_ops *ops,
	const char *account, const struct addr *client)
{
	struct holds *holds = reaches->router->holds;
	uint64_t until = holds_until(holds, view_str(account));
	int r;

	reach->ops = ops;
	reach->reaches = reaches;
	reach->account = account;
	reach->client = client;
	reach->from_loop = false;
	if (!until) {
		look_up(reach);
		return;
	}
	r = holds_enter(holds, view_str(account), client);
	if (r) {
		finish(reach, r < 0 ? REACH_FAILED : REACH_CROWDED, NULL);
		return;
	}
	atomic_fetch_add(&reaches->router->held, 1);
	reach->phase = REACH_HOLD;
	list_add_tail(&reaches->waiting, &reach->link);
	wait_until(reach, until);
	reach->ops->phase(reach, REACH_HOLD);
}

void reach_stop(struct reach *reach)
{
	if (reach->phase == REACH_HOLD)
		leave_hold(reach);
	else if (reach->phase == REACH_LOOKUP)
		slots_remove(&reach->reaches->slots, reach->handle);
	reach->phase = REACH_IDLE;
}

// SPDX-License-Identifier: Apache-2.0
/* One question to a store that does not serve yet. The question is the store's until it has
 * answered, so it outlives whoever has no more patience. */
#include "control/store_check.h"
#include "base/clock.h"

#include <errno.h>
#include <stdlib.h>

struct store_check {
	struct store_request request;
	struct post post;
	struct timer timer;
	struct loop *loop;
	store_check_fn *done; /* NULL: nobody waits any more */
	void *arg;
};

static void report(struct store_check *check, const char *error)
{
	store_check_fn *done = check->done;

	loop_timer_del(check->loop, &check->timer);
	check->done = NULL;
	if (done)
		done(check->arg, error);
}

static void on_answer(struct post *post)
{
	struct store_check *check = container_of(post, struct store_check, post);
	bool failed =
		check->request.result == STORE_ERROR || check->request.result == STORE_TIMEOUT;

	report(check, failed ? check->request.error : NULL);
	free(check);
}

/* Any thread. */
static void on_store_done(struct store_request *request)
{
	struct store_check *check = container_of(request, struct store_check, request);

	if (!mailbox_send(&check->loop->mailbox, &check->post, on_answer))
		free(check); /* the loop has ended, and nobody waits */
}

/* The request may not be looked at: it is the store's. */
static void on_late(struct timer *timer)
{
	report(container_of(timer, struct store_check, timer), "no answer within lookup_timeout");
}

int store_check_start(struct loop *loop, struct store *store, uint64_t limit_ms,
	store_check_fn *done, void *arg, struct store_check **ret_check)
{
	struct store_check *check = calloc(1, sizeof(*check));

	if (!check)
		return -ENOMEM;
	check->loop = loop;
	check->done = done;
	check->arg = arg;
	check->request.op = STORE_PING;
	check->request.identifier = view_make(STORE_NOBODY, strlen(STORE_NOBODY));
	check->request.deadline_ms = clock_mono_ms() + limit_ms;
	check->request.done = on_store_done;
	loop_timer_set(loop, &check->timer, limit_ms, on_late);
	*ret_check = check;
	store->ops->submit(store, &check->request);
	return 0;
}

void store_check_cancel(struct store_check *check)
{
	check->done = NULL;
	loop_timer_del(check->loop, &check->timer);
}

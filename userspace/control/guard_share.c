// SPDX-License-Identifier: Apache-2.0
/*
 * Everything but the observer and guard_share_heard() is the control thread's. A message names a
 * network; whether there still is a ban to be written, and with which text, is asked of the guard
 * when its turn comes. On failure a message goes back into the queue, and all wait for a while.
 */
#include "control/guard_share.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "control/ban_note.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#define OUT_MAX 16        /* requests at the store at once */
#define WAITING_MAX 65536 /* messages */
#define PAGE 1000
#define AGAIN_MS 2000
#define DEADLINE_MS 10000
#define SAME_MS 1000 /* bans whose ends are no further apart end at once */

enum what { SHARE_BAN, SHARE_LIFT, SHARE_LOOK, SHARE_LIST, SHARE_UP };

struct message {
	struct post post;
	struct list_node link;
	struct guard_share *share;
	enum what what;
	struct cidr net;
	uint64_t until_ms; /* SHARE_LIFT: of the ban that was */
	bool listed;       /* part of a look at all that others have written */
};

/* A message at the store. */
struct asking {
	struct post post;
	struct message *message; /* owned */
	struct store_request request;
	struct store_list list;
	char source[STORE_BAN_SOURCE_BYTES + 1], note[BAN_NOTE_BYTES];
};

struct guard_share {
	struct control_state *state;
	struct guard *guard;
	atomic_bool wanted;
	char router[BAN_NOTE_ROUTER];
	bool applying; /* what observers hear is the others' */
	struct list_node waiting;
	size_t waiting_count;
	unsigned out;
	size_t listed; /* messages, waiting or at the store, that are part of a look at all */
	uint64_t lost;
	bool paused; /* until the timer */
	struct timer timer;
	char error[STORE_ERROR_BYTES]; /* of the last failure; "" since a success */
};

static void pump(struct guard_share *share);
static void on_timer(struct timer *timer);

static void pause_all(struct guard_share *share)
{
	if (!share->paused)
		loop_timer_set(share->state->loop, &share->timer, AGAIN_MS, on_timer);
	share->paused = true;
}

/* ---- messages ---- */

static struct message *message_new(
	struct guard_share *share, enum what what, const struct cidr *net, uint64_t until_ms)
{
	struct message *message = calloc(1, sizeof(*message));

	if (message)
		*message = (struct message){ .share = share, .what = what, .until_ms = until_ms };
	if (message && net)
		message->net = *net;
	return message;
}

static struct message *message_new_listed(
	struct guard_share *share, enum what what, const struct cidr *net)
{
	struct message *message = message_new(share, what, net, 0);

	if (message) {
		message->listed = true;
		share->listed++;
	}
	return message;
}

static void message_free(struct message *message)
{
	message->share->listed -= message->listed;
	free(message);
}

/* Leaves the message. */
static struct message *asking_free(struct asking *asking)
{
	struct message *message = asking->message;

	store_list_fini(&asking->list);
	free(asking);
	return message;
}

/* Takes it; NULL: there was no memory. */
static void enqueue(struct guard_share *share, struct message *message)
{
	if (message && share->waiting_count < WAITING_MAX) {
		list_add_tail(&share->waiting, &message->link);
		share->waiting_count++;
		return;
	}
	share->lost++;
	log_event_limited(LOGL_WARN, "guard_share", NULL, "error",
		"too many bans at once: some are not told to the other routers", NULL);
	if (message)
		message_free(message);
}

static struct message *dequeue(struct guard_share *share)
{
	struct message *message = list_entry(share->waiting.next, struct message, link);

	list_del(&message->link);
	share->waiting_count--;
	return message;
}

static void forget_all(struct guard_share *share)
{
	while (!list_empty(&share->waiting))
		message_free(dequeue(share));
}

static bool is_own(const struct guard_ban *ban)
{
	return ban->origin != GUARD_SHARED;
}

static bool enqueue_own(void *arg, const struct guard_ban *ban)
{
	struct guard_share *share = arg;

	if (is_own(ban))
		enqueue(share, message_new(share, SHARE_BAN, &ban->net, 0));
	return true;
}

static bool is_waiting(const struct guard_share *share, enum what what)
{
	list_for_each (node, &share->waiting) {
		if (list_entry(node, struct message, link)->what == what)
			return true;
	}
	return false;
}

/* What the others have done meanwhile comes first, to its end: a lift of theirs is newer than the
 * ban that we have kept, and would be written over. Our own follow in
 * message_done(). A look that has not begun sees all that one which is asked for now would. */
static void sync_all(struct guard_share *share)
{
	if (!is_waiting(share, SHARE_LIST))
		enqueue(share, message_new_listed(share, SHARE_LIST, NULL));
}

static void message_done(struct message *message)
{
	struct guard_share *share = message->share;
	bool listed = message->listed;

	message_free(message);
	if (listed && !share->listed && atomic_load(&share->wanted))
		guard_bans_each(share->guard, enqueue_own, share);
}

static void on_message(struct post *post)
{
	struct message *message = container_of(post, struct message, post);
	struct guard_share *share = message->share;

	if (!atomic_load(&share->wanted)) {
		free(message);
	} else if (message->what == SHARE_UP) {
		free(message);
		share->paused = false; /* it can be reached */
		sync_all(share);
	} else {
		enqueue(share, message);
	}
	pump(share);
}

/* Any thread. */
static void post_message(
	struct guard_share *share, enum what what, const struct cidr *net, uint64_t until_ms)
{
	struct message *message = message_new(share, what, net, until_ms);

	if (message && !mailbox_send(&share->state->loop->mailbox, &message->post, on_message))
		free(message);
}

/* ---- what others have written ---- */

static void withheld(const struct asking *asking, enum guard_why why)
{
	log_event_limited(LOGL_INFO, "ban_withheld", asking->source, "net", asking->source, "why",
		guard_why_name(why), "origin", guard_origin_name(GUARD_SHARED), NULL);
}

/* Returns as guard_ban(). */
static int apply_ban(struct guard_share *share, const struct asking *asking,
	const struct ban_note *note, enum guard_why *ret_why)
{
	struct guard_order order = { .net = asking->message->net,
		.for_ms = asking->request.ttl_ms,
		.origin = GUARD_SHARED,
		.reason = note->reason,
		.told = note->told,
		.text = note->text };
	struct guard_ban ban;

	if (!order.for_ms ||
		(guard_find_ban(share->guard, &order.net, &ban) &&
			ban.until_ms + SAME_MS >= clock_mono_ms() + order.for_ms))
		return 0;
	return guard_ban(share->guard, &order, ret_why);
}

static void apply(struct guard_share *share, const struct asking *asking)
{
	struct ban_note note;
	enum guard_why why;
	int r = 0;

	if (ban_note_parse(view_str(asking->request.value), &note) < 0) {
		log_event_limited(LOGL_WARN, "guard_share", NULL, "error",
			"a note in the store is no ban", "source", asking->source, NULL);
		return;
	}
	if (strcmp(note.router, share->router) == 0)
		return;
	share->applying = true;
	if (note.lifted)
		guard_unban(share->guard, &asking->message->net);
	else
		r = apply_ban(share, asking, &note, &why);
	share->applying = false;
	if (r == GUARD_NEVER)
		withheld(asking, why);
}

static void look_at_all(struct guard_share *share, const struct store_list *list)
{
	const char *name = buf_view(&list->names).data;
	struct cidr net;

	for (unsigned i = 0; i < list->count; i++, name += strlen(name) + 1) {
		if (cidr_parse(view_str(name), &net) == 0 && net.bits)
			enqueue(share, message_new_listed(share, SHARE_LOOK, &net));
	}
}

/* ---- at the store ---- */

static void failed(struct guard_share *share, const struct store_request *request)
{
	snprintf(share->error, sizeof(share->error), "%s",
		request->result == STORE_TIMEOUT ? "no answer" : request->error);
	log_event_limited(LOGL_WARN, "guard_share", NULL, "error", share->error, NULL);
	pause_all(share);
}

static void ask(struct guard_share *share, struct asking *asking);

/* Returns whether the next page has been asked for. */
static bool take_page(struct guard_share *share, struct asking *asking)
{
	struct store_list *list = &asking->list;

	look_at_all(share, list);
	memcpy(list->after, list->next, sizeof(list->after));
	if (!*list->after || !atomic_load(&share->wanted) || !share->state->store)
		return false;
	ask(share, asking);
	return true;
}

/* Takes the message. */
static void again(struct guard_share *share, struct message *message)
{
	if (atomic_load(&share->wanted))
		enqueue(share, message);
	else
		message_free(message);
}

static void on_answer(struct post *post)
{
	struct asking *asking = container_of(post, struct asking, post);
	struct guard_share *share = asking->message->share;
	enum store_result result = asking->request.result;

	share->out--;
	if (result == STORE_ERROR || result == STORE_TIMEOUT) {
		failed(share, &asking->request);
		again(share, asking_free(asking));
		pump(share);
		return;
	}
	share->error[0] = '\0';
	if (asking->message->what == SHARE_LIST && take_page(share, asking))
		return;
	if (asking->message->what == SHARE_LOOK && result == STORE_FOUND)
		apply(share, asking);
	message_done(asking_free(asking));
	pump(share);
}

/* Any thread. */
static void on_store_done(struct store_request *request)
{
	struct asking *asking = container_of(request, struct asking, request);

	if (!mailbox_send(&asking->message->share->state->loop->mailbox, &asking->post, on_answer))
		free(asking_free(asking));
}

/* There is a store. */
static void ask(struct guard_share *share, struct asking *asking)
{
	struct store *store = share->state->store;

	asking->request.deadline_ms = clock_mono_ms() + DEADLINE_MS;
	share->out++;
	store->ops->submit(store, &asking->request);
}

/* Returns false where there is nothing to say any more. */
static bool write_note(struct guard_share *share, struct asking *asking)
{
	struct ban_note note = { .lifted = asking->message->what == SHARE_LIFT };
	uint64_t until_ms = asking->message->until_ms, now_ms = clock_mono_ms();
	struct guard_ban ban;

	if (!note.lifted) {
		if (!guard_find_ban(share->guard, &asking->message->net, &ban) || !is_own(&ban))
			return false;
		until_ms = ban.until_ms;
		note.reason = ban.reason;
		note.told = ban.told;
		memcpy(note.text, ban.text, sizeof(note.text));
	}
	if (until_ms <= now_ms)
		return false;
	memcpy(note.router, share->router, sizeof(note.router));
	asking->request.op = STORE_BAN_SET;
	asking->request.destination = view_str(ban_note_format(&note, asking->note));
	asking->request.ttl_ms = until_ms - now_ms;
	return true;
}

/* Takes the message. */
static void submit(struct guard_share *share, struct message *message)
{
	struct asking *asking = calloc(1, sizeof(*asking));

	if (!asking) {
		enqueue(share, message);
		pause_all(share);
		return;
	}
	asking->message = message;
	cidr_format(&message->net, asking->source);
	asking->request = (struct store_request){ .identifier = view_str(asking->source),
		.op = message->what == SHARE_LIST ? STORE_BAN_LIST : STORE_BAN_GET,
		.list = &asking->list,
		.done = on_store_done };
	asking->list.limit = PAGE;
	if ((message->what == SHARE_BAN || message->what == SHARE_LIFT) &&
		!write_note(share, asking))
		free(asking_free(asking));
	else
		ask(share, asking);
}

static void on_timer(struct timer *timer)
{
	struct guard_share *share = container_of(timer, struct guard_share, timer);

	share->paused = false;
	pump(share);
}

/* As much as may be out; the rest when something has been answered. */
static void pump(struct guard_share *share)
{
	if (!share->paused && share->waiting_count && !share->state->store)
		pause_all(share); /* there is none yet */
	while (!share->paused && share->waiting_count && share->out < OUT_MAX)
		submit(share, dequeue(share));
}

/* ---- what this router does ---- */

/* What it applies of the others is on this thread, in guard_ban(): nobody else sees the flag. */
static void on_ban(void *arg, const struct guard_ban *ban)
{
	struct guard_share *share = arg;

	if (atomic_load(&share->wanted) && is_own(ban) && ban->origin != GUARD_RESTORED)
		post_message(share, SHARE_BAN, &ban->net, 0);
}

static void on_end(void *arg, const struct guard_ban *ban, enum guard_end end)
{
	struct guard_share *share = arg;

	if (end == GUARD_END_UNBANNED && atomic_load(&share->wanted) && !share->applying)
		post_message(share, SHARE_LIFT, &ban->net, ban->until_ms);
}

static const struct guard_observer_ops observer = { .ban_set = on_ban, .ban_removed = on_end };

void guard_share_heard(struct guard_share *share, enum store_push_event event, struct view source)
{
	struct cidr net;

	if (!atomic_load(&share->wanted))
		return;
	if (event == STORE_PUSH_UP)
		post_message(share, SHARE_UP, NULL, 0);
	else if (cidr_parse(source, &net) == 0 && net.bits)
		post_message(share, SHARE_LOOK, &net, 0);
}

json_t *guard_share_json(const struct guard_share *share)
{
	size_t waiting = share->waiting_count + share->out;

	return json_pack("{sb sI sI ss?}", "wanted", (int)atomic_load(&share->wanted), "waiting",
		(json_int_t)waiting, "lost", (json_int_t)share->lost, "error",
		*share->error ? share->error : NULL);
}

/* ---- life ---- */

void guard_share_follow(struct guard_share *share, bool yes)
{
	atomic_store(&share->wanted, yes);
	if (!yes)
		forget_all(share);
	else
		sync_all(share);
	pump(share);
}

int guard_share_new(
	struct control_state *state, struct guard *guard, struct guard_share **ret_share)
{
	struct guard_share *share = calloc(1, sizeof(*share));
	uint64_t number;
	int r = share ? fd_random(&number, sizeof(number)) : -ENOMEM;

	if (r == 0) {
		share->state = state;
		share->guard = guard;
		list_init(&share->waiting);
		snprintf(share->router, sizeof(share->router), "%016llx",
			(unsigned long long)number);
		r = guard_observe(guard, &observer, share);
	}
	if (r < 0)
		free(share);
	else
		*ret_share = share;
	return r;
}

void guard_share_free(struct guard_share *share)
{
	if (!share)
		return;
	atomic_store(&share->wanted, false);
	mailbox_run(&share->state->loop->mailbox); /* the store's last answers */
	forget_all(share);
	loop_timer_del(share->state->loop, &share->timer);
	free(share);
}

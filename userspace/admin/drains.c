// SPDX-License-Identifier: Apache-2.0
/* Owns the announced drains and their open accounts; each has a timer that ends it when no step
 * comes any more, so that the log has an end for every beginning. */
#include "admin/drains.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define DRAINS_MAX 16
#define OPEN_MAX 64 /* accounts of a drain; homingctl has 8 */
/* homingctl tries a dead router for most of a minute while this one hears nothing. */
#define SILENCE_MS 120000
#define PROGRESS_MS 5000

struct admin_drains {
	struct loop *loop;
	const struct admin_ops *ops;
	struct list_node drains;
	unsigned count, last_number;
};

struct drain {
	struct list_node link;
	struct admin_drains *drains;
	struct timer timer;
	char id[ADMIN_DRAIN_ID_BYTES + 1]; /* never logged: it is what a step shows */
	unsigned number;                   /* in the log */
	struct admin_caller caller;
	char node[MAPPING_NAME_BYTES + 1];
	uint64_t accounts, moved, failed, shown_ms;
	struct list_node open;
	unsigned open_count;
};

struct drain_account {
	struct list_node link;
	uint64_t begun_ms, sessions;
	bool written, is_odd; /* odd: a write was not what was announced */
	char node[MAPPING_NAME_BYTES + 1];
	char account[ADMIN_ACCOUNT_BYTES];
};

/* ---- lines ---- */

static void log_drain(const struct drain *drain, const char *outcome)
{
	char number[16], accounts[24], moved[24], failed[24];

	snprintf(number, sizeof(number), "%u", drain->number);
	snprintf(accounts, sizeof(accounts), "%" PRIu64, drain->accounts);
	snprintf(moved, sizeof(moved), "%" PRIu64, drain->moved);
	snprintf(failed, sizeof(failed), "%" PRIu64, drain->failed);
	admin_log_op(drain->drains->ops, &drain->caller, "drain", NULL, outcome, "drain", number,
		"node", drain->node, "accounts", accounts, "moved", moved, "failed", failed, NULL);
}

static void log_account(
	const struct drain *drain, const struct drain_account *account, const char *outcome)
{
	bool is_done = strcmp(outcome, "done") == 0;
	enum log_level level = is_done && !account->is_odd ? LOGL_DEBUG : LOGL_INFO;
	char number[16], sessions[24], ms[24];

	if (!log_wants(level))
		return;
	snprintf(number, sizeof(number), "%u", drain->number);
	snprintf(sessions, sizeof(sessions), "%" PRIu64, account->sessions);
	snprintf(ms, sizeof(ms), "%" PRIu64, clock_mono_ms() - account->begun_ms);
	admin_log_op_at(level, drain->drains->ops, &drain->caller, "drain_account",
		account->account, outcome, "drain", number, "node", account->node, "was",
		drain->node, "sessions", sessions, "hold_ms", ms, NULL);
}

/* ---- accounts ---- */

static struct drain_account *find_account(const struct drain *drain, const char *name)
{
	list_for_each (node, &drain->open) {
		struct drain_account *account = list_entry(node, struct drain_account, link);

		if (strcmp(account->account, name) == 0)
			return account;
	}
	return NULL;
}

static void close_account(struct drain *drain, struct drain_account *account, const char *outcome)
{
	if (strcmp(outcome, "done") == 0)
		drain->moved++;
	else
		drain->failed++;
	log_account(drain, account, outcome);
	list_del(&account->link);
	drain->open_count--;
	free(account);
}

/* ---- drains ---- */

static void close_drain(struct drain *drain, const char *outcome)
{
	while (!list_empty(&drain->open))
		close_account(drain, list_entry(drain->open.next, struct drain_account, link),
			"unfinished");
	log_drain(drain, outcome);
	loop_timer_del(drain->drains->loop, &drain->timer);
	list_del(&drain->link);
	drain->drains->count--;
	free(drain);
}

static void on_silence(struct timer *timer)
{
	close_drain(container_of(timer, struct drain, timer), "abandoned");
}

/* A port is new for each request, so it tells nothing. */
static bool same_peer(const struct admin_caller *a, const struct admin_caller *b)
{
	if (a->is_local || b->is_local)
		return a->is_local && b->is_local && a->uid == b->uid;
	return addr_eq_ip(&a->peer, &b->peer);
}

static struct drain *find_drain(
	struct admin_drains *drains, const struct admin_caller *caller, const char *id)
{
	list_for_each (node, &drains->drains) {
		struct drain *drain = list_entry(node, struct drain, link);

		if (strcmp(drain->id, id) == 0 && same_peer(&drain->caller, caller)) {
			loop_timer_set(drains->loop, &drain->timer, SILENCE_MS, on_silence);
			return drain;
		}
	}
	return NULL;
}

static struct drain_account *find_open(struct admin_drains *drains,
	const struct admin_caller *caller, const char *id, const char *account,
	struct drain **ret_drain)
{
	struct drain *drain = *id ? find_drain(drains, caller, id) : NULL;

	if (drain)
		*ret_drain = drain;
	return drain ? find_account(drain, account) : NULL;
}

static int make_id(char id[ADMIN_DRAIN_ID_BYTES + 1])
{
	unsigned char bytes[ADMIN_DRAIN_ID_BYTES / 2];
	int r = fd_random(bytes, sizeof(bytes));

	for (size_t i = 0; r == 0 && i < sizeof(bytes); i++)
		sprintf(id + 2 * i, "%02x", bytes[i]);
	return r;
}

int admin_drain_begin(struct admin_drains *drains, const struct admin_caller *caller,
	const char *node, uint64_t accounts, char ret_id[ADMIN_DRAIN_ID_BYTES + 1])
{
	struct drain *drain;
	int r;

	if (drains->count >= DRAINS_MAX)
		return -ENOSPC;
	drain = calloc(1, sizeof(*drain));
	if (!drain)
		return -ENOMEM;
	r = make_id(drain->id);
	if (r < 0) {
		free(drain);
		return r;
	}
	drain->drains = drains;
	drain->number = ++drains->last_number;
	drain->caller = *caller;
	snprintf(drain->node, sizeof(drain->node), "%.64s", node);
	drain->accounts = accounts;
	drain->shown_ms = clock_mono_ms();
	list_init(&drain->open);
	list_add_tail(&drains->drains, &drain->link);
	drains->count++;
	loop_timer_set(drains->loop, &drain->timer, SILENCE_MS, on_silence);
	log_drain(drain, "begun");
	strcpy(ret_id, drain->id);
	return 0;
}

int admin_drain_end(struct admin_drains *drains, const struct admin_caller *caller, const char *id,
	uint64_t *ret_moved, uint64_t *ret_failed)
{
	struct drain *drain = find_drain(drains, caller, id);

	if (!drain)
		return -ENOENT;
	*ret_moved = drain->moved;
	*ret_failed = drain->failed + drain->open_count;
	close_drain(drain, drain->moved < drain->accounts || *ret_failed ? "incomplete" : "done");
	return 0;
}

/* ---- steps ---- */

bool admin_drain_known(
	struct admin_drains *drains, const struct admin_caller *caller, const char *id)
{
	return *id && find_drain(drains, caller, id);
}

bool admin_drain_hold(struct admin_drains *drains, const struct admin_caller *caller,
	const char *id, const char *account, const char *node)
{
	struct drain *drain = NULL;
	struct drain_account *open = find_open(drains, caller, id, account, &drain);

	if (open) /* the answer to the first was lost */
		return true;
	if (!drain || drain->open_count >= OPEN_MAX || strcmp(node, drain->node) != 0)
		return false;
	open = calloc(1, sizeof(*open));
	if (!open)
		return false;
	open->begun_ms = clock_mono_ms();
	snprintf(open->account, sizeof(open->account), "%s", account);
	list_add_tail(&drain->open, &open->link);
	drain->open_count++;
	return true;
}

bool admin_drain_has(struct admin_drains *drains, const struct admin_caller *caller, const char *id,
	const char *account)
{
	struct drain *drain;

	return find_open(drains, caller, id, account, &drain);
}

bool admin_drain_write(struct admin_drains *drains, const struct admin_pending *pending, bool done)
{
	struct drain *drain = NULL;
	struct drain_account *open =
		find_open(drains, &pending->caller, pending->drain, pending->account, &drain);

	if (!open || !done)
		return false;
	open->is_odd |= open->written || strcmp(pending->was, drain->node) != 0 ||
		strcmp(pending->destination, drain->node) == 0;
	open->written = true;
	snprintf(open->node, sizeof(open->node), "%s", pending->destination);
	return !open->is_odd;
}

bool admin_drain_kick(
	struct admin_drains *drains, const struct admin_pending *pending, uint64_t sessions)
{
	struct drain *drain;
	struct drain_account *open =
		find_open(drains, &pending->caller, pending->drain, pending->account, &drain);

	if (open)
		open->sessions += sessions;
	return open;
}

bool admin_drain_written(struct admin_drains *drains, const struct admin_caller *caller,
	const char *id, const char *account)
{
	struct drain *drain;
	struct drain_account *open = find_open(drains, caller, id, account, &drain);

	return open && open->written;
}

void admin_drain_release(struct admin_drains *drains, const struct admin_caller *caller,
	const char *id, const char *account, const char *node)
{
	struct drain *drain = NULL;
	struct drain_account *open = find_open(drains, caller, id, account, &drain);
	uint64_t now = clock_mono_ms();

	if (!open)
		return;
	if (!open->written)
		snprintf(open->node, sizeof(open->node), "%.64s", node);
	close_account(drain, open,
		*open->node && strcmp(open->node, drain->node) != 0 ? "done" : "failed");
	if (now - drain->shown_ms >= PROGRESS_MS) {
		drain->shown_ms = now;
		log_drain(drain, "running");
	}
}

/* ---- life ---- */

int admin_drains_new(
	struct loop *loop, const struct admin_ops *ops, struct admin_drains **ret_drains)
{
	struct admin_drains *drains = calloc(1, sizeof(*drains));

	if (!drains)
		return -ENOMEM;
	drains->loop = loop;
	drains->ops = ops;
	list_init(&drains->drains);
	*ret_drains = drains;
	return 0;
}

void admin_drains_free(struct admin_drains *drains)
{
	if (!drains)
		return;
	while (!list_empty(&drains->drains))
		close_drain(list_entry(drains->drains.next, struct drain, link), "abandoned");
	free(drains);
}

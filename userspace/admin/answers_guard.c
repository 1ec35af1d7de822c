// SPDX-License-Identifier: Apache-2.0
/*
 * Bans, and what the guard has counted (admin.md section 5.7, GRD-8). An address without a length
 * stands for its source, which is what the guard would ban. 501 while the guard is not enabled.
 */
#include "admin/request.h"
#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 100000
#define SECONDS_DEFAULT 3600
#define SECONDS_MAX (366 * 86400u)
#define NETWORKS_MAX 1000

/* Parameters of /bans. */
enum { ADDRESS, SECONDS, REASON, LIMIT };

/* Answers and returns NULL where there is none. */
static struct guard *take_guard(struct admin_request *request)
{
	struct guard *guard = request->ops->guard(request->ops->arg);

	if (!guard)
		admin_error(request->conn, 501, "the guard is not enabled");
	return guard;
}

/* ret_addr is set if the address has no length. Answers and returns false where there is none. */
static bool take_net(struct admin_request *request, const struct guard *guard,
	struct addr *ret_addr, struct cidr *ret_net)
{
	const struct admin_param *param = &request->params[ADDRESS];
	struct view text = view_make(param->value, param->len);

	*ret_addr = (struct addr){ 0 };
	if (!param->given) {
		admin_error(request->conn, 400, "address required");
		return false;
	}
	if (addr_parse_ip(text, 0, ret_addr) == 0) {
		addr_unmap(ret_addr);
		guard_source(guard, ret_addr, ret_net);
		return true;
	}
	if (cidr_parse(text, ret_net) == 0 && ret_net->bits)
		return true;
	admin_error(request->conn, 400, "invalid address");
	return false;
}

/* ---- what there is ---- */

static const char *wall_clock(uint64_t mono_ms, char text[CLOCK_TEXT_SIZE])
{
	return clock_format_rfc3339(clock_real_ms() - clock_mono_ms() + mono_ms, false, text);
}

static json_t *ban_json(const struct admin_ops *ops, const struct guard_ban *ban)
{
	char net[CIDR_TEXT_SIZE], since[CLOCK_TEXT_SIZE], until[CLOCK_TEXT_SIZE];
	char last[CLOCK_TEXT_SIZE];
	uint64_t now_ms = clock_mono_ms();

	return json_pack("{ss ss ss ss sb si sI ss ss sI sI ss? sI}", "net",
		cidr_format(&ban->net, net), "origin", guard_origin_name(ban->origin), "reason",
		guard_reason_name(ban->reason), "text", ban->text, "told", (int)ban->told,
		"strikes", (int)ban->strikes, "points", (json_int_t)ban->points, "since",
		wall_clock(ban->since_ms, since), "until", wall_clock(ban->until_ms, until),
		"left_s", (json_int_t)((ban->until_ms - MIN(now_ms, ban->until_ms) + 999) / 1000),
		"dropped", (json_int_t)ban->dropped, "last",
		ban->last_ms ? wall_clock(ban->last_ms, last) : NULL, "kernel_dropped",
		(json_int_t)ops->kernel_dropped(ops->arg, &ban->net));
}

struct bans {
	struct guard_ban *rows;
	size_t count, room;
	bool failed;
};

static bool collect(void *arg, const struct guard_ban *ban)
{
	struct bans *bans = arg;

	if (bans->count == bans->room) {
		size_t room = bans->room ? bans->room * 2 : 256;
		struct guard_ban *more = reallocarray(bans->rows, room, sizeof(*more));

		bans->failed = !more;
		if (!more)
			return false;
		bans->rows = more;
		bans->room = room;
	}
	bans->rows[bans->count++] = *ban;
	return true;
}

static int newer_first(const void *a, const void *b)
{
	const struct guard_ban *first = a, *second = b;

	return (first->since_ms < second->since_ms) - (first->since_ms > second->since_ms);
}

static void send_bans(struct admin_request *request, struct bans *bans, unsigned limit)
{
	size_t shown = MIN(bans->count, (size_t)limit);
	json_t *list = json_array();

	if (bans->count)
		qsort(bans->rows, bans->count, sizeof(*bans->rows), newer_first);
	for (size_t i = 0; i < shown; i++)
		json_array_append_new(list, ban_json(request->ops, &bans->rows[i]));
	admin_send_json(request->conn, 200,
		json_pack("{sI sI so}", "total", (json_int_t)bans->count, "shown",
			(json_int_t)shown, "bans", list));
}

static void get_bans(struct admin_request *request, struct guard *guard)
{
	unsigned limit = admin_parse_limit(&request->params[LIMIT], LIMIT_DEFAULT, LIMIT_MAX);
	struct bans bans = { 0 };
	struct guard_ban ban;
	struct addr addr;
	struct cidr net;

	if (!admin_takes_only(request, BIT(ADDRESS) | BIT(LIMIT)))
		return;
	if (!limit) {
		admin_error(request->conn, 400, "invalid limit");
		return;
	}
	if (!request->params[ADDRESS].given) {
		guard_bans_each(guard, collect, &bans);
	} else if (!take_net(request, guard, &addr, &net)) {
		return;
	} else if (addr_is_set(&addr) ? guard_find_ban_of(guard, &addr, &ban)
				      : guard_find_ban(guard, &net, &ban)) {
		collect(&bans, &ban);
	}
	if (bans.failed)
		admin_error(request->conn, 500, "out of memory");
	else
		send_bans(request, &bans, limit);
	free(bans.rows);
}

/* ---- changes ---- */

/* It goes to logs, terminals and other routers. */
static bool is_reason(struct view text)
{
	return text.len < GUARD_TEXT_SIZE && view_is_plain_text(text);
}

static void log_ban(const struct admin_request *request, const struct cidr *net, unsigned seconds,
	const char *text, const char *outcome)
{
	struct admin_caller caller = admin_caller(request->conn);
	char shown[CIDR_TEXT_SIZE], number[24];

	snprintf(number, sizeof(number), "%u", seconds);
	admin_log_op(request->ops, &caller, "ban", NULL, outcome, "net", cidr_format(net, shown),
		"seconds", number, "text", text, NULL);
}

static void put_ban(struct admin_request *request, struct guard *guard)
{
	const struct admin_param *reason = &request->params[REASON];
	unsigned seconds =
		admin_parse_limit(&request->params[SECONDS], SECONDS_DEFAULT, SECONDS_MAX);
	struct guard_order order = { .origin = GUARD_OPERATOR,
		.reason = GUARD_FOR_ORDER,
		.for_ms = seconds * UINT64_C(1000),
		.text = reason->value };
	char shown[CIDR_TEXT_SIZE];
	enum guard_why why;
	struct addr addr;
	int r;

	if (!take_net(request, guard, &addr, &order.net) ||
		!admin_takes_only(request, BIT(ADDRESS) | BIT(SECONDS) | BIT(REASON)))
		return;
	if (!seconds || !is_reason(view_make(reason->value, reason->len))) {
		admin_error(request->conn, 400, seconds ? "invalid reason" : "invalid seconds");
		return;
	}
	r = guard_ban(guard, &order, &why);
	log_ban(request, &order.net, seconds, reason->value,
		r == 0                     ? "done"
			: r == GUARD_NEVER ? "never_banned"
					   : "failed");
	if (r == 0)
		admin_send_json(request->conn, 200,
			json_pack("{ss sI}", "banned", cidr_format(&order.net, shown), "seconds",
				(json_int_t)seconds));
	else if (r == GUARD_NEVER)
		admin_send_json(request->conn, 409,
			json_pack("{ss ss}", "error", "never banned", "why", guard_why_name(why)));
	else
		admin_error(request->conn, r == -EINVAL ? 400 : 500,
			r == -EINVAL ? "invalid address" : "out of memory");
}

static void delete_ban(struct admin_request *request, struct guard *guard)
{
	struct admin_caller caller = admin_caller(request->conn);
	char shown[CIDR_TEXT_SIZE], wider[CIDR_TEXT_SIZE];
	struct guard_ban left;
	struct addr addr;
	struct cidr net;
	bool removed, is_left;

	if (!admin_takes_only(request, BIT(ADDRESS)) || !take_net(request, guard, &addr, &net))
		return;
	removed = guard_unban(guard, &net) == 0;
	is_left = addr_is_set(&addr) ? guard_find_ban_of(guard, &addr, &left)
				     : guard_find_ban_around(guard, &net, &left);
	admin_log_op(request->ops, &caller, "unban", NULL, removed ? "done" : "no_ban", "net",
		cidr_format(&net, shown), NULL);
	admin_send_json(request->conn, 200,
		json_pack("{ss sb ss?}", "unbanned", shown, "removed", (int)removed, "still_in",
			is_left ? cidr_format(&left.net, wider) : NULL));
}

void admin_answer_bans(struct admin_request *request)
{
	struct guard *guard = take_guard(request);

	if (!guard)
		return;
	if (request->method == METHOD_GET)
		get_bans(request, guard);
	else if (request->method == METHOD_PUT)
		put_ban(request, guard);
	else
		delete_ban(request, guard);
}

/* ---- figures ---- */

#define COUNTS_JSON(name, counts, count)                                                       \
	static json_t *name##_json(const uint64_t counts[count])                               \
	{                                                                                      \
		json_t *object = json_object();                                                \
                                                                                               \
		for (int i = 0; i < (count); i++)                                              \
			json_object_set_new(object, guard_##name##_name((enum guard_##name)i), \
				json_integer((json_int_t)counts[i]));                          \
		return object;                                                                 \
	}

COUNTS_JSON(origin, counts, GUARD_ORIGINS)
COUNTS_JSON(verdict, counts, GUARD_VERDICTS)
COUNTS_JSON(reason, counts, GUARD_REASONS)
COUNTS_JSON(why, counts, GUARD_WHYS)
COUNTS_JSON(end, counts, GUARD_ENDS)

static const char *guard_event_name(enum guard_event event)
{
	static const char *const names[] = { "refused", "malformed", "handshake", "silent",
		"good" };

	static_assert(ARRAY_SIZE(names) == GUARD_EVENTS, "a name for each");
	return names[event];
}

COUNTS_JSON(event, counts, GUARD_EVENTS)

static void add_network(void *arg, const struct guard_net *net)
{
	char text[CIDR_TEXT_SIZE];

	if (json_array_size(arg) < NETWORKS_MAX)
		json_array_append_new(arg,
			json_pack("{ss ss}", "net", cidr_format(&net->net, text), "why",
				guard_why_name(net->why)));
}

void admin_answer_guard(struct admin_request *request)
{
	struct guard *guard = request->ops->guard(request->ops->arg);
	json_t *networks, *object;
	struct guard_status status;

	if (!guard) {
		admin_send_json(request->conn, 200, json_pack("{sb}", "enabled", 0));
		return;
	}
	guard_status(guard, &status);
	networks = json_array();
	guard_nets_each(guard, add_network, networks);
	object = json_pack("{sb sb sI sI sI sI so so so so so so so}", "enabled", 1, "observe",
		(int)status.observe, "sources", (json_int_t)status.sources, "repeated",
		(json_int_t)status.repeated, "forgotten", (json_int_t)status.forgotten, "penalties",
		(json_int_t)status.penalties, "bans", origin_json(status.bans), "checks",
		verdict_json(status.checks), "bans_total", reason_json(status.bans_total),
		"withheld", why_json(status.withheld), "ended", end_json(status.ended), "events",
		event_json(status.events), "networks", networks);
	request->ops->add_guard(request->ops->arg, object);
	admin_send_json(request->conn, 200, object);
}

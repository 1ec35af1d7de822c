// SPDX-License-Identifier: Apache-2.0
#include "control/guard_mirror.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NS_PER_MS 1000000ull

void guard_mirror_init(struct guard_mirror *mirror, struct bpfctl_guard *maps, unsigned ipv4_bits,
	unsigned ipv6_bits, size_t max_lines)
{
	*mirror = (struct guard_mirror){
		.maps = maps, .ipv4_bits = ipv4_bits, .ipv6_bits = ipv6_bits, .max_lines = max_lines
	};
	pthread_mutex_init(&mirror->lock, NULL);
}

void guard_mirror_fini(struct guard_mirror *mirror)
{
	pthread_mutex_destroy(&mirror->lock);
}

/* ---- networks and keys ---- */

void guard_mirror_prefix(const struct cidr *net, struct hm_guard_prefix *ret_prefix)
{
	*ret_prefix = (struct hm_guard_prefix){ .bits = net->bits };
	if (net->net.sa.sa_family != AF_INET6)
		ret_prefix->bits += ADDR_MAPPED_BITS;
	addr_to_mapped(&net->net, ret_prefix->addr);
}

bool guard_mirror_net(const struct hm_guard_prefix *prefix, struct cidr *ret_net)
{
	if (prefix->bits > 128)
		return false;
	cidr_from_mapped(prefix->addr, (uint8_t)prefix->bits, ret_net);
	return true;
}

const char *guard_mirror_text(const struct cidr *net, char text[HM_GUARD_CLIENT_BYTES])
{
	char ip[ADDR_TEXT_SIZE];
	unsigned whole = net->net.sa.sa_family == AF_INET6 ? 128 : 32;

	addr_format_ip(&net->net, ip);
	if (net->bits == whole)
		snprintf(text, HM_GUARD_CLIENT_BYTES, "%.*s", HM_GUARD_CLIENT_BYTES - 1, ip);
	else
		snprintf(text, HM_GUARD_CLIENT_BYTES, "%.*s/%u", HM_GUARD_CLIENT_BYTES - 5, ip,
			net->bits);
	return text;
}

bool guard_mirror_source(const struct guard_mirror *mirror, const struct cidr *net,
	struct hm_guard_source *ret_source)
{
	struct hm_guard_prefix prefix;

	if (net->bits !=
		(net->net.sa.sa_family == AF_INET6 ? mirror->ipv6_bits : mirror->ipv4_bits))
		return false;
	guard_mirror_prefix(net, &prefix);
	memcpy(ret_source->addr, prefix.addr, HM_GUARD_ADDR_BYTES);
	return true;
}

/* ---- bans ---- */

static __u64 ns_of(uint64_t ms)
{
	return ms < UINT64_MAX / NS_PER_MS ? ms * NS_PER_MS : UINT64_MAX;
}

static void put_ban(struct guard_mirror *mirror, const struct hm_guard_source *source,
	const struct guard_ban *ban)
{
	struct hm_guard_ban row = {
		.until_ns = ns_of(ban->until_ms),
		.since_ns = ns_of(ban->since_ms),
		.reason = (__u32)ban->reason + 1,
		.strikes = ban->strikes,
	};
	int r;

	guard_mirror_text(&ban->net, row.client);
	r = bpfctl_guard_ban_set(mirror->maps, source, &row);
	if (r < 0)
		log_event_limited(LOGL_WARN, "guard_map", NULL, "client", row.client, "reason",
			strerror(-r), NULL);
}

/* What the guard says now counts, since calls for one ban may overtake each other. */
static void follow_ban(struct guard_mirror *mirror, const struct cidr *net)
{
	struct hm_guard_source source;
	struct guard_ban ban;

	if (!guard_mirror_source(mirror, net, &source)) {
		atomic_store(&mirror->lists_stale, true);
		return;
	}
	pthread_mutex_lock(&mirror->lock);
	if (guard_find_ban(mirror->guard, net, &ban) && !ban.told)
		put_ban(mirror, &source, &ban);
	else
		bpfctl_guard_ban_remove(mirror->maps, &source);
	pthread_mutex_unlock(&mirror->lock);
}

static void on_ban_set(void *arg, const struct guard_ban *ban)
{
	follow_ban(arg, &ban->net);
}

static void on_ban_removed(void *arg, const struct guard_ban *ban, enum guard_end end)
{
	(void)end;
	follow_ban(arg, &ban->net);
}

static void on_nets_changed(void *arg)
{
	struct guard_mirror *mirror = arg;

	atomic_store(&mirror->lists_stale, true);
}

int guard_mirror_start(struct guard_mirror *mirror, struct guard *guard)
{
	static const struct guard_observer_ops ops = {
		.ban_set = on_ban_set,
		.ban_removed = on_ban_removed,
		.nets_changed = on_nets_changed,
	};

	mirror->guard = guard;
	atomic_store(&mirror->lists_stale, true);
	return guard_observe(guard, &ops, mirror);
}

/* ---- what a process before has left ---- */

struct left {
	struct hm_guard_source source;
	struct cidr net;
	bool is_prefix;
	struct hm_guard_ban ban; /* without its counts */
};

struct lefts {
	struct left *rows;
	size_t count, room;
};

static void keep(struct lefts *lefts, const struct left *left)
{
	if (lefts->count == lefts->room) {
		size_t room = lefts->room ? lefts->room * 2 : 64;
		struct left *rows = reallocarray(lefts->rows, room, sizeof(*rows));

		if (!rows)
			return; /* the kernel's row ends by itself */
		lefts->rows = rows;
		lefts->room = room;
	}
	lefts->rows[lefts->count++] = *left;
}

/* Its text says how long the source was, which the key does not. */
static void keep_ban(
	void *arg, const struct hm_guard_source *source, const struct hm_guard_ban *ban)
{
	struct left left = { .source = *source, .ban = *ban };

	left.ban.client[HM_GUARD_CLIENT_BYTES - 1] = '\0';
	if (cidr_parse(view_str(left.ban.client), &left.net) == 0)
		keep(arg, &left);
}

static void keep_line(void *arg, const struct bpfctl_guard_line *line)
{
	struct left left = { .is_prefix = true };

	left.ban.until_ns = line->rule.until_ns;
	left.ban.since_ns = line->rule.since_ns;
	left.ban.reason = line->rule.reason;
	if (line->rule.reason && guard_mirror_net(&line->prefix, &left.net))
		keep(arg, &left);
}

/* The guard tells the mirror, which writes the row again. */
static bool restore(struct guard_mirror *mirror, const struct left *left)
{
	uint64_t now_ms = clock_mono_ms(), until_ms = left->ban.until_ns / NS_PER_MS;
	const struct guard_order order = {
		.net = left->net,
		.for_ms = until_ms > now_ms ? until_ms - now_ms : 0,
		.since_ms = MAX(left->ban.since_ns / NS_PER_MS, (__u64)1),
		.origin = GUARD_RESTORED,
		.reason = left->ban.reason && left->ban.reason <= GUARD_REASONS
			? (enum guard_reason)(left->ban.reason - 1)
			: GUARD_FOR_ORDER,
		.strikes = left->ban.strikes,
	};
	struct hm_guard_source source;
	bool restored = order.for_ms && guard_ban(mirror->guard, &order, NULL) == 0;

	if (!left->is_prefix && (!restored || !guard_mirror_source(mirror, &left->net, &source)))
		bpfctl_guard_ban_remove(mirror->maps, &left->source);
	return restored;
}

size_t guard_mirror_restore(struct guard_mirror *mirror)
{
	struct lefts lefts = { 0 };
	size_t restored = 0;
	int r = bpfctl_guard_bans_scan(mirror->maps, keep_ban, &lefts);

	if (r == 0)
		r = bpfctl_guard_lists_scan(mirror->maps, keep_line, &lefts);
	if (r < 0)
		log_event(LOGL_WARN, "guard_map", "reason", strerror(-r), NULL);
	for (size_t i = 0; i < lefts.count; i++)
		restored += restore(mirror, &lefts.rows[i]);
	free(lefts.rows);
	atomic_store(&mirror->lists_stale, true);
	return restored;
}

/* ---- lists ---- */

struct lines {
	const struct guard_mirror *mirror;
	struct bpfctl_guard_line *rows;
	size_t count, room;
	bool failed;
};

static void add_line(struct lines *lines, const struct bpfctl_guard_line *line)
{
	if (lines->count == lines->room) {
		size_t room = lines->room ? lines->room * 2 : 64;
		struct bpfctl_guard_line *rows = reallocarray(lines->rows, room, sizeof(*rows));

		lines->failed |= !rows;
		if (!rows)
			return;
		lines->rows = rows;
		lines->room = room;
	}
	lines->rows[lines->count++] = *line;
}

static bool add_banned(void *arg, const struct guard_ban *ban)
{
	struct lines *lines = arg;
	struct bpfctl_guard_line line = { .rule = {
						  .until_ns = ns_of(ban->until_ms),
						  .since_ns = ns_of(ban->since_ms),
						  .action = HM_GUARD_DENY,
						  .reason = (__u32)ban->reason + 1,
					  } };
	struct hm_guard_source source;

	if (ban->told || guard_mirror_source(lines->mirror, &ban->net, &source))
		return true;
	guard_mirror_prefix(&ban->net, &line.prefix);
	add_line(lines, &line);
	return true;
}

static void add_net(void *arg, const struct guard_net *net)
{
	struct bpfctl_guard_line line = {
		.rule.action = net->why == GUARD_WHY_DENY ? HM_GUARD_DENY : HM_GUARD_ALLOW
	};

	guard_mirror_prefix(&net->net, &line.prefix);
	add_line(arg, &line);
}

/* Bans are first, so that of one prefix the network counts, and the first are left out. */
static int write_lines(struct guard_mirror *mirror, struct lines *lines)
{
	size_t skip = lines->count > mirror->max_lines ? lines->count - mirror->max_lines : 0;

	if (skip)
		log_event_limited(LOGL_WARN, "guard_map", NULL, "reason",
			"too many prefixes: some bans act in user space only", NULL);
	return bpfctl_guard_lists_set(
		mirror->maps, lines->rows ? lines->rows + skip : NULL, lines->count - skip);
}

void guard_mirror_write_lists(struct guard_mirror *mirror)
{
	struct lines lines = { .mirror = mirror };
	int r;

	if (!atomic_exchange(&mirror->lists_stale, false))
		return;
	guard_bans_each(mirror->guard, add_banned, &lines);
	guard_nets_each(mirror->guard, add_net, &lines);
	r = lines.failed ? -ENOMEM : write_lines(mirror, &lines);
	free(lines.rows);
	if (r == 0)
		return;
	atomic_store(&mirror->lists_stale, true);
	log_event_limited(LOGL_WARN, "guard_map", NULL, "reason", strerror(-r), NULL);
}

// SPDX-License-Identifier: Apache-2.0
/* Whatever the reason, one event is one line, with what makes it understood without the others.
 * Bans of other routers are their news; here they are told at info. */
#include "control/guard_log.h"
#include "base/log.h"

#include <stdio.h>

static void put_net(struct log_line *line, const struct cidr *net)
{
	char text[CIDR_TEXT_SIZE];

	log_str(line, "net", cidr_format(net, text));
}

static void put_points(struct log_line *line, double points)
{
	char text[24];

	snprintf(text, sizeof(text), "%.1f", points);
	log_str(line, "points", text);
}

static void on_ban(void *arg, const struct guard_ban *ban)
{
	bool is_news = ban->origin == GUARD_LOCAL || ban->origin == GUARD_OPERATOR;
	struct log_line line;

	(void)arg;
	log_start(&line, is_news ? LOGL_WARN : LOGL_INFO, "ban");
	put_net(&line, &ban->net);
	log_int(&line, "seconds", (int64_t)((ban->until_ms - ban->since_ms + 500) / 1000));
	log_str(&line, "reason", guard_reason_name(ban->reason));
	log_str(&line, "origin", guard_origin_name(ban->origin));
	put_points(&line, ban->points);
	log_int(&line, "strikes", ban->strikes);
	if (ban->told)
		log_str(&line, "told", "true");
	if (*ban->text)
		log_str(&line, "text", ban->text);
	log_end(&line);
}

static void on_end(void *arg, const struct guard_ban *ban, enum guard_end end)
{
	struct log_line line;

	(void)arg;
	log_start(&line, LOGL_INFO, "unban");
	put_net(&line, &ban->net);
	log_str(&line, "why", guard_end_name(end));
	log_str(&line, "reason", guard_reason_name(ban->reason));
	log_str(&line, "origin", guard_origin_name(ban->origin));
	put_points(&line, ban->points);
	log_int(&line, "dropped", (int64_t)ban->dropped);
	log_end(&line);
}

static void on_withheld(void *arg, const struct addr *client, enum guard_why why, double points)
{
	char text[ADDR_TEXT_SIZE];
	struct log_line line;

	(void)arg;
	log_start(&line, LOGL_INFO, "ban_withheld");
	log_str(&line, "client", addr_format_ip(client, text));
	log_str(&line, "why", guard_why_name(why));
	put_points(&line, points);
	log_end(&line);
}

static const struct guard_observer_ops ops = {
	.ban_set = on_ban,
	.ban_removed = on_end,
	.withheld = on_withheld,
};

int guard_log_observe(struct guard *guard)
{
	return guard_observe(guard, &ops, NULL);
}

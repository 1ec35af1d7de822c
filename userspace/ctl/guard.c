// SPDX-License-Identifier: Apache-2.0
/* homingctl ban, unban, bans, guard (GRD-8). */
#include "ctl/ctl.h"

#include <stdio.h>
#include <string.h>

/* A number of seconds, or one with a unit. Returns 0 where it is neither. */
static uint64_t parse_time(const char *text)
{
	static const struct {
		char unit;
		unsigned seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	struct view number = view_str(text);
	uint64_t seconds, factor = 1;

	for (size_t i = 0; number.len && i < ARRAY_SIZE(units); i++) {
		if (text[strlen(text) - 1] == units[i].unit) {
			factor = units[i].seconds;
			number.len--;
			break;
		}
	}
	return view_to_u64(number, &seconds) < 0 || seconds > 1000000000 ? 0 : seconds * factor;
}

int ctl_cmd_ban(struct ctl *ctl, char **args)
{
	const char *time = ctl->options.texts[CTL_FOR];
	uint64_t seconds = time ? parse_time(time) : 0;
	char number[24];
	const struct ctl_param params[] = { { "address", args[0] },
		{ "seconds", time ? number : NULL }, { "reason", ctl->options.texts[CTL_REASON] } };
	json_t *body;
	int code;

	if (!args[0])
		return EXIT_USAGE;
	if (time && !seconds)
		return ctl_complain("--for", "not a time such as 90s, 30m, 1h or 2d");
	snprintf(number, sizeof(number), "%llu", (unsigned long long)seconds);
	code = ctl_call_with(ctl, "PUT", "/bans", params, ARRAY_SIZE(params), &body);
	if (body)
		printf("%s: banned for %lld s\n", ctl_text(body, "banned"),
			ctl_number(body, "seconds"));
	json_decref(body);
	return code;
}

int ctl_cmd_unban(struct ctl *ctl, char **args)
{
	const struct ctl_param address = { "address", args[0] };
	json_t *body;
	int code;

	if (!args[0])
		return EXIT_USAGE;
	code = ctl_call_with(ctl, "DELETE", "/bans", &address, 1, &body);
	if (body)
		printf("%s: %s\n", ctl_text(body, "unbanned"),
			json_is_true(json_object_get(body, "removed")) ? "unbanned" : "had no ban");
	if (json_is_string(json_object_get(body, "still_in")))
		printf("it is in a banned network all the same: %s\n", ctl_text(body, "still_in"));
	json_decref(body);
	return code;
}

int ctl_cmd_bans(struct ctl *ctl, char **args)
{
	const struct ctl_param params[] = { { "address", args[0] },
		{ "limit", ctl->options.texts[CTL_LIMIT] } };
	json_t *body, *row;
	size_t i;
	int code = ctl_call_with(ctl, "GET", "/bans", params, ARRAY_SIZE(params), &body);

	if (body)
		printf("%-43s %-9s %-10s %9s %7s %6s %10s  %s\n", "net", "origin", "reason", "left",
			"strikes", "points", "dropped", "text");
	json_array_foreach(json_object_get(body, "bans"), i, row)
	{
		printf("%-43s %-9s %-10s %8llds %7lld %6lld %10lld  %s\n", ctl_text(row, "net"),
			ctl_text(row, "origin"), ctl_text(row, "reason"), ctl_number(row, "left_s"),
			ctl_number(row, "strikes"), ctl_number(row, "points"),
			ctl_number(row, "dropped") + ctl_number(row, "kernel_dropped"),
			ctl_text(row, "text"));
	}
	if (body)
		printf("%lld of %lld bans\n", ctl_number(body, "shown"), ctl_number(body, "total"));
	json_decref(body);
	return code;
}

static void print_counts(const json_t *body, const char *key)
{
	json_t *value;
	const char *name;

	printf("%-12s", key);
	json_object_foreach(json_object_get(body, key), name, value)
	{
		printf(" %s %lld", name, (long long)json_integer_value(value));
	}
	putchar('\n');
}

static void print_guard(const json_t *body)
{
	static const char *const counts[] = { "bans", "bans_total", "withheld", "ended", "events",
		"checks", "packets" };
	static const char *const numbers[] = { "sources", "repeated", "forgotten", "penalties" };
	json_t *row;
	size_t i;

	printf("enabled%s\n",
		json_is_true(json_object_get(body, "observe"))
			? ", but only observes: nobody is refused"
			: "");
	printf("kernel       %s\n",
		!json_is_true(json_object_get(body, "kernel"))         ? "no"
			: json_is_true(json_object_get(body, "inert")) ? "inert"
								       : "yes");
	for (size_t k = 0; k < ARRAY_SIZE(numbers); k++)
		printf("%-12s %lld\n", numbers[k], ctl_number(body, numbers[k]));
	for (size_t k = 0; k < ARRAY_SIZE(counts); k++) {
		if (json_object_get(body, counts[k]))
			print_counts(body, counts[k]);
	}
	json_array_foreach(json_object_get(body, "interfaces"), i, row)
	{
		printf("interface    %s: %s, by %s\n", ctl_text(row, "name"), ctl_text(row, "mode"),
			ctl_text(row, "by"));
	}
	json_array_foreach(json_object_get(body, "networks"), i, row)
	{
		printf("%-43s %s\n", ctl_text(row, "net"), ctl_text(row, "why"));
	}
}

int ctl_cmd_guard(struct ctl *ctl, char **args)
{
	json_t *body;
	int code = ctl_call(ctl, "GET", "/guard", &body);

	(void)args;
	if (body && !json_is_true(json_object_get(body, "enabled")))
		puts("not enabled");
	else if (body)
		print_guard(body);
	json_decref(body);
	return code;
}

// SPDX-License-Identifier: Apache-2.0
/* homingctl ban, unban, bans, guard (GRD-8). */
#include "ctl/ctl.h"

#include <stdio.h>
#include <stdlib.h>
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

/* /bans with what is not NULL; freed by the caller, NULL without memory. */
static char *bans_path(const char *address, uint64_t seconds, const char *reason, const char *limit)
{
	const struct {
		const char *name, *value;
	} params[] = { { "address", address }, { "reason", reason }, { "limit", limit } };
	char *path = strdup("/bans"), mark = '?', *longer;

	if (path && seconds) {
		free(path);
		if (asprintf(&path, "/bans?seconds=%llu", (unsigned long long)seconds) < 0)
			path = NULL;
		mark = '&';
	}
	for (size_t i = 0; path && i < ARRAY_SIZE(params); i++) {
		char *value = params[i].value ? ctl_encode(params[i].value) : NULL;

		if (!params[i].value)
			continue;
		if (!value || asprintf(&longer, "%s%c%s=%s", path, mark, params[i].name, value) < 0)
			longer = NULL;
		free(value);
		free(path);
		path = longer;
		mark = '&';
	}
	return path;
}

/* Takes the path. */
static int call(struct ctl *ctl, const char *method, char *path, json_t **ret_body)
{
	int code;

	*ret_body = NULL;
	if (!path)
		return ctl_complain("out of memory", NULL);
	code = ctl_call(ctl, method, path, ret_body);
	free(path);
	return code;
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}

static long long number_of(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

int ctl_cmd_ban(struct ctl *ctl, char **args)
{
	const char *time = ctl->options.texts[CTL_FOR];
	uint64_t seconds = time ? parse_time(time) : 0;
	json_t *body;
	int code;

	if (!args[0])
		return EXIT_USAGE;
	if (time && !seconds)
		return ctl_complain("--for", "not a time such as 90s, 30m, 1h or 2d");
	code = call(ctl, "PUT", bans_path(args[0], seconds, ctl->options.texts[CTL_REASON], NULL),
		&body);
	if (body)
		printf("%s: banned for %lld s\n", text_of(body, "banned"),
			number_of(body, "seconds"));
	json_decref(body);
	return code;
}

int ctl_cmd_unban(struct ctl *ctl, char **args)
{
	json_t *body;
	int code;

	if (!args[0])
		return EXIT_USAGE;
	code = call(ctl, "DELETE", bans_path(args[0], 0, NULL, NULL), &body);
	if (body)
		printf("%s: %s\n", text_of(body, "unbanned"),
			json_is_true(json_object_get(body, "removed")) ? "unbanned" : "had no ban");
	if (json_is_string(json_object_get(body, "still_in")))
		printf("it is in a banned network all the same: %s\n", text_of(body, "still_in"));
	json_decref(body);
	return code;
}

int ctl_cmd_bans(struct ctl *ctl, char **args)
{
	json_t *body, *row;
	size_t i;
	int code =
		call(ctl, "GET", bans_path(args[0], 0, NULL, ctl->options.texts[CTL_LIMIT]), &body);

	if (body)
		printf("%-43s %-9s %-10s %9s %7s %6s %10s  %s\n", "net", "origin", "reason", "left",
			"strikes", "points", "dropped", "text");
	json_array_foreach(json_object_get(body, "bans"), i, row)
	{
		printf("%-43s %-9s %-10s %8llds %7lld %6lld %10lld  %s\n", text_of(row, "net"),
			text_of(row, "origin"), text_of(row, "reason"), number_of(row, "left_s"),
			number_of(row, "strikes"), number_of(row, "points"),
			number_of(row, "dropped") + number_of(row, "kernel_dropped"),
			text_of(row, "text"));
	}
	if (body)
		printf("%lld of %lld bans\n", number_of(body, "shown"), number_of(body, "total"));
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
		printf("%-12s %lld\n", numbers[k], number_of(body, numbers[k]));
	for (size_t k = 0; k < ARRAY_SIZE(counts); k++) {
		if (json_object_get(body, counts[k]))
			print_counts(body, counts[k]);
	}
	json_array_foreach(json_object_get(body, "interfaces"), i, row)
	{
		printf("interface    %s: %s, by %s\n", text_of(row, "name"), text_of(row, "mode"),
			text_of(row, "by"));
	}
	json_array_foreach(json_object_get(body, "networks"), i, row)
	{
		printf("%-43s %s\n", text_of(row, "net"), text_of(row, "why"));
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

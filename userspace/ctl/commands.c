// SPDX-License-Identifier: Apache-2.0
/* The commands that ask the router one thing and print its answer as a table or a line. */
#include "ctl/ctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void print_scalar(const json_t *value)
{
	char *text = json_dumps(value, JSON_ENCODE_ANY);

	if (json_is_string(value))
		printf("%s", json_string_value(value));
	else
		printf("%s", text ? text : "");
	free(text);
}

static void print_keys(json_t *row)
{
	const char *key;
	json_t *value;

	json_object_foreach(row, key, value)
	{
		if (!json_is_object(value) && !json_is_array(value))
			printf(" %14s", key);
	}
	putchar('\n');
}

static void print_values(json_t *row)
{
	const char *key;
	json_t *value;

	json_object_foreach(row, key, value)
	{
		char *text;

		if (json_is_object(value) || json_is_array(value))
			continue;
		text = json_dumps(value, JSON_ENCODE_ANY);
		printf(" %14s", text ? text : "");
		free(text);
	}
	putchar('\n');
}

/* An object of objects as a table: one row per member, of its plain values. */
static void print_members(const char *title, json_t *object)
{
	const char *name;
	json_t *row;
	bool header = false;

	json_object_foreach(object, name, row)
	{
		if (!header) {
			printf("\n%-16s", title);
			print_keys(row);
		}
		header = true;
		printf("%-16s", name);
		print_values(row);
	}
}

/* An object that has no name of its own. */
static void print_member(const char *title, const char *name, json_t *object)
{
	json_t *members = object ? json_pack("{sO}", name, object) : NULL;

	print_members(title, members);
	json_decref(members);
}

/* How often each reason was, of those that there were. */
static void print_refusals(const char *who, const json_t *row)
{
	json_t *refusals = json_object_get(row, "refusals"), *value;
	const char *reason;

	if (!json_object_size(refusals))
		return;
	printf("refused (%s):", who);
	json_object_foreach(refusals, reason, value)
	{
		printf(" %s %lld", reason, (long long)json_integer_value(value));
	}
	putchar('\n');
}

static void print_strangers(const json_t *list)
{
	json_t *row;
	size_t i;

	if (json_array_size(list))
		printf("\n%-44s %8s %s\n", "without a token", "came", "last");
	json_array_foreach(list, i, row)
	{
		printf("%-44s %8lld %s\n", ctl_text(row, "address"), ctl_number(row, "count"),
			ctl_text(row, "last"));
	}
}

/* The agents beside nodes, and what this process is as an agent, if it is one. */
static void print_handoffs(const json_t *body)
{
	json_t *agents = json_object_get(body, "agents"), *own = json_object_get(body, "handoff"),
	       *row;
	const char *name;

	print_members("agent", agents);
	json_object_foreach(agents, name, row)
	{
		print_refusals(name, row);
	}
	if (!ctl_number(own, "channels") && !ctl_number(own, "joined") &&
		!ctl_number(own, "tokens_refused"))
		return;
	print_member("as an agent", "all routers", own);
	print_refusals("routers", own);
	print_strangers(json_object_get(own, "strangers"));
}

int ctl_cmd_stats(struct ctl *ctl, char **args)
{
	const char *key;
	json_t *body, *value;
	int code = ctl_call(ctl, "GET", "/stats", &body);

	(void)args;
	json_object_foreach(body, key, value)
	{
		if (json_is_object(value) || json_is_array(value))
			continue;
		printf("%-22s ", key);
		if (json_is_real(value))
			printf("%.2f", json_real_value(value));
		else
			print_scalar(value);
		putchar('\n');
	}
	print_members("node", json_object_get(body, "nodes"));
	print_members("listener", json_object_get(body, "listeners"));
	print_members("path", json_object_get(body, "paths"));
	print_member("since start", "all paths", json_object_get(body, "splice"));
	print_handoffs(body);
	json_decref(body);
	return code;
}

/* The table of `homingd --probe`, as the running router has found it. */
int ctl_cmd_probe(struct ctl *ctl, char **args)
{
	json_t *body, *row;
	size_t i;
	int code = ctl_call(ctl, "GET", "/stats", &body);

	(void)args;
	json_array_foreach(json_object_get(body, "probe"), i, row)
	{
		const char *reason = json_string_value(json_object_get(row, "reason"));

		printf("%-46s %-4s%s%s\n", json_string_value(json_object_get(row, "name")),
			json_is_true(json_object_get(row, "ok")) ? "yes" : "no", *reason ? " " : "",
			reason);
	}
	json_decref(body);
	return code;
}

/* Why the node was not reached last, below its row (OPS-13). */
static void print_last_error(const json_t *error)
{
	const char *hint = json_string_value(json_object_get(error, "hint"));

	if (!json_is_object(error))
		return;
	printf("  last error %s: %s %s: %s\n", json_string_value(json_object_get(error, "at")),
		json_string_value(json_object_get(error, "step")),
		json_string_value(json_object_get(error, "address")),
		json_string_value(json_object_get(error, "cause")));
	if (hint)
		printf("    hint: %s\n", hint);
}

static int reset_node(struct ctl *ctl, const char *node)
{
	json_t *body;
	int code = ctl_call_for(ctl, "POST", "/destinations/reset", NULL, node, &body);

	if (body)
		printf("%s: reset\n", node);
	json_decref(body);
	return code;
}

static void print_node(const json_t *row)
{
	const json_t *agent = json_object_get(row, "agent");

	printf("%-16s %-5s %8lld %8lld %7llds %6lld", ctl_text(row, "destination"),
		json_is_true(json_object_get(row, "down")) ? "down" : "up",
		ctl_number(row, "consecutive_failures"), ctl_number(row, "failure_sources"),
		ctl_number(row, "down_for_s"), ctl_number(row, "active"));
	if (json_is_object(agent))
		printf(" %-8s %8lld %8lld\n", ctl_text(agent, "state"),
			ctl_number(agent, "channels"), ctl_number(agent, "streams"));
	else
		printf(" %-8s %8s %8s\n", "none", "-", "-");
	print_last_error(json_object_get(row, "last_error"));
}

int ctl_cmd_nodes(struct ctl *ctl, char **args)
{
	json_t *body, *row;
	size_t i;
	int code;

	if (args[0] && strcmp(args[0], "reset") == 0)
		return args[1] && !args[2] ? reset_node(ctl, args[1]) : EXIT_USAGE;
	if (args[0])
		return EXIT_USAGE;
	code = ctl_call(ctl, "GET", "/destinations", &body);
	if (body)
		printf("%-16s %-5s %8s %8s %8s %6s %-8s %8s %8s\n", "node", "state", "failures",
			"sources", "cooldown", "active", "agent", "channels", "streams");
	json_array_foreach(json_object_get(body, "destinations"), i, row)
	{
		print_node(row);
	}
	json_decref(body);
	return code;
}

static int map_get(struct ctl *ctl, const char *account)
{
	json_t *body;
	int code = ctl_call_for(ctl, "GET", "/mappings", account, NULL, &body);
	const char *node = json_string_value(json_object_get(body, "destination"));

	if (body)
		printf("%s -> %s (%s%s)\n", json_string_value(json_object_get(body, "normalized")),
			node ? node : "no node", json_string_value(json_object_get(body, "source")),
			json_is_true(json_object_get(body, "cached")) ? ", cached" : "");
	json_decref(body);
	return code;
}

int ctl_cmd_map(struct ctl *ctl, char **args)
{
	json_t *body = NULL;
	int code = EXIT_USAGE;

	if (!args[0])
		return EXIT_USAGE;
	if (strcmp(args[0], "get") == 0 && args[1] && !args[2])
		return map_get(ctl, args[1]);
	if (strcmp(args[0], "set") == 0 && args[1] && args[2] && !args[3]) {
		code = ctl_call_for(ctl, "PUT", "/mappings", args[1], args[2], &body);
		if (body)
			printf("%s -> %s\n", json_string_value(json_object_get(body, "identifier")),
				json_string_value(json_object_get(body, "destination")));
	} else if (strcmp(args[0], "del") == 0 && args[1] && !args[2]) {
		code = ctl_call_for(ctl, "DELETE", "/mappings", args[1], NULL, &body);
		if (body)
			printf("%s: %s\n", args[1],
				json_is_true(json_object_get(body, "removed")) ? "removed"
									       : "had no mapping");
	} else if (strcmp(args[0], "reload") == 0 && !args[1]) {
		code = ctl_call(ctl, "POST", "/mappings/reload", &body);
		if (json_is_true(json_object_get(body, "reloaded")))
			printf("reloaded: %lld entries\n", ctl_number(body, "entries"));
		else if (body)
			printf("%s\n", json_string_value(json_object_get(body, "note")));
	}
	json_decref(body);
	return code;
}

int ctl_cmd_flush(struct ctl *ctl, char **args)
{
	json_t *body;
	int code;

	if (args[0] && args[1])
		return EXIT_USAGE;
	code = ctl_call_for(ctl, "POST", "/cache/invalidate", args[0], NULL, &body);
	if (body)
		printf("invalidated: %lld\n", ctl_number(body, "invalidated"));
	json_decref(body);
	return code;
}

/* How a leg of a session fares (GRD-31): a line each. Nothing for one that is not there. */
static void print_net(const json_t *row, const char *leg)
{
	const json_t *net = json_object_get(json_object_get(row, "net"), leg);

	if (!json_is_object(net))
		return;
	printf("%-14s %-28s %-12s %-6s %8.2fms %8.2fms %7lld %6lld %-11s %9lld %9lld %9lld\n",
		ctl_text(row, "id"), ctl_text(row, "account"), ctl_text(row, "stage"), leg,
		(double)ctl_number(net, "rtt_us") / 1000,
		(double)ctl_number(net, "rttvar_us") / 1000, ctl_number(net, "retransmits"),
		ctl_number(net, "cwnd"), ctl_text(net, "limited_by"),
		ctl_number(net, "receive_bytes"), ctl_number(net, "send_bytes"),
		ctl_number(net, "memory_bytes"));
}

static void print_nets(const json_t *rows)
{
	json_t *row;
	size_t i;

	printf("%-14s %-28s %-12s %-6s %10s %10s %7s %6s %-11s %9s %9s %9s\n", "id", "account",
		"stage", "leg", "rtt", "varies", "retrans", "cwnd", "limited by", "to read",
		"to send", "memory");
	json_array_foreach(rows, i, row)
	{
		print_net(row, "client");
		print_net(row, "node");
	}
}

static void print_sessions(const json_t *rows)
{
	json_t *row;
	size_t i;
	bool any = false;

	printf("%-14s %-28s %-8s %-22s %-10s %-12s %-16s %11s %11s %6s %6s\n", "id", "account",
		"protocol", "client", "node", "stage", "path up/down", "bytes up", "bytes down",
		"age", "idle");
	json_array_foreach(rows, i, row)
	{
		char paths[40];

		bool at_agent = json_is_true(json_object_get(row, "handed_over"));

		any |= at_agent;
		snprintf(paths, sizeof(paths), "%s/%s%s", ctl_text(row, "path_up"),
			ctl_text(row, "path_down"), at_agent ? "*" : "");
		printf("%-14s %-28s %-8s %-22s %-10s %-12s %-16s %11lld %11lld %5llds %5llds\n",
			ctl_text(row, "id"), ctl_text(row, "account"), ctl_text(row, "protocol"),
			ctl_text(row, "client"), ctl_text(row, "node"), ctl_text(row, "stage"),
			paths, ctl_number(row, "bytes_up"), ctl_number(row, "bytes_down"),
			ctl_number(row, "age_s"), ctl_number(row, "idle_s"));
	}
	if (any)
		printf("* the client's TLS is at the node's agent\n");
}

int ctl_cmd_sessions(struct ctl *ctl, char **args)
{
	const struct ctl_options *options = &ctl->options;
	const struct ctl_param params[] = { { "identifier", options->texts[CTL_ACCOUNT] },
		{ "destination", options->texts[CTL_NODE] }, { "limit", options->texts[CTL_LIMIT] },
		{ "net", options->net ? "1" : NULL } };
	json_t *body;
	int code = ctl_call_with(ctl, "GET", "/sessions", params, ARRAY_SIZE(params), &body);

	(void)args;
	if (body)
		(options->net ? print_nets : print_sessions)(json_object_get(body, "sessions"));
	if (body)
		printf("%lld of %lld sessions\n", ctl_number(body, "shown"),
			ctl_number(body, "total"));
	json_decref(body);
	return code;
}

int ctl_cmd_kick(struct ctl *ctl, char **args)
{
	json_t *body;
	int code;

	if (!args[0] || args[1])
		return EXIT_USAGE;
	code = ctl_call_for(ctl, "POST", "/connections/kick", args[0], NULL, &body);
	if (body)
		printf("kicked: %lld\n", ctl_number(body, "kicked"));
	json_decref(body);
	return code;
}

int ctl_cmd_delay(struct ctl *ctl, char **args)
{
	const struct ctl_param params[] = { { "identifier", args[0] }, { "seconds", args[1] } };
	json_t *body;
	int code;

	if (!args[0] || !args[1] || args[2])
		return EXIT_USAGE;
	code = ctl_call_with(ctl, "POST", "/connections/delay", params, ARRAY_SIZE(params), &body);
	if (body)
		printf("%s: logins wait for %lld s\n",
			json_string_value(json_object_get(body, "identifier")),
			ctl_number(body, "seconds"));
	json_decref(body);
	return code;
}

int ctl_cmd_health(struct ctl *ctl, char **args)
{
	json_t *body;
	int code = ctl_call(ctl, "GET", "/healthz", &body);

	(void)args;
	if (body)
		puts("ok");
	json_decref(body);
	return code;
}

int ctl_cmd_ready(struct ctl *ctl, char **args)
{
	json_t *body, *reason;
	size_t i;
	int code = ctl_call(ctl, "GET", "/readyz", &body);

	(void)args;
	if (body && code == EXIT_OK)
		puts("ok");
	json_array_foreach(json_object_get(body, "reasons"), i, reason)
	{
		printf("not ready: %s\n", json_string_value(reason));
	}
	json_decref(body);
	return code;
}

// SPDX-License-Identifier: Apache-2.0
/* What drain asks the routers: which nodes there are, whose accounts the store holds, which
 * sessions are left. */
#include "ctl/drain.h"

#include <poll.h>
#include <stdlib.h>

#define PAGE "1000"
#define WAIT_MS 5000
#define POLL_MS 200

/* ---- asking ---- */

static const char *router_name(const struct ctl_target *target, char text[300])
{
	if (target->socket)
		return target->socket;
	snprintf(text, 300, "%.250s:%.20s", target->host, target->port);
	return text;
}

static int complain(const struct ctl_target *target, const char *text, int code)
{
	char name[300];

	ctl_complain(router_name(target, name), text);
	return code;
}

/* One GET; prints what is wrong. */
static int get(const struct ctl_target *target, const char *path, json_t **ret_body)
{
	char error[CTL_ERROR_BYTES];
	int code = ctl_ask(target, "GET", path, ret_body, error);

	return code == EXIT_OK ? code : complain(target, error, code);
}

/* PATH?destination=NODE&limit=LIMIT[&after=TOKEN], freed by the caller. */
static char *node_path(const char *path, const char *node, const char *limit, const char *after)
{
	const struct ctl_param params[] = { { "destination", node }, { "limit", limit },
		{ "after", after } };

	return ctl_path(path, params, ARRAY_SIZE(params));
}

static int get_for_node(const struct ctl_target *target, const char *path, const char *node,
	const char *limit, const char *after, json_t **ret_body)
{
	char *full = node_path(path, node, limit, after);
	int code;

	*ret_body = NULL;
	code = full ? get(target, full, ret_body) : ctl_complain("out of memory", NULL);
	free(full);
	return code;
}

/* ---- before it begins ---- */

struct nodes {
	struct drain_names up, down;
};

static int read_nodes(const struct ctl_target *target, struct nodes *nodes)
{
	json_t *body, *row;
	size_t i;
	int code = get(target, "/destinations", &body);

	json_array_foreach(json_object_get(body, "destinations"), i, row)
	{
		const char *name = json_string_value(json_object_get(row, "destination"));
		bool down = json_is_true(json_object_get(row, "down"));

		if (name && drain_names_add(down ? &nodes->down : &nodes->up, name) < 0)
			code = EXIT_REFUSED;
	}
	json_decref(body);
	drain_names_sort(&nodes->up);
	drain_names_sort(&nodes->down);
	return code;
}

static bool declared(const struct nodes *nodes, const char *name)
{
	return drain_names_has(&nodes->up, name) || drain_names_has(&nodes->down, name);
}

static int check_declared(
	const struct drain *drain, const struct ctl_target *target, const struct nodes *nodes)
{
	char text[CTL_ERROR_BYTES];
	const char *missing = declared(nodes, drain->node) ? NULL : drain->node;

	for (size_t i = 0; !missing && i < drain->targets.count; i++) {
		if (!declared(nodes, drain->targets.names[i]))
			missing = drain->targets.names[i];
	}
	if (!missing)
		return EXIT_OK;
	snprintf(text, sizeof(text), "node %.100s is not declared", missing);
	return complain(target, text, EXIT_REFUSED);
}

/* Of the names, those that this router has and does not hold for down. */
static void keep_up(struct drain_names *names, const struct nodes *nodes)
{
	size_t kept = 0;

	for (size_t i = 0; i < names->count; i++) {
		if (drain_names_has(&nodes->up, names->names[i]))
			names->names[kept++] = names->names[i];
		else
			free(names->names[i]);
	}
	names->count = kept;
}

static int check_store(const struct drain *drain, const struct ctl_target *target)
{
	json_t *body;
	int code = get_for_node(target, "/mappings/list", drain->node, "1", NULL, &body);

	if (code == EXIT_OK && !json_is_true(json_object_get(body, "writable")))
		code = complain(target, "mapping store is read-only", EXIT_REFUSED);
	json_decref(body);
	return code;
}

static int choose_targets(struct drain *drain, const struct nodes *first)
{
	for (size_t i = 0; i < first->up.count; i++) {
		if (strcmp(first->up.names[i], drain->node) != 0 &&
			drain_names_add(&drain->targets, first->up.names[i]) < 0)
			return ctl_complain("out of memory", NULL);
	}
	return EXIT_OK;
}

int drain_check(struct drain *drain)
{
	bool given = drain->targets.count;
	int code = EXIT_OK;

	for (unsigned i = 0; code == EXIT_OK && i < drain->ctl->target_count; i++) {
		const struct ctl_target *target = &drain->ctl->targets[i];
		struct nodes nodes = { 0 };

		code = read_nodes(target, &nodes);
		if (code == EXIT_OK && !given && i == 0)
			code = choose_targets(drain, &nodes);
		else if (code == EXIT_OK && !given)
			keep_up(&drain->targets, &nodes);
		if (code == EXIT_OK)
			code = check_declared(drain, target, &nodes);
		if (code == EXIT_OK)
			code = check_store(drain, target);
		drain_names_free(&nodes.up);
		drain_names_free(&nodes.down);
	}
	if (code == EXIT_OK && !drain->targets.count) {
		ctl_complain("no other node is there to take the accounts", NULL);
		code = EXIT_REFUSED;
	}
	return code;
}

/* ---- accounts ---- */

static int add_page(struct drain_names *names, const json_t *body)
{
	json_t *name;
	size_t i;

	json_array_foreach(json_object_get(body, "identifiers"), i, name)
	{
		if (json_is_string(name) && drain_names_add(names, json_string_value(name)) < 0)
			return ctl_complain("out of memory", NULL);
	}
	return EXIT_OK;
}

/* The token of the page after; NULL: there is none, or with *code set, it leads nowhere. */
static char *next_page(const json_t *body, const char *after, int *code)
{
	const char *next = json_string_value(json_object_get(body, "next"));
	char *copy;

	if (!next || *code != EXIT_OK)
		return NULL;
	copy = after && strcmp(after, next) == 0 ? NULL : strdup(next);
	if (!copy) {
		ctl_complain("the list of accounts does not end", NULL);
		*code = EXIT_REFUSED;
	}
	return copy;
}

int drain_list(struct drain *drain, struct drain_names *ret_names)
{
	char *after = NULL;
	json_int_t skipped = 0;
	int code;

	do {
		json_t *body;
		char *next;

		code = get_for_node(
			&drain->ctl->targets[0], "/mappings/list", drain->node, PAGE, after, &body);
		if (code == EXIT_OK)
			code = add_page(ret_names, body);
		skipped += json_integer_value(json_object_get(body, "skipped"));
		next = next_page(body, after, &code);
		free(after);
		after = next;
		json_decref(body);
	} while (code == EXIT_OK && after);
	free(after);
	drain_names_sort(ret_names);
	if (skipped)
		fprintf(stderr,
			"homingctl: %lld rows name %s but serve no login: not in normalised form\n",
			(long long)skipped, drain->node);
	return code;
}

/* ---- sessions ---- */

/* Adds the accounts of the sessions on the node; *count: of the sessions themselves. */
static int read_sessions(struct drain *drain, struct drain_names *names, size_t *count)
{
	int code = EXIT_OK;

	*count = 0;
	for (unsigned i = 0; code == EXIT_OK && i < drain->ctl->target_count; i++) {
		json_t *body, *row;
		size_t n;

		code = get_for_node(
			&drain->ctl->targets[i], "/sessions", drain->node, "10000", NULL, &body);
		*count += (size_t)json_integer_value(json_object_get(body, "total"));
		json_array_foreach(json_object_get(body, "sessions"), n, row)
		{
			const char *name = json_string_value(json_object_get(row, "account"));

			if (name && drain_names_add(names, name) < 0)
				code = ctl_complain("out of memory", NULL);
		}
		json_decref(body);
	}
	drain_names_sort(names);
	return code;
}

/* True if the store assigns the account to another node. */
static bool is_elsewhere(struct drain *drain, const char *account)
{
	const struct ctl_param param = { "identifier", account };
	char *path = ctl_path("/mappings", &param, 1), error[CTL_ERROR_BYTES];
	const char *node;
	json_t *body = NULL;
	bool elsewhere;

	if (path && ctl_ask(&drain->ctl->targets[0], "GET", path, &body, error) != EXIT_OK)
		body = NULL;
	node = json_string_value(json_object_get(body, "destination"));
	elsewhere = node && strcmp(node, drain->node) != 0 &&
		json_is_false(json_object_get(body, "routed_to_default"));
	json_decref(body);
	free(path);
	return elsewhere;
}

int drain_sweep(struct drain *drain, size_t *ret_sessions)
{
	int waited = 0, code;
	char error[CTL_ERROR_BYTES];

	for (;; waited += POLL_MS) {
		struct drain_names names = { 0 };
		bool ending = false;

		code = read_sessions(drain, &names, ret_sessions);
		for (size_t i = 0; code == EXIT_OK && i < names.count && !drain_is_stopped(drain);
			i++) {
			/* What is cached may be as old as the session. */
			if (drain_step(drain, MOVE_DROP, names.names[i], NULL, 1, error) !=
					EXIT_OK ||
				!is_elsewhere(drain, names.names[i]))
				continue;
			ending = true;
			(void)drain_step(drain, MOVE_KICK, names.names[i], NULL, 1, error);
		}
		drain_names_free(&names);
		if (code != EXIT_OK || !ending || waited >= WAIT_MS || drain_is_stopped(drain))
			return code;
		poll(NULL, 0, POLL_MS);
	}
}

// SPDX-License-Identifier: Apache-2.0
/* What the routers are told of a drain: that it begins, with how many accounts, the steps, and that
 * it ends. Each gives an id for it, which the steps carry. */
#include "ctl/drain.h"

#include <poll.h>
#include <stdlib.h>

#define PAUSE_MS 250 /* before a step is tried again */

/* Under ids_lock, or before and after the workers. No id: this router logs every step. */
static void announce(struct drain *drain, unsigned target)
{
	char accounts[24], error[CTL_ERROR_BYTES], *path;
	const struct ctl_param params[] = { { "destination", drain->node },
		{ "accounts", accounts } };
	json_t *body = NULL;
	const char *id = NULL;

	snprintf(accounts, sizeof(accounts), "%zu", drain->announced);
	path = ctl_path("/drains", params, ARRAY_SIZE(params));
	if (path && ctl_ask(&drain->ctl->targets[target], "POST", path, &body, error) == EXIT_OK)
		id = json_string_value(json_object_get(body, "drain"));
	if (id &&
		(strlen(id) != DRAIN_ID_BYTES || strspn(id, "0123456789abcdef") != DRAIN_ID_BYTES))
		id = NULL;
	snprintf(drain->ids[target], sizeof(drain->ids[target]), "%s", id ? id : "");
	json_decref(body);
	free(path);
}

void drain_announce(struct drain *drain, size_t accounts)
{
	drain->announced = accounts;
	for (unsigned i = 0; i < drain->ctl->target_count; i++)
		announce(drain, i);
}

void drain_announce_end(struct drain *drain)
{
	for (unsigned i = 0; i < drain->ctl->target_count; i++) {
		char path[64], error[CTL_ERROR_BYTES];
		json_t *body;

		if (!*drain->ids[i])
			continue;
		snprintf(path, sizeof(path), "/drains?drain=%s", drain->ids[i]);
		(void)ctl_ask(&drain->ctl->targets[i], "DELETE", path, &body, error);
		json_decref(body);
	}
}

/* Another worker may have been first. */
static void announce_again(struct drain *drain, unsigned target, const char *forgotten)
{
	pthread_mutex_lock(&drain->ids_lock);
	if (strcmp(drain->ids[target], forgotten) == 0)
		announce(drain, target);
	pthread_mutex_unlock(&drain->ids_lock);
}

/* A step on one router, as of the drain that was announced to it; once more if it has forgotten
 * that, as after a restart. As ctl_ask(). */
static int ask(struct drain *drain, unsigned target, enum ctl_move_step step, const char *account,
	const char *node, char error[CTL_ERROR_BYTES])
{
	int code = EXIT_REFUSED;

	for (bool again = true, tried = false; again; tried = true) {
		char id[DRAIN_ID_BYTES + 1], *path;
		const char *method;
		json_t *body = NULL;

		pthread_mutex_lock(&drain->ids_lock);
		memcpy(id, drain->ids[target], sizeof(id));
		pthread_mutex_unlock(&drain->ids_lock);
		path = ctl_move_path(step, account, node, drain->hold, id, &method);
		snprintf(error, CTL_ERROR_BYTES, "out of memory");
		code = path ? ctl_ask(&drain->ctl->targets[target], method, path, &body, error)
			    : EXIT_REFUSED;
		json_decref(body);
		free(path);
		again = !tried && *id && code == EXIT_REFUSED &&
			strcmp(error, "unknown drain") == 0;
		if (again)
			announce_again(drain, target, id);
	}
	return code;
}

int drain_step(struct drain *drain, enum ctl_move_step step, const char *account, const char *node,
	unsigned attempts, char error[CTL_ERROR_BYTES])
{
	unsigned count = step == MOVE_WRITE ? 1 : drain->ctl->target_count;
	int result = EXIT_OK;

	for (unsigned i = 0; i < count && (result == EXIT_OK || step == MOVE_RELEASE); i++) {
		int code = EXIT_REFUSED;

		for (unsigned n = 0; n < attempts && code != EXIT_OK; n++) {
			if (n)
				poll(NULL, 0, PAUSE_MS);
			code = ask(drain, i, step, account, node, error);
		}
		if (code != EXIT_OK)
			result = code;
	}
	return result;
}

// SPDX-License-Identifier: Apache-2.0
/* homingctl move, and its steps for drain. The order is that of mapping.md section 11: no login
 * slips to the old node, because the hold comes before the lookup and all routers hold before the
 * row is written; whatever fails, no delay stays. */
#include "ctl/ctl.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

static char *make_path(const char *base, const char *account, const char *name, const char *value,
	const char *drain)
{
	const struct ctl_param params[] = { { "identifier", account }, { name, value },
		{ "drain", *drain ? drain : NULL } };

	return ctl_path(base, params, ARRAY_SIZE(params));
}

char *ctl_move_path(enum ctl_move_step step, const char *account, const char *node,
	const char *hold, const char *drain, const char **ret_method)
{
	*ret_method = step == MOVE_WRITE ? "PUT" : "POST";
	switch (step) {
	case MOVE_HOLD:
		return make_path("/connections/delay", account, "seconds", hold, drain);
	case MOVE_WRITE:
		return make_path("/mappings", account, "destination", node, drain);
	case MOVE_DROP:
		return make_path("/cache/invalidate", account, NULL, NULL, drain);
	case MOVE_KICK:
		return make_path("/connections/kick", account, NULL, NULL, drain);
	default:
		return make_path("/connections/delay", account, "seconds", "0", drain);
	}
}

static int move_step(struct ctl *ctl, enum ctl_move_step step, char **args)
{
	const char *hold = ctl->options.texts[CTL_HOLD], *method;
	char *path =
		ctl_move_path(step, args[0], args[1], hold ? hold : CTL_HOLD_DEFAULT, "", &method);
	json_t *body = NULL;
	int code;

	code = path ? ctl_call(ctl, method, path, &body) : ctl_complain("out of memory", NULL);
	json_decref(body);
	free(path);
	return code;
}

/* On all routers, one after the other; the row is written once. What must not be left behind is
 * taken back on all, whatever one of them answers. */
static int move_step_all(struct ctl *ctl, enum ctl_move_step step, char **args, const char *line)
{
	unsigned count = step == MOVE_WRITE ? 1 : ctl->target_count;
	int result = EXIT_OK;

	for (unsigned i = 0; i < count && (result == EXIT_OK || step == MOVE_RELEASE); i++) {
		int code;

		ctl->target = ctl->targets[i];
		code = move_step(ctl, step, args);
		if (code != EXIT_OK)
			result = code;
	}
	if (result == EXIT_OK && !ctl->options.json)
		printf("%s\n", line);
	return result;
}

int ctl_cmd_move(struct ctl *ctl, char **args)
{
	static const char *const lines[] = { [MOVE_HOLD] = "new logins wait",
		[MOVE_WRITE] = "the new node is written",
		[MOVE_DROP] = "the cached one is dropped",
		[MOVE_KICK] = "sessions on the old node are ended" };
	static_assert(ARRAY_SIZE(lines) == MOVE_STEPS - 1, "one for each but the last");
	int code = EXIT_OK, released;

	if (!args[0] || !args[1] || args[2])
		return EXIT_USAGE;
	for (int step = MOVE_HOLD; code == EXIT_OK && step < MOVE_RELEASE; step++)
		code = move_step_all(ctl, (enum ctl_move_step)step, args, lines[step]);
	released = move_step_all(ctl, MOVE_RELEASE, args,
		code == EXIT_OK ? "logins go on" : "logins go on, to where they went before");
	return code == EXIT_OK ? released : code;
}

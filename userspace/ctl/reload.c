// SPDX-License-Identifier: Apache-2.0
/* homingctl reload: what changes, what needs a restart, or what is wrong with the file. */
#include "ctl/ctl.h"

/* Longer than the router lets a second reload wait for the first (CFG-57). */
#define TIMEOUT_S 40

static void print_keys(json_t *keys, const char *what)
{
	json_t *key;
	size_t i;

	json_array_foreach(keys, i, key)
	{
		printf("%-56s %s\n", json_string_value(key), what);
	}
}

static void print_answer(json_t *body, bool dry_run)
{
	json_t *changed = json_object_get(body, "changed");
	json_t *restart = json_object_get(body, "restart_required");
	json_int_t warnings = json_integer_value(json_object_get(body, "warnings"));

	print_keys(changed, dry_run ? "would change" : "changed");
	print_keys(restart, "needs a restart");
	printf("%s: %zu changed, %zu need%s a restart, the cache %s",
		dry_run ? "dry run" : "reloaded", json_array_size(changed),
		json_array_size(restart), json_array_size(restart) == 1 ? "s" : "",
		json_is_true(json_object_get(body, "cache_kept")) ? "stays" : "is dropped");
	if (warnings)
		printf(", %lld warning%s in the router's log", warnings, warnings == 1 ? "" : "s");
	putchar('\n');
}

int ctl_cmd_reload(struct ctl *ctl, char **args)
{
	bool dry_run = ctl->options.dry_run;
	const char *path = dry_run   ? "/config/reload?dry_run=true"
		: ctl->options.force ? "/config/reload?force=true"
				     : "/config/reload";
	json_t *body, *errors, *error;
	size_t i;
	int code;

	(void)args;
	if (ctl->target.timeout_s == CTL_TIMEOUT_DEFAULT)
		ctl->target.timeout_s = TIMEOUT_S;
	code = ctl_call(ctl, "POST", path, &body);
	errors = json_object_get(body, "errors");
	json_array_foreach(errors, i, error)
	{
		fprintf(stderr, "%s\n", json_string_value(error));
	}
	if (code == EXIT_OK && body)
		print_answer(body, dry_run);
	json_decref(body);
	return code;
}

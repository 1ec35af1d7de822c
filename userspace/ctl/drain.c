// SPDX-License-Identifier: Apache-2.0
/*
 * homingctl drain: the accounts of a node are listed, moved one by one at a rate, and listed again
 * until none is left. What has been moved is not listed any more, so a second run goes on where the
 * first was stopped. No state is kept but in the store.
 */
#include "ctl/drain.h"

#include <signal.h>
#include <stdlib.h>

#define RATE_DEFAULT 10
#define RATE_MAX 1000
#define PASSES 3
#define SHOWN 20

/* Of the process: a signal handler has no argument. */
static atomic_bool stop;

static void on_signal(int number)
{
	(void)number;
	atomic_store(&stop, true);
}

/* ---- arguments ---- */

static int take_targets(struct drain *drain, const char *text)
{
	struct view rest = view_str(text);
	bool more = true;

	while (more) {
		const char *comma = rest.len ? memchr(rest.data, ',', rest.len) : NULL;
		struct view name =
			view_make(rest.data, comma ? (size_t)(comma - rest.data) : rest.len);
		char *copy = view_dup(name);
		int r = copy ? drain_names_add(&drain->targets, copy) : -1;

		free(copy);
		if (r < 0)
			return ctl_complain("out of memory", NULL);
		if (!name.len)
			return ctl_complain("--to", "an empty name");
		if (view_eq(name, view_str(drain->node)))
			return ctl_complain("--to", "names the node that is to be drained");
		more = comma;
		rest = view_skip(rest, name.len + 1);
	}
	return EXIT_OK;
}

static int take_options(struct drain *drain)
{
	const char *const *texts = drain->ctl->options.texts;
	uint64_t rate = RATE_DEFAULT, hold;

	drain->hold = texts[CTL_HOLD] ? texts[CTL_HOLD] : CTL_HOLD_DEFAULT;
	if (texts[CTL_RATE] &&
		(view_to_u64(view_str(texts[CTL_RATE]), &rate) < 0 || !rate || rate > RATE_MAX))
		return ctl_complain("--rate", "not a number from 1 to 1000");
	if (view_to_u64(view_str(drain->hold), &hold) < 0 || !hold || hold > 3600)
		return ctl_complain("--hold", "not a number from 1 to 3600");
	drain->rate = (unsigned)rate;
	return texts[CTL_TO] ? take_targets(drain, texts[CTL_TO]) : EXIT_OK;
}

/* ---- passes ---- */

static int compare_failures(const void *a, const void *b)
{
	return strcmp(((const struct drain_failure *)a)->account,
		((const struct drain_failure *)b)->account);
}

static bool has_failed(const struct drain *drain, const char *account)
{
	struct drain_failure key = { .account = (char *)account };

	return drain->failure_count &&
		bsearch(&key, drain->failures, drain->failure_count, sizeof(key), compare_failures);
}

/* Without those that have failed already. */
static void drop_failed(struct drain *drain, struct drain_names *names)
{
	size_t kept = 0;

	if (drain->failure_count)
		qsort(drain->failures, drain->failure_count, sizeof(*drain->failures),
			compare_failures);
	for (size_t i = 0; i < names->count; i++) {
		if (has_failed(drain, names->names[i]))
			free(names->names[i]);
		else
			names->names[kept++] = names->names[i];
	}
	names->count = kept;
}

/* *ret_left: what the store still assigns to the node at the end. */
static int move_all(struct drain *drain, size_t *ret_left)
{
	int code = EXIT_OK;

	for (int pass = 0; code == EXIT_OK; pass++) {
		struct drain_names accounts = { 0 };
		bool end = pass == PASSES || drain->broken || drain_is_stopped(drain);

		code = drain_list(drain, &accounts);
		if (code == EXIT_OK && !pass)
			drain_announce(drain, accounts.count);
		*ret_left = accounts.count;
		drop_failed(drain, &accounts);
		end |= !accounts.count;
		if (code == EXIT_OK && !end && drain_run(drain, &accounts) < 0)
			code = ctl_complain("cannot start a thread", NULL);
		drain_names_free(&accounts);
		if (end)
			break;
	}
	return code;
}

/* ---- the end ---- */

static void report_text(const struct drain *drain, size_t left, size_t sessions)
{
	printf("%s: %zu moved, %zu failed, %zu left, %zu sessions left\n", drain->node,
		drain->moved, drain->failure_count, left, sessions);
	for (size_t i = 0; i < drain->failure_count && i < SHOWN; i++)
		printf("failed: %s: %s\n", drain->failures[i].account, drain->failures[i].error);
	if (drain->failure_count > SHOWN)
		printf("failed: and %zu more\n", drain->failure_count - SHOWN);
	if (drain->broken)
		puts("stopped: too many failures in a row");
	if (drain_is_stopped(drain))
		puts("stopped: the same command goes on from here");
	if (sessions && !left && !drain_is_stopped(drain))
		puts("sessions of accounts that no row assigns (the default node?) are on it");
}

static void report_json(const struct drain *drain, size_t left, size_t sessions)
{
	json_t *failed = json_array(), *body;

	for (size_t i = 0; i < drain->failure_count; i++)
		json_array_append_new(failed,
			json_pack("{ss ss}", "identifier", drain->failures[i].account, "error",
				drain->failures[i].error));
	body = json_pack("{ss sI so sI sI sb}", "node", drain->node, "moved",
		(json_int_t)drain->moved, "failed", failed, "left", (json_int_t)left, "sessions",
		(json_int_t)sessions, "stopped", drain_is_stopped(drain) || drain->broken);
	json_dumpf(body, stdout, JSON_PRESERVE_ORDER | JSON_COMPACT);
	putchar('\n');
	json_decref(body);
}

static int run(struct drain *drain)
{
	size_t left = 0, sessions = 0;
	int code = drain_check(drain);

	if (code != EXIT_OK)
		return code;
	code = move_all(drain, &left);
	if (code == EXIT_OK)
		code = drain_sweep(drain, &sessions);
	drain_announce_end(drain);
	if (drain->ctl->options.json)
		report_json(drain, left, sessions);
	else
		report_text(drain, left, sessions);
	if (code == EXIT_OK && (drain->failure_count || left || sessions))
		code = EXIT_REFUSED;
	return code;
}

int ctl_cmd_drain(struct ctl *ctl, char **args)
{
	struct drain drain = { .ctl = ctl, .node = args[0], .stop = &stop };
	struct sigaction action = { .sa_handler = on_signal };
	char error[CTL_ERROR_BYTES];
	int code = EXIT_OK;

	if (!args[0] || args[1])
		return EXIT_USAGE;
	pthread_mutex_init(&drain.lock, NULL);
	pthread_mutex_init(&drain.ids_lock, NULL);
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
	code = take_options(&drain);
	for (unsigned i = 0; code == EXIT_OK && i < ctl->target_count; i++) {
		if (ctl_target_prepare(&ctl->targets[i], error, sizeof(error)) < 0) {
			ctl_complain(error, NULL);
			code = EXIT_CONNECT;
		}
	}
	if (code == EXIT_OK)
		code = run(&drain);
	for (unsigned i = 0; i < ctl->target_count; i++)
		ctl_target_release(&ctl->targets[i]);
	for (size_t i = 0; i < drain.failure_count; i++)
		free(drain.failures[i].account);
	free(drain.failures);
	drain_names_free(&drain.targets);
	pthread_mutex_destroy(&drain.ids_lock);
	pthread_mutex_destroy(&drain.lock);
	return code;
}

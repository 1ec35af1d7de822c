// SPDX-License-Identifier: Apache-2.0
/* The next configuration is prepared, committed, and done once every worker follows. */
#include "control/reload.h"
#include "base/clock.h"
#include "base/log.h"
#include "control/guard.h"
#include "worker/listen.h"
#include "control/store_check.h"
#include "worker/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WAIT_MS 30000
#define FINDINGS_MAX 100

struct waiting {
	struct list_node link;
	struct timer timer;
	struct control_reload *reload;
	bool dry_run, force;
	void (*done)(void *arg, int status, json_t *answer); /* may be NULL */
	void *arg;
};

struct control_reload {
	struct control_state *state;
	struct config *started; /* reference: what needs a restart is as it says */
	struct list_node waiting;
	struct waiting *current; /* the one that is not done */
	/* While its store is asked: */
	struct next *next;
	struct store_check *check;
	/* A switch under way, until all workers follow: */
	unsigned missing;
	struct bound **dropped;
	json_t *answer;
};

/* All that is new, until it is committed or discarded. */
struct next {
	struct config *config;
	struct snapshot *snapshot;
	struct listen_plan plan;
	struct store *store; /* NULL: the store stays */
	struct store_channel *channel;
	struct worker_follow **follows; /* one per worker */
	struct config_keys changed, restart;
	json_t *errors; /* strings, at most FINDINGS_MAX */
	unsigned warnings;
	bool drop_cache;
};

/* ---- findings ---- */

/* JSON takes UTF-8 only; a path may be anything. */
static json_t *text_json(const char *text)
{
	json_t *string = json_string(text);
	char *copy;

	if (string)
		return string;
	copy = strdup(text);
	for (char *p = copy; p && *p; p++) {
		if (*p & 0x80)
			*p = '?';
	}
	string = json_string(copy ? copy : "out of memory");
	free(copy);
	return string;
}

static void add_error(struct next *next, char *text)
{
	const char *shown = text ? text : "out of memory";

	log_event(LOGL_ERROR, "reload_error", "error", shown, NULL);
	if (json_array_size(next->errors) < FINDINGS_MAX)
		json_array_append_new(next->errors, text_json(shown));
	free(text);
}

static void on_finding(void *arg, const struct config_finding *finding)
{
	struct next *next = arg;
	char *text = config_format_finding(finding);

	if (finding->error) {
		add_error(next, text);
		return;
	}
	next->warnings++;
	log_event(LOGL_WARN, "reload_warning", "warning", text, NULL);
	free(text);
}

static void add_build_error(struct next *next, const struct build_error *error)
{
	add_error(next, config_format_error(next->config, error->table, NULL, error->text));
}

/* ---- preparing ---- */

static int prepare_config(struct control_reload *reload, struct next *next)
{
	const struct config *now = reload->state->router->snapshot->config;
	int r = config_load_again(now, on_finding, next, &next->config);

	if (r == 0)
		r = config_diff(now, next->config, CONFIG_DIFF_LIVE, &next->changed);
	if (r == 0)
		r = config_diff(reload->started, next->config, CONFIG_DIFF_RESTART, &next->restart);
	if (r == 0)
		next->drop_cache = config_answers_differ(now, next->config);
	return r;
}

static int prepare_snapshot(struct control_reload *reload, struct next *next)
{
	struct router *router = reload->state->router;
	struct build_error error;
	int r;

	r = snapshot_new(router->snapshot, &router->known, next->config, &next->snapshot, &error);
	if (r < 0)
		add_build_error(next, &error);
	return r < 0 ? r : router_reserve(router, next->snapshot);
}

static int prepare_store(struct control_reload *reload, struct next *next)
{
	const struct config *now = reload->state->router->snapshot->config;
	struct build_error error = { .table = "mapping" };
	int r;

	if (!config_store_differs(now, next->config))
		return 0;
	r = store_channel_open(next->config, control_guard_heard, reload->state->guard,
		&next->channel, &next->store, error.text, sizeof(error.text));
	if (r < 0)
		add_build_error(next, &error);
	return r;
}

/* Last, because whoever connects is waiting from here on. */
static int prepare_sockets(struct control_reload *reload, struct next *next, bool dry_run)
{
	struct build_error error;
	int r = listen_plan(reload->state->router, next->snapshot, dry_run, &next->plan, &error);

	if (r < 0)
		add_build_error(next, &error);
	return r;
}

static int prepare_follows(struct control_reload *reload, struct next *next)
{
	unsigned count = reload->state->worker_count;

	next->follows = calloc(count + 1, sizeof(*next->follows));
	for (unsigned i = 0; next->follows && i < count; i++) {
		next->follows[i] = worker_follow_new(i, next->snapshot, &next->plan);
		if (!next->follows[i])
			return -ENOMEM;
	}
	return next->follows ? 0 : -ENOMEM;
}

/* What holds nobody up. */
static int prepare(struct control_reload *reload, struct next *next)
{
	int r;

	next->errors = json_array();
	r = next->errors ? prepare_config(reload, next) : -ENOMEM;
	if (r == 0)
		r = prepare_snapshot(reload, next);
	if (r == 0)
		r = prepare_store(reload, next);
	return r;
}

static int prepare_rest(struct control_reload *reload, struct next *next, bool dry_run)
{
	int r = prepare_sockets(reload, next, dry_run);

	return r == 0 && !dry_run ? prepare_follows(reload, next) : r;
}

static void add_store_error(struct next *next, const char *error)
{
	char text[STORE_ERROR_BYTES + 100];

	snprintf(text, sizeof(text), "the store cannot answer: %s (force=true takes it as it is)",
		error);
	add_error(next, config_format_error(next->config, "mapping", NULL, text));
}

static void discard(struct control_reload *reload, struct next *next)
{
	for (unsigned i = 0; next->follows && i < reload->state->worker_count; i++)
		worker_follow_free(next->follows[i]);
	free(next->follows);
	listen_discard(&next->plan);
	if (next->store) /* it may hang on its server: not on this thread */
		mapping_reap_store(reload->state->router->mapping, next->store, store_channel_free,
			next->channel);
	snapshot_unref(next->snapshot);
	config_unref(next->config);
	config_keys_free(&next->changed);
	config_keys_free(&next->restart);
	json_decref(next->errors);
	free(next);
}

/* ---- answers ---- */

static json_t *keys_json(const struct config_keys *keys)
{
	json_t *array = json_array();

	for (size_t i = 0; i < keys->count; i++)
		json_array_append_new(array, json_string(keys->keys[i]));
	return array;
}

static json_t *success_json(const struct next *next, bool dry_run)
{
	json_t *answer = json_pack("{sb so so sb sI}", "reloaded", !dry_run, "changed",
		keys_json(&next->changed), "restart_required", keys_json(&next->restart),
		"cache_kept", !next->drop_cache, "warnings", (json_int_t)next->warnings);

	if (answer && dry_run)
		json_object_set_new(answer, "dry_run", json_true());
	return answer;
}

/* The keys in one value; cut if they are very many. */
static void log_success(const struct next *next, bool dry_run)
{
	char restart[1024] = "";
	struct log_line line;
	size_t n = 0;

	for (size_t i = 0; i < next->restart.count && n < sizeof(restart) - 1; i++)
		n += (size_t)snprintf(restart + n, sizeof(restart) - n, "%s%s", i ? "," : "",
			next->restart.keys[i]);
	log_start(&line, LOGL_INFO, "reload");
	log_str(&line, "ok", "true");
	if (dry_run)
		log_str(&line, "dry_run", "true");
	log_int(&line, "changed", (int64_t)next->changed.count);
	log_str(&line, "restart", *restart ? restart : NULL);
	log_end(&line);
}

/* Answers and frees a request; answer is taken over. */
static void finish(struct waiting *waiting, int status, json_t *answer)
{
	loop_timer_del(waiting->reload->state->loop, &waiting->timer);
	list_del(&waiting->link);
	if (waiting->done)
		waiting->done(waiting->arg, status, answer);
	else
		json_decref(answer);
	free(waiting);
}

static void finish_with(struct waiting *waiting, int status, const char *error)
{
	if (!waiting->done)
		log_event(LOGL_WARN, "reload", "ok", "false", "error", error, NULL);
	finish(waiting, status, json_pack("{ss}", "error", error));
}

/* ---- the switch ---- */

static void run_waiting(struct control_reload *reload);

static void on_follows(struct worker_call *call);

/* Fails only before anything has been changed. */
static int switch_mapping(struct control_reload *reload, struct next *next)
{
	struct control_state *state = reload->state;
	struct mapping *mapping = state->router->mapping;
	struct mapping_params params;
	const char **names;
	int r = store_mapping_params(next->config, state->loop, &params, &names);

	if (r < 0)
		return r;
	params.store = next->store;
	params.store_gone_arg = next->channel;
	if (next->store) { /* the new one first: no message may fall between them */
		store_channel_attach(next->channel, mapping, next->config);
		store_channel_detach(state->channel);
	}
	r = mapping_reconfigure(mapping, &params, next->drop_cache);
	free(names);
	if (r < 0 && next->store) {
		store_channel_attach(state->channel, mapping, state->router->snapshot->config);
		store_channel_detach(next->channel);
	} else if (r == 0 && next->store) {
		state->store = next->store;
		state->channel = next->channel;
		next->store = NULL;
		next->channel = NULL;
	} else if (r == 0) {
		store_channel_attach(state->channel, mapping, next->config);
	}
	return r;
}

static void switch_admin(struct control_state *state, struct snapshot *snapshot)
{
	const struct config_admin *settings = &snapshot->config->admin;
	struct admin_settings next = {
		.tls = snapshot->tls,
		.token_sha256 = settings->present ? settings->token_sha256 : NULL,
		.lockout_threshold = (unsigned)settings->lockout_threshold,
		.lockout_ms = settings->lockout_duration_ms,
	};

	if (state->admin)
		admin_listener_set(state->admin, &next);
}

/* From here on the new configuration serves; the workers do so as soon as they hear of it. */
static void tell_workers(struct control_reload *reload, struct next *next)
{
	struct control_state *state = reload->state;
	unsigned count = state->worker_count;

	reload->missing = count + 1; /* one is ours: nothing completes early */
	for (unsigned i = 0; i < count; i++) {
		struct worker_follow *follow = next->follows[i];

		next->follows[i] = NULL;
		follow->call.done = on_follows;
		follow->arg = reload;
		if (!worker_call(&state->workers[i], &follow->call))
			on_follows(&follow->call);
	}
}

static int commit(struct control_reload *reload, struct next *next)
{
	struct control_state *state = reload->state;
	int r = switch_mapping(reload, next);

	if (r < 0)
		return r;
	reload->dropped = listen_commit(state->router, &next->plan);
	router_adopt(state->router, next->snapshot);
	control_guard_follow(state->guard);
	switch_admin(state, next->snapshot);
	next->snapshot = NULL;
	log_set_level(next->config->server.log_level);
	state->generation++;
	state->loaded_real_ms = clock_real_ms();
	tell_workers(reload, next);
	return 0;
}

static void all_follow(struct control_reload *reload)
{
	struct waiting *waiting = reload->current;
	json_t *answer = reload->answer;

	listen_free_dropped(reload->dropped);
	reload->dropped = NULL;
	reload->current = NULL;
	reload->answer = NULL;
	finish(waiting, 200, answer);
	run_waiting(reload);
}

static void on_follows(struct worker_call *call)
{
	struct worker_follow *follow = container_of(call, struct worker_follow, call);
	struct control_reload *reload = follow->arg;

	worker_follow_free(follow);
	if (--reload->missing == 0)
		all_follow(reload);
}

/* ---- requests ---- */

static void fail(struct control_reload *reload, struct waiting *waiting, struct next *next)
{
	json_t *answer =
		json_pack("{ss sO}", "error", "invalid configuration", "errors", next->errors);

	log_event(LOGL_WARN, "reload", "ok", "false", waiting->dry_run ? "dry_run" : NULL, "true",
		NULL);
	if (!waiting->dry_run)
		reload->state->reload_failures++;
	finish(waiting, 400, answer);
}

/* Returns whether it is done with; else on_follows() goes on. */
static bool conclude(
	struct control_reload *reload, struct waiting *waiting, struct next *next, int r)
{
	bool is_done = true;

	if (r == 0)
		r = prepare_rest(reload, next, waiting->dry_run);
	if (r == 0 && !waiting->dry_run) {
		reload->current = waiting;
		reload->answer = success_json(next, false);
		is_done = false;
		r = commit(reload, next);
	}
	if (r < 0) {
		json_decref(reload->answer);
		reload->answer = NULL;
		reload->current = NULL;
		if (json_array_size(next->errors) == 0)
			add_error(next, strdup(strerror(-r)));
		fail(reload, waiting, next);
		is_done = true;
	} else {
		log_success(next, waiting->dry_run);
		if (waiting->dry_run)
			finish(waiting, 200, success_json(next, true));
	}
	discard(reload, next);
	if (!is_done && --reload->missing == 0)
		all_follow(reload);
	return is_done;
}

/* Another store has been asked; meanwhile everything went on as before. */
static void on_checked(void *arg, const char *error)
{
	struct control_reload *reload = arg;
	struct waiting *waiting = reload->current;
	struct next *next = reload->next;

	reload->check = NULL;
	reload->next = NULL;
	reload->current = NULL;
	if (atomic_load(&reload->state->router->shutting_down)) {
		finish_with(waiting, 503, "shutting down");
		discard(reload, next);
	} else {
		if (error)
			add_store_error(next, error);
		if (!conclude(reload, waiting, next, error ? -EIO : 0))
			return;
	}
	run_waiting(reload);
}

/* Returns whether it is done with; else on_checked() or on_follows() goes on. */
static bool run(struct control_reload *reload, struct waiting *waiting)
{
	struct next *next = calloc(1, sizeof(*next));
	int r;

	loop_timer_del(reload->state->loop, &waiting->timer);
	if (!next) {
		finish_with(waiting, 500, "out of memory");
		return true;
	}
	r = prepare(reload, next);
	if (r == 0 && next->store && !waiting->force)
		r = store_check_start(reload->state->loop, next->store,
			next->config->mapping.lookup_timeout_ms, on_checked, reload,
			&reload->check);
	if (r < 0 || !reload->check)
		return conclude(reload, waiting, next, r);
	reload->current = waiting;
	reload->next = next;
	return false;
}

static void run_waiting(struct control_reload *reload)
{
	while (!reload->current && !list_empty(&reload->waiting)) {
		struct waiting *waiting = list_entry(reload->waiting.next, struct waiting, link);

		if (atomic_load(&reload->state->router->shutting_down))
			finish_with(waiting, 503, "shutting down");
		else if (!run(reload, waiting))
			return;
	}
}

static void on_waited(struct timer *timer)
{
	finish_with(container_of(timer, struct waiting, timer), 503, "reload in progress");
}

void control_reload_start(struct control_reload *reload, bool dry_run, bool force,
	void (*done)(void *arg, int status, json_t *answer), void *arg)
{
	struct waiting *waiting = calloc(1, sizeof(*waiting));

	if (!waiting) {
		if (done)
			done(arg, 500, NULL);
		return;
	}
	*waiting = (struct waiting){
		.reload = reload, .dry_run = dry_run, .force = force, .done = done, .arg = arg
	};
	list_add_tail(&reload->waiting, &waiting->link);
	loop_timer_set(reload->state->loop, &waiting->timer, WAIT_MS, on_waited);
	run_waiting(reload);
}

int control_reload_new(struct control_state *state, struct control_reload **ret_reload)
{
	struct control_reload *reload = calloc(1, sizeof(*reload));

	if (!reload)
		return -ENOMEM;
	reload->state = state;
	reload->started = config_ref(state->router->snapshot->config);
	list_init(&reload->waiting);
	state->reload = reload;
	*ret_reload = reload;
	return 0;
}

void control_reload_free(struct control_reload *reload)
{
	if (!reload)
		return;
	if (reload->check)
		store_check_cancel(reload->check);
	if (reload->next)
		discard(reload, reload->next);
	while (!list_empty(&reload->waiting))
		finish_with(list_entry(reload->waiting.next, struct waiting, link), 503,
			"shutting down");
	listen_free_dropped(reload->dropped);
	json_decref(reload->answer);
	config_unref(reload->started);
	reload->state->reload = NULL;
	free(reload);
}

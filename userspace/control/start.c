// SPDX-License-Identifier: Apache-2.0
/*
 * Start, signals and stop. Stop is: tell every worker to shut down; when all are empty or
 * shutdown_grace is over, tell them to end; join them; only then free what they shared (SES-86).
 * The admin listener answers until the end (ADM-9).
 */
#include "control/start.h"
#include "admin/drains.h"
#include "admin/endpoints.h"
#include "admin/listener.h"
#include "base/clock.h"
#include "base/log.h"
#include "control/guard.h"
#include "control/status.h"
#include "control/reload.h"
#include "control/store_channel.h"
#include "worker/watchdog.h"
#include "tls/tls.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define STATS_LINE_MS 60000
#define PROBE_MS 1000
#define LAST_ANSWERS_MS 1000

struct control {
	struct router *router;
	struct loop loop;
	struct loop_watch signal_watch;
	int signal_fd;
	struct timer grace_timer, stats_timer, probe_timer;
	struct worker *workers;
	unsigned workers_started, workers_empty;
	struct control_state state;
	struct admin_ops ops;
	struct admin_listener *admin, *admin_local;
	struct control_reload *reload;
	struct watchdog *watchdog;
};

/* Until the store has answered once, so that readiness does not wait for a login (MAP-34); and
 * while it refuses our query, because then nobody may be sent here any more. */
static void on_probe(struct timer *timer)
{
	struct control *control = container_of(timer, struct control, probe_timer);
	struct mapping_stats stats;

	mapping_stats(control->router->mapping, &stats);
	if (!stats.store_seen || stats.store_refused)
		mapping_probe_store(control->router->mapping);
	loop_timer_set(&control->loop, timer, PROBE_MS, on_probe);
}

static void on_stats_line(struct timer *timer)
{
	struct control *control = container_of(timer, struct control, stats_timer);
	struct mapping_stats stats;
	struct log_line line;
	uint64_t lookups;
	char rate[16];

	mapping_stats(control->router->mapping, &stats);
	lookups = stats.hits + stats.misses;
	snprintf(rate, sizeof(rate), "%.2f",
		lookups ? 100.0 * (double)stats.hits / (double)lookups : 0.0);
	log_start(&line, LOGL_INFO, "stats");
	log_int(&line, "hits", (int64_t)stats.hits);
	log_int(&line, "misses", (int64_t)stats.misses);
	log_str(&line, "hit_rate_pct", rate);
	log_int(&line, "cache_entries", (int64_t)stats.entries);
	log_int(&line, "active_connections", (int64_t)atomic_load(&control->router->active));
	log_end(&line);
	loop_timer_set(&control->loop, timer, STATS_LINE_MS, on_stats_line);
}

/* ---- stopping ---- */

static void end_now(struct control *control)
{
	loop_stop(&control->loop);
}

static void on_grace_over(struct timer *timer)
{
	end_now(container_of(timer, struct control, grace_timer));
}

/* A worker's empty_post has no way back to control but this: one control per process. */
static struct control *the_control;

static void on_worker_empty(struct post *post)
{
	(void)post;
	if (++the_control->workers_empty == the_control->workers_started)
		end_now(the_control);
}

static void begin_shutdown(struct control *control, int signal_number)
{
	if (atomic_exchange(&control->router->shutting_down, true)) {
		log_event(LOGL_WARN, "stopping", "signal", strsignal(signal_number), "again",
			"true", NULL);
		_exit(0); /* a second signal (SES-86) */
	}
	log_event(LOGL_INFO, "stopping", "signal", strsignal(signal_number), NULL);
	for (unsigned i = 0; i < control->workers_started; i++)
		worker_shut_down(&control->workers[i]);
	loop_timer_set(&control->loop, &control->grace_timer,
		control->router->snapshot->config->server.shutdown_grace_ms, on_grace_over);
}

static void on_signal(struct loop_watch *watch, uint32_t epoll_events)
{
	struct control *control = container_of(watch, struct control, signal_watch);
	struct signalfd_siginfo info;

	(void)epoll_events;
	while (read(control->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			control_reload_start(control->reload, false, false, NULL, NULL);
		else
			begin_shutdown(control, (int)info.ssi_signo);
	}
}

static int watch_signals(struct control *control)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	control->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (control->signal_fd < 0)
		return -errno;
	return loop_watch_add(
		&control->loop, &control->signal_watch, control->signal_fd, EPOLLIN, on_signal);
}

/* ---- starting ---- */

static int start_mapping(struct control *control, char *error, size_t error_size)
{
	struct control_state *state = &control->state;
	struct config *config = control->router->snapshot->config;
	struct mapping_params params;
	const char **names;
	int r = store_mapping_params(config, &control->loop, &params, &names);

	if (r < 0)
		return r;
	r = store_channel_open(config, control_guard_heard, state->guard, &state->channel,
		&params.store, error, error_size);
	if (r == 0) {
		params.store_gone_arg = state->channel;
		r = mapping_new(&params, &control->router->mapping);
		if (r < 0) {
			store_free(params.store);
			store_channel_free(state->channel);
		}
	}
	free(names);
	if (r < 0)
		return r;
	state->store = params.store;
	mapping_on_event(control->router->mapping, store_log_event, control);
	store_channel_attach(state->channel, control->router->mapping, config);
	on_probe(&control->probe_timer);
	return 0;
}

static int start_admin(struct control *control, int admin_fd, int local_fd)
{
	const struct config_admin *settings = &control->router->snapshot->config->admin;
	struct admin_params params = {
		.loop = &control->loop,
		.listen_fd = admin_fd,
		.tls = control->router->snapshot->tls,
		.token_sha256 = settings->token_sha256,
		.lockout_threshold = (unsigned)settings->lockout_threshold,
		.lockout_ms = settings->lockout_duration_ms,
		.ops = &control->ops,
		.endpoints = admin_endpoints,
		.for_group = settings->socket_group,
	};
	int r;

	control_ops_fill(&control->ops, &control->state);
	r = admin_drains_new(&control->loop, &control->ops, &control->ops.drains);
	if (r == 0 && admin_fd >= 0)
		r = admin_listener_new(&params, &control->admin);
	params.listen_fd = local_fd;
	params.tls = NULL;
	if (r == 0 && local_fd >= 0)
		r = admin_listener_new(&params, &control->admin_local);
	else if (local_fd >= 0)
		close(local_fd);
	control->state.admin = control->admin;
	return r;
}

static void on_following(struct worker_call *call)
{
	worker_follow_free(container_of(call, struct worker_follow, call));
}

static int start_worker(struct control *control, unsigned index, const struct listen_plan *plan)
{
	struct worker *worker = &control->workers[index];
	struct worker_follow *follow = worker_follow_new(index, control->router->snapshot, plan);
	int r;

	if (!follow)
		return -ENOMEM;
	follow->call.done = on_following;
	r = worker_start(worker, control->router, index, &control->loop.mailbox, on_worker_empty);
	if (r == 0)
		control->workers_started++;
	if (r < 0 || !worker_call(worker, &follow->call))
		worker_follow_free(follow);
	return r;
}

static int start_workers(struct control *control, struct listen_plan *plan)
{
	struct router *router = control->router;
	unsigned count = router->worker_count;
	int r = tokens_new(&router->tokens);

	if (r == 0)
		r = strangers_new(&router->strangers);
	control->workers = calloc(count, sizeof(*control->workers));
	router->mailboxes = calloc(count, sizeof(struct mailbox *));
	if (!control->workers || !router->mailboxes)
		return -ENOMEM;
	for (unsigned i = 0; r == 0 && i < count; i++)
		r = start_worker(control, i, plan);
	if (r < 0)
		return r;
	listen_free_dropped(listen_commit(router, plan));
	control->state.workers = control->workers;
	control->state.worker_count = count;
	return 0;
}

/* The last step: until here a thread may take its time. */
static int start_watchdog(struct control *control)
{
	struct router *router = control->router;
	int r = watchdog_new(
		router, router->snapshot->config->server.stuck_exit_ms, &control->watchdog);

	watchdog_add(control->watchdog, "control", &control->loop);
	for (unsigned i = 0; r == 0 && i < control->workers_started; i++) {
		char name[WATCHDOG_NAME_SIZE];

		snprintf(name, sizeof(name), "worker%u", i);
		watchdog_add(control->watchdog, name, &control->workers[i].loop);
	}
	return r < 0 ? r : watchdog_start(control->watchdog);
}

static int start(
	struct control *control, struct control_params *params, char *error, size_t error_size)
{
	int r = watch_signals(control);

	snprintf(error, error_size, "cannot start");
	if (r == 0)
		r = netlink_addrs_new(&control->loop, &control->router->local_addrs);
	if (r == 0)
		r = holds_new(&control->router->holds);
	if (r == 0)
		r = control_guard_new(&control->state, &control->state.guard);
	if (r == 0)
		r = start_mapping(control, error, error_size);
	if (r == 0)
		r = start_admin(control, params->admin_fd, params->admin_local_fd);
	if (r == 0)
		r = start_workers(control, &params->plan);
	if (r == 0)
		r = control_reload_new(&control->state, &control->reload);
	if (r == 0)
		r = start_watchdog(control);
	control->state.starting = false;
	return r;
}

/* ADM-9: a kick may have ended the last session; its answer still goes out. */
static void send_last_answers(struct control *control)
{
	uint64_t end = clock_mono_ms() + LAST_ANSWERS_MS;

	while ((admin_listener_busy(control->admin) || admin_listener_busy(control->admin_local)) &&
		clock_mono_ms() < end) {
		if (loop_run_once(&control->loop, 10) < 0)
			return;
	}
}

static void stop(struct control *control)
{
	for (unsigned i = 0; i < control->workers_started; i++)
		worker_kill(&control->workers[i]);
	for (unsigned i = 0; i < control->workers_started; i++)
		worker_join(&control->workers[i]);
	watchdog_free(control->watchdog);
	mailbox_run(&control->loop.mailbox); /* their last answers */
	control_reload_free(control->reload);
	admin_listener_free(control->admin);
	admin_listener_free(control->admin_local);
	loop_timer_del(&control->loop, &control->probe_timer);
	loop_timer_del(&control->loop, &control->stats_timer);
	loop_timer_del(&control->loop, &control->grace_timer);
	control->state.store = NULL; /* nobody else asks it now */
	mapping_free(control->router->mapping);
	control->router->mapping = NULL;
	admin_drains_free(control->ops.drains); /* the mapping's last answers may be steps */
	holds_free(control->router->holds);
	control->router->holds = NULL;
	for (unsigned i = 0; i < control->workers_started; i++)
		worker_fini(&control->workers[i]);
	free(control->workers);
	free(control->router->mailboxes);
	tokens_free(control->router->tokens);
	control->router->mailboxes = NULL;
	control->router->tokens = NULL;
	strangers_free(control->router->strangers);
	control->router->strangers = NULL;
	control_guard_free(control->state.guard);
	netlink_addrs_free(control->router->local_addrs);
	control->router->local_addrs = NULL;
	loop_watch_del(&control->signal_watch);
	if (control->signal_fd >= 0)
		close(control->signal_fd);
}

int control_run(struct control_params *params, char *error, size_t error_size)
{
	struct control control = {
		.router = params->router,
		.signal_fd = -1,
		.state = {
			.router = params->router,
			.loop = &control.loop,
			.guard_kernel = params->guard_kernel,
			.generation = 1,
			.started_ms = clock_mono_ms(),
			.loaded_real_ms = clock_real_ms(),
			.starting = true,
		},
	};
	int r = loop_init(&control.loop);

	if (r < 0) {
		listen_discard(&params->plan);
		return r;
	}
	the_control = &control;
	r = start(&control, params, error, error_size);
	if (r == 0) {
		log_event(LOGL_INFO, "ready", "version", HOMING_VERSION, "tls_library",
			tls_library_name(), NULL);
		loop_timer_set(&control.loop, &control.stats_timer, STATS_LINE_MS, on_stats_line);
		r = loop_run(&control.loop);
		send_last_answers(&control);
	}
	stop(&control);
	listen_discard(&params->plan); /* nothing, unless the start failed */
	loop_fini(&control.loop);
	the_control = NULL;
	log_event(LOGL_INFO, "stopped", NULL);
	return r;
}

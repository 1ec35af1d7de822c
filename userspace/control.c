// SPDX-License-Identifier: Apache-2.0
/*
 * Start, signals and stop. Stop is: tell every worker to drain; when all are empty or
 * shutdown_grace is over, tell them to end; join them; only then free what they shared (SES-86).
 * The admin listener answers until the end (ADM-9).
 */
#include "control.h"
#include "admin/server.h"
#include "base/clock.h"
#include "base/log.h"
#include "control_backend.h"
#include "store_open.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/signalfd.h>
#include <unistd.h>

#define STATS_LINE_MS 60000
#define PROBE_MS 5000
#define LAST_ANSWERS_MS 1000

struct control {
	struct server *server;
	struct loop loop;
	struct loop_watch signal_watch;
	int signal_fd;
	struct timer grace_timer, stats_timer, probe_timer;
	struct worker *workers;
	unsigned workers_started, workers_empty;
	struct control_backend backend_state;
	struct admin_backend backend;
	struct admin_server *admin, *admin_local;
	_Atomic(struct mapping *)
		mapping_for_store; /* the store's thread may call before we are done */
	atomic_bool push_up;
};

/* ---- what the mapping reports ---- */

static void on_mapping_event(
	void *arg, enum mapping_event event, const char *text, uint64_t outage_ms)
{
	struct log_line line;

	(void)arg;
	switch (event) {
	case MAPPING_STORE_LOST:
		log_event(LOGL_WARN, "store_lost", "error", text, NULL);
		break;
	case MAPPING_STORE_BACK:
		log_start(&line, LOGL_INFO, "store_back");
		log_int(&line, "outage_ms", (int64_t)outage_ms);
		log_end(&line);
		break;
	case MAPPING_UNKNOWN_DESTINATION:
		log_event_limited(
			LOGL_WARN, "unknown_destination", text, "destination", text, NULL);
		break;
	}
}

/* Until the store has answered once, so that readiness does not wait for a login (MAP-34). */
static void on_probe(struct timer *timer)
{
	struct control *control = container_of(timer, struct control, probe_timer);
	struct mapping_stats stats;

	mapping_stats(control->server->mapping, &stats);
	if (stats.store_seen)
		return;
	mapping_probe_store(control->server->mapping);
	loop_timer_set(&control->loop, timer, PROBE_MS, on_probe);
}

static void on_stats_line(struct timer *timer)
{
	struct control *control = container_of(timer, struct control, stats_timer);
	struct mapping_stats stats;
	struct log_line line;
	uint64_t lookups;
	char rate[16];

	mapping_stats(control->server->mapping, &stats);
	lookups = stats.hits + stats.misses;
	snprintf(rate, sizeof(rate), "%.2f",
		lookups ? 100.0 * (double)stats.hits / (double)lookups : 0.0);
	log_start(&line, LOGL_INFO, "stats");
	log_int(&line, "hits", (int64_t)stats.hits);
	log_int(&line, "misses", (int64_t)stats.misses);
	log_str(&line, "hit_rate_pct", rate);
	log_int(&line, "cache_entries", (int64_t)stats.entries);
	log_int(&line, "active_connections", (int64_t)atomic_load(&control->server->active));
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

static void begin_drain(struct control *control, int signal_number)
{
	if (atomic_exchange(&control->server->draining, true)) {
		log_event(LOGL_WARN, "stopping", "signal", strsignal(signal_number), "again",
			"true", NULL);
		_exit(0); /* a second signal (SES-86) */
	}
	log_event(LOGL_INFO, "stopping", "signal", strsignal(signal_number), NULL);
	for (unsigned i = 0; i < control->workers_started; i++)
		worker_drain(&control->workers[i]);
	loop_timer_set(&control->loop, &control->grace_timer,
		control->server->snapshot->config->server.shutdown_grace_ms, on_grace_over);
}

static void on_signal(struct loop_watch *watch, uint32_t epoll_events)
{
	struct control *control = container_of(watch, struct control, signal_watch);
	struct signalfd_siginfo info;

	(void)epoll_events;
	while (read(control->signal_fd, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo == SIGHUP)
			log_event(LOGL_WARN, "reload", "ok", "false", "error",
				"reload is not supported by this build; restart to change settings",
				NULL);
		else
			begin_drain(control, (int)info.ssi_signo);
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

/* MAP-100: what the store names is normalised as a login is; what cannot be an account is nobody's. */
static void on_pushed_key(struct control *control, struct mapping *mapping, struct view identifier)
{
	struct identity identity;

	if (identity_account(
		    &control->server->snapshot->config->identity_rules, identifier, &identity) < 0)
		log_event_limited(LOGL_WARN, "push", "", "text",
			"a message that names no account is ignored", NULL);
	else
		mapping_invalidate(mapping, view_make(identity.account, identity.len));
}

/* Any thread: the store's. */
static void on_store_push(void *arg, enum store_push_event event, struct view identifier)
{
	struct control *control = arg;
	struct mapping *mapping = atomic_load(&control->mapping_for_store);

	atomic_store(&control->push_up,
		event == STORE_PUSH_UP ||
			(event != STORE_PUSH_DOWN && atomic_load(&control->push_up)));
	if (!mapping)
		return;
	switch (event) {
	case STORE_PUSH_UP:
		mapping_expire_all(mapping);
		mapping_set_push(mapping, MAPPING_PUSH_UP);
		log_event(LOGL_INFO, "push_up", NULL);
		break;
	case STORE_PUSH_DOWN:
		mapping_set_push(mapping, MAPPING_PUSH_DOWN);
		log_event(LOGL_WARN, "push_lost", NULL);
		break;
	case STORE_PUSH_KEY:
		on_pushed_key(control, mapping, identifier);
		break;
	case STORE_PUSH_ALL:
		mapping_invalidate_all(mapping);
		break;
	}
}

static int start_mapping(struct control *control, char *error, size_t error_size)
{
	struct config *config = control->server->snapshot->config;
	struct mapping_params params = {
		.control = &control->loop,
		.positive_ttl_ms = config->mapping.positive_ttl_ms,
		.negative_ttl_ms = config->mapping.negative_ttl_ms,
		.stale_grace_ms = config->mapping.stale_grace_ms,
		.lookup_timeout_ms = config->mapping.lookup_timeout_ms,
		.max_entries = (uint64_t)config->mapping.cache_max_entries,
		.default_destination = config->routing.default_destination,
	};
	const char **names = calloc(config->destination_count + 1, sizeof(*names));
	int r;

	if (!names)
		return -ENOMEM;
	for (size_t i = 0; i < config->destination_count; i++)
		names[i] = config->destinations[i].name;
	params.destinations = names;
	r = store_open(config, on_store_push, control, &params.store, error, error_size);
	control->backend_state.store = params.store;
	if (r == 0) {
		r = mapping_new(&params, &control->server->mapping);
		if (r < 0)
			store_free(params.store);
	}
	free(names);
	if (r < 0)
		return r;
	if (store_has_push(config))
		mapping_set_push(control->server->mapping, MAPPING_PUSH_DOWN);
	atomic_store(&control->mapping_for_store, control->server->mapping);
	if (atomic_load(&control->push_up)) /* before there was anything to expire */
		mapping_set_push(control->server->mapping, MAPPING_PUSH_UP);
	mapping_on_event(control->server->mapping, on_mapping_event, control);
	on_probe(&control->probe_timer);
	return 0;
}

static int start_admin(struct control *control, int admin_fd, int local_fd)
{
	const struct config_admin *settings = &control->server->snapshot->config->admin;
	struct admin_params params = {
		.loop = &control->loop,
		.listen_fd = admin_fd,
		.tls = control->server->snapshot->tls,
		.token_sha256 = settings->token_sha256,
		.lockout_threshold = (unsigned)settings->lockout_threshold,
		.lockout_ms = settings->lockout_duration_ms,
		.backend = &control->backend,
	};
	int r = 0;

	control_backend_fill(&control->backend, &control->backend_state);
	if (admin_fd >= 0)
		r = admin_server_new(&params, &control->admin);
	params.listen_fd = local_fd;
	params.tls = NULL;
	if (r == 0 && local_fd >= 0)
		r = admin_server_new(&params, &control->admin_local);
	else if (local_fd >= 0)
		close(local_fd);
	return r;
}

static int start_workers(struct control *control)
{
	unsigned count = control->server->worker_count;
	int r;

	control->workers = calloc(count, sizeof(*control->workers));
	if (!control->workers)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		r = worker_start(&control->workers[i], control->server, i, &control->loop.mailbox,
			on_worker_empty);
		if (r < 0)
			return r;
		control->workers_started++;
	}
	control->backend_state.workers = control->workers;
	control->backend_state.worker_count = count;
	return 0;
}

static int start(struct control *control, const struct control_params *params, char *error,
	size_t error_size)
{
	int r = watch_signals(control);

	snprintf(error, error_size, "cannot start");
	if (r == 0)
		r = netlink_addrs_new(&control->loop, &control->server->local_addrs);
	if (r == 0)
		r = holds_new(&control->server->holds);
	if (r == 0)
		r = start_mapping(control, error, error_size);
	if (r == 0)
		r = start_admin(control, params->admin_fd, params->admin_local_fd);
	if (r == 0)
		r = start_workers(control);
	control->backend_state.starting = false;
	return r;
}

/* ADM-9: a kick may have ended the last session; its answer still goes out. */
static void send_last_answers(struct control *control)
{
	uint64_t end = clock_mono_ms() + LAST_ANSWERS_MS;

	while ((admin_server_busy(control->admin) || admin_server_busy(control->admin_local)) &&
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
	mailbox_run(&control->loop.mailbox); /* their last answers */
	admin_server_free(control->admin);
	admin_server_free(control->admin_local);
	loop_timer_del(&control->loop, &control->probe_timer);
	loop_timer_del(&control->loop, &control->stats_timer);
	loop_timer_del(&control->loop, &control->grace_timer);
	mapping_free(control->server->mapping);
	control->server->mapping = NULL;
	holds_free(control->server->holds);
	control->server->holds = NULL;
	for (unsigned i = 0; i < control->workers_started; i++)
		worker_fini(&control->workers[i]);
	free(control->workers);
	netlink_addrs_free(control->server->local_addrs);
	control->server->local_addrs = NULL;
	loop_watch_del(&control->signal_watch);
	if (control->signal_fd >= 0)
		close(control->signal_fd);
}

int control_run(const struct control_params *params, char *error, size_t error_size)
{
	struct control control = {
		.server = params->server,
		.signal_fd = -1,
		.backend_state = {
			.server = params->server,
			.started_ms = clock_mono_ms(),
			.loaded_real_ms = clock_real_ms(),
			.starting = true,
		},
	};
	int r = loop_init(&control.loop);

	if (r < 0)
		return r;
	the_control = &control;
	r = start(&control, params, error, error_size);
	if (r == 0) {
		log_event(LOGL_INFO, "ready", "version", HOMING_VERSION, NULL);
		loop_timer_set(&control.loop, &control.stats_timer, STATS_LINE_MS, on_stats_line);
		r = loop_run(&control.loop);
		send_last_answers(&control);
	}
	stop(&control);
	loop_fini(&control.loop);
	the_control = NULL;
	log_event(LOGL_INFO, "stopped", NULL);
	return r;
}

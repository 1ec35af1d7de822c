// SPDX-License-Identifier: Apache-2.0
/*
 * Start order: configuration, what this build can serve, certificates and contexts, sockets, then
 * the drop of privileges, the filter of system calls, then threads (SEC-1..SEC-3). Whatever fails
 * before the last step leaves nothing bound and exits 1 with a text that names the culprit.
 */
#include "daemon/daemon.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "control/guard_kernel.h"
#include "control/start.h"
#include "worker/listen.h"
#include "net/sock.h"
#include "worker/port_owner.h"
#include "daemon/privileges.h"
#include "daemon/syscalls.h"

#include <errno.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FDS_SPARE 64
#define ADMIN_BACKLOG 128

/* ---- sockets ---- */

/* As the listeners (CFG-26): a v6 wildcard alone on its port takes IPv4 too, as far as the host has
 * the families and nobody else has the port. */
static int listen_admin(const struct config *config)
{
	const struct addr *bind = &config->admin.bind;
	struct addr v4;
	int fd;

	if (!config_binds_both(config, bind, &v4))
		return sock_listen(bind, 0, ADMIN_BACKLOG);
	if (!sock_has_family(AF_INET6))
		return sock_listen(&v4, 0, ADMIN_BACKLOG);
	fd = sock_listen(bind, SOCK_BOTH_FAMILIES, ADMIN_BACKLOG);
	return fd == -EADDRINUSE ? sock_listen(bind, 0, ADMIN_BACKLOG) : fd;
}

static int bind_admin(struct router *router, int *ret_fd)
{
	const struct config_admin *admin = &router->snapshot->config->admin;
	char text[ADDR_TEXT_SIZE], why[PORT_OWNER_TEXT_SIZE];
	int fd, r;

	if (!admin->present)
		return 0;
	fd = listen_admin(router->snapshot->config);
	if (fd < 0) {
		fprintf(stderr, "homingd: admin: %s\n",
			port_owner_explain(&admin->bind, fd, PORT_USE_DRAINS, why));
		return fd;
	}
	r = sock_local(fd, &router->admin_addr);
	if (r < 0) {
		close(fd);
		return r;
	}
	log_event(LOGL_INFO, "listening", "listener", "admin", "addr",
		addr_format(&router->admin_addr, text), NULL);
	*ret_fd = fd;
	return 0;
}

static int bind_admin_local(struct router *router, int *ret_fd)
{
	const struct config_admin *admin = &router->snapshot->config->admin;
	const struct group *group = NULL;
	int fd;

	if (!admin->present || !admin->socket)
		return 0;
	if (admin->socket_group) {
		group = getgrnam(admin->socket_group);
		if (!group) {
			fprintf(stderr, "homingd: admin.socket_group: no such group: \"%s\"\n",
				admin->socket_group);
			return -ENOENT;
		}
	}
	fd = sock_listen_unix(admin->socket, group ? group->gr_gid : (gid_t)-1, ADMIN_BACKLOG);
	if (fd < 0) {
		fprintf(stderr, "homingd: admin: cannot bind %s: %s\n", admin->socket,
			strerror(-fd));
		return fd;
	}
	log_event(LOGL_INFO, "listening", "listener", "admin", "path", admin->socket, NULL);
	*ret_fd = fd;
	return 0;
}

static int complain(const struct build_error *error, int r)
{
	fprintf(stderr, "homingd: %s: %s\n", error->table, error->text);
	return r;
}

/* Leaves the plan's sockets with the server and the plan for the workers. */
static int bind_all(struct router *router, struct control_params *params)
{
	struct build_error error;
	int r = listen_plan(router, router->snapshot, false, &params->plan, &error);

	if (r < 0)
		return complain(&error, r);
	r = bind_admin(router, &params->admin_fd);
	return r == 0 ? bind_admin_local(router, &params->admin_local_fd) : r;
}

/* ---- the kernel's data paths ---- */

static const struct probe_row *first_failure(const struct relay_probe *probe, const char *what)
{
	for (size_t i = 0; i < probe->row_count; i++) {
		if (!probe->rows[i].ok && strncmp(probe->rows[i].name, what, strlen(what)) == 0)
			return &probe->rows[i];
	}
	return NULL;
}

/* Why a path is not there: by the first of its rows that has failed. */
static void log_unavailable(const struct relay_probe *probe, const char *path, const char *rows)
{
	const struct probe_row *row = first_failure(probe, rows);

	log_event(LOGL_WARN, "path_unavailable", "path", path, "reason", row ? row->reason : NULL,
		NULL);
}

static const char *yes_or_no(bool it_is)
{
	return it_is ? "yes" : "no";
}

/* One warning for each kind of path that is wanted and not there at all (SEC-12). */
static void log_probe(const struct router *router, const struct config_splice *splice)
{
	const struct relay_kernel *kernel = &router->kernel;
	const struct relay_probe *probe = &router->probe;
	bool wants_bypass = splice->same_host == CONFIG_SAME_HOST_AUTO;
	bool ktls = kernel->ktls.usable[RECORD_TLS_1_3][RECORD_AES_128_GCM];
	bool record = relay_probe_ciphers(kernel) == BIT(RECORD_CIPHERS) - 1;

	if (!kernel->sockmap)
		log_unavailable(probe, "sockmap", router->bpfctl ? "sockmap" : "bpf");
	if (wants_bypass && !kernel->same_host)
		log_unavailable(probe, "bypass", "bypass");
	if (!record)
		log_unavailable(probe, "record", "record");
	if (splice->mode == CONFIG_SPLICE_KTLS && !ktls)
		log_unavailable(probe, "ktls", "ktls");
	log_event(LOGL_INFO, "paths", "sockmap", yes_or_no(kernel->sockmap), "record",
		yes_or_no(record), "ktls", yes_or_no(ktls), "no_pad",
		yes_or_no(kernel->ktls.no_pad), "rekey", yes_or_no(kernel->ktls.rekey), "bypass",
		wants_bypass ? yes_or_no(kernel->same_host) : "off", NULL);
	if (router->bpfctl && bpfctl_pin_error(router->bpfctl))
		log_event(
			LOGL_WARN, "not_pinned", "reason", bpfctl_pin_error(router->bpfctl), NULL);
}

/* Two rows per session, within reason. */
static unsigned flows_wanted(const struct config *config)
{
	uint64_t flows = 0;

	for (size_t i = 0; i < config->listener_count; i++)
		flows += 2 * (uint64_t)config->listeners[i].max_connections;
	return (unsigned)MIN(MAX(flows, (uint64_t)1024), (uint64_t)1 << 20);
}

static void load_kernel_paths(struct router *router, const char *pin_path, unsigned flows)
{
	struct bpfctl_params params = {
		.pin_path = pin_path,
		.workers = MIN(router->worker_count, (unsigned)HM_WORKERS_MAX),
		.max_flows = flows,
	};
	char error[BPFCTL_ERROR_SIZE] = "";

	if (bpfctl_load(&params, &router->bpfctl, error) < 0)
		router->bpfctl = NULL;
	router->kernel.bpfctl = router->bpfctl;
	relay_probe(&router->probe, &router->kernel, error);
	tls_prefer_ciphers(relay_probe_ciphers(&router->kernel));
}

/* Where it cannot be used, nothing of it stays. */
static void load_bypass(struct router *router, unsigned sessions)
{
	char error[BPFCTL_ERROR_SIZE] = "";

	if (router->bpfctl &&
		bpfctl_bypass_load(router->bpfctl, sessions, &router->bypass, error) < 0)
		router->bypass = NULL;
	router->kernel.bypass = router->bypass;
	relay_probe_bypass(&router->probe, &router->kernel, error);
	if (router->kernel.same_host)
		return;
	bpfctl_bypass_free(router->bypass);
	router->kernel.bypass = router->bypass = NULL;
}

int daemon_probe(void)
{
	struct router router = { .worker_count = 1 };

	load_kernel_paths(&router, NULL, 1024);
	load_bypass(&router, 512);
	for (size_t i = 0; i < router.probe.row_count; i++) {
		const struct probe_row *row = &router.probe.rows[i];

		printf("%-46s %-4s%s%s\n", row->name, row->ok ? "yes" : "no",
			*row->reason ? " " : "", row->reason);
	}
	bpfctl_bypass_free(router.bypass);
	bpfctl_free(router.bpfctl);
	return 0;
}

int daemon_guard_detach(void)
{
	char error[BPFCTL_ERROR_SIZE];
	int r = guard_xdp_detach_all(error);

	if (r < 0)
		fprintf(stderr, "homingd: %s\n", error);
	else if (r > 0)
		printf("guard: %d removed\n", r);
	return r < 0 ? 1 : 0;
}

static void check_descriptors(const struct config *config)
{
	size_t limit = privileges_raise_nofile();
	uint64_t wanted = FDS_SPARE;
	struct log_line line;

	for (size_t i = 0; i < config->listener_count; i++)
		wanted += 2 * (uint64_t)config->listeners[i].max_connections;
	if (limit >= wanted)
		return;
	log_start(&line, LOGL_WARN, "few_descriptors");
	log_int(&line, "limit", (int64_t)limit);
	log_int(&line, "wanted", (int64_t)wanted);
	log_end(&line);
}

static void set_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static unsigned worker_count(const struct config *config)
{
	cpu_set_t cpus;

	if (config->server.threads > 0)
		return (unsigned)config->server.threads;
	if (sched_getaffinity(0, sizeof(cpus), &cpus) == 0)
		return (unsigned)CPU_COUNT(&cpus);
	return 1;
}

/* ---- start ---- */

/* Later ones, of a reload, are bound by that user: only sockets of one user share a port. */
static int give_sockets(
	const struct config *config, const struct listen_plan *plan, char *error, size_t error_size)
{
	uid_t uid;
	gid_t gid;
	int r;

	if (geteuid() != 0)
		return 0;
	r = privileges_find(
		config->server.user, config->server.group, &uid, &gid, error, error_size);
	if (r == 0)
		listen_give_to(plan, uid, gid);
	return r;
}

/* Before the first thread, which all later ones come from. The kernel's tables are loaded. */
static void restrict_syscalls(const struct config *config)
{
	int r = config->server.seccomp ? syscalls_restrict() : 0;

	if (r < 0)
		log_event(LOGL_WARN, "no_seccomp", "reason", strerror(-r), NULL);
}

static int serve(struct router *router, struct guard_kernel *kernel, char *error, size_t error_size)
{
	const struct config *config = router->snapshot->config;
	struct control_params params = {
		.router = router, .admin_fd = -1, .admin_local_fd = -1, .guard_kernel = kernel
	};
	int r = bind_all(router, &params);

	*error = '\0'; /* bind_all() has said why */
	if (r == 0)
		r = give_sockets(config, &params.plan, error, error_size);
	if (r == 0)
		r = privileges_drop(config->server.user, config->server.group, error, error_size);
	if (r < 0) {
		fd_closep(&params.admin_fd);
		fd_closep(&params.admin_local_fd);
		listen_discard(&params.plan);
		return r;
	}
	restrict_syscalls(config);
	return control_run(&params, error, error_size);
}

static int build(struct router *router, struct config *config)
{
	struct build_error error;
	struct snapshot *snapshot;
	int r = snapshot_new(router->snapshot, &router->known, config, &snapshot, &error);

	if (r < 0)
		return complain(&error, r);
	r = router_reserve(router, snapshot);
	if (r < 0)
		snapshot_unref(snapshot);
	else
		router_adopt(router, snapshot);
	return r;
}

static int start(struct config *config, char *error, size_t error_size)
{
	struct router router = { .worker_count = worker_count(config),
		.auth_events = AUTH_EVENTS_INIT };
	struct guard_kernel *kernel = NULL;
	int r = hash_seed();

	snprintf(error, error_size, "no source of random numbers");
	if (r == 0)
		r = fd_random(router.instance, sizeof(router.instance));
	if (r == 0)
		r = tls_process_init();
	if (r == 0) {
		bool wants_bypass = config->splice.same_host == CONFIG_SAME_HOST_AUTO;

		load_kernel_paths(&router, config->splice.pin_path, flows_wanted(config));
		if (wants_bypass)
			load_bypass(&router, flows_wanted(config) / 2);
		log_probe(&router, &config->splice);
		*error = '\0';
		r = build(&router, config);
	}
	if (r == 0) {
		kernel = guard_kernel_load(config);
		r = serve(&router, kernel, error, error_size);
	}
	guard_kernel_free(kernel);
	listen_close_all(&router);
	router_forget(&router);
	bpfctl_bypass_free(router.bypass);
	bpfctl_free(router.bpfctl);
	tls_process_fini();
	return r;
}

int daemon_run(const char *config_path)
{
	struct config *config;
	char error[512] = "";
	int r;

	if (config_load_reporting(config_path, stderr, &config) < 0)
		return 1;
	log_init();
	log_set_level(config->server.log_level);
	check_descriptors(config);
	set_signals();
	r = start(config, error, sizeof(error));
	if (r < 0 && *error)
		fprintf(stderr, "homingd: %s\n", error);
	config_unref(config);
	return r < 0 ? 1 : 0;
}

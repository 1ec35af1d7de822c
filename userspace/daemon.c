// SPDX-License-Identifier: Apache-2.0
/*
 * Start order: configuration, what this build can serve, certificates and contexts, sockets, then
 * the drop of privileges, then threads (SEC-1..SEC-3). Whatever fails before the last step leaves
 * nothing bound and exits 1 with a text that names the culprit.
 */
#include "daemon.h"
#include "base/fd.h"
#include "base/hash.h"
#include "base/log.h"
#include "control.h"
#include "net/sock.h"
#include "privileges.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BACKLOG 4096
#define FDS_SPARE 64

/* ---- what this build can serve ---- */

static unsigned complain(const char *key, const char *name, const char *text)
{
	fprintf(stderr, "homingd: %s%s: %s is not supported by this build\n", key, name, text);
	return 1;
}

static unsigned check_listener(const struct config_listener *listener)
{
	char key[128];
	unsigned errors = 0;

	snprintf(key, sizeof(key), "listener.%s.", listener->name);
	if (listener->protocol != PROTOCOL_IMAP && listener->protocol != PROTOCOL_HTTP) {
		char text[64];

		snprintf(text, sizeof(text), "protocol \"%s\"", protocol_name(listener->protocol));
		errors += complain(key, "protocol", text);
	}
	if (listener->proxy_protocol != CONFIG_PROXY_OFF)
		errors += complain(key, "proxy_protocol", "an inbound PROXY header");
	/* On http it also says whose X-Forwarded-For may be kept. */
	if (listener->proxy_trusted_count && listener->protocol != PROTOCOL_HTTP)
		errors += complain(key, "proxy_trusted", "taking client data from trusted peers");
	return errors;
}

static unsigned check_mechs(const struct config *config)
{
	const struct config_capabilities *caps = &config->capabilities[PROTOCOL_IMAP];
	unsigned errors = 0;

	for (size_t i = 0; i < caps->mech_count; i++) {
		if (caps->mechs[i] != CONFIG_SASL_OAUTHBEARER &&
			caps->mechs[i] != CONFIG_SASL_XOAUTH2)
			continue;
		if (caps->mechs_set)
			errors += complain("capabilities.imap.sasl", "",
				caps->mechs[i] == CONFIG_SASL_XOAUTH2 ? "XOAUTH2" : "OAUTHBEARER");
	}
	if (!caps->mechs_set)
		log_event(LOGL_WARN, "mechanisms_not_offered", "protocol", "imap", "mechanisms",
			"OAUTHBEARER XOAUTH2", "reason", "not supported by this build", NULL);
	return errors;
}

static unsigned check_supported(const struct config *config)
{
	unsigned errors = check_mechs(config);

	for (size_t i = 0; i < config->listener_count; i++)
		errors += check_listener(&config->listeners[i]);
	return errors;
}

/* ---- sockets ---- */

/* Somebody else on this port would share it silently through SO_REUSEPORT: ask without first. */
static int probe_bind(const struct addr *addr)
{
	CLEANUP(fd_closep) int fd = -1;

	if (addr_port(addr) == 0)
		return 0;
	fd = sock_listen(addr, false, 1);
	return fd < 0 ? fd : 0;
}

static int bind_one(struct listener *listener, struct listener_bind *bound, const struct addr *addr,
	unsigned workers)
{
	char text[ADDR_TEXT_SIZE];
	int r = probe_bind(addr);

	bound->addr = *addr;
	for (unsigned i = 0; r == 0 && i < workers; i++) {
		bound->fds[i] = sock_listen(&bound->addr, true, BACKLOG);
		if (bound->fds[i] < 0)
			r = bound->fds[i];
		else if (i == 0)
			r = sock_local(bound->fds[0], &bound->addr);
	}
	addr_format(&bound->addr, text);
	if (r < 0)
		fprintf(stderr, "homingd: listener.%s: cannot bind %s: %s\n", listener->name, text,
			strerror(-r));
	else
		log_event(LOGL_INFO, "listening", "listener", listener->name, "addr", text, NULL);
	return r;
}

static int bind_listener(struct server *server, size_t index)
{
	const struct config_listener *settings = &server->snapshot->config->listeners[index];
	struct listener *listener = &server->listeners[index];
	int r = 0;

	listener->name = settings->name;
	listener->index = index;
	listener->binds = calloc(settings->bind_count, sizeof(*listener->binds));
	if (!listener->binds)
		return -ENOMEM;
	for (size_t b = 0; r == 0 && b < settings->bind_count; b++) {
		struct listener_bind *bound = &listener->binds[b];

		bound->fds = malloc(server->worker_count * sizeof(*bound->fds));
		if (!bound->fds)
			return -ENOMEM;
		for (unsigned i = 0; i < server->worker_count; i++)
			bound->fds[i] = -1;
		listener->bind_count++;
		r = bind_one(listener, bound, &settings->bind[b], server->worker_count);
	}
	return r;
}

static int bind_admin(struct server *server, int *ret_fd)
{
	const struct config_admin *admin = &server->snapshot->config->admin;
	char text[ADDR_TEXT_SIZE];
	int fd, r;

	if (!admin->present)
		return 0;
	fd = sock_listen(&admin->bind, false, 128);
	if (fd < 0) {
		fprintf(stderr, "homingd: admin: cannot bind %s: %s\n",
			addr_format(&admin->bind, text), strerror(-fd));
		return fd;
	}
	r = sock_local(fd, &server->admin_addr);
	if (r < 0) {
		close(fd);
		return r;
	}
	log_event(LOGL_INFO, "listening", "listener", "admin", "addr",
		addr_format(&server->admin_addr, text), NULL);
	*ret_fd = fd;
	return 0;
}

static int bind_admin_local(struct server *server, int *ret_fd)
{
	const struct config_admin *admin = &server->snapshot->config->admin;
	int fd;

	if (!admin->present || !admin->socket)
		return 0;
	fd = sock_listen_unix(admin->socket, 128);
	if (fd < 0) {
		fprintf(stderr, "homingd: admin: cannot bind %s: %s\n", admin->socket,
			strerror(-fd));
		return fd;
	}
	log_event(LOGL_INFO, "listening", "listener", "admin", "path", admin->socket, NULL);
	*ret_fd = fd;
	return 0;
}

static int bind_all(struct server *server, struct control_params *params)
{
	size_t count = server->snapshot->config->listener_count;
	int r = 0;

	server->listeners = calloc(count ? count : 1, sizeof(*server->listeners));
	if (!server->listeners)
		return -ENOMEM;
	server->listener_count = count;
	for (size_t i = 0; r == 0 && i < count; i++)
		r = bind_listener(server, i);
	if (r == 0)
		r = bind_admin(server, &params->admin_fd);
	return r == 0 ? bind_admin_local(server, &params->admin_local_fd) : r;
}

static void server_fini(struct server *server)
{
	for (size_t i = 0; i < server->listener_count; i++) {
		struct listener *listener = &server->listeners[i];

		for (size_t b = 0; b < listener->bind_count; b++) {
			for (unsigned w = 0; listener->binds[b].fds && w < server->worker_count;
				w++)
				fd_closep(&listener->binds[b].fds[w]);
			free(listener->binds[b].fds);
		}
		free(listener->binds);
	}
	free(server->listeners);
	snapshot_unref(server->snapshot);
	bpfctl_free(server->bpfctl);
}

/* ---- start ---- */

/* ---- the kernel's data paths ---- */

static const struct probe_row *first_failure(const struct relay_probe *probe, const char *what)
{
	for (size_t i = 0; i < probe->row_count; i++) {
		if (!probe->rows[i].ok && strncmp(probe->rows[i].name, what, strlen(what)) == 0)
			return &probe->rows[i];
	}
	return NULL;
}

/* One warning for each kind of path that is not there at all (SEC-12). */
static void log_probe(const struct server *server)
{
	const struct relay_probe *probe = &server->probe;
	const struct probe_row *row = first_failure(probe, server->bpfctl ? "sockmap" : "bpf");
	bool ktls = server->kernel.ktls.usable[TLS_VERSION_1_3][TLS_AES_128_GCM];

	if (!server->kernel.sockmap)
		log_event(LOGL_WARN, "path_unavailable", "path", "sockmap", "reason",
			row ? row->reason : NULL, NULL);
	row = first_failure(probe, "ktls");
	if (!ktls)
		log_event(LOGL_WARN, "path_unavailable", "path", "ktls", "reason",
			row ? row->reason : NULL, NULL);
	log_event(LOGL_INFO, "paths", "sockmap", server->kernel.sockmap ? "yes" : "no", "ktls",
		ktls ? "yes" : "no", "no_pad", server->kernel.ktls.no_pad ? "yes" : "no", "rekey",
		server->kernel.ktls.rekey ? "yes" : "no", NULL);
	if (server->bpfctl && bpfctl_pin_error(server->bpfctl))
		log_event(
			LOGL_WARN, "not_pinned", "reason", bpfctl_pin_error(server->bpfctl), NULL);
}

/* Two rows per session, within reason. */
static unsigned flows_wanted(const struct config *config)
{
	uint64_t flows = 0;

	for (size_t i = 0; i < config->listener_count; i++)
		flows += 2 * (uint64_t)config->listeners[i].max_connections;
	return (unsigned)MIN(MAX(flows, (uint64_t)1024), (uint64_t)1 << 20);
}

static void load_kernel_paths(struct server *server, const char *pin_path, unsigned flows)
{
	struct bpfctl_params params = {
		.pin_path = pin_path,
		.workers = MIN(server->worker_count, (unsigned)HM_WORKERS_MAX),
		.max_flows = flows,
	};
	char error[BPFCTL_ERROR_SIZE] = "";

	if (bpfctl_load(&params, &server->bpfctl, error) < 0)
		server->bpfctl = NULL;
	server->kernel.bpfctl = server->bpfctl;
	relay_probe(&server->probe, &server->kernel, error);
	tls_prefer_ciphers(relay_probe_ciphers(&server->kernel));
}

int daemon_probe(void)
{
	struct server server = { .worker_count = 1 };

	load_kernel_paths(&server, NULL, 1024);
	for (size_t i = 0; i < server.probe.row_count; i++) {
		const struct probe_row *row = &server.probe.rows[i];

		printf("%-46s %-4s%s%s\n", row->name, row->ok ? "yes" : "no",
			*row->reason ? " " : "", row->reason);
	}
	bpfctl_free(server.bpfctl);
	return 0;
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

static int serve(struct server *server, char *error, size_t error_size)
{
	const struct config *config = server->snapshot->config;
	struct control_params params = { .server = server, .admin_fd = -1, .admin_local_fd = -1 };
	int r = bind_all(server, &params);

	if (r < 0) { /* bind_all() has said why */
		*error = '\0';
		return r;
	}
	r = privileges_drop(config->server.user, config->server.group, error, error_size);
	if (r < 0) {
		fd_closep(&params.admin_fd);
		fd_closep(&params.admin_local_fd);
		return r;
	}
	return control_run(&params, error, error_size);
}

static int start(struct config *config, char *error, size_t error_size)
{
	struct server server = { .worker_count = worker_count(config) };
	int r = hash_seed();

	snprintf(error, error_size, "no source of random numbers");
	if (r == 0)
		r = fd_random(server.instance, sizeof(server.instance));
	if (r == 0)
		r = tls_process_init();
	if (r == 0) {
		load_kernel_paths(&server, config->splice.pin_path, flows_wanted(config));
		log_probe(&server);
		r = snapshot_new(config, &server.snapshot, error, error_size);
	}
	if (r == 0)
		r = serve(&server, error, error_size);
	if (server.snapshot)
		server_fini(&server);
	else
		bpfctl_free(server.bpfctl);
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
	if (check_supported(config)) {
		config_unref(config);
		return 1;
	}
	check_descriptors(config);
	set_signals();
	r = start(config, error, sizeof(error));
	if (r < 0 && *error)
		fprintf(stderr, "homingd: %s\n", error);
	config_unref(config);
	return r < 0 ? 1 : 0;
}

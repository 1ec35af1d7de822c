// SPDX-License-Identifier: Apache-2.0
/* Binding, and which of the addresses that are bound a new configuration keeps. */
#include "worker/listen.h"
#include "base/fd.h"
#include "base/log.h"
#include "net/sock.h"
#include "worker/port_owner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* In bursts it waits here who is not accepted yet (LIB-8). The kernel takes no more than
 * net.core.somaxconn. */
#define BACKLOG 65535

/* ---- one address ---- */

static void bound_free(struct bound *bound)
{
	for (unsigned i = 0; bound && i < bound->fd_count; i++)
		fd_closep(&bound->fds[i]);
	free(bound);
}

/* Somebody else on this port would share it silently through SO_REUSEPORT: ask without first. */
static int probe_bind(const struct addr *addr)
{
	CLEANUP(fd_closep) int fd = -1;

	if (addr_port(addr) == 0)
		return 0;
	fd = sock_listen(addr, 0, 1);
	return fd < 0 ? fd : 0;
}

/* A wildcard and an address of ours on one port: the sockets that are there would answer the
 * probe. */
static bool overlaps(const struct router *router, const struct addr *addr)
{
	for (size_t i = 0; i < router->bound_count; i++) {
		const struct addr *other = &router->bounds[i]->addr;

		if (addr_port(other) == addr_port(addr) &&
			/* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): all are set */
			other->sa.sa_family == addr->sa.sa_family &&
			(addr_is_wildcard(other) || addr_is_wildcard(addr)))
			return true;
	}
	return false;
}

static int bind_all(struct bound *bound, unsigned flags)
{
	int r = 0;

	for (unsigned i = 0; r == 0 && i < bound->fd_count; i++) {
		bound->fds[i] = sock_listen(&bound->addr, SOCK_REUSE_PORT | flags, BACKLOG);
		if (bound->fds[i] < 0)
			r = bound->fds[i];
		else if (i == 0)
			r = sock_local(bound->fds[0], &bound->addr);
	}
	return r;
}

static int bound_new(const struct router *router, const struct addr *addr, unsigned flags,
	struct bound **ret_bound)
{
	unsigned count = router->worker_count;
	struct bound *bound = malloc(sizeof(*bound) + count * sizeof(bound->fds[0]));
	int r = 0;

	if (!bound)
		return -ENOMEM;
	bound->wanted = bound->addr = *addr;
	bound->fd_count = count;
	for (unsigned i = 0; i < count; i++)
		bound->fds[i] = -1;
	if (!overlaps(router, addr))
		r = probe_bind(addr);
	if (r == 0)
		r = bind_all(bound, flags);
	if (r < 0)
		bound_free(bound);
	else
		*ret_bound = bound;
	return r;
}

/* ---- a plan ---- */

static bool is_taken(const struct listen_plan *plan, const struct bound *bound)
{
	for (size_t i = 0; i < plan->count; i++) {
		if (plan->items[i].bound == bound)
			return true;
	}
	return false;
}

/* The listener that an address belongs to now. */
static const char *owner_of(const struct router *router, size_t bound)
{
	return router->bound_owners[bound]->name;
}

/* What is bound for an address already. A port that the kernel has chosen stays with its
 * listener. */
static struct bound *find_kept(const struct router *router, const struct listen_plan *plan,
	const struct config_listener *listener, const struct addr *addr)
{
	for (size_t i = 0; i < router->bound_count; i++) {
		struct bound *bound = router->bounds[i];
		bool same = addr_port(addr) ? addr_eq(&bound->addr, addr)
					    : addr_eq(&bound->wanted, addr) &&
				strcmp(owner_of(router, i), listener->name) == 0;

		if (same && !is_taken(plan, bound))
			return bound;
	}
	return NULL;
}

static void explain(const struct router *router, const struct config_listener *listener,
	const struct addr *addr, int error, struct build_error *ret_error)
{
	bool starting = !router->bound_count;
	char text[PORT_OWNER_TEXT_SIZE];

	config_named_path(ret_error->table, sizeof(ret_error->table), "listener", listener->name);
	port_owner_explain(addr, error, starting ? PORT_USE_SERVES : PORT_USE_UNKNOWN, text);
	snprintf(ret_error->text, sizeof(ret_error->text), "%s", text);
}

static int plan_address(const struct router *router, struct snapshot *snapshot, size_t listener,
	const struct addr *addr, struct listen_plan *plan, struct build_error *error)
{
	const struct config_listener *settings = &snapshot->config->listeners[listener];
	struct listen_item *item = &plan->items[plan->count];
	int r;

	*item = (struct listen_item){ .bound = find_kept(router, plan, settings, addr),
		.listener = snapshot->listeners[listener] };
	if (!item->bound) {
		r = bound_new(router, addr, plan->only_tried ? SOCK_BIND_ONLY : 0, &item->bound);
		if (r < 0) {
			explain(router, settings, addr, r, error);
			return r;
		}
		item->fresh = true;
	}
	snapshot->own_addrs[snapshot->own_addr_count++] = item->bound->addr;
	plan->count++;
	return 0;
}

/*
 * CFG-26: IPv4 beside a v6 wildcard that is alone on its port. A socket of its own, so that a
 * reload may add and remove either. Who holds the port on IPv4 already keeps it.
 */
static int plan_v4_beside(const struct router *router, struct snapshot *snapshot, size_t listener,
	const struct addr *addr, struct listen_plan *plan, struct build_error *error)
{
	char text[ADDR_TEXT_SIZE];
	struct addr v4;
	int r;

	if (!config_binds_both(snapshot->config, addr, &v4) || !sock_has_family(AF_INET))
		return 0;
	r = plan_address(router, snapshot, listener, &v4, plan, error);
	if (r != -EADDRINUSE || !sock_has_family(AF_INET6))
		return r;
	log_event(LOGL_WARN, "ipv6_only", "listener", snapshot->listeners[listener]->name, "addr",
		addr_format(addr, text), "reason", "the port is taken on IPv4", NULL);
	return 0;
}

/* An address as it is configured. A wildcard of a family that this host lacks is no address of it;
 * the check of the configuration has warned. */
static int plan_bind(const struct router *router, struct snapshot *snapshot, size_t listener,
	const struct addr *addr, struct listen_plan *plan, struct build_error *error)
{
	int r = 0;

	if (!addr_is_wildcard(addr) || sock_has_family(addr->sa.sa_family))
		r = plan_address(router, snapshot, listener, addr, plan, error);
	if (r == 0)
		r = plan_v4_beside(router, snapshot, listener, addr, plan, error);
	return r;
}

int listen_plan(const struct router *router, struct snapshot *snapshot, bool only_try,
	struct listen_plan *ret_plan, struct build_error *ret_error)
{
	const struct config *config = snapshot->config;
	struct listen_plan plan = { .only_tried = only_try };
	size_t count = 0;
	int r = 0;

	*ret_error = (struct build_error){ .table = "listener", .text = "out of memory" };
	for (size_t i = 0; i < config->listener_count; i++)
		count += 2 * config->listeners[i].bind_count; /* with IPv4 beside */
	plan.items = calloc(count + 1, sizeof(*plan.items));
	plan.bounds = calloc(count + 1, sizeof(struct bound *));
	plan.owners = calloc(count + 1, sizeof(struct listener *));
	plan.dropped = calloc(router->bound_count + 1, sizeof(struct bound *));
	snapshot->own_addrs = calloc(count + 1, sizeof(*snapshot->own_addrs));
	if (!plan.items || !plan.bounds || !plan.owners || !plan.dropped || !snapshot->own_addrs)
		r = -ENOMEM;
	for (size_t i = 0; r == 0 && i < config->listener_count; i++) {
		for (size_t b = 0; r == 0 && b < config->listeners[i].bind_count; b++)
			r = plan_bind(router, snapshot, i, &config->listeners[i].bind[b], &plan,
				ret_error);
	}
	if (r < 0)
		listen_discard(&plan);
	else
		*ret_plan = plan;
	return r;
}

void listen_discard(struct listen_plan *plan)
{
	for (size_t i = 0; i < plan->count; i++) {
		if (plan->items[i].fresh)
			bound_free(plan->items[i].bound);
	}
	free(plan->items);
	free(plan->bounds);
	free(plan->owners);
	free(plan->dropped);
	*plan = (struct listen_plan){ 0 };
}

/* ---- the switch ---- */

static void log_changes(const struct listen_plan *plan, struct bound **dropped)
{
	char text[ADDR_TEXT_SIZE];

	for (size_t i = 0; i < plan->count; i++) {
		if (plan->items[i].fresh)
			log_event(LOGL_INFO, "listening", "listener", plan->items[i].listener->name,
				"addr", addr_format(&plan->items[i].bound->addr, text), NULL);
	}
	for (; *dropped; dropped++)
		log_event(LOGL_INFO, "not_listening", "addr", addr_format(&(*dropped)->addr, text),
			NULL);
}

struct bound **listen_commit(struct router *router, struct listen_plan *plan)
{
	struct bound **dropped = plan->dropped;
	size_t count = 0;

	for (size_t i = 0; i < router->bound_count; i++) {
		if (!is_taken(plan, router->bounds[i]))
			dropped[count++] = router->bounds[i];
	}
	for (size_t i = 0; i < plan->count; i++) {
		plan->bounds[i] = plan->items[i].bound;
		plan->owners[i] = plan->items[i].listener;
	}
	log_changes(plan, dropped);
	free(router->bounds);
	free(router->bound_owners);
	router->bounds = plan->bounds;
	router->bound_owners = plan->owners;
	router->bound_count = plan->count;
	free(plan->items);
	*plan = (struct listen_plan){ 0 };
	return dropped;
}

void listen_free_dropped(struct bound **dropped)
{
	for (struct bound **bound = dropped; bound && *bound; bound++)
		bound_free(*bound);
	free(dropped);
}

void listen_give_to(const struct listen_plan *plan, uid_t uid, gid_t gid)
{
	for (size_t i = 0; i < plan->count; i++) {
		for (unsigned k = 0; k < plan->items[i].bound->fd_count; k++)
			(void)!fchown(plan->items[i].bound->fds[k], uid, gid);
	}
}

void listen_close_all(struct router *router)
{
	for (size_t i = 0; i < router->bound_count; i++)
		bound_free(router->bounds[i]);
	free(router->bounds);
	free(router->bound_owners);
	router->bounds = NULL;
	router->bound_owners = NULL;
	router->bound_count = 0;
}

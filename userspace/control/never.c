// SPDX-License-Identifier: Apache-2.0
#include "control/never.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>

#define AGAIN_MS 60000

/* A node's name, and the addresses that it had when somebody knew. */
struct host {
	struct never *never;
	char *name;
	struct resolve_query *query; /* NULL: none is under way */
	struct addr addrs[RESOLVE_MAX_ADDRS];
	size_t count;
};

struct admitted {
	struct addr addr;
	uint64_t until_ms;
};

struct never {
	struct router *router;
	struct loop *loop;
	struct guard *guard;
	struct netlink_addrs_observer addrs_observer;
	struct resolver *resolver; /* NULL: names are not known */
	struct host **hosts;       /* they stay where they are while they are asked for */
	size_t host_count;
	struct admitted admitted[NEVER_ADMITTED];
	struct timer timer;
	struct guard_net *nets; /* as set last */
	size_t net_count;
};

/* ---- the set ---- */

struct nets {
	struct guard_net *nets;
	size_t count, room;
	bool failed;
};

static void add(struct nets *nets, const struct cidr *net, enum guard_why why)
{
	if (nets->count == nets->room) {
		size_t room = nets->room ? nets->room * 2 : 64;
		struct guard_net *more = reallocarray(nets->nets, room, sizeof(*more));

		nets->failed |= !more;
		if (!more)
			return;
		nets->nets = more;
		nets->room = room;
	}
	nets->nets[nets->count++] = (struct guard_net){ *net, why };
}

static void add_addr(struct nets *nets, const struct addr *addr, enum guard_why why)
{
	struct cidr net = { .net = *addr, .bits = addr->sa.sa_family == AF_INET6 ? 128 : 32 };

	addr_set_port(&net.net, 0);
	add(nets, &net, why);
}

static void add_text(struct nets *nets, const char *text, enum guard_why why)
{
	struct cidr net;

	if (cidr_parse(view_str(text), &net) == 0)
		add(nets, &net, why);
}

static void add_own(void *arg, const struct addr *addr)
{
	add_addr(arg, addr, GUARD_WHY_OWN);
}

static void add_config(struct nets *nets, const struct config *config)
{
	for (size_t i = 0; i < config->listener_count; i++) {
		const struct config_listener *listener = &config->listeners[i];

		for (size_t k = 0; k < listener->proxy_trusted_count; k++)
			add(nets, &listener->proxy_trusted[k], GUARD_WHY_PROXY);
	}
	for (size_t i = 0; i < config->guard.allow_count; i++)
		add(nets, &config->guard.allow[i], GUARD_WHY_ALLOW);
}

static void gather(struct never *never, struct nets *nets)
{
	uint64_t now_ms = clock_mono_ms();

	add_text(nets, "127.0.0.0/8", GUARD_WHY_LOOPBACK);
	add_text(nets, "::1", GUARD_WHY_LOOPBACK);
	netlink_addrs_each(never->router->local_addrs, add_own, nets);
	add_config(nets, never->router->snapshot->config);
	for (size_t i = 0; i < never->host_count; i++) {
		for (size_t k = 0; k < never->hosts[i]->count; k++)
			add_addr(nets, &never->hosts[i]->addrs[k], GUARD_WHY_NODE);
	}
	for (size_t i = 0; i < NEVER_ADMITTED; i++) {
		if (never->admitted[i].until_ms > now_ms)
			add_addr(nets, &never->admitted[i].addr, GUARD_WHY_ADMIN);
	}
}

static bool is_set(const struct never *never, const struct nets *nets)
{
	bool same = never->nets && nets->count == never->net_count;

	for (size_t i = 0; same && i < nets->count; i++) {
		const struct guard_net *a = &nets->nets[i], *b = &never->nets[i];

		same = a->why == b->why && cidr_eq(&a->net, &b->net);
	}
	return same;
}

/* Only what differs is set, because others follow each change. */
static int apply(struct never *never)
{
	struct nets nets = { 0 };
	int r = 0;

	gather(never, &nets);
	if (nets.failed)
		r = -ENOMEM;
	else if (!is_set(never, &nets))
		r = guard_set_never(never->guard, nets.nets, nets.count);
	if (r < 0) {
		free(nets.nets);
		log_event_limited(LOGL_ERROR, "guard", NULL, "error",
			"out of memory: who is never banned stays as it was", NULL);
		return r;
	}
	free(never->nets);
	never->nets = nets.nets;
	never->net_count = nets.count;
	return 0;
}

static void on_addrs_changed(struct netlink_addrs_observer *observer)
{
	(void)!apply(container_of(observer, struct never, addrs_observer));
}

/* ---- nodes ---- */

/* Without an answer what was known stays. */
static void on_resolved(void *arg, int status, const struct addr *addrs, size_t count)
{
	struct host *host = arg;

	host->query = NULL;
	if (status != 0)
		return;
	host->count = MIN(count, (size_t)RESOLVE_MAX_ADDRS);
	memcpy(host->addrs, addrs, host->count * sizeof(*addrs));
	(void)!apply(host->never);
}

/* An address is no name, and has been known since new_host(). */
static void ask(struct never *never)
{
	for (size_t i = 0; never->resolver && i < never->host_count; i++) {
		struct host *host = never->hosts[i];
		struct addr addr;

		if (!host->query && addr_parse_ip(view_str(host->name), 0, &addr) < 0 &&
			resolve_start(never->resolver, host->name, 0, on_resolved, host,
				&host->query) < 0)
			host->query = NULL;
	}
}

static void free_host(struct host *host)
{
	resolve_cancel(host->query);
	free(host->name);
	free(host);
}

static struct host *take_host(struct never *never, const char *name)
{
	for (size_t i = 0; i < never->host_count; i++) {
		struct host *host = never->hosts[i];

		if (strcmp(host->name, name) == 0) {
			never->hosts[i] = never->hosts[--never->host_count];
			return host;
		}
	}
	return NULL;
}

static struct host *new_host(struct never *never, const char *name)
{
	struct host *host = calloc(1, sizeof(*host));
	struct addr addr;

	if (!host)
		return NULL;
	host->never = never;
	host->name = strdup(name);
	if (!host->name) {
		free(host);
		return NULL;
	}
	if (addr_parse_ip(view_str(name), 0, &addr) == 0)
		host->addrs[host->count++] = addr;
	return host;
}

/* Those of the configuration; what is known of them stays. */
static void set_hosts(struct never *never)
{
	const struct config *config = never->router->snapshot->config;
	struct host **hosts = calloc(config->destination_count + 1, sizeof(struct host *));
	size_t count = 0;

	for (size_t i = 0; hosts && i < config->destination_count; i++) {
		const char *name = config->destinations[i].host;
		struct host *host = take_host(never, name);

		if (!host)
			host = new_host(never, name);
		if (host)
			hosts[count++] = host;
	}
	if (!hosts)
		return;
	while (never->host_count)
		free_host(never->hosts[--never->host_count]);
	free(never->hosts);
	never->hosts = hosts;
	never->host_count = count;
}

/* ---- what others see ---- */

static void on_again(struct timer *timer)
{
	struct never *never = container_of(timer, struct never, timer);

	(void)!apply(never); /* some admins' time is over */
	ask(never);
	loop_timer_set(never->loop, timer, AGAIN_MS, on_again);
}

void never_follow(struct never *never)
{
	set_hosts(never);
	(void)!apply(never);
	ask(never);
}

void never_admit(struct never *never, const struct addr *peer)
{
	struct admitted *oldest = &never->admitted[0];

	for (size_t i = 0; i < NEVER_ADMITTED; i++) {
		struct admitted *admitted = &never->admitted[i];

		if (addr_eq_ip(&admitted->addr, peer) && admitted->until_ms > clock_mono_ms()) {
			admitted->until_ms = clock_mono_ms() + NEVER_ADMITTED_MS;
			return; /* nothing new for the guard */
		}
		if (admitted->until_ms < oldest->until_ms)
			oldest = admitted;
	}
	*oldest = (struct admitted){ *peer, clock_mono_ms() + NEVER_ADMITTED_MS };
	(void)!apply(never);
}

int never_new(
	struct router *router, struct loop *loop, struct guard *guard, struct never **ret_never)
{
	struct never *never = calloc(1, sizeof(*never));
	int r;

	if (!never)
		return -ENOMEM;
	*never = (struct never){ .router = router, .loop = loop, .guard = guard };
	set_hosts(never);
	r = apply(never);
	if (r == 0 && resolver_new(loop, &never->resolver) < 0)
		log_event(LOGL_WARN, "guard", "error", "names of nodes cannot be resolved", NULL);
	if (r < 0) {
		never_free(never);
		return r;
	}
	never->addrs_observer.changed = on_addrs_changed;
	netlink_addrs_observe(router->local_addrs, &never->addrs_observer);
	on_again(&never->timer);
	*ret_never = never;
	return 0;
}

void never_free(struct never *never)
{
	if (!never)
		return;
	netlink_addrs_unobserve(&never->addrs_observer);
	loop_timer_del(never->loop, &never->timer);
	while (never->host_count)
		free_host(never->hosts[--never->host_count]);
	free(never->hosts);
	resolver_free(never->resolver);
	free(never->nets);
	free(never);
}

// SPDX-License-Identifier: Apache-2.0
#include "router/router.h"

int router_reserve(struct router *router, const struct snapshot *snapshot)
{
	return known_reserve(
		&router->known, snapshot->node_count, snapshot->config->listener_count);
}

void router_adopt(struct router *router, struct snapshot *snapshot)
{
	struct health_params health = snapshot_health(snapshot->config);

	for (size_t i = 0; i < snapshot->node_count; i++) {
		known_add_node(&router->known, snapshot->nodes[i], snapshot->hosts[i]);
		snapshot->hosts[i] = NULL;
		health_set_params(snapshot->nodes[i]->health, &health);
		health_set_params(snapshot->nodes[i]->agent, &health);
		atomic_store(&snapshot->nodes[i]->has_agent,
			snapshot->config->destinations[i].handoff.declared);
	}
	for (size_t i = 0; i < snapshot->config->listener_count; i++)
		known_add_listener(&router->known, snapshot->listeners[i]);
	snapshot_unref(router->snapshot);
	router->snapshot = snapshot;
}

bool router_shows_node(const struct router *router, const struct node *node)
{
	return atomic_load(&node->active) || snapshot_find(router->snapshot, node->name) >= 0;
}

bool router_shows_listener(const struct router *router, const struct listener *listener)
{
	return atomic_load(&listener->active) || snapshot_listener(router->snapshot, listener);
}

void router_forget(struct router *router)
{
	known_forget(&router->known);
	snapshot_unref(router->snapshot);
	router->snapshot = NULL;
}

/* ---- own addresses ---- */

/* SES-60: equal, or same family and port with a wildcard bind while the address is ours. */
static bool covers(const struct router *router, const struct addr *bound, const struct addr *addr)
{
	if (addr_port(bound) != addr_port(addr) || bound->sa.sa_family != addr->sa.sa_family)
		return false;
	if (addr_is_wildcard(bound))
		return netlink_is_local(router->local_addrs, addr);
	return addr_eq_ip(bound, addr);
}

bool router_is_own_listener(
	const struct router *router, const struct snapshot *snapshot, const struct addr *addr)
{
	for (size_t i = 0; i < snapshot->own_addr_count; i++) {
		if (covers(router, &snapshot->own_addrs[i], addr))
			return true;
	}
	return addr_is_set(&router->admin_addr) && covers(router, &router->admin_addr, addr);
}

// SPDX-License-Identifier: Apache-2.0
#include "control/guard_services.h"
#include "base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct services {
	struct hm_guard_service *rows;
	size_t count;
	bool full;
	/* of the wildcard that is being expanded */
	uint16_t port;
	bool v4, v6;
};

static void add(struct services *services, const struct addr *addr, uint16_t port)
{
	struct hm_guard_service *row = &services->rows[services->count];

	services->full |= services->count == GUARD_SERVICES_MAX;
	if (services->full)
		return;
	*row = (struct hm_guard_service){ .port = htons(port) };
	addr_to_mapped(addr, row->addr);
	services->count++;
}

static void add_local(void *arg, const struct addr *addr)
{
	struct services *services = arg;

	if (addr->sa.sa_family == AF_INET6 ? services->v6 : services->v4)
		add(services, addr, services->port);
}

static void add_listener(
	struct services *services, const struct router *router, const struct addr *bound)
{
	struct addr v4;

	if (!addr_is_wildcard(bound)) {
		add(services, bound, addr_port(bound));
		return;
	}
	services->port = addr_port(bound);
	services->v6 = bound->sa.sa_family == AF_INET6;
	services->v4 = !services->v6 || config_binds_both(router->snapshot->config, bound, &v4);
	netlink_addrs_each(router->local_addrs, add_local, services);
}

int guard_services_write(struct bpfctl_guard *maps, const struct router *router)
{
	const struct snapshot *snapshot = router->snapshot;
	struct services services = { .rows = calloc(GUARD_SERVICES_MAX, sizeof(*services.rows)) };
	int r;

	if (!services.rows)
		return -ENOMEM;
	for (size_t i = 0; i < snapshot->own_addr_count; i++)
		add_listener(&services, router, &snapshot->own_addrs[i]);
	if (services.full)
		log_event_limited(LOGL_WARN, "guard_map", NULL, "reason",
			"too many addresses: some are guarded in user space only", NULL);
	r = bpfctl_guard_services_set(maps, services.rows, services.count);
	free(services.rows);
	return r;
}

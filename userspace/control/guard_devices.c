// SPDX-License-Identifier: Apache-2.0
#include "control/guard_devices.h"
#include "base/log.h"

#include <string.h>

static const enum guard_xdp_mode modes[] = {
	[CONFIG_XDP_NATIVE] = GUARD_XDP_NATIVE,
	[CONFIG_XDP_GENERIC] = GUARD_XDP_GENERIC,
	[CONFIG_XDP_AUTO] = GUARD_XDP_AUTO,
};
_Static_assert(ARRAY_SIZE(modes) == CONFIG_XDP_MODES, "one for each mode");

const char *guard_devices_mode_name(enum guard_xdp_mode mode)
{
	return mode == GUARD_XDP_NATIVE ? "native" : "generic";
}

static bool has_interfaces(const struct config_guard *config)
{
	return config->interfaces && *config->interfaces;
}

/* GRD-1: without a name only what is a card of its own. */
static bool is_wanted(const struct config_guard *config, const struct link_info *link)
{
	for (const char *const *name = config->interfaces; *name; name++) {
		if (strcmp(*name, link->name) == 0)
			return true;
		if (strcmp(*name, "auto") == 0 && link_is_physical(link) && link->up &&
			!link->master)
			return true;
	}
	return false;
}

static const struct guard_xdp_device *find(const struct guard_devices *devices, int index)
{
	size_t count;
	const struct guard_xdp_device *list = guard_xdp_devices(devices->maps, &count);

	for (size_t i = 0; i < count; i++) {
		if (list[i].ifindex == (unsigned)index)
			return &list[i];
	}
	return NULL;
}

static void warn(const char *name, const char *reason)
{
	log_event_limited(
		LOGL_WARN, "guard_interface", name, "interface", name, "reason", reason, NULL);
}

static void tell(const struct link_info *link, const struct guard_xdp_device *device)
{
	struct log_line line;

	log_start(&line, LOGL_INFO, "guard_interface");
	log_str(&line, "interface", link->name);
	log_str(&line, "mode", guard_devices_mode_name(device->mode));
	log_str(&line, "by", device->way == GUARD_XDP_LINK ? "link" : "dispatcher");
	if (*device->why)
		log_str(&line, "reason", device->why);
	log_end(&line);
	if (device->mode == GUARD_XDP_NATIVE && !link_is_physical(link))
		warn(link->name,
			"a virtual device: native XDP takes segmentation offload from "
			"whoever sends to it, which costs bulk transfers most of their speed");
}

static void attach(struct guard_devices *devices, const struct link_info *link)
{
	char error[BPFCTL_ERROR_SIZE];

	if (!is_wanted(devices->config, link) || find(devices, link->index))
		return;
	if (!link->ethernet && !link->loopback)
		warn(link->name, "its packets have no Ethernet header");
	else if (guard_xdp_attach(devices->maps, (unsigned)link->index,
			 modes[devices->config->xdp_mode], error) < 0)
		warn(link->name, error);
	else
		tell(link, find(devices, link->index));
}

static void on_came(
	struct link_observer *observer, const struct link_info *now, const struct link_info *before)
{
	(void)before;
	attach(container_of(observer, struct guard_devices, observer), now);
}

static void on_gone(
	struct link_observer *observer, const struct link_info *now, const struct link_info *before)
{
	struct guard_devices *devices = container_of(observer, struct guard_devices, observer);

	(void)before;
	if (!find(devices, now->index))
		return;
	guard_xdp_forget(devices->maps, (unsigned)now->index);
	log_event(LOGL_INFO, "guard_interface", "interface", now->name, "gone", "true", NULL);
}

static void warn_missing(const struct guard_devices *devices)
{
	for (const char *const *name = devices->config->interfaces; *name; name++) {
		if (strcmp(*name, "auto") != 0 && !links_find(devices->links, *name))
			warn(*name, "there is no such device yet");
	}
}

static void observe(struct guard_devices *devices, struct loop *loop)
{
	devices->observer =
		(struct link_observer){ .came = on_came, .changed = on_came, .gone = on_gone };
	if (links_new(loop, &devices->links) < 0) {
		devices->links = NULL;
		log_event(LOGL_WARN, "guard_interface", "reason", "no netlink", NULL);
		return;
	}
	links_observe(devices->links, &devices->observer);
}

/* On a loop of its own, because the control thread's begins after the rights have gone. */
void guard_devices_attach(
	struct guard_devices *devices, struct bpfctl_guard *maps, const struct config_guard *config)
{
	char error[BPFCTL_ERROR_SIZE];
	struct loop loop;

	*devices = (struct guard_devices){ .maps = maps, .config = config };
	if (has_interfaces(config) && loop_init(&loop) == 0) {
		observe(devices, &loop);
		if (devices->links)
			warn_missing(devices);
		guard_devices_stop(devices);
		loop_fini(&loop);
	}
	if (guard_xdp_sweep(maps, error) < 0)
		log_event(LOGL_WARN, "guard_interface", "reason", error, NULL);
	guard_xdp_links_only(maps);
}

void guard_devices_watch(struct guard_devices *devices, struct loop *loop)
{
	if (has_interfaces(devices->config))
		observe(devices, loop);
}

void guard_devices_stop(struct guard_devices *devices)
{
	if (devices->links)
		links_unobserve(&devices->observer);
	links_free(devices->links);
	devices->links = NULL;
}

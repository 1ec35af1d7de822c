// SPDX-License-Identifier: Apache-2.0
#include "control/guard_kernel.h"
#include "base/clock.h"
#include "base/log.h"
#include "control/guard_devices.h"
#include "control/guard_mirror.h"
#include "control/guard_services.h"

#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Also how long a ban of a prefix may take to reach the kernel. */
#define BEAT_MS 1000
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull
/* A new ban may be there before the one that it displaces has gone. */
#define SPARE_BANS 64
#define BANNED_PREFIXES_MAX 65536

struct guard_kernel {
	struct bpfctl_guard *maps; /* owned */
	struct guard_mirror mirror;
	struct guard_devices devices;
	/* From guard_kernel_start() on: */
	struct router *router;
	struct loop *loop; /* NULL: not started */
	struct loop_watch events_watch;
	struct netlink_addrs_observer addrs_observer;
	struct timer beat_timer;
	bool enabled, restored;
};

static const char *const verdict_names[] = {
	[HM_GUARD_OTHER] = "other",
	[HM_GUARD_ESTABLISHED] = "established",
	[HM_GUARD_NEW] = "new",
	[HM_GUARD_ALLOWED] = "allowed",
	[HM_GUARD_BANNED] = "banned",
	[HM_GUARD_DENIED] = "denied",
	[HM_GUARD_RATE] = "rate",
	[HM_GUARD_INERT] = "inert",
	[HM_GUARD_CUT] = "cut",
	[HM_GUARD_FRAGMENT] = "fragment",
};
_Static_assert(ARRAY_SIZE(verdict_names) == HM_GUARD_VERDICTS, "one for each verdict");

const char *guard_kernel_verdict_name(enum hm_guard_verdict verdict)
{
	return verdict_names[verdict];
}

/* ---- load ---- */

static int load_maps(const struct config *config, struct bpfctl_guard **ret_maps)
{
	const struct config_guard *guard = &config->guard;
	const struct bpfctl_guard_params params = {
		.pin_path = config->splice.pin_path,
		.max_bans = (unsigned)guard->max_bans + SPARE_BANS,
		.max_sources = (unsigned)guard->max_sources,
		.max_rules =
			(unsigned)(guard->allow_count + guard->deny_count) + BANNED_PREFIXES_MAX,
		.max_services = GUARD_SERVICES_MAX,
	};
	char error[BPFCTL_ERROR_SIZE];
	int r = bpfctl_guard_load(&params, ret_maps, error);

	if (r < 0) {
		log_event(LOGL_WARN, "guard_unavailable", "layer", "kernel", "reason", error, NULL);
		return r;
	}
	if (bpfctl_guard_pin_error(*ret_maps))
		log_event(LOGL_WARN, "not_pinned", "what", "guard", "reason",
			bpfctl_guard_pin_error(*ret_maps), NULL);
	if (bpfctl_guard_lookup_attach(*ret_maps, error) < 0)
		log_event(LOGL_WARN, "guard_unavailable", "layer", "sk_lookup", "reason", error,
			NULL);
	return 0;
}

struct guard_kernel *guard_kernel_load(const struct config *config)
{
	struct guard_kernel *kernel;

	if (!config->guard.enabled)
		return NULL;
	kernel = calloc(1, sizeof(*kernel));
	if (!kernel || load_maps(config, &kernel->maps) < 0) {
		free(kernel);
		return NULL;
	}
	guard_mirror_init(&kernel->mirror, kernel->maps, (unsigned)config->guard.ipv4_prefix,
		(unsigned)config->guard.ipv6_prefix,
		config->guard.allow_count + config->guard.deny_count + BANNED_PREFIXES_MAX);
	guard_devices_attach(&kernel->devices, kernel->maps, &config->guard);
	return kernel;
}

void guard_kernel_free(struct guard_kernel *kernel)
{
	if (!kernel)
		return;
	guard_kernel_stop(kernel);
	guard_mirror_fini(&kernel->mirror);
	bpfctl_guard_free(kernel->maps);
	free(kernel);
}

/* ---- what it follows ---- */

static void write_services(struct guard_kernel *kernel)
{
	int r = guard_services_write(kernel->maps, kernel->router);

	if (r < 0)
		log_event_limited(LOGL_WARN, "guard_map", NULL, "reason", strerror(-r), NULL);
}

static void on_addrs_changed(struct netlink_addrs_observer *observer)
{
	write_services(container_of(observer, struct guard_kernel, addrs_observer));
}

static void on_event(void *arg, const struct hm_guard_event *event)
{
	char text[ADDR_TEXT_SIZE], packets[24];
	struct cidr net;

	(void)arg;
	cidr_from_mapped(event->addr, 128, &net);
	snprintf(packets, sizeof(packets), "%llu", (unsigned long long)event->dropped);
	log_event_limited(LOGL_INFO, "guard_dropped", NULL, "client",
		addr_format_ip(&net.net, text), "packets", packets, NULL);
}

static void on_events(struct loop_watch *watch, uint32_t epoll_events)
{
	struct guard_kernel *kernel = container_of(watch, struct guard_kernel, events_watch);

	(void)epoll_events;
	bpfctl_guard_events_consume(kernel->maps, on_event, NULL);
}

static void on_beat(struct timer *timer)
{
	struct guard_kernel *kernel = container_of(timer, struct guard_kernel, beat_timer);

	guard_mirror_write_lists(&kernel->mirror);
	if (kernel->enabled)
		bpfctl_guard_beat(kernel->maps, clock_mono_ms() * NS_PER_MS + HM_GUARD_ALIVE_NS);
	loop_timer_set(kernel->loop, timer, BEAT_MS, on_beat);
}

int guard_kernel_start(
	struct guard_kernel *kernel, struct router *router, struct loop *loop, struct guard *guard)
{
	int r = loop_watch_add(loop, &kernel->events_watch, bpfctl_guard_events_fd(kernel->maps),
		EPOLLIN, on_events);

	if (r == 0)
		r = guard_mirror_start(&kernel->mirror, guard);
	if (r < 0) {
		loop_watch_del(&kernel->events_watch);
		return r;
	}
	kernel->router = router;
	kernel->loop = loop;
	kernel->addrs_observer.changed = on_addrs_changed;
	netlink_addrs_observe(router->local_addrs, &kernel->addrs_observer);
	guard_devices_watch(&kernel->devices, loop);
	return 0;
}

static void configure(struct guard_kernel *kernel)
{
	const struct config_guard *guard = &kernel->router->snapshot->config->guard;
	const struct hm_guard_config config = {
		.syn_cost_ns = guard->syn_rate ? NS_PER_S / (__u64)guard->syn_rate : 0,
		.syn_burst_ns = guard->syn_rate
			? (__u64)guard->syn_burst * (NS_PER_S / (__u64)guard->syn_rate)
			: 0,
		.ipv4_bits = kernel->mirror.ipv4_bits,
		.ipv6_bits = kernel->mirror.ipv6_bits,
		.scope_all = guard->ban_scope_all,
		.observe = guard->observe,
	};

	bpfctl_guard_configure(kernel->maps, &config);
}

/* The first time what a process before has left is restored, and only then the heart beats. */
void guard_kernel_follow(struct guard_kernel *kernel, bool enabled)
{
	kernel->enabled = enabled;
	if (!enabled) {
		bpfctl_guard_beat(kernel->maps, 0);
		return;
	}
	configure(kernel);
	write_services(kernel);
	if (!kernel->restored) {
		kernel->restored = true;
		guard_mirror_restore(&kernel->mirror);
	}
	on_beat(&kernel->beat_timer);
}

void guard_kernel_stop(struct guard_kernel *kernel)
{
	if (!kernel || !kernel->loop)
		return;
	bpfctl_guard_beat(kernel->maps, 0);
	guard_devices_stop(&kernel->devices);
	netlink_addrs_unobserve(&kernel->addrs_observer);
	loop_timer_del(kernel->loop, &kernel->beat_timer);
	loop_watch_del(&kernel->events_watch);
	kernel->loop = NULL;
}

/* ---- figures ---- */

int guard_kernel_counts(
	struct guard_kernel *kernel, struct hm_guard_count ret_counts[HM_GUARD_VERDICTS])
{
	return bpfctl_guard_counts(kernel->maps, ret_counts);
}

uint64_t guard_kernel_dropped(struct guard_kernel *kernel, const struct cidr *net)
{
	struct hm_guard_source source;
	struct hm_guard_ban ban;

	if (!guard_mirror_source(&kernel->mirror, net, &source) ||
		bpfctl_guard_ban_get(kernel->maps, &source, &ban) < 0)
		return 0;
	return ban.dropped;
}

bool guard_kernel_is_inert(const struct guard_kernel *kernel)
{
	return !kernel->enabled;
}

void guard_kernel_devices(struct guard_kernel *kernel, guard_kernel_device_fn *fn, void *arg)
{
	size_t count;
	const struct guard_xdp_device *devices = guard_xdp_devices(kernel->maps, &count);

	for (size_t i = 0; i < count; i++) {
		char name[IF_NAMESIZE] = "";

		if_indextoname(devices[i].ifindex, name);
		fn(arg, name, guard_devices_mode_name(devices[i].mode),
			devices[i].way == GUARD_XDP_LINK ? "link" : "dispatcher");
	}
}

// SPDX-License-Identifier: Apache-2.0
#include "control/guard.h"
#include "base/log.h"
#include "control/guard_kernel.h"
#include "control/guard_log.h"
#include "control/guard_share.h"
#include "control/never.h"

#include <errno.h>
#include <stdlib.h>

#define SWEEP_MS 1000

struct control_guard {
	struct control_state *state;
	struct guard *guard;               /* owned; NULL: it was never enabled */
	struct never *never;               /* NULL: it is not enabled */
	struct guard_share *_Atomic share; /* owned; NULL as guard; the store's thread asks */
	struct timer sweep_timer;
};

static struct guard_settings settings_of(const struct config_guard *config)
{
	return (struct guard_settings){
		.observe = config->observe,
		.ban_after = (unsigned)config->ban_after,
		.ban_window_ms = config->ban_window_ms,
		.ban_time_ms = config->ban_time_ms,
		.ban_time_max_ms = config->ban_time_max_ms,
		.spare_active = (unsigned)config->spare_active,
		.penalty_ms = config->penalty_ms,
		.penalty_max_ms = config->penalty_max_ms,
		.deny = config->deny,
		.deny_count = config->deny_count,
		.ipv4_prefix = (unsigned)config->ipv4_prefix,
		.ipv6_prefix = (unsigned)config->ipv6_prefix,
		.max_bans = (size_t)config->max_bans,
		.max_sources = (size_t)config->max_sources,
	};
}

static void on_sweep(struct timer *timer)
{
	struct control_guard *guard = container_of(timer, struct control_guard, sweep_timer);

	guard_sweep(guard->guard);
	loop_timer_set(guard->state->loop, timer, SWEEP_MS, on_sweep);
}

/* Once, as a whole or not at all; whoever observes it begins here. */
static int make(struct control_guard *guard, const struct guard_settings *settings)
{
	struct control_state *state = guard->state;
	struct guard_share *share;
	int r = guard_new(settings, &guard->guard);

	if (r == 0)
		r = guard_log_observe(guard->guard);
	if (r == 0 && state->guard_kernel)
		r = guard_kernel_start(
			state->guard_kernel, state->router, state->loop, guard->guard);
	if (r == 0)
		r = guard_share_new(state, guard->guard, &share);
	if (r < 0) {
		guard_kernel_stop(state->guard_kernel);
		guard_free(guard->guard);
		guard->guard = NULL;
		return r;
	}
	atomic_store(&guard->share, share);
	on_sweep(&guard->sweep_timer);
	return 0;
}

/* Sessions ask as soon as it is the router's, so that comes last. */
static int enable(struct control_guard *guard, const struct config_guard *config)
{
	struct router *router = guard->state->router;
	const struct guard_settings settings = settings_of(config);
	int r = guard->guard ? guard_configure(guard->guard, &settings) : make(guard, &settings);

	if (r == 0 && guard->never)
		never_follow(guard->never);
	else if (r == 0)
		r = never_new(router, guard->state->loop, guard->guard, &guard->never);
	if (r == 0 && guard->state->guard_kernel)
		guard_kernel_follow(guard->state->guard_kernel, true);
	if (r == 0)
		atomic_store(&router->guard, guard->guard);
	if (r == 0)
		guard_share_follow(guard->share, config->share_store);
	return r;
}

static void disable(struct control_guard *guard)
{
	atomic_store(&guard->state->router->guard, NULL);
	if (guard->guard && guard->state->guard_kernel)
		guard_kernel_follow(guard->state->guard_kernel, false);
	if (guard->share)
		guard_share_follow(guard->share, false);
	never_free(guard->never);
	guard->never = NULL;
}

void control_guard_follow(struct control_guard *guard)
{
	const struct config_guard *config = &guard->state->router->snapshot->config->guard;

	if (!config->enabled)
		disable(guard);
	else if (enable(guard, config) < 0)
		log_event(LOGL_ERROR, "guard", "error", "out of memory: stays as it was", NULL);
}

void control_guard_heard(void *arg, enum store_push_event event, struct view source)
{
	struct control_guard *guard = arg;
	struct guard_share *share = atomic_load(&guard->share);

	if (share)
		guard_share_heard(share, event, source);
}

static void add_device(void *arg, const char *name, const char *mode, const char *by)
{
	json_array_append_new(arg, json_pack("{ss ss ss}", "name", name, "mode", mode, "by", by));
}

static json_t *packets_json(struct guard_kernel *kernel)
{
	struct hm_guard_count counts[HM_GUARD_VERDICTS];
	bool known = guard_kernel_counts(kernel, counts) == 0;
	json_t *packets = json_object();

	for (int i = 0; known && i < HM_GUARD_VERDICTS; i++)
		json_object_set_new(packets, guard_kernel_verdict_name((enum hm_guard_verdict)i),
			json_integer((json_int_t)counts[i].packets));
	return packets;
}

void control_guard_add_json(const struct control_guard *guard, json_t *object)
{
	struct guard_share *share = atomic_load(&guard->share);
	struct guard_kernel *kernel = guard->state->guard_kernel;
	json_t *devices;

	json_object_set_new(object, "kernel", json_boolean(kernel != NULL));
	if (kernel) {
		devices = json_array();
		guard_kernel_devices(kernel, add_device, devices);
		json_object_set_new(object, "inert", json_boolean(guard_kernel_is_inert(kernel)));
		json_object_set_new(object, "packets", packets_json(kernel));
		json_object_set_new(object, "interfaces", devices);
	}
	if (share)
		json_object_set_new(object, "share", guard_share_json(share));
}

void control_guard_admit(struct control_guard *guard, const struct addr *peer)
{
	if (guard && guard->never && addr_is_set(peer))
		never_admit(guard->never, peer);
}

int control_guard_new(struct control_state *state, struct control_guard **ret_guard)
{
	const struct config_guard *config = &state->router->snapshot->config->guard;
	struct control_guard *guard = calloc(1, sizeof(*guard));
	int r;

	if (!guard)
		return -ENOMEM;
	guard->state = state;
	r = config->enabled ? enable(guard, config) : 0;
	if (r < 0)
		control_guard_free(guard);
	else
		*ret_guard = guard;
	return r;
}

void control_guard_free(struct control_guard *guard)
{
	if (!guard)
		return;
	disable(guard);
	guard_kernel_stop(guard->state->guard_kernel);
	loop_timer_del(guard->state->loop, &guard->sweep_timer);
	guard_share_free(guard->share);
	guard_free(guard->guard);
	free(guard);
}

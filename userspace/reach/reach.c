// SPDX-License-Identifier: Apache-2.0
#include "reach/reach.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

/* One worker, one thread: answers of the mapping find them here, and a reach by its handle, because
 * it may be gone by then. */
static _Thread_local struct reaches *current;

void reaches_init(struct reaches *reaches, struct router *router, struct loop *loop,
	struct resolver *resolver, struct snapshot *const *newest)
{
	*reaches = (struct reaches){
		.router = router, .loop = loop, .resolver = resolver, .newest = newest
	};
	agents_init(&reaches->agents, router, loop, resolver, newest);
	slots_init(&reaches->slots);
	list_init(&reaches->waiting);
	current = reaches;
}

void reaches_fini(struct reaches *reaches)
{
	agents_fini(&reaches->agents);
	slots_fini(&reaches->slots);
	current = NULL;
}

/* ---- begin and end ---- */

static void begin(struct reach *reach, const struct reach_params *params)
{
	assert(reach->phase == REACH_IDLE);
	reach->ops = params->ops;
	reach->arg = params->arg;
	reach->reaches = params->reaches;
	reach->client = params->client;
	reach->from_loop = false;
}

static void leave_hold(struct reach *reach)
{
	holds_leave(reach->reaches->router->holds, view_str(reach->account), reach->client);
	list_del(&reach->link);
	loop_timer_del(reach->reaches->loop, &reach->timer);
	reach->phase = REACH_IDLE;
}

void reach_stop(struct reach *reach)
{
	switch (reach->phase) {
	case REACH_IDLE:
		break;
	case REACH_HOLD:
		leave_hold(reach);
		free(reach->account);
		reach->account = NULL;
		break;
	case REACH_LOOKUP:
		slots_remove(&reach->reaches->slots, reach->handle);
		break;
	case REACH_DIAL:
		dial_free(reach->dial); /* may still ask for it */
		reach->dial = NULL;
		snapshot_unref(reach->snapshot);
		reach->snapshot = NULL;
	}
	reach->phase = REACH_IDLE;
}

static void finish(struct reach *reach, enum reach_failure failure, enum reach_phase at)
{
	reach_stop(reach);
	reach->ops->done(reach->arg, failure, at);
}

/* ---- the lookup ---- */

static void got_answer(struct reach *reach, const struct mapping_answer *answer)
{
	reach_stop(reach);
	reach->ops->found(reach->arg, answer);
	if (answer->choice == MAPPING_UNAVAILABLE)
		finish(reach, UNREACHED_NO_STORE, REACH_LOOKUP);
}

static void on_reply(struct post *post)
{
	struct mapping_reply *reply = container_of(post, struct mapping_reply, post);
	struct reach *reach = current ? slots_find(&current->slots, reply->cookie) : NULL;

	if (reach) {
		reach->from_loop = true;
		got_answer(reach, &reply->answer);
	}
	mapping_reply_free(reply);
}

/* A hit of the cache goes on at once on this thread; a miss comes back through the mailbox. */
static void look_up(struct reach *reach, const char *account)
{
	struct reaches *reaches = reach->reaches;
	struct mapping_answer answer;
	int r = slots_add(&reaches->slots, reach, &reach->handle);

	if (r < 0) {
		finish(reach, UNREACHED_NO_MEMORY, REACH_IDLE);
		return;
	}
	reach->phase = REACH_LOOKUP;
	reach->ops->phase(reach->arg, REACH_LOOKUP);
	if (reach->phase != REACH_LOOKUP)
		return;
	r = mapping_lookup(reaches->router->mapping, view_str(account), &reaches->loop->mailbox,
		on_reply, reach->handle, &answer);
	if (r < 0)
		finish(reach, UNREACHED_NO_MEMORY, REACH_LOOKUP);
	else if (r == MAPPING_HIT)
		got_answer(reach, &answer);
}

/* ---- the hold ---- */

static void on_hold_over(struct timer *timer);

static void wait_until(struct reach *reach, uint64_t until_ms)
{
	uint64_t now = clock_mono_ms();

	loop_timer_set(reach->reaches->loop, &reach->timer, until_ms > now ? until_ms - now : 0,
		on_hold_over);
}

/* Its time has passed, or has been changed. */
static void look_again(struct reach *reach)
{
	uint64_t until = holds_until(reach->reaches->router->holds, view_str(reach->account));
	CLEANUP(freep) char *account = NULL;

	if (until) {
		wait_until(reach, until);
		return;
	}
	leave_hold(reach);
	account = reach->account;
	reach->account = NULL;
	reach->from_loop = true;
	look_up(reach, account);
}

static void on_hold_over(struct timer *timer)
{
	look_again(container_of(timer, struct reach, timer));
}

void reaches_holds_changed(struct reaches *reaches)
{
	list_for_each_safe (node, next, &reaches->waiting)
		look_again(list_entry(node, struct reach, link));
}

/* Counted from here on, until leave_hold(). */
static enum reach_failure enter_hold(struct reach *reach, const char *account)
{
	int r;

	reach->account = strdup(account);
	if (!reach->account)
		return UNREACHED_NO_MEMORY;
	r = holds_enter(reach->reaches->router->holds, view_str(account), reach->client);
	if (!r)
		return REACH_NO_FAILURE;
	free(reach->account);
	reach->account = NULL;
	return r < 0 ? UNREACHED_NO_MEMORY : UNREACHED_CROWDED;
}

void reach_start(struct reach *reach, const struct reach_params *params, const char *account)
{
	struct reaches *reaches = params->reaches;
	uint64_t until = holds_until(reaches->router->holds, view_str(account));
	enum reach_failure failure;

	begin(reach, params);
	if (!until) {
		look_up(reach, account);
		return;
	}
	failure = enter_hold(reach, account);
	if (failure) {
		finish(reach, failure, REACH_IDLE);
		return;
	}
	atomic_fetch_add(&reaches->router->held, 1);
	reach->phase = REACH_HOLD;
	list_add_tail(&reaches->waiting, &reach->link);
	wait_until(reach, until);
	reach->ops->phase(reach->arg, REACH_HOLD);
}

/* ---- the dial ---- */

/*
 * Where a destination is declared. Whoever began before a reload may be sent to a node that came
 * with it: that node is found in the newer snapshot. In the moment in which the mapping knows the
 * node and this worker does not yet, it is the default, as it was until now.
 */
static struct snapshot *find_node(
	const struct reach_params *params, const char *destination, int *ret_index)
{
	struct snapshot *own = params->snapshot, *newest = *params->reaches->newest;

	*ret_index = snapshot_find(own, destination);
	if (*ret_index >= 0)
		return own;
	*ret_index = snapshot_find(newest, destination);
	if (*ret_index >= 0)
		return newest;
	*ret_index = snapshot_find(own, own->config->routing.default_destination);
	return own;
}

static struct reach_target choose(const struct reach_params *params, const char *destination)
{
	int index;
	struct snapshot *snapshot = find_node(params, destination, &index);

	return (struct reach_target){
		.snapshot = snapshot,
		.node = snapshot->nodes[index],
		.destination = &snapshot->config->destinations[index],
		.tls = snapshot->legs[index].tls[params->protocol],
		.agent = snapshot->legs[index].agent,
	};
}

static void on_dial_failed(void *arg, enum reach_failure failure)
{
	finish(arg, failure, REACH_DIAL);
}

static bool has_agent(const struct config_destination *destination, enum protocol protocol)
{
	return destination->handoff.declared && protocol < PROTOCOLS_INTERACTIVE;
}

/* HND-10. What its agent is told, NULL if it is not asked; why not. Where there is no agent nothing
 * is kept from it. */
static enum node_keep ask_offer(const struct reach_params *params,
	const struct config_destination *destination, const struct handoff_open **ret_open)
{
	*ret_open = NULL;
	if (!has_agent(destination, params->protocol))
		return NODE_KEEP_NOTHING;
	if (!destination->handoff.protocols[params->protocol])
		return NODE_KEEP_PROTOCOL;
	return params->ops->offer ? params->ops->offer(params->arg, ret_open) : NODE_KEEP_NOTHING;
}

static int make_dial(struct reach *reach, const struct reach_params *params,
	const struct reach_target *target, const struct handoff_open *open)
{
	const struct config *config = params->snapshot->config;
	struct reaches *reaches = params->reaches;
	struct dial_params dial = {
		.ops = &params->ops->dial,
		.arg = params->arg,
		.failed = on_dial_failed,
		.failed_arg = reach,
		.router = reaches->router,
		.newest = reaches->newest,
		.loop = reaches->loop,
		.resolver = reaches->resolver,
		.node = target->node,
		.destination = target->destination,
		.protocol = params->protocol,
		.tls = target->tls,
		.agents = &reaches->agents,
		.agent_tls = target->agent,
		.handoff = open,
		.client = params->client,
		.proxy_id = params->proxy_id,
		.client_tls = params->proxy_tls,
		.number = params->number,
		.window_ends_ms = clock_mono_ms() + config->server.backend_timeout_ms,
		.retries = (unsigned)config->server.backend_connect_retries,
		.talk_bytes = params->talk_bytes,
	};

	return dial_new(&dial, &reach->dial);
}

static bool must_be_handed_over(const struct dial *dial)
{
	const struct config_destination *destination = dial->params.destination;
	enum protocol protocol = dial->params.protocol;

	return has_agent(destination, protocol) &&
		destination->handoff.mode == CONFIG_HANDOFF_REQUIRE &&
		destination->handoff.protocols[protocol];
}

/* Whether it may be tried. */
static enum reach_failure admit(struct reach *reach, const struct reach_params *params)
{
	struct dial *dial = reach->dial;
	const char *name = dial->params.node->name;

	if (!dial->settings->declared) {
		log_event_limited(LOGL_WARN, "node_no_protocol", name, "node", name, NULL);
		return UNREACHED_NO_PROTOCOL;
	}
	if (params->client_tls && !dial->params.handoff && must_be_handed_over(dial))
		return UNREACHED_NO_HANDOFF;
	if (!dial_enter(dial))
		return UNREACHED_DOWN;
	if (dial->settings->forwarding == CONFIG_FORWARDING_XCLIENT && params->hops_left <= 1)
		return UNREACHED_LOOP; /* SES-63 */
	return REACH_NO_FAILURE;
}

void reach_to(struct reach *reach, const struct reach_params *params, const char *destination)
{
	struct reach_target target = choose(params, destination);
	const struct handoff_open *open;
	enum node_keep keep = ask_offer(params, target.destination, &open);
	enum reach_failure failure;

	begin(reach, params);
	reach->ops->chosen(reach->arg, &target);
	if (make_dial(reach, params, &target, open) < 0) {
		finish(reach, UNREACHED_NO_MEMORY, REACH_IDLE);
		return;
	}
	if (target.snapshot != params->snapshot)
		reach->snapshot = snapshot_ref(target.snapshot);
	reach->phase = REACH_DIAL;
	if (keep)
		dial_keep_tls(reach->dial, keep);
	failure = admit(reach, params);
	if (failure)
		finish(reach, failure, REACH_IDLE);
	else
		dial_start(reach->dial);
}

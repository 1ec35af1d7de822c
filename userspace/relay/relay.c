// SPDX-License-Identifier: Apache-2.0
/* A relay from outside: how it starts, whatever will move its bytes, how it is stopped, and what
 * may be asked of it. Also the names of the paths. */
#include "relay/frame.h"
#include "tls/records.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define ARM_GRAIN_MS 16

const char *relay_path_name(enum relay_path path)
{
	static const char *const names[] = {
		[RELAY_PATH_NONE] = "-",
		[RELAY_PATH_COPY] = "copy",
		[RELAY_PATH_RECORD] = "record",
		[RELAY_PATH_KTLS] = "ktls",
		[RELAY_PATH_SOCKMAP] = "sockmap",
		[RELAY_PATH_BYPASS] = "bypass",
	};

	static_assert(ARRAY_SIZE(names) == RELAY_PATHS, "a name for each");
	return names[path];
}

/* ---- start ---- */

static void on_leg(struct loop_watch *watch, struct relay *relay, int leg, uint32_t epoll_events)
{
	loop_work_on(watch->loop, relay->state.session);
	relay->mover->leg(relay, leg, epoll_events);
}

static void on_client(struct loop_watch *watch, uint32_t epoll_events)
{
	on_leg(watch, container_of(watch, struct relay, watches[RELAY_CLIENT]), RELAY_CLIENT,
		epoll_events);
}

static void on_node(struct loop_watch *watch, uint32_t epoll_events)
{
	on_leg(watch, container_of(watch, struct relay, watches[RELAY_NODE]), RELAY_NODE,
		epoll_events);
}

/* A descriptor's events come here from now on: from the caller's watch, if there is one (no system
 * call), else from a new one without events. */
static int watch_leg(struct relay *relay, int leg, struct loop_watch *from, int fd)
{
	loop_watch_fn *fn = leg == RELAY_CLIENT ? on_client : on_node;

	if (!from || !from->loop)
		return loop_watch_add(relay_loop(relay), &relay->watches[leg], fd, 0, fn);
	loop_watch_move(from, &relay->watches[leg], fn);
	return 0;
}

/* Whether the program may move it. */
static bool may_arm(const struct relay_params *params, const struct stream legs[2])
{
	enum relay_mode mode = params->settings.mode;

	return !stream_is_tls(&legs[RELAY_CLIENT]) && !stream_is_tls(&legs[RELAY_NODE]) &&
		!params->one_way && params->engine->kernel->sockmap &&
		(mode == RELAY_MODE_AUTO || mode == RELAY_MODE_SOCKMAP);
}

/* Those of a few milliseconds are armed in one wake-up. */
static uint64_t arm_at_ms(uint32_t arm_ms)
{
	uint32_t grain = arm_ms > ARM_GRAIN_MS ? ARM_GRAIN_MS : 1;

	return (clock_mono_ms() + arm_ms + grain - 1) / grain * grain;
}

static struct relay *make(const struct relay_params *params, bool arms)
{
	struct relay *relay = calloc(1, sizeof(*relay) + (arms ? sizeof(relay->program[0]) : 0));

	if (!relay)
		return NULL;
	relay->engine = params->engine;
	relay->mover = &relay_user;
	relay->protocol = params->protocol;
	relay->done = params->done;
	relay->arg = params->arg;
	relay->may_arm = arms && !params->settings.arm_ms;
	relay->arms_later = arms && params->settings.arm_ms;
	relay->parts = params->parts;
	relay->state = (struct relay_state){
		.halves = { [RELAY_UP].bytes = params->bytes[RELAY_UP],
			[RELAY_DOWN].bytes = params->bytes[RELAY_DOWN] },
		.session = params->session,
		.idle_ms = (uint32_t)MIN(params->idle_ms, (uint64_t)UINT32_MAX),
		.owed_ms = (uint32_t)params->owed_ms,
		.last_ms = clock_mono_ms(),
		.first_eof = -1,
		.one_way = params->one_way,
	};
	if (arms) {
		relay->has_program = true;
		relay->program->mover = &relay_sockmap;
		relay->program->same_host =
			params->settings.same_host && params->engine->kernel->same_host;
		/* ciphertext: nobody here has to look at it, and what is fast goes on being so */
		relay->program->bulk_rate = params->parts ? 0 : params->settings.bulk_rate;
		relay->program->arm_at_ms = arm_at_ms(params->settings.arm_ms);
		relay->program->backlog_limit = params->settings.backlog_limit;
		relay->program->stall_ms =
			(uint32_t)MIN(params->settings.stall_ms, (uint64_t)UINT32_MAX);
	}
	return relay;
}

/* What TLS legs become. */
static const enum relay_become goals[] = {
	[RELAY_MODE_AUTO] = BECOMES_RECORD,
	[RELAY_MODE_SOCKMAP] = BECOMES_NOTHING,
	[RELAY_MODE_RECORD] = BECOMES_RECORD,
	[RELAY_MODE_KTLS] = BECOMES_KTLS,
	[RELAY_MODE_COPY] = BECOMES_NOTHING,
};

/* OpenSSL has gone from a stream of records, and does not come back. */
static enum relay_become goal_of(const struct stream *leg, enum relay_mode mode)
{
	if (!stream_is_tls(leg))
		return BECOMES_NOTHING;
	return tls_records_connection(leg) && goals[mode] != BECOMES_KTLS ? BECOMES_NOTHING
									  : goals[mode];
}

bool relay_takes_records(enum relay_mode mode)
{
	return goals[mode] == BECOMES_RECORD;
}

static void take_legs(struct relay *relay, const struct relay_params *params, struct stream legs[2],
	struct buf early[2])
{
	for (int leg = 0; leg < 2; leg++) {
		struct buf *pending = &relay->io[relay_from(leg)].pending;

		relay->legs[leg] = legs[leg];
		legs[leg] = (struct stream){ 0 };
		relay->becomes[leg] = (uint8_t)goal_of(&relay->legs[leg], params->settings.mode);
		*pending = early[leg];
		pending->limit = 0;
		early[leg] = (struct buf){ 0 };
		if (relay->state.one_way && leg == RELAY_CLIENT)
			buf_clear(pending);
		if (!pending->len)
			relay_drop_pending(pending);
	}
}

int relay_start(const struct relay_params *params, struct stream legs[2], struct buf early[2],
	struct relay **ret_relay)
{
	struct relay *relay = make(params, may_arm(params, legs));
	int r = 0;

	if (!relay)
		return -ENOMEM;
	for (int leg = 0; r == 0 && leg < 2; leg++)
		r = watch_leg(relay, leg, params->watches[leg], legs[leg].fd);
	if (r == 0)
		r = relay_register(relay);
	if (r < 0) {
		loop_watch_del(&relay->watches[RELAY_CLIENT]);
		loop_watch_del(&relay->watches[RELAY_NODE]);
		free(relay);
		return r;
	}
	take_legs(relay, params, legs, early);
	relay_arm_timer(relay);
	relay_note_path(relay);
	relay_user_begin(relay);
	*ret_relay = relay;
	return 0;
}

/* ---- while it runs ---- */

void relay_stop(struct relay *relay, bool gracefully)
{
	if (relay_has_ended(relay))
		return;
	for (int d = 0; d < 2 && gracefully; d++) {
		struct view v = buf_view(&relay->io[d].pending);

		if (v.len && relay_write_some(relay, d, v.data, v.len) != (ssize_t)v.len)
			continue; /* cut: no clean end for what is not whole */
		if (relay->state.halves[d].state != HALF_DONE &&
			stream_shutdown(&relay->legs[relay_target(d)]) < 0)
			continue;
	}
	relay_close(relay, RELAY_END_STOPPED);
}

void relay_free(struct relay *relay)
{
	if (!relay)
		return;
	relay_stop(relay, false);
	loop_timer_del(relay_loop(relay), &relay->timer);
	free(relay);
}

void relay_set_idle(struct relay *relay, uint64_t idle_ms)
{
	if (relay->state.parting)
		return;
	relay->state.idle_ms = (uint32_t)MIN(idle_ms, (uint64_t)UINT32_MAX);
	if (!relay_has_ended(relay))
		relay_arm_timer(relay);
}

uint64_t relay_bytes(const struct relay *relay, enum relay_direction direction)
{
	uint64_t bytes = relay->state.halves[direction].bytes;

	return relay->has_program ? bytes + relay->program->flows[direction].redirected : bytes;
}

enum relay_path relay_path_of(const struct relay *relay, enum relay_direction direction)
{
	return (enum relay_path)relay->state.halves[direction].path;
}

int relay_fd(const struct relay *relay, enum relay_leg leg)
{
	const struct stream *stream = &relay->legs[leg];

	return stream_is_open(stream) ? stream->fd : -1;
}

uint64_t relay_idle_ms(const struct relay *relay)
{
	uint64_t now = clock_mono_ms(), last = relay->state.last_ms;

	return now > last ? now - last : 0;
}

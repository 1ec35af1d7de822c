// SPDX-License-Identifier: Apache-2.0
/*
 * The mover of two plain legs: a BPF verdict moves the bytes, user space sleeps. What is left to
 * user space: bytes that the valve passes to it (valve.c), ends of stream (owed.c), and looking
 * whether everything still moves. Here: steps, what they wait for, and the program's rows and
 * events.
 */
#include "relay/program.h"
#include "net/sock.h"
#include "net/tcpinfo.h"

#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

/* How often a quiet direction is looked at for bytes that do not move. */
#define QUIET_SCANS 2
/* When a node's last write is that old, all of it has been counted. */
#define BYPASS_QUIET_MS 3000

/* ---- one step of everything ---- */

static void step_half(struct relay *relay, int d)
{
	const struct relay_half *half = &relay->state.halves[d];

	switch ((enum half_valve)half->valve) {
	case VALVE_NONE:
	case VALVE_KERNEL:
		break;
	case VALVE_RESUMING:
		relay_step_resuming(relay, d);
		break;
	case VALVE_PASSING:
	case VALVE_TAKEN:
		relay_step_passing(relay, d);
		break;
	case VALVE_BYPASS:
		relay_step_bypass(relay);
	}
	if (half->state == HALF_ENDING && relay->state.phase < RELAY_BROKEN)
		relay_step_owed(relay, d);
}

/* Whether user space reads what comes. */
static bool reads(const struct relay_half *half)
{
	return half->valve == VALVE_BYPASS ||
		((half->valve == VALVE_PASSING || half->valve == VALVE_TAKEN) && half->clear);
}

static void update_watches(struct relay *relay)
{
	uint32_t events[2] = { 0, 0 };

	for (int d = 0; d < 2; d++) {
		const struct relay_half *half = &relay->state.halves[d];

		if (half->state == HALF_OPEN && !half->closing)
			events[relay_source(d)] |= EPOLLRDHUP;
		if (relay->io[d].pending.len)
			events[relay_target(d)] |= EPOLLOUT;
		else if (half->state == HALF_OPEN && reads(half))
			events[relay_source(d)] |= EPOLLIN;
	}
	relay_watch_legs(relay, events);
}

/* Epoll may tell of a hang-up a moment before the connection's state does. */
static void look_again(struct relay *relay)
{
	struct relay_program *program = relay->program;

	for (int leg = 0; leg < 2 && !relay_has_ended(relay); leg++) {
		if (!(program->unsure & BIT(leg)))
			continue;
		relay_look_at_leg(relay, leg);
		if (relay->state.halves[relay_from(leg)].state != HALF_OPEN ||
			relay->state.phase >= RELAY_BROKEN)
			program->unsure &= (uint8_t)~BIT(leg);
		else
			relay_poll_again(relay);
	}
}

static void run(struct relay *relay)
{
	const struct relay_state *state = &relay->state;

	relay->program->wait_ms = UINT32_MAX;
	look_again(relay);
	for (int d = 0; d < 2 && !relay_has_ended(relay); d++)
		step_half(relay, d);
	if (state->phase == RELAY_BROKEN)
		relay_step_reset(relay);
	else if (state->halves[0].state == HALF_DONE && state->halves[1].state == HALF_DONE)
		relay_finish(relay, relay_clean_end(relay));
	if (relay_has_ended(relay))
		return;
	update_watches(relay);
	if (relay_has_ended(relay))
		return;
	if (relay->program->wait_ms != UINT32_MAX)
		relay_later(relay, relay->program->wait_ms);
	relay_check(relay);
}

static void sockmap_turn(struct relay *relay)
{
	relay_count_poll(relay, RELAY_PROGRAM_POLLS_MAX);
	run(relay);
}

static void sockmap_leg(struct relay *relay, int leg, uint32_t epoll_events)
{
	bool gone = epoll_events & (EPOLLHUP | EPOLLERR);

	if (relay->state.halves[relay_from(leg)].valve == VALVE_BYPASS)
		relay_bypass_leg(relay, epoll_events);
	else if (gone)
		relay->program->unsure |= (uint8_t)BIT(leg);
	else if (epoll_events & EPOLLRDHUP)
		relay_look_at_leg(relay, leg);
	/* Reported whatever is asked for; nothing new can come, so it must not spin. */
	if (gone && !relay_has_ended(relay))
		loop_watch_del(&relay->watches[leg]);
	if (!relay_has_ended(relay))
		run(relay);
}

/* What the rows say is at most a second old; what a closed side has taken, a poll's time. */
static void sockmap_refresh(struct relay *relay)
{
	struct relay_state *state = &relay->state;
	struct hm_flow row;

	for (int d = 0; d < 2; d++) {
		relay_look(relay, d, &row);
		if (state->owed_until_ms && state->halves[d].state == HALF_ENDING &&
			relay_written_since(relay, d) != relay->program->owed_written)
			state->owed_until_ms = clock_mono_ms() + state->owed_ms;
	}
}

/* ---- the engine's calls ---- */

/* The direction of a row, or -1. */
static int direction_of(const struct relay *relay, uint64_t cookie)
{
	for (int d = 0; d < 2; d++) {
		if (relay->state.halves[d].cookie == cookie)
			return d;
	}
	return -1;
}

/* The valve has opened. */
static void on_demotion(struct relay *relay, int d, uint32_t demotions)
{
	struct relay_flow *flow = &relay->program->flows[d];
	uint8_t valve = relay->state.halves[d].valve;

	if ((valve != VALVE_KERNEL && valve != VALVE_RESUMING) || demotions == flow->resumed)
		return;
	flow->demotions = demotions;
	relay_begin_passing(relay, d, VALVE_PASSING);
	run(relay);
}

static void sockmap_event(struct relay *relay, const struct hm_event *event)
{
	int d = direction_of(relay, event->cookie);
	struct hm_flow row = { 0 };

	if (d < 0 || relay_has_ended(relay))
		return;
	if (relay_look(relay, d, &row) && row.reason == HM_BULK)
		atomic_fetch_add(&relay_kernel(relay)->demotions_bulk, 1);
	else if (row.reason == HM_BACKLOG)
		atomic_fetch_add(&relay_kernel(relay)->demotions_backlog, 1);
	on_demotion(relay, d, event->demotions);
}

static void sockmap_row(struct relay *relay, uint64_t cookie, const struct hm_flow *row)
{
	int d = direction_of(relay, cookie);

	if (d < 0)
		return;
	if (relay->state.halves[d].valve != VALVE_BYPASS)
		relay->program->flows[d].redirected = row->redirected;
	else if (row->last_ns / 1000000 + BYPASS_QUIET_MS > relay_loop(relay)->now_ms)
		relay_count_bypassed(relay);
	relay->program->flows[d].demotions = row->demotions;
	relay->state.last_ms = MAX(relay->state.last_ms, (uint64_t)(row->last_ns / 1000000));
}

/* ---- the watchdog ---- */

static bool is_writable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	return poll(&p, 1, 0) == 1 && (p.revents & POLLOUT);
}

/* User space takes the direction over through the valve, without loss. */
static void take_over(struct relay *relay, int d)
{
	struct hm_control control = { .relayed = relay_relayed(relay, d), .hold = 1 };

	control.resumed = relay->program->flows[d].resumed;
	if (bpfctl_control_set(
		    relay_kernel(relay)->bpfctl, relay->state.halves[d].cookie, &control) < 0)
		return;
	atomic_fetch_add(&relay_kernel(relay)->stalls, 1);
	relay_kick(relay->legs[relay_source(d)].fd); /* a verdict now passes */
	relay_begin_passing(relay, d, VALVE_TAKEN);
	run(relay);
}

/* Bytes at the source that have not moved since the last look, while the target can take them. What
 * the source has received is asked of TCP: SIOCINQ leaves it out on newer kernels. */
static void watch_half(struct relay *relay, int d)
{
	struct relay_flow *flow = &relay->program->flows[d];
	uint64_t written, received, now = relay_loop(relay)->now_ms;
	struct tcpinfo_source source;

	if (tcpinfo_received(relay->legs[relay_source(d)].fd, &source) < 0)
		return;
	received = source.received - flow->base_read;
	if (received == flow->redirected + relay_relayed(relay, d) &&
		flow->redirected == flow->settled) {
		flow->mark_ms = 0;
		return;
	}
	written = relay_written_since(relay, d);
	if (received == written || written != flow->mark_bytes || !flow->mark_ms ||
		!is_writable(relay->legs[relay_target(d)].fd)) {
		if (received == written)
			flow->settled = flow->redirected;
		flow->mark_bytes = written;
		flow->mark_ms = now;
		return;
	}
	if (now - flow->mark_ms >= relay->program->stall_ms)
		take_over(relay, d);
}

static void sockmap_scan(struct relay *relay)
{
	bool look_now = (relay->engine->scans + relay->handle) % QUIET_SCANS == 0;

	for (int d = 0; d < 2 && relay->state.phase < RELAY_BROKEN; d++) {
		const struct relay_half *half = &relay->state.halves[d];
		const struct relay_flow *flow = &relay->program->flows[d];

		if (half->valve != VALVE_KERNEL || half->state != HALF_OPEN)
			continue;
		if (flow->demotions != flow->resumed) /* its event was lost: the ring was full */
			on_demotion(relay, d, flow->demotions);
		else if (flow->mark_ms || flow->redirected != flow->settled || look_now)
			watch_half(relay, d);
	}
}

const struct relay_mover relay_sockmap = {
	.leg = sockmap_leg,
	.turn = sockmap_turn,
	.refresh = sockmap_refresh,
	.scan = sockmap_scan,
	.row = sockmap_row,
	.event = sockmap_event,
};

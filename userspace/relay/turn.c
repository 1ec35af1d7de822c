// SPDX-License-Identifier: Apache-2.0
/*
 * The mover that works in user space: it reads from one leg and writes to the other, through
 * OpenSSL where a leg is encrypted (copy), through its ciphers alone (record), or with the kernel
 * doing the cryptography (ktls). A leg starts with OpenSSL, or on records, and is switched at the
 * first record boundary, which mostly is at once; two plain legs are the program's as soon as both
 * have been read empty. Here: turns, and what they wait for.
 */
#include "relay/frame.h"
#include "net/sock.h"
#include "tls/records.h"

#include <errno.h>
#include <sys/epoll.h>

void relay_watch_legs(struct relay *relay, const uint32_t events[2])
{
	for (int i = 0; i < 2; i++) {
		if (relay->watches[i].loop && loop_watch_set(&relay->watches[i], events[i]) < 0) {
			relay_finish(relay, relay_error_of(i, -EBADF));
			return;
		}
	}
}

/* Both directions flow and nothing else is due: readable legs are all there is to wait for. */
static bool flows(const struct relay *relay)
{
	for (int i = 0; i < 2; i++) {
		const struct relay_half *half = &relay->state.halves[i];
		const struct relay_io *io = &relay->io[i];

		if (half->state != HALF_OPEN || half->closing || io->pending.len ||
			io->write_want || (io->read_want && io->read_want != EPOLLIN) ||
			relay->becomes[i])
			return false;
	}
	return relay->state.phase == RELAY_FLOWS && !relay->may_arm;
}

/* What a leg is watched for then. An edge is enough where a read tells whether it has left
 * something (stream->drained). What recv() would not tell is seen with the edge: a peer's end that
 * was there already, and an urgent byte, at which it stops though there is more. */
static uint32_t flow_events(const struct relay *relay, int leg)
{
	const struct stream *stream = &relay->legs[leg];
	bool tells = !stream_is_tls(stream) || tls_records_connection(stream);

	return tells && !relay->arms_later && relay->io[relay_from(leg)].events == RELAY_EDGE_EVENTS
		? EPOLLIN | EPOLLRDHUP | EPOLLPRI | EPOLLET
		: EPOLLIN;
}

static void update_watches(struct relay *relay)
{
	uint32_t events[2] = { 0, 0 };

	if (flows(relay)) {
		events[0] = flow_events(relay, 0);
		events[1] = flow_events(relay, 1);
		relay_watch_legs(relay, events);
		return;
	}
	for (int d = 0; d < 2; d++) {
		const struct relay_half *half = &relay->state.halves[d];
		const struct relay_io *io = &relay->io[d];

		if (half->state == HALF_OPEN && !io->pending.len)
			events[relay_source(d)] |= io->read_want ? io->read_want : EPOLLIN;
		else if (half->state == HALF_OPEN && !half->closing)
			events[relay_source(d)] |=
				EPOLLRDHUP; /* starts the clock of what is owed */
		if (io->pending.len ||
			(half->state == HALF_ENDING && !relay->retry &&
				!(d == RELAY_UP && relay->state.quit_at_ms)))
			events[relay_target(d)] |= io->write_want ? io->write_want : EPOLLOUT;
	}
	relay_watch_legs(relay, events);
}

/* One direction. *ret_wait_ms: how long it waits for the node to end first. False when the relay
 * has ended. */
static bool turn_half(struct relay *relay, int d, bool *ret_again, uint64_t *ret_wait_ms)
{
	const struct relay_half *half = &relay->state.halves[d];
	uint64_t wait_ms = 0;

	if (!relay_flush(relay, d) || !relay_move(relay, d, ret_again))
		return false;
	if (half->state == HALF_ENDING || (half->closing && relay->io[d].pending.len))
		relay_update_owed(relay, false);
	if (half->state != HALF_ENDING)
		return true;
	if (d == RELAY_UP)
		*ret_wait_ms = wait_ms = relay_waits_for_node(relay);
	if (!wait_ms)
		relay_end_target(relay, d);
	return true;
}

/* Both directions once. */
static void run(struct relay *relay)
{
	const struct relay_half *halves = relay->state.halves;
	bool again = false;
	uint64_t wait_ms = 0;

	relay->retry = false;
	for (int leg = 0; leg < 2; leg++) {
		if (!relay_switch_leg(relay, leg))
			return;
	}
	for (int d = 0; d < 2; d++) {
		if (!turn_half(relay, d, &again, &wait_ms))
			return;
	}
	if (halves[0].state == HALF_DONE && halves[1].state == HALF_DONE &&
		!relay_still_queued(relay)) {
		relay_finish(relay, relay_clean_end(relay));
		return;
	}
	if (relay_switch_to_program(relay))
		return;
	if (!relay->retry)
		relay->polls = 0;
	if (!wait_ms) /* in most sessions nothing is owed after it */
		relay_look_at_owed(relay);
	if (again || relay->retry)
		relay_later(relay, again ? 0 : 1u << relay->polls);
	else if (wait_ms)
		relay_later(relay, halves[RELAY_DOWN].state == HALF_OPEN ? wait_ms : 0);
	update_watches(relay);
	relay_check(relay);
}

/* Nothing is left over from before, here or in OpenSSL, that no event would announce. */
static bool waits_for_events(const struct relay *relay)
{
	for (int i = 0; i < 2; i++) {
		if (relay->io[i].pending.len || relay->becomes[i] ||
			stream_pending(&relay->legs[i]))
			return false;
	}
	return true;
}

void relay_user_begin(struct relay *relay)
{
	if (relay->may_arm)
		run(relay); /* usually there is nothing to flush, and the kernel has it from here */
	else if (!relay_switch_leg(relay, RELAY_CLIENT) || !relay_switch_leg(relay, RELAY_NODE))
		; /* reported from the loop */
	else if (waits_for_events(relay))
		update_watches(relay);
	else
		relay_later(relay, 0);
}

/* ---- events ---- */

/* The leg hung up in both directions. Epoll reports that whatever we ask for, so a leg that we do
 * not want to read now must not be left in the set, or the loop would spin. */
static void on_hangup(struct relay *relay, int leg, bool failed)
{
	int from = relay_from(leg), to = !from;
	int error = failed ? sock_error(relay->legs[leg].fd) : 0;
	struct relay_half *halves = relay->state.halves;

	halves[from].closing = true; /* all that has arrived is read now */
	run(relay);
	if (relay_has_ended(relay))
		return;
	/* Nobody can be written to there any more. */
	if (halves[to].state != HALF_DONE &&
		(relay->io[to].pending.len || halves[to].state == HALF_ENDING || error)) {
		relay_leg_broken(relay, leg, error ? error : -EPIPE);
		run(relay);
	} else if (halves[from].state != HALF_OPEN || relay->io[from].pending.len) {
		loop_watch_del(&relay->watches[leg]);
	}
}

static bool just_flows(const struct relay *relay)
{
	return flows(relay) && relay->watches[0].events & relay->watches[1].events & EPOLLIN;
}

/* Returns false when the event is not yet dealt with. */
static bool flow_on(struct relay *relay, int leg)
{
	struct relay_io *io = &relay->io[relay_from(leg)];
	bool again = false;

	if (!relay_move(relay, relay_from(leg), &again))
		return true;
	if (again || !just_flows(relay))
		return false;
	if (io->events == RELAY_EDGE_EVENTS)
		return true;
	io->events++;
	return io->events != RELAY_EDGE_EVENTS; /* the watch changes */
}

static bool is_busy(struct relay *relay)
{
	const struct relay_half *halves = relay->state.halves;

	return ++relay->program->early_events >= RELAY_BUSY_EVENTS ||
		halves[0].bytes + halves[1].bytes >= RELAY_BUSY_BYTES;
}

static void user_leg(struct relay *relay, int leg, uint32_t epoll_events)
{
	if (relay->arms_later && is_busy(relay))
		relay_want_program(relay);
	if (epoll_events == EPOLLIN && just_flows(relay) && flow_on(relay, leg))
		return;
	if (epoll_events & EPOLLPRI)
		relay->io[relay_from(leg)].events = 0; /* levels, until long behind it */
	if (epoll_events & EPOLLRDHUP) {
		relay->state.halves[relay_from(leg)].closing = true;
		relay_update_owed(relay, false);
	}
	if (epoll_events & (EPOLLERR | EPOLLHUP))
		on_hangup(relay, leg, epoll_events & EPOLLERR);
	else
		run(relay);
}

static void user_turn(struct relay *relay)
{
	relay_count_poll(relay, RELAY_USER_POLLS_MAX);
	run(relay);
}

/* Before the next scan: the rows are then the program's. */
static bool arms_soon(const struct relay *relay)
{
	return relay->arms_later &&
		relay->program->arm_at_ms <= relay_loop(relay)->now_ms + RELAY_SCAN_MS;
}

static void user_scan(struct relay *relay)
{
	if (!relay->may_arm && !arms_soon(relay))
		relay_put_rows(relay);
}

const struct relay_mover relay_user = {
	.leg = user_leg,
	.turn = user_turn,
	.refresh = relay_look_at_owed,
	.scan = user_scan,
};

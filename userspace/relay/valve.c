// SPDX-License-Identifier: Apache-2.0
/*
 * The valve of a direction that the program moves: open, the program passes everything and user
 * space relays it, but only after what was redirected before has been written (order). It closes
 * again when user space has relayed everything that was passed, unless the direction is taken for
 * good. enum half_valve names the states.
 */
#include "relay/program.h"

#include <errno.h>

/* Whose backlog was written within this time keeps up, and gets twice the room, up to 4 times the
 * backlog_limit; who takes longer than the other has the least again. */
#define KEEPS_UP_MS 50
#define LATE_MS 250
#define ROOM_MAX 2

/* How long a direction stays with user space at least, and over what its rate is judged; and how
 * long when it need not be. */
#define SETTLE_MS 100
#define QUICK_MS 5
/* A verdict that began before user space allowed redirecting has ended by then. */
#define RESUME_MS 20

void relay_begin_passing(struct relay *relay, int d, enum half_valve valve)
{
	struct relay_half *half = &relay->state.halves[d];
	struct relay_flow *flow = &relay->program->flows[d];

	half->valve = (uint8_t)valve;
	half->path = valve == VALVE_TAKEN ? RELAY_PATH_COPY : RELAY_PATH_SOCKMAP;
	half->clear = false;
	flow->mark_ms = relay_loop(relay)->now_ms;
	flow->mark_bytes = relay_relayed(relay, d);
	relay->polls = 0;
}

/* What was too much for the kernel has been written, after so long: it depends on the reader. */
static void judge_reader(struct relay *relay, int d, const struct hm_flow *row)
{
	uint64_t took_ms = relay_loop(relay)->now_ms - relay->program->flows[d].mark_ms;
	uint8_t *room = &relay->program->room[d];

	if (row->reason != HM_BACKLOG || relay->state.halves[d].valve != VALVE_PASSING)
		return;
	if (took_ms > LATE_MS)
		*room = 0;
	else if (took_ms <= KEEPS_UP_MS && *room < ROOM_MAX)
		++*room;
	/* where no rate is looked at, who keeps up need not be watched for long */
	if (took_ms <= KEEPS_UP_MS && !relay->program->bulk_rate)
		relay->program->flows[d].mark_ms = relay_loop(relay)->now_ms + QUICK_MS - SETTLE_MS;
}

/* What the kernel was given before must be written first. */
static bool is_clear(struct relay *relay, int d)
{
	struct relay_half *half = &relay->state.halves[d];
	struct hm_flow row;

	if (half->clear)
		return true;
	if (relay_look(relay, d, &row) &&
		relay_written_since(relay, d) >=
			relay->program->flows[d].redirected + relay_relayed(relay, d)) {
		half->clear = true;
		judge_reader(relay, d, &row);
	} else {
		relay_poll_again(relay);
	}
	return half->clear;
}

/* False when blocked or broken. */
static bool flush_pending(struct relay *relay, int d)
{
	ssize_t n = relay_write_pending(relay, d);

	if (n < 0)
		relay_program_broken(relay, relay_target(d), n);
	return n >= 0 && !relay->io[d].pending.len;
}

enum relay_passed relay_copy_passed(struct relay *relay, int d)
{
	struct stream *source = &relay->legs[relay_source(d)];
	struct relay_io *io = &relay->io[d];
	size_t moved = 0;

	while (flush_pending(relay, d)) {
		ssize_t n, written;

		if (moved >= RELAY_TURN_BYTES) {
			relay_step_in(relay, 0);
			return PASSED_MORE;
		}
		n = stream_read(source, relay_scratch, relay_chunk(io->chunk));
		if (n == -EAGAIN || n == STREAM_EOF)
			return n == STREAM_EOF ? PASSED_END : PASSED_ALL;
		if (n < 0) {
			relay_program_broken(relay, relay_source(d), n);
			return PASSED_BROKEN;
		}
		relay_scratch_note((size_t)n);
		written = relay_write_some(relay, d, relay_scratch, (size_t)n);
		if (written < 0) {
			relay_program_broken(relay, relay_target(d), written);
			return PASSED_MORE;
		}
		moved += (size_t)n;
		relay_chunk_adapt(&io->chunk, (size_t)n, (size_t)written);
		if (!relay_keep_rest(relay, d, relay_scratch + written, (size_t)(n - written)))
			return PASSED_MORE;
	}
	return PASSED_MORE;
}

/* Everything passed has been relayed: may the kernel have it back? */
static void consider_resume(struct relay *relay, int d)
{
	struct relay_flow *flow = &relay->program->flows[d];
	uint64_t now = relay_loop(relay)->now_ms, elapsed = now - flow->mark_ms;
	uint64_t relayed = relay_relayed(relay, d);
	struct hm_control control = {
		.relayed = relayed,
		.bulk_rate = relay->program->bulk_rate,
		.backlog_limit = relay_backlog_limit(relay->program, d),
	};
	struct hm_flow row;

	if (elapsed < SETTLE_MS) {
		relay_step_in(relay, (uint32_t)(SETTLE_MS - elapsed));
		return;
	}
	if (control.bulk_rate &&
		(relayed - flow->mark_bytes) * 1000 / elapsed > control.bulk_rate / 2) {
		flow->mark_ms = now;
		flow->mark_bytes = relayed;
		relay_step_in(relay, SETTLE_MS);
		return;
	}
	if (!relay_look(relay, d, &row) || row.passed != relayed) {
		relay_step_in(relay, 1);
		return;
	}
	control.resumed = flow->resumed = flow->demotions = row.demotions;
	if (bpfctl_control_set(
		    relay_kernel(relay)->bpfctl, relay->state.halves[d].cookie, &control) < 0) {
		relay_step_in(relay, SETTLE_MS);
		return;
	}
	relay->state.halves[d].valve = VALVE_RESUMING;
	flow->mark_ms = now;
	relay_step_in(relay, RESUME_MS);
}

void relay_step_resuming(struct relay *relay, int d)
{
	struct relay_flow *flow = &relay->program->flows[d];
	uint64_t elapsed = relay_loop(relay)->now_ms - flow->mark_ms;
	struct hm_flow row;

	if (elapsed < RESUME_MS) {
		relay_step_in(relay, (uint32_t)(RESUME_MS - elapsed));
		return;
	}
	if (!relay_look(relay, d, &row) || row.demotions != flow->resumed ||
		row.passed != relay_relayed(relay, d)) {
		relay_begin_passing(relay, d, VALVE_PASSING);
		relay_step_in(relay, 0);
		return;
	}
	relay->state.halves[d].valve = VALVE_KERNEL;
	flow->mark_ms = 0;
	atomic_fetch_add(&relay_kernel(relay)->resumes, 1);
}

void relay_step_passing(struct relay *relay, int d)
{
	const struct relay_half *half = &relay->state.halves[d];
	enum relay_passed passed;

	if (!is_clear(relay, d))
		return;
	passed = relay_copy_passed(relay, d);
	if (passed != PASSED_ALL && passed != PASSED_END)
		return;
	if (half->valve == VALVE_PASSING && half->state == HALF_OPEN &&
		relay->state.phase < RELAY_BROKEN)
		consider_resume(relay, d);
}

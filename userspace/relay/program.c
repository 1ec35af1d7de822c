// SPDX-License-Identifier: Apache-2.0
/* What the files of the program's path share: counting, telling a node's program how far we are,
 * and noting that a source or a leg has ended. */
#include "relay/program.h"
#include "net/tcpinfo.h"

/* After a reset of one leg: for what had arrived from it to be written to the other. */
#define RESET_MS 2000

uint64_t relay_written_since(const struct relay *relay, int d)
{
	uint64_t written;

	return tcpinfo_written(relay->legs[relay_target(d)].fd, &written) < 0
		? 0
		: written - relay->program->flows[d].base_written;
}

void relay_bypass_allow(struct relay *relay)
{
	struct hm_control control = { .relayed = relay_relayed(relay, RELAY_DOWN) };

	/* If it cannot be said, all goes on passing, and is said with the next bytes. */
	if (bpfctl_control_set(relay_kernel(relay)->bpfctl, relay->state.halves[RELAY_DOWN].cookie,
		    &control) == 0)
		relay->program->flows[RELAY_DOWN].mark_bytes = control.relayed;
}

void relay_program_eof(struct relay *relay, int d)
{
	struct relay_half *half = &relay->state.halves[d];

	if (half->state != HALF_OPEN)
		return;
	half->state = HALF_ENDING;
	relay->polls = 0;
	if (relay->state.first_eof < 0)
		relay->state.first_eof = (int8_t)relay_source(d);
}

void relay_program_broken(struct relay *relay, int leg, ssize_t error)
{
	struct relay_state *state = &relay->state;

	if (state->phase >= RELAY_BROKEN)
		return;
	if (state->halves[relay_from(leg)].state == HALF_DONE) {
		relay_finish(relay, relay_error_of(leg, error));
		return;
	}
	state->phase = RELAY_BROKEN;
	state->end = (uint8_t)relay_error_of(leg, error);
	relay->program->reset_at_ms = clock_mono_ms() + RESET_MS;
	state->owed_until_ms = 0;
	loop_watch_del(&relay->watches[leg]);
	relay_step_in(relay, 0);
}

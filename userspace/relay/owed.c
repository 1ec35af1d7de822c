// SPDX-License-Identifier: Apache-2.0
/*
 * Ends on the program's path. The kernel propagates no end of stream: the target gets FIN once the
 * equation holds, bytes received equal bytes written. Closing earlier would drop the backlog.
 */
#include "relay/program.h"
#include "net/sock.h"
#include "net/tcpinfo.h"

#include <errno.h>

/* A packet that is being judged has been by then. */
#define UNASKED_POLLS 4

/* The target gets our end of stream. */
static void end_target(struct relay *relay, int d)
{
	int r = stream_shutdown(&relay->legs[relay_target(d)]);

	relay->state.halves[d].state = HALF_DONE;
	relay->state.owed_until_ms = 0;
	relay->polls = 0;
	if (r < 0 && r != -EPIPE)
		relay_program_broken(relay, relay_target(d), r);
}

static void keep_owed_clock(struct relay *relay, uint64_t written)
{
	struct relay_program *program = relay->program;
	bool progress = relay->state.owed_until_ms && written != program->owed_written;

	if (progress)
		relay->polls = 0;
	program->owed_written = written;
	relay_owed_clock(relay, true, progress);
	if (clock_mono_ms() >= relay->state.owed_until_ms)
		relay_give_up(relay);
}

/* All that came to us has been read; what the node wrote itself is where it belongs. */
static void step_owed_bypass(struct relay *relay)
{
	if (relay->io[RELAY_DOWN].pending.len)
		keep_owed_clock(relay, relay_written_since(relay, RELAY_DOWN));
	else if (!relay_bypass_client_lives(relay))
		relay_program_broken(relay, RELAY_CLIENT, -ECONNRESET);
	else {
		relay_count_bypassed(relay);
		end_target(relay, RELAY_DOWN);
	}
}

void relay_step_owed(struct relay *relay, int d)
{
	struct relay_half *half = &relay->state.halves[d];
	const struct relay_flow *flow = &relay->program->flows[d];
	struct tcpinfo_source source;
	uint64_t received, written;
	struct hm_flow row;

	if (half->valve == VALVE_BYPASS) {
		step_owed_bypass(relay);
		return;
	}
	if (tcpinfo_received(relay->legs[relay_source(d)].fd, &source) < 0) {
		relay_program_broken(relay, relay_source(d), -EPIPE);
		return;
	}
	/* A closed socket has counted its FIN, but does not say so any more. */
	received = source.received - source.closed - flow->base_read;
	written = relay_written_since(relay, d);
	if (received == written) {
		end_target(relay, d);
		return;
	}
	/* The program is not asked any more about what comes with the FIN of a socket that we had
	 * ended before: those bytes wait in the queue. (SIOCINQ does not show them on every
	 * kernel.) */
	if (half->valve == VALVE_KERNEL && relay->polls >= UNASKED_POLLS &&
		relay_look(relay, d, &row) &&
		written == flow->redirected + relay_relayed(relay, d) && received > written) {
		relay_begin_passing(relay, d, VALVE_TAKEN);
		half->clear = true;
		relay_step_passing(relay, d);
		relay_step_in(relay, 0);
		return;
	}
	keep_owed_clock(relay, written);
	if (!relay_has_ended(relay))
		relay_poll_again(relay);
}

/* What came from the leg that is gone has been written to the other. */
static bool all_written(struct relay *relay, int d)
{
	const struct relay_half *half = &relay->state.halves[d];

	if (relay->io[d].pending.len)
		return false;
	return half->valve == VALVE_BYPASS ? half->state != HALF_OPEN
					   : relay_written_since(relay, d) >=
			relay->program->flows[d].redirected + relay_relayed(relay, d);
}

void relay_step_reset(struct relay *relay)
{
	int leg = relay->state.end == RELAY_END_NODE_ERROR ? RELAY_NODE : RELAY_CLIENT;
	int d = relay_from(leg);
	struct hm_flow row;

	if (clock_mono_ms() >= relay->program->reset_at_ms || !relay_look(relay, d, &row) ||
		(all_written(relay, d) &&
			!tcpinfo_owes(relay->legs[relay_target(d)].fd))) /* close() may reset it */
		relay_finish(relay, (enum relay_end)relay->state.end);
	else
		relay_poll_again(relay);
}

void relay_look_at_leg(struct relay *relay, int leg)
{
	int d = relay_from(leg), error;
	struct tcpinfo_source source;

	if (tcpinfo_received(relay->legs[leg].fd, &source) < 0)
		return;
	if (source.fin) {
		relay_program_eof(relay, d);
		return;
	}
	if (!source.closed)
		return;
	error = sock_error(relay->legs[leg].fd);
	/* not the end that both sides agreed on */
	if (error < 0 || relay->state.halves[!d].state != HALF_DONE)
		relay_program_broken(relay, leg, error < 0 ? error : -ECONNRESET);
	else
		relay_program_eof(relay, d);
}

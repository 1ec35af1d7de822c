// SPDX-License-Identifier: Apache-2.0
/*
 * How a direction that user space moves ends: its source has said so, or is broken, or cannot be
 * followed; then what is left is sent, and the target gets our end of stream, clean only if all of
 * it is whole (SES-84). Moves no bytes itself.
 */
#include "relay/frame.h"
#include "net/sock.h"
#include "net/tcpinfo.h"
#include "relay/ktls_stream.h"

#include <errno.h>

/* How much later than its client a node may end a session that both agreed to end. */
#define QUIT_MS 100

void relay_update_owed(struct relay *relay, bool progress)
{
	const struct relay_state *state = &relay->state;
	bool owed = state->phase != RELAY_FLOWS ||
		(state->one_way && state->halves[RELAY_DOWN].state == HALF_DONE);

	for (int d = 0; d < 2; d++)
		owed |= state->halves[d].state == HALF_ENDING ||
			(state->halves[d].closing && relay->io[d].pending.len);
	relay_owed_clock(relay, owed, progress);
}

void relay_leg_broken(struct relay *relay, int leg, ssize_t error)
{
	struct relay_state *state = &relay->state;
	struct relay_half *from = &state->halves[relay_from(leg)];
	struct relay_half *to = &state->halves[!relay_from(leg)];

	if (state->parting && leg == RELAY_NODE && error == -EPIPE) {
		/* what the client still says has nowhere to go; the goodbye is on its way, and
		 * nothing has failed */
		if (state->phase == RELAY_FAILING)
			state->phase = RELAY_FLOWS;
		if (state->first_eof < 0)
			state->first_eof = RELAY_UP;
		to->state = HALF_DONE;
		relay_drop_pending(&relay->io[!relay_from(leg)].pending);
		return;
	}
	if (state->phase < RELAY_BROKEN) {
		state->phase = RELAY_BROKEN;
		state->end = (uint8_t)relay_error_of(leg, error);
	}
	to->state = HALF_DONE;
	relay_drop_pending(&relay->io[!relay_from(leg)].pending);
	if (from->state == HALF_OPEN) {
		from->state = HALF_ENDING;
		from->cut = HALF_CUT;
	}
	loop_watch_del(&relay->watches[leg]);
	relay_later(relay, 0); /* the other direction may have had its turn */
	relay_update_owed(relay, false);
}

/* ---- the source ---- */

/* Whether a direction ended by itself, with everything that belongs to it. */
static bool ended_whole(const struct relay *relay, int d)
{
	const struct relay_half *half = &relay->state.halves[d];

	return half->state != HALF_OPEN && half->cut == HALF_WHOLE && !relay->io[d].pending.len;
}

/*
 * Many clients hang up without close_notify when the node has ended the session (IMAP LOGOUT, POP3
 * and SMTP QUIT), and then nothing of theirs can be missing to it. Their FIN often overtakes the
 * node's by a moment, so the node hears of it a little later, unless it ends by itself until then.
 * How a session is said to have ended depends on it alone: a node that still reads never sees a
 * clean end (SES-84).
 */
static void judge_truncation(struct relay *relay, int d)
{
	struct relay_state *state = &relay->state;
	struct relay_half *up = &state->halves[RELAY_UP];

	if (state->phase >= RELAY_BROKEN || up->cut == HALF_WHOLE || up->state != HALF_ENDING)
		return;
	if (ended_whole(relay, RELAY_DOWN)) {
		up->cut = HALF_QUIT;
		state->quit_at_ms = 0;
		state->first_eof = RELAY_NODE;
	} else if (d == RELAY_UP && state->halves[RELAY_DOWN].state == HALF_OPEN) {
		state->quit_at_ms = clock_mono_ms() + QUIT_MS;
	}
}

/* Both directions end, as cleanly as it goes. */
void relay_keys_used_up(struct relay *relay)
{
	struct relay_state *state = &relay->state;

	state->phase = MAX(state->phase, (uint8_t)RELAY_KEYS_CHANGED);
	atomic_fetch_add(&relay_kernel(relay)->key_updates, 1);
	for (int d = 0; d < 2; d++) {
		if (state->halves[d].state == HALF_OPEN)
			state->halves[d].state = HALF_ENDING;
	}
}

void relay_source_ended(struct relay *relay, int d, ssize_t n)
{
	struct relay_state *state = &relay->state;
	struct relay_half *half = &state->halves[d];

	if (n == -EKEYEXPIRED) {
		relay_keys_used_up(relay);
		return;
	}
	if (n != STREAM_EOF && n != -ECONNABORTED) {
		relay_leg_broken(relay, relay_source(d), n);
		return;
	}
	if (state->first_eof < 0)
		state->first_eof = (int8_t)relay_source(d);
	half->cut = n == -ECONNABORTED ? HALF_CUT : HALF_WHOLE;
	half->state = HALF_ENDING;
	relay->io[d].read_want = 0;
	judge_truncation(relay, d);
}

/* ---- the target ---- */

void relay_end_target(struct relay *relay, int d)
{
	struct relay_half *half = &relay->state.halves[d];
	struct stream *target = &relay->legs[relay_target(d)];
	struct relay_io *io = &relay->io[d];
	int r;

	if (io->pending.len)
		return;
	r = half->cut != HALF_WHOLE ? stream_cut(target) : stream_shutdown(target);
	if (r == -EAGAIN) {
		io->write_want = target->want;
		relay->retry |= !target->want;
		return;
	}
	io->write_want = 0;
	half->state = HALF_DONE;
	if (r < 0 && r != -ENOTCONN && r != -EPIPE)
		relay_leg_broken(relay, relay_target(d), r);
	else
		relay_update_owed(relay, true);
}

uint64_t relay_waits_for_node(struct relay *relay)
{
	struct relay_state *state = &relay->state;
	uint64_t now = clock_mono_ms();

	if (!state->quit_at_ms || state->phase >= RELAY_BROKEN || now >= state->quit_at_ms ||
		state->halves[RELAY_DOWN].state != HALF_OPEN)
		state->quit_at_ms = 0;
	return state->quit_at_ms ? state->quit_at_ms - now : 0;
}

/* Closing a socket with unread bytes resets it, which drops what it still has to send. Kernel TLS
 * keeps the beginning of a record whose rest never came, and gives it to nobody. */
static bool would_be_reset(const struct stream *leg)
{
	return ktls_stream_is(leg) && sock_unread(leg->fd) > 0;
}

bool relay_still_queued(struct relay *relay)
{
	const struct relay_state *state = &relay->state;
	bool owes = false;

	for (int leg = 0; leg < 2; leg++) {
		const struct stream *stream = &relay->legs[leg];

		if (state->phase != RELAY_FLOWS || would_be_reset(stream))
			owes |= tcpinfo_owes(stream->fd);
	}
	relay_owed_clock(relay, owes, false);
	relay->retry |= owes;
	return owes; /* until the clock says so, at the most */
}

/* All that is still to come to a leg is here or in its socket: the other side has said its last. */
static bool waits_for_peer(const struct relay *relay, int leg)
{
	int d = !relay_from(leg);
	const struct relay_half *half = &relay->state.halves[d];

	return half->state != HALF_OPEN || (half->closing && relay->io[d].pending.len);
}

void relay_look_at_owed(struct relay *relay)
{
	struct relay_state *state = &relay->state;
	uint32_t acked = 0;

	if (!state->owed_until_ms)
		return;
	for (int leg = 0; leg < 2; leg++) {
		if (waits_for_peer(relay, leg))
			acked += tcpinfo_acked(relay->legs[leg].fd);
	}
	if (acked == state->owed_acked)
		return;
	if (state->owed_acked)
		state->last_ms = relay_loop(relay)->now_ms;
	state->owed_acked = acked;
	relay->polls = 0;
	relay_owed_clock(relay, true, true);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * How a relay ends, whatever moves its bytes: closing, the report from the loop, what the end is
 * called, and the two limits that end it: no byte in either direction (idle), and no progress while
 * the rest of a closed side is sent (owed).
 */
#include "relay/frame.h"
#include "net/sock.h"

#include <errno.h>
#include <sys/socket.h>

/* What an agent has for close_notify and FIN. */
#define PART_MS 1000

enum relay_end relay_error_of(int leg, ssize_t error)
{
	if (error == -ETIMEDOUT)
		return RELAY_END_KEEPALIVE;
	return leg == RELAY_CLIENT ? RELAY_END_CLIENT_ERROR : RELAY_END_NODE_ERROR;
}

enum relay_end relay_clean_end(const struct relay *relay)
{
	const struct relay_state *state = &relay->state;

	if (state->parting)
		return (enum relay_end)(state->parting - 1);
	if (state->phase >= RELAY_BROKEN)
		return (enum relay_end)state->end;
	if (state->phase == RELAY_KEYS_CHANGED)
		return RELAY_END_KEY_UPDATE;
	if (state->halves[RELAY_UP].cut == HALF_CUT || state->halves[RELAY_DOWN].cut == HALF_CUT)
		return RELAY_END_TRUNCATED;
	return state->first_eof == RELAY_NODE ? RELAY_END_NODE_EOF : RELAY_END_CLIENT_EOF;
}

/* ---- closing ---- */

void relay_close(struct relay *relay, enum relay_end end)
{
	relay->state.phase = RELAY_ENDED;
	relay->state.end = (uint8_t)end;
	relay_remove_rows(relay);
	relay_unregister(relay);
	for (int i = 0; i < 2; i++) {
		loop_watch_forget(&relay->watches[i]);
		stream_close(&relay->legs[i]);
		relay_drop_pending(&relay->io[i].pending);
	}
	relay_scratch_wipe();
	loop_timer_del(relay_loop(relay), &relay->timer);
	relay->turn_at_ms = 0;
	relay_check(relay);
}

void relay_finish(struct relay *relay, enum relay_end end)
{
	if (relay_has_ended(relay))
		return;
	if (relay->state.parting) /* however the goodbye went */
		end = (enum relay_end)(relay->state.parting - 1);
	relay_close(relay, end);
	relay_later(relay, 0);
}

void relay_give_up(struct relay *relay)
{
	for (int i = 0; i < 2; i++)
		sock_abort_on_close(relay->legs[i].fd);
	relay_finish(relay, relay_clean_end(relay));
}

/* What both have to say is bytes to us, so the end of one direction is all that can be said. */
void relay_part(struct relay *relay, enum relay_end end)
{
	struct relay_state *state = &relay->state;

	if (relay_has_ended(relay) || state->parting)
		return;
	state->parting = (uint8_t)(1 + end);
	state->idle_ms = PART_MS;
	state->last_ms = clock_mono_ms();
	shutdown(relay->legs[RELAY_NODE].fd, SHUT_WR);
	relay_arm_timer(relay);
}

/* ---- turns and limits ---- */

/* When the first limit is reached, as far as is known. */
static uint64_t limit_at_ms(const struct relay_state *state)
{
	uint64_t idle_at_ms = state->last_ms + state->idle_ms;

	return state->owed_until_ms ? MIN(idle_at_ms, state->owed_until_ms) : idle_at_ms;
}

/* False when it has ended: more may have moved than is known. */
static bool is_within_limits(struct relay *relay)
{
	const struct relay_state *state = &relay->state;
	uint64_t now = clock_mono_ms();

	if (now < limit_at_ms(state))
		return true;
	if (relay->mover->refresh)
		relay->mover->refresh(relay);
	if (state->owed_until_ms && now >= state->owed_until_ms)
		relay_give_up(relay);
	else if (now >= state->last_ms + state->idle_ms && relay->parts && !state->parting)
		relay_part(relay, RELAY_END_IDLE);
	else if (now >= state->last_ms + state->idle_ms)
		relay_finish(relay, state->parting ? relay_clean_end(relay) : RELAY_END_IDLE);
	return !relay_has_ended(relay);
}

bool relay_has_begun_to_end(const struct relay *relay)
{
	for (int d = 0; d < 2; d++) {
		if (relay->state.halves[d].state != HALF_OPEN || relay->state.halves[d].closing)
			return true;
	}
	return relay->state.phase != RELAY_FLOWS || relay->state.parting;
}

void relay_want_program(struct relay *relay)
{
	relay->arms_later = false;
	relay->may_arm = !relay_has_begun_to_end(relay);
}

/* Limits come first: a mover may ask for turns without end until one of them is reached. */
static void on_timer(struct timer *timer)
{
	struct relay *relay = container_of(timer, struct relay, timer);
	uint64_t now;
	bool turn;

	if (relay_has_ended(relay)) {
		relay->done(relay, relay->arg, (enum relay_end)relay->state.end);
		return;
	}
	if (!is_within_limits(relay))
		return;
	now = clock_mono_ms();
	turn = relay->turn_at_ms && now >= relay->turn_at_ms;
	if (turn)
		relay->turn_at_ms = 0;
	if (relay->arms_later && now >= relay->program->arm_at_ms) {
		relay_want_program(relay);
		turn = true;
	}
	relay_arm_timer(relay);
	if (turn)
		relay->mover->turn(relay);
}

void relay_arm_timer(struct relay *relay)
{
	uint64_t at = limit_at_ms(&relay->state), now = clock_mono_ms();

	if (relay->turn_at_ms)
		at = MIN(at, relay->turn_at_ms);
	if (relay->arms_later)
		at = MIN(at, relay->program->arm_at_ms);
	loop_timer_set(relay_loop(relay), &relay->timer, at > now ? at - now : 0, on_timer);
}

void relay_later(struct relay *relay, uint64_t ms)
{
	relay->turn_at_ms = clock_mono_ms() + ms;
	relay_arm_timer(relay);
}

void relay_owed_clock(struct relay *relay, bool owed, bool progress)
{
	struct relay_state *state = &relay->state;

	if (!owed) {
		state->owed_until_ms = 0;
		state->owed_acked = 0;
	} else if (progress || !state->owed_until_ms) {
		bool armed = state->owed_until_ms != 0;

		state->owed_until_ms = clock_mono_ms() + state->owed_ms;
		if (!armed)
			relay_arm_timer(relay);
	}
}

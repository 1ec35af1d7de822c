// SPDX-License-Identifier: Apache-2.0
/*
 * How a relay ends, whatever moves its bytes: closing, the report from the loop, what the end is
 * called, and the two limits that end it: no byte in either direction (idle), and no progress while
 * the rest of a closed side is sent (owed).
 */
#include "relay/frame.h"
#include "net/sock.h"

#include <errno.h>

enum relay_end relay_error_of(int leg, ssize_t error)
{
	if (error == -ETIMEDOUT)
		return RELAY_END_KEEPALIVE;
	return leg == RELAY_CLIENT ? RELAY_END_CLIENT_ERROR : RELAY_END_NODE_ERROR;
}

enum relay_end relay_clean_end(const struct relay *relay)
{
	const struct relay_state *state = &relay->state;

	if (state->phase >= RELAY_BROKEN)
		return (enum relay_end)state->end;
	if (state->phase == RELAY_KEYS_CHANGED)
		return RELAY_END_KEY_UPDATE;
	if (state->halves[RELAY_UP].cut == HALF_CUT || state->halves[RELAY_DOWN].cut == HALF_CUT)
		return RELAY_END_TRUNCATED;
	return state->first_eof == RELAY_NODE ? RELAY_END_NODE_EOF : RELAY_END_CLIENT_EOF;
}

/* ---- closing ---- */

static void on_turn(struct timer *timer)
{
	struct relay *relay = container_of(timer, struct relay, turn_timer);

	if (relay_has_ended(relay))
		relay->done(relay, relay->arg, (enum relay_end)relay->state.end);
	else
		relay->mover->turn(relay);
}

void relay_later(struct relay *relay, uint64_t ms)
{
	loop_timer_set(relay_loop(relay), &relay->turn_timer, ms, on_turn);
}

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
	loop_timer_del(relay_loop(relay), &relay->limit_timer);
	loop_timer_del(relay_loop(relay), &relay->turn_timer);
	relay_check(relay);
}

void relay_finish(struct relay *relay, enum relay_end end)
{
	if (relay_has_ended(relay))
		return;
	relay_close(relay, end);
	relay_later(relay, 0);
}

void relay_give_up(struct relay *relay)
{
	for (int i = 0; i < 2; i++)
		sock_abort_on_close(relay->legs[i].fd);
	relay_finish(relay, relay_clean_end(relay));
}

/* ---- limits ---- */

static void on_limit(struct timer *timer)
{
	struct relay *relay = container_of(timer, struct relay, limit_timer);
	const struct relay_state *state = &relay->state;
	uint64_t now = clock_mono_ms();

	if (relay->mover->refresh)
		relay->mover->refresh(relay);
	if (state->owed_until_ms && now >= state->owed_until_ms)
		relay_give_up(relay);
	else if (now >= state->last_ms + state->idle_ms)
		relay_finish(relay, RELAY_END_IDLE);
	else
		relay_arm_limit(relay);
}

void relay_arm_limit(struct relay *relay)
{
	const struct relay_state *state = &relay->state;
	uint64_t at = state->last_ms + state->idle_ms, now = clock_mono_ms();

	if (state->owed_until_ms)
		at = MIN(at, state->owed_until_ms);
	loop_timer_set(relay_loop(relay), &relay->limit_timer, at > now ? at - now : 0, on_limit);
}

void relay_owed_clock(struct relay *relay, bool owed, bool progress)
{
	struct relay_state *state = &relay->state;

	if (!owed) {
		state->owed_until_ms = 0;
	} else if (progress || !state->owed_until_ms) {
		bool armed = state->owed_until_ms != 0;

		state->owed_until_ms = clock_mono_ms() + state->owed_ms;
		if (!armed)
			relay_arm_limit(relay);
	}
}

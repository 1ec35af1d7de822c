// SPDX-License-Identifier: Apache-2.0
/* What state.h says of which fields mean something when, asserted in builds with sanitizers. */
#include "relay/frame.h"

#include <assert.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)

static enum relay_path path_of(enum half_valve valve)
{
	return valve == VALVE_BYPASS   ? RELAY_PATH_BYPASS
		: valve == VALVE_TAKEN ? RELAY_PATH_COPY
				       : RELAY_PATH_SOCKMAP;
}

static void check_half(const struct relay *relay, int d)
{
	const struct relay_half *half = &relay->state.halves[d];
	bool program = relay->has_program && relay->mover == relay->program->mover;

	assert(half->state != HALF_OPEN || half->cut == HALF_WHOLE);
	assert(half->state != HALF_DONE || !relay->io[d].pending.len);
	assert(half->cut != HALF_QUIT || d == RELAY_UP);
	assert(program == (half->valve != VALVE_NONE));
	assert(!half->clear || half->valve != VALVE_NONE);
	assert(half->valve != VALVE_BYPASS || d == RELAY_DOWN);
	if (program)
		assert(half->path == path_of((enum half_valve)half->valve));
	else
		assert(half->path >= RELAY_PATH_COPY && half->path <= RELAY_PATH_KTLS);
}

static void check_ended(const struct relay *relay)
{
	for (int i = 0; i < 2; i++) {
		assert(!stream_is_open(&relay->legs[i]));
		assert(!relay->watches[i].loop);
		assert(!relay->io[i].pending.data);
		assert(!relay->state.halves[i].cookie);
	}
	assert(!relay->handle && !relay->turn_at_ms);
}

void relay_check(const struct relay *relay)
{
	const struct relay_state *state = &relay->state;
	const struct relay_half *halves = state->halves;

	for (int d = 0; d < 2; d++)
		check_half(relay, d);
	assert(!relay->may_arm || (relay->has_program && relay->mover != relay->program->mover));
	assert(!relay->arms_later || (relay->has_program && !relay->may_arm));
	assert(!relay->arms_later || relay->mover != relay->program->mover);
	assert(!relay->has_program || !relay->program->reset_at_ms || state->phase >= RELAY_BROKEN);
	assert(timer_armed(&relay->timer) == (state->phase != RELAY_ENDED));
	assert(!state->owed_acked || state->owed_until_ms);
	assert(!state->quit_at_ms || halves[RELAY_UP].cut == HALF_CUT);
	switch ((enum relay_phase)state->phase) {
	case RELAY_FLOWS:
		assert(state->first_eof >= 0 ||
			(halves[0].state == HALF_OPEN && halves[1].state == HALF_OPEN));
		break;
	case RELAY_KEYS_CHANGED:
		assert(halves[0].state != HALF_OPEN && halves[1].state != HALF_OPEN);
		break;
	case RELAY_FAILING: /* within one call only */
		assert(false);
		break;
	case RELAY_BROKEN:
		assert(state->end == RELAY_END_CLIENT_ERROR || state->end == RELAY_END_NODE_ERROR ||
			state->end == RELAY_END_KEEPALIVE);
		break;
	case RELAY_ENDED:
		check_ended(relay);
	}
}

#endif

// SPDX-License-Identifier: Apache-2.0
/* When the program takes a session of the torture: drawn, and whether it had to. */
#ifndef TESTS_RELAY_ARMING_H
#define TESTS_RELAY_ARMING_H

#include "relay/frame.h"
#include "far.h"

/* For so long those that are to be armed in the middle of what they say go on with it. */
#define ARMING_TALK_MS 200

enum arming {
	ARMS_AT_ONCE,
	ARMS_SOON, /* in the middle of what is said */
	ARMS_BUSY, /* only if it is much */
	ARMINGS
};

static inline enum arming arming_draw(void)
{
	return (enum arming)random_below(ARMINGS);
}

static inline uint32_t arming_ms(enum arming arming, uint32_t longest_ms)
{
	return arming == ARMS_AT_ONCE ? 0 : arming == ARMS_SOON ? 1 + random_below(30) : longest_ms;
}

/* Whether it may end without the program: it had more time than it has taken, or has begun to end,
 * or never was without a byte. */
static inline bool arming_may_do_without(const struct relay *relay)
{
	const struct relay_half *halves = relay->state.halves;

	return relay->arms_later || relay->may_arm || relay->state.phase != RELAY_FLOWS ||
		halves[0].state != HALF_OPEN || halves[1].state != HALF_OPEN || halves[0].closing ||
		halves[1].closing;
}

#endif

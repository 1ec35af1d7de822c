// SPDX-License-Identifier: Apache-2.0
/* The guard's settings as they are without configuration, but smaller tables. */
#ifndef TESTS_GUARD_DEFAULTS_H
#define TESTS_GUARD_DEFAULTS_H

#include "guard/guard.h"

#define SECOND 1000ULL
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)

static const struct guard_settings guard_defaults = {
	.ban_after = 10,
	.ban_window_ms = 10 * MINUTE,
	.ban_time_ms = 10 * MINUTE,
	.ban_time_max_ms = 24 * HOUR,
	.spare_active = 10,
	.penalty_ms = 2 * SECOND,
	.penalty_max_ms = 15 * SECOND,
	.ipv4_prefix = 32,
	.ipv6_prefix = 64,
	.max_bans = 1000,
	.max_sources = 1000,
};

#endif

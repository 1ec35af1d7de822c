// SPDX-License-Identifier: Apache-2.0
/*
 * The breaker of one node (sessions.md section 8.1). Thread-safe: all workers report to it.
 * It logs nothing; transitions are returned so that the caller can.
 */
#ifndef NODE_HEALTH_H
#define NODE_HEALTH_H

#include "net/addr.h"

struct health_params {
	unsigned down_threshold;   /* 0 = off */
	unsigned down_min_clients; /* 0 = no need of distinct clients */
	uint64_t cooldown_ms;
};

enum health_event {
	HEALTH_SUCCESS,
	HEALTH_FAIL_HOST,   /* attributed to the node */
	HEALTH_FAIL_CLIENT, /* attributed to the client's address */
	HEALTH_NONE,        /* client left, kick, loop, no leg: ends a probe without a verdict */
};

enum health_change { HEALTH_SAME, HEALTH_WENT_DOWN, HEALTH_WENT_UP };

/* ALLOW: go on; PROBE: go on, and this session is the one probe: it must report exactly once. */
enum health_gate { HEALTH_ALLOW, HEALTH_PROBE, HEALTH_REFUSE };

struct health_status {
	unsigned consecutive_failures, failure_sources;
	bool host_level_failure, down, probing;
	uint64_t down_for_ms; /* rest of the cooldown */
};

struct health;
MUST_USE int health_new(const struct health_params *params, struct health **ret_health);
void health_free(struct health *health);
void health_set_params(struct health *health, const struct health_params *params);

enum health_gate health_enter(struct health *health, const struct addr *client, uint64_t now_ms);
/* probe: what health_enter() said was HEALTH_PROBE. Every session that entered reports once. */
enum health_change health_report(struct health *health, enum health_event event, bool probe,
	const struct addr *client, uint64_t now_ms);
void health_status(struct health *health, uint64_t now_ms, struct health_status *ret_status);
void health_reset(struct health *health);

#endif

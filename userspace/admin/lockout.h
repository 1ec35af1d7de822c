// SPDX-License-Identifier: Apache-2.0
/* Failed tokens per address (ADM-14, ADM-15). Control thread. */
#ifndef ADMIN_LOCKOUT_H
#define ADMIN_LOCKOUT_H

#include "net/addr.h"

struct lockout;

MUST_USE int lockout_new(unsigned threshold, uint64_t duration_ms, struct lockout **ret_lockout);
void lockout_free(struct lockout *lockout);
/* For failures from now on; who is locked out stays so. */
void lockout_set(struct lockout *lockout, unsigned threshold, uint64_t duration_ms);
/* Seconds until the address may try again, rounded up; 0 = now. */
uint64_t lockout_remaining_s(struct lockout *lockout, const struct addr *peer, uint64_t now_ms);
void lockout_failure(struct lockout *lockout, const struct addr *peer, uint64_t now_ms);
/* Addresses that are locked out now. */
uint64_t lockout_count(const struct lockout *lockout, uint64_t now_ms);
void lockout_success(struct lockout *lockout, const struct addr *peer);

#endif

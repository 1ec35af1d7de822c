// SPDX-License-Identifier: Apache-2.0
/*
 * Who came to an agent's port and was neither a router nor had a token of one (HND-32), by address:
 * IPv4, or IPv6 by /64. So many addresses as fit are remembered, those that came most often: a new
 * one takes the place of the one that came least, of those the one that was heard of longest ago.
 * For an operator's eyes; nobody is refused for being here. Thread-safe.
 */
#ifndef ROUTER_STRANGERS_H
#define ROUTER_STRANGERS_H

#include "net/addr.h"

#include <stddef.h>
#include <stdint.h>

#define STRANGERS_MAX 256

struct strangers;
struct stranger {
	struct addr addr;
	uint64_t count; /* since it was remembered */
	uint64_t last_real_ms;
};

MUST_USE int strangers_new(struct strangers **ret_strangers); /* 0 or -ENOMEM */
void strangers_free(struct strangers *strangers);             /* NULL is fine */
void strangers_count(struct strangers *strangers, const struct addr *addr, uint64_t now_real_ms);
/* Those that came most often, that one first. Returns how many, up to max. */
size_t strangers_worst(struct strangers *strangers, struct stranger *ret_worst, size_t max);
/* The address, with /64 where it stands for that. Returns text. */
#define STRANGER_TEXT_SIZE (ADDR_TEXT_SIZE + 4)
const char *stranger_format(const struct stranger *stranger, char text[STRANGER_TEXT_SIZE]);

#endif

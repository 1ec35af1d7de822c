// SPDX-License-Identifier: Apache-2.0
/*
 * The guard's bans and networks in the kernel's maps. A ban of a source is a row of the bans; one
 * of another prefix, with the networks that are never banned and the deny list, a line of the
 * lists. Bans of addresses that were told (a PROXY header, XCLIENT) stay out: packets have others
 * (GRD-3).
 *
 * Bans of sources are written on the thread that bans; lists, which are written as a whole, by
 * guard_mirror_write_lists() on the control thread.
 */
#ifndef CONTROL_GUARD_MIRROR_H
#define CONTROL_GUARD_MIRROR_H

#include "bpfctl/guard.h"
#include "guard/guard.h"

#include <pthread.h>
#include <stdatomic.h>

struct guard_mirror {
	struct bpfctl_guard *maps; /* borrowed */
	struct guard *guard;       /* borrowed */
	unsigned ipv4_bits, ipv6_bits;
	size_t max_lines;
	pthread_mutex_t lock; /* around a look at a ban and what follows from it */
	atomic_bool lists_stale;
};

/* ipv4_bits, ipv6_bits: those that the guard cuts its sources to. */
void guard_mirror_init(struct guard_mirror *mirror, struct bpfctl_guard *maps, unsigned ipv4_bits,
	unsigned ipv6_bits, size_t max_lines);
void guard_mirror_fini(struct guard_mirror *mirror);
/* From now on bans reach the kernel. Before others use the guard. Returns 0 or -errno. */
MUST_USE int guard_mirror_start(struct guard_mirror *mirror, struct guard *guard);
/* After guard_set_never(): what a process before has left in the maps are bans of the guard again,
 * with the rest of their time (GRD-8). Returns how many. */
size_t guard_mirror_restore(struct guard_mirror *mirror);
/* If something has changed. Without room for all, banned prefixes are left out and logged. */
void guard_mirror_write_lists(struct guard_mirror *mirror);

/* A network as a key of the bans; false: it is not what the guard cuts sources to. */
bool guard_mirror_source(const struct guard_mirror *mirror, const struct cidr *net,
	struct hm_guard_source *ret_source);
/* A network as a key of the lists. */
void guard_mirror_prefix(const struct cidr *net, struct hm_guard_prefix *ret_prefix);
/* "192.0.2.1", "2001:db8::/64". Returns text. */
const char *guard_mirror_text(const struct cidr *net, char text[HM_GUARD_CLIENT_BYTES]);
/* The other way round; false for bits that no network has. */
bool guard_mirror_net(const struct hm_guard_prefix *prefix, struct cidr *ret_net);

#endif

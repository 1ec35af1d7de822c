// SPDX-License-Identifier: Apache-2.0
/*
 * The guard in the kernel (bpf/guard.bpf.c): load, pin, its maps as functions, the link of the
 * socket lookup on this network namespace. XDP is guard_xdp.h's. Loaded once, before privileges are
 * dropped; what is not said to need rights works afterwards too, by the descriptors (GRD-7).
 *
 * What ends with the process: the socket lookup and the bpf_links. An XDP program behind libxdp's
 * dispatcher stays and passes everything from bpfctl_guard_free() or the last heartbeat's end on.
 * The pins stay, and the next load takes the bans over from them.
 *
 * Everything belongs to one thread (the control thread), but for bpfctl_guard_ban_set(), _get() and
 * _remove(), which any may call.
 */
#ifndef BPFCTL_GUARD_H
#define BPFCTL_GUARD_H

#include "bpfctl/bpfctl.h"

#include <stdbool.h>

#include "homing/guard.h"

struct bpfctl_guard;

struct bpfctl_guard_params {
	const char *pin_path; /* NULL: no pins, and nothing is taken over */
	unsigned max_bans;
	unsigned max_sources; /* whose rates are counted: the least recently seen goes */
	unsigned max_rules;   /* prefixes of the lists and banned ones */
	unsigned max_services;
};

/* error: why it cannot be used, for the operator. Needs rights. Until the first heartbeat
 * everything passes. Returns 0 or -errno. */
MUST_USE int bpfctl_guard_load(const struct bpfctl_guard_params *params,
	struct bpfctl_guard **ret_guard, char error[BPFCTL_ERROR_SIZE]);
/* Also detaches what ends with the process, and leaves the rest inert. NULL is fine. */
void bpfctl_guard_free(struct bpfctl_guard *guard);
/* Why nothing is pinned, or NULL if it is (or was not asked for). */
const char *bpfctl_guard_pin_error(const struct bpfctl_guard *guard);

/* The socket lookup of this network namespace. Needs rights. Returns 0 or -errno. */
MUST_USE int bpfctl_guard_lookup_attach(struct bpfctl_guard *guard, char error[BPFCTL_ERROR_SIZE]);

/* Takes everything but the heartbeat and the number of devices; the programs see each member at
 * once. No system call. */
void bpfctl_guard_configure(struct bpfctl_guard *guard, const struct hm_guard_config *config);
/* From now on the programs act, until then. 0: they pass everything. No system call. */
void bpfctl_guard_beat(struct bpfctl_guard *guard, __u64 alive_until_ns);

/* The whole set, at most max_services; only differences are written, what is new first. Returns 0
 * or -errno (-E2BIG: too many, and nothing was changed). */
MUST_USE int bpfctl_guard_services_set(
	struct bpfctl_guard *guard, const struct hm_guard_service *services, size_t count);

struct bpfctl_guard_line {
	struct hm_guard_prefix prefix; /* what is beyond bits must be 0 */
	struct hm_guard_rule rule;
};
/* Likewise the lists, with the banned prefixes among them. Of two lines with one prefix the later
 * one counts. */
MUST_USE int bpfctl_guard_lists_set(
	struct bpfctl_guard *guard, const struct bpfctl_guard_line *lines, size_t count);
typedef void bpfctl_guard_line_fn(void *arg, const struct bpfctl_guard_line *line);
/* The lines that are there, also those taken over from the last process: banned prefixes. Returns 0
 * or -errno. */
MUST_USE int bpfctl_guard_lists_scan(
	struct bpfctl_guard *guard, bpfctl_guard_line_fn *fn, void *arg);

/* source: cut to the configured bits, or it is never found. Keeps what the programs have counted of
 * a ban that is there. Returns 0 or -errno (-E2BIG: full). */
MUST_USE int bpfctl_guard_ban_set(struct bpfctl_guard *guard, const struct hm_guard_source *source,
	const struct hm_guard_ban *ban);
/* Returns 0 or -ENOENT. */
MUST_USE int bpfctl_guard_ban_get(struct bpfctl_guard *guard, const struct hm_guard_source *source,
	struct hm_guard_ban *ret_ban);
/* Nothing to remove is fine. */
void bpfctl_guard_ban_remove(struct bpfctl_guard *guard, const struct hm_guard_source *source);
/* All of them, also those taken over and those whose time is over. Bans that come and go meanwhile
 * may or may not be seen. Returns 0 or -errno. */
typedef void bpfctl_guard_ban_fn(
	void *arg, const struct hm_guard_source *source, const struct hm_guard_ban *ban);
MUST_USE int bpfctl_guard_bans_scan(struct bpfctl_guard *guard, bpfctl_guard_ban_fn *fn, void *arg);

/* Sums over all CPUs since load. Returns 0 or -errno. */
MUST_USE int bpfctl_guard_counts(
	struct bpfctl_guard *guard, struct hm_guard_count ret_counts[HM_GUARD_VERDICTS]);

/* Readable (EPOLLIN) when there are events. Borrowed. */
int bpfctl_guard_events_fd(const struct bpfctl_guard *guard);
typedef void bpfctl_guard_event_fn(void *arg, const struct hm_guard_event *event);
/* At most HM_GUARD_EVENTS_BYTES of them. */
void bpfctl_guard_events_consume(struct bpfctl_guard *guard, bpfctl_guard_event_fn *fn, void *arg);

#endif

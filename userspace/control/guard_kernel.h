// SPDX-License-Identifier: Apache-2.0
/*
 * The guard's programs in the kernel, as long as the router runs: loaded and attached before
 * privileges are dropped, alive while the guard is enabled, fed with its bans (guard_mirror.h), its
 * services (guard_services.h) and devices (guard_devices.h). Without them, or where they cannot be
 * had, the guard acts in user space alone. Control thread.
 */
#ifndef CONTROL_GUARD_KERNEL_H
#define CONTROL_GUARD_KERNEL_H

#include "bpfctl/guard_xdp.h"
#include "router/router.h"

struct guard_kernel;

/* Nothing without guard.enabled. Needs rights; what cannot be had is logged. config outlives it.
 * Returns NULL if there is nothing in the kernel. */
struct guard_kernel *guard_kernel_load(const struct config *config);
/* Nobody is banned in the kernel any more. NULL is fine. */
void guard_kernel_free(struct guard_kernel *kernel);

/* From now on it follows the guard. Before others use that. Returns 0 or -errno. */
MUST_USE int guard_kernel_start(
	struct guard_kernel *kernel, struct router *router, struct loop *loop, struct guard *guard);
/* After guard_set_never(): the router has another snapshot, or its first. enabled: false:
 * everything passes. */
void guard_kernel_follow(struct guard_kernel *kernel, bool enabled);
/* Before the loop and the guard go. Any number of times; NULL is fine. */
void guard_kernel_stop(struct guard_kernel *kernel);

/* ---- figures ---- */

/* As in metrics. */
const char *guard_kernel_verdict_name(enum hm_guard_verdict verdict);
/* Returns 0 or -errno. */
MUST_USE int guard_kernel_counts(
	struct guard_kernel *kernel, struct hm_guard_count ret_counts[HM_GUARD_VERDICTS]);
/* What the kernel has dropped of a ban's packets. It counts those of sources alone: 0 for other
 * prefixes, and for what is not banned there. */
uint64_t guard_kernel_dropped(struct guard_kernel *kernel, const struct cidr *net);
/* Whether the programs let everything pass. */
bool guard_kernel_is_inert(const struct guard_kernel *kernel);
/* Calls fn for every device that XDP is on. name: "" if it has just gone; mode: "native" or
 * "generic"; by: "dispatcher" or "link". */
typedef void guard_kernel_device_fn(void *arg, const char *name, const char *mode, const char *by);
void guard_kernel_devices(struct guard_kernel *kernel, guard_kernel_device_fn *fn, void *arg);

#endif

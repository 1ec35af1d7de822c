// SPDX-License-Identifier: Apache-2.0
/*
 * The guard's XDP program on network devices, through libxdp, whose dispatcher lets several
 * programs share a device; where no dispatcher is to be had, by a plain bpf_link. The only user of
 * libxdp. Somebody else's program without a dispatcher is never replaced (GRD-6).
 *
 * The dispatcher needs rights and outlives the process: guard_xdp_sweep() of the next one removes
 * what is left of it, guard_xdp_detach_all() whatever there is. A bpf_link needs
 * no rights, by the program's descriptor, and ends with the process.
 */
#ifndef BPFCTL_GUARD_XDP_H
#define BPFCTL_GUARD_XDP_H

#include "bpfctl/guard.h"

enum guard_xdp_mode { GUARD_XDP_NATIVE, GUARD_XDP_GENERIC, GUARD_XDP_AUTO };
enum guard_xdp_way { GUARD_XDP_DISPATCHER, GUARD_XDP_LINK };

struct guard_xdp_device {
	unsigned ifindex;
	enum guard_xdp_mode mode; /* native or generic */
	enum guard_xdp_way way;
	char why[BPFCTL_ERROR_SIZE]; /* it is not the better one; empty: it is */
	int link;                    /* owned; -1: the dispatcher's */
	__u32 program;               /* its id behind the dispatcher */
};

/* AUTO: native, and generic where the device refuses. Attached already: nothing happens. Returns 0,
 * or -errno with the reason in error (-EBUSY: somebody else's program). */
MUST_USE int guard_xdp_attach(struct bpfctl_guard *guard, unsigned ifindex,
	enum guard_xdp_mode mode, char error[BPFCTL_ERROR_SIZE]);
/* After attaching: removes from all dispatchers of this network namespace what the process before
 * or a dead one has left. Needs rights. Returns how many, or -errno with the reason in error. */
MUST_USE int guard_xdp_sweep(struct bpfctl_guard *guard, char error[BPFCTL_ERROR_SIZE]);
/* From now on, without rights, no dispatcher is tried. */
void guard_xdp_links_only(struct bpfctl_guard *guard);
/* A dispatcher's needs rights (-EPERM without); not attached is fine. Returns 0 or -errno. */
int guard_xdp_detach(struct bpfctl_guard *guard, unsigned ifindex);
/* The device is gone, and with it the attachment. */
void guard_xdp_forget(struct bpfctl_guard *guard, unsigned ifindex);
/* The devices that it is attached to. Borrowed until the next call. */
const struct guard_xdp_device *guard_xdp_devices(
	const struct bpfctl_guard *guard, size_t *ret_count);

/* Removes every guard from every dispatcher of this network namespace, of whatever process. Needs
 * rights. Returns how many there were, or -errno with the reason in error. */
MUST_USE int guard_xdp_detach_all(char error[BPFCTL_ERROR_SIZE]);

#endif

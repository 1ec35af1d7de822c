// SPDX-License-Identifier: Apache-2.0
/*
 * The network devices that the guard's XDP program is on: those of guard.interfaces that are there
 * at the start, by libxdp's dispatcher, and those that come later, by a link (GRD-1, GRD-6, GRD-7).
 * What is on which device and why not is logged. Control thread.
 */
#ifndef CONTROL_GUARD_DEVICES_H
#define CONTROL_GUARD_DEVICES_H

#include "bpfctl/guard_xdp.h"
#include "config/config.h"
#include "net/links.h"

struct guard_devices {
	struct bpfctl_guard *maps;         /* borrowed */
	const struct config_guard *config; /* borrowed: that of the start */
	struct links *links;               /* owned */
	struct link_observer observer;
};

/* Before privileges are dropped: attaches to what is there, and removes what a process before has
 * left on any device. */
void guard_devices_attach(struct guard_devices *devices, struct bpfctl_guard *maps,
	const struct config_guard *config);
/* Afterwards: follows devices on the loop. */
void guard_devices_watch(struct guard_devices *devices, struct loop *loop);
void guard_devices_stop(struct guard_devices *devices); /* any number of times */

/* "native" or "generic". */
const char *guard_devices_mode_name(enum guard_xdp_mode mode);

#endif

// SPDX-License-Identifier: Apache-2.0
/* What guard.c and guard_xdp.c share of a struct bpfctl_guard. */
#ifndef BPFCTL_GUARD_INSIDE_H
#define BPFCTL_GUARD_INSIDE_H

#include "bpfctl/guard_xdp.h"

#include <time.h>

struct guard; /* the skeleton's name */
struct ring_buffer;

struct bpfctl_guard {
	struct guard *skel;
	struct hm_guard_config *config; /* mapped */
	size_t config_bytes;
	int lookup_link; /* owned; -1: not attached */
	int services, lists, bans, counts;
	struct ring_buffer *events;
	bpfctl_guard_event_fn *event_fn; /* while they are consumed */
	void *event_arg;
	unsigned cpus, max_services, max_rules;
	struct hm_guard_count *per_cpu; /* one value */
	/* What is in the maps, in the order of their keys. */
	struct hm_guard_service *service_set;
	size_t service_count;
	struct bpfctl_guard_line *line_set;
	size_t line_count;
	__u32 config_before; /* id of that map of the process before; 0: none */
	struct guard_xdp_device *devices;
	size_t device_count;
	bool links_only;
	char pin_error[BPFCTL_ERROR_SIZE];
};

static inline __u64 guard_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (__u64)now.tv_sec * 1000000000 + (__u64)now.tv_nsec;
}

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The maps of a direction, which the splice program makes and the bypass program is given by user
 * space. Key of all three: the cookie of the direction's source socket. Their sizes are user
 * space's.
 */
#ifndef HOMING_FLOWS_H
#define HOMING_FLOWS_H

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "homing/flow.h"

/* No program is attached to it. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} hm_targets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct hm_flow);
} hm_flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, struct hm_control);
} hm_control SEC(".maps");

#endif

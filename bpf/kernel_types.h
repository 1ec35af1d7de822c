/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The kernel's own types, with the members that the programs read and no others. Where each member
 * is in the running kernel is found out when a program is loaded (CO-RE), so neither the offsets
 * here nor the machine that builds matter. What user space may see comes from linux/bpf.h.
 */
#ifndef HOMING_KERNEL_TYPES_H
#define HOMING_KERNEL_TYPES_H

#include <linux/bpf.h>

#define AS_IN_THE_KERNEL __attribute__((preserve_access_index))

struct sk_buff {
	char cb[48];
} AS_IN_THE_KERNEL;

struct tcp_sock {
	__u32 rcv_nxt;
	__u64 bytes_received;
	__u32 write_seq;
} AS_IN_THE_KERNEL;

#endif

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
	__u32 copied_seq;
	__u64 bytes_received;
	__u32 write_seq;
	__u32 snd_nxt;
	__u32 notsent_lowat;
} AS_IN_THE_KERNEL;

struct netns_ipv4 {
	__u32 sysctl_tcp_notsent_lowat;
} AS_IN_THE_KERNEL;

struct net {
	struct netns_ipv4 ipv4;
} AS_IN_THE_KERNEL;

typedef struct {
	struct net *net;
} AS_IN_THE_KERNEL possible_net_t;

struct proto {
	unsigned long *memory_pressure;
} AS_IN_THE_KERNEL;

struct sock_common {
	possible_net_t skc_net;
	struct proto *skc_prot;
} AS_IN_THE_KERNEL;

struct sock {
	struct sock_common __sk_common;
	int sk_wmem_queued;
	int sk_sndbuf;
} AS_IN_THE_KERNEL;

#endif

/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Gives each frame that it is run for another source and sends it out of a device: as a network
 * card's driver hands frames over, without a socket buffer.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ip.h>
#include <linux/tcp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define CHECKED 0xfff0 /* id and sequence number that the checksums were made with, for source 0 */

const volatile __u32 device, first, sources; /* first: the lower half of an address */

SEC("xdp")
int hm_synflood(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *ether = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(ether + 1);
	struct tcphdr *tcp = (void *)(ip + 1);
	__u16 source;

	if ((void *)(tcp + 1) > end)
		return XDP_DROP;
	/* What the address gains the other two lose, so that both checksums stay right. */
	source = (__u16)(first + bpf_get_prandom_u32() % sources);
	((__be16 *)&ip->saddr)[1] = bpf_htons(source);
	ip->id = bpf_htons(CHECKED - source);
	((__be16 *)&tcp->seq)[1] = bpf_htons(CHECKED - source);
	return bpf_redirect(device, 0);
}

char LICENSE[] SEC("license") = "Dual BSD/GPL";

// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The guard: who is banned does not get as far as accept(). One decision, asked at two places: XDP
 * on network devices, before the kernel has a buffer for the packet, and the socket lookup of the
 * network namespace, which sees only what no established connection takes (GRD-4).
 *
 * In doubt everything passes: what is not for an address and port of ours, what cannot be read (the
 * kernel puts fragments together and opens tunnels; the socket lookup sees the result), a rate that
 * several CPUs count at once, and everything while user space gives no sign of life.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <stdbool.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "homing/guard.h"

#define FAMILY_INET 2 /* AF_INET, whose header is the C library's */
#define VLAN_TAGS 2
#define EXTENSION_HEADERS 6
#define RATE_TRIES 3
#define FRAGMENT_OFFSET 0x1fff  /* RFC 791 section 3.1, in units of 8 octets */
#define FRAGMENT6_OFFSET 0xfff8 /* RFC 8200 section 4.5 */

char LICENSE[] SEC("license") = "Dual BSD/GPL";

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct hm_guard_config);
} guard_config SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct hm_guard_service);
	__type(value, __u32);
} guard_services SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct hm_guard_prefix);
	__type(value, struct hm_guard_rule);
} guard_lists SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, struct hm_guard_source);
	__type(value, struct hm_guard_ban);
} guard_bans SEC(".maps");

/* When the bucket of a source is full again (GCRA, ITU-T I.371). */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1);
	__type(key, struct hm_guard_source);
	__type(value, __u64);
} guard_rates SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HM_GUARD_VERDICTS);
	__type(key, __u32);
	__type(value, struct hm_guard_count);
} guard_counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, HM_GUARD_EVENTS_BYTES);
} guard_events SEC(".maps");

/* One packet, or one connection that is about to be made. */
struct packet {
	struct hm_guard_source source;
	struct hm_guard_service service;
	__u32 ifindex;
	__u32 bytes;
	bool v6, syn;
	bool lookup; /* the socket lookup asks, not XDP */
};

static __always_inline void count(enum hm_guard_verdict verdict, __u32 bytes)
{
	__u32 key = verdict;
	struct hm_guard_count *counted = bpf_map_lookup_elem(&guard_counts, &key);

	if (counted) {
		counted->packets++;
		counted->bytes += bytes;
	}
}

static __always_inline void set_v4(__u8 *addr, __be32 v4)
{
	__u32 *words = (__u32 *)addr;

	words[0] = 0;
	words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = v4;
}

static __always_inline void cut(
	struct hm_guard_source *source, const struct hm_guard_config *config, bool v6)
{
	__u32 bits = v6 ? config->ipv6_bits : 96 + config->ipv4_bits;
	__u32 *words = (__u32 *)source->addr;

#pragma unroll
	for (int i = 0; i < 4; i++) {
		if (bits >= 32 * (i + 1))
			continue;
		if (bits <= 32 * i)
			words[i] = 0;
		else
			words[i] &= bpf_htonl(0xffffffffu << (32 - (bits - 32 * i)));
	}
}

/* At 1, 2, 4, 8 ... so that 2^30 packets are 31 events. A full ring: the ban's own counter
 * holds. */
static __always_inline void report(
	const struct packet *packet, const __u8 *addr, __u64 now, __u64 dropped)
{
	struct hm_guard_event *event;

	if (dropped & (dropped - 1))
		return;
	event = bpf_ringbuf_reserve(&guard_events, sizeof(*event), 0);
	if (!event)
		return;
	__builtin_memcpy(event->addr, addr, sizeof(event->addr));
	event->ns = now;
	event->dropped = dropped;
	event->port = packet->service.port;
	event->verdict = HM_GUARD_BANNED;
	event->ifindex = packet->ifindex;
	bpf_ringbuf_submit(event, 0);
}

static __always_inline bool over_rate(
	const struct hm_guard_config *config, const struct hm_guard_source *source, __u64 now)
{
	__u64 *full_at = bpf_map_lookup_elem(&guard_rates, source);
	__u64 fresh = now + config->syn_cost_ns;

	if (!full_at) {
		bpf_map_update_elem(&guard_rates, source, &fresh, BPF_NOEXIST);
		return false;
	}
#pragma unroll
	for (int i = 0; i < RATE_TRIES; i++) {
		__u64 old = *(volatile __u64 *)full_at;

		fresh = (old > now ? old : now) + config->syn_cost_ns;
		if (fresh - now > config->syn_burst_ns)
			return true;
		if (__sync_val_compare_and_swap(full_at, old, fresh) == old)
			return false;
	}
	return false;
}

static __always_inline bool banned(struct packet *packet, const __u8 *addr, __u64 now)
{
	struct hm_guard_ban *ban = bpf_map_lookup_elem(&guard_bans, &packet->source);

	if (!ban || now >= ban->until_ns)
		return false;
	ban->last_ns = now;
	report(packet, addr, now, __sync_fetch_and_add(&ban->dropped, 1) + 1);
	return true;
}

/* Of a packet for one of our services, while the guard is alive. Cuts the source. */
static __always_inline enum hm_guard_verdict judge_source(
	const struct hm_guard_config *config, struct packet *packet, __u64 now)
{
	struct hm_guard_prefix prefix = { .bits = 128 };
	struct hm_guard_rule *rule;

	__builtin_memcpy(prefix.addr, packet->source.addr, sizeof(prefix.addr));
	rule = bpf_map_lookup_elem(&guard_lists, &prefix);
	if (rule && (!rule->until_ns || now < rule->until_ns))
		return rule->action == HM_GUARD_ALLOW ? HM_GUARD_ALLOWED : HM_GUARD_DENIED;
	cut(&packet->source, config, packet->v6);
	if (banned(packet, prefix.addr, now))
		return HM_GUARD_BANNED;
	if (packet->syn && config->syn_cost_ns && !(packet->lookup && config->xdp_devices) &&
		over_rate(config, &packet->source, now))
		return HM_GUARD_RATE;
	return packet->syn ? HM_GUARD_NEW : HM_GUARD_ESTABLISHED;
}

static __always_inline enum hm_guard_verdict judge(
	const struct hm_guard_config *config, struct packet *packet)
{
	__u64 now;

	if (!bpf_map_lookup_elem(&guard_services, &packet->service))
		return HM_GUARD_OTHER;
	if (!packet->syn && !config->scope_all)
		return HM_GUARD_ESTABLISHED;
	now = bpf_ktime_get_coarse_ns();
	return now > config->alive_until_ns ? HM_GUARD_INERT : judge_source(config, packet, now);
}

static __always_inline bool is_drop(enum hm_guard_verdict verdict)
{
	return verdict == HM_GUARD_BANNED || verdict == HM_GUARD_DENIED || verdict == HM_GUARD_RATE;
}

/* The decision: whether it is dropped. */
static __always_inline bool decide(struct packet *packet)
{
	__u32 zero = 0;
	const struct hm_guard_config *config = bpf_map_lookup_elem(&guard_config, &zero);
	enum hm_guard_verdict verdict;
	bool drop;

	if (!config)
		return false;
	verdict = judge(config, packet);
	drop = is_drop(verdict);
	if (drop || !packet->lookup || !config->xdp_devices)
		count(verdict, packet->bytes);
	return drop && !config->observe;
}

/* ---- packets ---- */

struct vlan_tag {
	__be16 tci;
	__be16 protocol;
};

struct fragment_header {
	__u8 next;
	__u8 reserved;
	__be16 offset;
	__be32 id;
};

struct option_header {
	__u8 next;
	__u8 length;
};

/* What is left to read, and what kind it is. */
struct cursor {
	void *at, *end;
	__be16 protocol;
	__u8 next;
};

/* Returns false if there is nothing to judge. */
static __always_inline bool pass_ethernet(struct cursor *cursor)
{
	struct ethhdr *ethernet = cursor->at;

	if ((void *)(ethernet + 1) > cursor->end)
		return false;
	cursor->at = ethernet + 1;
	cursor->protocol = ethernet->h_proto;
#pragma unroll
	for (int i = 0; i < VLAN_TAGS; i++) {
		struct vlan_tag *tag = cursor->at;

		if (cursor->protocol != bpf_htons(ETH_P_8021Q) &&
			cursor->protocol != bpf_htons(ETH_P_8021AD))
			break;
		if ((void *)(tag + 1) > cursor->end)
			return false;
		cursor->protocol = tag->protocol;
		cursor->at = tag + 1;
	}
	return true;
}

static __always_inline bool pass_v4(struct cursor *cursor, struct packet *packet)
{
	struct iphdr *ip = cursor->at;

	if ((void *)(ip + 1) > cursor->end || ip->protocol != IPPROTO_TCP || ip->ihl < 5)
		return false;
	if (ip->frag_off & bpf_htons(FRAGMENT_OFFSET)) {
		count(HM_GUARD_FRAGMENT, packet->bytes);
		return false;
	}
	set_v4(packet->source.addr, ip->saddr);
	set_v4(packet->service.addr, ip->daddr);
	cursor->at = (void *)ip + ip->ihl * 4;
	return true;
}

/* One extension header (RFC 8200 section 4; RFC 4302 section 2.2 counts in another unit). */
static __always_inline bool pass_extension(struct cursor *cursor, const struct packet *packet)
{
	struct option_header *option = cursor->at;
	struct fragment_header *fragment = cursor->at;

	if (cursor->next == IPPROTO_FRAGMENT) {
		if ((void *)(fragment + 1) > cursor->end)
			return false;
		if (fragment->offset & bpf_htons(FRAGMENT6_OFFSET)) {
			count(HM_GUARD_FRAGMENT, packet->bytes);
			return false;
		}
		cursor->next = fragment->next;
		cursor->at = fragment + 1;
		return true;
	}
	if (cursor->next != IPPROTO_HOPOPTS && cursor->next != IPPROTO_ROUTING &&
		cursor->next != IPPROTO_DSTOPTS && cursor->next != IPPROTO_AH)
		return false;
	if ((void *)(option + 1) > cursor->end)
		return false;
	cursor->at +=
		(cursor->next == IPPROTO_AH ? (option->length + 2) * 4 : (option->length + 1) * 8) &
		0xfff; /* tells the verifier the bound */
	cursor->next = option->next;
	return true;
}

static __always_inline bool pass_v6(struct cursor *cursor, struct packet *packet)
{
	struct ipv6hdr *ip = cursor->at;

	if ((void *)(ip + 1) > cursor->end)
		return false;
	__builtin_memcpy(packet->source.addr, &ip->saddr, HM_GUARD_ADDR_BYTES);
	__builtin_memcpy(packet->service.addr, &ip->daddr, HM_GUARD_ADDR_BYTES);
	packet->v6 = true;
	cursor->next = ip->nexthdr;
	cursor->at = ip + 1;
	for (int i = 0; i < EXTENSION_HEADERS; i++) {
		if (cursor->next == IPPROTO_TCP)
			break;
		if (!pass_extension(cursor, packet))
			return false;
	}
	return cursor->next == IPPROTO_TCP;
}

static __always_inline bool pass_ip(struct cursor *cursor, struct packet *packet)
{
	if (cursor->protocol == bpf_htons(ETH_P_IP))
		return pass_v4(cursor, packet);
	return cursor->protocol == bpf_htons(ETH_P_IPV6) && pass_v6(cursor, packet);
}

SEC("xdp")
int hm_guard(struct xdp_md *ctx)
{
	struct cursor cursor = {
		.at = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
	};
	struct packet packet = {
		.ifindex = ctx->ingress_ifindex,
		.bytes = ctx->data_end - ctx->data,
	};
	struct tcphdr *tcp;

	if (!pass_ethernet(&cursor) || !pass_ip(&cursor, &packet))
		return XDP_PASS;
	tcp = cursor.at;
	if ((void *)(tcp + 1) > cursor.end) {
		count(HM_GUARD_CUT, packet.bytes);
		return XDP_PASS;
	}
	packet.service.port = tcp->dest;
	packet.syn = tcp->syn && !tcp->ack;
	return decide(&packet) ? XDP_DROP : XDP_PASS;
}

/* What is dropped here has no socket: the client gets a RST. */
SEC("sk_lookup")
int hm_guard_lookup(struct bpf_sk_lookup *ctx)
{
	struct packet packet = {
		.ifindex = ctx->ingress_ifindex,
		.syn = true,
		.lookup = true,
		.v6 = ctx->family != FAMILY_INET,
	};
	__u32 *source = (__u32 *)packet.source.addr, *local = (__u32 *)packet.service.addr;
	__be32 source4 = ctx->remote_ip4, local4 = ctx->local_ip4;

	/* Else a compiler (LLVM 19) chooses between two fields first and reads then. The verifier
	 * wants a field to be read at an offset that it knows. */
	asm volatile("" : "+r"(source4), "+r"(local4));
	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	packet.service.port = bpf_htons(ctx->local_port);
	if (packet.v6) {
		source[0] = ctx->remote_ip6[0];
		source[1] = ctx->remote_ip6[1];
		source[2] = ctx->remote_ip6[2];
		source[3] = ctx->remote_ip6[3];
		local[0] = ctx->local_ip6[0];
		local[1] = ctx->local_ip6[1];
		local[2] = ctx->local_ip6[2];
		local[3] = ctx->local_ip6[3];
	} else {
		set_v4(packet.source.addr, source4);
		set_v4(packet.service.addr, local4);
	}
	return decide(&packet) ? SK_DROP : SK_PASS;
}

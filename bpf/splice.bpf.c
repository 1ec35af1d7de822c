// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * The sockmap data path: a stream verdict on every source socket sends what arrives straight to
 * the socket of the other leg. Runs under the source socket's lock, so one row is never written
 * by two packets at once.
 *
 * A redirect knows neither backpressure nor a memory bound. The valve does: when the target has
 * more than backlog_limit bytes waiting, or the direction is bulk, bytes are passed to our own
 * socket's receive queue, whose window closes by itself, and user space moves them. Redirecting
 * starts again only when user space has written every byte passed to it and says so; until then
 * everything is passed, so the order of bytes holds.
 */
#include "flows.h"
#include "kernel_types.h"

#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Key: as of those of flows.h. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} hm_sources SEC(".maps");

struct hm_ring {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, HM_EVENTS_BYTES);
};

/* One ring per worker, put in by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, HM_WORKERS_MAX);
	__type(key, __u32);
	__array(values, struct hm_ring);
} hm_events SEC(".maps");

static __always_inline void report(const struct hm_flow *flow, __u64 cookie)
{
	struct hm_event event = {
		.handle = flow->handle,
		.cookie = cookie,
		.demotions = flow->demotions,
		.direction = flow->direction,
	};
	__u32 worker = flow->worker;
	void *ring = bpf_map_lookup_elem(&hm_events, &worker);

	if (ring)
		bpf_ringbuf_output(ring, &event, sizeof(event), 0);
}

static __always_inline int demote(
	struct hm_flow *flow, __u64 cookie, __u32 len, enum hm_reason reason)
{
	flow->passed += len;
	flow->demotions++;
	flow->state = HM_PASSING;
	flow->reason = reason;
	report(flow, cookie);
	return SK_PASS;
}

static __always_inline int is_bulk(struct hm_flow *flow, __u64 rate, __u64 now, __u32 len)
{
	if (now - flow->window_ns >= HM_WINDOW_NS) {
		flow->window_ns = now;
		flow->window_bytes = 0;
	}
	flow->window_bytes += len;
	return rate && flow->window_bytes > rate / (1000000000ull / HM_WINDOW_NS);
}

/* Bytes of this direction that wait for the target, as its write_seq shows; -1: no target. */
static __always_inline __s64 backlog_of(struct hm_flow *flow, __u64 cookie)
{
	struct bpf_sock *target = bpf_map_lookup_elem(&hm_targets, &cookie);
	struct tcp_sock *tcp;
	__s64 backlog = -1;

	if (!target)
		return -1;
	tcp = bpf_skc_to_tcp_sock(target);
	if (tcp) {
		__u32 seq = tcp->write_seq;

		if (!flow->has_base) {
			flow->has_base = 1;
			flow->base_seq = seq;
		}
		backlog =
			(__u32)((__u32)(flow->redirected + flow->passed) - (seq - flow->base_seq));
	}
	bpf_sk_release(target);
	return backlog;
}

/*
 * A segment may begin with bytes that have been received before: a retransmission that was merged
 * with new data. TCP knows and would skip them; a verdict is given the whole segment. What comes
 * next in the stream follows from what TCP has received in all and what was judged before.
 */
static __always_inline __u32 repeated_bytes(struct __sk_buff *skb, const struct hm_flow *flow)
{
	const struct sk_buff *real = (const void *)skb;
	struct bpf_sock *sk = skb->sk;
	struct tcp_sock *tcp;
	__u32 seq, expected;
	__s32 repeated;

	if (!sk)
		return 0;
	tcp = bpf_skc_to_tcp_sock(sk);
	/* struct tcp_skb_cb begins with the sequence number of the segment. */
	if (!tcp || bpf_probe_read_kernel(&seq, sizeof(seq), &real->cb))
		return 0;
	expected = tcp->rcv_nxt -
		(__u32)(tcp->bytes_received - flow->base_received - flow->redirected -
			flow->passed);
	repeated = (__s32)(expected - seq);
	return repeated > 0 ? (__u32)repeated : 0;
}

#define CUT_BYTES 4095 /* at most that much at once */
#define CUTS 160       /* more than the largest segment */

static __always_inline int cut(struct __sk_buff *skb, __u32 bytes)
{
	for (int i = 0; i < CUTS && bytes; i++) {
		__u32 n = bytes < CUT_BYTES ? bytes : CUT_BYTES;

		if (bpf_skb_adjust_room(skb, -(__s32)n, 0, 0))
			return -1;
		bytes -= n;
	}
	return bytes ? -1 : 0;
}

SEC("sk_skb/stream_verdict")
int hm_splice(struct __sk_buff *skb)
{
	__u64 cookie = bpf_get_socket_cookie(skb), now = bpf_ktime_get_coarse_ns(), relayed;
	struct hm_control *control;
	struct hm_flow *flow;
	__u32 len = skb->len, resumed, repeated;
	__s64 backlog;
	int bulk;

	if (!len) /* a pure FIN: redirected it would give the peer EPIPE */
		return SK_DROP;
	flow = bpf_map_lookup_elem(&hm_flows, &cookie);
	control = bpf_map_lookup_elem(&hm_control, &cookie);
	if (!flow || !control)
		return SK_PASS;
	repeated = repeated_bytes(skb, flow);
	if (repeated) {
		if (repeated >= len || cut(skb, repeated))
			return SK_DROP;
		len -= repeated;
		flow->repeated += repeated;
	}
	relayed = *(volatile __u64 *)&control->relayed;
	resumed = *(volatile __u32 *)&control->resumed;
	flow->packets++;
	flow->last_ns = now;
	bulk = is_bulk(flow, control->bulk_rate, now, len);

	if (flow->demotions != resumed) { /* user space has it */
		flow->passed += len;
		return SK_PASS;
	}
	/* Resumed, but a packet was passed meanwhile: user space must look again. */
	if (flow->passed != relayed)
		return demote(flow, cookie, len, flow->reason);
	if (control->hold)
		return demote(flow, cookie, len, HM_HELD);
	if (bulk)
		return demote(flow, cookie, len, HM_BULK);
	backlog = backlog_of(flow, cookie);
	if (backlog < 0)
		return demote(flow, cookie, len, HM_NO_TARGET);
	if (backlog > control->backlog_limit)
		return demote(flow, cookie, len, HM_BACKLOG);
	flow->state = HM_REDIRECTING;
	flow->redirected += len;
	return bpf_sk_redirect_hash(skb, &hm_targets, &cookie, 0);
}

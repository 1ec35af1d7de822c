// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Same-host bypass. A node on this host writes into its socket of the connection from the router;
 * an sk_msg program on that socket sends what is written straight into the send queue of the
 * client's socket. The connection over loopback and the router see none of it.
 *
 *   client's socket (target) <- node's socket (in hm_nodes) .. router's socket of the node (cookie)
 *
 * Order: what is not redirected takes the old way, over loopback to the router, which relays it. So
 * nothing is redirected before all of that has been relayed: the place in the node's stream that
 * the node has written up to is the one that the router has relayed up to. The program runs under
 * the lock of the node's socket, so neither it nor the row is written twice at once.
 *
 * Room: a write into a full target would wait, or fail, on behalf of a socket that the node does
 * not know, and nothing would wake it: what epoll says of its own socket is that there is room. So
 * then the write takes the old way, which makes the node wait as ever.
 *
 * hm_redirect counts what it is given; how much of it the target took is not known to it. TCP
 * knows.
 */
#include "flows.h"
#include "kernel_types.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "homing/bypass.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Key: as of those of flows.h, which are the splice program's own here: the cookie of the router's
 * socket of the node. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} hm_nodes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 1);
	__type(key, __u64);
	__type(value, __u64);
} hm_strangers SEC(".maps");

/* Of a node's socket, as long as that lives. */
struct node_state {
	__u64 cookie;
	__u64 target;   /* struct sock of the client's socket: only read, and it may be gone */
	__u32 base_seq; /* of the node's stream: what comes from here on is counted */
	__u32 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct node_state);
} hm_node_state SEC(".maps");

/* ---- a session's node is put in ---- */

static __always_inline struct bpf_sock *find4(
	struct __sk_buff *skb, const struct hm_bypass_request *request, int far)
{
	struct bpf_sock_tuple tuple = {};

	tuple.ipv4.saddr = far ? request->local_ip[0] : request->remote_ip[0];
	tuple.ipv4.daddr = far ? request->remote_ip[0] : request->local_ip[0];
	tuple.ipv4.sport = far ? request->local_port : request->remote_port;
	tuple.ipv4.dport = far ? request->remote_port : request->local_port;
	return bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv4), BPF_F_CURRENT_NETNS, 0);
}

static __always_inline struct bpf_sock *find6(
	struct __sk_buff *skb, const struct hm_bypass_request *request, int far)
{
	struct bpf_sock_tuple tuple = {};

	for (int i = 0; i < 4; i++) {
		tuple.ipv6.saddr[i] = far ? request->local_ip[i] : request->remote_ip[i];
		tuple.ipv6.daddr[i] = far ? request->remote_ip[i] : request->local_ip[i];
	}
	tuple.ipv6.sport = far ? request->local_port : request->remote_port;
	tuple.ipv6.dport = far ? request->remote_port : request->local_port;
	return bpf_sk_lookup_tcp(skb, &tuple, sizeof(tuple.ipv6), BPF_F_CURRENT_NETNS, 0);
}

/* A connection's socket in the caller's network namespace: who receives what is sent from the
 * remote address to the local one, or (far) the other way. */
static __always_inline struct bpf_sock *find(
	struct __sk_buff *skb, const struct hm_bypass_request *request, int far)
{
	return request->family == 4 ? find4(skb, request, far) : find6(skb, request, far);
}

/* How far two sockets of one connection can be apart: windows are no larger. */
#define APART (1u << 30)

static __always_inline int put(
	const struct hm_bypass_request *request, struct bpf_sock *node, __u64 cookie)
{
	if (request->map == HM_BYPASS_STRANGERS)
		return bpf_map_update_elem(&hm_strangers, &cookie, node, BPF_ANY);
	return bpf_map_update_elem(&hm_nodes, &cookie, node, BPF_ANY);
}

struct place {
	__u64 target;
	__u32 copied_seq, write_seq;
};

static __always_inline enum hm_bypass_answer put_node(
	struct hm_bypass_request *request, struct bpf_sock *node, const struct place *place)
{
	struct tcp_sock *tcp = bpf_skc_to_tcp_sock(node);
	struct node_state *state;
	__u64 cookie = request->cookie;

	/* Addresses may have been translated on the way: then this is another connection's. */
	if (!tcp || node->state != BPF_TCP_ESTABLISHED ||
		tcp->write_seq - place->copied_seq > APART ||
		place->write_seq - tcp->copied_seq > APART)
		return HM_BYPASS_NOT_ITS_PEER;
	state = bpf_sk_storage_get(&hm_node_state, node, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state) {
		request->error = -12; /* ENOMEM */
		return HM_BYPASS_REFUSED;
	}
	state->cookie = cookie;
	state->target = place->target;
	state->base_seq = place->copied_seq;
	request->error = put(request, node, cookie);
	return request->error ? HM_BYPASS_REFUSED : HM_BYPASS_DONE;
}

/* Not for packets: user space runs it for each session, with a request as the packet. */
SEC("tc")
int hm_arm(struct __sk_buff *skb)
{
	struct hm_bypass_request *request = (void *)(long)skb->data;
	struct place place = {};
	enum hm_bypass_answer answer;
	struct tcp_sock *tcp;
	struct bpf_sock *sk;
	__u64 cookie;

	if ((void *)(request + 1) > (void *)(long)skb->data_end)
		return HM_BYPASS_MALFORMED;
	cookie = request->cookie;
	sk = find(skb, request, 0);
	if (!sk)
		return HM_BYPASS_NO_ROUTER_SOCKET;
	tcp = bpf_skc_to_tcp_sock(sk);
	if (tcp) {
		place.copied_seq = tcp->copied_seq;
		place.write_seq = tcp->write_seq;
	}
	bpf_sk_release(sk);
	sk = bpf_map_lookup_elem(&hm_targets, &cookie);
	if (!sk && request->map == HM_BYPASS_NODES)
		return HM_BYPASS_NO_TARGET;
	if (sk) {
		place.target = (__u64)bpf_skc_to_tcp_sock(sk);
		bpf_sk_release(sk);
	}
	sk = find(skb, request, 1);
	if (!sk)
		return HM_BYPASS_NO_NODE;
	answer = put_node(request, sk, &place);
	bpf_sk_release(sk);
	return answer;
}

/* ---- the node writes ---- */

/* As tcp_sendmsg() will judge it: whether it would wait before it takes anything. */
static __always_inline int has_room(__u64 target)
{
	struct sock *sk = (struct sock *)target;
	struct tcp_sock *tcp = (struct tcp_sock *)target;
	unsigned long *pressure = BPF_CORE_READ(sk, __sk_common.skc_prot, memory_pressure);
	unsigned long short_of_memory = 0;
	__u32 lowat;

	if (BPF_CORE_READ(sk, sk_wmem_queued) >= BPF_CORE_READ(sk, sk_sndbuf))
		return 0;
	lowat = BPF_CORE_READ(tcp, notsent_lowat);
	if (!lowat)
		lowat = BPF_CORE_READ(sk, __sk_common.skc_net.net, ipv4.sysctl_tcp_notsent_lowat);
	if (BPF_CORE_READ(tcp, write_seq) - BPF_CORE_READ(tcp, snd_nxt) >= lowat)
		return 0;
	bpf_probe_read_kernel(&short_of_memory, sizeof(short_of_memory), pressure);
	return !short_of_memory;
}

static __always_inline int pass(struct hm_flow *flow, __u32 size, enum hm_reason reason)
{
	if (flow->state != HM_PASSING) {
		flow->state = HM_PASSING;
		flow->reason = reason;
		flow->demotions++;
	}
	flow->passed += size;
	return SK_PASS;
}

SEC("sk_msg")
int hm_redirect(struct sk_msg_md *msg)
{
	__u32 size =
		*(volatile __u32 *)&msg->size; /* once: the context must not be computed with */
	struct bpf_sock *sk = msg->sk;
	struct hm_control *control;
	struct node_state *state;
	struct hm_flow *flow;
	struct tcp_sock *node;
	__u64 cookie;
	__u32 relayed;

	if (!sk)
		return SK_PASS;
	state = bpf_sk_storage_get(&hm_node_state, sk, 0, 0);
	if (!state)
		return SK_PASS;
	cookie = state->cookie;
	flow = bpf_map_lookup_elem(&hm_flows, &cookie);
	control = bpf_map_lookup_elem(&hm_control, &cookie);
	node = bpf_skc_to_tcp_sock(sk);
	if (!flow || !control || !node)
		return SK_PASS;
	flow->packets++;
	flow->last_ns = bpf_ktime_get_coarse_ns();
	relayed = (__u32) * (volatile __u64 *)&control->relayed;
	if (control->hold || node->write_seq != state->base_seq + relayed)
		return pass(flow, size, HM_HELD);
	if (!has_room(state->target))
		return pass(flow, size, HM_BACKLOG);
	if (bpf_msg_redirect_hash(msg, &hm_targets, &cookie, 0) != SK_PASS)
		return pass(flow, size, HM_NO_TARGET);
	flow->state = HM_REDIRECTING;
	flow->redirected += size;
	return SK_PASS;
}

SEC("sk_msg")
int hm_pass(struct sk_msg_md *msg)
{
	(void)msg;
	return SK_PASS;
}

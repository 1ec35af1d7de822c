// SPDX-License-Identifier: Apache-2.0
/*
 * Putting the BPF program on two plain legs. A verdict is given whole segments, also what has been
 * read of the first one, which would then come twice: so both queues have been read empty before,
 * and what the program counts is measured from what had been read and written until then.
 */
#include "relay/program.h"
#include "net/tcpinfo.h"

#include <errno.h>
#include <sys/socket.h>

static void make_row(
	struct relay *relay, int d, struct hm_flow *ret_flow, struct hm_control *ret_control)
{
	bool bypass = d == RELAY_DOWN && relay->program->same_host;

	relay_fill_row(relay, (enum relay_direction)d, ret_flow);
	ret_flow->path = bypass ? HM_BYPASS : HM_SOCKMAP;
	ret_flow->base_received = relay->program->flows[d].base_read;
	*ret_control = (struct hm_control){
		.backlog_limit = relay_backlog_limit(relay->program, d),
		.bulk_rate = relay->program->bulk_rate,
		.hold = bypass, /* until relay_bypass_allow() */
	};
}

/* From this direction on. */
static int add_rows(struct relay *relay, int first)
{
	struct hm_control controls[2];
	struct hm_flow flows[2];
	__u64 cookies[2];

	for (int d = first; d < 2; d++) {
		make_row(relay, d, &flows[d], &controls[d]);
		cookies[d] = relay->state.halves[d].cookie;
		if (!cookies[d])
			return -EINVAL;
	}
	return bpfctl_rows_set(relay_kernel(relay)->bpfctl, cookies + first, flows + first,
		controls + first, (__u32)(2 - first));
}

static int set_bases(struct relay *relay, int leg)
{
	struct relay_flow *flows = relay->program->flows;
	int d = relay_from(leg);

	flows[d].base_bytes = relay->state.halves[d].bytes;
	relay->state.halves[d].cookie = bpfctl_cookie(relay->legs[leg].fd);
	return tcpinfo_so_far(relay->legs[leg].fd, &flows[d].base_read, &flows[!d].base_written);
}

/* The node's socket gets the program, which waits for relay_bypass_allow(). False: it does not. */
static bool take_node(struct relay *relay)
{
	struct bpfctl_bypass *bypass = relay_kernel(relay)->bypass;

	return bypass &&
		bpfctl_bypass_add(bypass, relay->state.halves[RELAY_DOWN].cookie,
			relay->legs[RELAY_NODE].fd) == 0;
}

/* The node's socket comes before the sources: it can be had or not, and then the splice program has
 * both. */
static int insert_sockets(struct relay *relay)
{
	struct bpfctl *bpfctl = relay_kernel(relay)->bpfctl;
	struct relay_half *halves = relay->state.halves;
	int r = 0;

	for (int d = 0; r == 0 && d < 2; d++)
		r = bpfctl_target_add(bpfctl, halves[d].cookie, relay->legs[relay_target(d)].fd);
	if (r == 0 && relay->program->same_host) {
		relay->program->same_host = take_node(relay);
		if (relay->program->same_host)
			halves[RELAY_DOWN].valve = VALVE_BYPASS;
		else
			r = add_rows(relay, RELAY_DOWN);
	}
	for (int d = 0; r == 0 && d < 2; d++) {
		if (halves[d].valve != VALVE_BYPASS)
			r = bpfctl_source_add(
				bpfctl, halves[d].cookie, relay->legs[relay_source(d)].fd);
	}
	return r;
}

/* A length of 0 would not do. */
void relay_kick(int fd)
{
	char c;

	if (recv(fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0)
		return; /* EAGAIN: as it should be. Others are seen by epoll. */
}

/* An established pair can do both directions, another neither. */
int relay_arm(struct relay *relay)
{
	int r = 0;

	for (int d = 0; d < 2; d++) /* from the first entry on, they are removed as the program's */
		relay->state.halves[d].valve = VALVE_KERNEL;
	for (int leg = 0; r == 0 && leg < 2; leg++)
		r = set_bases(relay, leg);
	if (r == 0)
		r = add_rows(relay, RELAY_UP);
	if (r == 0)
		r = insert_sockets(relay);
	if (r < 0) {
		relay_remove_rows(relay);
		for (int d = 0; d < 2; d++) {
			relay->program->flows[d] = (struct relay_flow){ 0 };
			relay->state.halves[d].valve = VALVE_NONE;
		}
		return r;
	}
	for (int d = 0; d < 2; d++) {
		struct relay_half *half = &relay->state.halves[d];

		half->path = half->valve == VALVE_BYPASS ? RELAY_PATH_BYPASS : RELAY_PATH_SOCKMAP;
		if (half->valve == VALVE_BYPASS)
			relay_bypass_allow(relay);
		else
			relay_kick(relay->legs[relay_source(d)].fd);
	}
	return 0;
}

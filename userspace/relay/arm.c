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

static int add_row(struct relay *relay, int d)
{
	struct bpfctl *bpfctl = relay_kernel(relay)->bpfctl;
	struct relay_half *half = &relay->state.halves[d];
	bool bypass = d == RELAY_DOWN && relay->program->same_host;
	struct hm_control control = {
		.backlog_limit = relay->program->backlog_limit,
		.bulk_rate = relay->program->bulk_rate,
		.hold = bypass, /* until relay_bypass_allow() */
	};
	struct hm_flow flow;
	int r;

	relay_fill_row(relay, (enum relay_direction)d, &flow);
	flow.path = bypass ? HM_BYPASS : HM_SOCKMAP;
	flow.base_received = relay->program->flows[d].base_read;
	half->cookie = bpfctl_cookie(relay->legs[relay_source(d)].fd);
	r = half->cookie ? bpfctl_flow_set(bpfctl, half->cookie, &flow) : -EINVAL;
	return r < 0 ? r : bpfctl_control_set(bpfctl, half->cookie, &control);
}

static int set_bases(struct relay *relay, int d)
{
	struct relay_flow *flow = &relay->program->flows[d];
	int r = tcpinfo_read_so_far(relay->legs[relay_source(d)].fd, &flow->base_read);

	flow->base_bytes = relay->state.halves[d].bytes;
	return r < 0 ? r
		     : tcpinfo_written_so_far(relay->legs[relay_target(d)].fd, &flow->base_written);
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
			r = add_row(relay, RELAY_DOWN);
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
	for (int d = 0; r == 0 && d < 2; d++)
		r = set_bases(relay, d);
	for (int d = 0; r == 0 && d < 2; d++)
		r = add_row(relay, d);
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

// SPDX-License-Identifier: Apache-2.0
/*
 * The direction down when the node is on this host (GRD-20): the node writes to the client's socket
 * itself (bpf/bypass.bpf.c), the router sleeps. What is left to it: what the node's program passes
 * all the same, because the client's socket is full, comes over loopback and is relayed as ever;
 * when all of it has been, the program is told, and only then redirects again (GRD-22). And the end
 * of the node's stream, which comes over loopback too, behind everything else.
 *
 * Up stays the splice program's: towards a node's receive queue a redirect inverts the order, and
 * ends overtake.
 */
#include "relay/program.h"
#include "net/tcpinfo.h"

#include <errno.h>
#include <sys/epoll.h>

static struct relay_half *down(struct relay *relay)
{
	return &relay->state.halves[RELAY_DOWN];
}

static struct relay_flow *flow_down(struct relay *relay)
{
	return &relay->program->flows[RELAY_DOWN];
}

void relay_step_bypass(struct relay *relay)
{
	struct relay_half *half = down(relay);
	uint64_t before = relay_relayed(relay, RELAY_DOWN);
	enum relay_passed passed;

	if (half->state == HALF_DONE)
		return;
	passed = relay_copy_passed(relay, RELAY_DOWN);
	if (relay_has_ended(relay))
		return;
	switch (passed) {
	case PASSED_MORE:
		break;
	case PASSED_ALL:
		if (relay_relayed(relay, RELAY_DOWN) != flow_down(relay)->mark_bytes)
			relay_bypass_allow(relay);
		break;
	case PASSED_END:
		relay_program_eof(relay, RELAY_DOWN);
		break;
	case PASSED_BROKEN:
		half->state = HALF_ENDING; /* nothing comes any more */
	}
	/* The node has hung up, but its last bytes cannot be read before the client takes some. */
	if (half->closing && half->state == HALF_OPEN && relay->state.phase < RELAY_BROKEN)
		relay_owed_clock(relay, true, relay_relayed(relay, RELAY_DOWN) != before);
}

void relay_bypass_leg(struct relay *relay, uint32_t epoll_events)
{
	if (epoll_events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
		down(relay)->closing = true;
}

bool relay_bypass_client_lives(struct relay *relay)
{
	struct tcpinfo_source client;

	return tcpinfo_received(relay->legs[RELAY_CLIENT].fd, &client) == 0 && !client.closed;
}

// SPDX-License-Identifier: Apache-2.0
/* Rows: what bpftool shows of a direction, whoever moves its bytes, and what the program counts in
 * its own. User space writes none that the program writes. */
#include "relay/program.h"
#include "net/tcpinfo.h"

#include <stdio.h>

static enum hm_tls tls_of(const struct relay *relay)
{
	if (relay->parts)
		return HM_TLS_PASSED;
	return stream_is_tls(&relay->legs[RELAY_CLIENT]) || stream_is_tls(&relay->legs[RELAY_NODE])
		? HM_TLS_ENDS
		: HM_TLS_NONE;
}

void relay_fill_row(
	const struct relay *relay, enum relay_direction direction, struct hm_flow *ret_flow)
{
	*ret_flow = (struct hm_flow){
		.session = relay->state.session,
		.handle = relay->handle, /* by which a row or an event finds it again */
		.worker = relay->engine->worker,
		.direction = direction == RELAY_UP ? HM_UP : HM_DOWN,
		.tls = tls_of(relay),
	};
	snprintf(ret_flow->protocol, sizeof(ret_flow->protocol), "%s",
		relay->protocol ? relay->protocol : "");
}

static void put_row(struct relay *relay, int d)
{
	static const uint8_t paths[] = {
		[RELAY_PATH_COPY] = HM_COPY,
		[RELAY_PATH_RECORD] = HM_RECORD,
		[RELAY_PATH_KTLS] = HM_KTLS,
	};
	const struct relay_half *half = &relay->state.halves[d];
	struct hm_flow flow;

	relay_fill_row(relay, (enum relay_direction)d, &flow);
	flow.path = paths[half->path];
	flow.state = HM_USERSPACE;
	flow.passed = half->bytes;
	flow.last_ns = relay->state.last_ms * 1000000;
	relay_put_row(relay->engine, half->cookie, &flow);
}

void relay_put_rows(struct relay *relay)
{
	struct relay_half *halves = relay->state.halves;
	uint32_t bytes = (uint32_t)(halves[0].bytes + halves[1].bytes);

	if (halves[0].cookie && bytes == relay->row_bytes)
		return;
	for (int d = 0; d < 2; d++) {
		if (!halves[d].cookie)
			halves[d].cookie = bpfctl_cookie(relay->legs[relay_source(d)].fd);
		if (halves[d].cookie)
			put_row(relay, d);
	}
	relay->row_bytes = bytes;
}

void relay_count_bypassed(struct relay *relay)
{
	struct relay_flow *flow = &relay->program->flows[RELAY_DOWN];
	uint64_t written, relayed = relay_relayed(relay, RELAY_DOWN);

	/* our end of stream counts as a byte */
	if (relay->state.halves[RELAY_DOWN].state == HALF_DONE ||
		tcpinfo_so_far(relay->legs[RELAY_CLIENT].fd, NULL, &written) < 0)
		return;
	written -= flow->base_written;
	flow->redirected = written > relayed ? written - relayed : 0;
}

static void note_row(struct relay *relay, int d, const struct hm_flow *row)
{
	struct relay_state *state = &relay->state;

	if (state->halves[d].valve == VALVE_BYPASS)
		relay_count_bypassed(relay);
	else
		relay->program->flows[d].redirected = row->redirected;
	state->last_ms = MAX(state->last_ms, (uint64_t)(row->last_ns / 1000000));
}

bool relay_look(struct relay *relay, int d, struct hm_flow *ret_flow)
{
	if (bpfctl_flow_get(relay_kernel(relay)->bpfctl, relay->state.halves[d].cookie, ret_flow) <
		0)
		return false;
	note_row(relay, d, ret_flow);
	return true;
}

/* A direction that the program moved: what it has counted last comes with the row. */
static void remove_row(struct relay *relay, int d)
{
	struct bpfctl *bpfctl = relay_kernel(relay)->bpfctl;
	const struct relay_half *half = &relay->state.halves[d];
	struct hm_flow flow;

	if (half->valve == VALVE_BYPASS)
		bpfctl_bypass_remove(relay_kernel(relay)->bypass, half->cookie);
	bpfctl_sockets_remove(bpfctl, half->cookie);
	if (bpfctl_flow_take(bpfctl, half->cookie, &flow) == 0)
		note_row(relay, d, &flow);
}

void relay_remove_rows(struct relay *relay)
{
	struct bpfctl *bpfctl = relay_kernel(relay)->bpfctl;
	__u64 armed[2];
	__u32 count = 0;

	for (int d = 0; d < 2; d++) {
		struct relay_half *half = &relay->state.halves[d];

		if (!half->cookie)
			continue;
		if (half->valve == VALVE_NONE) {
			bpfctl_flow_remove(bpfctl, half->cookie);
		} else {
			remove_row(relay, d);
			armed[count++] = half->cookie;
		}
		half->cookie = 0;
	}
	if (count)
		bpfctl_controls_remove(bpfctl, armed, count);
}

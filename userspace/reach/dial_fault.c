// SPDX-License-Identifier: Apache-2.0
/*
 * What a dial knows of its failure (fault.h), and what is not the node's. How far the talk was, and
 * what the node said that may be shown, its talker knows.
 */
#include "base/log.h"
#include "net/sock.h"
#include "reach/dial.h"
#include "reach/fault.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

static enum node_step step_of(const struct dial *dial)
{
	switch (dial->connect.phase) {
	case CONNECT_RESOLVE:
		return NODE_STEP_RESOLVE;
	case CONNECT_OPEN:
		return NODE_STEP_CONNECT;
	case CONNECT_PREAMBLE:
		return NODE_STEP_PROXY;
	case CONNECT_TLS:
		return NODE_STEP_TLS;
	default:
		return dial->params.ops->step(dial->params.arg);
	}
}

void dial_note_failure(struct dial *dial, const struct dial_fault *fault)
{
	const char *words =
		fault->cause ? fault->cause : fault_words(fault->error, &dial->leg.stream);
	const char *said = fault->said ? fault->said : "";
	char text[NODE_CAUSE_SIZE];
	struct node_failure failure;
	struct fault_facts facts = {
		.step = step_of(dial),
		.leg = dial->settings,
		.error = fault->error,
		.timeout = reach_failures[fault->failure].reason == REASON_NODE_TIMEOUT,
		.closed = !fault->cause && fault_is_closed(fault->error, words),
		.secured = dial_is_secured(dial),
		.cause = text,
		.said = said,
		.protocol = dial->params.protocol,
	};

	snprintf(text, sizeof(text), *said ? "%s: \"%s\"" : "%s", words, said);
	if (connect_addr(&dial->connect))
		addr_format(connect_addr(&dial->connect), failure.address);
	else
		snprintf(failure.address, sizeof(failure.address), "%s:%u",
			dial->params.destination->host, (unsigned)dial->settings->port);
	fault_note(dial->params.node, reach_failures[fault->failure].reason, &facts, &failure);
}

/* ---- what is not the node's ---- */

/* The kernel says the same when no port is free and when there is no address to use. */
static enum session_shortage no_address(const struct dial *dial)
{
	const struct connect *connect = &dial->connect;

	if (sock_has_address(connect_addr(connect), &connect->source))
		return SHORT_OF_PORTS;
	return addr_is_set(&connect->source) ? SHORT_OF_ADDRESSES : SHORTAGES;
}

static enum session_shortage shortage_of(const struct dial *dial, int error)
{
	switch (error) {
	case -EADDRNOTAVAIL:
		return dial->connect.phase == CONNECT_OPEN ? no_address(dial) : SHORTAGES;
	case -EADDRINUSE:
		return SHORT_OF_PORTS;
	case -EMFILE:
	case -ENFILE:
		return SHORT_OF_DESCRIPTORS;
	case -ENOBUFS:
	case -ENOMEM:
		return SHORT_OF_MEMORY;
	default:
		return SHORTAGES;
	}
}

bool dial_is_shortage(struct dial *dial, int error)
{
	static const char *const hints[] = {
		[SHORT_OF_PORTS] = "more source_ips, or a wider net.ipv4.ip_local_port_range",
		[SHORT_OF_ADDRESSES] = "source_ips must be addresses of this machine",
		[SHORT_OF_DESCRIPTORS] = "raise the limit of open files (LimitNOFILE)",
		[SHORT_OF_MEMORY] = "more memory",
	};
	enum session_shortage shortage = shortage_of(dial, error);

	static_assert(ARRAY_SIZE(hints) == SHORTAGES, "a hint for each");
	if (shortage == SHORTAGES)
		return false;
	atomic_fetch_add(&dial->params.router->metrics.shortages[shortage], 1);
	log_event_limited(LOGL_ERROR, "out_of_resource", session_shortage_name(shortage), "what",
		session_shortage_name(shortage), "node", dial->params.node->name, "cause",
		strerrordesc_np(-error), "hint", hints[shortage], NULL);
	return true;
}

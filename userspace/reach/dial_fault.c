// SPDX-License-Identifier: Apache-2.0
/*
 * What a dial knows of its failure (fault.h), and what is not the node's. What the node said is
 * shown only from before the credential went out, so no echo of it can be in it.
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
		break;
	}
	if (dial->params.by_request)
		return NODE_STEP_RESPONSE;
	if (!dial->back || !dial->back_ops->greeted(dial->back))
		return NODE_STEP_GREETING;
	if (dial->in_login)
		return NODE_STEP_LOGIN;
	return dial->settings->tls == CONFIG_TLS_STARTTLS && !dial->secured ? NODE_STEP_STARTTLS
									    : NODE_STEP_DIALOGUE;
}

void dial_take_said(struct dial *dial, struct view said)
{
	size_t len = 0;

	if (dial->in_login)
		return;
	for (; len < said.len && len < DIAL_SAID_BYTES; len++) {
		char c = said.data[len];

		if (c == '\r' || c == '\n')
			break;
		dial->said[len] = c >= 0x20 && c < 0x7f ? c : '?';
	}
	dial->said[len] = '\0';
}

void dial_note_failure(struct dial *dial, const struct dial_fault *fault)
{
	const char *words =
		fault->cause ? fault->cause : fault_words(fault->error, &dial->leg.stream);
	char text[NODE_CAUSE_SIZE];
	struct node_failure failure;
	struct fault_facts facts = {
		.step = step_of(dial),
		.leg = dial->settings,
		.error = fault->error,
		.timeout = fault->reason == REASON_NODE_TIMEOUT,
		.closed = !fault->cause && fault_is_closed(fault->error, words),
		.secured = dial->secured,
		.cause = text,
		.said = dial->said,
		.protocol = dial->params.protocol,
	};

	if (!*dial->said && !fault->cause)
		dial_take_said(dial, buf_view(&dial->leg.in)); /* a line that it did not end */
	snprintf(text, sizeof(text), *dial->said ? "%s: \"%s\"" : "%s", words, dial->said);
	if (connect_addr(&dial->connect))
		addr_format(connect_addr(&dial->connect), failure.address);
	else
		snprintf(failure.address, sizeof(failure.address), "%s:%u",
			dial->params.destination->host, (unsigned)dial->settings->port);
	fault_note(dial->params.node, fault->reason, &facts, &failure);
	*dial->said = '\0';
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

// SPDX-License-Identifier: Apache-2.0
/*
 * What went wrong with a node, for whoever has to mend it (OPS-13): the step, the address, the
 * cause in words, and what is usually the matter. One line in the log, the last one in
 * /destinations. What the node said is shown only from before the credential went out, so no echo
 * of it can be in it.
 */
#include "session/http.h"
#include "base/clock.h"
#include "base/log.h"
#include "net/sock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define HINT_NOT_EXPECTED                                                                      \
	"a TLS node that closes or answers in clear after a PROXY header does not expect one " \
	"(forwarding), or the port is not a TLS port (tls, port)"
#define HINT_CLEAR                                                                             \
	"the port answers in clear: tls = \"starttls\" or \"plain\", or another port; or the " \
	"node complains that it gets no PROXY header (forwarding = \"proxy\")"
#define HINT_MAY_EXPECT \
	"a node that expects a PROXY header may say so when it gets none (forwarding = \"proxy\")"
#define HINT_TLS_EXPECTED                                                                     \
	"a node that closes or stalls here expects a PROXY header (forwarding = \"proxy\"), " \
	"or the port is not a TLS port (tls, port)"
#define HINT_STALLED                                                                       \
	"a node that says nothing expects a PROXY header (forwarding = \"proxy\") or TLS " \
	"first (tls = \"implicit\")"
#define HINT_STALLED_PROXY                                                                      \
	"a node that says nothing after a PROXY header does not expect one (forwarding), does " \
	"not take one from this address, or expects TLS first (tls = \"implicit\")"
#define HINT_COMMANDS \
	"a node that does not expect a PROXY header takes it for commands (forwarding)"

/* What hints are chosen by. */
struct facts {
	enum node_step step;
	const struct config_leg *leg;
	int error;
	bool timeout, closed, secured;
	const char *cause, *said;
	enum protocol protocol;
};

static bool holds(const char *text, const char *word)
{
	return strcasestr(text, word) != NULL;
}

static const char *hint_of_connect(const struct facts *facts)
{
	switch (facts->timeout ? -ETIMEDOUT : facts->error) {
	case -ECONNREFUSED:
		return "nothing listens there: the wrong port, or the service is not running";
	case -ETIMEDOUT:
		return "the host is down, or a firewall drops the packets";
	case -EADDRNOTAVAIL:
		return "this machine has no address of that family";
	case -ENETUNREACH:
	case -EHOSTUNREACH:
		return "there is no route to the address";
	default:
		return NULL;
	}
}

static const char *hint_of_tls(const struct facts *facts)
{
	bool proxy = facts->leg->forwarding == CONFIG_FORWARDING_PROXY;

	if (holds(facts->cause, "pinned"))
		return "the node has another certificate now: tls_pinned_cert_sha256";
	if (holds(facts->cause, "certificate refused"))
		return "tls_server_name must be a name of the certificate, and its issuer trusted; "
		       "or pin it with tls_pinned_cert_sha256";
	if (facts->leg->tls == CONFIG_TLS_STARTTLS)
		return NULL;
	if (proxy)
		return HINT_NOT_EXPECTED;
	if (facts->timeout || facts->closed)
		return HINT_TLS_EXPECTED;
	return holds(facts->cause, "wrong version") || holds(facts->cause, "packet length") ||
			holds(facts->cause, "http request")
		? HINT_CLEAR
		: NULL;
}

/* The greeting of another protocol than the leg's. */
static bool is_foreign(const struct facts *facts)
{
	static const struct {
		const char *start;
		enum protocol protocol;
	} rows[] = { { "* ", PROTOCOL_IMAP }, { "+OK", PROTOCOL_POP3 },
		{ "220", PROTOCOL_SUBMISSION }, { "\"", PROTOCOL_MANAGESIEVE },
		{ "HTTP/", PROTOCOL_HTTP } };

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		if (strncasecmp(facts->said, rows[i].start, strlen(rows[i].start)) == 0)
			return rows[i].protocol != facts->protocol;
	}
	return false;
}

static const char *hint_of_greeting(const struct facts *facts)
{
	bool proxy = facts->leg->forwarding == CONFIG_FORWARDING_PROXY;

	if (holds(facts->said, "proxy"))
		return proxy ? "the node complains about the PROXY header: does it take one from "
			       "this address?"
			     : "the node expects a PROXY header: forwarding = \"proxy\"";
	if (is_foreign(facts))
		return "this is the greeting of another protocol: the wrong port";
	if (*facts->said && !facts->closed) /* Postfix speaks of a local error */
		return facts->protocol == PROTOCOL_SUBMISSION && !proxy ? HINT_MAY_EXPECT : NULL;
	if (facts->secured)
		return NULL;
	return proxy ? HINT_STALLED_PROXY : HINT_STALLED;
}

static const char *hint_of(const struct facts *facts)
{
	bool proxy = facts->leg->forwarding == CONFIG_FORWARDING_PROXY;

	switch (facts->step) {
	case NODE_STEP_RESOLVE:
		return "host must be a name that this machine can resolve";
	case NODE_STEP_CONNECT:
		return hint_of_connect(facts);
	case NODE_STEP_TLS:
		return hint_of_tls(facts);
	case NODE_STEP_GREETING:
		return hint_of_greeting(facts);
	case NODE_STEP_STARTTLS:
		if (holds(facts->cause, "STARTTLS"))
			return "tls = \"implicit\" or \"plain\", or switch STARTTLS on at the node";
		return proxy && !facts->secured ? HINT_COMMANDS : NULL;
	case NODE_STEP_DIALOGUE:
	case NODE_STEP_LOGIN:
		if (holds(facts->cause, "offers no mechanism"))
			return "switch PLAIN, LOGIN or the mechanism on at the node, or take it "
			       "out of "
			       "capabilities.*.sasl";
		return proxy && !facts->secured ? HINT_COMMANDS : NULL;
	case NODE_STEP_RESPONSE:
		return facts->closed && !facts->secured && !proxy ? HINT_STALLED : NULL;
	default:
		return NULL;
	}
}

/* Once a failure is known to be the node's. */
static void note(struct node *node, enum session_reason reason, const struct facts *facts,
	struct node_failure *failure)
{
	failure->at_real_ms = clock_real_ms();
	failure->step = facts->step;
	failure->hint = hint_of(facts);
	snprintf(failure->cause, sizeof(failure->cause), "%s", facts->cause);
	node_note_failure(node, failure);
	log_event_limited(LOGL_WARN, "node_failed", node->name, "node", node->name, "address",
		failure->address, "step", node_step_name(failure->step), "reason",
		session_reason_name(reason), "cause", failure->cause, failure->hint ? "hint" : NULL,
		failure->hint, NULL);
}

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

/* Error numbers and the like in words. */
static const char *words_of(int error, const struct stream *stream)
{
	const char *text;

	if (error == STREAM_EOF || error == -ECONNABORTED)
		return "the node closed the connection";
	if (error == -EPROTO && stream_is_open(stream)) {
		text = tls_stream_error(stream);
		return *text ? text : "TLS error";
	}
	text = strerrordesc_np(-error);
	return text ? text : "unknown error";
}

static bool is_closed(int error, const char *cause)
{
	return error == STREAM_EOF || error == -ECONNABORTED || error == -ECONNRESET ||
		error == -EPIPE || holds(cause, "unexpected eof");
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
	const char *words = fault->cause ? fault->cause : words_of(fault->error, &dial->leg.stream);
	char text[NODE_CAUSE_SIZE];
	struct node_failure failure;
	struct facts facts = {
		.step = step_of(dial),
		.leg = dial->settings,
		.error = fault->error,
		.timeout = fault->reason == REASON_NODE_TIMEOUT,
		.closed = !fault->cause && is_closed(fault->error, words),
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
	note(dial->params.node, fault->reason, &facts, &failure);
	*dial->said = '\0';
}

void http_note_failure(
	struct session *session, enum session_reason reason, int error, const char *cause)
{
	const struct http_leg *leg = session->login->http->leg;
	const char *words = cause ? cause : words_of(error, &leg->wire.stream);
	struct node_failure failure;
	struct facts facts = {
		.step = NODE_STEP_RESPONSE,
		.leg = &leg->destination->legs[PROTOCOL_HTTP],
		.error = error,
		.closed = !cause && is_closed(error, words) && !leg->reused,
		.secured = leg->secured,
		.cause = words,
		.said = "",
		.protocol = PROTOCOL_HTTP,
	};

	addr_format(&leg->addr, failure.address);
	note(session->node, reason, &facts, &failure);
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
	static const char *const hints[SHORTAGES] = {
		[SHORT_OF_PORTS] = "more source_ips, or a wider net.ipv4.ip_local_port_range",
		[SHORT_OF_ADDRESSES] = "source_ips must be addresses of this machine",
		[SHORT_OF_DESCRIPTORS] = "raise the limit of open files (LimitNOFILE)",
		[SHORT_OF_MEMORY] = "more memory",
	};
	enum session_shortage shortage = shortage_of(dial, error);

	if (shortage == SHORTAGES)
		return false;
	atomic_fetch_add(&dial->params.server->metrics.shortages[shortage], 1);
	log_event_limited(LOGL_ERROR, "out_of_resource", session_shortage_name(shortage), "what",
		session_shortage_name(shortage), "node", dial->params.node->name, "cause",
		strerrordesc_np(-error), "hint", hints[shortage], NULL);
	return true;
}

// SPDX-License-Identifier: Apache-2.0
/* What the usual mistakes look like, and the words and hints for them. */
#include "reach/fault.h"
#include "base/clock.h"
#include "base/log.h"
#include "tls/records.h"
#include "tls/tls.h"

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

static bool holds(const char *text, const char *word)
{
	return strcasestr(text, word) != NULL;
}

static const char *hint_of_connect(const struct fault_facts *facts)
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

static const char *hint_of_tls(const struct fault_facts *facts)
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
static bool is_foreign(const struct fault_facts *facts)
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

static const char *hint_of_greeting(const struct fault_facts *facts)
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

static const char *hint_of(const struct fault_facts *facts)
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

void fault_note(struct node *node, enum session_reason reason, const struct fault_facts *facts,
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

const char *fault_words(int error, const struct stream *stream)
{
	const char *text;

	if (error == STREAM_EOF || error == -ECONNABORTED)
		return "the node closed the connection";
	if (error == -EPROTO && stream_is_open(stream)) {
		text = tls_records_connection(stream) ? tls_records_error(stream)
						      : tls_stream_error(stream);
		return *text ? text : "TLS error";
	}
	text = strerrordesc_np(-error);
	return text ? text : "unknown error";
}

bool fault_is_closed(int error, const char *cause)
{
	return error == STREAM_EOF || error == -ECONNABORTED || error == -ECONNRESET ||
		error == -EPIPE || holds(cause, "unexpected eof");
}

void fault_take_said(struct view said, char text[FAULT_SAID_BYTES + 1])
{
	size_t len = 0;

	for (; len < said.len && len < FAULT_SAID_BYTES; len++) {
		char c = said.data[len];

		if (c == '\r' || c == '\n')
			break;
		text[len] = c >= 0x20 && c < 0x7f ? c : '?';
	}
	text[len] = '\0';
}

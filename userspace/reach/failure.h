// SPDX-License-Identifier: Apache-2.0
/*
 * How reaching a node fails: the closed set, one row each. From the row follows all that is done
 * about a failure: what the session ends with if nothing else is left, what the node's breaker
 * hears, whether another address or another attempt is worth it, and whose fault it is. Whoever
 * finds a failure names its row and decides nothing.
 */
#ifndef REACH_FAILURE_H
#define REACH_FAILURE_H

#include "node/health.h"
#include "router/metrics.h"

#include <sys/types.h>

/* Who has to mend it. */
enum reach_blame {
	BLAME_OURS,    /* the router, or how it is set up: nothing is said of the node */
	BLAME_NOTED,   /* shown as the node's (OPS-13), but not counted in its dial_errors */
	BLAME_COUNTED, /* both */
};

/* clang-format off */
/* name: reason of the session, what the breaker hears (only until the node has proved alive),
 *	whether it is tried again inside the window, whose fault */
#define REACH_FAILURES(X) \
	/* before there is a node */ \
	X(CROWDED, HOLD_LIMIT, NONE, false, OURS)           /* too many wait already (SES-43) */ \
	X(NO_STORE, STORE_DOWN, NONE, false, OURS)          /* and no guess is wanted */ \
	/* before it is dialled */ \
	X(NO_PROTOCOL, NODE_NO_PROTOCOL, NONE, false, OURS) /* the node has no such leg */ \
	X(DOWN, NODE_DOWN, NONE, false, OURS)               /* says its breaker */ \
	X(LOOP, LOOP, NONE, false, OURS)                    /* this router, or no hop is left */ \
	X(NO_MEMORY, INTERNAL, NONE, false, OURS) \
	X(NO_HANDOFF, NODE_UNREACHABLE, NONE, false, OURS)  /* and nothing else is allowed */ \
	/* on the way */ \
	X(SHORTAGE, INTERNAL, NONE, true, OURS)             /* of ports, descriptors, memory */ \
	X(NO_AGENT, NODE_UNREACHABLE, NONE, true, NOTED)    /* and nothing else is allowed */ \
	X(UNREACHABLE, NODE_UNREACHABLE, FAIL_HOST, true, COUNTED) \
	X(SLOW, NODE_TIMEOUT, FAIL_HOST, true, COUNTED)     /* one address had its time */ \
	X(TLS_REFUSED, TLS_NODE, FAIL_CLIENT, false, COUNTED) \
	/* on the way, or while its owner talks */ \
	X(TLS_BROKEN, TLS_NODE, FAIL_CLIENT, true, COUNTED) \
	X(BROKEN, NODE_ERROR, FAIL_CLIENT, true, COUNTED) \
	X(CLOSED, NODE_EOF, FAIL_CLIENT, true, COUNTED)     /* by the node */ \
	/* the window is over; a node that was told who the client is may be slow for it alone */ \
	X(TIMEOUT, NODE_TIMEOUT, FAIL_HOST, false, COUNTED) \
	X(TIMEOUT_CLIENT, NODE_TIMEOUT, FAIL_CLIENT, false, COUNTED) \
	/* while its owner talks */ \
	X(INJECTION, STARTTLS_INJECTION, FAIL_CLIENT, false, COUNTED) \
	X(REFUSED, NODE_REFUSED, FAIL_CLIENT, false, COUNTED) \
	X(NO_MECHANISM, NODE_REFUSED, NONE, false, NOTED)   /* which one is the client's choice */ \
	X(NO_SECRET, NODE_REFUSED, NONE, false, NOTED)      /* it may not be told one (SES-48) */ \
	X(NO_VERDICT, NODE_TIMEOUT, NONE, false, COUNTED)   /* on the login in time */
/* clang-format on */

enum reach_failure {
	REACH_NO_FAILURE,
#define X(name, ...) UNREACHED_##name,
	REACH_FAILURES(X)
#undef X
		REACH_FAILURE_COUNT
};

struct reach_failure_row {
	const char *name;
	enum session_reason reason;
	enum health_event event;
	bool again;
	enum reach_blame blame;
};

/* Of no failure: nothing. */
extern const struct reach_failure_row reach_failures[REACH_FAILURE_COUNT];

/* What the end or an error of the node's stream comes to, as stream_read() returns it. */
enum reach_failure reach_lost(ssize_t error);

#endif

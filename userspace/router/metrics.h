// SPDX-License-Identifier: Apache-2.0
/* What sessions are counted by, for /metrics (admin.md section 6). Since start, atomic, any
 * thread. */
#ifndef ROUTER_METRICS_H
#define ROUTER_METRICS_H

#include "base/histogram.h"
#include "config/config.h"

#include <stdatomic.h>

/* Why a session ended; the closed set of sessions.md section 15. */
#define SESSION_REASONS(X)                          \
	X(CLIENT_QUIT, "client_quit")               \
	X(CLIENT_EOF, "client_eof")                 \
	X(CLIENT_ERROR, "client_error")             \
	X(NODE_EOF, "node_eof")                     \
	X(NODE_ERROR, "node_error")                 \
	X(IDLE, "idle")                             \
	X(SLOW_CLIENT, "slow_client")               \
	X(KEEPALIVE, "keepalive")                   \
	X(PREAUTH_TIMEOUT, "preauth_timeout")       \
	X(TLS_CLIENT, "tls_client")                 \
	X(TLS_NODE, "tls_node")                     \
	X(AUTH_LIMIT, "auth_limit")                 \
	X(STARTTLS_INJECTION, "starttls_injection") \
	X(PROTOCOL_ERROR, "protocol_error")         \
	X(PROXY_HEADER, "proxy_header")             \
	X(LOOP, "loop")                             \
	X(HOLD_LIMIT, "hold_limit")                 \
	X(BANNED, "banned")                         \
	X(NODE_DOWN, "node_down")                   \
	X(NODE_UNREACHABLE, "node_unreachable")     \
	X(NODE_REFUSED, "node_refused")             \
	X(NODE_TIMEOUT, "node_timeout")             \
	X(NODE_NO_PROTOCOL, "node_no_protocol")     \
	X(STORE_DOWN, "store_down")                 \
	X(TRUNCATED, "truncated")                   \
	X(JOINED, "joined")                         \
	X(KEY_UPDATE, "key_update")                 \
	X(KICKED, "kicked")                         \
	X(SHUTDOWN, "shutdown")                     \
	X(INTERNAL, "internal")

enum session_reason {
#define X(name, text) REASON_##name,
	SESSION_REASONS(X)
#undef X
		SESSION_REASON_COUNT
};

enum session_phase {
	PHASE_TLS,
	PHASE_DIALOGUE,
	PHASE_HOLD,
	PHASE_LOOKUP,
	PHASE_DIAL,
	PHASE_REPLAY,
	PHASES
};

enum session_auth { AUTH_OK, AUTH_REFUSED, AUTH_MALFORMED, AUTH_PRIVACY, AUTH_UNAVAILABLE, AUTHS };

/* What the router itself lacked when it wanted to reach a node. */
enum session_shortage {
	SHORT_OF_PORTS,
	SHORT_OF_ADDRESSES, /* source_ips that are not the host's */
	SHORT_OF_DESCRIPTORS,
	SHORT_OF_MEMORY,
	SHORTAGES
};
const char *session_shortage_name(enum session_shortage shortage);

struct session_metrics {
	atomic_uint_fast64_t stuck; /* times that a thread did not come back to its loop */
	atomic_uint_fast64_t shortages[SHORTAGES];
	atomic_uint_fast64_t ended[SESSION_REASON_COUNT];
	atomic_uint_fast64_t auth[PROTOCOLS][AUTHS];
	struct histogram phases[PHASES];
};

#endif

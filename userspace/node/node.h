// SPDX-License-Identifier: Apache-2.0
/*
 * One destination as the workers see it: its breaker and its counters, which outlive a reload.
 * Reference counted; the counters are atomic, the rest is immutable. Also the small pure rules of
 * dialling. It knows no socket and no configuration.
 */
#ifndef NODE_NODE_H
#define NODE_NODE_H

#include "node/health.h"

#include <pthread.h>
#include <stdatomic.h>

#define NODE_PROTOCOLS 8

/* Where an attempt to use a node can fail (OPS-13). */
#define NODE_STEPS(X)                                                    \
	X(RESOLVE, "resolve")                                            \
	X(CONNECT, "connect")                                            \
	X(PROXY, "proxy")       /* sending the PROXY header */           \
	X(TLS, "tls")           /* handshake */                          \
	X(GREETING, "greeting") /* up to a line that invites to go on */ \
	X(STARTTLS, "starttls") /* asking for it */                      \
	X(DIALOGUE, "dialogue") /* capabilities, EHLO, XCLIENT, ID */    \
	X(LOGIN, "login")       /* credential sent, or about to be */    \
	X(RESPONSE, "response") /* HTTP: request sent, or about to be */

enum node_step {
#define X(name, text) NODE_STEP_##name,
	NODE_STEPS(X)
#undef X
		NODE_STEP_COUNT
};
const char *node_step_name(enum node_step step);

/* Why the TLS of a client stays at the router, though an agent is beside the node (HND-10). */
#define NODE_KEEPS(X)                                                                              \
	X(NOTHING, "-")               /* it goes, or there is no agent */                          \
	X(PLAIN, "plain")             /* the client's leg has none */                              \
	X(PROTOCOL, "protocol")       /* not of handoff.protocols */                               \
	X(SUITE, "suite")             /* a version or a cipher that records do not have */         \
	X(UNKNOWN, "unknown")         /* no account, or not where the client connected to */       \
	X(DOWN, "down")               /* the agent's breaker is open */                            \
	X(RESTING, "resting")         /* it has failed less than a second ago */                   \
	X(SILENT, "silent")           /* it owes an answer, to a PING too */                       \
	X(DRAINING, "draining")       /* it, or the channel after a reload, takes no new logins */ \
	X(CHANNEL, "channel")         /* none could be had in time, or it was lost */              \
	X(NODE, "node")               /* the agent cannot reach the node */                        \
	X(REFUSED, "refused")         /* the node has refused the agent's connection */            \
	X(NO_PROTOCOL, "no_protocol") /* the agent has no such leg */                              \
	X(LIMIT, "limit")             /* the agent has no room */                                  \
	X(DATA, "data")               /* the data connection could not be made, or broke */        \
	X(LATE, "late")               /* the client's leg was not ready for it within 5 s */

enum node_keep {
#define X(name, text) NODE_KEEP_##name,
	NODE_KEEPS(X)
#undef X
		NODE_KEEP_COUNT
};
const char *node_keep_name(enum node_keep why);

/* What went wrong last. */
#define NODE_ADDRESS_SIZE 288 /* a host name and a port */
#define NODE_CAUSE_SIZE 256
struct node_failure {
	uint64_t at_real_ms; /* 0: nothing has failed */
	enum node_step step;
	const char *hint; /* static; NULL: none */
	char address[NODE_ADDRESS_SIZE], cause[NODE_CAUSE_SIZE];
};

struct node_params {
	const char *name;
	struct health_params health;
};

struct node {
	atomic_uint references;
	char *name;
	struct health *health;
	struct health *agent;       /* the breaker of the agent beside it */
	atomic_uint next_source[2]; /* round robin: IPv4, IPv6 */

	atomic_uint_fast64_t active;   /* established now */
	atomic_uint_fast64_t sessions; /* reached stage 9 */
	atomic_uint_fast64_t bytes_up, bytes_down;
	/* The same two by protocol; the index is the owner's. */
	atomic_uint_fast64_t protocol_active[NODE_PROTOCOLS], protocol_sessions[NODE_PROTOCOLS];
	atomic_uint_fast64_t auth_failed, dial_errors, unavailable;
	atomic_uint_fast64_t agent_channels;          /* that stand now */
	atomic_uint_fast64_t agent_draining;          /* of them, those that take no new logins */
	atomic_uint_fast64_t agent_streams;           /* logins on them now */
	atomic_uint_fast64_t agent_rests_until_ms;    /* nobody tries before; monotonic */
	atomic_uint_fast64_t agent_errors;            /* attempts that came to nothing */
	atomic_uint_fast64_t agent_handed;            /* sessions handed over */
	atomic_uint_fast64_t kept[NODE_KEEP_COUNT];   /* logins that were not, by why */
	atomic_bool has_agent;                        /* in the newest configuration */
	atomic_uint_fast64_t http_answers[5];         /* by status class: 1xx first */
	atomic_uint_fast64_t errors[NODE_STEP_COUNT]; /* failed attempts, retried ones too */

	pthread_mutex_t failure_lock;
	struct node_failure failure; /* under the lock */
};

/* What the agent beside a node is to all workers together. */
#define NODE_AGENTS(X)                                                 \
	X(NONE, "none")         /* there is none */                    \
	X(IDLE, "idle")         /* no channel: nobody needed it */     \
	X(UP, "up")             /* a channel that takes logins */      \
	X(DRAINING, "draining") /* channels, and none takes them */    \
	X(RESTING, "resting")   /* it has just failed; nobody tries */ \
	X(DOWN, "down")         /* its breaker is open */

enum node_agent {
#define X(name, text) NODE_AGENT_##name,
	NODE_AGENTS(X)
#undef X
};

MUST_USE int node_new(const struct node_params *params, struct node **ret_node);
struct node *node_ref(struct node *node);
void node_unref(struct node *node); /* NULL is fine */

enum node_agent node_agent_state(struct node *node, uint64_t now_ms);
const char *node_agent_name(enum node_agent state);

/* Counts it and keeps it as the last one. Any thread. */
void node_note_failure(struct node *node, const struct node_failure *failure);
void node_last_failure(struct node *node, struct node_failure *ret_failure);
/* Forgets the last one. */
void node_forget_failure(struct node *node);

/* The address to dial from (SES-45), of those that are configured (port 0): the next of the family,
 * round robin; an unset address when none is configured at all; -EADDRNOTAVAIL when there are some,
 * but none of this family. */
MUST_USE int node_source_next(struct node *node, const struct addr *sources, size_t count,
	int family, struct addr *ret_source);

/* How long one connect may take: half of what is left while another address or attempt remains,
 * else all of it (SES-45). Milliseconds, at least 1. */
uint64_t node_connect_budget_ms(uint64_t remaining_ms, bool others_left);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * A dial reaches one node: one window of time with attempts in it, each of which resolves the name
 * and tries its addresses in turn; then PROXY header and TLS. Then its owner talks over the leg,
 * and says by dial_failed() if that goes wrong, which may make another attempt. It knows no
 * session: who goes there and where to is told at its start, and its owner is called back. An
 * owner may have several.
 */
#ifndef REACH_DIAL_H
#define REACH_DIAL_H

#include "net/connect.h"
#include "net/proxyhdr.h"
#include "proto/proto.h"
#include "router/names.h"
#include "router/router.h"

#define DIAL_SAID_BYTES 120

/* Called with dial_params.arg. A dial may be freed in each of them. */
struct dial_ops {
	/* The leg is up (again, after dial_start_tls()). */
	void (*up)(void *arg);
	/* Something happened on the leg, which is up. */
	void (*event)(void *arg);
	/* The node is not reached, and will not be; the leg is closed. */
	void (*failed)(void *arg, enum session_reason reason);
	/* The loop has called, and one of the above may have been: the owner's other work is
	 * due. */
	void (*after)(void *arg);
	/* Where the client connected to; asked for when the node is told. */
	const struct addr *(*local)(void *arg);
};

/* All borrowed, as long as the dial is there. */
struct dial_params {
	const struct dial_ops *ops;
	void *arg;
	struct router *router;
	/* What is newest, for the check against the router's own addresses. */
	struct snapshot *const *newest;
	struct loop *loop;
	struct resolver *resolver;
	/* Whereto. */
	struct node *node;
	const struct config_destination *destination;
	enum protocol protocol;
	struct tls_client *tls; /* NULL on a plain leg */
	/* Who. */
	const struct addr *client;
	const unsigned char *proxy_id; /* PROXYHDR_ID_BYTES */
	uint64_t number;               /* of the session, for the watchdog */
	/* How long and how often. */
	uint64_t window_ends_ms; /* the owner says dial_expired() then */
	unsigned retries;
	bool by_request; /* what the node says is an answer, not a greeting */
};

struct dial {
	struct dial_params params;
	const struct config_leg *settings;
	bool probe;    /* it is the breaker's probe: report once */
	bool entered;  /* the breaker awaits a report */
	bool secured;  /* TLS to the node is up */
	bool over;     /* its leg waits for the relay: nothing is read from the node */
	bool in_login; /* the credential goes out: what the node says from now on is not shown */
	unsigned retries_left;

	/* Of the attempt under way. Idle: the pause between two. Up: the owner talks. */
	struct connect connect;
	struct leg leg;
	struct timer timer; /* the pause, or what the node said has to settle */
	struct timer turn;  /* the owner's: more of what the node said is read in the next batch */
	const struct back_ops *back_ops;
	struct back *back; /* owned */
	struct back_forward forward;
	char client_ip[ADDR_TEXT_SIZE], local_ip[ADDR_TEXT_SIZE], id[SESSION_ID_SIZE];
	char host[ADDR_TEXT_SIZE];
	char said[DIAL_SAID_BYTES + 1]; /* the line that made it fail */
};

/* How an attempt failed (SES-46, section 8.1). */
struct dial_fault {
	enum session_reason reason;
	/* Counts only until the node has proved alive; HEALTH_NONE: not the node's fault either. */
	enum health_event event;
	bool retryable;
	int error; /* -errno, or STREAM_EOF: the node closed; says the cause if there is none */
	const char *cause; /* in words, till the call returns; NULL: error says it */
};

/* ---- dial_fault.c ---- */

/* Logs it, with a hint at the usual mistake, and keeps it for /destinations (OPS-13). */
void dial_note_failure(struct dial *dial, const struct dial_fault *fault);
/* What the node said that made it fail: its first line, printable, cut. */
void dial_take_said(struct dial *dial, struct view said);
/* Whether an error is the router's own lack of ports, descriptors or memory; says so if it is. */
bool dial_is_shortage(struct dial *dial, int error);

/* ---- dial.c ---- */

/* Nothing is called, nothing sent. Returns 0 or -ENOMEM. */
MUST_USE int dial_new(const struct dial_params *params, struct dial **ret_dial);
/* Whoever had a verdict for the breaker reported it before. NULL: nothing. */
void dial_free(struct dial *dial);
/* Asks the breaker. False: the node is down, and nothing may be sent there. */
MUST_USE bool dial_enter(struct dial *dial);
/* The first attempt. */
void dial_start(struct dial *dial);
/* The window is over: failed() follows inside. */
void dial_expired(struct dial *dial);
/* One report to the breaker per dial that entered; NULL: nothing. */
void dial_report(struct dial *dial, enum health_event event);
/* Another address, another attempt, or failed(). */
void dial_failed(struct dial *dial, struct dial_fault fault);
/* Starts TLS on the connected leg. */
void dial_start_tls(struct dial *dial);
/* When the leg is up: after what was read and sent. */
void dial_update_watch(struct dial *dial);

#endif

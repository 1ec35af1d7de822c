// SPDX-License-Identifier: Apache-2.0
/*
 * A dial reaches one node: one window of time with attempts in it, each of which resolves the name
 * and tries its addresses in turn; then PROXY header and TLS. Then a talker has the leg: it says by
 * dial_failed() if the talk goes wrong, which may make another attempt. A dial knows no session and
 * no protocol: who goes there and where to is told at its start, and its owner is called back. What
 * is of the talk is the talker's, in memory that the dial has for it. An owner may have several.
 */
#ifndef REACH_DIAL_H
#define REACH_DIAL_H

#include "net/connect.h"
#include "net/proxyhdr.h"
#include "node/node.h"
#include "reach/agent.h"
#include "reach/failure.h"
#include "router/router.h"

#include <stddef.h>

/* Called with dial_params.arg. A dial may be freed in up(), event(), after(), and in failed(). */
struct dial_ops {
	/* The leg is up (again, after dial_start_tls()). */
	void (*up)(void *arg);
	/* Something happened on the leg, which is up. */
	void (*event)(void *arg);
	/* What up() began is over, and the talker's memory is as it was before: the leg goes, and
	 * maybe another will be up. Also from dial_free(). */
	void (*down)(void *arg);
	/* How far the talk is; asked when it fails. */
	enum node_step (*step)(void *arg);
	/* The loop has called, and one of the above may have been, or failed(): the owner's other
	 * work is due. */
	void (*after)(void *arg);
	/* Where the client connected to; asked for when the node is told. */
	const struct addr *(*local)(void *arg);
	/* The agent beside the node is not asked, or has not taken the login; NODE_KEEP_NOTHING: it
	 * has after all. NULL: nobody wants to know. */
	void (*kept)(void *arg, enum node_keep why);
};

/* All borrowed, as long as the dial is there. */
struct dial_params {
	const struct dial_ops *ops;
	void *arg;
	/* The node is not reached, and will not be; the leg is closed. */
	void (*failed)(void *failed_arg, enum reach_failure failure);
	void *failed_arg;
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
	/* By way of the node's agent, if its channel can be had; handoff NULL: not that way. */
	struct agents *agents;
	struct tls_client *agent_tls;
	const struct handoff_open *handoff;
	/* Who. */
	const struct addr *client;
	const unsigned char *proxy_id;         /* PROXYHDR_ID_BYTES */
	const struct proxyhdr_tls *client_tls; /* for the header; NULL: nothing is said of it */
	uint64_t number;                       /* of the session, for the watchdog */
	/* How long and how often. */
	uint64_t window_ends_ms; /* the owner says dial_expired() then */
	unsigned retries;
	size_t talk_bytes; /* the talker's memory: dial.talk */
};

/*
 * What is valid when; a build with sanitizers checks it where the dial is entered:
 *
 *     state      connect      leg                timer  the talk
 *     NEW        idle         closed             -      -
 *     PAUSE      idle         closed             set    -
 *     CONNECT    under way    open from OPEN on  -      -
 *     UP         up           open, watched      -      goes on
 *     SECURE     TLS          open, watched      -      waits for TLS, which it asked for
 *     COMMITTED  up           open, watched      -      goes on, and cannot be had again
 *     OVER       up           another's, or      -      is over
 *                             waits for it
 *     ENDED      idle         closed             -      -
 */
enum dial_state {
	DIAL_NEW,
	DIAL_PAUSE, /* between two attempts */
	DIAL_CONNECT,
	DIAL_UP,
	DIAL_SECURE,
	DIAL_COMMITTED, /* no attempt follows: what was said must not be said twice */
	DIAL_OVER,      /* nothing is read from the node here any more */
	DIAL_ENDED,     /* failed() was called */
};

/* What is owed to the breaker. */
enum dial_breaker {
	BREAKER_OWED_NOTHING, /* not entered, or reported */
	BREAKER_ENTERED,
	BREAKER_PROBE, /* entered as the one that finds out whether the node is back */
};

struct dial {
	struct dial_params params;
	const struct config_leg *settings;
	enum dial_state state;
	enum dial_breaker breaker;
	unsigned retries_left;
	struct connect connect; /* of the attempt under way */
	struct leg leg;
	struct timer timer; /* the pause */
	struct agent_ask ask;
	bool agent_given_up; /* this dial takes the ordinary legs */
	_Alignas(max_align_t) unsigned char talk[];
};

/* How an attempt failed (SES-46, section 8.1). */
struct dial_fault {
	enum reach_failure failure;
	int error; /* -errno, or STREAM_EOF: the node closed; says the cause if there is none */
	const char *cause; /* in words, till the call returns; NULL: error says it */
	const char *said;  /* the line that made it fail, likewise; NULL: none that may be shown */
};

/* ---- dial_fault.c ---- */

/* Logs it, with a hint at the usual mistake, and keeps it for /destinations (OPS-13). */
void dial_note_failure(struct dial *dial, const struct dial_fault *fault);
/* Whether an error is the router's own lack of ports, descriptors or memory; says so if it is. */
bool dial_is_shortage(struct dial *dial, int error);

/* ---- dial.c ---- */

/* Nothing is called, nothing sent. Returns 0 or -ENOMEM. */
MUST_USE int dial_new(const struct dial_params *params, struct dial **ret_dial);
/* Whoever had a verdict for the breaker reported it before. NULL: nothing. */
void dial_free(struct dial *dial);
/* Asks the breaker. False: the node is down, and nothing may be sent there. */
MUST_USE bool dial_enter(struct dial *dial);
/* Counts it with the node, and tells the owner. */
void dial_keep_tls(struct dial *dial, enum node_keep why);
/* The first attempt. */
void dial_start(struct dial *dial);
/* The time for it, or for the verdict once it is committed, is over: failed() follows inside. */
void dial_expired(struct dial *dial);
/* One report to the breaker per dial that entered; NULL: nothing. */
void dial_report(struct dial *dial, enum health_event event);
/* Another address, another attempt, or failed(). */
void dial_failed(struct dial *dial, struct dial_fault fault);
/* Starts TLS on the leg, which is up. */
void dial_start_tls(struct dial *dial);
/* What is said now must not be said twice. The leg is up. */
void dial_commit(struct dial *dial);
/* The talk is over, the leg waits for whoever takes it. */
void dial_end_talk(struct dial *dial);
/* The leg is up: what is watched for; 0: nothing, not even that it hangs up, of which epoll would
 * tell again and again. Returns 0 or -errno. */
MUST_USE int dial_watch(struct dial *dial, uint32_t epoll_events);
/* When the leg is up: after what was read and sent. */
void dial_update_watch(struct dial *dial);

/* The talker has the leg, and may read and write. */
static inline bool dial_talks(const struct dial *dial)
{
	return dial->state == DIAL_UP || dial->state == DIAL_COMMITTED;
}
/* The leg is a stream of a channel to the agent. */
static inline struct channel_stream *dial_stream(const struct dial *dial)
{
	return channel_stream_of(&dial->leg.stream);
}
/* STARTTLS is to be asked for. */
static inline bool dial_wants_starttls(const struct dial *dial)
{
	return dial->settings->tls == CONFIG_TLS_STARTTLS && !stream_is_tls(&dial->leg.stream);
}
/* Its TLS is up; a channel's stream has that of the channel. */
static inline bool dial_is_secured(const struct dial *dial)
{
	return dial->connect.phase == CONNECT_UP && stream_is_tls(&dial->leg.stream);
}

#endif

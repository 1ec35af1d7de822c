// SPDX-License-Identifier: Apache-2.0
/*
 * A worker's channels to agents beside nodes (handoff.md section 3): at most one to each, made at
 * the first need and kept. Whoever wants to reach a node through its agent asks here; while the
 * channel is being made it waits in a row with the others, so that a thousand logins make one
 * attempt. A channel whose settings a reload has changed serves out the streams that it has.
 */
#ifndef REACH_AGENT_H
#define REACH_AGENT_H

#include "handoff/channel.h"
#include "net/connect.h"
#include "node/node.h"
#include "router/router.h"

/* So long a channel may take to stand, name and handshake included (HND-10): behind it the
 * ordinary legs still answer within a second. */
#define AGENT_WINDOW_MS 600
/* After a failure nobody tries for so long. */
#define AGENT_REST_MS 1000

/* A worker's. */
struct agents {
	struct router *router;
	struct loop *loop;
	struct resolver *resolver;
	struct snapshot *const *newest;
	struct list_node links;
};

void agents_init(struct agents *agents, struct router *router, struct loop *loop,
	struct resolver *resolver, struct snapshot *const *newest);
/* Nobody asks any more. Ends all channels. */
void agents_fini(struct agents *agents);

/* Which agent: of a destination, and of the snapshot that it is of. Borrowed for the call. */
struct agent_target {
	struct node *node;
	const struct config_destination *destination;
	struct tls_client *tls;
};

struct agent_ask;
struct agent_link;
/* Called once each at the most. The ask may be freed inside. */
struct agent_ask_ops {
	/* The node's connection stands: ask->stream is the owner's. */
	void (*opened)(struct agent_ask *ask);
	/* refusal: enum handoff_refusal, or 0: there is no channel to be had. */
	void (*failed)(struct agent_ask *ask, int refusal);
	/* Of the stream from then on: as of channel_stream_ops. */
	void (*event)(struct agent_ask *ask);
};

/* Embedded in its owner; zeroed: idle. */
struct agent_ask {
	const struct agent_ask_ops *ops;
	struct handoff_open open; /* borrowed memory: needed until it is answered */
	struct list_node link;    /* among those that wait for a channel */
	bool waits;
	struct channel_stream *stream; /* until it is let go by who has it */
	struct agent_link *at;         /* while it is being opened */
	unsigned char token[HANDOFF_TOKEN_BYTES];
	struct addr agent; /* where the channel goes, and the data connection will */
};

/* Why it is not worth asking now: DOWN, RESTING, SILENT or DRAINING; NODE_KEEP_NOTHING: it is. */
MUST_USE enum node_keep agents_deny(struct agents *agents, const struct agent_target *target);
/* ops and open are set. An answer may come inside. */
void agent_ask(struct agents *agents, const struct agent_target *target, struct agent_ask *ask);
/* A data connection to the agent of this node could not be made, though its channel stands: nobody
 * is to be sent there for a while. */
void agents_data_failed(struct agents *agents, const struct node *node);
/* The pool follows another snapshot: channels that it does not want serve out their streams. */
void agents_follow(struct agents *agents);
/* It has no answer, and the agent has said nothing at all since it was asked. */
bool agent_ask_is_unheard(const struct agent_ask *ask);
/* No answer any more; the stream is let go. Also of an idle one. */
void agent_ask_stop(struct agent_ask *ask);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * The way from an account to a leg to its node: waits while an operator delays the account, asks
 * the mapping, finds where the node is declared, and dials it.
 *
 *     reach_start() -> [hold] -> lookup -> found() -> reach_to() -> dial -> up() -> ...
 *
 * A reach knows no session and no protocol: it is told who goes where, and calls its owner back. An
 * owner may have several at a time; with the node's name known already it begins with reach_to(),
 * and in found() it may say that it needs no dial. All of a worker's are on its thread.
 *
 * How it ends: done() is called once, when nothing is left to be tried, with a row of failure.h.
 * up() is no end: whoever talks over the leg may see it break, and what dial_failed() makes of that
 * is another attempt, with up() again, or done(). An owner that has what it wanted takes the leg
 * (dial_end_talk()) and stops the reach. After reach_stop() nobody is called.
 */
#ifndef REACH_REACH_H
#define REACH_REACH_H

#include "base/list.h"
#include "base/slots.h"
#include "loop/loop.h"
#include "mapping/mapping.h"
#include "reach/dial.h"

enum reach_phase {
	REACH_IDLE,
	REACH_HOLD,   /* counted among those who wait; its end has a timer here */
	REACH_LOOKUP, /* the mapping has been asked; the time for it is the owner's to limit */
	REACH_DIAL,   /* reach.dial is there, until reach_stop(); its window too is the owner's */
};

/* A destination where it is declared. */
struct reach_target {
	struct snapshot *snapshot;
	struct node *node;
	const struct config_destination *destination;
	struct tls_client *tls;   /* NULL on a plain leg */
	struct tls_client *agent; /* NULL: no agent is beside it */
};

/* Called with reach_params.arg. */
struct reach_ops {
	/* It is in this phase now: HOLD, LOOKUP. */
	void (*phase)(void *arg, enum reach_phase phase);
	/* The mapping has answered, and it is idle: reach_to() may follow inside. With
	 * MAPPING_UNAVAILABLE done() follows. The answer is valid till the call returns. */
	void (*found)(void *arg, const struct mapping_answer *answer);
	/* Where reach_to() goes. Node and destination are borrowed from the snapshot: an owner who
	 * keeps them longer than the reach takes a reference of its own. */
	void (*chosen)(void *arg, const struct reach_target *target);
	/* What the agent beside the node is told, valid until reach_stop(), or why it is not asked.
	 * NULL: there is nothing to be handed over. */
	enum node_keep (*offer)(void *arg, const struct handoff_open **ret_open);
	/* It is idle again. at: where it ended; REACH_DIAL: the node was tried. */
	void (*done)(void *arg, enum reach_failure failure, enum reach_phase at);
	/* While it dials, and the talk over the leg; see dial.h. */
	struct dial_ops dial;
};

/* A worker's. */
struct reaches {
	struct router *router;
	struct loop *loop;
	struct resolver *resolver;
	struct snapshot *const *newest;
	struct agents agents;
	struct slots slots;       /* those that wait for an answer of the mapping */
	struct list_node waiting; /* REACH_HOLD */
};

/* All borrowed, as long as it is under way. */
struct reach_params {
	const struct reach_ops *ops;
	void *arg;
	struct reaches *reaches;
	const struct addr *client;
	/* For reach_to(). */
	struct snapshot *snapshot; /* what its owner began with: its settings, its destinations */
	enum protocol protocol;
	const unsigned char *proxy_id;        /* PROXYHDR_ID_BYTES */
	const struct proxyhdr_tls *proxy_tls; /* NULL: the header says nothing of TLS */
	uint64_t number;                      /* of the session, for the watchdog */
	unsigned hops_left;                   /* this one included (SES-63) */
	bool client_tls;                      /* the client's leg has TLS */
	size_t talk_bytes;
};

/* Embedded in its owner; zeroed: idle. */
struct reach {
	const struct reach_ops *ops;
	void *arg;
	struct reaches *reaches;
	const struct addr *client;
	enum reach_phase phase;
	/* In phase(), found() and done() before the dial: the loop has called, so the owner's other
	 * work is due, too. */
	bool from_loop;
	char *account;             /* REACH_HOLD: owned */
	uint64_t handle;           /* REACH_LOOKUP */
	struct snapshot *snapshot; /* REACH_DIAL: reference; NULL: what its owner began with */
	struct dial *dial;         /* REACH_DIAL: owned */
	struct list_node link;
	struct timer timer;
};

/* On the thread that they are of. */
void reaches_init(struct reaches *reaches, struct router *router, struct loop *loop,
	struct resolver *resolver, struct snapshot *const *newest);
/* None is under way. */
void reaches_fini(struct reaches *reaches);
/* An account's hold was changed: those that wait look again. */
void reaches_holds_changed(struct reaches *reaches);

/* An idle one begins. account: needed until the call returns. ops may be called inside. */
void reach_start(struct reach *reach, const struct reach_params *params, const char *account);
/* An idle one goes to a destination. Likewise. */
void reach_to(struct reach *reach, const struct reach_params *params, const char *destination);
/* No callback any more, but down() of a talk that had begun; does nothing to one that is idle. Also
 * from its callbacks. */
void reach_stop(struct reach *reach);

#endif

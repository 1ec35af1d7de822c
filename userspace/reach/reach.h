// SPDX-License-Identifier: Apache-2.0
/*
 * The way from an account to the name of its node: waits while an operator delays the account, then
 * asks the mapping.
 *
 *     idle -> [hold] -> lookup -> done
 *
 * A reach knows no session: it is told the account and the client, and calls its owner back, once,
 * with how it ended. An owner may have several at a time. All of a worker's are on its thread.
 */
#ifndef REACH_REACH_H
#define REACH_REACH_H

#include "base/list.h"
#include "base/slots.h"
#include "loop/loop.h"
#include "mapping/mapping.h"
#include "router/router.h"

enum reach_phase {
	REACH_IDLE,
	REACH_HOLD,   /* counted among those who wait; its end has a timer here */
	REACH_LOOKUP, /* the mapping has been asked; the time for it is the owner's to limit */
};

/* How it ended. */
enum reach_outcome {
	REACH_FOUND,    /* the answer tells the node and how it was found */
	REACH_NO_STORE, /* the operator wants no guess without it; may be tried again later */
	REACH_CROWDED,  /* too many wait for the account, or from the address (SES-43) */
	REACH_FAILED,   /* no memory */
};

struct reach;
struct reach_ops {
	/* It is in this phase now. */
	void (*phase)(struct reach *reach, enum reach_phase phase);
	/* It is idle again. answer: with REACH_FOUND and REACH_NO_STORE, till the call returns. */
	void (*done)(struct reach *reach, enum reach_outcome outcome,
		const struct mapping_answer *answer);
};

/* A worker's. */
struct reaches {
	struct router *router;
	struct loop *loop;
	struct slots slots;       /* those that wait for an answer of the mapping */
	struct list_node waiting; /* REACH_HOLD */
};

/* Embedded in its owner; zeroed: idle. */
struct reach {
	const struct reach_ops *ops;
	struct reaches *reaches;
	const char *account;       /* borrowed, as long as it is under way */
	const struct addr *client; /* likewise */
	enum reach_phase phase;
	/* In a callback: the loop has called, so the owner's other work is due, too. */
	bool from_loop;
	uint64_t handle; /* REACH_LOOKUP */
	struct list_node link;
	struct timer timer;
};

/* On the thread that they are of. */
void reaches_init(struct reaches *reaches, struct router *router, struct loop *loop);
/* None is under way. */
void reaches_fini(struct reaches *reaches);
/* An account's hold was changed: those that wait look again. */
void reaches_holds_changed(struct reaches *reaches);

/* An idle one begins. ops may be called inside. */
void reach_start(struct reach *reach, struct reaches *reaches, const struct reach_ops *ops,
	const char *account, const struct addr *client);
/* No callback any more; does nothing to one that is idle. Also from its callbacks. */
void reach_stop(struct reach *reach);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * What went wrong with a node, for whoever has to mend it (OPS-13): the step, the address, the
 * cause in words, and what is usually the matter. One line in the log, the last one in
 * /destinations.
 */
#ifndef REACH_FAULT_H
#define REACH_FAULT_H

#include "config/config.h"
#include "net/stream.h"
#include "node/node.h"
#include "router/names.h"

#define FAULT_SAID_BYTES 120

/* What hints are chosen by. */
struct fault_facts {
	enum node_step step;
	const struct config_leg *leg;
	int error;
	bool timeout, closed, secured;
	const char *cause, *said;
	enum protocol protocol;
};

/* Once a failure is known to be the node's. failure: its address is filled in, the rest follows
 * here. */
void fault_note(struct node *node, enum session_reason reason, const struct fault_facts *facts,
	struct node_failure *failure);
/* An error (-errno or STREAM_EOF) in words; stream: on which it happened. Valid until the stream
 * is used again. */
const char *fault_words(int error, const struct stream *stream);
/* Whether it says that the node closed the connection. cause: the error in words. */
bool fault_is_closed(int error, const char *cause);

/* The first line of what a node said, printable, cut. */
void fault_take_said(struct view said, char text[FAULT_SAID_BYTES + 1]);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Private to the probes: a session of our own on loopback, with both far ends and the very relay
 * that will serve, on a loop of its own. Whoever tries something turns the loop.
 */
#ifndef RELAY_TRIAL_H
#define RELAY_TRIAL_H

#include "relay/probe.h"

#define TRIAL_PATIENCE_MS 3000

/* The byte at a place of a stream: not the same at others. */
unsigned char trial_pattern(size_t at);
/* A connected pair on loopback: [0] connected, [1] accepted. 0 or -errno. */
MUST_USE int trial_pair(int ret_fds[2]);
void trial_close_pair(int fds[2]);

struct trial {
	struct loop loop;
	struct relay_engine engine;
	struct relay *relay;
	int far[2]; /* the client's and the node's ends */
	size_t sent[2], got[2];
	bool done, ended[2], failed;
	uint64_t cookie; /* of the router's socket of the node */
	size_t at;       /* where the streams' bytes begin in the pattern */
};

struct trial_params {
	struct relay_kernel *kernel;
	const char *queued; /* the client's first bytes, there before the relay is; or "" */
	int buffer_bytes;   /* of the sockets; 0: as they come */
	bool same_host;
	bool occupied; /* another map has the node's socket */
	size_t at;
};

/* 0 or -errno; trial_end() in both cases. */
MUST_USE int trial_start(struct trial *ret_trial, const struct trial_params *params);
void trial_end(struct trial *trial);

/* Of what a side (0: client) sends. */
unsigned char trial_byte(const struct trial *trial, int side, size_t at);
/* What the side's socket takes now, until it has sent that many bytes. */
void trial_send(struct trial *trial, int side, size_t up_to);
/* Reads what has come from a side, at most so much, and compares it. */
void trial_receive(struct trial *trial, int side, size_t most);
/* One turn of the loop, a millisecond at most. False when the time is over or bytes were wrong. */
bool trial_turn(struct trial *trial, uint64_t end_ms);

/* probe.c: a row with what came out; -EPROTO: reason says it all. */
void probe_add_row(struct relay_probe *probe, const char *name, int r, const char *reason);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Private to the path on which a BPF program moves the bytes: what its files share. All of it is
 * about a relay whose mover is relay_sockmap, except relay_arm(), after which it may be.
 */
#ifndef RELAY_PROGRAM_H
#define RELAY_PROGRAM_H

#include "relay/frame.h"

/* ---- program.c ---- */

/* The next step is due in ms, or earlier. */
static inline void relay_step_in(struct relay *relay, uint32_t ms)
{
	relay->program->wait_ms = MIN(relay->program->wait_ms, ms);
}

/* Nothing announces what is waited for. */
static inline void relay_poll_again(struct relay *relay)
{
	relay_step_in(relay, 1u << MIN(relay->polls, (uint8_t)RELAY_PROGRAM_POLLS_MAX));
}

/* Delivered by user space since the program sees the source. */
static inline uint64_t relay_relayed(const struct relay *relay, int d)
{
	return relay->state.halves[d].bytes - relay->program->flows[d].base_bytes;
}

/* Written to the target since then, by whoever. 0 if TCP does not say. */
uint64_t relay_written_since(const struct relay *relay, int d);
/* The source has ended. */
void relay_program_eof(struct relay *relay, int d);
/* A leg is gone. What had arrived from it may still be on its way to the other. */
void relay_program_broken(struct relay *relay, int leg, ssize_t error);

/* VALVE_BYPASS: everything that the node has sent to us until now has been written to the client,
 * so it may write there itself. */
void relay_bypass_allow(struct relay *relay);

/* ---- rows.c ---- */

/* VALVE_BYPASS: brings up to date what the client's socket has taken from the node. TCP is asked:
 * the program does not know how much of a write that was. */
void relay_count_bypassed(struct relay *relay);

/* ---- arm.c ---- */

/* Puts the program on both directions, whose sources have been read empty, or on none. 0 or
 * -errno. */
MUST_USE int relay_arm(struct relay *relay);
/* Bytes that were queued before the program saw the socket stay where they are until somebody
 * looks. */
void relay_kick(int fd);

/* ---- valve.c ---- */

void relay_begin_passing(struct relay *relay, int d, enum half_valve valve);
/* Bytes that a direction may hold in the kernel: its reader decides (REC-4a). */
static inline uint32_t relay_backlog_limit(const struct relay_program *program, int d)
{
	return program->backlog_limit << program->room[d];
}
/* User space relays what the program passes, and gives the direction back when it may. */
void relay_step_passing(struct relay *relay, int d);

enum relay_passed {
	PASSED_MORE,  /* the target does not take it, or is broken, or a turn's worth was moved */
	PASSED_ALL,   /* nothing is left at the source now */
	PASSED_END,   /* ... or any more */
	PASSED_BROKEN /* the source is, and nothing is left there */
};
/* Reads what was passed and writes it until one side blocks or the turn is over. Notes what
 * breaks. */
MUST_USE enum relay_passed relay_copy_passed(struct relay *relay, int d);
void relay_step_resuming(struct relay *relay, int d);

/* ---- bypass.c: down, when the node is on this host ---- */

/* Relays what the node has sent to us all the same. */
void relay_step_bypass(struct relay *relay);
/* Events of the node leg. */
void relay_bypass_leg(struct relay *relay, uint32_t epoll_events);
/* Whether the client is still there to be told an end: a node's write that fails for its sake takes
 * the error away from us, so the state of TCP is asked. */
bool relay_bypass_client_lives(struct relay *relay);

/* ---- owed.c: the end behind what the kernel still has to write ---- */

/* The source has ended: when every byte it sent is written, so has the target. */
void relay_step_owed(struct relay *relay, int d);
/* After a reset: has what arrived before it been written? */
void relay_step_reset(struct relay *relay);
/* Epoll has said that a leg's peer is done or gone. */
void relay_look_at_leg(struct relay *relay, int leg);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Private to relay/: the live part of a relay, which is one frame whatever moves the bytes, and
 * what a mover provides. relay.c starts and stops; engine.c, rows.c, end.c and scratch.c serve
 * every relay; copy.c, half.c and turn.c move bytes in user space, through OpenSSL, through
 * tls/records.c or through ktls_stream.c; program.c, arm.c, valve.c, owed.c and sockmap.c are the
 * path on which the kernel moves them, bypass.c what is different when the node does; switch.c
 * decides when one becomes the other.
 */
#ifndef RELAY_FRAME_H
#define RELAY_FRAME_H

#include "base/clock.h"
#include "relay/state.h"

/* How often the engine looks at all its relays. */
#define RELAY_SCAN_MS 1000
/* What one read takes: from the first to the last of these, doubling while the target takes all of
 * it. Large reads halve what a gigabyte costs; small ones bound what is kept for a slow reader. */
#define RELAY_CHUNK_BYTES 32768
#define RELAY_CHUNK_DOUBLINGS 4
#define RELAY_SCRATCH_BYTES (RELAY_CHUNK_BYTES << RELAY_CHUNK_DOUBLINGS)
/* Room behind a read, which a record of TLS needs to be opened in place. */
#define RELAY_SLACK_BYTES 64
/* Bytes that one direction moves before others get their turn. */
#define RELAY_TURN_BYTES (1024 * 1024)
/* Events from which on a leg is watched for edges: then epoll does not look at it again before it
 * waits. Most sessions that only log in and out never get there: changing it is a system call. */
#define RELAY_EDGE_EVENTS 8
/* A relay that the program takes later is busy from so many events of its legs on, or so many
 * bytes: until then copying has cost less than putting the program on two sockets does. */
#define RELAY_BUSY_EVENTS 32
#define RELAY_BUSY_BYTES (256 * 1024)
/* Of relay->polls, by who moves the bytes, user space or the program: what is waited for is asked
 * after in 1 ms, then in twice that, and so on. */
#define RELAY_USER_POLLS_MAX 8
#define RELAY_PROGRAM_POLLS_MAX 6

/* ---- a relay ---- */

/* What a leg with TLS is to become at the first boundary of records. */
enum relay_become { BECOMES_NOTHING, BECOMES_RECORD, BECOMES_KTLS };

/* What moves the bytes of a relay now. Each may end the relay, none frees it. */
struct relay_mover {
	/* Events of a leg. */
	void (*leg)(struct relay *relay, int leg, uint32_t epoll_events);
	/* What relay_later() has asked for, or that a setting has changed. */
	void (*turn)(struct relay *relay);
	/* Before somebody is given up on: what has moved without user space. NULL: nothing does. */
	void (*refresh)(struct relay *relay);
	/* Once a second: rows are brought up to date. */
	void (*scan)(struct relay *relay);
	/* The program's row of a direction, just before scan(), and its event; NULL: not asked
	 * for. */
	void (*row)(struct relay *relay, uint64_t cookie, const struct hm_flow *flow);
	void (*event)(struct relay *relay, const struct hm_event *event);
};
extern const struct relay_mover relay_user;    /* turn.c */
extern const struct relay_mover relay_sockmap; /* sockmap.c */

/* A direction's, beside its struct relay_half. */
struct relay_io {
	struct buf pending; /* read, not yet written; empty and without memory while it flows */
	uint16_t read_ms;   /* of the last short read; its low bits */
	uint8_t read_want, write_want; /* epoll events a blocked call waits for; 0 = not blocked */
	uint8_t chunk;                 /* doublings of what one read takes */
	int8_t streak;  /* short reads within read_ms; below 0: a pause in asking for more */
	uint8_t events; /* of the source, while both directions flow; up to RELAY_EDGE_EVENTS */
};

/* Of a relay that the program may move. */
struct relay_program {
	const struct relay_mover *mover; /* when it does */
	struct relay_flow flows[2];
	uint64_t bulk_rate, owed_written;
	uint64_t reset_at_ms; /* RELAY_BROKEN: the end, at the latest; else 0 */
	uint64_t arm_at_ms;   /* relay->arms_later: then, at the latest */
	uint32_t backlog_limit, stall_ms, wait_ms;
	uint8_t early_events; /* of both legs, until then; up to RELAY_BUSY_EVENTS */
	uint8_t unsure;       /* a bit per leg that has hung up, but does not say yet how */
	uint8_t room[2];      /* doublings of backlog_limit, per direction (REC-4a) */
	bool same_host;       /* the node may bypass us */
};

/* Thousands of these are idle: REC-10 counts what each takes. */
struct relay {
	struct relay_state state;
	struct relay_engine *engine;
	const struct relay_mover *mover;
	struct stream legs[2];
	struct loop_watch watches[2];
	struct timer timer;  /* for what comes first: the mover's turn, a limit, the report */
	uint64_t turn_at_ms; /* 0: the mover waits for events alone */
	struct relay_io io[2];
	const char *protocol; /* for the rows */
	relay_done_fn *done;
	void *arg;
	uint64_t handle;     /* the engine's; 0: it does not know it */
	uint32_t row_bytes;  /* both directions, as the rows have them; its low bits */
	uint8_t becomes[2];  /* enum relay_become: what it is not yet */
	uint8_t polls;       /* turns in a row for what no event announces */
	bool may_arm : 1;    /* both are plain and may become the program's */
	bool arms_later : 1; /* ... when it has lasted, or is busy: most sessions end before */
	bool retry : 1;      /* of this turn: something is due that no event announces */
	bool has_program : 1;
	bool parts : 1; /* the client's TLS is the node's other end's; idle: it parts */
	struct relay_program program[]; /* one, or none: it is never the program's */
};

/* One more of them, up to `most`. */
static inline void relay_count_poll(struct relay *relay, uint8_t most)
{
	if (relay->polls < most)
		relay->polls++;
}

static inline struct loop *relay_loop(const struct relay *relay)
{
	return relay->engine->loop;
}

static inline struct relay_kernel *relay_kernel(const struct relay *relay)
{
	return relay->engine->kernel;
}

/* The leg that a direction reads, and the one it writes. */
static inline int relay_source(int d)
{
	return d == RELAY_UP ? RELAY_CLIENT : RELAY_NODE;
}

static inline int relay_target(int d)
{
	return d == RELAY_UP ? RELAY_NODE : RELAY_CLIENT;
}

/* The direction that reads a leg. The other one writes it. */
static inline int relay_from(int leg)
{
	return leg == RELAY_CLIENT ? RELAY_UP : RELAY_DOWN;
}

static inline bool relay_has_ended(const struct relay *relay)
{
	return relay->state.phase == RELAY_ENDED;
}

/* state.c: asserts what state.h says, in builds with sanitizers. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
void relay_check(const struct relay *relay);
#else
static inline void relay_check(const struct relay *relay)
{
	(void)relay;
}
#endif

/* ---- scratch.c ---- */

/* What goes through it is somebody's mail. The most that has been in it since it was wiped is
 * known, and that much is wiped when a session ends and once a second: a record costs a
 * comparison. */
extern _Thread_local char relay_scratch[RELAY_SCRATCH_BYTES + RELAY_SLACK_BYTES];
extern _Thread_local size_t relay_scratch_used;

static inline void relay_scratch_note(size_t used)
{
	if (used > relay_scratch_used)
		relay_scratch_used = used;
}

/* Wipes the scratch buffer, and what relay_drop_pending() kept. */
void relay_scratch_wipe(void);
/* What the target did not take waits in `pending`. -ENOMEM, or -ENOBUFS above the queue's limit. */
MUST_USE int relay_keep_pending(struct buf *pending, const char *data, size_t len);
/* Gives up the memory of what waited: it becomes the thread's, for the next one who waits, or is
 * wiped and freed. Not in each of its writes. */
void relay_drop_pending(struct buf *pending);

/* doublings: of one direction, 0 at the start. */
static inline size_t relay_chunk(uint8_t doublings)
{
	return (size_t)RELAY_CHUNK_BYTES << doublings;
}

static inline void relay_chunk_adapt(uint8_t *doublings, size_t taken, size_t written)
{
	if (written < taken)
		*doublings = 0;
	else if (taken >= relay_chunk(*doublings) && *doublings < RELAY_CHUNK_DOUBLINGS)
		(*doublings)++;
}

/* ---- engine.c ---- */

/* The engine knows it from here on: scans, events. Returns 0 or -ENOMEM. */
MUST_USE int relay_register(struct relay *relay);
void relay_unregister(struct relay *relay);
/* During scan(): the row of a direction that user space moves. */
void relay_put_row(struct relay_engine *engine, __u64 cookie, const struct hm_flow *flow);

/* ---- rows.c ---- */

/* A row as it starts. */
void relay_fill_row(
	const struct relay *relay, enum relay_direction direction, struct hm_flow *ret_flow);
/* The rows of a relay that user space moves. It has them from its first scan on, so a short session
 * costs none. */
void relay_put_rows(struct relay *relay);
/* What the program has counted until now. False if there is no row. */
bool relay_look(struct relay *relay, int d, struct hm_flow *ret_flow);
/* Rows go, and with them the program's hold on the sockets, before those are closed: no entry
 * outlives its session. */
void relay_remove_rows(struct relay *relay);

/* ---- end.c ---- */

enum relay_end relay_error_of(int leg, ssize_t error);
/* What the end is called when both directions are done. */
enum relay_end relay_clean_end(const struct relay *relay);
/* An end is under way, in either direction. */
bool relay_has_begun_to_end(const struct relay *relay);
/* A relay that arms later has lasted long enough, or is busy: from here on it may arm. */
void relay_want_program(struct relay *relay);
/* Closes both legs and reports from the loop. Once; later calls do nothing. */
void relay_finish(struct relay *relay, enum relay_end end);
/* As relay_finish(), without a report. */
void relay_close(struct relay *relay, enum relay_end end);
/* A closed side's rest makes no progress: its reader is gone in all but name. */
void relay_give_up(struct relay *relay);
/* The mover's turn(), in ms. */
void relay_later(struct relay *relay, uint64_t ms);
/* A limit is another than before: arms the timer for what comes first. Traffic leaves it alone. */
void relay_arm_timer(struct relay *relay);
/* Whether a closed side is owed bytes; owed_ms count from the last progress. */
void relay_owed_clock(struct relay *relay, bool owed, bool progress);

/* ---- switch.c ---- */

/* The path of both directions while user space moves them, as the legs are now. */
void relay_note_path(struct relay *relay);
/* The leg becomes what it is to become, if it can now. Returns false when the relay has ended. */
bool relay_switch_leg(struct relay *relay, int leg);
/* Both become the program's, if they may and nothing waits or ends. True if they are: the relay is
 * another mover's now, or has ended. */
bool relay_switch_to_program(struct relay *relay);

/* ---- turn.c ---- */

/* What is waited for of the legs that are still watched. May end the relay. */
void relay_watch_legs(struct relay *relay, const uint32_t events[2]);

/* The first turn of a relay, or what it waits for. May end it (reported from the loop). */
void relay_user_begin(struct relay *relay);

/* ---- half.c: how directions end in user space ---- */

/* The source has ended or broken (n: what the read said): what was received is still delivered. */
void relay_source_ended(struct relay *relay, int d, ssize_t n);
/* A leg's keys are used up (TLS 1.2): both directions end, as cleanly as it goes. */
void relay_keys_used_up(struct relay *relay);
/* A leg is gone. Nothing can be written to it any more; what had arrived from it is still
 * delivered, without a clean end. */
void relay_leg_broken(struct relay *relay, int leg, ssize_t error);
/* Sends the target our end of stream, when nothing is left to be sent before it. */
void relay_end_target(struct relay *relay, int d);
/* The client has hung up and the node may be about to. Returns the milliseconds left for that. */
uint64_t relay_waits_for_node(struct relay *relay);
/* Starts, keeps or stops the clock of what is owed. */
void relay_update_owed(struct relay *relay, bool progress);
/* Closing a socket with unread input resets it, and what is on its way to that peer is lost. When
 * we are the ones who end, the peer may well be sending. */
bool relay_still_queued(struct relay *relay);
/* While a closed side is owed bytes: what its peer has acknowledged since the last look is
 * progress, wherever those bytes wait. */
void relay_look_at_owed(struct relay *relay);

/* ---- copy.c: bytes ---- */

/* Writes as much as goes. Returns bytes written, or -errno (not -EAGAIN: that is 0). */
MUST_USE ssize_t relay_write_some(struct relay *relay, int d, const char *data, size_t len);
/* Writes what waits, as relay_write_some() does, and gives its memory up when all is written. */
MUST_USE ssize_t relay_write_pending(struct relay *relay, int d);
/* What the target did not take waits. Returns false when the relay has ended. */
MUST_USE bool relay_keep_rest(struct relay *relay, int d, const char *data, size_t len);
/* What is pending goes first. Returns false when the relay has ended. */
MUST_USE bool relay_flush(struct relay *relay, int d);
/* Reads and writes until one side blocks or the turn is over. *ret_again: more is there. Returns
 * false when the relay has ended. */
MUST_USE bool relay_move(struct relay *relay, int d, bool *ret_again);

#endif

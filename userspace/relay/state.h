// SPDX-License-Identifier: Apache-2.0
/*
 * Where a session is, as plain data: no pointer, no descriptor, nothing that a loop calls. What is
 * live about it (streams, watches, timers, bytes that wait) is struct relay in relay/frame.h,
 * which carries this whatever moves the bytes, so that a change of what moves them changes no fact.
 *
 * Which fields mean something in which state stands here once; relay_check() (state.c) holds a
 * build with sanitizers to it.
 */
#ifndef RELAY_STATE_H
#define RELAY_STATE_H

#include "relay/relay.h"

/* A direction: its source has more to say; has ended, and what is left is being sent; and the
 * target has our end of stream (or is gone): nothing of it waits here. */
enum half_state { HALF_OPEN, HALF_ENDING, HALF_DONE };

/* How its source ended, from HALF_ENDING on. */
enum half_cut {
	HALF_WHOLE,
	HALF_CUT,  /* without close_notify, or broken: no clean end for the target */
	HALF_QUIT, /* as HALF_CUT, but the node had ended before: nothing can be missing to it */
};

/* Who moves its bytes, on the path of two plain legs. */
enum half_valve {
	VALVE_NONE,   /* user space: the program does not see the source */
	VALVE_KERNEL, /* the program redirects */
	/* The valve is open: the program passes everything, user space relays it, but only after
	 * what was redirected before has been written (order). */
	VALVE_PASSING,
	/* User space has allowed redirecting again and waits until no packet judged by the old
	 * state can be under way. */
	VALVE_RESUMING,
	/* As PASSING, for the rest of the session (stall, or bytes left at the end). */
	VALVE_TAKEN,
	/* Down only: the node writes to the client's socket itself, and what it sends to us all the
	 * same goes first. For the rest of the session. */
	VALVE_BYPASS,
};

struct relay_half {
	/* Delivered by user space or before the relay; the program's are in struct relay_flow. */
	uint64_t bytes;
	uint64_t cookie; /* of the source, while the direction has a row; else 0 */
	uint8_t state;   /* enum half_state */
	uint8_t cut;     /* enum half_cut */
	uint8_t valve;   /* enum half_valve */
	uint8_t path;    /* enum relay_path */
	bool closing;    /* the source has hung up, but not all it sent has been read yet */
	bool clear;      /* VALVE_PASSING, _TAKEN: what was redirected before has been written */
};

/* A session; each includes what the ones before it mean, and there is no way back. */
enum relay_phase {
	RELAY_FLOWS,
	/* a peer has other keys than we can follow: both directions are ending */
	RELAY_KEYS_CHANGED,
	RELAY_FAILING, /* a leg cannot be written to; what it has sent is being read */
	RELAY_BROKEN,  /* a leg is gone, `end` says how; what had come from it is delivered */
	RELAY_ENDED,   /* the legs are closed, and `end` says why */
};

struct relay_state {
	struct relay_half halves[2]; /* RELAY_UP reads the client leg */
	uint64_t session;            /* its number */
	uint64_t last_ms;            /* the last byte in either direction, as far as is known */
	uint64_t owed_until_ms; /* when a closed side that makes no progress is given up; or 0 */
	uint64_t quit_at_ms; /* until then the node may end what the client has hung up on; or 0 */
	uint32_t idle_ms, owed_ms;
	uint8_t phase;        /* enum relay_phase */
	uint8_t end;          /* enum relay_end, from RELAY_BROKEN on */
	int8_t first_eof : 2; /* the leg that ended first, or -1 */
	bool one_way : 1;     /* what the client says is dropped */
	uint8_t parting;      /* 1 + enum relay_end: the node leg has our end of stream; else 0 */
	/* What the peers of closed sides had acknowledged at the last look: both added up, the low
	 * 32 bits; 0: not looked at. Only while owed_until_ms is set, and of user space only. */
	uint32_t owed_acked;
};

/* What the program's count of a direction is held against (RELAY_PATH_SOCKMAP, _BYPASS). "Written"
 * and "received" are counted as net/tcpinfo does. */
struct relay_flow {
	uint64_t base_read;    /* received and read before the program saw the source */
	uint64_t base_written; /* written to the target before */
	uint64_t base_bytes;   /* delivered by user space before */
	uint64_t redirected;   /* without user space, as of the last look */
	uint64_t settled;      /* redirected when everything was last known to be written */
	/* PASSING: since when its rate is measured, and what had been relayed then. KERNEL: since
	 * when bytes have not moved (0: they do), and what had been written then. BYPASS: what the
	 * node's program knows to be relayed. */
	uint64_t mark_ms, mark_bytes;
	uint32_t demotions, resumed;
};

#endif

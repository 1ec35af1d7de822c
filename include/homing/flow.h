/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the splice program and user space share: one row per direction of a session, keyed by the
 * cookie of the direction's source socket. `struct hm_flow` is made by user space before the
 * direction is armed and from then on written by the program alone (for the directions that user
 * space moves itself, by user space alone); `struct hm_control` is written by user space alone.
 * Nothing is written from both sides, so nothing is lost to a race.
 *
 * The layout is part of the pinned interface: a change means a new HM_ABI.
 */
#ifndef HOMING_FLOW_H
#define HOMING_FLOW_H

#include <linux/types.h>

#define HM_ABI 2
#define HM_PROTOCOL_BYTES 12
#define HM_WORKERS_MAX 256
#define HM_EVENTS_BYTES 65536
/* bulk_rate is judged over windows of this length */
#define HM_WINDOW_NS 125000000ull

enum hm_direction { HM_UP = 1, HM_DOWN };
enum hm_path { HM_COPY = 1, HM_KTLS, HM_SOCKMAP, HM_BYPASS, HM_RECORD };

enum hm_tls {
	HM_TLS_NONE,  /* on neither leg */
	HM_TLS_ENDS,  /* that of a leg is the router's */
	HM_TLS_PASSED /* the client's keys are at the node's agent: the router reads nothing */
};

/* As of the last packet. */
enum hm_flow_state {
	HM_IDLE,        /* no packet yet */
	HM_REDIRECTING, /* the kernel moves it to the other leg */
	HM_PASSING,     /* the kernel hands it to user space, which moves it */
	HM_USERSPACE    /* no program runs: user space moves it (copy, record, ktls) */
};

/* Why the last change to HM_PASSING happened. */
enum hm_reason {
	HM_NONE,
	HM_BACKLOG, /* the target does not keep up: backlog_limit */
	HM_BULK,    /* bulk_rate */
	HM_HELD,    /* user space asked for it */
	HM_NO_TARGET
};

struct hm_flow {
	__u64 session;    /* number, as in the session's id */
	__u64 handle;     /* for the worker */
	__u64 redirected; /* bytes moved by the kernel */
	__u64 passed;     /* bytes handed to user space; HM_USERSPACE: bytes it has moved */
	__u64 packets;
	__u64 last_ns; /* of the last packet, CLOCK_MONOTONIC; 0: none */
	__u64 window_ns, window_bytes;
	__u64 base_received; /* bytes the source had received and user space had read before */
	__u64 repeated;      /* bytes that came again with new ones, cut off */
	__u32 worker;
	__u32 demotions; /* changes to HM_PASSING */
	__u32 base_seq;  /* write_seq of the target before the first redirected byte */
	__u32 has_base;
	enum hm_direction direction;
	enum hm_path path;
	enum hm_flow_state state;
	enum hm_reason reason;
	enum hm_tls tls;
	char protocol[HM_PROTOCOL_BYTES];
};

struct hm_control {
	__u64 relayed;       /* of hm_flow.passed, bytes written to the target by user space */
	__u64 bulk_rate;     /* bytes per second; 0 = no limit */
	__u32 resumed;       /* redirecting is allowed again after this many demotions */
	__u32 hold;          /* pass everything */
	__u32 backlog_limit; /* bytes */
	__u32 reserved;
};

/* A direction went to HM_PASSING; sent to the ring of its worker. */
struct hm_event {
	__u64 handle;
	__u64 cookie;
	__u32 demotions;
	__u32 direction;
};

_Static_assert(sizeof(struct hm_flow) == 128, "the pinned interface");
_Static_assert(sizeof(struct hm_control) == 32, "the pinned interface");
_Static_assert(sizeof(struct hm_event) == 24, "the pinned interface");

#endif

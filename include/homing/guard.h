/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What the guard's programs (XDP and sk_lookup, one decision) and user space share. Addresses have
 * 16 bytes, IPv4 as ::ffff:a.b.c.d; a source is cut to the bits of struct hm_guard_config. Times
 * are nanoseconds of CLOCK_MONOTONIC.
 *
 * User space alone writes all of it, but for `dropped` and `last_ns` of a ban, the rates and the
 * counts, which are the programs'. Who writes a ban again while its packets are dropped may lose
 * a few of those from `dropped`, which is for people to read.
 *
 * The layout is part of the pinned interface: a change means a new HM_ABI (flow.h).
 */
#ifndef HOMING_GUARD_H
#define HOMING_GUARD_H

#include <linux/types.h>

#define HM_GUARD_ADDR_BYTES 16
#define HM_GUARD_CLIENT_BYTES 48
#define HM_GUARD_EVENTS_BYTES 65536
/* Without a heartbeat for so long everything passes. */
#define HM_GUARD_ALIVE_NS 30000000000ull

/* Key: an address and port that one of our listeners serves. */
struct hm_guard_service {
	__u8 addr[HM_GUARD_ADDR_BYTES];
	__be16 port;
	__u16 zero;
};

/* Key of the lists: the longest prefix wins. bits: 0..128; IPv4 is 96 more than its own. */
struct hm_guard_prefix {
	__u32 bits;
	__u8 addr[HM_GUARD_ADDR_BYTES];
};

enum hm_guard_action { HM_GUARD_ALLOW = 1, HM_GUARD_DENY };

/* A line of the lists, or the ban of a whole prefix. */
struct hm_guard_rule {
	__u64 until_ns; /* 0: no end */
	__u64 since_ns;
	__u32 action;
	__u32 reason; /* of a ban: as hm_guard_ban's; 0: a line of the configuration */
};

/* Key of bans and rates. */
struct hm_guard_source {
	__u8 addr[HM_GUARD_ADDR_BYTES];
};

struct hm_guard_ban {
	__u64 until_ns;
	__u64 since_ns;
	__u64 dropped;                      /* packets, by the programs */
	__u64 last_ns;                      /* of the last one; 0: none */
	__u32 reason;                       /* user space's number for it */
	__u32 strikes;                      /* which ban of this source it is, from 1 */
	char client[HM_GUARD_CLIENT_BYTES]; /* the source as text, for who looks from outside */
};

/* Mapped into user space: the heartbeat is one store. */
struct hm_guard_config {
	__u64 alive_until_ns; /* heartbeat: later than this everything passes */
	__u64 syn_cost_ns;    /* 1e9 / new connections per second and source; 0: no limit */
	__u64 syn_burst_ns;   /* burst * cost */
	__u32 ipv4_bits;      /* 1..32 */
	__u32 ipv6_bits;      /* 1..128 */
	__u32 scope_all;      /* lists and bans end established connections too */
	__u32 observe;        /* count and tell, drop nothing */
	/* How many devices have the XDP program. While there is one, the socket lookup, which sees
	 * a new connection after it, applies no rate and does not count what passes. */
	__u32 xdp_devices;
	__u32 reserved;
};

/* What became of a packet that was looked at; keys of the counts. */
enum hm_guard_verdict {
	HM_GUARD_OTHER,       /* not for a service of ours: passes */
	HM_GUARD_ESTABLISHED, /* not a SYN: passes */
	HM_GUARD_NEW,         /* a SYN that passes */
	HM_GUARD_ALLOWED,     /* by a list: passes */
	HM_GUARD_BANNED,
	HM_GUARD_DENIED, /* by a list, or a banned prefix */
	HM_GUARD_RATE,
	HM_GUARD_INERT,    /* no heartbeat: passes */
	HM_GUARD_CUT,      /* TCP whose header is not there: passes */
	HM_GUARD_FRAGMENT, /* a later one: passes */
	HM_GUARD_VERDICTS
};

/* Per CPU. */
struct hm_guard_count {
	__u64 packets;
	__u64 bytes; /* 0 where only the socket lookup sees them */
};

/* The first, second, fourth, eighth ... packet of a ban was dropped (or would have been). */
struct hm_guard_event {
	__u8 addr[HM_GUARD_ADDR_BYTES]; /* as it came, not cut */
	__u64 ns;
	__u64 dropped;
	__be16 port; /* the service's */
	__u16 verdict;
	__u32 ifindex;
};

_Static_assert(sizeof(struct hm_guard_service) == 20, "the pinned interface");
_Static_assert(sizeof(struct hm_guard_prefix) == 20, "the pinned interface");
_Static_assert(sizeof(struct hm_guard_rule) == 24, "the pinned interface");
_Static_assert(sizeof(struct hm_guard_ban) == 88, "the pinned interface");
_Static_assert(sizeof(struct hm_guard_config) == 48, "the pinned interface");
_Static_assert(sizeof(struct hm_guard_event) == 40, "the pinned interface");

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Who has failed too often: points, penalties and bans of source addresses (GRD-2, GRD-3, GRD-9).
 * Pure policy: it is told what clients do and says who is not served; it opens nothing, logs
 * nothing and knows no kernel program. Whoever acts on bans elsewhere (a program in the kernel, the
 * other routers, the log) is an observer.
 *
 * A source is an address cut to ipv4_prefix or ipv6_prefix. All functions may be called on any
 * thread at the same time, but guard_new(), guard_free() and guard_observe(). Memory is bounded by
 * max_sources, max_bans and, for sources with sessions, by the sessions there are. Times are
 * milliseconds of clock_mono_ms().
 */
#ifndef GUARD_GUARD_H
#define GUARD_GUARD_H

#include "net/addr.h"

enum guard_verdict {
	GUARD_PASS,
	GUARD_BANNED,
	GUARD_DENIED, /* by the deny list */
	GUARD_VERDICTS
};

enum guard_event {
	GUARD_REFUSED,          /* a login that a node refused: 1 point */
	GUARD_MALFORMED,        /* a login that the router refused: 1 point */
	GUARD_HANDSHAKE_FAILED, /* no TLS: 0.2 points */
	GUARD_LEFT_SILENT,      /* gone without a command: 0.2 points */
	GUARD_GOOD_LOGIN,       /* takes a point away */
	GUARD_EVENTS
};

/* Why somebody is banned: the event that made it so many points, or somebody's word. */
enum guard_reason {
	GUARD_FOR_REFUSED,
	GUARD_FOR_MALFORMED,
	GUARD_FOR_HANDSHAKE,
	GUARD_FOR_SILENT,
	GUARD_FOR_ORDER, /* guard_ban() without another reason */
	GUARD_REASONS
};

enum guard_origin {
	GUARD_LOCAL,    /* by points */
	GUARD_OPERATOR, /* by command */
	GUARD_SHARED,   /* another router's */
	GUARD_RESTORED, /* from before a restart */
	GUARD_ORIGINS
};

/* Why a network is never banned (GRD-3), or is always refused. */
enum guard_why {
	GUARD_WHY_LOOPBACK,
	GUARD_WHY_OWN,
	GUARD_WHY_PROXY, /* proxy_trusted */
	GUARD_WHY_NODE,
	GUARD_WHY_ALLOW,
	GUARD_WHY_ADMIN,  /* has called the admin API */
	GUARD_WHY_ACTIVE, /* spare_active: of withheld bans, never of a network */
	GUARD_WHY_DENY,   /* of a network, never of a withheld ban */
	GUARD_WHYS
};

/* How a ban ended. */
enum guard_end {
	GUARD_END_EXPIRED,
	GUARD_END_UNBANNED,
	GUARD_END_DISPLACED, /* max_bans: it was the one that ended first */
	GUARD_END_SPARED,    /* its network is never banned any more */
	GUARD_ENDS
};

/* As in logs, metrics and answers. */
const char *guard_verdict_name(enum guard_verdict verdict);
const char *guard_reason_name(enum guard_reason reason);
const char *guard_origin_name(enum guard_origin origin);
const char *guard_why_name(enum guard_why why);
const char *guard_end_name(enum guard_end end);

struct guard_settings {
	bool observe;       /* all is counted and told, nobody is refused or kept waiting */
	unsigned ban_after; /* points, at least 1 */
	/* So long takes a source from ban_after points to none, in even steps; at least 1. */
	uint64_t ban_window_ms;
	uint64_t ban_time_ms, ban_time_max_ms; /* the first ban; doubles with each up to the last */
	unsigned spare_active; /* so many logged-in sessions save a source from bans by points; 0 =
				* none do */
	uint64_t penalty_ms, penalty_max_ms; /* 0 = off */
	const struct cidr *deny;             /* copied */
	size_t deny_count;
	/* Of guard_new() only, a later guard_configure() changes none of them: */
	unsigned ipv4_prefix, ipv6_prefix; /* 1..32, 1..128 */
	size_t max_bans, max_sources;      /* at least 1 */
};

#define GUARD_TEXT_SIZE 64

struct guard_ban {
	struct cidr net;    /* port 0 */
	struct addr client; /* whose event it was; unset: none */
	uint64_t since_ms, until_ms;
	enum guard_reason reason;
	enum guard_origin origin;
	unsigned strikes; /* which ban of this source it is, from 1; 0: not by points */
	double points;    /* that it had; 0: not by points */
	/* From addresses that were told (PROXY, XCLIENT, ID): not for the kernel, where packets
	 * have other addresses (GRD-3). */
	bool told;
	uint64_t dropped, last_ms;  /* refused by guard_check(); the last time, 0: never */
	char text[GUARD_TEXT_SIZE]; /* the operator's reason; may be empty */
};

/* Called on the thread that caused it, outside locks, so that two calls for one network may
 * overtake each other: who mirrors bans takes a lock of its own and asks guard_find_ban(). Must not
 * block; may call all but guard_observe(). Any may be NULL. */
struct guard_observer_ops {
	void (*ban_set)(void *arg, const struct guard_ban *ban); /* new, or changed */
	void (*ban_removed)(void *arg, const struct guard_ban *ban, enum guard_end end);
	/* A ban by points was not set. Once for each time that the points reached ban_after. */
	void (*withheld)(void *arg, const struct addr *client, enum guard_why why, double points);
	/* guard_nets_each() has something else to say. */
	void (*nets_changed)(void *arg);
};

struct guard;

/* Returns 0 or -errno. */
MUST_USE int guard_new(const struct guard_settings *settings, struct guard **ret_guard);
/* Nobody may use it any more. Tells no observer. NULL is fine. */
void guard_free(struct guard *guard);
/* Bans, points and sessions stay. Returns 0 or -ENOMEM (as it was). */
MUST_USE int guard_configure(struct guard *guard, const struct guard_settings *settings);
/* Before others use the guard. ops stays the caller's and outlives the guard. Returns 0 or -ENOSPC
 * (there are GUARD_OBSERVERS). */
#define GUARD_OBSERVERS 8
MUST_USE int guard_observe(struct guard *guard, const struct guard_observer_ops *ops, void *arg);

/* ---- on the way of a connection ---- */

/* Whether the client is served. */
enum guard_verdict guard_check(struct guard *guard, const struct addr *client);
/* told: the address came from a PROXY header or trusted XCLIENT or ID. secret_hash: of account and
 * password by guard_secret(), 0 = none: one of the source's last ten counts nothing again. */
void guard_note(struct guard *guard, const struct addr *client, bool told, enum guard_event event,
	uint64_t secret_hash);
/* A hash of account and password with a key that only this process knows; never 0. No copy of
 * either is kept. */
uint64_t guard_secret(const struct guard *guard, struct view account, struct view password);
/* How long an answer that a login failed waits, in milliseconds; 0 = not. To be asked before the
 * failure is noted, so that the first one waits for nothing. */
uint32_t guard_penalty_ms(struct guard *guard, const struct addr *client);
/* Logged-in sessions of the client: +1, and -1 when it ends. */
void guard_session(struct guard *guard, const struct addr *client, int delta);

/* ---- bans ---- */

enum { GUARD_NEVER = 1, GUARD_NO_BAN = 2 };

struct guard_order {
	struct cidr net;   /* not /0 */
	uint64_t for_ms;   /* from now, at least 1 */
	uint64_t since_ms; /* 0 = now */
	enum guard_origin origin;
	enum guard_reason reason;
	unsigned strikes; /* what the next ban by points doubles from; 0: unknown */
	bool told;
	struct addr client; /* unset: unknown */
	const char *text;   /* NULL: none; cut to GUARD_TEXT_SIZE - 1 bytes */
};

/* The source that an address belongs to. */
void guard_source(const struct guard *guard, const struct addr *addr, struct cidr *ret_net);
/* A ban that the network has already stays if it lasts longer, unless the operator orders. Returns
 * 0, GUARD_NEVER (all of the network is never banned; *ret_why says why, may be NULL), -EINVAL or
 * -ENOMEM. */
MUST_USE int guard_ban(
	struct guard *guard, const struct guard_order *order, enum guard_why *ret_why);
/* Of exactly this network; its points and strikes are forgotten with it, even if there is no ban.
 * Returns 0 or GUARD_NO_BAN. */
int guard_unban(struct guard *guard, const struct cidr *net);
/* The ban of exactly this network. */
bool guard_find_ban(struct guard *guard, const struct cidr *net, struct guard_ban *ret_ban);
/* The longest ban network that the address is in, never-banned networks not asked. */
bool guard_find_ban_of(struct guard *guard, const struct addr *addr, struct guard_ban *ret_ban);
/* The same for all of a network: a ban of it or of a wider one. */
bool guard_find_ban_around(struct guard *guard, const struct cidr *net, struct guard_ban *ret_ban);
/* Copies, in no order, without a lock held, until fn returns false. */
void guard_bans_each(
	struct guard *guard, bool (*fn)(void *arg, const struct guard_ban *ban), void *arg);
/* Ends what is over, and forgets sources with nothing left. To be called about once a second. */
void guard_sweep(struct guard *guard);

/* ---- networks ---- */

struct guard_net {
	struct cidr net;
	enum guard_why why; /* but ACTIVE; DENY in what guard_nets_each() says */
};

/* The whole set of never-banned networks. Of these and the deny list the longest that an address is
 * in counts, never-banned if both are as long. Bans of sources that are now never banned end.
 * Returns 0 or -ENOMEM (as it was). */
MUST_USE int guard_set_never(struct guard *guard, const struct guard_net *nets, size_t count);
/* Never-banned networks and the deny list; each network once. fn must not call the guard. */
void guard_nets_each(
	struct guard *guard, void (*fn)(void *arg, const struct guard_net *net), void *arg);

/* ---- figures ---- */

struct guard_status {
	bool observe;
	uint64_t sources;             /* that something is known of */
	uint64_t bans[GUARD_ORIGINS]; /* there are now */
	uint64_t checks
		[GUARD_VERDICTS]; /* since guard_new(), as it would have been without observe */
	uint64_t events[GUARD_EVENTS];
	uint64_t bans_total[GUARD_REASONS];
	uint64_t withheld[GUARD_WHYS];
	uint64_t ended[GUARD_ENDS];
	uint64_t repeated;  /* failures that counted nothing, because of their secret */
	uint64_t forgotten; /* sources that max_sources cost */
	uint64_t penalties; /* answers that were kept waiting */
};
void guard_status(struct guard *guard, struct guard_status *ret_status);

#endif

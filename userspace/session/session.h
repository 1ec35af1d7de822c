// SPDX-License-Identifier: Apache-2.0
/*
 * One client connection, from accept to its log line. A session lives and dies on one worker.
 *
 *     accept -> tls -> dialogue -> identify -> hold -> map -> dial -> replay -> splice -> farewell
 *
 * An HTTP connection takes hold, map and dial for each of its requests, between a head and an
 * exchange of its own (http/http.h).
 *
 * session_set_state() is the only place where a session's state changes; the table in states.h says
 * which changes are legal and what a state means, and worker/kinds.c what is done in it. No other
 * thread names a session. Its memory is freed at the end of the loop's batch, so a frame above may
 * still look at session->state to see that it is over.
 */
#ifndef SESSION_SESSION_H
#define SESSION_SESSION_H

#include "base/buf.h"
#include "base/list.h"
#include "loop/loop.h"
#include "mapping/mapping.h"
#include "net/addr.h"
#include "net/leg.h"
#include "net/proxyhdr.h"
#include "proto/proto.h"
#include "relay/relay.h"
#include "router/names.h"
#include "reach/reach.h"
#include "router/router.h"
#include "session/states.h"

#include <assert.h>

struct agent_channel;
struct handover;
struct http;
struct tunnel;
struct session_kind;

/* The node leg that the relay is to take; borrowed from the dial, or from HTTP's. */
struct node_leg {
	struct leg *leg;
	bool one_way;     /* what the client still says is dropped */
	uint32_t sent_up; /* of the relay's bytes, those that it has already; 64 KiB at most */
};

struct session_pool;

/*
 * What a session needs only until the splice: the client leg, the dialogue, the attempt under way.
 * Freed at the end of the loop's batch once the relay has the legs, so that an established session
 * is small; after that session->login is NULL.
 */
struct login {
	struct session *session; /* NULL once it is gone (only while retired) */
	struct loop_deferred deferred;
	bool retired; /* the relay has the legs */

	struct addr local; /* see session_local() */
	struct leg leg;    /* the client's */
	struct timer deadline;
	uint64_t limit_at_ms;    /* the state's time is over */
	uint64_t deadline_at_ms; /* what deadline is set to: no later than that */
	struct timer turn;       /* the dialogue goes on in the next batch, though no event tells */
	uint64_t preauth_at_ms, phase_started_ms, input_ms; /* input_ms: the client's last bytes */
	struct front *front; /* of the kind's; NULL: none yet, or never */
	bool client_eof; /* the client's direction has ended; its last input is still answered */
	bool trusted;    /* the socket's peer is in proxy_trusted (SES-61) */
	bool proxied;    /* a PROXY header told the addresses */
	uint8_t ttl;     /* hops left, this one included */
	/* The unique id of the PROXY header towards the node: the first router's, passed on
	 * unchanged, so that it knows the session when it comes round (SES-64). */
	unsigned char proxy_id[PROXYHDR_ID_BYTES];
	struct timer proxy_wait; /* how long a server-first leg waits for an optional header */
	uint16_t privacy;        /* of front->privacy(), already counted */
	bool starttls;           /* the handshake is one that the client asked for by command */
	bool spoke;              /* a command, whatever it was */
	bool held;               /* what is in leg.out waits: nothing is sent (GRD-9) */
	bool held_for_good;      /* S_PENALTY: what comes behind the answer */
	int held_outcome;
	uint32_t penalty_ms; /* how long it waits; 0: the last failure costs no time */
	uint64_t secret;     /* guard_secret() of the attempt under way; 0: none */

	/* Filled by identify, wiped after the replay. */
	struct proto_credential *credential;
	struct reach reach; /* to its node, and the leg there; under way from S_HOLD on */
	const struct config_destination *destination; /* session->node's; of a snapshot */
	struct snapshot *node_snapshot; /* reference: a newer one, which that is of, or NULL */
	char node_name[MAPPING_NAME_BYTES + 1]; /* S_DIAL: the destination that is to be reached */
	struct http *http;                      /* NULL on mail connections */
	struct node_leg node_leg;               /* S_SPLICE */
	struct handoff_open handoff_open;       /* what an agent is told; handover_offer() */
	struct proxyhdr_tls proxy_tls;          /* an agent's: the client's; version NULL: not */
	struct handover *handover;              /* S_SPLICE: to an agent; owned */
	/* Of an agent's: S_CHANNEL, and a login that has come on one; owned. */
	struct list_node knock; /* pool->knocks */
	struct agent_channel *channel;
	struct tunnel *tunnel;
};

/* Something is there for the client, and need not wait. */
static inline bool login_has_to_send(const struct login *login)
{
	return login->leg.out.len && !login->held;
}

/* Thousands of these are idle: REC-10 counts what each takes. */
struct session {
	struct session_pool *pool;
	union {
		struct list_node link;         /* pool->sessions, oldest first */
		struct loop_deferred deferred; /* once it is forgotten */
	};

	struct snapshot *snapshot; /* reference: settings it started with */
	struct listener *listener; /* counters; borrowed from snapshot */
	const struct config_listener *settings;
	const struct session_kind *kind;
	uint64_t number;
	struct login *login; /* owned; NULL once established */
	struct relay *relay; /* owned; NULL before */
	struct guard *guard; /* counts it as logged in, and outlives it; NULL: none does */
	char *account;       /* normalised; NULL before the first accepted identifier */
	char *via;           /* the id of a trusted peer's session, or NULL */
	struct node *node;   /* as long as the router (router/known.h); NULL before the lookup */

	/* For the log line. */
	uint64_t accepted_ms;
	uint64_t bytes[2];                    /* carried, and in the counters */
	const char *tls_version, *tls_cipher; /* static strings */
	int32_t phase_ms[PHASES];             /* -1: not reached */
	uint32_t requests;                    /* HTTP */
	struct addr client;
	uint16_t attempts;
	int8_t mech : 4;     /* enum sasl_mech or -1 */
	int8_t choice : 4;   /* enum session_choice or -1 */
	uint8_t kept : 7;    /* enum node_keep, if it has not been handed over since */
	bool kept_alive : 1; /* the node's socket has keepalive */
	int8_t path[2];      /* enum relay_path */

	enum session_state state : 5;
	enum session_reason reason : 6;
	bool told : 1; /* client is what a PROXY header or a trusted peer said (GRD-3) */
	bool cache_hit : 1;
	bool counted_active : 1; /* in node->active */
	bool tls_at_agent : 1;   /* the client's TLS has been handed over (HND-30) */
	bool uncounted : 1;      /* it knocks, and takes nobody's place yet */
};
static_assert(SESSION_STATE_COUNT <= 1 << 5 && SESSION_REASON_COUNT <= 1 << 6, "they fit");

/* How the node was chosen: by the mapping, then the ways that need no lookup. */
enum session_choice {
	CHOICE_MAPPED = MAPPING_MAPPED,
	CHOICE_DEFAULT = MAPPING_DEFAULT,
	CHOICE_STALE = MAPPING_STALE,
	CHOICE_UNAVAILABLE = MAPPING_UNAVAILABLE,
	CHOICE_PIN = MAPPING_CHOICES,
	CHOICE_PASSTHROUGH,
};
const char *session_choice_name(enum session_choice choice);
static_assert(CHOICE_PASSTHROUGH < 1 << 3 && SASL_MECHS <= 1 << 3, "they fit, and -1");

/* "H" + 4 hex digits of the instance + "-" + hex number. */
void session_format_id(const struct session *session, char ret_id[SESSION_ID_SIZE]);

/* ---- the sessions of one worker ---- */

struct session_pool {
	const struct session_kind *kinds; /* PROTOCOLS of them */
	struct router *router;
	struct snapshot *snapshot; /* reference: what new sessions start with */
	struct loop *loop;
	struct resolver *resolver;
	struct list_node sessions;
	uint32_t count;
	struct reaches reaches;
	/* Those that knock, the oldest first: no more than so many, and they have no place of the
	 * listener's (HND-32). */
	struct list_node knocks;
	uint32_t knock_count;
	struct slots tunnels;    /* sessions that data connections may join (agent/tunnel.c) */
	struct timer fold_timer; /* moves relay bytes into the counters */
	struct timer trim_timer; /* armed while logins have left memory behind */
	uint32_t retired;        /* logins, since the last trim */
	uint32_t retired_before; /* of them, those until it was armed */
	struct relay_engine engine;
	bool shutting_down;
	/* Called when the last session is gone; may be NULL. */
	void (*on_empty)(struct session_pool *pool);
};

/* kinds: a row for each protocol; outlives the pool. Returns 0 or -errno. */
MUST_USE int session_pool_init(struct session_pool *pool, const struct session_kind *kinds,
	struct router *router, struct loop *loop, unsigned worker);
/* New sessions start with this snapshot (a reference is taken); of its settings, those that live
 * sessions follow are applied to them (CFG-55). */
void session_pool_follow(struct session_pool *pool, struct snapshot *snapshot);
/* Ends every session at once. */
void session_pool_fini(struct session_pool *pool);

/* Where the client connected to: what it or a peer in front says, else the socket's own address,
 * which is looked up when it is first asked for. Before the splice. */
const struct addr *session_local(struct session *session);
/* What the router calls itself towards client and node: server.hostname, else that address as a
 * literal, in text. */
const char *session_own_name(struct session *session, char text[ADDR_TEXT_SIZE]);

/* OpenSSL has done its work with the handshake; what comes then is records (REC-1, REC-3). */
bool session_takes_records(const struct session *session);

/* Takes over fd. Counts and closes it when the listener is full. */
void session_accept(
	struct session_pool *pool, struct listener *listener, int fd, const struct addr *peer);
/* One that knocks: the oldest goes if there are too many. It ends with the state. */
void session_knock(struct session *session);
void session_knock_over(struct session *session);
/* Whether the listener, with these settings, has room for one more, which is counted then; says so
 * if it has not. What session_close() does for a session, the other does for none. */
MUST_USE bool session_count_in(
	struct listener *listener, struct router *router, const struct config_listener *settings);
void session_count_back(struct listener *listener, struct router *router);
/* SIGTERM: sessions before stage 9 get the shutdown line; established ones go on. */
void session_pool_shut_down(struct session_pool *pool);
/* End of shutdown_grace: everything ends now. */
void session_pool_kill(struct session_pool *pool);

/* An account's hold was changed: those that wait look again. */
void session_pool_holds_changed(struct session_pool *pool);
/* Ends an account's sessions that are past the hold. Returns how many. */
unsigned session_pool_kick(struct session_pool *pool, const char *account);

/* The pool of the calling thread (one per worker); NULL when it has none. */
struct session_pool *session_pool_current(void);

/* ---- memory (memory.c) ---- */

/* In no state yet. Returns 0 or -ENOMEM. */
MUST_USE int session_new(struct session_pool *pool, struct session **ret_session);
/* No list has it any more; its memory goes at the end of the loop's batch. */
void session_forget(struct session *session);

/* ---- between the steps (session.c, client_leg.c) ---- */

/* Above it no further command is answered until it is sent. */
#define SESSION_OUT_HIGH_BYTES 16384

/*
 * Enters a state: writes it, calls the cell's enter, and sets the limit of the state in which the
 * session then is. It enters at once, not later from a loop of its own, so that nothing can be
 * left behind that nobody enters. So it is the last thing that a step does: when it returns the
 * session may be several states further, or closed. A frame that goes on asks session->state
 * first, or whether what it holds is still the session's (reach.dial, http->leg). The depth is
 * bounded: a way round in the table (REPLAY to DIALOGUE, EXCHANGE to DIAL) needs an answer of the
 * node, which an event brings, and EXCHANGE to IDLE is a step of http_run(), which returns to its
 * loop.
 */
void session_set_state(struct session *session, enum session_state state);
/* The addresses are known, or TLS is up: what the kind of the listener begins with. */
void session_begin(struct session *session);
/* login->node_name; at most MAPPING_NAME_BYTES. */
void session_set_node_name(struct session *session, const char *name);
/* A refused attempt gives a fresh preauth_timeout. */
void session_restart_preauth(struct session *session);

/* The state's limit from now on. */
void session_restart_limit(struct session *session);
void session_set_limit(struct session *session, uint64_t in_ms);

/* The relay has the legs: what the login needed goes at the end of the loop's batch. */
void session_retire_login(struct session *session);
void session_count_auth(struct session *session, enum session_auth result);
/* A failed login: counts it, announces it to the subscribers of auth_events.h and logs it.
 * Called before the attempt is counted in session->attempts. temporary: the node may say yes to
 * the same later. */
void session_auth_failed(struct session *session, enum session_auth result, bool temporary);
void session_phase_start(struct session *session);
void session_phase_end(struct session *session, enum session_phase phase);
/* It owes the client its last line at most. */
static inline bool session_is_ending(const struct session *session)
{
	return session_states[session->state].client_end == CLIENT_END_OVER;
}
/* Watches the accepted socket; the caller keeps fd on failure. Returns 0 or -errno. */
MUST_USE int session_client_open(struct session *session, int fd);
/* Sends what is in out as far as possible. Returns 0 (all or blocked), -errno (session closed). */
MUST_USE int session_flush(struct session *session);
void session_update_watch(struct session *session);
/* Moves on after anything happened: output first, then the state's cell. */
void session_run(struct session *session);
/* The cell alone: nothing has happened on the client's side. */
void session_progress(struct session *session);
/* Reads what may be read, and moves on. */
void session_client_event(struct session *session, uint32_t epoll_events);
/* It goes on in so many ms (0: in the next batch), though no event tells. */
void session_client_later(struct session *session, uint64_t in_ms);
/* Ends it: sends out first (FLUSH), unless now. */
void session_finish(struct session *session, enum session_reason reason);
void session_close(struct session *session, enum session_reason reason);
/* The node cannot be had: the kind's answer, then the end. */
void session_unavailable(struct session *session, enum session_reason reason);
/* The front's line about what happened; drops the node leg, wipes the credential. */
void session_answer(struct session *session, enum front_reply reply);
/* After front->reply() or ->refused(): go on with the dialogue, or end. */
void session_after_reply(struct session *session, int outcome);
void session_wipe_credential(struct session *session);
/* What an end or error of the client's stream (as stream_read() returns it) comes to. */
enum session_reason session_client_error(ssize_t error);
/* Reads what the client sent, a turn's worth at most. Returns 0, or 1 if the session is over. */
int session_read_client(struct session *session);

/* Ends the way to a node, with its leg; there may be none. */
void session_drop_dial(struct session *session);
/* The relay is to take it: login->node_leg. */
void session_hand_over_dial(struct session *session);
/* The relay takes both legs. Returns 0 or -errno: they are as before. */
MUST_USE int session_start_relay(struct session *session);

/* ---- the log (log.c) ---- */

void session_log(struct session *session); /* the one line */
/* Moves what the relay has carried since the last call into the counters. */
void session_fold(struct session *session);
/* An account as logs show it: 2 characters, ***#, 8 hex digits of its SHA-256. */
void session_redact(struct view account, char *ret, size_t ret_size);
#define SESSION_ACCOUNT_TEXT_SIZE 64
/* The session's account as logs show it: in full where the configuration says so, else redacted
 * into text. NULL: there is none. */
const char *session_shown_account(
	const struct session *session, char text[SESSION_ACCOUNT_TEXT_SIZE]);

#endif

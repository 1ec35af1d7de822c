// SPDX-License-Identifier: Apache-2.0
/*
 * The states of a session, one row each: what may follow, what limits the time, what is watched of
 * the client, what its end, a kick and a shutdown mean there, and how soon it has its turn. Whoever
 * wants to know what a state means asks its row (session_states[session->state]); only a step that
 * owns a state names it.
 */
#ifndef SESSION_STATES_H
#define SESSION_STATES_H

#include "base/compiler.h"
#include "loop/loop.h"

#include <stdint.h>

/* How long a client, or a closed direction of a relay, is still given to take what it is owed. */
#define SESSION_FAREWELL_MS 60000

/* What limits the time in a state. */
enum session_limit {
	LIMIT_NONE,       /* the state has its own timers, or ends by itself */
	LIMIT_PREAUTH,    /* preauth_timeout, from accept or the last refusal */
	LIMIT_LOOKUP,     /* the mapping answers within lookup_timeout; this is the safety net */
	LIMIT_WINDOW,     /* backend_timeout */
	LIMIT_FAREWELL,   /* SESSION_FAREWELL_MS in all */
	LIMIT_PROGRESS,   /* SESSION_FAREWELL_MS without progress */
	LIMIT_LINGER,     /* 3 s */
	LIMIT_KEEPALIVE,  /* http.keepalive_timeout */
	LIMIT_RELAY_IDLE, /* http.relay_idle without progress */
	LIMIT_FIRST_HEAD, /* LIMIT_PREAUTH, and http.head_timeout */
	LIMIT_HEAD,       /* LIMIT_RELAY_IDLE, and http.head_timeout in all */
	LIMIT_PENALTY,    /* what the guard says; of a dialogue also LIMIT_PREAUTH */
	LIMIT_KNOCK,      /* 5 s */
	LIMIT_TUNNEL,     /* longer than any router waits for a node */
};

/* What is watched of the client leg, and read from it. */
enum session_watch {
	WATCH_NONE,   /* it is closed, or the relay's */
	WATCH_SEND,   /* nothing is read; what waits to be sent goes out */
	WATCH_FLUSH,  /* the same, and close_notify, for which there is nothing in out */
	WATCH_HEADER, /* the step reads the socket itself; nothing is sent */
	WATCH_TLS,    /* what the handshake waits for; nothing is sent beside it */
	WATCH_TALK,   /* commands, as long as their answers find a taker */
	WATCH_AHEAD,  /* what is pipelined, while there is room; behind that the end (SES-3) */
	WATCH_DROP,   /* what comes is dropped */
	WATCH_BODY,   /* what the exchange asks for (HTTP) */
};

/* The end of the client's direction; a hang-up ends the session in any case. */
enum session_client_end {
	CLIENT_END_CLOSES,
	CLIENT_END_ANSWERS, /* what came before it is answered first */
	/* a login: closes. A request: the node has a moment to be reached (HTTP-96) */
	CLIENT_END_GRACE,
	CLIENT_END_SERVES, /* a request that is complete is still answered */
	CLIENT_END_OVER,   /* the session is ending already, and keeps its reason */
};

/* SES-42, SES-85: what has read the mapping before the change must not go on. */
enum session_kick { KICK_NOT, KICK_ANSWERS, KICK_CLOSES };

/* SIGTERM. */
enum session_shutdown {
	SHUTDOWN_CLOSES,
	SHUTDOWN_ANSWERS,      /* the line that says so, then the end */
	SHUTDOWN_ANSWERS_HEAD, /* the same if something of a request is there; else closes */
	SHUTDOWN_SERVES, /* a login: as SHUTDOWN_ANSWERS. A request is still served (HTTP-93) */
	SHUTDOWN_NOT,    /* goes on */
};

struct session_state_row {
	uint32_t next; /* BIT() of each state that may follow */
	enum session_limit limit;
	enum session_watch watch;
	enum session_client_end client_end;
	enum session_kick kick;
	enum session_shutdown shutdown;
	enum loop_stage order; /* LIB-8: when the client's events have their turn */
	const char *stage;     /* as operators see it */
};

/* What a request may lead to, once enough of it is there. */
#define REQUEST_STATES                                                                  \
	(BIT(S_HOLD) | BIT(S_LOOKUP) | BIT(S_DIAL) | BIT(S_EXCHANGE) | BIT(S_PENALTY) | \
		BIT(S_FLUSH) | BIT(S_CLOSED))

/* What a connection may start with, once its addresses are known. */
#define FIRST_STATES \
	(BIT(S_DIALOGUE) | BIT(S_FIRST_HEAD) | BIT(S_DIAL) | BIT(S_CHANNEL) | BIT(S_CLOSED))

/* clang-format off */
/* name: may go to
 *	limit, watch, the client's end, kick, shutdown, order, stage */
#define SESSION_STATES(X) \
	X(ACCEPT, BIT(S_PROXY) | BIT(S_KNOCK) | FIRST_STATES | BIT(S_TLS), \
		LIMIT_NONE, WATCH_SEND, CLIENT_END_CLOSES, KICK_NOT, SHUTDOWN_CLOSES, \
		LOOP_HELLO, "dialogue") \
	X(PROXY, FIRST_STATES | BIT(S_TLS), \
		LIMIT_PREAUTH, WATCH_HEADER, CLIENT_END_CLOSES, KICK_NOT, SHUTDOWN_CLOSES, \
		LOOP_HELLO, "dialogue") \
	X(KNOCK, BIT(S_TLS) | BIT(S_CLOSED), \
		LIMIT_KNOCK, WATCH_HEADER, CLIENT_END_CLOSES, KICK_NOT, SHUTDOWN_CLOSES, \
		LOOP_HELLO, "knock") \
	X(TLS, FIRST_STATES, \
		LIMIT_PREAUTH, WATCH_TLS, CLIENT_END_CLOSES, KICK_NOT, SHUTDOWN_CLOSES, \
		LOOP_HELLO, "dialogue") \
	X(DIALOGUE, BIT(S_STARTTLS) | BIT(S_HOLD) | BIT(S_LOOKUP) | BIT(S_DIAL) | \
			BIT(S_PENALTY) | BIT(S_FLUSH) | BIT(S_CLOSED), \
		LIMIT_PREAUTH, WATCH_TALK, CLIENT_END_ANSWERS, KICK_NOT, SHUTDOWN_ANSWERS, \
		LOOP_TALK, "dialogue") \
	X(STARTTLS, BIT(S_TLS) | BIT(S_CLOSED), \
		LIMIT_PREAUTH, WATCH_SEND, CLIENT_END_CLOSES, KICK_NOT, SHUTDOWN_CLOSES, \
		LOOP_TALK, "dialogue") \
	X(FIRST_HEAD, BIT(S_EXTRACT) | REQUEST_STATES, \
		LIMIT_FIRST_HEAD, WATCH_TALK, CLIENT_END_CLOSES, KICK_NOT, \
		SHUTDOWN_ANSWERS_HEAD, LOOP_TALK, "http") \
	X(IDLE, BIT(S_HEAD) | BIT(S_FLUSH) | BIT(S_CLOSED), \
		LIMIT_KEEPALIVE, WATCH_TALK, CLIENT_END_CLOSES, KICK_CLOSES, \
		SHUTDOWN_ANSWERS_HEAD, \
		LOOP_AT_ONCE, "http_idle") /* its last request was the account's */ \
	X(HEAD, BIT(S_EXTRACT) | REQUEST_STATES, \
		LIMIT_HEAD, WATCH_TALK, CLIENT_END_CLOSES, KICK_ANSWERS, SHUTDOWN_ANSWERS, \
		LOOP_AT_ONCE, "http") \
	X(EXTRACT, REQUEST_STATES, \
		LIMIT_RELAY_IDLE, WATCH_TALK, CLIENT_END_CLOSES, KICK_NOT, SHUTDOWN_ANSWERS, \
		LOOP_TALK, "http") \
	X(HOLD, BIT(S_LOOKUP) | BIT(S_FLUSH) | BIT(S_CLOSED), \
		LIMIT_NONE, WATCH_AHEAD, CLIENT_END_CLOSES, KICK_NOT, SHUTDOWN_ANSWERS, \
		LOOP_TALK, "hold") \
	X(LOOKUP, BIT(S_DIAL) | BIT(S_EXCHANGE) | BIT(S_FLUSH) | BIT(S_CLOSED), \
		LIMIT_LOOKUP, WATCH_AHEAD, CLIENT_END_GRACE, KICK_ANSWERS, SHUTDOWN_SERVES, \
		LOOP_DIAL, "lookup") /* it may have read what was there before */ \
	X(DIAL, BIT(S_REPLAY) | BIT(S_SPLICE) | BIT(S_EXCHANGE) | BIT(S_TUNNEL) | BIT(S_FLUSH) | \
			BIT(S_CLOSED), \
		LIMIT_WINDOW, WATCH_AHEAD, CLIENT_END_GRACE, KICK_ANSWERS, SHUTDOWN_SERVES, \
		LOOP_DIAL, "dial") \
	X(REPLAY, BIT(S_DIALOGUE) | BIT(S_PENALTY) | BIT(S_SPLICE) | BIT(S_FLUSH) | BIT(S_CLOSED), \
		LIMIT_WINDOW, WATCH_AHEAD, CLIENT_END_CLOSES, KICK_ANSWERS, SHUTDOWN_ANSWERS, \
		LOOP_ANSWER, "replay") \
	X(EXCHANGE, BIT(S_IDLE) | BIT(S_PENALTY) | BIT(S_DIAL) | BIT(S_SPLICE) | BIT(S_FLUSH) | \
			BIT(S_CLOSED), \
		LIMIT_RELAY_IDLE, WATCH_BODY, CLIENT_END_SERVES, KICK_ANSWERS, SHUTDOWN_SERVES, \
		LOOP_AT_ONCE, "http") \
	X(PENALTY, BIT(S_DIALOGUE) | BIT(S_IDLE) | BIT(S_FLUSH) | BIT(S_CLOSED), \
		LIMIT_PENALTY, WATCH_AHEAD, CLIENT_END_CLOSES, KICK_NOT, SHUTDOWN_ANSWERS, \
		LOOP_TALK, "penalty") /* what is in out waits (login->held) */ \
	X(CHANNEL, BIT(S_CLOSED), \
		LIMIT_NONE, WATCH_NONE, CLIENT_END_CLOSES, KICK_NOT, SHUTDOWN_SERVES, \
		LOOP_AT_ONCE, "channel") \
	X(TUNNEL, BIT(S_SPLICE) | BIT(S_CLOSED), \
		LIMIT_TUNNEL, WATCH_NONE, CLIENT_END_CLOSES, KICK_CLOSES, SHUTDOWN_NOT, \
		LOOP_AT_ONCE, "replay") \
	X(SPLICE, BIT(S_ESTABLISHED) | BIT(S_CLOSED), \
		LIMIT_PROGRESS, WATCH_SEND, CLIENT_END_CLOSES, KICK_CLOSES, SHUTDOWN_NOT, \
		LOOP_ANSWER, "replay") \
	X(ESTABLISHED, BIT(S_CLOSED), \
		LIMIT_NONE, WATCH_NONE, CLIENT_END_CLOSES, KICK_CLOSES, SHUTDOWN_NOT, \
		LOOP_AT_ONCE, "established") \
	X(FLUSH, BIT(S_LINGER) | BIT(S_CLOSED), \
		LIMIT_FAREWELL, WATCH_FLUSH, CLIENT_END_OVER, KICK_NOT, SHUTDOWN_NOT, \
		LOOP_ANSWER, "dialogue") \
	X(LINGER, BIT(S_CLOSED), \
		LIMIT_LINGER, WATCH_DROP, CLIENT_END_OVER, KICK_NOT, SHUTDOWN_NOT, \
		LOOP_TALK, "dialogue") \
	X(CLOSED, 0, \
		LIMIT_NONE, WATCH_NONE, CLIENT_END_OVER, KICK_NOT, SHUTDOWN_NOT, \
		LOOP_AT_ONCE, "dialogue")
/* clang-format on */

enum session_state {
#define X(name, ...) S_##name,
	SESSION_STATES(X)
#undef X
		SESSION_STATE_COUNT
};

extern const struct session_state_row session_states[SESSION_STATE_COUNT];

#endif

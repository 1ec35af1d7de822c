// SPDX-License-Identifier: Apache-2.0
/*
 * Kinds of listeners: what a protocol means for a session, one row each, and for each way of a
 * connection (mail, pass-through, HTTP) one cell per state: what entering it, going on, an event of
 * the client and the end of its time do there. The core and the steps reach a kind by
 * session->kind alone and never ask for the protocol, so that no step calls another one: it sets
 * the state, and the cell of that state goes on.
 */
#ifndef SESSION_KIND_H
#define SESSION_KIND_H

#include "session/session.h"

struct session_cell {
	/* The state has just been entered. May go on to others at once; see session_set_state(). */
	void (*enter)(struct session *session);
	/* Something has happened: moves on as far as it goes. */
	void (*progress)(struct session *session);
	/* What the client's socket tells, but a hang-up. NULL: session_client_event(). */
	void (*client)(struct session *session, uint32_t epoll_events);
	/* Asks for the events of the client's socket. NULL: as the state's row says. */
	void (*watch)(struct session *session);
	/* The state's limit has passed, or may have changed. */
	void (*deadline)(struct session *session);
	/* HTTP: one step of what progress repeats. Returns whether there may be more to do now. */
	bool (*step)(struct session *session);
};

struct session_kind {
	const struct session_cell *cells; /* SESSION_STATE_COUNT of them */
	enum session_state first; /* with the addresses known and TLS, if it is implicit, up */
	struct tls_alpn alpn;
	bool client_first;     /* the client speaks first also without TLS */
	bool knocks;           /* its first bytes say what it is, before TLS (S_KNOCK) */
	bool no_guard;         /* its clients are routers, or have been judged by one */
	bool by_request;       /* nodes are reached by request, and counted with their answers */
	bool greets_after_tls; /* the greeting is repeated after STARTTLS */
	const struct front_ops *front; /* NULL: the router does not talk to the client */
	const struct back_ops *back;   /* NULL: nor to the node */

	/* Before the first state, with TLS up: what is known already. May be NULL. */
	void (*begin)(struct session *session);
	/* login->node_name is known: the state in which one goes there. NULL: S_DIAL. */
	enum session_state (*found)(struct session *session);
	/* What an agent beside the node is told of the client, or why its TLS stays here. NULL: no
	 * agent is asked. */
	enum node_keep (*offer)(struct session *session, const struct handoff_open **ret_open);
	/* The pool follows another snapshot. NULL: that is nothing to it. */
	void (*followed)(struct session *session);
	/* The node leg is up (again, after STARTTLS): session->login->reach.dial. */
	void (*connected)(struct session *session);
	/* Something happened on it. NULL: it is handed on at once. */
	void (*node_event)(struct session *session);
	/* It goes, and the talk over it is over (dial.h). NULL: there was none. */
	void (*node_down)(struct session *session);
	/* Its node leg before the relay has it and after the dial had it, borrowed; NULL if there
	 * is none. No function: it is the dial's until then. */
	const struct stream *(*node_stream)(const struct session *session);
	/* How far the talk is. NULL: it has one step. */
	enum node_step (*node_step)(const struct session *session);
	size_t talk_bytes; /* the memory of the talk */
	/* What the node said may not be looked at yet (in_login: the credential has been sent).
	 * NULL: it may always. */
	bool (*rests)(struct view said, bool in_login);
	/* The line before the close where there is no front. Returns 0 or -errno. */
	int (*line)(struct session *session, enum front_reply reply);
	/* The node cannot be had, or the router stops (REASON_SHUTDOWN): says so and ends. */
	void (*refuse)(struct session *session, enum session_reason reason);
	/* KICK_ANSWERS. NULL: session_unavailable(). */
	void (*kicked)(struct session *session);
	/* SHUTDOWN_SERVES: what is under way is the last. NULL: it is not waited for. */
	void (*end_after)(struct session *session, enum session_reason reason);
	/* What the session had of its own beside front and dial goes; may be called twice. NULL:
	 * nothing. */
	void (*release)(struct session *session);
};

static inline const struct session_cell *session_cell(const struct session *session)
{
	return &session->kind->cells[session->state];
}

#endif

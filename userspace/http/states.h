// SPDX-License-Identifier: Apache-2.0
/*
 * Where an HTTP connection is, beside the state of its session (session/states.h). What is valid
 * when stands here once; http_check() (check.c) holds a build with sanitizers to it. Everything is
 * in struct http_request but source (struct http) and use (struct http_leg).
 *
 *     session            request                                             current leg
 *     ---------------------------------------------------------------------------------
 *     FIRST_HEAD, IDLE,  zeroed                                              none
 *     HEAD, PENALTY
 *     EXTRACT            head, raw, route, body; data: what is looked at     none
 *     HOLD, LOOKUP,      head, raw, route, body; data: if LOOKED_AT.         none
 *     DIAL               Timer wait: the client has half closed (HTTP-96)
 *     EXCHANGE           body, and what its response says below              in use, or CUT
 *     SPLICE             HANDED_OVER                                         the relay's next
 *
 *     response           valid
 *     ---------------------------------------------------------------------------------
 *     NONE               from EXCHANGE on response_scanned, and timer wait while AWAITED
 *     INTERIM            the same, and interim
 *     FLOWS              status, plan, down (done: all of it has come); head and raw are gone
 *     CUT                status, plan; http->close_reason; the leg is gone too
 *     HANDED_OVER        status; plan, if it was a final response; login->node_leg
 */
#ifndef HTTP_STATES_H
#define HTTP_STATES_H

/* What the client asks for, by the request's head. */
enum http_asks {
	ASKS_CONTENT,   /* a response with whatever body it has */
	ASKS_HEAD,      /* one without */
	ASKS_WEBSOCKET, /* an upgrade; GET without a body. The node may answer anything */
};

/* When the request's body goes on. From FLOWS to LOOKED_AT or AWAITED, from there to FLOWS or
 * OVERDUE. */
enum http_body_goes {
	BODY_FLOWS, /* as it comes */
	/* EXTRACT was entered: as it comes, behind what the router has seen of it. The router
	 * itself has said 100; the node is not asked to. */
	BODY_LOOKED_AT,
	BODY_AWAITED, /* not before the node says 100 or a second is over. Or never: it answered */
	BODY_OVERDUE, /* the second is over: as it comes. Behind its end no client waits for 100 */
};

/* What the node has answered. Each may be left out but NONE; there is no way back. */
enum http_response {
	RESPONSE_NONE,
	RESPONSE_INTERIM,     /* 1xx, and not 101 */
	RESPONSE_FLOWS,       /* the final one's head is on its way; its body follows */
	RESPONSE_CUT,         /* it cannot be completed: closed when what is there has been sent */
	RESPONSE_HANDED_OVER, /* an upgrade, or a body until close: both legs go to the relay */
};

/* A node may close a kept leg just when it is used again (HTTP-65). */
enum http_repeat {
	REPEAT_NEVER, /* the method may do something, or there is a body */
	REPEAT_ONCE,
	REPEAT_DONE,
};

/* The client's direction. */
enum http_source {
	SOURCE_OPEN,
	SOURCE_ENDING, /* its end was seen, behind input that is not read now */
	SOURCE_ENDED,  /* all that came before its end has been read */
};

/* What a node leg is used for: the first request, none (linked in http->idle, its timer set, not
 * current), a later request. */
enum http_leg_use { LEG_FIRST, LEG_IDLE, LEG_AGAIN };

#endif

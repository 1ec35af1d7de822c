// SPDX-License-Identifier: Apache-2.0
/*
 * An HTTP connection (http.md): private to http/.
 *
 *     first_head -> [extract] -> [hold -> map] -> [dial] -> exchange -> idle -> head -> ...
 *                                                              `-> splice (websocket, until close)
 *
 * Requests are handled strictly one after another: nothing behind a request is looked at before its
 * answer has been sent in full. Each request has one node leg; legs are kept for later requests of
 * the same client and node, and never leave the connection they were made for. What a direction
 * holds is bounded: a side is not read while the other one is slow. What is valid when: states.h.
 */
#ifndef HTTP_HTTP_H
#define HTTP_HTTP_H

#include "proto/http_body.h"
#include "proto/http_write.h"
#include "reach/dial.h"
#include "http/cells.h"
#include "http/plan.h"
#include "http/states.h"

#define HTTP_TURN_BYTES (256 * 1024) /* moved before others get their turn */
#define HTTP_HEAD_TURN_BYTES 32768   /* the same before an exchange */
#define HTTP_MAX_IDLE 8              /* node legs kept for later requests */
#define HTTP_HIGH_BYTES 65536        /* more is not read while so much waits to be sent */

/* A connection to a node, in use or idle. */
struct http_leg {
	struct list_node link; /* http->idle, oldest first */
	struct session *session;
	struct node *node; /* borrowed from the snapshot */
	const struct config_destination *destination;
	struct addr addr;
	struct leg wire;
	struct timer timer; /* LEG_IDLE: keepalive_timeout; armed, no later than idle_until_ms */
	uint64_t idle_until_ms;
	enum http_leg_use use;
	bool write_failed; /* it does not take the request any more, but may have answered */
	bool secured;
};

/* Of the request under way. Zeroed for the next one. */
struct http_request {
	struct buf raw;         /* its head as it came; secret */
	struct http_head *head; /* views into raw; both go when the response has begun */
	int route;
	char method[33];
	enum http_asks asks;
	bool http10; /* the client's version */
	enum http_repeat repeat;
	enum http_body_goes goes;
	struct http_body up, down;
	struct buf data; /* BODY_LOOKED_AT: what was looked at of the body, decoded; secret */

	enum http_response response;
	size_t response_scanned;
	unsigned interim;
	int status; /* of the final response; 0: not begun */
	struct http_plan plan;
	uint64_t started_ms, bytes[2];
};

/* What the client moves while it is the one who is waited for (http.min_rate). */
struct http_rate {
	struct timer timer;
	uint64_t from_ms;           /* 0: nobody waits for it */
	uint64_t moved_before;      /* at that time */
	uint64_t received, written; /* bytes from and to the client */
};

struct http {
	struct session *session;
	struct timer wait;   /* for 100, or, once the client has half closed, for the node */
	struct timer turn;   /* others had their turn */
	uint64_t turn_bytes; /* moved in this one */
	struct addr peer;    /* of the socket */
	bool closing;        /* after this exchange */
	enum http_source source;
	bool reads; /* what the client's watch was last asked for */
	bool early; /* the client has sent something for which nobody asks yet */
	enum session_reason close_reason;
	size_t scanned;   /* of the next head */
	uint64_t head_ms; /* when it began */
	uint64_t progress_ms;
	struct http_rate rate;
	struct http_request request;
	struct http_leg *leg;
	struct list_node idle;
	unsigned idle_count;
	bool proven; /* the last credentials were good, and the guard knows */
};

/* In a state in which HTTP moves the client leg itself. */
static inline bool http_drives(const struct session *session)
{
	return session_cell(session)->step != NULL;
}

/* ---- records.c ---- */

/* OpenSSL has done its work on a stream: records are all that is left to do, if the
 * configuration says so and it can be left now. Cheap to call again. */
void http_leave_openssl(const struct session *session, struct stream *stream);

/* ---- request.c ---- */

/* Counts and logs the request, if there is one under way. */
void http_request_account(struct session *session);

/* ---- client_leg.c ---- */

/* The router's own answer, then the end. Cuts the connection if an answer has begun. */
void http_answer(struct session *session, int status, enum session_reason reason);
/* Reads what the client sent into login->leg.in, or, up to span bytes, straight into to. Returns
 * bytes, 0 if there are none now (or its direction has ended), or -1 when the session is over. */
ssize_t http_read_client(struct session *session, struct buf *to, uint64_t span);
void http_progress(struct session *session);
/* Asks for the client's events; end: also for its end, where it is not read. */
void http_watch_client(struct session *session, bool read, bool end);

/* ---- penalty.c ---- */

/* The router cannot read the credentials: counted, told, announced. login->penalty_ms: how long the
 * answer waits. */
void http_guard_malformed(struct session *session);
/* The final response has come: what its status says of the credentials. Returns whether it has to
 * wait. */
bool http_guard_response(struct session *session, int status);
/* What is to be sent may be sent now: no penalty, or one that is given up because the answer is
 * more than is kept. */
bool http_may_send(struct session *session);

/* ---- rate.c ---- */

/* After each turn: begins and ends to measure. */
void http_rate_follow(struct session *session);

/* ---- extract.c ---- */

/* A head is complete in login->leg.in and parsed in head. */
void http_route_request(struct session *session, struct http_head *head);

/* ---- node_leg.c ---- */

/* An idle leg to the node that still seems usable; it is current now. NULL: none. */
struct http_leg *http_leg_take(struct session *session, struct node *node);
/* Makes the dial's stream the current leg. Returns 0 or -errno. */
MUST_USE int http_leg_adopt(struct session *session);
/* The current leg becomes idle. */
void http_leg_keep(struct session *session);
void http_leg_drop(struct session *session); /* the current one; there may be none */
void http_legs_close(struct session *session);
void http_leg_update_watch(struct http_leg *leg, bool read, bool write);
/* Reads into leg->wire.in, or, up to span bytes, straight into to. As stream_read(). */
ssize_t http_leg_read(struct http_leg *leg, struct buf *to, uint64_t span);
/* Sends leg->wire.out. Returns whether anything moved, or -errno. */
int http_leg_flush(struct http_leg *leg);

/* ---- fault.c ---- */

/* OPS-13: the current leg's node did not answer as it should. error as stream_read()'s; cause in
 * words, or NULL. */
void http_note_failure(
	struct session *session, enum session_reason reason, int error, const char *cause);
/* Why a leg that ended so, as stream_read() says it, ends the session. */
enum session_reason http_lost_reason(ssize_t error);

/* ---- up.c ---- */

/* Whether the exchange goes on with more of the request's body. */
bool http_exchange_wants_body(const struct session *session);
/* Returns 1 if anything moved, 0 if not, -1: the exchange is over, and nothing may be touched. */
int http_move_up(struct session *session);

/* ---- response.c, down.c ---- */

/* Towards the response's head, which is passed on. Returns as http_move_up(). */
int http_move_head(struct session *session);
/* Whether more of the response may be read now. */
bool http_exchange_wants_response(const struct session *session);
/* Returns as http_move_up(). The response may be cut. */
int http_move_down(struct session *session);

/* ---- check.c: asserts what states.h says, in builds with sanitizers ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
void http_check(const struct session *session);
#else
static inline void http_check(const struct session *session)
{
	(void)session;
}
#endif

#endif

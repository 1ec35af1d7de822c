// SPDX-License-Identifier: Apache-2.0
/*
 * The light node: what its files share. lightnode.c owns connections and moves bytes,
 * lightnode_talk.c knows what is answered to a line, lightnode_notify.c tells idling clients.
 */
#ifndef BENCH_LIGHTNODE_H
#define BENCH_LIGHTNODE_H

#include "loop/loop.h"
#include "peer.h"

/* An answer that may be long, sent as the socket takes it. */
struct answer {
	char head[96], tail[64];
	uint64_t body; /* bytes between head and tail */
	uint64_t sent; /* of all three */
	uint32_t write_size;
	bool numbered; /* every 8 bytes of the body say where in it they are */
};

/* What the next line is, when it is not a command. */
enum awaited { A_COMMAND, A_REST, A_RESPONSE, A_PASSWORD, A_DONE };

struct notify;

struct conn {
	struct stream stream;
	struct loop_watch watch;
	struct buf part;
	bool ready, answering;
	enum awaited awaited;
	uint32_t idle_place;    /* in the list of those that idle, from 1; 0: does not idle */
	uint64_t swallow;       /* bytes of a literal to come */
	uint64_t push_left;     /* bytes of PUSH to come */
	struct notify *notify;  /* owned: a running NOTIFY */
	char tag[32], verb[16]; /* of the command that is being read, or of IDLE */
	struct answer answer;
};

/* ---- lightnode.c ---- */
extern struct loop node_loop;
extern bool node_submission;
/* Small answers on a quiet connection fit the socket's buffer; one that does not ends it. */
MUST_USE bool conn_say(struct conn *conn, const char *text);
MUST_USE bool conn_sayf(struct conn *conn, const char *format, ...) PRINTF_LIKE(2, 3);
/* Begins to send conn->answer, whose head, tail, body, write_size and numbered are set. */
MUST_USE bool conn_send_answer(struct conn *conn);
/* Not from within the connection's own callback. */
void conn_close(struct conn *conn);

/* ---- lightnode_talk.c: false = the connection ends ---- */
MUST_USE bool talk_greet(struct conn *conn);
MUST_USE bool talk_line(struct conn *conn, const char *line);

/* ---- lightnode_notify.c ---- */
void idle_enter(struct conn *conn);
void idle_leave(struct conn *conn);
MUST_USE bool notify_start(struct conn *conn, uint64_t count, double rate);
void notify_free(struct conn *conn);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * Peers of the router that speak TLS by another library than ours, or by ours in another way: its
 * clients, and nodes behind it. What they do in a session is a plan, one line of text, that run.py
 * has made of random numbers; the node gets its own as the password of the login. main.c accepts
 * and connects, session.c follows a plan, and each library is one file with the functions that are
 * named library_...; a program has one of them.
 *
 * Every byte of a session's stream follows from its seed and its place, so that each end knows what
 * the other one must send.
 */
#ifndef PEERS_PEER_H
#define PEERS_PEER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum cipher { AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305, CIPHERS };

/* One version with one cipher, as run.py and the accounts name it: "13-aes128". */
struct suite {
	const char *name;
	bool is_13;
	enum cipher cipher;
};

#define SUITES 6
extern const struct suite suites[SUITES];

/* At a place of what is sent. */
enum action {
	UPDATE = 'k',     /* KeyUpdate */
	UPDATE_ASK = 'K', /* KeyUpdate that asks for one in return */
	TICKET = 't',     /* a node's, as the library makes it */
	CUT = 'c',        /* FIN without close_notify; what comes is still read */
	GONE = 'g',       /* close_notify, and nothing is read any more */
	RESET = 'r',
};

struct event {
	uint64_t at;    /* bytes sent or received */
	char action;    /* enum action */
	unsigned value; /* of a stall: ms */
};

#define EVENTS_MAX 16

struct plan {
	unsigned number;
	char account[64]; /* a client's: whom it logs in */
	const struct suite *suite;
	uint32_t seed;
	uint64_t send, receive; /* bytes of the exchange */
	uint64_t early;         /* a client's: bytes of it that follow the credential at once */
	uint64_t rest_send;     /* bytes behind the peer's end */
	uint64_t rest_receive;  /* bytes that the peer sends behind our end */
	bool ends;              /* first, and does not wait for the peer's end */
	unsigned chunk;         /* the most bytes of a write */
	unsigned padding;       /* of a record, bytes */
	unsigned limit;         /* payload of a record: a client asks for it, a node keeps to it */
	unsigned buffer;        /* SO_RCVBUF, bytes; 0: as it is */
	struct event events[EVENTS_MAX]; /* by place */
	struct event stalls[EVENTS_MAX]; /* places where nothing is read for a while */
	unsigned event_count, stall_count;
};

/* How a session went; text has no blanks. */
struct outcome {
	uint64_t sent, received;
	unsigned asked;    /* KeyUpdates that ask for one */
	int answers;       /* KeyUpdates of the peer's; -1: the library does not tell */
	size_t biggest;    /* bytes of one read: of one record, where the library gives them so */
	const char *ended; /* what was read last: clean, cut, reset, ... */
	char why[120];     /* the library's text about a call that failed */
	char error[160];   /* what should not have happened; empty: nothing */
};

/* ---- the library of this program ---- */

extern const char library_name[];

struct connection;

/* Once; files: a certificate and its key in the form that the library reads. 0 or -1. */
int library_init(const char *certificate, const char *key);
/*
 * The plan is the client's; a node has only its suite here, and gets the rest by library_follow().
 * The connection counts answers in outcome and writes why. NULL: it cannot be made.
 */
struct connection *library_open(
	int fd, bool is_node, const struct plan *plan, struct outcome *outcome);
void library_follow(struct connection *connection, const struct plan *plan);
/* The descriptor remains. */
void library_free(struct connection *connection);

/*
 * Calls that move bytes do not block: -EAGAIN asks to be called again with the same arguments.
 * -ECONNABORTED: FIN without close_notify. -EPROTO: why has the text.
 */
int library_handshake(struct connection *connection);
/* Bytes; 0: close_notify. */
ssize_t library_read(struct connection *connection, void *data, size_t len);
ssize_t library_write(struct connection *connection, const void *data, size_t len);
int library_update(struct connection *connection, bool ask);
int library_ticket(struct connection *connection);
int library_close_notify(struct connection *connection);

/* ---- plan.c, session.c ---- */

/* Returns 0, or -EINVAL. */
int plan_parse(const char *text, struct plan *ret_plan);
/* A session on a connected socket, which is closed at its end. Prints one line about it. */
void session_run(int fd, bool is_node, const struct plan *plan, const char *text);

#endif

// SPDX-License-Identifier: Apache-2.0
/*
 * The load generator: what its files share. load.c reads commands, load_session.c logs sessions in
 * and out and owns them, load_work.c and load_crowd.c do things with those that are open.
 */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "loop/loop.h"
#include "net/sock.h"
#include "peer.h"

enum session_state { S_CONNECT, S_HANDSHAKE, S_GREETING, S_HELLO, S_LOGIN, S_OPEN, S_LOGOUT };

struct session {
	struct stream stream;
	struct loop_watch watch;
	struct buf part; /* of a line that has not ended */
	enum session_state state;
	bool numbered;      /* the data says where it belongs; compare it */
	uint8_t doing;      /* the running job's own */
	uint32_t place;     /* in load.open */
	uint64_t data_left; /* bytes to come that are not lines: a literal, a bulk */
	uint64_t data_got;
	uint64_t start_ns; /* of the login, of the operation */
	struct session *next;
};

/* What the running command does with open sessions. */
struct job {
	/* A line has come, without its end. False: it is not what it should be. */
	bool (*line)(struct session *session, const char *line);
	/* The socket takes bytes again; false: the session is over. NULL: the job never waits. */
	bool (*writable)(struct session *session);
	/* An open session has ended; NULL: the command fails. */
	void (*lost)(struct session *session);
};

struct load {
	struct loop loop;
	struct addr target, source, node; /* source, node: may be unset */
	bool submission, tls;
	uint64_t accounts;
	const char *domain, *curve; /* curve: NULL for that of peer_tls_context() */
	struct session **open;      /* logged in */
	uint32_t open_count;
	const struct job *job; /* of the open sessions; NULL between commands */
};
extern struct load load;

/* ---- load.c ---- */

/* Prints error=TEXT, blanks as underscores, and ends the process. */
_Noreturn void load_die(const char *text);
/* Runs the loop until *counter reaches goal; nothing received for 60 s is an error. */
void load_run_until(const uint64_t *counter, uint64_t goal);
/* Something has come. */
void load_progress(void);

struct samples {
	uint64_t *ns;
	size_t count, cap;
};

void samples_add(struct samples *samples, uint64_t ns);
/* Sorts. */
void samples_sort(struct samples *samples);
/* The value in us below which so many of a thousand are; 0 without values. */
double samples_us(const struct samples *samples, unsigned permille);
void samples_free(struct samples *samples);

/* ---- load_session.c ---- */

struct logins {
	uint64_t count, at_once;
	bool stay;   /* the sessions stay open; else they log out */
	bool resume; /* offer a ticket if there is one */
	/* results */
	uint64_t done, failed, resumed, seconds_ns;
	struct samples took;
	char failure[128]; /* of the first that failed */
};

void session_process_init(void);
void session_process_fini(void);
/* Runs it to its end. */
void session_log_in(struct logins *logins);
/* Tickets at hand. */
uint64_t session_tickets(void);
/* Logs all out that are open and waits for their end; returns how many those were. */
uint64_t session_log_out(void);
/* Writes a whole command; false if it cannot, or the socket is full. */
bool session_say(struct session *session, const char *text);
bool session_noop(struct session *session);
/* 1 the end of a NOOP that was well answered, 0 another line before it, -1 another answer. */
int session_noop_answer(const char *line);
/* Ends an open session at once. */
void session_drop(struct session *session);

/* ---- load_work.c: one session, or each on its own ---- */

void work_noop(void);
/* In turns over so many of the open sessions. */
void work_ping(uint64_t count, uint64_t sessions);
/* what: BULK, CHECK */
void work_bulk(const char *what, uint64_t bytes, uint64_t size, uint64_t times);
void work_push(uint64_t bytes, uint64_t size);
void work_fetch(uint64_t messages, uint64_t bytes, uint64_t sessions);
/* Asks the light node for its message of so many bytes. */
bool work_fetch_start(struct session *session, uint64_t bytes);
/* 1 the end of a message of `bytes`, 0 a line before it, -1 another answer. */
int work_fetch_answer(struct session *session, const char *line, uint64_t bytes);

/* ---- load_crowd.c: many sessions together, as people have them ---- */

void crowd_notify(uint64_t count, uint64_t rate);
void crowd_mixed(uint64_t seconds, uint64_t chatty_rate, uint64_t bulk_rate);

#endif

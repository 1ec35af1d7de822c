// SPDX-License-Identifier: Apache-2.0
/*
 * One session: handshake, login, the exchange both ways at once, the end. The last byte of a client
 * waits for all but the last one of the node's, and the node's for all of the client's: so whatever
 * one of them has asked for (KeyUpdates) has been answered when the last byte is there.
 */
#include "base/base64.h"
#include "base/clock.h"
#include "peer.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PATIENCE_MS 30000
#define READ_BYTES 65536
#define WRITE_BYTES 65536
#define LINE_BYTES 32768

struct session {
	struct connection *connection;
	int fd;
	bool is_node;
	struct plan plan;
	struct outcome outcome;
	uint32_t random;
	unsigned next_event, next_stall;
	uint64_t stalled_until; /* 0: is not */
	bool write_waits;       /* the last write was taken in part, or not at all */
	bool said;              /* our end of stream */
	bool gone;              /* and nothing more is to be done */
	size_t chunk_len, chunk_at;
	unsigned char chunk[WRITE_BYTES];
	size_t in_len; /* read behind a line */
	char in[LINE_BYTES];
};

/* The first thing that went wrong is what counts. */
static void wrong(struct session *session, const char *what)
{
	const char *why = session->outcome.why;

	if (*session->outcome.error)
		return;
	snprintf(session->outcome.error, sizeof(session->outcome.error), "%s%s%s", what,
		*why ? ":" : "", why);
	for (char *p = session->outcome.error; *p; p++) {
		if (*p == ' ' || *p == '\n')
			*p = '_';
	}
}

static uint32_t draw(struct session *session, uint32_t below)
{
	session->random = session->random * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)session->random * below >> 32);
}

/* What stands at a place of a direction. */
static unsigned char content(const struct plan *plan, bool of_node, uint64_t at)
{
	uint32_t i = (uint32_t)at, seed = (plan->seed * 2 + of_node) * 0x9e3779b1u;

	return (unsigned char)(((i ^ i >> 13) * 0x9e3779b1u + seed) >> 23);
}

static bool wait_for(struct session *session, short events, int ms)
{
	struct pollfd p = { .fd = session->fd, .events = events };

	return poll(&p, 1, ms) > 0;
}

/* As soon as the plan is known: a node's comes with the login. */
static void limit_buffer(const struct session *session)
{
	int size = (int)session->plan.buffer;

	if (size)
		setsockopt(session->fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
}

/* ---- the login ---- */

static int handshake(struct session *session)
{
	uint64_t end = clock_mono_ms() + PATIENCE_MS;
	int r;

	while ((r = library_handshake(session->connection)) == -EAGAIN && clock_mono_ms() < end)
		wait_for(session, POLLIN, 100);
	return r;
}

/* A line without its end, until one is there. Returns its length or -1. */
static int read_line(struct session *session, char *line, size_t size)
{
	uint64_t end = clock_mono_ms() + PATIENCE_MS;

	for (;;) {
		char *newline = memchr(session->in, '\n', session->in_len);
		ssize_t n;

		if (newline) {
			size_t len = (size_t)(newline - session->in), used = len + 1;

			len -= len && session->in[len - 1] == '\r';
			if (len >= size)
				return -1;
			memcpy(line, session->in, len);
			line[len] = '\0';
			session->in_len -= used;
			memmove(session->in, session->in + used, session->in_len);
			return (int)len;
		}
		n = library_read(session->connection, session->in + session->in_len,
			sizeof(session->in) - session->in_len);
		if (n == -EAGAIN && clock_mono_ms() < end)
			wait_for(session, POLLIN, 100);
		else if (n <= 0)
			return -1;
		else
			session->in_len += (size_t)n;
	}
}

static int write_all(struct session *session, const void *data, size_t len)
{
	uint64_t end = clock_mono_ms() + PATIENCE_MS;
	const char *p = data;

	while (len) {
		ssize_t n = library_write(session->connection, p, len);

		if (n == -EAGAIN && clock_mono_ms() < end)
			wait_for(session, POLLOUT, 100);
		else if (n <= 0)
			return -1;
		else
			p += n, len -= (size_t)n;
	}
	return 0;
}

/* The credential, and with it what is early. The node's plan is the password. */
static int log_in(struct session *session, const char *password)
{
	char line[8192];
	size_t n, early = (size_t)session->plan.early;

	if (read_line(session, line, sizeof(line)) < 0)
		return -1;
	n = (size_t)snprintf((char *)session->chunk, sizeof(session->chunk),
		"a LOGIN %s \"%s\"\r\n", session->plan.account, password);
	for (size_t i = 0; i < early; i++)
		session->chunk[n++] = content(&session->plan, false, i);
	if (write_all(session, session->chunk, n) < 0)
		return -1;
	session->outcome.sent = early;
	do {
		if (read_line(session, line, sizeof(line)) < 0)
			return -1;
	} while (strncmp(line, "a ", 2) != 0);
	return strncmp(line, "a OK", 4) == 0 ? 0 : -1;
}

/* authzid NUL account NUL password */
static int plan_of_credential(struct session *session, const char *base64)
{
	CLEANUP(buf_fini) struct buf text = { 0 };
	const char *end, *account, *password;

	if (base64_decode(view_str(base64), &text) < 0 || buf_append(&text, "", 1) < 0)
		return -1;
	end = text.data + text.len - 1;
	account = memchr(text.data, '\0', text.len - 1);
	password = account ? memchr(account + 1, '\0', (size_t)(end - account - 1)) : NULL;
	if (!password || plan_parse(password + 1, &session->plan) < 0)
		return -1;
	session->random = session->plan.seed + 1;
	library_follow(session->connection, &session->plan);
	limit_buffer(session);
	return 0;
}

static int answer(struct session *session, const char *before, const char *tag, const char *behind)
{
	char line[256];
	int n = snprintf(line, sizeof(line), "%s%.60s%s\r\n", before, tag, behind);

	return write_all(session, line, (size_t)n);
}

static int be_logged_in(struct session *session)
{
	static const char capabilities[] = "* CAPABILITY IMAP4rev1 SASL-IR\r\n";
	char line[16384], *tag, *command, *argument, *save;

	if (answer(session, "* OK [CAPABILITY IMAP4rev1 SASL-IR] ", "", "peer") < 0)
		return -1;
	while (read_line(session, line, sizeof(line)) >= 0) {
		tag = strtok_r(line, " ", &save);
		command = tag ? strtok_r(NULL, " ", &save) : NULL;
		if (!command)
			return -1;
		if (strcmp(command, "AUTHENTICATE") == 0) {
			(void)strtok_r(NULL, " ", &save);
			argument = strtok_r(NULL, " ", &save);
			if (!argument || plan_of_credential(session, argument) < 0)
				return -1;
			return answer(session, "", tag, " OK done");
		}
		if (answer(session, strcmp(command, "CAPABILITY") == 0 ? capabilities : "", tag,
			    " OK done") < 0)
			return -1;
	}
	return -1;
}

/* ---- the exchange ---- */

static uint64_t all_received(const struct session *session)
{
	return session->plan.receive + session->plan.rest_receive;
}

/* Bytes that came, against what they must be. */
static bool take(struct session *session, const unsigned char *data, size_t len)
{
	struct outcome *outcome = &session->outcome;

	for (size_t i = 0; i < len; i++) {
		if (data[i] != content(&session->plan, !session->is_node, outcome->received + i)) {
			snprintf(outcome->error, sizeof(outcome->error), "other-byte-at-%llu",
				(unsigned long long)(outcome->received + i));
			return false;
		}
	}
	outcome->received += len;
	if (outcome->received > all_received(session)) {
		wrong(session, "more-than-was-sent");
		return false;
	}
	if (session->next_stall < session->plan.stall_count &&
		outcome->received >= session->plan.stalls[session->next_stall].at)
		session->stalled_until =
			clock_mono_ms() + session->plan.stalls[session->next_stall++].value;
	return true;
}

static void on_end(struct session *session, ssize_t n)
{
	switch (n) {
	case 0:
		session->outcome.ended = "clean";
		break;
	case -ECONNABORTED:
		session->outcome.ended = "cut";
		break;
	case -ECONNRESET:
	case -EPIPE:
		session->outcome.ended = "reset";
		break;
	default:
		session->outcome.ended = "failed";
		wrong(session, "read");
	}
}

/* One read. Returns whether something came. */
static bool receive(struct session *session)
{
	static _Thread_local unsigned char data[READ_BYTES];
	ssize_t n;

	if (session->stalled_until && clock_mono_ms() < session->stalled_until)
		return false;
	session->stalled_until = 0;
	n = library_read(session->connection, data, sizeof(data));
	if (n == -EAGAIN)
		return false;
	if (n <= 0)
		on_end(session, n);
	else if ((size_t)n > session->outcome.biggest)
		session->outcome.biggest = (size_t)n;
	if (n > 0 && !take(session, data, (size_t)n))
		session->gone = true;
	return true;
}

/* How far it may be sent now. */
static uint64_t send_limit(const struct session *session)
{
	const struct plan *plan = &session->plan;
	bool last = session->is_node ? session->outcome.received >= plan->receive
				     : session->outcome.received + 1 >= plan->receive;

	return last || !plan->send ? plan->send : plan->send - 1;
}

static int end_of_stream(struct session *session)
{
	int r = library_close_notify(session->connection);

	if (r != -EAGAIN)
		session->said = true;
	return r;
}

/* Returns 0, -EAGAIN, or what went wrong. */
static int act(struct session *session, enum action action)
{
	struct linger hard = { .l_onoff = 1 };
	int r = 0;

	switch (action) {
	case UPDATE:
	case UPDATE_ASK:
		r = library_update(session->connection, action == UPDATE_ASK);
		session->outcome.asked += r == 0 && action == UPDATE_ASK;
		break;
	case TICKET:
		r = library_ticket(session->connection);
		break;
	case CUT:
		shutdown(session->fd, SHUT_WR);
		session->said = true;
		break;
	case GONE:
		r = end_of_stream(session);
		session->gone = r != -EAGAIN;
		break;
	case RESET:
		setsockopt(session->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
		session->gone = true;
		break;
	}
	return r;
}

/* The events of the place where sending has come to. False: one of them waits. */
static bool act_here(struct session *session)
{
	const struct plan *plan = &session->plan;

	while (session->next_event < plan->event_count && !session->said && !session->gone &&
		plan->events[session->next_event].at <= session->outcome.sent) {
		int r = act(session, plan->events[session->next_event].action);

		if (r == -EAGAIN)
			return false;
		if (r < 0)
			wrong(session, "event");
		session->next_event++;
	}
	return true;
}

/* Mostly a small one, unless all that goes into one is wanted. */
static void make_chunk(struct session *session, uint64_t limit)
{
	const struct plan *plan = &session->plan;
	uint64_t sent = session->outcome.sent, room = limit - sent;
	bool small = plan->chunk < WRITE_BYTES && draw(session, 4);
	size_t n = 1 + draw(session, small ? 1 + plan->chunk / 16 : plan->chunk);

	if (session->next_event < plan->event_count)
		room = MIN(room, plan->events[session->next_event].at - sent);
	session->chunk_len = (size_t)MIN((uint64_t)MIN(n, sizeof(session->chunk)), room);
	session->chunk_at = 0;
	for (size_t i = 0; i < session->chunk_len; i++)
		session->chunk[i] = content(plan, session->is_node, sent + i);
}

/* One write, up to a place. Returns whether something went. */
static bool send_up_to(struct session *session, uint64_t limit)
{
	ssize_t n;

	if (session->said || session->gone)
		return false;
	if (session->chunk_at == session->chunk_len) {
		if (!act_here(session)) {
			session->write_waits = true;
			return false;
		}
		if (session->said || session->gone || session->outcome.sent >= limit)
			return session->said || session->gone;
		make_chunk(session, limit);
	}
	n = library_write(session->connection, session->chunk + session->chunk_at,
		session->chunk_len - session->chunk_at);
	session->write_waits = n == -EAGAIN;
	if (n == -EAGAIN)
		return false;
	if (n <= 0) { /* the reader tells what has happened */
		session->said = true;
		return true;
	}
	session->chunk_at += (size_t)n;
	session->outcome.sent += (uint64_t)n;
	return true;
}

static void pause_session(struct session *session, uint64_t until)
{
	uint64_t now = clock_mono_ms(), wake = until;
	short events = session->write_waits ? POLLOUT : 0;

	if (session->stalled_until)
		wake = MIN(wake, session->stalled_until);
	else if (!session->outcome.ended)
		events |= POLLIN;
	wait_for(session, events, (int)(wake > now ? wake - now : 0) + 1);
}

/* Until it is done, or nothing happens any more. */
static void go_on(struct session *session, uint64_t limit(const struct session *),
	bool done(const struct session *))
{
	uint64_t until = clock_mono_ms() + PATIENCE_MS;

	while (!done(session) && !session->gone) {
		bool moved = send_up_to(session, limit(session));

		if (!session->outcome.ended && receive(session))
			moved = true;
		if (moved)
			until = clock_mono_ms() + PATIENCE_MS;
		else if (clock_mono_ms() > until) {
			session->outcome.ended = "stuck";
			session->gone = true;
		} else {
			pause_session(session, until);
		}
	}
}

static bool exchanged(const struct session *session)
{
	return session->outcome.ended ||
		(session->outcome.sent >= session->plan.send &&
			session->outcome.received >= session->plan.receive);
}

static bool heard_the_end(const struct session *session)
{
	return session->outcome.ended;
}

static uint64_t all_to_send(const struct session *session)
{
	return session->plan.send + session->plan.rest_send;
}

static bool sent_the_rest(const struct session *session)
{
	return session->said || session->outcome.sent >= all_to_send(session);
}

static void say_the_end(struct session *session)
{
	uint64_t end = clock_mono_ms() + PATIENCE_MS;

	while (!session->said && !session->gone && clock_mono_ms() < end) {
		if (end_of_stream(session) == -EAGAIN)
			wait_for(session, POLLOUT, 100);
	}
	if (session->gone)
		return;
	if (!session->said)
		wrong(session, "no-close-notify");
	shutdown(session->fd, SHUT_WR);
}

static void follow(struct session *session)
{
	const struct plan *plan = &session->plan;

	if (session->in_len && !take(session, (unsigned char *)session->in, session->in_len))
		return;
	go_on(session, send_limit, exchanged);
	if (session->gone)
		return;
	act_here(session); /* at the very end */
	if (plan->ends)
		say_the_end(session);
	go_on(session, send_limit, heard_the_end);
	if (!plan->ends) {
		go_on(session, all_to_send, sent_the_rest);
		say_the_end(session);
	}
}

/* ---- one session ---- */

static void report(const struct session *session)
{
	const struct outcome *outcome = &session->outcome;

	printf("n=%u role=%s sent=%llu received=%llu ended=%s asked=%u answers=%d biggest=%zu "
	       "error=%s\n",
		session->plan.number, session->is_node ? "node" : "client",
		(unsigned long long)outcome->sent, (unsigned long long)outcome->received,
		outcome->ended ? outcome->ended : "own", outcome->asked,
		session->connection ? outcome->answers : -1, outcome->biggest, outcome->error);
	fflush(stdout);
}

void session_run(int fd, bool is_node, const struct plan *plan, const char *text)
{
	struct session *session = calloc(1, sizeof(*session));
	int on = 1;

	if (!session)
		abort();
	session->fd = fd;
	session->is_node = is_node;
	session->plan = *plan;
	session->random = plan->seed;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	limit_buffer(session);
	session->connection = library_open(fd, is_node, plan, &session->outcome);
	if (!session->connection || handshake(session) < 0)
		wrong(session, "handshake");
	else if (is_node ? be_logged_in(session) < 0 : log_in(session, text) < 0)
		wrong(session, "login");
	else
		follow(session);
	report(session);
	if (session->connection)
		library_free(session->connection);
	close(fd);
	free(session);
}

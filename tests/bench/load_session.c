// SPDX-License-Identifier: Apache-2.0
/*
 * Sessions of the load generator: connect, TLS, greeting, login, and the end. Owns them all: those
 * in flight through their watch, those that are open in load.open, those to be used again in a
 * list. A session is given back only by session_end().
 */
#include "load.h"
#include "base/base64.h"
#include "tls/library.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define TICKETS 16384

static SSL_CTX *tls_ctx;
static SSL_SESSION *tickets[TICKETS];
static uint64_t ticket_count, next_account;
static struct session *spare;
static uint32_t open_cap;
static struct logins *run; /* what is running; NULL: nobody logs in */
static uint64_t started, busy, ended;
static char why[128]; /* the session that is about to end */

/* ---- tickets ---- */

/* OpenSSL spoils its own when the server hangs up without close_notify. */
static int on_ticket(SSL *ssl, SSL_SESSION *session)
{
	SSL_SESSION *copy = ticket_count < TICKETS ? tls_library_keep(session) : NULL;

	(void)ssl;
	if (copy)
		tickets[ticket_count++] = copy;
	return 0;
}

/* No chain is built and checked, which would cost as much as the rest of a handshake. */
static int accept_any(X509_STORE_CTX *store, void *arg)
{
	(void)store;
	(void)arg;
	return 1;
}

uint64_t session_tickets(void)
{
	return ticket_count;
}

void session_process_init(void)
{
	if (!load.tls)
		return;
	tls_ctx = peer_tls_context(TLS_client_method());
	if (!tls_ctx || (load.curve && SSL_CTX_set1_groups_list(tls_ctx, load.curve) != 1))
		load_die("no TLS");
	SSL_CTX_set_cert_verify_callback(tls_ctx, accept_any, NULL);
	SSL_CTX_set_session_cache_mode(tls_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(tls_ctx, on_ticket);
}

void session_process_fini(void)
{
	while (load.open_count)
		session_drop(load.open[0]);
	while (spare) {
		struct session *session = spare;

		spare = session->next;
		free(session);
	}
	free(load.open);
	while (ticket_count)
		SSL_SESSION_free(tickets[--ticket_count]);
	SSL_CTX_free(tls_ctx);
}

/* ---- the list of open ones, the end ---- */

static void open_add(struct session *session)
{
	if (load.open_count == open_cap) {
		open_cap = open_cap ? open_cap * 2 : 1024;
		load.open = realloc(load.open, open_cap * sizeof(struct session *));
		if (!load.open)
			load_die("out of memory");
	}
	session->place = load.open_count;
	load.open[load.open_count++] = session;
}

static void open_del(struct session *session)
{
	struct session *last = load.open[--load.open_count];

	last->place = session->place;
	load.open[last->place] = last;
}

static void give_back(struct session *session)
{
	loop_watch_del(&session->watch);
	stream_close(&session->stream);
	buf_fini(&session->part);
	session->next = spare;
	spare = session;
}

void session_drop(struct session *session)
{
	open_del(session);
	give_back(session);
}

static void login_failed(enum session_state state, int r)
{
	static const char *const steps[] = { "connect", "handshake", "greeting", "hello", "login" };
	const char *reason = why[0] ? why : r == -ENODATA ? "the end" : strerror(-r);

	run->failed++;
	if (!run->failure[0])
		snprintf(run->failure, sizeof(run->failure), "%s: %.100s", steps[state], reason);
}

static void start_more(void);

static void session_end(struct session *session, int r)
{
	enum session_state state = session->state;

	if (state == S_OPEN) {
		if (load.job && !load.job->lost)
			load_die(why[0] ? why : "a session was lost");
		open_del(session);
		if (load.job)
			load.job->lost(session);
	} else {
		busy--;
		ended++;
		if (state != S_LOGOUT)
			login_failed(state, r);
	}
	why[0] = '\0';
	give_back(session);
	if (state != S_OPEN)
		start_more();
}

/* ---- the dialogue ---- */

bool session_say(struct session *session, const char *text)
{
	size_t len = strlen(text);

	return stream_write(&session->stream, text, len) == (ssize_t)len;
}

bool session_noop(struct session *session)
{
	return session_say(session, load.submission ? "NOOP\r\n" : "n NOOP\r\n");
}

/* 1 good, 0 goes on, -1 refused. */
static int verdict(const char *line, const char *good, bool untagged_goes_on)
{
	size_t len = strlen(good);

	if (strncmp(line, good, len) == 0)
		return load.submission && line[len] == '-' ? 0 : 1;
	return untagged_goes_on && line[0] == '*' && strncmp(line, "* BYE", 5) != 0 ? 0 : -1;
}

int session_noop_answer(const char *line)
{
	return load.submission ? verdict(line, "250", false) : verdict(line, "n OK", true);
}

static bool say_plain(struct session *session, const char *user)
{
	struct buf text = { 0 };
	char bytes[320];
	bool ok;
	int len = snprintf(bytes, sizeof(bytes), "%c%s%csecret", '\0', user, '\0');

	ok = buf_append_str(&text, "AUTH PLAIN ") == 0 &&
		base64_encode(view_make(bytes, (size_t)len), &text) == 0 &&
		buf_append(&text, "\r\n", 3) == 0 && session_say(session, buf_view(&text).data);
	buf_fini(&text);
	return ok;
}

static bool say_login(struct session *session)
{
	char user[256], line[320];

	snprintf(user, sizeof(user), "user%llu@%.200s",
		(unsigned long long)(next_account++ % load.accounts), load.domain);
	session->state = S_LOGIN;
	if (load.submission)
		return say_plain(session, user);
	snprintf(line, sizeof(line), "a LOGIN %s secret\r\n", user);
	return session_say(session, line);
}

static bool say_logout(struct session *session)
{
	session->state = S_LOGOUT;
	return session_say(session, load.submission ? "QUIT\r\n" : "z LOGOUT\r\n");
}

static bool logged_in(struct session *session)
{
	run->done++;
	run->resumed += tls_stream_resumed(&session->stream);
	samples_add(&run->took, peer_now_ns() - session->start_ns);
	if (!run->stay)
		return say_logout(session);
	session->state = S_OPEN;
	open_add(session);
	busy--;
	ended++;
	start_more();
	return true;
}

static bool refused(const char *line)
{
	snprintf(why, sizeof(why), "%.100s", line);
	return false;
}

static bool take_line(struct session *session, const char *line)
{
	int r;

	switch (session->state) {
	case S_GREETING:
		r = verdict(line, load.submission ? "220" : "* OK", false);
		if (r <= 0)
			return r == 0 || refused(line);
		if (!load.submission)
			return say_login(session);
		session->state = S_HELLO;
		return session_say(session, "EHLO load.example.com\r\n");
	case S_HELLO:
		r = verdict(line, "250", false);
		return r == 0 || (r > 0 ? say_login(session) : refused(line));
	case S_LOGIN:
		r = verdict(line, load.submission ? "235" : "a OK", true);
		return r == 0 || (r > 0 ? logged_in(session) : refused(line));
	case S_OPEN:
		return !load.job || load.job->line(session, line) || refused(line);
	default: /* whatever is said after LOGOUT: the end counts */
		return true;
	}
}

static bool compare_numbered(const struct session *session, const char *data, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		uint64_t at = session->data_got + i;

		if (data[i] != (char)((at & ~(uint64_t)7) >> 8 * (at & 7)))
			return false;
	}
	return true;
}

static bool take_data(struct session *session, struct view *data)
{
	uint64_t n = MIN(session->data_left, (uint64_t)data->len);

	if (session->numbered && !compare_numbered(session, data->data, n))
		return refused("wrong byte");
	session->data_got += n;
	session->data_left -= n;
	*data = view_skip(*data, n);
	return true;
}

static int take_input(struct session *session)
{
	bool more = true;

	while (more) {
		struct view data;
		const char *line;
		ssize_t n = peer_read(&session->stream, &session->part, &data, &more);

		if (n <= 0)
			return n == -EAGAIN ? 0 : n == STREAM_EOF ? -ENODATA : (int)n;
		load_progress();
		do {
			if (session->data_left && !take_data(session, &data))
				return -EPROTO;
			if (session->data_left || !peer_take_line(&data, &line))
				break;
			if (!take_line(session, line))
				return -EPROTO;
		} while (data.len);
		more = more || session->data_left; /* a bulk: not a wait for each small record */
		if (peer_keep(&session->part, data) < 0)
			return -EPROTO;
	}
	return 0;
}

/* ---- the connection ---- */

static int start_tls(struct session *session)
{
	SSL *ssl = SSL_new(tls_ctx);
	SSL_SESSION *ticket = NULL;

	if (!ssl)
		return -ENOMEM;
	SSL_set_connect_state(ssl);
	if (!run->stay) /* no memory to save */
		SSL_clear_mode(ssl, SSL_MODE_RELEASE_BUFFERS);
	SSL_set_tlsext_host_name(ssl, "localhost");
	if (run->resume && ticket_count > 0) {
		ticket = tickets[--ticket_count];
		SSL_set_session(ssl, ticket);
		SSL_SESSION_free(ticket);
	}
	return peer_tls_attach(&session->stream, ssl);
}

static int shake_hands(struct session *session)
{
	int r = load.tls ? tls_stream_handshake(&session->stream) : 0;

	if (r == -EAGAIN)
		return loop_watch_set(&session->watch, session->stream.want);
	if (r < 0) {
		snprintf(why, sizeof(why), "%s", tls_stream_error(&session->stream));
		return r;
	}
	session->state = S_GREETING;
	return loop_watch_set(&session->watch, EPOLLIN);
}

static int progress(struct session *session, uint32_t events)
{
	int r = 0;

	if (session->state == S_CONNECT) {
		r = sock_error(session->stream.fd);
		if (r == 0 && load.tls)
			r = start_tls(session);
		if (r == 0)
			session->state = S_HANDSHAKE;
	}
	if (r == 0 && session->state == S_HANDSHAKE)
		return shake_hands(session);
	if (r == 0 && (events & EPOLLOUT) && session->state == S_OPEN && load.job &&
		load.job->writable && !load.job->writable(session))
		return -EPIPE;
	return r == 0 && (events & ~(uint32_t)EPOLLOUT) ? take_input(session) : r;
}

static void on_session(struct loop_watch *watch, uint32_t events)
{
	struct session *session = container_of(watch, struct session, watch);
	int r = progress(session, events);

	if (r < 0)
		session_end(session, r);
}

static struct session *session_new(int fd)
{
	struct session *session = spare;

	if (session)
		spare = session->next;
	else
		session = malloc(sizeof(*session));
	if (!session)
		load_die("out of memory");
	*session = (struct session){ .state = S_CONNECT, .start_ns = peer_now_ns() };
	buf_init(&session->part, PEER_LINE_MAX, false);
	stream_init_plain(&session->stream, fd);
	return session;
}

static int start_one(void)
{
	struct session *session;
	uint64_t start_ns = peer_now_ns();
	int fd = sock_connect_start(&load.target, &load.source), r;

	if (fd < 0)
		return fd;
	session = session_new(fd);
	session->start_ns = start_ns;
	r = loop_watch_add(&load.loop, &session->watch, fd, EPOLLOUT, on_session);
	if (r < 0)
		give_back(session);
	return r;
}

static void start_more(void)
{
	while (run && busy < run->at_once && started < run->count) {
		int r = start_one();

		started++;
		if (r == 0) {
			busy++;
			continue;
		}
		ended++;
		login_failed(S_CONNECT, r);
	}
}

void session_log_in(struct logins *logins)
{
	uint64_t start_ns = peer_now_ns();

	run = logins;
	started = busy = ended = 0;
	start_more();
	load_run_until(&ended, logins->count);
	run = NULL;
	logins->seconds_ns = peer_now_ns() - start_ns;
}

uint64_t session_log_out(void)
{
	uint64_t count = load.open_count;

	busy = count;
	ended = 0;
	while (load.open_count) {
		struct session *session = load.open[load.open_count - 1];

		open_del(session);
		if (!say_logout(session))
			session_end(session, -EPIPE);
	}
	load_run_until(&ended, count);
	return count;
}

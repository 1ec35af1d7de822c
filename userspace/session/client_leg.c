// SPDX-License-Identifier: Apache-2.0
/*
 * The client leg before login: what waits to be sent, what may be read now, what the socket tells.
 * What a state wants of it stands in its row.
 */
#include "session/kind.h"
#include "net/sock.h"

#include <errno.h>

#define OUT_LIMIT_BYTES (1024 * 1024)
#define READ_BYTES 2048
#define TURN_READ_BYTES 32768 /* of one client, as stream_read_cost() counts */

static const struct session_state_row *row_of(const struct session *session)
{
	return &session_states[session->state];
}

/* What is ending already has its reason. */
static enum session_reason reason_or_own(const struct session *session, enum session_reason reason)
{
	return session_is_ending(session) ? (enum session_reason)session->reason : reason;
}

enum session_reason session_client_error(ssize_t error)
{
	if (error == STREAM_EOF || error == -ECONNABORTED)
		return REASON_CLIENT_EOF;
	if (error == -ETIMEDOUT)
		return REASON_KEEPALIVE;
	if (error == -ENOMEM)
		return REASON_INTERNAL;
	return error == -EPROTO ? REASON_TLS_CLIENT : REASON_CLIENT_ERROR;
}

int session_flush(struct session *session)
{
	struct leg *leg = &session->login->leg;
	uint32_t before = leg->out.len;
	int r = leg_flush(leg);

	/* What is owed before login is little: FLUSH has its time in all. */
	if (leg->out.len < before && row_of(session)->limit == LIMIT_PROGRESS)
		session_restart_limit(session);
	if (r < 0)
		session_close(session, reason_or_own(session, session_client_error(r)));
	return r;
}

static bool may_read(const struct session *session)
{
	const struct login *login = session->login;

	switch (row_of(session)->watch) {
	case WATCH_TALK:
		return !login->client_eof && login->leg.out.len <= SESSION_OUT_HIGH_BYTES &&
			buf_room(&login->leg.in) && !timer_armed(&login->turn);
	case WATCH_AHEAD:
		return buf_room(&login->leg.in) && !timer_armed(&login->turn);
	case WATCH_DROP:
		return !timer_armed(&login->turn);
	default:
		return false;
	}
}

static uint32_t wanted_events(const struct session *session)
{
	const struct login *login = session->login;
	enum session_watch watch = row_of(session)->watch;
	uint32_t events = 0;

	if (watch == WATCH_HEADER)
		return EPOLLIN;
	if (watch == WATCH_TLS)
		return login->leg.stream.want;
	if (may_read(session))
		events = leg_events(&login->leg, true, false);
	else if (watch == WATCH_AHEAD)
		events = EPOLLRDHUP; /* SES-3: input is full, but a close must be seen */
	if (login_has_to_send(login) || watch == WATCH_FLUSH)
		events |= leg_events(&login->leg, false, true);
	return events;
}

void session_update_watch(struct session *session)
{
	struct login *login = session->login;

	if (!login || !login->leg.watch.loop || session->state == S_CLOSED)
		return;
	if (session_cell(session)->watch)
		session_cell(session)->watch(session);
	else if (leg_watch(&login->leg, wanted_events(session)) < 0)
		session_close(session, REASON_INTERNAL);
}

int session_read_client(struct session *session)
{
	struct leg *leg = &session->login->leg;
	size_t spent = 0;

	while (buf_room(&leg->in) && spent < TURN_READ_BYTES) {
		ssize_t n = leg_read(leg, &leg->in, READ_BYTES, &spent);

		if (n == -EAGAIN)
			break;
		if (n == STREAM_EOF && row_of(session)->client_end == CLIENT_END_ANSWERS) {
			session->login->client_eof = true;
			break;
		}
		if (n <= 0) {
			session_close(session, session_client_error(n));
			return 1;
		}
		session->login->input_ms = session->pool->loop->now_ms;
		/* A command is rarely followed by another at once, and epoll would say so. */
		if (leg->dry)
			break;
	}
	if (leg_pause_ms(spent, TURN_READ_BYTES))
		session_client_later(session, leg_pause_ms(spent, TURN_READ_BYTES));
	if (!leg->in.len)
		buf_fini(&leg->in); /* idle clients hold no buffer */
	return 0;
}

static bool sends(const struct session *session)
{
	enum session_watch watch = row_of(session)->watch;

	return watch != WATCH_TLS && watch != WATCH_NONE && !session->login->held;
}

void session_run(struct session *session)
{
	if (sends(session) && session->login->leg.out.len && session_flush(session) < 0)
		return;
	session_progress(session);
}

void session_progress(struct session *session)
{
	if (session_cell(session)->progress)
		session_cell(session)->progress(session);
	session_update_watch(session);
}

static void on_turn(struct timer *timer)
{
	struct session *session = container_of(timer, struct login, turn)->session;

	if (row_of(session)->watch != WATCH_TALK ||
		session->login->leg.out.len > SESSION_OUT_HIGH_BYTES ||
		!session_read_client(session))
		session_run(session);
}

void session_client_later(struct session *session, uint64_t in_ms)
{
	loop_timer_set(session->pool->loop, &session->login->turn, in_ms, on_turn);
}

void session_client_event(struct session *session, uint32_t epoll_events)
{
	if (epoll_events & EPOLLRDHUP && !may_read(session))
		session_close(session, REASON_CLIENT_EOF);
	else if (!may_read(session) || !session_read_client(session))
		session_run(session);
}

static void client_hung_up(struct session *session)
{
	int error = sock_error(session->login->leg.stream.fd);

	/* Input that came before the hang-up is of no use: nobody reads the answer. */
	session_close(session,
		reason_or_own(
			session, error < 0 ? session_client_error(error) : REASON_CLIENT_EOF));
}

static void on_client_event(struct loop_watch *watch, uint32_t epoll_events)
{
	struct session *session = container_of(watch, struct login, leg.watch)->session;
	enum session_watch watched = row_of(session)->watch;

	loop_work_on(session->pool->loop, session->number);
	if (watched == WATCH_HEADER || watched == WATCH_TLS) {
		session_run(session); /* sees for itself what happened */
		return;
	}
	if (epoll_events & (EPOLLERR | EPOLLHUP))
		client_hung_up(session);
	else if (session_cell(session)->client)
		session_cell(session)->client(session, epoll_events);
	else
		session_client_event(session, epoll_events);
}

int session_client_open(struct session *session, int fd)
{
	struct leg *leg = &session->login->leg;

	leg_init(leg, PROTO_INPUT_BYTES, OUT_LIMIT_BYTES);
	return leg_open(leg, session->pool->loop, fd, EPOLLIN, on_client_event);
}

const struct addr *session_local(struct session *session)
{
	struct login *login = session->login;

	if (!addr_is_set(&login->local))
		(void)!sock_local(login->leg.stream.fd, &login->local);
	return &login->local;
}

const char *session_own_name(struct session *session, char text[ADDR_TEXT_SIZE])
{
	const char *hostname = session->snapshot->config->server.hostname;

	return hostname ? hostname : addr_format_literal(session_local(session), text);
}

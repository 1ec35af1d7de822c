// SPDX-License-Identifier: Apache-2.0
/*
 * The life of a session: its slot, its state, its client leg before login, its end. What happens
 * in between is in step_*.c. Invariants: only session_set_state() writes session->state; a closed
 * session holds no descriptor, timer, watch or secret, and its handle finds nothing.
 */
#include "session/session.h"
#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/secret.h"
#include "net/sock.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define NO_SLOT UINT32_MAX
#define DRAIN_MS 60000
#define LINGER_MS 3000
#define LOOKUP_NET_MS 5000 /* added to lookup_timeout: never expected to pass */
#define OUT_LIMIT_BYTES (1024 * 1024)
#define OUT_HIGH_BYTES 16384 /* above it no further command is answered until it is sent */
#define READ_BYTES 2048
#define TURN_READ_BYTES 32768 /* of one client, as stream_read_cost() counts */

static const struct {
	uint32_t next;
	enum session_limit limit;
} states[] = {
#define X(name, next, limit) [S_##name] = { next, limit },
	SESSION_STATES(X)
#undef X
};

static const char *const reasons[] = {
#define X(name, text) [REASON_##name] = text,
	SESSION_REASONS(X)
#undef X
};

const char *session_route_name(enum session_route route)
{
	switch (route) {
	case ROUTE_PIN:
		return "pin";
	case ROUTE_PASSTHROUGH:
		return "passthrough";
	default:
		return mapping_route_name((enum mapping_route)route);
	}
}

const char *session_reason_name(enum session_reason reason)
{
	return reasons[reason];
}

void session_format_id(const struct session *session, char ret_id[SESSION_ID_SIZE])
{
	session_format_number(session->pool->server->instance, session->number, ret_id);
}

void session_format_number(
	const unsigned char *instance, uint64_t number, char ret_id[SESSION_ID_SIZE])
{
	snprintf(ret_id, SESSION_ID_SIZE, "H%02x%02x-%llx", instance[0], instance[1],
		(unsigned long long)number);
}

/* ---- slots ---- */

static int slots_grow(struct session_pool *pool)
{
	uint32_t count = pool->slot_count ? pool->slot_count * 2 : 64;
	struct session_slot *slots = realloc(pool->slots, count * sizeof(*slots));

	if (!slots)
		return -ENOMEM;
	for (uint32_t i = pool->slot_count; i < count; i++)
		slots[i] = (struct session_slot){ .next_free = i + 1 < count ? i + 1 : NO_SLOT };
	pool->first_free = pool->slot_count;
	pool->slots = slots;
	pool->slot_count = count;
	return 0;
}

uint64_t session_handle(const struct session *session)
{
	return (uint64_t)session->pool->slots[session->slot].generation << 32 | session->slot;
}

struct session *session_find(struct session_pool *pool, uint64_t handle)
{
	uint32_t slot = (uint32_t)handle;

	if (slot >= pool->slot_count || pool->slots[slot].generation != (uint32_t)(handle >> 32))
		return NULL;
	return pool->slots[slot].session;
}

static int session_new(struct session_pool *pool, struct session **ret_session)
{
	struct session *session;
	struct login *login;
	int r;

	if (pool->first_free == NO_SLOT) {
		r = slots_grow(pool);
		if (r < 0)
			return r;
	}
	session = calloc(1, sizeof(*session));
	login = calloc(1, sizeof(*login));
	if (!session || !login) {
		free(session);
		free(login);
		return -ENOMEM;
	}
	session->login = login;
	login->session = session;
	session->pool = pool;
	session->slot = pool->first_free;
	pool->first_free = pool->slots[session->slot].next_free;
	pool->slots[session->slot].session = session;
	list_add_tail(&pool->sessions, &session->link);
	pool->count++;
	session->mech = session->route = -1;
	for (int i = 0; i < PHASES; i++)
		session->phase_ms[i] = -1;
	*ret_session = session;
	return 0;
}

static void login_free_deferred(struct loop_deferred *deferred)
{
	struct login *login = container_of(deferred, struct login, deferred);

	if (login->session)
		login->session->login = NULL;
	session_http_free(login);
	free(login);
}

/* Frames above may still look at it. */
void session_retire_login(struct session *session)
{
	session->login->retired = true;
	loop_timer_del(session->pool->loop, &session->login->turn);
	loop_defer(session->pool->loop, &session->login->deferred, login_free_deferred);
}

static void session_free_deferred(struct loop_deferred *deferred)
{
	struct session *session = container_of(deferred, struct session, deferred);
	struct session_pool *pool = session->pool;

	if (session->login && session->login->retired) {
		session->login->session = NULL; /* freed by its own call */
	} else if (session->login) {
		session_http_free(session->login);
		free(session->login);
	}
	snapshot_unref(session->snapshot);
	snapshot_unref(session->node_snapshot);
	free(session->account);
	free(session->via);
	free(session);
	if (!pool->count && pool->on_empty)
		pool->on_empty(pool);
}

static void session_forget(struct session *session)
{
	struct session_pool *pool = session->pool;
	struct session_slot *slot = &pool->slots[session->slot];

	slot->session = NULL;
	slot->generation++;
	slot->next_free = pool->first_free;
	pool->first_free = session->slot;
	list_del(&session->link);
	pool->count--;
	loop_defer(pool->loop, &session->deferred, session_free_deferred);
}

/* ---- states ---- */

static void on_deadline(struct timer *timer)
{
	struct session *session = container_of(timer, struct login, deadline)->session;

	switch (session->state) {
	case S_DIALOGUE:
		session_answer(session, FRONT_REPLY_TIMEOUT);
		session_finish(session, REASON_PREAUTH_TIMEOUT);
		break;
	case S_PROXY:
		session_close(session, REASON_PROXY_HEADER);
		break;
	case S_TLS:
	case S_STARTTLS:
		session_close(session, REASON_PREAUTH_TIMEOUT);
		break;
	case S_HOLD:
		session_hold_over(session);
		break;
	case S_LOOKUP:
		session_unavailable(session, REASON_INTERNAL);
		break;
	case S_DIAL:
		session_dial_window_over(session);
		break;
	case S_REPLAY:
		session_replay_timeout(session);
		break;
	case S_FIRST_HEAD:
	case S_IDLE:
	case S_HEAD:
	case S_EXTRACT:
	case S_EXCHANGE:
		session_http_deadline(session);
		break;
	default: /* FLUSH, LINGER, SPLICE: the peer had its time */
		if (session->state != S_LINGER)
			sock_abort_on_close(session->login->stream.fd);
		session_close(session, session->reason);
	}
}

static uint64_t state_limit_ms(const struct session *session, enum session_limit limit)
{
	uint64_t now = clock_mono_ms(), until;

	switch (limit) {
	case LIMIT_PREAUTH:
		return session->login->preauth_at_ms > now ? session->login->preauth_at_ms - now
							   : 0;
	case LIMIT_HOLD:
		until = holds_until(session->pool->server->holds, view_str(session->account));
		return until > now ? until - now : 0;
	case LIMIT_LOOKUP:
		return session->snapshot->config->mapping.lookup_timeout_ms + LOOKUP_NET_MS;
	case LIMIT_WINDOW:
		return session->snapshot->config->server.backend_timeout_ms;
	case LIMIT_DRAIN:
		return DRAIN_MS;
	case LIMIT_FIRST_HEAD:
		return MIN(state_limit_ms(session, LIMIT_PREAUTH),
			session->snapshot->config->http.head_timeout_ms);
	case LIMIT_HEAD:
		return MIN(session->snapshot->config->http.relay_idle_ms,
			session->snapshot->config->http.head_timeout_ms);
	case LIMIT_KEEPALIVE:
		return session->snapshot->config->http.keepalive_timeout_ms;
	case LIMIT_RELAY_IDLE:
		return session->snapshot->config->http.relay_idle_ms;
	default:
		return LINGER_MS;
	}
}

void session_set_state(struct session *session, enum session_state state)
{
	enum session_limit limit = states[state].limit;

	assert(states[session->state].next & BIT(state));
	if (session->state == S_HOLD && state != S_HOLD)
		holds_leave(
			session->pool->server->holds, view_str(session->account), &session->client);
	session->state = state;
	if (!session->login)
		return;
	if (limit == LIMIT_NONE)
		loop_timer_del(session->pool->loop, &session->login->deadline);
	else
		loop_timer_set(session->pool->loop, &session->login->deadline,
			state_limit_ms(session, limit), on_deadline);
}

void session_restart_preauth(struct session *session)
{
	session->login->preauth_at_ms = clock_mono_ms() + session->settings->preauth_timeout_ms;
	if (states[session->state].limit == LIMIT_PREAUTH)
		loop_timer_set(session->pool->loop, &session->login->deadline,
			session->settings->preauth_timeout_ms, on_deadline);
}

void session_phase_start(struct session *session)
{
	session->login->phase_started_ms = clock_mono_ms();
}

void session_phase_end(struct session *session, enum session_phase phase)
{
	uint64_t spent = clock_mono_ms() - session->login->phase_started_ms;

	if (session->phase_ms[phase] < 0)
		session->phase_ms[phase] = 0;
	session->phase_ms[phase] += (int32_t)MIN(spent, (uint64_t)INT32_MAX / 2);
	session->login->phase_started_ms += spent;
	histogram_observe(&session->pool->server->metrics.phases[phase], spent);
}

/* ---- client leg before login ---- */

static enum session_reason client_error_reason(ssize_t error)
{
	if (error == STREAM_EOF || error == -ECONNABORTED)
		return REASON_CLIENT_EOF;
	if (error == -ETIMEDOUT)
		return REASON_KEEPALIVE;
	return error == -EPROTO ? REASON_TLS_CLIENT : REASON_CLIENT_ERROR;
}

int session_flush(struct session *session)
{
	while (session->login->out.len) {
		struct view v = buf_view(&session->login->out);
		ssize_t n = stream_write(&session->login->stream, v.data, v.len);

		session->login->write_want = n == -EAGAIN ? session->login->stream.want : 0;
		if (n == -EAGAIN)
			return 0;
		if (n < 0) {
			session_close(session,
				session->state == S_FLUSH ? session->reason
							  : client_error_reason(n));
			return (int)n;
		}
		buf_consume(&session->login->out, (size_t)n);
		/* Progress. What is owed before login is little: FLUSH has its time in all. */
		if (session->state == S_SPLICE)
			loop_timer_set(session->pool->loop, &session->login->deadline, DRAIN_MS,
				on_deadline);
	}
	buf_fini(&session->login->out);
	return 0;
}

static bool may_read(const struct session *session)
{
	switch (session->state) {
	case S_DIALOGUE:
		return !session->login->client_eof && session->login->out.len <= OUT_HIGH_BYTES &&
			buf_room(&session->login->in) && !timer_armed(&session->login->turn);
	case S_HOLD:
	case S_LOOKUP:
	case S_DIAL:
	case S_REPLAY:
		return buf_room(&session->login->in) && !timer_armed(&session->login->turn);
	case S_LINGER:
		return true;
	default:
		return false;
	}
}

void session_update_watch(struct session *session)
{
	struct login *login = session->login;
	uint32_t events = 0;

	if (!login || !login->watch.loop || session->state == S_CLOSED)
		return;
	if (session_http_drives(session)) {
		session_http_update_watches(session);
		return;
	}
	if (session->state == S_PROXY) {
		events = EPOLLIN;
	} else if (session->state == S_TLS) {
		events = login->stream.want;
	} else {
		if (may_read(session))
			events |= login->read_want ? login->read_want : EPOLLIN;
		else if (session->state >= S_HOLD && session->state <= S_REPLAY)
			events |= EPOLLRDHUP; /* SES-3: input is full, but a close must be seen */
		if (login->out.len || session->state == S_FLUSH) /* FLUSH: close_notify too */
			events |= login->write_want ? login->write_want : EPOLLOUT;
	}
	if (loop_watch_set(&login->watch, events) < 0)
		session_close(session, REASON_INTERNAL);
}

int session_read_client(struct session *session)
{
	size_t spent = 0;

	while (buf_room(&session->login->in) && spent < TURN_READ_BYTES) {
		size_t want = MIN(buf_room(&session->login->in), (size_t)READ_BYTES);
		ssize_t n;

		if (buf_reserve(&session->login->in, want) < 0) {
			session_close(session, REASON_INTERNAL);
			return 1;
		}
		n = stream_read(&session->login->stream, buf_tail(&session->login->in), want);
		session->login->read_want = n == -EAGAIN ? session->login->stream.want : 0;
		if (n == -EAGAIN)
			break;
		if (n == STREAM_EOF && session->state == S_DIALOGUE) {
			session->login->client_eof = true; /* what came before is answered first */
			break;
		}
		if (n <= 0) {
			session_close(session, client_error_reason(n));
			return 1;
		}
		buf_commit(&session->login->in, (size_t)n);
		session->login->input_ms = session->pool->loop->now_ms;
		spent += stream_read_cost(&session->login->stream, n);
		/* A command is rarely followed by another at once, and epoll would say so. */
		if (n < (ssize_t)want && !stream_pending(&session->login->stream))
			break;
	}
	if (spent >= STREAM_HEAVY_TURNS * TURN_READ_BYTES)
		session_dialogue_later(session, STREAM_HEAVY_PAUSE_MS);
	if (!session->login->in.len)
		buf_fini(&session->login->in); /* idle clients hold no buffer */
	return 0;
}

/* Nothing more than what the state asks for; ends when there is nothing left to do. */
void session_run(struct session *session)
{
	if (session->state != S_TLS && session->state != S_CLOSED && session->login->out.len &&
		session_flush(session) < 0)
		return;
	switch (session->state) {
	case S_PROXY:
		session_proxy_progress(session);
		break;
	case S_TLS:
		session_tls_progress(session);
		break;
	case S_STARTTLS:
		if (!session->login->out.len)
			session_step_tls(session);
		break;
	case S_DIALOGUE:
		if (session->login->out.len <= OUT_HIGH_BYTES)
			session_dialogue_run(session);
		break;
	case S_SPLICE:
		session_step_splice(session);
		break;
	case S_FLUSH:
		session_step_drain(session);
		break;
	default:
		if (session_http_drives(session))
			session_http_run(session);
		break;
	}
	session_update_watch(session);
}

static void on_client_event(struct loop_watch *watch, uint32_t epoll_events)
{
	struct session *session = container_of(watch, struct login, watch)->session;

	loop_work_on(session->pool->loop, session->number);
	if (session->state == S_PROXY) {
		session_run(session);
		return;
	}
	if (epoll_events & (EPOLLERR | EPOLLHUP) && session->state != S_TLS) {
		int error = sock_error(session->login->stream.fd);

		/* Input that came before the hang-up is of no use: nobody reads the answer. */
		session_close(session,
			session->state >= S_FLUSH ? session->reason
				: error < 0       ? client_error_reason(error)
						  : REASON_CLIENT_EOF);
		return;
	}
	if (session->state == S_LINGER) {
		session_linger_read(session);
		return;
	}
	if (session->state == S_DIALOGUE && timer_armed(&session->login->turn))
		return; /* it has had this turn */
	if (session_http_drives(session)) {
		session_http_client_event(session, epoll_events);
		return;
	}
	if (epoll_events & EPOLLRDHUP && !may_read(session) && session->state != S_TLS) {
		session_close(session, REASON_CLIENT_EOF);
		return;
	}
	if (may_read(session) && session_read_client(session))
		return;
	session_run(session);
}

const struct addr *session_local(struct session *session)
{
	struct login *login = session->login;

	if (!addr_is_set(&login->local))
		(void)!sock_local(login->stream.fd, &login->local);
	return &login->local;
}

/* ---- accept (called from step_accept.c) ---- */

int session_open(struct session_pool *pool, struct listener *listener, int fd,
	const struct addr *peer, struct session **ret_session)
{
	struct session *session;
	int r = session_new(pool, &session);

	if (r < 0)
		return r;
	session->snapshot = snapshot_ref(pool->snapshot);
	session->listener = listener;
	session->settings = snapshot_listener(session->snapshot, listener);
	session->client = *peer;
	session->number = atomic_fetch_add(&pool->server->session_numbers, 1) + 1;
	proxyhdr_make_id(pool->server->instance, session->number, session->login->proxy_id);
	session->accepted_ms = clock_mono_ms();
	session->login->phase_started_ms = session->login->input_ms = session->accepted_ms;
	session->login->preauth_at_ms =
		session->accepted_ms + session->settings->preauth_timeout_ms;
	stream_init_plain(&session->login->stream, fd);
	buf_init(&session->login->in, PROTO_INPUT_BYTES, true);
	buf_init(&session->login->out, OUT_LIMIT_BYTES, true);
	r = loop_watch_add(pool->loop, &session->login->watch, fd, EPOLLIN, on_client_event);
	if (r < 0) {
		session->login->stream.fd = -1; /* stays the caller's */
		stream_close(&session->login->stream);
		session->state = S_CLOSED;
		session_forget(session);
		return r;
	}
	*ret_session = session;
	return 0;
}

/* ---- answers and ends ---- */

void session_wipe_credential(struct session *session)
{
	if (!session->login || !session->login->credential)
		return;
	proto_credential_wipe(session->login->credential);
	free(session->login->credential);
	session->login->credential = NULL;
}

void session_after_reply(struct session *session, int outcome)
{
	static const enum session_reason ends[] = {
		[FRONT_END_QUIT] = REASON_CLIENT_QUIT,
		[FRONT_END_AUTH_LIMIT] = REASON_AUTH_LIMIT,
		[FRONT_END_TOO_LONG] = REASON_PROTOCOL_ERROR,
		[FRONT_END_VIOLATION] = REASON_PROTOCOL_ERROR,
	};

	session->attempts = (uint16_t)session->login->front_ops->attempts(session->login->front);
	if (outcome < 0)
		session_close(session, REASON_INTERNAL);
	else if (outcome == FRONT_CLOSE)
		session_finish(
			session, ends[session->login->front_ops->end(session->login->front)]);
}

void session_answer(struct session *session, enum front_reply reply)
{
	int r = 0;

	session_wipe_credential(session);
	session_drop_dial(session);
	if (session->login->front)
		r = session->login->front_ops->reply(
			session->login->front, reply, &session->login->out);
	else if (session_is_passthrough(session))
		r = session_passthrough_reply(session, reply);
	if (r < 0)
		buf_clear(&session->login->out); /* no memory: close without the line */
	if (session->login->front)
		session->attempts =
			(uint16_t)session->login->front_ops->attempts(session->login->front);
}

void session_count_auth(struct session *session, enum session_auth result)
{
	atomic_fetch_add(
		&session->pool->server->metrics.auth[session->settings->protocol][result], 1);
}

void session_unavailable(struct session *session, enum session_reason reason)
{
	if (session->node)
		atomic_fetch_add(&session->node->unavailable, 1);
	if (session->login->http) {
		session_http_failed(session, reason);
		return;
	}
	if (!session_is_passthrough(session))
		session_count_auth(session, AUTH_UNAVAILABLE);
	session_answer(session, FRONT_REPLY_UNAVAILABLE);
	session_finish(session, reason);
}

void session_finish(struct session *session, enum session_reason reason)
{
	if (session->state == S_CLOSED || session->state >= S_FLUSH)
		return;
	session_wipe_credential(session);
	session_drop_dial(session);
	session_http_end(session);
	session->reason = reason;
	if (!(states[session->state].next & BIT(S_FLUSH))) {
		session_close(session, reason);
		return;
	}
	session_set_state(session, S_FLUSH);
	buf_fini(&session->login->in);
	session_run(session);
}

static void count_out(struct session *session)
{
	struct server *server = session->pool->server;

	atomic_fetch_sub(&session->listener->active, 1);
	atomic_fetch_sub(&server->active, 1);
	atomic_fetch_add(&server->metrics.ended[session->reason], 1);
	if (session->counted_active) {
		atomic_fetch_sub(&session->node->active, 1);
		atomic_fetch_sub(&session->node->protocol_active[session->settings->protocol], 1);
	}
	for (int i = 0; i < 2; i++) {
		if (session->path[i] != RELAY_PATH_NONE)
			atomic_fetch_sub(&server->paths[session->path[i]][i].active, 1);
	}
}

static void login_end(struct session *session, struct login *login)
{
	if (login->front) {
		session->attempts = (uint16_t)login->front_ops->attempts(login->front);
		login->front_ops->free(login->front);
		login->front = NULL;
	}
	loop_watch_forget(&login->watch);
	loop_timer_del(session->pool->loop, &login->proxy_wait);
	loop_timer_del(session->pool->loop, &login->turn);
	stream_close(&login->stream);
	buf_fini(&login->in);
	buf_fini(&login->out);
}

void session_close(struct session *session, enum session_reason reason)
{
	if (session->state == S_CLOSED)
		return;
	session->reason = reason;
	session_wipe_credential(session);
	session_drop_dial(session);
	session_http_end(session);
	session_set_state(session, S_CLOSED);
	if (session->login)
		login_end(session, session->login);
	count_out(session);
	session_log(session);
	relay_free(session->relay);
	session->relay = NULL;
	session_forget(session);
}

/* ---- the pool ---- */

/* One worker, one thread, one pool: messages from other threads find it here. */
static _Thread_local struct session_pool *current_pool;

struct session_pool *session_pool_current(void)
{
	return current_pool;
}

int session_pool_init(
	struct session_pool *pool, struct server *server, struct loop *loop, unsigned worker)
{
	int r;

	*pool = (struct session_pool){ .server = server, .loop = loop, .first_free = NO_SLOT };
	list_init(&pool->sessions);
	current_pool = pool;
	r = relay_engine_init(&pool->engine, loop, &server->kernel, worker);
	return r < 0 ? r : resolver_new(loop, &pool->resolver);
}

void session_pool_kill(struct session_pool *pool)
{
	list_for_each_safe (node, next, &pool->sessions) {
		struct session *session = list_entry(node, struct session, link);

		if (session->relay)
			relay_stop(session->relay, true);
		session_close(
			session, session->state >= S_FLUSH ? session->reason : REASON_SHUTDOWN);
	}
}

void session_pool_fini(struct session_pool *pool)
{
	session_pool_kill(pool);
	loop_timer_del(pool->loop, &pool->fold_timer);
	relay_engine_fini(&pool->engine);
	resolver_free(pool->resolver);
	pool->resolver = NULL;
	free(pool->slots);
	pool->slots = NULL;
	pool->slot_count = 0;
	snapshot_unref(pool->snapshot);
	pool->snapshot = NULL;
	current_pool = NULL;
}

void session_pool_drain(struct session_pool *pool)
{
	pool->draining = true;
	list_for_each_safe (node, next, &pool->sessions) {
		struct session *session = list_entry(node, struct session, link);

		if (session_http_drives(session)) {
			session_http_shutdown(session);
		} else if (session->state <= S_TLS || session->state == S_STARTTLS) {
			session_close(session, REASON_SHUTDOWN);
		} else if (session->state < S_SPLICE) {
			session_answer(session, FRONT_REPLY_SHUTDOWN);
			session_finish(session, REASON_SHUTDOWN);
		}
	}
	if (!pool->count && pool->on_empty)
		pool->on_empty(pool);
}

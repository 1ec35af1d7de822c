// SPDX-License-Identifier: Apache-2.0
/*
 * A login that comes on a channel: its session reaches the node, carries the dialogue, and waits
 * for the client's keys and its data connection, in whichever order they come. Then the data
 * connection is the client's leg, on which records go on with the next numbers, and the relay has
 * both legs like any other's (handoff.md section 4).
 *
 * What the node said is kept until the router says how much of it the client has been sent: the
 * rest is sealed here (HND-31).
 */
#include "agent/agent.h"
#include "base/clock.h"
#include "base/secret.h"
#include "session/steps.h"
#include "tls/records.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define READ_BYTES 16384
/* HND-34, and of section 4: keys and token, or what is left of a login whose node has gone. */
#define PATIENCE_MS 5000

struct tunnel {
	struct session *session;
	struct channel_stream *stream; /* NULL: handed, or lost */
	unsigned char token[HANDOFF_TOKEN_BYTES];
	uint64_t handle;      /* pool->tunnels; 0: none */
	struct buf to_node;   /* of the client's: what came with its keys */
	struct buf from_node; /* read from the node, not taken by the channel */
	struct buf kept;      /* sent on the channel; then what the client was not sent of it */
	bool node_ended, has_keys, has_data;
	struct tls_records_state state; /* secret; has_keys */
	struct leg data;                /* has_data: the socket, not read and not watched for */
};

static struct tunnel *tunnel_of(const struct session *session)
{
	return session->login->tunnel;
}

/* ---- begin and end ---- */

static void tunnel_free(struct session *session)
{
	struct tunnel *tunnel = tunnel_of(session);
	struct session_pool *pool = session->pool;

	if (!tunnel)
		return;
	session->login->tunnel = NULL;
	tokens_drop(pool->router->tokens, tunnel->token);
	slots_remove(&pool->tunnels, tunnel->handle);
	buf_fini(&tunnel->to_node);
	buf_fini(&tunnel->from_node);
	buf_fini(&tunnel->kept);
	secret_wipe(&tunnel->state, sizeof(tunnel->state));
	leg_close(&tunnel->data);
	free(tunnel);
}

static int to_refusal(enum session_reason reason)
{
	switch (reason) {
	case REASON_NODE_UNREACHABLE:
	case REASON_NODE_TIMEOUT:
	case REASON_NODE_DOWN:
	case REASON_LOOP:
		return HANDOFF_REFUSED_HOST;
	case REASON_NODE_NO_PROTOCOL:
		return HANDOFF_REFUSED_NO_PROTOCOL;
	case REASON_SHUTDOWN:
		return HANDOFF_REFUSED_DRAINING;
	case REASON_INTERNAL:
		return HANDOFF_REFUSED_LIMIT;
	default:
		return HANDOFF_REFUSED_CLIENT;
	}
}

/* The node cannot be had, or the process stops. */
static void refuse(struct session *session, enum session_reason reason)
{
	struct channel_stream *stream = tunnel_of(session)->stream;

	if (stream && stream->state == CHANNEL_STREAM_OPENING)
		channel_stream_refuse(stream, to_refusal(reason));
	session_close(session, reason);
}

/* ---- the dialogue ---- */

/* From the router to the node. Returns 0, or -errno of the node's leg, or 1: the router has let the
 * stream go. */
static int move_up(struct session *session)
{
	struct tunnel *tunnel = tunnel_of(session);
	struct dial *dial = session->login->reach.dial;
	struct leg *client = &session->login->leg;
	size_t spent = 0;

	while (tunnel->stream && buf_room(&dial->leg.out)) {
		ssize_t n = leg_read(client, &dial->leg.out, READ_BYTES, &spent);

		if (n == -EAGAIN)
			break;
		if (n <= 0)
			return 1;
	}
	return leg_flush(&dial->leg);
}

/* The node has no more to say, and all that it said is passed on. */
static void node_ended(struct session *session, ssize_t error)
{
	struct tunnel *tunnel = tunnel_of(session);

	tunnel->node_ended = true;
	if (tunnel->stream)
		channel_stream_end(tunnel->stream, (int)error);
	session_set_limit(session, PATIENCE_MS);
}

/* From the node to the router, as long as that is allowed to be told. */
static void move_down(struct session *session)
{
	struct tunnel *tunnel = tunnel_of(session);
	struct dial *dial = session->login->reach.dial;
	size_t spent = 0;

	while (tunnel->stream && !tunnel->node_ended) {
		struct view v;
		ssize_t n;

		if (spent >= HANDOFF_DATA_MAX) { /* TLS may hold more, of which no event tells */
			session_client_later(session, 0);
			return;
		}
		if (!tunnel->from_node.len) {
			n = leg_read(&dial->leg, &tunnel->from_node, READ_BYTES, &spent);
			if (n == -EAGAIN)
				return;
			if (n <= 0) {
				node_ended(session, n);
				return;
			}
		}
		v = buf_view(&tunnel->from_node);
		n = stream_write(&session->login->leg.stream, v.data, v.len);
		if (n == -EAGAIN || n == -EPIPE)
			return;
		if (n <= 0) {
			session_close(session, REASON_INTERNAL);
			return;
		}
		buf_consume(&tunnel->from_node, (size_t)n);
	}
}

/* Of a leg of which nothing is wanted epoll would report a hang-up again and again; the relay
 * watches anew. */
static void watch_node(struct session *session)
{
	struct tunnel *tunnel = tunnel_of(session);
	const struct leg *leg = &session->login->reach.dial->leg;
	bool reads = tunnel->stream && !tunnel->from_node.len && !tunnel->node_ended;

	if (dial_watch(session->login->reach.dial, leg_events(leg, reads, leg->out.len)) < 0)
		session_close(session, REASON_INTERNAL);
}

static void run(struct session *session)
{
	struct tunnel *tunnel = tunnel_of(session);
	int r;

	if (session->state == S_DIAL && tunnel->stream->state == CHANNEL_STREAM_OVER)
		session_close(session, REASON_CLIENT_EOF);
	if (session->state != S_TUNNEL)
		return;
	r = move_up(session);
	if (r > 0) {
		session_close(session, REASON_CLIENT_EOF);
		return;
	}
	if (r < 0) /* what it has said is read all the same, and its end with it */
		buf_clear(&session->login->reach.dial->leg.out);
	if (tunnel->stream)
		tokens_refresh(session->pool->router->tokens, tunnel->token, clock_mono_ms());
	move_down(session);
	if (session->state == S_TUNNEL)
		watch_node(session);
}

/* ---- the client's session ---- */

static int join(struct session *session);

/* Both have come. */
static void join_or_close(struct session *session)
{
	if (join(session) < 0) {
		session_close(session, REASON_INTERNAL);
	} else {
		atomic_fetch_add(&session->pool->router->handoff.joined, 1);
		session_set_state(session, S_SPLICE);
	}
}

static int on_keys(struct channel_stream *stream, const struct handoff_keys *keys)
{
	struct session *session = stream->arg;
	struct tunnel *tunnel = tunnel_of(session);
	int r;

	if (session->state != S_TUNNEL)
		return -EPROTO;
	r = record_connection_unpack(keys->connection, &tunnel->state.connection);
	if (r < 0)
		return -EPROTO;
	tunnel->has_keys = true;
	buf_consume(&tunnel->kept, keys->delivered);
	/* behind what has come as dialogue */
	if (move_up(session) < 0) /* the relay finds out, and delivers what it has said */
		buf_clear(&session->login->reach.dial->leg.out);
	r = buf_append_view(&tunnel->to_node, keys->text);
	stream_close(&session->login->leg.stream); /* and with it the channel's */
	tunnel->stream = NULL;
	if (r < 0)
		session_close(session, REASON_INTERNAL);
	else if (tunnel->has_data)
		join_or_close(session);
	else
		session_set_limit(session, PATIENCE_MS);
	return 0;
}

/* Nothing is asked for: the router has gone. */
static void on_data_event(struct loop_watch *watch, uint32_t epoll_events)
{
	if (epoll_events & (EPOLLERR | EPOLLHUP))
		session_close(
			container_of(watch, struct tunnel, data.watch)->session, REASON_CLIENT_EOF);
}

/* In the moment before the relay has it. */
static void no_events(struct loop_watch *watch, uint32_t epoll_events)
{
	(void)watch;
	(void)epoll_events;
}

void agent_join(struct session_pool *pool, uint64_t handle, int fd)
{
	struct session *session = slots_find(&pool->tunnels, handle);
	struct tunnel *tunnel = session ? tunnel_of(session) : NULL;

	if (!tunnel || tunnel->has_data || session->state != S_TUNNEL) {
		close(fd);
		return;
	}
	leg_init(&tunnel->data, 0, 0);
	if (leg_open(&tunnel->data, pool->loop, fd, 0, on_data_event) < 0) {
		close(fd);
		session_close(session, REASON_INTERNAL);
		return;
	}
	tunnel->has_data = true;
	if (tunnel->has_keys)
		join_or_close(session);
	else
		session_set_limit(session, PATIENCE_MS);
}

/* The legs that the relay gets. To the node goes what waits for it, then the handoff's text; to the
 * client what it was not sent, then what was read and not passed on. */
static int join(struct session *session)
{
	struct tunnel *tunnel = tunnel_of(session);
	struct login *login = session->login;
	struct dial *dial = login->reach.dial;
	struct leg *client = &login->leg;
	int r;

	leg_move(&tunnel->data, client, no_events);
	r = tls_records_resume(
		&client->stream, view_make((const char *)&tunnel->state, sizeof(tunnel->state)));
	secret_wipe(&tunnel->state, sizeof(tunnel->state));
	if (r == 0)
		r = buf_move(&client->in, &dial->leg.out);
	if (r == 0)
		r = buf_move(&client->in, &tunnel->to_node);
	buf_clear(&dial->leg.in);
	if (r == 0)
		r = buf_move(&dial->leg.in, &tunnel->kept);
	if (r == 0)
		r = buf_move(&dial->leg.in, &tunnel->from_node);
	session_hand_over_dial(session);
	return r;
}

/* ---- what is told ---- */

static void on_stream_event(struct channel_stream *stream)
{
	struct session *session = stream->arg;

	/* The channel is over, or the stream, while the node is dialled too; others may be told
	 * just now. */
	if (stream->state == CHANNEL_STREAM_OVER)
		session_client_later(session, 0);
	else
		run(session);
}

static const struct channel_stream_ops stream_ops = {
	.event = on_stream_event,
	.keys = on_keys,
};

static void dial_up(struct session *session)
{
	struct tunnel *tunnel = tunnel_of(session);
	struct session_pool *pool = session->pool;
	struct token_owner owner = { pool->engine.worker, 0 };
	int r = slots_add(&pool->tunnels, session, &tunnel->handle);

	owner.handle = tunnel->handle;
	if (r == 0)
		r = tokens_add(pool->router->tokens, &owner, clock_mono_ms(), tunnel->token);
	if (r < 0) {
		session_unavailable(session, REASON_INTERNAL);
		return;
	}
	dial_report(session->login->reach.dial, HEALTH_SUCCESS);
	session_phase_end(session, PHASE_DIAL);
	channel_opened(tunnel->stream, tunnel->token);
	session_set_state(session, S_TUNNEL);
	run(session);
}

static void progress(struct session *session)
{
	run(session);
}

static void deadline(struct session *session)
{
	session_close(
		session, tunnel_of(session)->node_ended ? REASON_NODE_EOF : REASON_PREAUTH_TIMEOUT);
}

static const struct session_cell cells[SESSION_STATE_COUNT] = {
	[S_DIAL] = { .enter = step_dial_enter,
		.progress = progress,
		.deadline = step_dial_deadline },
	[S_TUNNEL] = { .progress = progress, .deadline = deadline },
	[S_SPLICE] = { .enter = session_run,
		.progress = step_splice_progress,
		.deadline = step_peer_deadline },
	[S_ESTABLISHED] = { .enter = step_established_enter },
};

static const struct session_kind kind = {
	.cells = cells,
	.first = S_DIAL,
	.connected = dial_up,
	.node_event = run,
	.refuse = refuse,
	.release = tunnel_free,
	.no_guard = true,
};

/* ---- OPEN ---- */

/* Counted like any other session of the listener; NULL: it is full, or there is no memory. */
static struct session *make_session(
	struct session *of_channel, enum protocol protocol, const struct handoff_open *open)
{
	struct session_pool *pool = of_channel->pool;
	struct listener *listener = of_channel->listener;
	struct snapshot *snapshot =
		snapshot_agent(pool->snapshot, listener) ? pool->snapshot : of_channel->snapshot;
	const struct agent_listener *agent = snapshot_agent(snapshot, listener);
	struct session *session;

	if (!session_count_in(listener, pool->router, &agent->inner[protocol]))
		return NULL;
	if (session_new(pool, &session) < 0) {
		session_count_back(listener, pool->router);
		return NULL;
	}
	session->snapshot = snapshot_ref(snapshot);
	session->listener = listener;
	session->settings = &agent->inner[protocol];
	session->kind = &kind;
	session->client = open->client;
	session->told = true;
	session->choice = CHOICE_PIN;
	session->number = atomic_fetch_add(&pool->router->session_numbers, 1) + 1;
	session->accepted_ms = clock_mono_ms();
	session->login->local = open->local;
	session->login->ttl = (uint8_t)session->snapshot->config->server.proxy_ttl;
	session->login->phase_started_ms = session->login->input_ms = session->accepted_ms;
	session->tls_version = open->tls_version == 0x0304 ? "TLSv1.3" : "TLSv1.2";
	session->tls_cipher = tls_suite_name(open->tls_suite);
	session->login->proxy_tls =
		(struct proxyhdr_tls){ session->tls_version, session->tls_cipher };
	memcpy(session->login->proxy_id, open->proxy_id, PROXYHDR_ID_BYTES);
	leg_init(&session->login->leg, 0, 0);
	return session;
}

static const enum protocol protocols[] = {
	[HANDOFF_IMAP] = PROTOCOL_IMAP,
	[HANDOFF_POP3] = PROTOCOL_POP3,
	[HANDOFF_MANAGESIEVE] = PROTOCOL_MANAGESIEVE,
	[HANDOFF_SUBMISSION] = PROTOCOL_SUBMISSION,
};

void agent_login(struct session *of_channel, struct channel *channel, uint32_t id,
	const struct handoff_open *open)
{
	struct session *session = make_session(of_channel, protocols[open->protocol], open);
	struct tunnel *tunnel = session ? calloc(1, sizeof(*tunnel)) : NULL;

	if (!session) {
		channel_refuse(channel, id, HANDOFF_REFUSED_LIMIT);
		return;
	}
	session->account = view_dup(open->account);
	session->via = strdup(open->session);
	session->login->tunnel = tunnel;
	if (tunnel)
		tunnel->session = session;
	if (!tunnel || !session->account || !session->via ||
		channel_accept(channel, id, &stream_ops, session, &tunnel->stream) < 0) {
		channel_refuse(channel, id, HANDOFF_REFUSED_LIMIT);
		session_close(session, REASON_INTERNAL);
		return;
	}
	buf_init(&tunnel->to_node, 0, true);
	buf_init(&tunnel->from_node, HANDOFF_DATA_MAX, true);
	buf_init(&tunnel->kept, HANDOFF_DATA_MAX, true);
	tunnel->stream->kept = &tunnel->kept;
	channel_stream_put(tunnel->stream, &session->login->leg.stream);
	session_set_node_name(session, session->settings->destination);
	session_set_state(session, S_DIAL);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * See handover.h. The order is what makes it safe: first the data connection stands, then the
 * client's keys leave this process, once, and at once both legs are the relay's. What the agent has
 * said and the client was not sent, the agent seals anew; what the client has said and the node
 * does not have goes with the keys, or follows as it came.
 */
#include "mail/handover.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/secret.h"
#include "session/kind.h"
#include "tls/keys.h"
#include "tls/records.h"

#include <errno.h>
#include <stdlib.h>

/* So long the client may keep the switch waiting: for the rest of a message of TLS, or for the
 * agent's port. */
#define PATIENCE_MS 5000
/* Between two looks at a message of which a part is missing. */
#define LOOK_AGAIN_MS 5

struct handover {
	struct session *session;
	struct connect connect;
	struct leg leg; /* the data connection */
	struct timer patience, again;
	uint64_t begun_ms;
	unsigned char token[HANDOFF_TOKEN_BYTES];
};

/* ---- whether ---- */

static const enum handoff_protocol protocols[] = {
	[PROTOCOL_IMAP] = HANDOFF_IMAP,
	[PROTOCOL_POP3] = HANDOFF_POP3,
	[PROTOCOL_MANAGESIEVE] = HANDOFF_MANAGESIEVE,
	[PROTOCOL_SUBMISSION] = HANDOFF_SUBMISSION,
};
static_assert(ARRAY_SIZE(protocols) == PROTOCOLS_INTERACTIVE, "a number for each");

static enum node_keep why_kept(struct session *session)
{
	const struct stream *stream = &session->login->leg.stream;
	size_t account_len = session->account ? strlen(session->account) : 0;

	if (session->settings->protocol >= PROTOCOLS_INTERACTIVE)
		return NODE_KEEP_PROTOCOL;
	if (!stream_is_tls(stream))
		return NODE_KEEP_PLAIN;
	if (!tls_records_may_take(stream))
		return NODE_KEEP_SUITE;
	if (!account_len || account_len > HANDOFF_ACCOUNT_MAX ||
		!addr_is_set(session_local(session)))
		return NODE_KEEP_UNKNOWN;
	return NODE_KEEP_NOTHING;
}

enum node_keep handover_offer(struct session *session, const struct handoff_open **ret_open)
{
	const struct stream *stream = &session->login->leg.stream;
	struct handoff_open *open = &session->login->handoff_open;
	enum node_keep why = why_kept(session);

	if (why)
		return why;
	*open = (struct handoff_open){
		.protocol = protocols[session->settings->protocol],
		.tls_version = tls_stream_wire_version(stream),
		.tls_suite = tls_stream_suite(stream),
		.client = session->client,
		.local = *session_local(session),
		.account = view_str(session->account),
	};
	memcpy(open->proxy_id, session->login->proxy_id, sizeof(open->proxy_id));
	static_assert(SESSION_ID_SIZE <= HANDOFF_SESSION_BYTES, "it fits");
	session_format_id(session, open->session);
	*ret_open = open;
	return NODE_KEEP_NOTHING;
}

/* ---- the data connection ---- */

static void fail(struct session *session, enum node_keep why)
{
	session->kept = why;
	atomic_fetch_add(&session->node->kept[why], 1);
	session_close(session, REASON_NODE_ERROR);
}

/* Mostly the relay has it at once. Else nothing comes on it before the token; if the agent closes
 * it, nobody takes the keys. */
static void on_up(struct connect *connect)
{
	struct session *session = container_of(connect, struct handover, connect)->session;

	handover_progress(session);
	if (session->login && session->login->handover &&
		leg_watch(&session->login->handover->leg, EPOLLRDHUP) < 0)
		fail(session, NODE_KEEP_DATA);
}

/* It cannot be made; the next logins would fare no better. */
static void data_failed(struct session *session, const char *why)
{
	log_event_limited(LOGL_WARN, "handoff_failed", session->node->name, "node",
		session->node->name, "error", why, NULL);
	agents_data_failed(&session->pool->reaches.agents, session->node);
	fail(session, NODE_KEEP_DATA);
}

static void on_failed(struct connect *connect, int outcome)
{
	data_failed(container_of(connect, struct handover, connect)->session,
		outcome < 0 ? strerror(-outcome) : "no source address");
}

static int choose_source(struct connect *connect, const struct addr *addr, struct addr *ret_source,
	uint64_t *ret_limit_ms)
{
	struct session *session = container_of(connect, struct handover, connect)->session;
	const struct config_destination *destination = session->login->destination;

	(void)ret_limit_ms;
	return node_source_next(session->node, destination->source_ips,
		       destination->source_ip_count, addr->sa.sa_family, ret_source) < 0
		? CONNECT_REFUSED
		: 0;
}

static const struct connect_ops connect_ops = {
	.address = choose_source,
	.up = on_up,
	.failed = on_failed,
};

static void on_event(struct loop_watch *watch, uint32_t epoll_events)
{
	struct handover *handover = container_of(watch, struct handover, leg.watch);

	loop_work_on(handover->session->pool->loop, handover->session->number);
	if (connect_is_under_way(&handover->connect))
		connect_event(&handover->connect, epoll_events);
	else if (epoll_events & (EPOLLERR | EPOLLHUP | EPOLLRDHUP))
		fail(handover->session, NODE_KEEP_DATA);
}

static void on_patience_over(struct timer *timer)
{
	struct handover *handover = container_of(timer, struct handover, patience);

	if (handover->connect.phase != CONNECT_UP)
		data_failed(handover->session, "no answer in time");
	else
		fail(handover->session, NODE_KEEP_LATE);
}

int handover_begin(struct session *session)
{
	const struct agent_ask *ask = &session->login->reach.dial->ask;
	struct handover *handover = calloc(1, sizeof(*handover));

	if (!handover)
		return -ENOMEM;
	session->login->handover = handover;
	handover->session = session;
	handover->begun_ms = clock_mono_ms();
	memcpy(handover->token, ask->token, sizeof(handover->token));
	leg_init(&handover->leg, 0, 0);
	handover->connect = (struct connect){ .ops = &connect_ops,
		.loop = session->pool->loop,
		.leg = &handover->leg,
		.fn = on_event,
		.brief = true };
	connect_start_addrs(&handover->connect, &ask->agent, 1);
	return 0;
}

void handover_release(struct session *session)
{
	struct handover *handover = session->login->handover;
	struct loop *loop = session->pool->loop;

	if (!handover)
		return;
	session->login->handover = NULL;
	loop_timer_del(loop, &handover->patience);
	loop_timer_del(loop, &handover->again);
	connect_stop(&handover->connect);
	leg_close(&handover->leg);
	secret_wipe(handover->token, sizeof(handover->token));
	free(handover);
}

/* ---- the switch ---- */

/* The session goes on as dialogue. Returns 0, -errno, or 1: it is over. */
static int pass_dialogue(struct session *session)
{
	struct leg *client = &session->login->leg, *node = session->login->node_leg.leg;
	size_t spent = 0;
	ssize_t n = 1;

	if (buf_room(&client->in) && session_read_client(session))
		return 1;
	while (client->in.len && n > 0) {
		n = stream_write(&node->stream, buf_view(&client->in).data, client->in.len);
		if (n > 0)
			buf_consume(&client->in, (size_t)n);
		else if (n != -EAGAIN)
			return (int)n;
	}
	n = leg_read(node, &node->in, HANDOFF_DATA_MAX, &spent);
	if (n < 0 && n != -EAGAIN && n != -ENOBUFS)
		return (int)n;
	n = buf_move(&client->out, &node->in);
	return n < 0 ? (int)n : session_flush(session) < 0;
}

static void on_again(struct timer *timer)
{
	struct session *session = container_of(timer, struct handover, again)->session;
	int r = pass_dialogue(session);

	if (r < 0)
		fail(session, NODE_KEEP_CHANNEL);
	else if (r == 0)
		handover_progress(session);
}

/* What the client said and the node has not got: as text, which goes with the keys, and what is
 * not a whole record yet. */
struct rest {
	struct buf text, part, unsent;
};

static void wipe(struct rest *rest)
{
	buf_fini(&rest->text);
	buf_fini(&rest->part);
	buf_fini(&rest->unsent);
}

/* The client's leg is a plain one after it, and its keys are in ret_keys alone. */
static int take_apart(struct session *session, struct handoff_keys *ret_keys, struct rest *rest)
{
	struct leg *leg = &session->login->leg;
	struct tls_records_state state;
	struct buf all = { .secret = true };
	struct view at;
	int r = tls_records_give(&leg->stream, &all);

	if (r < 0)
		return r;
	at = buf_view(&all);
	memcpy(&state, at.data, sizeof(state));
	at = view_skip(at, sizeof(state));
	r = record_connection_pack(&state.connection, ret_keys->connection);
	secret_wipe(&state.connection, sizeof(state.connection));
	if (r == 0)
		r = buf_append(&rest->part, at.data, state.part);
	at = view_skip(at, state.part);
	if (r == 0)
		r = buf_append(&rest->unsent, at.data, state.unsent);
	at = view_skip(at, state.unsent);
	if (r == 0)
		r = buf_move(&rest->text, &leg->in);
	if (r == 0)
		r = buf_append(&rest->text, at.data, state.opened);
	buf_fini(&all);
	return r;
}

/* More than a handoff may hold goes before it, as dialogue. */
static int send_ahead(struct stream *stream, struct buf *text)
{
	while (text->len > HANDOFF_DATA_MAX) {
		ssize_t n = stream_write(stream, buf_view(text).data, text->len - HANDOFF_DATA_MAX);

		if (n <= 0)
			return n < 0 ? (int)n : -EIO;
		buf_consume(text, (size_t)n);
	}
	return 0;
}

/* The keys leave; whatever goes wrong now, this process has them no more. */
static int hand(struct session *session, struct rest *rest)
{
	struct leg *node = session->login->node_leg.leg;
	struct channel_stream *stream = channel_stream_of(&node->stream);
	struct handoff_keys keys = { .delivered =
					     stream->received - stream->in.len - node->in.len };
	int r = take_apart(session, &keys, rest);

	if (r == 0)
		r = send_ahead(&node->stream, &rest->text);
	keys.text = buf_view(&rest->text);
	if (r == 0)
		r = channel_stream_hand(stream, &keys);
	secret_wipe(&keys, sizeof(keys));
	return r;
}

/* Its first bytes, which a socket that has just been connected takes, and in the same segment what
 * has come of the client's since. The part is what is left of that. */
static int send_token(struct handover *handover, struct buf *part, uint32_t *ret_sent)
{
	struct buf first = { .secret = true };
	ssize_t n = -ENOMEM;

	if (buf_append(&first, HANDOFF_MAGIC, HANDOFF_MAGIC_BYTES) == 0 &&
		buf_append(&first, handover->token, HANDOFF_TOKEN_BYTES) == 0 &&
		buf_append_view(&first, buf_view(part)) == 0)
		n = stream_write(&handover->leg.stream, buf_view(&first).data, first.len);
	buf_fini(&first);
	if (n < HANDOFF_FIRST_BYTES)
		return n < 0 ? (int)n : -EIO;
	*ret_sent = (uint32_t)(n - HANDOFF_FIRST_BYTES);
	buf_consume(part, *ret_sent);
	return 0;
}

/* The legs that the relay gets: the client's, plain, and the data connection. */
static int go_over(struct session *session, struct handover *handover)
{
	struct login *login = session->login;
	struct rest rest = { .text.secret = true, .unsent.secret = true };
	uint32_t sent = 0;
	int r = hand(session, &rest);

	if (r == 0)
		r = send_token(handover, &rest.part, &sent);
	if (r == 0) {
		buf_fini(&login->leg.in);
		login->leg.in = rest.part;
		rest.part = (struct buf){ 0 };
		handover->leg.in = rest.unsent;
		rest.unsent = (struct buf){ 0 };
		login->node_leg = (struct node_leg){ .leg = &handover->leg, .sent_up = sent };
		session->tls_at_agent = true;
		atomic_fetch_add(&session->node->agent_handed, 1);
		r = session_start_relay(session);
	}
	wipe(&rest);
	return r;
}

/* It can be done at once, and what it leaves is not lost half way. */
static int begin_switch(struct session *session)
{
	struct login *login = session->login;
	const struct channel_stream *stream = channel_stream_of(&login->node_leg.leg->stream);

	if (stream->state == CHANNEL_STREAM_OVER)
		return -EPIPE;
	if (!channel_stream_may_hand(stream))
		return TLS_KEYS_NOT_YET;
	return tls_records_connection(&login->leg.stream) ? 0
							  : tls_records_take(&login->leg.stream);
}

void handover_progress(struct session *session)
{
	struct handover *handover = session->login->handover;
	struct loop *loop = session->pool->loop;
	int r;

	if (session->login->leg.out.len)
		return;
	if (!timer_armed(&handover->patience))
		loop_timer_set(loop, &handover->patience, PATIENCE_MS, on_patience_over);
	if (handover->connect.phase != CONNECT_UP)
		return;
	r = begin_switch(session);
	if (r == TLS_KEYS_NOT_YET) {
		loop_timer_set(loop, &handover->again, LOOK_AGAIN_MS, on_again);
		return;
	}
	if (r == 0)
		r = go_over(session, handover);
	if (r < 0) {
		fail(session, NODE_KEEP_CHANNEL);
		return;
	}
	histogram_observe(
		&session->pool->router->handoff_time, clock_mono_ms() - handover->begun_ms);
	session_set_state(session, S_ESTABLISHED);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * replay: the node's dialogue from its greeting to its verdict, by the protocol's back: STARTTLS,
 * conveying the client (SES-48..57), the credential, the answer. Stage 9 is entered after a
 * positive final reply and nothing else (SES-1). The credential is wiped once it has been sent.
 */
#include "reach/dial.h"
#include "mail/mail.h"
#include "base/log.h"
#include "net/sock.h"

#include <errno.h>
#include <string.h>

#define READ_BYTES 4096
#define SETTLE_MS 5
/* Of one node, as stream_read_cost() counts. */
#define TURN_READ_BYTES 65536

static void run_outcome(struct session *session, int outcome);
static ssize_t read_node(struct dial *dial, size_t *spent);
static void lost(struct session *session, int error);

static const struct dial_fault fault_internal = { REASON_INTERNAL, HEALTH_NONE, false,
	.error = -ENOMEM };

static int back_create(struct session *session)
{
	struct dial *dial = session->login->dial;
	const struct config *config = session->snapshot->config;
	const struct front_ops *front_ops = session->kind->front;
	const struct front *front = session->login->front;
	struct back_params params = {
		.starttls = dial->settings->tls == CONFIG_TLS_STARTTLS,
		.host = config->server.hostname
			? config->server.hostname
			: addr_format_literal(session_local(session), dial->host),
		.client_tag = session->login->credential->tag,
		.helo = front_ops->helo ? front_ops->helo(front) : "",
		.utf8 = front_ops->utf8 && front_ops->utf8(front),
	};

	if (dial->settings->forwarding == CONFIG_FORWARDING_XCLIENT) {
		session_format_id(session, dial->id);
		dial->forward = (struct back_forward){
			.client_ip = addr_format_ip(&session->client, dial->client_ip),
			.local_ip = addr_format_ip(session_local(session), dial->local_ip),
			.client_port = addr_port(&session->client),
			.local_port = addr_port(session_local(session)),
			.ttl = session->login->ttl - 1u,
			.session_id = dial->id,
			.client_tls = stream_is_tls(&session->login->leg.stream),
		};
		params.forward = &dial->forward;
	}
	dial->back_ops = session->kind->back;
	return dial->back_ops->create(&params, &dial->back);
}

/* The leg is up (again, after STARTTLS). */
void step_replay_connected(struct session *session)
{
	struct dial *dial = session->login->dial;

	if (!dial->back) {
		if (back_create(session) < 0) {
			dial_failed(session->login->dial, fault_internal);
			return;
		}
	} else {
		run_outcome(session, dial->back_ops->starttls_done(dial->back, &dial->leg.out));
		if (session->login->dial != dial || dial->connect.phase != CONNECT_UP)
			return;
	}
	if (dial->leg.out.len ||
		stream_pending(&dial->leg.stream)) /* TLS may hold the greeting already */
		step_replay_event(session);
	else
		dial_update_watch(dial);
}

/* SES-48, checked right before the credential is written. */
static bool may_send_secret(const struct session *session)
{
	return session->login->dial->secured ||
		(session->login->dial->settings->tls == CONFIG_TLS_PLAIN &&
			session->destination->allow_plaintext_auth);
}

/* The node is ready for it. */
static void send_credential(struct session *session)
{
	if (!may_send_secret(session)) {
		dial_failed(session->login->dial,
			(struct dial_fault){ REASON_NODE_REFUSED, HEALTH_NONE, false,
				.error = -EPERM,
				.cause = "no TLS to the node, and allow_plaintext_auth is off" });
		return;
	}
	session_phase_end(session, PHASE_DIAL);
	session_set_state(session, S_REPLAY);
}

void step_replay_enter(struct session *session)
{
	struct dial *dial = session->login->dial;
	size_t consumed = 0, spent = 0;
	ssize_t n;
	int r;

	dial->in_login = true;
	/* What the node has sent so far was sent before it saw the credential (SES-57). */
	while ((n = read_node(dial, &spent)) > 0 && spent < TURN_READ_BYTES)
		;
	if (n > 0) /* it does not stop talking */
		n = -EPROTO;
	if (n != -EAGAIN) {
		lost(session, (int)n);
		return;
	}
	r = dial->back_ops->replay(dial->back, session->login->credential, buf_view(&dial->leg.in),
		&consumed, &dial->leg.out);
	buf_consume(&dial->leg.in, consumed);
	run_outcome(session, r);
}

static void refused(struct session *session)
{
	struct dial *dial = session->login->dial;
	bool for_good = dial->back_ops->refused_for_good(dial->back);
	bool temporarily = dial->back_ops->refused_temporarily(dial->back);
	int r;

	session_auth_failed(session, AUTH_REFUSED, temporarily);
	session_phase_end(session, PHASE_REPLAY);
	session_wipe_credential(session);
	if (session->destination->hide_auth_errors) {
		buf_clear(&session->login->leg.out);
		r = session->kind->front->reply(session->login->front,
			temporarily ? FRONT_REPLY_HIDDEN_TEMP : FRONT_REPLY_AUTH_FAILED,
			&session->login->leg.out);
	} else {
		r = session->kind->front->refused(session->login->front, &session->login->leg.out);
	}
	session_drop_dial(session); /* #6: nothing is ever bridged after a refusal */
	session_phase_start(session);
	session->login->preauth_at_ms =
		session->login->phase_started_ms + session->settings->preauth_timeout_ms;
	session_after_reply(session, r);
	if (for_good)
		session_finish(session, REASON_NODE_EOF);
	if (session->state == S_REPLAY)
		session_set_state(session, S_DIALOGUE);
}

static void accepted(struct session *session)
{
	session_count_auth(session, AUTH_OK);
	session_phase_end(session, PHASE_REPLAY);
	session_wipe_credential(session);
	session_hand_over_dial(session);
	session_set_state(session, S_SPLICE);
}

static const char *failure_text(const struct session *session, enum back_failure failure)
{
	if (failure == BACK_FAIL_INJECTION)
		return "bytes behind the answer to STARTTLS";
	if (!*session->login->dial->said)
		return failure == BACK_FAIL_REFUSED ? "the node refused"
						    : "the node does not speak the protocol";
	return failure == BACK_FAIL_REFUSED ? "the node said"
					    : "the node does not speak the protocol, it said";
}

static void failed(struct session *session)
{
	enum back_failure failure =
		session->login->dial->back_ops->failure(session->login->dial->back);
	const char *cause = session->login->dial->back_ops->cause(session->login->dial->back);
	enum session_reason reason =
		failure == BACK_FAIL_INJECTION ? REASON_STARTTLS_INJECTION : REASON_NODE_REFUSED;
	/* Which mechanism it was to be is the client's choice (SES-70). */
	enum health_event event = failure == BACK_FAIL_MECHANISM ? HEALTH_NONE : HEALTH_FAIL_CLIENT;

	if (failure == BACK_FAIL_INJECTION)
		log_event_limited(LOGL_ERROR, "node_starttls_injection", session->node->name,
			"node", session->node->name, NULL);
	dial_failed(session->login->dial,
		(struct dial_fault){ reason, event, false, .error = -EBADMSG,
			.cause = cause ? cause : failure_text(session, failure) });
}

/* The node asked for the handshake: nothing it sent may be left (#2). */
static void start_tls(struct session *session)
{
	struct dial *dial = session->login->dial;

	if (dial->leg.in.len || sock_unread(dial->leg.stream.fd) != 0) {
		log_event_limited(LOGL_ERROR, "node_starttls_injection", session->node->name,
			"node", session->node->name, NULL);
		dial_failed(session->login->dial,
			(struct dial_fault){ REASON_STARTTLS_INJECTION, HEALTH_FAIL_CLIENT, false,
				.error = -EBADMSG,
				.cause = "bytes behind the answer to STARTTLS" });
		return;
	}
	dial_start_tls(dial);
}

static void run_outcome(struct session *session, int outcome)
{
	struct dial *dial = session->login->dial;
	int r = 0;

	if (outcome < 0) {
		dial_failed(session->login->dial, fault_internal);
		return;
	}
	if (dial->leg.out.len)
		r = leg_flush(&dial->leg);
	if (dial->back_ops->credential_sent(dial->back) && !dial->leg.out.len)
		session_wipe_credential(session);
	switch (outcome) {
	case BACK_STARTTLS:
		start_tls(session);
		return;
	case BACK_READY:
		send_credential(session);
		return;
	case BACK_ACCEPTED:
		accepted(session);
		return;
	case BACK_REFUSED:
		refused(session);
		return;
	case BACK_FAILED:
		failed(session);
		return;
	}
	if (r < 0)
		lost(session, r);
}

/* The node closed or its leg broke: retry before the credential went out, never after (SES-76). */
static void lost(struct session *session, int error)
{
	bool replaying = session->login->dial->in_login;
	enum session_reason reason =
		error == STREAM_EOF || error == -ECONNABORTED ? REASON_NODE_EOF : REASON_NODE_ERROR;

	if (error == -EPROTO)
		reason = REASON_TLS_NODE;
	if (replaying)
		session_phase_end(session, PHASE_REPLAY);
	dial_failed(session->login->dial,
		(struct dial_fault){ reason, HEALTH_FAIL_CLIENT, !replaying, .error = error });
}

void step_replay_deadline(struct session *session)
{
	struct dial_fault fault = { REASON_NODE_TIMEOUT, HEALTH_NONE, false, .error = -ETIMEDOUT,
		.cause = "no answer to the login in time" };

	session_phase_end(session, PHASE_REPLAY);
	atomic_fetch_add(&session->node->dial_errors, 1);
	dial_note_failure(session->login->dial, &fault);
	session_unavailable(session, REASON_NODE_TIMEOUT);
}

/* Reads once, as leg_read(). */
static ssize_t read_node(struct dial *dial, size_t *spent)
{
	return leg_read(&dial->leg, &dial->leg.in, READ_BYTES, spent);
}

/* False also where another dial has come to stand at the same address: it is still resolving. */
static bool talks(const struct session *session, const struct dial *dial)
{
	return session->login->dial == dial && dial->connect.phase == CONNECT_UP && !dial->over;
}

static void consume_input(struct session *session, struct dial *dial)
{
	while (talks(session, dial) && dial->leg.in.len) {
		size_t consumed = 0;
		int r = dial->back_ops->input(dial->back, buf_view(&dial->leg.in), &consumed,
			&dial->leg.out, &session->login->leg.out);

		if (r == BACK_FAILED)
			dial_take_said(dial, buf_view(&dial->leg.in));
		if (dial->entered && dial->back_ops->greeted(dial->back))
			dial_report(dial, HEALTH_SUCCESS); /* what comes now, clients may cause */
		buf_consume(&dial->leg.in, consumed);
		run_outcome(session, r);
		if (r == PROTO_MORE)
			return;
	}
}

static void on_settled(struct timer *timer)
{
	struct dial *dial = container_of(timer, struct dial, timer);
	struct session *session = dial->params.arg;

	consume_input(session, dial);
	if (session->login && session->login->dial == dial)
		dial_update_watch(dial);
	session_update_watch(session);
}

/* The kind may want that it is not looked at before it has rested. */
static bool must_settle(struct session *session)
{
	struct dial *dial = session->login->dial;

	if (!session->kind->rests || dial->settings->tls != CONFIG_TLS_IMPLICIT ||
		!session->kind->rests(buf_view(&dial->leg.in), dial->in_login))
		return false;
	loop_timer_set(session->pool->loop, &dial->timer, SETTLE_MS, on_settled);
	return true;
}

static void on_turn(struct timer *timer)
{
	struct session *session = container_of(timer, struct dial, turn)->params.arg;

	step_replay_event(session);
	session_update_watch(session);
}

/* Readable, writable, or just secured: moves as far as it goes, and a turn's worth at most. */
void step_replay_event(struct session *session)
{
	struct dial *dial = session->login->dial;
	size_t spent = 0;
	ssize_t n;
	int r;

	if (timer_armed(&dial->turn)) /* it has had this turn */
		return;
	r = leg_flush(&dial->leg);
	if (r < 0) {
		lost(session, r);
		return;
	}
	if (dial->back_ops->credential_sent(dial->back) && !dial->leg.out.len)
		session_wipe_credential(session);
	while (talks(session, dial)) {
		n = read_node(dial, &spent);
		if (n == -EAGAIN)
			break;
		if (n <= 0) {
			lost(session, (int)n);
			return;
		}
		if (!must_settle(session))
			consume_input(session, dial);
		/* An answer is rarely followed by another at once, and epoll would say so. */
		if (talks(session, dial) && dial->leg.dry)
			break;
		if (spent >= TURN_READ_BYTES && talks(session, dial)) {
			loop_timer_set(session->pool->loop, &dial->turn, 0, on_turn);
			break;
		}
	}
	if (session->login->dial == dial)
		dial_update_watch(dial);
}

// SPDX-License-Identifier: Apache-2.0
/*
 * replay: the node's dialogue from its greeting to its verdict, by the protocol's back: STARTTLS,
 * conveying the client (SES-48..57), the credential, the answer. Stage 9 is entered after a
 * positive final reply and nothing else (SES-1). The credential is wiped once it has been sent.
 */
#include "reach/dial.h"
#include "mail/handover.h"
#include "mail/mail.h"
#include "mail/penalty.h"
#include "base/log.h"
#include "net/sock.h"
#include "session/guarded.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define READ_BYTES 4096
#define SETTLE_MS 5
/* Of one node, as stream_read_cost() counts. */
#define TURN_READ_BYTES 65536

static void run_outcome(struct session *session, int outcome);
static ssize_t read_node(struct dial *dial, size_t *spent);
static void lost(struct session *session, int error);
static void on_told(struct timer *timer);

static struct replay *replay_of(const struct session *session)
{
	return (struct replay *)session->login->reach.dial->talk;
}

/* ---- failures ---- */

/* What follows is what dial_failed() decides. */
static void fail(struct session *session, enum reach_failure failure, int error, const char *cause)
{
	dial_failed(session->login->reach.dial,
		(struct dial_fault){ failure, .error = error, .cause = cause,
			.said = replay_of(session)->said });
}

static void out_of_memory(struct session *session)
{
	fail(session, UNREACHED_NO_MEMORY, -ENOMEM, NULL);
}

static void take_said(struct session *session, struct view said)
{
	if (session->login->reach.dial->state != DIAL_COMMITTED)
		fault_take_said(said, replay_of(session)->said);
}

enum node_step step_replay_step(const struct session *session)
{
	const struct dial *dial = session->login->reach.dial;
	const struct back *back = replay_of(session)->back;

	if (!back || !session->kind->back->greeted(back))
		return NODE_STEP_GREETING;
	if (dial->state == DIAL_COMMITTED)
		return NODE_STEP_LOGIN;
	return dial_wants_starttls(dial) ? NODE_STEP_STARTTLS : NODE_STEP_DIALOGUE;
}

/* ---- begin and end ---- */

static void fill_forward(struct session *session, struct replay *replay)
{
	session_format_id(session, replay->id);
	replay->forward = (struct back_forward){
		.client_ip = addr_format_ip(&session->client, replay->client_ip),
		.local_ip = addr_format_ip(session_local(session), replay->local_ip),
		.client_port = addr_port(&session->client),
		.local_port = addr_port(session_local(session)),
		.ttl = session->login->ttl - 1u,
		.session_id = replay->id,
		.client_tls = stream_is_tls(&session->login->leg.stream),
	};
}

static int back_create(struct session *session)
{
	struct replay *replay = replay_of(session);
	const struct dial *dial = session->login->reach.dial;
	const struct front_ops *front_ops = session->kind->front;
	const struct front *front = session->login->front;
	struct back_params params = {
		.starttls = dial_wants_starttls(dial),
		.host = session_own_name(session, replay->host),
		.client_tag = session->login->credential->tag,
		.helo = front_ops->helo ? front_ops->helo(front) : "",
		.utf8 = front_ops->utf8 && front_ops->utf8(front),
	};

	replay->session = session;
	if (dial->settings->forwarding == CONFIG_FORWARDING_XCLIENT && !dial_stream(dial)) {
		fill_forward(session, replay);
		params.forward = &replay->forward;
	}
	return session->kind->back->create(&params, &replay->back);
}

void step_replay_down(struct session *session)
{
	struct replay *replay = replay_of(session);

	loop_timer_del(session->pool->loop, &replay->settle);
	loop_timer_del(session->pool->loop, &replay->turn);
	if (replay->back)
		session->kind->back->free(replay->back);
	*replay = (struct replay){ 0 };
}

/* The leg is up (again, after STARTTLS). */
void step_replay_connected(struct session *session)
{
	struct dial *dial = session->login->reach.dial;
	struct replay *replay = replay_of(session);

	if (!replay->back) {
		if (back_create(session) < 0) {
			out_of_memory(session);
			return;
		}
	} else {
		run_outcome(
			session, session->kind->back->starttls_done(replay->back, &dial->leg.out));
		if (session->login->reach.dial != dial || dial->connect.phase != CONNECT_UP)
			return;
	}
	if (dial->leg.out.len ||
		stream_pending(&dial->leg.stream)) /* TLS may hold the greeting already */
		step_replay_event(session);
	else
		dial_update_watch(dial);
}

/* ---- the credential ---- */

/* SES-48, checked right before the credential is written. */
static bool may_send_secret(const struct session *session)
{
	const struct dial *dial = session->login->reach.dial;

	return dial_is_secured(dial) ||
		(dial->settings->tls == CONFIG_TLS_PLAIN &&
			session->login->destination->allow_plaintext_auth);
}

/* The node is ready for it. */
static void send_credential(struct session *session)
{
	const struct dial *dial = session->login->reach.dial;

	if (!may_send_secret(session)) {
		fail(session, UNREACHED_NO_SECRET, -EPERM,
			"no TLS to the node, and allow_plaintext_auth is off");
		return;
	}
	session_phase_end(session, PHASE_DIAL);
	/* What the agent has sent is in a socket that others read as well: it is told first. */
	if (dial_stream(dial))
		loop_timer_set(session->pool->loop, &replay_of(session)->turn, 0, on_told);
	else
		session_set_state(session, S_REPLAY);
}

static void on_told(struct timer *timer)
{
	struct session *session = container_of(timer, struct replay, turn)->session;

	session_set_state(session, S_REPLAY);
	session_update_watch(session);
}

void step_replay_enter(struct session *session)
{
	struct dial *dial = session->login->reach.dial;
	size_t consumed = 0, spent = 0;
	ssize_t n;
	int r;

	dial_commit(dial);
	/* What the node has sent so far was sent before it saw the credential (SES-57). */
	while ((n = read_node(dial, &spent)) > 0 && spent < TURN_READ_BYTES)
		;
	if (n > 0) /* it does not stop talking */
		n = -EPROTO;
	if (n != -EAGAIN) {
		lost(session, (int)n);
		return;
	}
	r = session->kind->back->replay(replay_of(session)->back, session->login->credential,
		buf_view(&dial->leg.in), &consumed, &dial->leg.out);
	buf_consume(&dial->leg.in, consumed);
	run_outcome(session, r);
}

static void refused(struct session *session)
{
	const struct back *back = replay_of(session)->back;
	bool for_good = session->kind->back->refused_for_good(back);
	bool temporarily = session->kind->back->refused_temporarily(back);
	int r;

	session_auth_failed(session, AUTH_REFUSED, temporarily);
	session_phase_end(session, PHASE_REPLAY);
	session_wipe_credential(session);
	if (session->login->destination->hide_auth_errors) {
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
	mail_answered(session, r, for_good);
}

static void accepted(struct session *session)
{
	session_count_auth(session, AUTH_OK);
	if (session_guard(session))
		session_guard_passed(session);
	session_phase_end(session, PHASE_REPLAY);
	session_wipe_credential(session);
	session_hand_over_dial(session);
	if (dial_stream(session->login->reach.dial) && handover_begin(session) < 0)
		session_close(session, REASON_INTERNAL);
	else if (session->state != S_CLOSED)
		session_set_state(session, S_SPLICE);
}

static const char *failure_text(const struct session *session, enum back_failure failure)
{
	if (failure == BACK_FAIL_INJECTION)
		return "bytes behind the answer to STARTTLS";
	if (!*replay_of(session)->said)
		return failure == BACK_FAIL_REFUSED ? "the node refused"
						    : "the node does not speak the protocol";
	return failure == BACK_FAIL_REFUSED ? "the node said"
					    : "the node does not speak the protocol, it said";
}

static void failed(struct session *session)
{
	static const enum reach_failure failures[] = {
		[BACK_FAIL_REFUSED] = UNREACHED_REFUSED,
		[BACK_FAIL_INJECTION] = UNREACHED_INJECTION,
		[BACK_FAIL_PROTOCOL] = UNREACHED_REFUSED,
		[BACK_FAIL_MECHANISM] = UNREACHED_NO_MECHANISM,
	};
	static_assert(ARRAY_SIZE(failures) == BACK_FAIL_MECHANISM + 1, "one for each");
	const struct back *back = replay_of(session)->back;
	enum back_failure failure = session->kind->back->failure(back);
	const char *cause = session->kind->back->cause(back);

	if (failure == BACK_FAIL_INJECTION)
		log_event_limited(LOGL_ERROR, "node_starttls_injection", session->node->name,
			"node", session->node->name, NULL);
	fail(session, failures[failure], -EBADMSG, cause ? cause : failure_text(session, failure));
}

/* The node asked for the handshake: nothing it sent may be left (#2). */
static void start_tls(struct session *session)
{
	struct dial *dial = session->login->reach.dial;

	if (dial->leg.in.len || sock_unread(dial->leg.stream.fd) != 0) {
		log_event_limited(LOGL_ERROR, "node_starttls_injection", session->node->name,
			"node", session->node->name, NULL);
		fail(session, UNREACHED_INJECTION, -EBADMSG, "bytes behind the answer to STARTTLS");
		return;
	}
	dial_start_tls(dial);
}

static void wipe_if_sent(struct session *session)
{
	if (session->kind->back->credential_sent(replay_of(session)->back) &&
		!session->login->reach.dial->leg.out.len)
		session_wipe_credential(session);
}

static void run_outcome(struct session *session, int outcome)
{
	struct dial *dial = session->login->reach.dial;
	int r = 0;

	if (outcome < 0) {
		out_of_memory(session);
		return;
	}
	if (dial->leg.out.len)
		r = leg_flush(&dial->leg);
	wipe_if_sent(session);
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
	struct dial *dial = session->login->reach.dial;

	if (dial->state == DIAL_COMMITTED)
		session_phase_end(session, PHASE_REPLAY);
	take_said(session, buf_view(&dial->leg.in)); /* a line that it did not end */
	fail(session, reach_lost(error), error, NULL);
}

void step_replay_deadline(struct session *session)
{
	session_phase_end(session, PHASE_REPLAY);
	dial_expired(session->login->reach.dial);
}

/* Reads once, as leg_read(). */
static ssize_t read_node(struct dial *dial, size_t *spent)
{
	return leg_read(&dial->leg, &dial->leg.in, READ_BYTES, spent);
}

/* False also where another dial has come to stand at the same address: it is still resolving. */
static bool talks(const struct session *session, const struct dial *dial)
{
	return session->login->reach.dial == dial && dial_talks(dial);
}

static void consume_input(struct session *session, struct dial *dial)
{
	const struct back_ops *ops = session->kind->back;

	while (talks(session, dial) && dial->leg.in.len) {
		struct back *back = replay_of(session)->back;
		size_t consumed = 0;
		int r = ops->input(back, buf_view(&dial->leg.in), &consumed, &dial->leg.out,
			&session->login->leg.out);

		if (r == BACK_FAILED)
			take_said(session, buf_view(&dial->leg.in));
		if (dial->breaker != BREAKER_OWED_NOTHING && ops->greeted(back))
			dial_report(dial, HEALTH_SUCCESS); /* what comes now, clients may cause */
		buf_consume(&dial->leg.in, consumed);
		run_outcome(session, r);
		if (r == PROTO_MORE)
			return;
	}
}

static void on_settled(struct timer *timer)
{
	struct session *session = container_of(timer, struct replay, settle)->session;
	struct dial *dial = session->login->reach.dial;

	consume_input(session, dial);
	if (session->login && session->login->reach.dial == dial)
		dial_update_watch(dial);
	session_update_watch(session);
}

/* The kind may want that it is not looked at before it has rested. */
static bool must_settle(struct session *session)
{
	struct dial *dial = session->login->reach.dial;

	if (!session->kind->rests || dial->settings->tls != CONFIG_TLS_IMPLICIT ||
		!session->kind->rests(buf_view(&dial->leg.in), dial->state == DIAL_COMMITTED))
		return false;
	loop_timer_set(session->pool->loop, &replay_of(session)->settle, SETTLE_MS, on_settled);
	return true;
}

static void on_turn(struct timer *timer)
{
	struct session *session = container_of(timer, struct replay, turn)->session;

	step_replay_event(session);
	session_update_watch(session);
}

/* Readable, writable, or just secured: moves as far as it goes, and a turn's worth at most. */
void step_replay_event(struct session *session)
{
	struct dial *dial = session->login->reach.dial;
	size_t spent = 0;
	ssize_t n;
	int r;

	if (timer_armed(&replay_of(session)->turn)) /* it has had this turn */
		return;
	r = leg_flush(&dial->leg);
	if (r < 0) {
		lost(session, r);
		return;
	}
	wipe_if_sent(session);
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
			loop_timer_set(session->pool->loop, &replay_of(session)->turn, 0, on_turn);
			break;
		}
	}
	if (session->login->reach.dial == dial)
		dial_update_watch(dial);
}

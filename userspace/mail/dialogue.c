// SPDX-License-Identifier: Apache-2.0
/*
 * dialogue: the protocol's talk before login, answered by the router alone, until the client has
 * sent a complete credential (identify), asks for TLS, or ends. What is pipelined behind waits in
 * session->login->leg.in. The protocol's front is a pure state machine; here is what it may not
 * know: sockets, TLS, configuration.
 */
#include "mail/identify.h"
#include "mail/mail.h"
#include "mail/penalty.h"
#include "base/log.h"
#include "net/sock.h"
#include "session/guarded.h"

#include <assert.h>
#include <stdlib.h>

#define TURN_STEPS 32 /* commands of one client before others get their turn */

static size_t pick_mechs(
	const struct config_capabilities *caps, enum sasl_mech ret_mechs[SASL_MECHS])
{
	static const enum sasl_mech mechs[] = {
		[CONFIG_SASL_PLAIN] = SASL_PLAIN,
		[CONFIG_SASL_LOGIN] = SASL_LOGIN,
		[CONFIG_SASL_OAUTHBEARER] = SASL_OAUTHBEARER,
		[CONFIG_SASL_XOAUTH2] = SASL_XOAUTH2,
	};

	static_assert(ARRAY_SIZE(mechs) == CONFIG_SASL_MECHS, "proto/'s name for each");
	for (size_t i = 0; i < caps->mech_count; i++)
		ret_mechs[i] = mechs[caps->mechs[i]];
	return caps->mech_count;
}

/* An address literal without its brackets: what EHLO's answer shows. */
static const char *bare_literal(const struct addr *addr, char text[ADDR_TEXT_SIZE])
{
	addr_format_literal(addr, text);
	text[strlen(text) - 1] = '\0';
	return text + 1;
}

static int front_create(struct session *session, bool secure)
{
	const struct config *config = session->snapshot->config;
	const struct config_capabilities *caps = &config->capabilities[session->settings->protocol];
	enum sasl_mech mechs[SASL_MECHS];
	char literal[ADDR_TEXT_SIZE], client[ADDR_TEXT_SIZE];
	struct front_params params = {
		.host = session_own_name(session, literal),
		.banner = caps->banner,
		.capabilities = caps->advertise_joined,
		.implementation = caps->implementation,
		.client = bare_literal(&session->client, client),
		.mechs = mechs,
		.mech_count = pick_mechs(caps, mechs),
		.offer_starttls = session->settings->tls == CONFIG_TLS_STARTTLS,
		.permit_auth = secure || caps->allow_plain_auth_without_tls,
		.trusted = session->login->trusted,
		.max_attempts = (unsigned)session->settings->max_auth_attempts,
	};

	return session->kind->front->create(&params, &session->login->front);
}

/* The dialogue begins, or goes on after STARTTLS. Returns 0 or -errno. */
static int start(struct session *session)
{
	bool greets = true;
	int r = 0;

	if (session->login->starttls) {
		session->kind->front->starttls_done(session->login->front, true);
		greets = session->kind->greets_after_tls;
	} else {
		r = front_create(session, stream_is_tls(&session->login->leg.stream));
	}
	session->login->starttls = false;
	if (r == 0 && greets)
		r = session->kind->front->greet(session->login->front, &session->login->leg.out);
	return r;
}

void step_dialogue_enter(struct session *session)
{
	session_phase_start(session);
	if (!session->login->front || session->login->starttls) {
		if (start(session) < 0) {
			session_close(session, REASON_INTERNAL);
			return;
		}
		/* TLS may hold decrypted bytes for which no event will come. */
		if (stream_pending(&session->login->leg.stream) && session_read_client(session))
			return;
	} /* else the node refused: what was pipelined is the dialogue's input again (SES-2) */
	session_run(session);
}

/* SES-15: nothing may be left behind the command, neither here nor in the socket. */
static void start_tls(struct session *session)
{
	if (session->login->leg.in.len || sock_unread(session->login->leg.stream.fd) != 0) {
		char client[ADDR_TEXT_SIZE], id[SESSION_ID_SIZE];

		session_format_id(session, id);
		log_event(LOGL_ERROR, "session_aborted", "reason", "starttls_injection", "id", id,
			"client", addr_format(&session->client, client), NULL);
		buf_clear(&session->login->leg.in);
		session_answer(session, FRONT_REPLY_VIOLATION);
		session_finish(session, REASON_STARTTLS_INJECTION);
		return;
	}
	if (session->kind->front->starttls_ok(session->login->front, &session->login->leg.out) <
		0) {
		session_close(session, REASON_INTERNAL);
		return;
	}
	session_phase_end(session, PHASE_DIALOGUE);
	session_set_state(session, S_STARTTLS);
}

/* The address may be another one than before, or have been banned since; else the guard has been
 * asked at the start. Returns whether the session is over. */
static bool guard_stops_attempt(struct session *session)
{
	struct login *login = session->login;

	if ((session->attempts || login->trusted) && session_guard_refuses(session)) {
		session_close(session, REASON_BANNED);
		return true;
	}
	session_guard_secret(session, proto_credential_login(login->credential),
		buf_view(&login->credential->message));
	return false;
}

/* Takes the credential over; ends the dialogue phase. */
static void start_attempt(struct session *session)
{
	if (session->login->client_eof) { /* SES-3: it left, nobody reads the answer */
		session_close(session, REASON_CLIENT_EOF);
		return;
	}
	session->login->credential = calloc(1, sizeof(*session->login->credential));
	if (!session->login->credential) {
		session_close(session, REASON_INTERNAL);
		return;
	}
	session->kind->front->take_credential(session->login->front, session->login->credential);
	session_phase_end(session, PHASE_DIALOGUE);
	if (!session_take_peer(session) || (session_guard(session) && guard_stops_attempt(session)))
		return;
	session_identify(session);
}

/* One step of the front. Returns false when it needs more input or the output must go first. */
static bool run_once(struct session *session)
{
	unsigned failed = session->attempts;
	size_t consumed = 0;
	int r = session->kind->front->input(session->login->front,
		buf_view(&session->login->leg.in), &consumed, &session->login->leg.out);

	buf_consume(&session->login->leg.in, consumed);
	session->login->spoke |= consumed != 0;
	session->mech = (int16_t)session->kind->front->last_mech(session->login->front);
	session->attempts = (uint16_t)session->kind->front->attempts(session->login->front);
	for (uint16_t n = (uint16_t)session->kind->front->privacy(session->login->front);
		session->login->privacy < n; session->login->privacy++)
		session_count_auth(session, AUTH_PRIVACY);
	if (session->attempts > failed && session_guard(session) &&
		mail_penalise_malformed(session, r))
		return false;
	if (session->login->leg.out.len && session_flush(session) < 0)
		return false;
	if (r == FRONT_STARTTLS)
		start_tls(session);
	else if (r == FRONT_LOGIN)
		start_attempt(session);
	else if (r != PROTO_MORE && r != PROTO_AGAIN)
		session_after_reply(session, r);
	return r != PROTO_MORE && session->login->leg.out.len <= SESSION_OUT_HIGH_BYTES;
}

/* Decrypted bytes for which no event will come, left where the turn's reading ended. */
static bool has_unread(const struct session *session)
{
	return !session->login->leg.read_want && stream_pending(&session->login->leg.stream) &&
		session->login->leg.out.len <= SESSION_OUT_HIGH_BYTES &&
		buf_room(&session->login->leg.in);
}

void step_dialogue_progress(struct session *session)
{
	bool more = true;

	if (session->login->leg.out.len > SESSION_OUT_HIGH_BYTES)
		return;

	for (unsigned steps = 0; more && session->state == S_DIALOGUE; steps++) {
		if (steps == TURN_STEPS)
			break;
		more = session->login->leg.in.len && run_once(session);
	}
	if (session->state == S_DIALOGUE && (more || has_unread(session))) {
		if (!timer_armed(&session->login->turn))
			session_client_later(session, 0);
		return;
	}
	if (session->state != S_DIALOGUE || session->login->leg.out.len > SESSION_OUT_HIGH_BYTES)
		return;
	if (session->login->client_eof)
		session_finish(session, REASON_CLIENT_EOF);
	else if (!session->login->leg.in.len)
		buf_fini(&session->login->leg.in); /* idle clients hold no buffer */
}

void step_dialogue_client(struct session *session, uint32_t epoll_events)
{
	if (!timer_armed(&session->login->turn)) /* else it has had this turn */
		session_client_event(session, epoll_events);
}

void step_dialogue_deadline(struct session *session)
{
	session_answer(session, FRONT_REPLY_TIMEOUT);
	session_finish(session, REASON_PREAUTH_TIMEOUT);
}

void step_mail_refuse(struct session *session, enum session_reason reason)
{
	bool stops = reason == REASON_SHUTDOWN;

	if (mail_penalty_is_last_word(session)) {
		session_finish(session, reason);
		return;
	}
	if (!stops)
		session_count_auth(session, AUTH_UNAVAILABLE);
	session_answer(session, stops ? FRONT_REPLY_SHUTDOWN : FRONT_REPLY_UNAVAILABLE);
	session_finish(session, reason);
}

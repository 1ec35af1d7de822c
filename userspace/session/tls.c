// SPDX-License-Identifier: Apache-2.0
/*
 * tls: the handshake with the client, at once on an implicit listener or after STARTTLS. It
 * never blocks; its time is part of preauth_timeout (sessions.md sections 3 and 4).
 */
#include "session/steps.h"

#include <errno.h>

void step_tls_enter(struct session *session)
{
	session_phase_start(session);
	session->login->leg.stream.want = EPOLLIN; /* the client speaks first */
	session_update_watch(session);
}

/* What it takes is taken when its turn comes (LIB-8): it is a tenth of what a thousand that have
 * come at once would hold until then. Returns 0 or -errno. */
static int begin_handshake(struct session *session)
{
	const struct agent_listener *agent = snapshot_agent(session->snapshot, session->listener);
	struct stream *stream = &session->login->leg.stream;

	if ((session->kind->knocks && !agent) ||
		tls_stream_accept(stream, session->snapshot->tls, &session->kind->alpn) < 0 ||
		(agent && tls_stream_demand(stream, agent->auth) < 0))
		return -ENOMEM;
	tls_stream_read_ahead(stream, true);
	loop_watch_set_stage(&session->login->leg.staged, LOOP_HANDSHAKE);
	return 0;
}

void step_tls_progress(struct session *session)
{
	int r;

	if (!stream_is_tls(&session->login->leg.stream) && begin_handshake(session) < 0) {
		session_close(session, REASON_INTERNAL);
		return;
	}
	r = tls_stream_handshake(&session->login->leg.stream);
	if (r == -EAGAIN)
		return;
	if (r < 0) {
		session_close(session, r == -ETIMEDOUT ? REASON_KEEPALIVE : REASON_TLS_CLIENT);
		return;
	}
	session_phase_end(session, PHASE_TLS);
	session->tls_version = tls_stream_version(&session->login->leg.stream);
	session->tls_cipher = tls_stream_cipher(&session->login->leg.stream);
	session->login->leg.stream.want = 0;
	session_begin(session);
}

/* The answer to the command has been sent: what comes now is TLS. */
void step_starttls_progress(struct session *session)
{
	if (session->login->leg.out.len)
		return;
	session->login->starttls = true;
	session_set_state(session, S_TLS);
}

void step_preauth_deadline(struct session *session)
{
	session_close(session, REASON_PREAUTH_TIMEOUT);
}

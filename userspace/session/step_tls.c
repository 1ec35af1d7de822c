// SPDX-License-Identifier: Apache-2.0
/*
 * tls: the handshake with the client, at once on an implicit listener or after STARTTLS. It
 * never blocks; its time is part of preauth_timeout (sessions.md sections 3 and 4).
 */
#include "session/session.h"

#include <errno.h>

static const struct tls_alpn *alpn_of(enum protocol protocol)
{
	static const struct tls_alpn imap = { .id = "imap" }, pop3 = { .id = "pop3" },
				     sieve = { .id = "managesieve" }, none = { .id = NULL },
				     http = { .id = "http/1.1", .required = true };

	switch (protocol) {
	case PROTOCOL_IMAP:
		return &imap;
	case PROTOCOL_POP3:
		return &pop3;
	case PROTOCOL_MANAGESIEVE:
		return &sieve;
	case PROTOCOL_HTTP:
		return &http;
	default:
		return &none;
	}
}

void session_step_tls(struct session *session)
{
	session_phase_start(session);
	session_set_state(session, S_TLS);
	if (tls_stream_accept(&session->login->stream, session->snapshot->tls,
		    alpn_of(session->settings->protocol)) < 0) {
		session_close(session, REASON_INTERNAL);
		return;
	}
	tls_stream_read_ahead(&session->login->stream, true);
	session->login->stream.want = EPOLLIN; /* the client speaks first */
	session_update_watch(session);
}

void session_tls_progress(struct session *session)
{
	int r = tls_stream_handshake(&session->login->stream);

	if (r == -EAGAIN) {
		session_update_watch(session);
		return;
	}
	if (r < 0) {
		session_close(session, r == -ETIMEDOUT ? REASON_KEEPALIVE : REASON_TLS_CLIENT);
		return;
	}
	session_phase_end(session, PHASE_TLS);
	session->tls_version = tls_stream_version(&session->login->stream);
	session->tls_cipher = tls_stream_cipher(&session->login->stream);
	session->login->stream.want = 0;
	if (session_is_passthrough(session))
		session_step_passthrough(session);
	else
		session_step_dialogue(session);
}
